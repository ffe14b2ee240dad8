// Products of few rows, as of a dense layer at batch 1: each element of B is read once, by threads
// that lie as its elements do in memory, and no tile is filled with rows that are not there.
#pragma once

#include "factor.cuh"
#include "results.cuh"

namespace fastconv {

constexpr int GEMV_COLUMNS = 32; // of a block
constexpr int GEMV_ROWS = 4;     // at a time

// `size`, `store`, `partial` and `counters` are those of multiply, with one group, and the sums of
// parts lie as its sums do. Launch with a grid of (ceil(columns / GEMV_COLUMNS), parts) and THREADS
// threads.
template <bool B_ALONG_K, typename T, typename Store>
__device__ void multiply_few_rows(const Sizes &size, const Matrix<T> &a, const Matrix<T> &b,
                                  const Store &store, T *partial, int *counters) {
    constexpr int WARPS = THREADS / WARP, COLUMNS_OF_A_WARP = GEMV_COLUMNS / WARPS;
    static_assert(GEMV_COLUMNS == WARP && GEMV_ROWS == WARPS, "a thread for each result");
    // Sums of warps: of the same terms, or of other ones.
    constexpr int SHARES = B_ALONG_K ? 1 : WARPS;
    __shared__ T room[SHARES][GEMV_ROWS][GEMV_COLUMNS];

    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int part = blockIdx.y, first_column = blockIdx.x * GEMV_COLUMNS;
    const int share = (size.depth + size.parts - 1) / size.parts, from = part * share;
    const int to = from + share < size.depth ? from + share : size.depth;
    const int n = first_column + lane, count = size.rows * size.columns;

    for (int first_row = 0; first_row < size.rows; first_row += GEMV_ROWS) {
        const T *rows[GEMV_ROWS];
#pragma unroll
        for (int r = 0; r < GEMV_ROWS; r++) {
            const int m = first_row + r;
            rows[r] = a.first + (m < size.rows ? m : 0) * a.line_stride;
        }
        // Terms `start`, `start + apart`, ... of column `n`.
        const auto add = [&](int n, int start, int apart, T(&sums)[GEMV_ROWS]) {
            const T *const column = b.first + n * b.line_stride;
#pragma unroll 8
            for (int k = start; k < to; k += apart) {
                const T weight = column[k * b.term_stride];
#pragma unroll
                for (int r = 0; r < GEMV_ROWS; r++)
                    sums[r] += rows[r][k * a.term_stride] * weight;
            }
        };
        __syncthreads(); // nobody reads the sums of the rows before any more
        if constexpr (B_ALONG_K) {
            for (int c = 0; c < COLUMNS_OF_A_WARP; c++) {
                const int column = warp * COLUMNS_OF_A_WARP + c;
                T sums[GEMV_ROWS] = {};
                if (first_column + column < size.columns)
                    add(first_column + column, from + lane, WARP, sums);
#pragma unroll
                for (int r = 0; r < GEMV_ROWS; r++) {
                    const T sum = sum_of_warp(sums[r]);
                    if (lane == 0) room[0][r][column] = sum;
                }
            }
        } else {
            T sums[GEMV_ROWS] = {};
            if (n < size.columns) add(n, from + warp, WARPS, sums);
#pragma unroll
            for (int r = 0; r < GEMV_ROWS; r++) room[warp][r][lane] = sums[r];
        }
        __syncthreads();
        const int m = first_row + warp;
        if (m >= size.rows || n >= size.columns) continue;
        T sum = 0;
        for (int s = 0; s < SHARES; s++) sum += room[s][warp][lane];
        if (size.parts == 1) store_one(store, 0, m, n, sum);
        else partial[part * count + m * size.columns + n] = sum;
    }
    if (size.parts == 1 || !counters) return;
    if (!is_last_of(size.parts, counters + blockIdx.x)) return;
    // Other blocks wrote these: they are not taken from this one's cache.
    const volatile T *const sums = partial;
    for (int m = warp; m < size.rows; m += WARPS)
        if (n < size.columns)
            store_one(store, 0, m, n, sum_of_parts(sums, size.parts, count, m * size.columns + n));
}

}  // namespace fastconv
