// Rows by their numbers, by all threads of a grid of one dimension, or by those of one block.
#pragma once

#include "threads.cuh"

namespace fastconv {

// out[n] = rows[indices[n]], rows of `size` elements.
template <typename T, typename Stored>
__device__ inline void gather(int batch, int size, const Stored *rows, const long long *indices,
                              T *out) {
    for (int i = first_index(); i < batch * size; i += index_step()) {
        const int n = i / size;
        out[i] = static_cast<T>(rows[indices[n] * size + (i - n * size)]);
    }
}

}  // namespace fastconv
