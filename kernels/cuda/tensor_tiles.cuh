// How a block multiplies two tiles in shared memory by tensor cores.
//
// Tiles of TF32 hold the numbers of memory, which are rounded as they are read; those of bf16 hold
// rounded numbers, two in a word. The four warps lie over the product so that each has 32 rows or 64.
#pragma once

#include "tensor_cores.cuh"
#include "tiles.cuh"

namespace fastconv {

// Fragments of a warp, in the layouts of tensor_cores.cuh, from eight lines and 16 bytes of terms at a
// time: ldmatrix gives each lane the word of its line and of its place among four. Lines begin in
// different banks: they are an odd number of 16 bytes apart.
template <typename Element>
struct Fragments;

template <>
struct Fragments<float> {
    static constexpr int DEPTH = 8;     // of one multiplication
    static constexpr int TILE_DEPTH = 16;
    static constexpr int PADDING_ALONG_K = 4, PADDING_ALONG_LINES = 8;
    static constexpr bool IS_ASYNC = true;

    // Of the 16 rows of A from `line` on, terms k to k + 7.
    template <typename Layout, bool ALONG_K>
    __device__ static void read_a(const float *tile, int line, int k, unsigned (&words)[4]) {
        if constexpr (ALONG_K) {
            const int lane = threadIdx.x % WARP;
            load_matrices(words, tile + Layout::place(line + lane % 16, k + lane / 16 * 4));
            round_words(words);
        } else {
            const int group = threadIdx.x % WARP / 4, member = threadIdx.x % 4;
#pragma unroll
            for (int e = 0; e < 4; e++)
                words[e] = to_tf32(
                    tile[Layout::place(line + group + e % 2 * 8, k + member + e / 2 * 4)]);
        }
    }
    // Of the 8 columns of B from `line` on, and of the other 8 of the same 16.
    template <typename Layout, bool ALONG_K>
    __device__ static void read_b(const float *tile, int line, int k, unsigned (&words)[4]) {
        if constexpr (ALONG_K) {
            const int lane = threadIdx.x % WARP;
            load_matrices(words, tile + Layout::place((line ^ lane / 16 * 8) + lane % 8,
                                                      k + lane / 8 % 2 * 4));
            round_words(words);
        } else {
            const int group = threadIdx.x % WARP / 4, member = threadIdx.x % 4;
#pragma unroll
            for (int e = 0; e < 4; e++)
                words[e] = to_tf32(
                    tile[Layout::place((line ^ e / 2 * 8) + group, k + member + e % 2 * 4)]);
        }
    }
    __device__ static void multiply(float *sums, const unsigned *a, const unsigned *b) {
        mma_tf32(sums, a, b);
    }

private:
    __device__ static void round_words(unsigned (&words)[4]) {
#pragma unroll
        for (int e = 0; e < 4; e++) words[e] = to_tf32(__uint_as_float(words[e]));
    }
};

template <>
struct Fragments<unsigned short> {
    static constexpr int DEPTH = 16, TILE_DEPTH = 32;
    static constexpr int PADDING_ALONG_K = 8, PADDING_ALONG_LINES = 8;
    static constexpr bool IS_ASYNC = false;

    // Where lines are contiguous, eight terms of eight lines are turned on their way.
    template <typename Layout, bool ALONG_K>
    __device__ static void read_a(const unsigned short *tile, int line, int k,
                                  unsigned (&words)[4]) {
        const int lane = threadIdx.x % WARP;
        if constexpr (ALONG_K)
            load_matrices(words, tile + Layout::place(line + lane % 16, k + lane / 16 * 8));
        else
            load_transposed(words, tile + Layout::place(line + lane / 8 % 2 * 8,
                                                        k + lane / 16 * 8 + lane % 8));
    }
    template <typename Layout, bool ALONG_K>
    __device__ static void read_b(const unsigned short *tile, int line, int k,
                                  unsigned (&words)[4]) {
        const int lane = threadIdx.x % WARP;
        if constexpr (ALONG_K)
            load_matrices(words, tile + Layout::place((line ^ lane / 16 * 8) + lane % 8,
                                                      k + lane / 8 % 2 * 8));
        else
            load_transposed(words, tile + Layout::place(line ^ lane / 16 * 8, k + lane % 16));
    }
    __device__ static void multiply(float *sums, const unsigned *a, const unsigned *b) {
        mma_bf16(sums, a, b);
    }
};

template <typename Numbers, int ROWS, int COLUMNS, bool A_ALONG_K, bool B_ALONG_K>
struct TensorTiles {
    using Element = Numbers;
    using Parts = Fragments<Element>;
    static constexpr int DEPTH = Parts::TILE_DEPTH;
    static constexpr bool IS_ASYNC = Parts::IS_ASYNC;

