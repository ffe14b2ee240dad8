// Inverted dropout by all threads of a grid of one dimension, or by those of one block; y may be x.
#pragma once

#include "philox.cuh"
#include "threads.cuh"

namespace fastconv {

// Not a product with the mask: a dropped NaN or infinity is 0.
template <typename T>
__device__ inline void dropout_forward(int size, unsigned threshold, double scale,
                                       unsigned long long seed, unsigned stream,
                                       const long long *step, const T *x, unsigned char *mask,
                                       T *y) {
    for (int block = first_index(); block < (size + 3) / 4; block += index_step()) {
        const Words four = philox(block, stream, *step, seed);
        for (int i = 0; i < 4 && 4 * block + i < size; i++) {
            const int place = 4 * block + i;
            const bool kept = four.word[i] >> 8 >= threshold;
            mask[place] = kept;
            y[place] = kept ? x[place] * static_cast<T>(scale) : T(0);
        }
    }
}

template <typename T>
__device__ inline void dropout_backward(int size, double scale, const T *dy,
                                        const unsigned char *mask, T *dx) {
    for (int i = first_index(); i < size; i += index_step())
        dx[i] = mask[i] ? dy[i] * static_cast<T>(scale) : T(0);
}

}  // namespace fastconv
