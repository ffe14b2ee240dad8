// Softmax cross-entropy of a batch with its gradient and statistics, by the blocks of a grid.
#pragma once

#include "softmax.cuh"
#include "threads.cuh"

namespace fastconv {

// The score of a label. Nobody has looked at labels that came from the device: one that is none of
// the classes has NaN, and nothing beside the row is read.
template <typename T>
__device__ inline T score_of(const T *row, long long label, int outputs) {
    return label >= 0 && label < outputs ? row[label] : static_cast<T>(nan(""));
}

// Losses, probabilities, the gradient of the mean loss and the statistics of a batch: what
// softmax_cross_entropy_forward and _backward, sum_losses and count_correct do, by blocks of THREADS
// threads. A warp takes samples that are as far apart as there are warps, and their sums are added
// in order: of a block's by one thread, and of several blocks', which lie in `partial`, by the last
// of them that `counter` finds done. One block needs neither.
template <int THREADS, typename T>
__device__ inline void softmax_cross_entropy(int batch, int outputs, const T *scores,
                                             const long long *labels, T *losses, T *probabilities,
                                             T *dscores, double *statistics, double *partial,
                                             int *counter) {
    constexpr int WARPS = THREADS / WARP;
    __shared__ double sums[WARPS], hits[WARPS];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, blocks = gridDim.x;
    double total = 0, correct = 0;
    for (int n = blockIdx.x * WARPS + warp; n < batch; n += blocks * WARPS) {
        const int first = n * outputs;
        const long long label = labels[n];
        const T *const row = scores + first;
        const Softmax<T> softmax = softmax_of(row, outputs);
        int place = outputs; // of the first largest score; a NaN is the largest
        for (int k = outputs - 1 - lane; k >= 0; k -= WARP)
            if (row[k] == softmax.largest || row[k] != row[k]) place = k;
        for (int distance = WARP / 2; distance > 0; distance /= 2) {
            const int other = __shfl_xor_sync(ALL_LANES, place, distance);
            place = other < place ? other : place;
        }
        for (int k = lane; k < outputs; k += WARP) {
            const T probability = softmax(row[k]);
            probabilities[first + k] = probability;
            dscores[first + k] = (probability - (k == label ? T(1) : T(0))) / batch;
        }
        const T loss = -softmax.logarithm(score_of(row, label, outputs));
        if (lane == 0) losses[n] = loss;
        total += loss;
        correct += place == label;
    }
    if (lane == 0) {
        sums[warp] = total;
        hits[warp] = correct;
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int i = 1; i < WARPS; i++) {
        total += sums[i];
        correct += hits[i];
    }
    if (blocks > 1) {
        partial[2 * blockIdx.x] = total;
        partial[2 * blockIdx.x + 1] = correct;
        __threadfence(); // they are there before this block is counted
        if (atomicAdd(counter, 1) != blocks - 1) return;
        *counter = 0;
        __threadfence();
        // Others wrote these: what a cache of this multiprocessor has of them does not count.
        const volatile double *const made = partial;
        total = correct = 0;
        for (int i = 0; i < blocks; i++) {
            total += made[2 * i];
            correct += made[2 * i + 1];
        }
    }
    statistics[0] += total;
    statistics[1] += correct;
    statistics[2] += batch;
}

}  // namespace fastconv
