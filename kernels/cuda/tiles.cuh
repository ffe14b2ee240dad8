// How a block multiplies two tiles in shared memory, of ROWS and COLUMNS lines with DEPTH terms each,
// in the dtype of the numbers. tensor_tiles.cuh has the tiles of tensor cores.
//
// Lines are rows of A and columns of B. Whatever is contiguous in memory, terms or lines, is so in a
// tile, and is brought and read QUAD numbers at a time.
#pragma once

#include "threads.cuh"

namespace fastconv {

constexpr int THREADS = 128; // of a block
constexpr int QUAD = 4;      // neighbours that are brought together

// What factors are rounded to before they are multiplied; FULL: nothing.
enum Precision { FULL, TF32, BF16 };

// Numbers that are read and written at once.
template <typename T, int COUNT>
struct alignas(COUNT * sizeof(T) < 16 ? COUNT * sizeof(T) : 16) Pack {
    T of[COUNT];
};

template <int COUNT, typename T>
__device__ inline Pack<T, COUNT> read_pack(const T *from) {
    return *reinterpret_cast<const Pack<T, COUNT> *>(from);
}

// Where an element lies in a tile.
template <int SIDE, int DEPTH, bool ALONG_K, int PADDING>
struct Layout {
    static constexpr int STRIDE = (ALONG_K ? DEPTH : SIDE) + PADDING;
    static constexpr int SIZE = STRIDE * (ALONG_K ? SIDE : DEPTH);
    __device__ static int place(int line, int k) {
        return ALONG_K ? line * STRIDE + k : k * STRIDE + line;
    }
};

// The COUNT lines of a tile that a thread takes, of those that the THREADS_ACROSS threads beside
// each other take. Where terms are contiguous, a thread reads QUAD of them of a line, and threads
// beside each other read lines beside each other: with the padding they begin in different banks.
// Where lines are, it reads as many neighbours as 16 bytes hold.
template <int SIDE, int DEPTH, int COUNT, bool ALONG_K>
struct Lines : Layout<SIDE, DEPTH, ALONG_K, ALONG_K ? QUAD : 0> {
    static constexpr int THREADS_ACROSS = SIDE / COUNT;
    static constexpr int TOGETHER = ALONG_K ? 1 : COUNT < QUAD ? COUNT : QUAD;

    __device__ static int line(int thread, int i) {
        return thread * TOGETHER + i % TOGETHER + i / TOGETHER * TOGETHER * THREADS_ACROSS;
    }
    // Terms k to k + QUAD - 1 of each.
    template <typename T>
    __device__ static void read(const T *tile, int thread, int k, T (&terms)[QUAD][COUNT]) {
        if constexpr (ALONG_K) {
#pragma unroll
            for (int i = 0; i < COUNT; i++) {
                const Pack<T, QUAD> quad =
                    read_pack<QUAD>(tile + Lines::place(line(thread, i), k));
#pragma unroll
                for (int e = 0; e < QUAD; e++) terms[e][i] = quad.of[e];
            }
        } else {
#pragma unroll
            for (int e = 0; e < QUAD; e++)
#pragma unroll
                for (int i = 0; i < COUNT; i += TOGETHER) {
                    const Pack<T, TOGETHER> pack =
                        read_pack<TOGETHER>(tile + Lines::place(line(thread, i), k + e));
#pragma unroll
                    for (int p = 0; p < TOGETHER; p++) terms[e][i + p] = pack.of[p];
                }
        }
    }
};

// A thread makes DOWN x ACROSS results.
template <Precision PRECISION, int ROWS, int COLUMNS, bool A_ALONG_K, bool B_ALONG_K, typename T>
struct Tiles {
    static_assert(PRECISION == FULL, "tensor cores take float");
    using Element = T;
    static constexpr int DEPTH = 16;
    static constexpr int DOWN = ROWS < 128 ? 4 : 8, RESULTS = ROWS * COLUMNS / THREADS;
    static constexpr int ACROSS = RESULTS / DOWN;
    static constexpr bool IS_ASYNC = true; // elements are what is in memory
    using A = Lines<ROWS, DEPTH, DOWN, A_ALONG_K>;
    using B = Lines<COLUMNS, DEPTH, ACROSS, B_ALONG_K>;

    // Where the terms of A are contiguous, a thread's rows are so far apart.
    static constexpr int APART = A::THREADS_ACROSS;
    static_assert(A::THREADS_ACROSS * B::THREADS_ACROSS == THREADS, "each thread has its results");

    __device__ static void multiply(const T *a, const T *b, T *sums) {
#pragma unroll
        for (int k = 0; k < DEPTH; k += QUAD) {
            T left[QUAD][DOWN], right[QUAD][ACROSS];
            A::read(a, thread_row(), k, left);
            B::read(b, thread_column(), k, right);
#pragma unroll
            for (int e = 0; e < QUAD; e++)
#pragma unroll
                for (int i = 0; i < DOWN; i++)
#pragma unroll
                    for (int j = 0; j < ACROSS; j++)
                        sums[i * ACROSS + j] += left[e][i] * right[e][j];
        }
    }

    __device__ static int thread_row() { return threadIdx.x / B::THREADS_ACROSS; }
    __device__ static int thread_column() { return threadIdx.x % B::THREADS_ACROSS; }

    // Where a result of this thread lies in the product of the tiles; of its row number `down` and
    // its column number `across`, and which result that is.
    static constexpr int ROWS_OF_A_THREAD = DOWN, COLUMNS_OF_A_THREAD = ACROSS;
    __device__ static int row(int down) { return A::line(thread_row(), down); }
    __device__ static int column(int across) { return B::line(thread_column(), across); }
    __device__ static int result(int down, int across) { return down * ACROSS + across; }
};

}  // namespace fastconv
