// Weights of samples in a loss, and the statistics with weights (backends/cupy/loss_weights.py). A
// sample of factor 0 counts for nothing, whatever its loss is.
#include "threads.cuh"

namespace {

constexpr int THREADS = 256;

}  // namespace

// Any grid and block of one dimension, here and in the next. Null weights stand for 1.
template <typename T>
__global__ void label_weights(int batch, int outputs, int has_ignore_index,
                              unsigned long long ignore_index, const long long *labels,
                              const T *class_weights, const T *sample_weights,
                              long long *counted, T *factors, T *weights) {
    using namespace fastconv;
    for (int n = first_index(); n < batch; n += index_step()) {
        const long long label = labels[n];
        const bool ignored = has_ignore_index && label == static_cast<long long>(ignore_index);
        const T factor = ignored ? T(0) : sample_weights ? sample_weights[n] : T(1);
        T of_class = 1;
        if (class_weights)
            of_class =
                label >= 0 && label < outputs ? class_weights[label] : static_cast<T>(nan(""));
        counted[n] = factor == 0 ? -1 : label;
        factors[n] = factor;
        weights[n] = factor == 0 ? T(0) : factor * of_class;
    }
}

template <typename T>
__global__ void weigh_losses(int batch, const T *factors, T *losses) {
    using namespace fastconv;
    for (int n = first_index(); n < batch; n += index_step())
        losses[n] = factors[n] == 0 ? T(0) : factors[n] * losses[n];
}

// Launch with blocks of THREADS threads; each block sums the weights, in one order.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    weigh_gradients(int batch, int outputs, const T *factors, const T *weights, T *dscores) {
    using namespace fastconv;
    __shared__ double room[THREADS];
    double total = 0;
    for (int n = threadIdx.x; n < batch; n += THREADS) total += weights[n];
    total = sum_of_block<THREADS>(total, room);
    for (int i = first_index(); i < batch * outputs; i += index_step()) {
        const T factor = factors[i / outputs];
        const bool nothing = factor == 0 || total == 0;
        dscores[i] = nothing ? T(0) : dscores[i] * static_cast<T>(factor * (batch / total));
    }
}

// Launch with one block of THREADS threads.
template <typename T>
__global__ void __launch_bounds__(THREADS)
    sum_weighted_losses(int batch, const T *losses, const T *factors, const T *weights,
                        double *statistics) {
    using namespace fastconv;
    __shared__ double room[THREADS];
    double loss = 0, samples = 0, weight = 0;
    for (int n = threadIdx.x; n < batch; n += THREADS) {
        loss += losses[n];
        samples += factors[n] != 0;
        weight += weights[n];
    }
    loss = sum_of_block<THREADS>(loss, room);
    samples = sum_of_block<THREADS>(samples, room);
    weight = sum_of_block<THREADS>(weight, room);
    if (threadIdx.x != 0) return;
    statistics[0] += loss;
    statistics[2] += samples;
    statistics[3] += weight;
}
