// Products of matrices that need not be there: the one building block of convolutions and dense
// layers.
//
// A and B are views with `row(m)` or `column(n)`, what belongs to a line of them and is computed
// once, and `at(line, k)`, an element. A block of THREADS threads makes a tile of SIDE x SIDE
// elements of the product; each k-th column of A and row of B passes through shared memory. Where
// there are few tiles, blocks share the sum over k: each writes the sum of its part. Where there is
// a counter for each tile, the block that finds all parts of its tile there adds them up, else
// `sum_parts` does in a launch of its own: in the same order, so no result depends on which block
// is last.
//
// Source of the idea: NVIDIA, "CUTLASS: Fast Linear Algebra in CUDA C++" (2017), and Chetlur et
// al., "cuDNN: Efficient Primitives for Deep Learning" (arXiv:1410.0759) for the views.
#pragma once

#include "threads.cuh"

namespace fastconv {

constexpr int THREADS = 256;
constexpr int DEPTH = 16; // columns of A and rows of B in shared memory at a time

// Element (row, column) of a matrix in memory, as A (lines are rows) or as B (lines are columns).
template <typename T>
struct Matrix {
    const T *first;
    int row_stride, column_stride;

    struct Line {
        const T *first;
    };
    __device__ Line row(int m) const { return {first + static_cast<long long>(m) * row_stride}; }
    __device__ Line column(int n) const {
        return {first + static_cast<long long>(n) * column_stride};
    }
};

template <typename T>
struct LeftMatrix : Matrix<T> {
    __device__ T at(const typename Matrix<T>::Line &line, int k) const {
        return line.first[static_cast<long long>(k) * this->column_stride];
    }
};

template <typename T>
struct RightMatrix : Matrix<T> {
    __device__ T at(const typename Matrix<T>::Line &line, int k) const {
        return line.first[static_cast<long long>(k) * this->row_stride];
    }
};

// Sizes of a product, and the parts that its sums are made in.
struct Sizes {
    int rows, columns, depth, groups, parts;
};

// Element `place` of a product of `count` elements, from the sums of its parts, in order. They may
// be other blocks': they are not taken from this one's cache.
template <typename T>
__device__ T sum_of_parts(const volatile T *partial, int parts, long long count, long long place) {
    T sum = 0;
    for (int part = 0; part < parts; part++) sum += partial[part * count + place];
    return sum;
}

// `store(group, m, n, sum)` where there is one part, else the sum goes to `partial`
// (parts, groups, rows, columns). `counters` may be null; else they are 0, one for each tile of
// each group, and 0 again afterwards. Launch with a grid of (tiles, groups * parts) and THREADS
// threads. A_ALONG_K: neighbours in A are those along k, so neighbouring threads take these.
template <int SIDE, bool A_ALONG_K, bool B_ALONG_K, typename T, typename A, typename B,
          typename Store>
__device__ void multiply(const Sizes &size, const A &a, const B &b, const Store &store, T *partial,
                         int *counters) {
    constexpr int EACH = SIDE / 16;                     // results of a thread, down and across
    constexpr int LOADS = SIDE * DEPTH / THREADS;       // elements it brings of A, and of B
    __shared__ T a_tile[DEPTH][SIDE + 1], b_tile[DEPTH][SIDE + 1];

    const int group = blockIdx.y % size.groups, part = blockIdx.y / size.groups;
    const int across = (size.columns + SIDE - 1) / SIDE;
    const int first_row = blockIdx.x / across * SIDE, first_column = blockIdx.x % across * SIDE;
    const int steps = (size.depth + DEPTH - 1) / DEPTH;
    const int share = (steps + size.parts - 1) / size.parts * DEPTH;
    const int from = part * share, to = from + share < size.depth ? from + share : size.depth;

    const int thread = threadIdx.x;
    decltype(a.row(0)) rows[LOADS];
    decltype(b.column(0)) columns[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int e = thread + i * THREADS;
        const int m = first_row + (A_ALONG_K ? e / DEPTH : e % SIDE);
        const int n = first_column + (B_ALONG_K ? e / DEPTH : e % SIDE);
        rows[i] = a.row(m < size.rows ? m : 0);
        columns[i] = b.column(n < size.columns ? n : 0);
    }

    T sums[EACH][EACH] = {};
    for (int start = from; start < to; start += DEPTH) {
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            const int e = thread + i * THREADS;
            const int a_line = A_ALONG_K ? e / DEPTH : e % SIDE;
            const int b_line = B_ALONG_K ? e / DEPTH : e % SIDE;
            const int a_k = A_ALONG_K ? e % DEPTH : e / SIDE;
            const int b_k = B_ALONG_K ? e % DEPTH : e / SIDE;
            const bool in_a = first_row + a_line < size.rows && start + a_k < to;
            const bool in_b = first_column + b_line < size.columns && start + b_k < to;
            a_tile[a_k][a_line] = in_a ? a.at(rows[i], start + a_k) : T(0);
            b_tile[b_k][b_line] = in_b ? b.at(columns[i], start + b_k) : T(0);
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            T left[EACH], right[EACH];
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                left[i] = a_tile[k][thread / 16 + i * 16];
                right[i] = b_tile[k][thread % 16 + i * 16];
            }
#pragma unroll
            for (int i = 0; i < EACH; i++)
#pragma unroll
                for (int j = 0; j < EACH; j++) sums[i][j] += left[i] * right[j];
        }
        __syncthreads();
    }

#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            const int m = first_row + thread / 16 + i * 16, n = first_column + thread % 16 + j * 16;
            if (m >= size.rows || n >= size.columns) continue;
            if (size.parts == 1) {
                store(group, m, n, sums[i][j]);
            } else {
                const long long line = static_cast<long long>(blockIdx.y) * size.rows + m;
                partial[line * size.columns + n] = sums[i][j];
            }
        }
    if (size.parts == 1 || !counters) return;

    __shared__ bool is_last;
    __threadfence(); // what this block wrote is there before it is counted
    __syncthreads();
    if (thread == 0) {
        int *const counter = counters + group * gridDim.x + blockIdx.x;
        is_last = atomicAdd(counter, 1) == size.parts - 1;
        if (is_last) *counter = 0;
    }
    __syncthreads();
    if (!is_last) return;
    __threadfence();
    const long long count = static_cast<long long>(size.groups) * size.rows * size.columns;
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            const int m = first_row + thread / 16 + i * 16, n = first_column + thread % 16 + j * 16;
            if (m >= size.rows || n >= size.columns) continue;
            const long long place =
                (static_cast<long long>(group) * size.rows + m) * size.columns + n;
            store(group, m, n, sum_of_parts(partial, size.parts, count, place));
        }
}

// Add up what the parts of a product came to. Launch with any grid and block of one dimension.
template <typename T, typename Store>
__device__ void sum_parts(const Sizes &size, const T *partial, const Store &store) {
    const int plane = size.rows * size.columns, count = size.groups * plane;
    for (int i = first_index(); i < count; i += index_step()) {
        const T sum = sum_of_parts(partial, size.parts, count, i);
        store(i / plane, i % plane / size.columns, i % size.columns, sum);
    }
}

}  // namespace fastconv
