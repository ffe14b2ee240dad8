// Losses, their gradients and the running statistics (backends/cupy/loss.py). statistics is
// [sum of losses, correct samples, samples].
#include "fused_loss.cuh"
#include "softmax.cuh"
#include "threads.cuh"

namespace {

constexpr int THREADS = 256;

}  // namespace

// Launch with blocks of one warp, which takes a sample.
template <typename T>
__global__ void __launch_bounds__(fastconv::WARP)
    softmax_cross_entropy_forward(int batch, int outputs, const T *scores, const long long *labels,
                                  T *losses, T *probabilities) {
    using namespace fastconv;
    for (int n = blockIdx.x; n < batch; n += gridDim.x) {
        const T *const row = scores + static_cast<long long>(n) * outputs;
        T *const result = probabilities + static_cast<long long>(n) * outputs;
        const Softmax<T> softmax = softmax_of(row, outputs);
        for (int k = threadIdx.x; k < outputs; k += WARP) result[k] = softmax(row[k]);
        if (threadIdx.x == 0) losses[n] = -softmax.logarithm(score_of(row, labels[n], outputs));
    }
}

// The following four: any grid and block of one dimension.
template <typename T>
__global__ void softmax_cross_entropy_backward(int batch, int outputs, const T *probabilities,
                                               const long long *labels, T *dscores) {
    using namespace fastconv;
    for (int i = first_index(); i < batch * outputs; i += index_step()) {
        const T wanted = i % outputs == labels[i / outputs] ? T(1) : T(0);
        dscores[i] = (probabilities[i] - wanted) / batch;
    }
}

template <typename T>
__global__ void nll_forward(int batch, int outputs, const T *log_probabilities,
                            const long long *labels, T *losses) {
    using namespace fastconv;
    for (int n = first_index(); n < batch; n += index_step())
        losses[n] =
            -score_of(log_probabilities + static_cast<long long>(n) * outputs, labels[n], outputs);
}

template <typename T>
__global__ void nll_backward(int batch, int outputs, const long long *labels,
                             T *dlog_probabilities) {
    using namespace fastconv;
    for (int i = first_index(); i < batch * outputs; i += index_step())
        dlog_probabilities[i] = i % outputs == labels[i / outputs] ? T(-1) / batch : T(0);
}

template <typename T>
__global__ void mean_squared_error_backward(int batch, int outputs, const T *y, const T *target,
                                            T *dy) {
    using namespace fastconv;
    const double count = static_cast<double>(batch) * outputs;
    for (int i = first_index(); i < batch * outputs; i += index_step())
        dy[i] = (y[i] - target[i]) * static_cast<T>(2 / count);
}

// Launch with blocks of one warp, which takes a sample.
template <typename T>
__global__ void __launch_bounds__(fastconv::WARP)
    mean_squared_error_forward(int batch, int outputs, const T *y, const T *target, T *losses) {
    using namespace fastconv;
    for (int n = blockIdx.x; n < batch; n += gridDim.x) {
        LongSum<T> sum;
        for (int k = threadIdx.x; k < outputs; k += WARP) {
            const long long i = static_cast<long long>(n) * outputs + k;
            const T difference = y[i] - target[i];
            sum += difference * difference;
        }
        const T total = sum_of_warp(static_cast<T>(sum.value()));
        if (threadIdx.x == 0) losses[n] = total / outputs;
    }
}

// Launch with blocks of THREADS threads.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    softmax_cross_entropy(int batch, int outputs, const T *scores, const long long *labels,
                          T *losses, T *probabilities, T *dscores, double *statistics,
                          double *partial, int *counter) {
    fastconv::softmax_cross_entropy<THREADS>(batch, outputs, scores, labels, losses, probabilities,
                                             dscores, statistics, partial, counter);
}

// Launch with one block of THREADS threads.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    sum_losses(int batch, const T *losses, double *statistics) {
    __shared__ double room[THREADS];
    double sum = 0;
    for (int n = threadIdx.x; n < batch; n += THREADS) sum += losses[n];
    sum = fastconv::sum_of_block<THREADS>(sum, room);
    if (threadIdx.x == 0) {
        statistics[0] += sum;
        statistics[2] += batch;
    }
}

// Launch with one block of THREADS threads. The first of equal scores counts, and a NaN is the
// largest.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    count_correct(int batch, int outputs, const T *scores, const long long *labels,
                  double *statistics) {
    __shared__ double room[THREADS];
    double correct = 0;
    for (int n = threadIdx.x; n < batch; n += THREADS) {
        const T *const row = scores + static_cast<long long>(n) * outputs;
        int best = 0;
        for (int k = 1; k < outputs; k++)
            if (row[k] > row[best] || (row[k] != row[k] && row[best] == row[best])) best = k;
        correct += best == labels[n];
    }
    correct = fastconv::sum_of_block<THREADS>(correct, room);
    if (threadIdx.x == 0) statistics[1] += correct;
}
