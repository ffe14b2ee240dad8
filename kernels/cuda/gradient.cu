// What is done with gradients between the backward pass and the update (backends/cupy/gradient.py).
// But for sum_squares, launch with any grid and block of one dimension.
#include "threads.cuh"

namespace {

constexpr int THREADS_OF_A_SUM = 1024;

}  // namespace

// The sum of the squares in double, by one block of THREADS_OF_A_SUM threads.
template <typename T>
__global__ void __launch_bounds__(THREADS_OF_A_SUM) sum_squares(int size, const T *x, double *total) {
    using namespace fastconv;
    __shared__ double room[THREADS_OF_A_SUM];
    double sum = 0;
    for (int i = threadIdx.x; i < size; i += THREADS_OF_A_SUM)
        sum += static_cast<double>(x[i]) * x[i];
    sum = sum_of_block<THREADS_OF_A_SUM>(sum, room);
    if (threadIdx.x == 0) *total = sum;
}

template <typename T>
__global__ void scale_by_norm(int size, int normalizes, double limit, double epsilon, T *x,
                              const double *total) {
    using namespace fastconv;
    const double norm = sqrt(*total);
    double scale = limit / (norm < epsilon ? epsilon : norm);
    if (!normalizes) {
        scale = limit / (norm + epsilon);
        scale = scale > 1 ? 1 : scale;
    }
    for (int i = first_index(); i < size; i += index_step()) x[i] *= static_cast<T>(scale);
}

template <typename T>
__global__ void clip_by_value(int size, double limit, T *x) {
    using namespace fastconv;
    const T most = static_cast<T>(limit);
    for (int i = first_index(); i < size; i += index_step()) {
        if (x[i] > most) x[i] = most;
        if (x[i] < -most) x[i] = -most;
    }
}

// total = keep total + share dw; without total where keep is 0.
template <typename T>
__global__ void accumulate(int size, double share, double keep, const T *dw, T *total) {
    using namespace fastconv;
    for (int i = first_index(); i < size; i += index_step()) {
        const T part = static_cast<T>(share) * dw[i];
        total[i] = keep != 0 ? static_cast<T>(keep) * total[i] + part : part;
    }
}

template <typename T>
__global__ void muon_direction(int size, int nesterov, double momentum, const T *dw, T *m,
                               T *direction) {
    using namespace fastconv;
    const T beta = static_cast<T>(momentum), share = static_cast<T>(1 - momentum);
    for (int i = first_index(); i < size; i += index_step()) {
        const T g = share * dw[i], mean = beta * m[i] + g;
        m[i] = mean;
        direction[i] = nesterov ? g + beta * mean : mean;
    }
}

// polynomial = a I + b gram + c square.
template <typename T>
__global__ void newton_schulz_polynomial(int rows, double a, double b, double c, const T *gram,
                                         const T *square, T *polynomial) {
    using namespace fastconv;
    for (int i = first_index(); i < rows * rows; i += index_step()) {
        const T both = static_cast<T>(b) * gram[i] + static_cast<T>(c) * square[i];
        polynomial[i] = both + static_cast<T>(i / rows == i % rows ? a : 0);
    }
}
