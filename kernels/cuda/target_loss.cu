// Losses of targets that are numbers: a distribution over the classes, or a value of each output
// (backends/cupy/target_loss.py).
#include "softmax.cuh"
#include "threads.cuh"

namespace {

// In the order of fastconv.plans.loss_operation.ELEMENTWISE_LOSS_KINDS.
enum Kind { BINARY_CROSS_ENTROPY_WITH_LOGITS, HUBER, MEAN_ABSOLUTE_ERROR };

// A target as it counts: smoothed, and times the weight of its class.
template <typename T>
__device__ T smoothed(const T *target, const T *class_weights, int k, T kept, T spread) {
    const T value = kept * target[k] + spread;
    return class_weights ? value * class_weights[k] : value;
}

// max(y, 0) - y t is exactly 0 where a sure output is right.
template <typename T>
__device__ T loss_of(int kind, T y, T target, T delta) {
    const T difference = y - target, distance = difference < 0 ? -difference : difference;
    if (kind == HUBER)
        return distance <= delta ? difference * difference / 2 : delta * (distance - delta / 2);
    if (kind == MEAN_ABSOLUTE_ERROR) return distance;
    return (y <= 0 ? 0 : y) - y * target + log1p(exp(y > 0 ? -y : y));
}

// Compared so that a NaN stays one.
template <typename T>
__device__ T derivative_of(int kind, T y, T target, T delta) {
    const T difference = y - target;
    if (kind == HUBER)
        return difference < -delta ? -delta : difference > delta ? delta : difference;
    if (kind == MEAN_ABSOLUTE_ERROR)
        return difference > 0 ? T(1) : difference < 0 ? T(-1) : difference;
    return 1 / (1 + exp(-y)) - target;
}

}  // namespace

// Any grid and block of one dimension, here and where nothing is said.
template <typename T>
__global__ void one_hot(int batch, int outputs, const long long *labels, T *targets) {
    using namespace fastconv;
    for (int i = first_index(); i < batch * outputs; i += index_step()) {
        const long long label = labels[i / outputs];
        const bool is_class = label >= 0 && label < outputs;
        targets[i] = !is_class ? static_cast<T>(nan("")) : i % outputs == label ? T(1) : T(0);
    }
}

// Launch with blocks of one warp, which takes a sample.
template <typename T>
__global__ void __launch_bounds__(fastconv::WARP)
    soft_cross_entropy_forward(int batch, int outputs, double label_smoothing, const T *scores,
                               const T *targets, const T *class_weights, T *losses,
                               T *probabilities) {
    using namespace fastconv;
    const T kept = static_cast<T>(1 - label_smoothing);
    const T spread = static_cast<T>(label_smoothing / outputs);
    for (int n = blockIdx.x; n < batch; n += gridDim.x) {
        const long long first = static_cast<long long>(n) * outputs;
        const Softmax<T> softmax = softmax_of(scores + first, outputs);
        LongSum<T> sum;
        for (int k = threadIdx.x; k < outputs; k += WARP) {
            const T score = scores[first + k];
            const T q = smoothed(targets + first, class_weights, k, kept, spread);
            sum += q * softmax.logarithm(score);
            probabilities[first + k] = softmax(score);
        }
        const T total = sum_of_warp(static_cast<T>(sum.value()));
        if (threadIdx.x == 0) losses[n] = -total;
    }
}

// Launch with blocks of one warp, which takes a sample.
template <typename T>
__global__ void __launch_bounds__(fastconv::WARP)
    soft_cross_entropy_backward(int batch, int outputs, double label_smoothing,
                                const T *probabilities, const T *targets, const T *class_weights,
                                T *dscores) {
    using namespace fastconv;
    const T kept = static_cast<T>(1 - label_smoothing);
    const T spread = static_cast<T>(label_smoothing / outputs);
    for (int n = blockIdx.x; n < batch; n += gridDim.x) {
        const long long first = static_cast<long long>(n) * outputs;
        LongSum<T> sum;
        for (int k = threadIdx.x; k < outputs; k += WARP)
            sum += smoothed(targets + first, class_weights, k, kept, spread);
        const T whole = sum_of_warp(static_cast<T>(sum.value()));
        for (int k = threadIdx.x; k < outputs; k += WARP) {
            const T q = smoothed(targets + first, class_weights, k, kept, spread);
            dscores[first + k] = (probabilities[first + k] * whole - q) / batch;
        }
    }
}

// Launch with blocks of one warp, which takes a sample.
template <typename T>
__global__ void __launch_bounds__(fastconv::WARP)
    elementwise_loss_forward(int batch, int outputs, int kind, double delta, const T *y,
                             const T *target, T *losses) {
    using namespace fastconv;
    for (int n = blockIdx.x; n < batch; n += gridDim.x) {
        LongSum<T> sum;
        for (int k = threadIdx.x; k < outputs; k += WARP) {
            const long long i = static_cast<long long>(n) * outputs + k;
            sum += loss_of(kind, y[i], target[i], static_cast<T>(delta));
        }
        const T total = sum_of_warp(static_cast<T>(sum.value()));
        if (threadIdx.x == 0) losses[n] = total / outputs;
    }
}

template <typename T>
__global__ void elementwise_loss_backward(int batch, int outputs, int kind, double delta,
                                          const T *y, const T *target, T *dy) {
    using namespace fastconv;
    const double count = static_cast<double>(batch) * outputs;
    for (int i = first_index(); i < batch * outputs; i += index_step())
        dy[i] = derivative_of(kind, y[i], target[i], static_cast<T>(delta)) *
                static_cast<T>(1 / count);
}
