// Activations, element by element, and softmax by rows (backends/cupy/activation.py). y may be x,
// and dx be dy.
#include "activation.cuh"
#include "softmax.cuh"
#include "threads.cuh"

// Launch with any grid and block of one dimension.
template <typename T>
__global__ void activation_forward(int size, int kind, double alpha, const T *x, T *y) {
    using namespace fastconv;
    for (int i = first_index(); i < size; i += index_step())
        y[i] = value_of(kind, static_cast<T>(alpha), x[i]);
}

template <typename T>
__global__ void activation_backward(int size, int kind, double alpha, const T *dy,
                                    const T *kept, T *dx) {
    using namespace fastconv;
    for (int i = first_index(); i < size; i += index_step())
        dx[i] = dy[i] * slope_at(kind, static_cast<T>(alpha), kept[i]);
}

// Softmax by rows: launch with blocks of one warp, which takes a row.
template <typename T>
__global__ void __launch_bounds__(fastconv::WARP)
    softmax_forward(int rows, int classes, int logarithms, const T *x, T *y) {
    using namespace fastconv;
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        const T *const scores = x + static_cast<long long>(row) * classes;
        T *const result = y + static_cast<long long>(row) * classes;
        const Softmax<T> softmax = softmax_of(scores, classes);
        for (int k = threadIdx.x; k < classes; k += WARP)
            result[k] = logarithms ? softmax.logarithm(scores[k]) : softmax(scores[k]);
    }
}

template <typename T>
__global__ void __launch_bounds__(fastconv::WARP)
    softmax_backward(int rows, int classes, int logarithms, const T *dy, const T *y, T *dx) {
    using namespace fastconv;
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        const long long first = static_cast<long long>(row) * classes;
        LongSum<T> own;
        for (int k = threadIdx.x; k < classes; k += WARP)
            own += logarithms ? dy[first + k] : dy[first + k] * y[first + k];
        const T sum = sum_of_warp(static_cast<T>(own.value()));
        for (int k = threadIdx.x; k < classes; k += WARP) {
            const T gradient = dy[first + k], value = y[first + k];
            dx[first + k] = logarithms ? gradient - exp(value) * sum : value * (gradient - sum);
        }
    }
}
