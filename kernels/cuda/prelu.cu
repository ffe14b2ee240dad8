// A ReLU with learned slopes over the rows of a (rows, channels) array (backends/cupy/prelu.py; He et
// al., arXiv:1502.01852). y may be x, and dx be dy.
#include "threads.cuh"

namespace {

constexpr int THREADS_OF_SUM = 256;

}  // namespace

// Launch with any grid and block of one dimension.
template <typename T>
__global__ void prelu_forward(int size, int channels, int slopes, const T *x, const T *slope,
                              T *y) {
    using namespace fastconv;
    for (int i = first_index(); i < size; i += index_step())
        y[i] = x[i] > 0 ? x[i] : slope[slopes > 1 ? i % channels : 0] * x[i];
}

template <typename T>
__global__ void prelu_backward_data(int size, int channels, int slopes, const T *dy, const T *x,
                                    const T *slope, T *dx) {
    using namespace fastconv;
    for (int i = first_index(); i < size; i += index_step())
        dx[i] = dy[i] * (x[i] > 0 ? T(1) : slope[slopes > 1 ? i % channels : 0]);
}

// The sum of dy * x where x is not positive: a block of THREADS_OF_SUM for each slope.
template <typename T>
__global__ void __launch_bounds__(THREADS_OF_SUM)
    prelu_slopes(int size, int slopes, const T *dy, const T *x, T *dslope) {
    using namespace fastconv;
    __shared__ double room[THREADS_OF_SUM];
    for (int k = blockIdx.x; k < slopes; k += gridDim.x) {
        LongSum<T> own;
        for (long long i = k + static_cast<long long>(threadIdx.x) * slopes; i < size;
             i += static_cast<long long>(THREADS_OF_SUM) * slopes)
            if (!(x[i] > 0)) own += dy[i] * x[i];
        const double sum = sum_of_block<THREADS_OF_SUM>(own.value(), room);
        if (threadIdx.x == 0) dslope[k] = static_cast<T>(sum);
    }
}
