// The softmax of a row of scores, by a warp.
#pragma once

#include "threads.cuh"

namespace fastconv {

// What every score of a row needs: e^(score - largest) / sum is the same number without overflow.
template <typename T>
struct Softmax {
    T largest, sum;
    __device__ T operator()(T score) const { return exp(score - largest) / sum; }
    __device__ T logarithm(T score) const { return score - largest - log(sum); }
};

// All lanes of a warp take part, and get the same.
template <typename T>
__device__ inline Softmax<T> softmax_of(const T *scores, int classes) {
    const int lane = threadIdx.x % WARP;
    T largest = scores[0];
    LongSum<T> sum;
    for (int k = lane; k < classes; k += WARP) largest = larger(largest, scores[k]);
    largest = largest_of_warp(largest);
    for (int k = lane; k < classes; k += WARP) sum += exp(scores[k] - largest);
    return {largest, sum_of_warp(static_cast<T>(sum.value()))};
}

}  // namespace fastconv
