// Products of matrices that need not be there: the one building block of convolutions and dense
// layers.
//
// A and B are views with `row(m)` or `column(n)`, what belongs to a line of them and is computed
// once, and `at(line, k)`, an element. A block of THREADS threads makes a tile of SIDE x SIDE
// elements of the product; each k-th column of A and row of B passes through shared memory
// (tiles.cuh), and is rounded on its way to the precision of the product. Where there are few
// tiles, blocks share the sum over k: each writes the sum of its part. Where there is a counter for
// each tile, the block that finds all parts of its tile there adds them up, else `sum_parts` does
// in a launch of its own: in the same order, so no result depends on which block is last.
//
// Source of the idea: NVIDIA, "CUTLASS: Fast Linear Algebra in CUDA C++" (2017), and Chetlur et
// al., "cuDNN: Efficient Primitives for Deep Learning" (arXiv:1410.0759) for the views.
#pragma once

#include "threads.cuh"
#include "tiles.cuh"

namespace fastconv {

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

// The row of a tile that line `line` in shared memory is. For windows, the four rows of one are two
// results of each of two threads that can show each other theirs.
template <bool WINDOWS, typename Tile>
__device__ int row_of(int line) {
    if (!WINDOWS) return line;
    const int apart = Tile::APART, pair = line / (2 * apart);
    return pair * 2 * apart + line % apart / 2 * 4 + line / apart % 2 * 2 + line % 2;
}

// Store the results of a product whose rows 4 w to 4 w + 3 are the pixels of window w of 2 x 2, row
// by row: `store(group, m, n, sum)` takes each, and returns what it made of it;
// `store.window(group, w, n, value, pixel)` takes the largest of these, and which one it was.
template <typename Tile, typename T, int RESULTS, typename Store>
__device__ void store_windows(const Sizes &size, int group, int first_row, int first_column,
                              const Store &store, T (&values)[RESULTS]) {
#pragma unroll
    for (int i = 0; i < RESULTS; i++) {
        const int m = first_row + row_of<true, Tile>(Tile::row(i));
        const int n = first_column + Tile::column(i);
        if (m < size.rows && n < size.columns) values[i] = store(group, m, n, values[i]);
    }
#pragma unroll
    for (int i = 0; i < RESULTS; i++) {
        if (!Tile::is_upper(i)) continue;
        const T upper = values[i], lower = values[Tile::below(i)];
        const T upper_right = __shfl_xor_sync(ALL_LANES, upper, Tile::BESIDE);
        const T lower_right = __shfl_xor_sync(ALL_LANES, lower, Tile::BESIDE);
        const int m = first_row + row_of<true, Tile>(Tile::row(i));
        const int n = first_column + Tile::column(i);
        // The thread on the left stores.
        if (m % 2 != 0 || m >= size.rows || n >= size.columns) continue;
        T largest = upper;
        int pixel = 0;
        const T others[3] = {upper_right, lower, lower_right};
#pragma unroll
        for (int e = 0; e < 3; e++)
            if (wins(others[e], largest)) {
                largest = others[e];
                pixel = e + 1;
            }
        store.window(group, m / 4, n, largest, pixel);
    }
}

// `store(group, m, n, sum)` where there is one part, else the sum goes to `partial`
// (parts, groups, rows, columns). `counters` may be null; else they are 0, one for each tile of
// each group, and 0 again afterwards. Launch with a grid of (tiles, groups * parts) and THREADS
// threads. A_ALONG_K: neighbours in A are those along k, so neighbouring threads take these.
// WINDOWS: `store` takes windows too, as store_windows says.
template <Precision PRECISION, int SIDE, bool A_ALONG_K, bool B_ALONG_K, bool WINDOWS = false,
          typename T, typename A, typename B, typename Store>
__device__ void multiply(const Sizes &size, const A &a, const B &b, const Store &store, T *partial,
                         int *counters) {
    using Tile = Tiles<PRECISION, SIDE, A_ALONG_K, B_ALONG_K, T>;
    constexpr int NUMBERS = Tile::NUMBERS, WORDS = DEPTH / NUMBERS; // words of a line
    constexpr int RESULTS = SIDE * SIDE / THREADS;                  // of a thread
    constexpr int LOADS = SIDE * WORDS / THREADS; // words it brings of A, and of B
    // Two of each: while one is multiplied, the next one is brought.
    __shared__ typename Tile::Word a_tiles[2][Tile::A_SIZE], b_tiles[2][Tile::B_SIZE];

    const int group = blockIdx.y % size.groups, part = blockIdx.y / size.groups;
    const int across = (size.columns + SIDE - 1) / SIDE;
    const int first_row = blockIdx.x / across * SIDE, first_column = blockIdx.x % across * SIDE;
    const int steps = (size.depth + DEPTH - 1) / DEPTH;
    const int share = (steps + size.parts - 1) / size.parts * DEPTH;
    const int from = part * share, to = from + share < size.depth ? from + share : size.depth;

    const int thread = threadIdx.x;
    // Line and word in a tile of what this thread brings.
    int a_line[LOADS], a_word[LOADS], b_line[LOADS], b_word[LOADS];
    decltype(a.row(0)) rows[LOADS];
    decltype(b.column(0)) columns[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int e = thread + i * THREADS;
        a_line[i] = A_ALONG_K ? e / WORDS : e % SIDE;
        b_line[i] = B_ALONG_K ? e / WORDS : e % SIDE;
        a_word[i] = A_ALONG_K ? e % WORDS : e / SIDE;
        b_word[i] = B_ALONG_K ? e % WORDS : e / SIDE;
        const int m = first_row + row_of<WINDOWS, Tile>(a_line[i]);
        const int n = first_column + b_line[i];
        rows[i] = a.row(m < size.rows ? m : 0);
        columns[i] = b.column(n < size.columns ? n : 0);
    }

    typename Tile::Word a_words[LOADS], b_words[LOADS];
    const auto bring = [&](int start) {
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            T left[NUMBERS], right[NUMBERS];
#pragma unroll
            for (int e = 0; e < NUMBERS; e++) {
                const int a_k = start + a_word[i] * NUMBERS + e;
                const int b_k = start + b_word[i] * NUMBERS + e;
                const int m = first_row + row_of<WINDOWS, Tile>(a_line[i]);
                const bool in_a = m < size.rows && a_k < to;
                const bool in_b = first_column + b_line[i] < size.columns && b_k < to;
                left[e] = in_a ? a.at(rows[i], a_k) : T(0);
                right[e] = in_b ? b.at(columns[i], b_k) : T(0);
            }
            a_words[i] = Tile::word_of(left);
            b_words[i] = Tile::word_of(right);
        }
    };
    const auto put = [&](int empty) {
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            a_tiles[empty][Tile::place_in_a(a_line[i], a_word[i])] = a_words[i];
            b_tiles[empty][Tile::place_in_b(b_line[i], b_word[i])] = b_words[i];
        }
    };

    T sums[RESULTS] = {};
    bring(from);
    put(0);
    int filled = 0;
    for (int start = from; start < to; start += DEPTH) {
        // The tiles in `filled` are there, and all threads are done with the others.
        __syncthreads();
        const bool is_more = start + DEPTH < to;
        if (is_more) bring(start + DEPTH);
        Tile::multiply(a_tiles[filled], b_tiles[filled], sums);
        filled = 1 - filled;
        if (is_more) put(filled);
    }

    if (size.parts > 1) {
        const long long count = static_cast<long long>(size.groups) * size.rows * size.columns;
#pragma unroll
        for (int i = 0; i < RESULTS; i++) {
            const int m = first_row + row_of<WINDOWS, Tile>(Tile::row(i));
            const int n = first_column + Tile::column(i);
            const long long line = static_cast<long long>(blockIdx.y) * size.rows + m;
            if (m < size.rows && n < size.columns) partial[line * size.columns + n] = sums[i];
        }
        if (!counters) return;

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
#pragma unroll
        for (int i = 0; i < RESULTS; i++) {
            const int m = first_row + row_of<WINDOWS, Tile>(Tile::row(i));
            const int n = first_column + Tile::column(i);
            const long long line = static_cast<long long>(group) * size.rows + m;
            if (m < size.rows && n < size.columns)
                sums[i] = sum_of_parts(partial, size.parts, count, line * size.columns + n);
        }
    }

    if constexpr (WINDOWS) {
        store_windows<Tile>(size, group, first_row, first_column, store, sums);
    } else {
#pragma unroll
        for (int i = 0; i < RESULTS; i++) {
            const int m = first_row + Tile::row(i), n = first_column + Tile::column(i);
            if (m < size.rows && n < size.columns) store(group, m, n, sums[i]);
        }
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