    template <int SIDE, bool ALONG_K>
    using Padded = Layout<SIDE, DEPTH, ALONG_K,
                          ALONG_K ? Parts::PADDING_ALONG_K : Parts::PADDING_ALONG_LINES>;
    using A = Padded<ROWS, A_ALONG_K>;
    using B = Padded<COLUMNS, B_ALONG_K>;

    // Warps beside each other, and what each of them has: DOWN x ACROSS products of 16 x 8.
    static constexpr int WARPS_DOWN = ROWS < 128 ? 1 : COLUMNS < 64 ? 4 : 2;
    static constexpr int WARPS_ACROSS = THREADS / WARP / WARPS_DOWN;
    static constexpr int WARP_ROWS = ROWS / WARPS_DOWN, WARP_COLUMNS = COLUMNS / WARPS_ACROSS;
    static constexpr int DOWN = WARP_ROWS / 16, ACROSS = WARP_COLUMNS / 8;
    static constexpr int RESULTS = ROWS * COLUMNS / THREADS;
    static constexpr int APART = 8; // rows of a thread

    __device__ static void multiply(const Element *a, const Element *b, float *sums) {
#pragma unroll
        for (int k = 0; k < DEPTH; k += Parts::DEPTH) {
            unsigned left[DOWN][4], right[(ACROSS + 1) / 2][4];
#pragma unroll
            for (int i = 0; i < DOWN; i++)
                Parts::template read_a<A, A_ALONG_K>(a, first_row() + i * 16, k, left[i]);
#pragma unroll
            for (int j = 0; j < ACROSS; j += 2)
                Parts::template read_b<B, B_ALONG_K>(b, first_column() + j * 8, k, right[j / 2]);
#pragma unroll
            for (int i = 0; i < DOWN; i++)
#pragma unroll
                for (int j = 0; j < ACROSS; j++)
                    Parts::multiply(sums + (i * ACROSS + j) * 4, left[i],
                                    right[j / 2] + j % 2 * 2);
        }
    }

    __device__ static int first_row() { return threadIdx.x / WARP / WARPS_ACROSS * WARP_ROWS; }
    __device__ static int first_column() {
        return threadIdx.x / WARP % WARPS_ACROSS * WARP_COLUMNS;
    }

    static constexpr int ROWS_OF_A_THREAD = 2 * DOWN, COLUMNS_OF_A_THREAD = 2 * ACROSS;
    __device__ static int row(int down) { return first_row() + threadIdx.x % WARP / 4 + down * 8; }
    __device__ static int column(int across) {
        return first_column() + across / 2 * 8 + threadIdx.x % 4 * 2 + across % 2;
    }
    __device__ static int result(int down, int across) {
        return (down / 2 * ACROSS + across / 2) * 4 + down % 2 * 2 + across % 2;
    }
};

template <int ROWS, int COLUMNS, bool A_ALONG_K, bool B_ALONG_K>
struct Tiles<TF32, ROWS, COLUMNS, A_ALONG_K, B_ALONG_K, float>
    : TensorTiles<float, ROWS, COLUMNS, A_ALONG_K, B_ALONG_K> {};

template <int ROWS, int COLUMNS, bool A_ALONG_K, bool B_ALONG_K>
struct Tiles<BF16, ROWS, COLUMNS, A_ALONG_K, B_ALONG_K, float>
    : TensorTiles<unsigned short, ROWS, COLUMNS, A_ALONG_K, B_ALONG_K> {};

}  // namespace fastconv
