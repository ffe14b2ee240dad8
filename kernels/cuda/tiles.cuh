// How a block multiplies two tiles in shared memory, SIDE lines by DEPTH terms each: in the dtype
// of the numbers, or by tensor cores.
//
// A tile is made of words: a number, or two neighbours along k where a number is half a word. Lines
// are rows of A and columns of B.
#pragma once

#include "tensor_cores.cuh"
#include "threads.cuh"

namespace fastconv {

constexpr int THREADS = 256; // of a block
constexpr int DEPTH = 16;    // columns of A and rows of B in shared memory at a time

// What factors are rounded to before they are multiplied; FULL: nothing.
enum Precision { FULL, TF32, BF16 };

// Each thread makes every 16th row and column.
template <Precision PRECISION, int SIDE, bool A_ALONG_K, bool B_ALONG_K, typename T>
struct Tiles {
    static_assert(PRECISION == FULL, "tensor cores take float");
    using Word = T;
    static constexpr int NUMBERS = 1; // in a word
    static constexpr int A_SIZE = DEPTH * (SIDE + 1), B_SIZE = A_SIZE;
    static constexpr int EACH = SIDE / 16; // results of a thread, down and across

    // A thread has results APART rows from each other, and the one BESIDE it in a warp has those of
    // the next row, or the one before.
    static constexpr int APART = 16, BESIDE = 16;
    __device__ static bool is_upper(int result) { return result / EACH % 2 == 0; }
    __device__ static int below(int result) { return result + EACH; }

    __device__ static Word word_of(const T *numbers) { return *numbers; }
    __device__ static int place_in_a(int line, int k) { return k * (SIDE + 1) + line; }
    __device__ static int place_in_b(int line, int k) { return k * (SIDE + 1) + line; }

    __device__ static void multiply(const Word *a, const Word *b, T *sums) {
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            T left[EACH], right[EACH];
#pragma unroll
            for (int i = 0; i < EACH; i++) {
                left[i] = a[place_in_a(row(i * EACH), k)];
                right[i] = b[place_in_b(column(i), k)];
            }
#pragma unroll
            for (int i = 0; i < EACH; i++)
#pragma unroll
                for (int j = 0; j < EACH; j++) sums[i * EACH + j] += left[i] * right[j];
        }
    }

    // Where a result of this thread lies in the product of the tiles.
    __device__ static int row(int result) { return threadIdx.x / 16 + result / EACH * 16; }
    __device__ static int column(int result) { return threadIdx.x % 16 + result % EACH * 16; }
};

// What tensor cores do with words.
template <Precision PRECISION>
struct TensorCores {
    static constexpr int NUMBERS = 1;
    __device__ static unsigned word_of(const float *numbers) { return to_tf32(*numbers); }
    __device__ static void multiply(float *sums, const unsigned *a, const unsigned *b) {
        mma_tf32(sums, a, b);
    }
};

template <>
struct TensorCores<BF16> {
    static constexpr int NUMBERS = 2;
    __device__ static unsigned word_of(const float *numbers) {
        return to_bf16(numbers[0], numbers[1]);
    }
    __device__ static void multiply(float *sums, const unsigned *a, const unsigned *b) {
        mma_bf16(sums, a, b);
    }
};

// The 8 warps lie in 2 rows and 4 columns; each makes EACH x EACH products of 16 x 8.
//
// A warp reads 4 neighbouring words of 8 neighbouring lines at once, from 32 different banks: lines
// begin 12 or 20 banks behind each other, or words 8 banks if lines are what is contiguous. Hence
// the padding. What is contiguous is what neighbouring threads bring.
template <Precision PRECISION, int SIDE, bool A_ALONG_K, bool B_ALONG_K>
struct TensorTiles {
    using Word = unsigned;
    using Cores = TensorCores<PRECISION>;
    static constexpr int NUMBERS = Cores::NUMBERS;
    static constexpr int WORDS = DEPTH / NUMBERS;
    static constexpr int ALONG_K_SIZE = SIDE * (WORDS + 4), ALONG_LINES_SIZE = WORDS * (SIDE + 8);
    static constexpr int A_SIZE = A_ALONG_K ? ALONG_K_SIZE : ALONG_LINES_SIZE;
    static constexpr int B_SIZE = B_ALONG_K ? ALONG_K_SIZE : ALONG_LINES_SIZE;
    static constexpr int EACH = SIDE / 32;

    static constexpr int APART = 8, BESIDE = 4; // lanes
    __device__ static bool is_upper(int result) { return result % 4 < 2; }
    __device__ static int below(int result) { return result + 2; }

    template <bool ALONG_K>
    __device__ static int place(int line, int word) {
        return ALONG_K ? line * (WORDS + 4) + word : word * (SIDE + 8) + line;
    }
    __device__ static Word word_of(const float *numbers) { return Cores::word_of(numbers); }
    __device__ static int place_in_a(int line, int word) { return place<A_ALONG_K>(line, word); }
    __device__ static int place_in_b(int line, int word) { return place<B_ALONG_K>(line, word); }

    // The layouts of tensor_cores.cuh.
    __device__ static void multiply(const Word *a, const Word *b, float *sums) {
        const int group = threadIdx.x % WARP / 4, member = threadIdx.x % 4;
#pragma unroll
        for (int k = 0; k < WORDS; k += 8) {
            Word left[EACH][4], right[EACH][2];
#pragma unroll
            for (int i = 0; i < EACH; i++) {
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const int line = first_row() + i * 16 + group + e % 2 * 8;
                    left[i][e] = a[place_in_a(line, k + member + e / 2 * 4)];
                }
#pragma unroll
                for (int e = 0; e < 2; e++)
                    right[i][e] =
                        b[place_in_b(first_column() + i * 8 + group, k + member + e * 4)];
            }
#pragma unroll
            for (int i = 0; i < EACH; i++)
#pragma unroll
                for (int j = 0; j < EACH; j++)
                    Cores::multiply(sums + (i * EACH + j) * 4, left[i], right[j]);
        }
    }

    __device__ static int first_row() { return threadIdx.x / WARP / 4 * (SIDE / 2); }
    __device__ static int first_column() { return threadIdx.x / WARP % 4 * (SIDE / 4); }
    __device__ static int row(int result) {
        const int group = threadIdx.x % WARP / 4;
        return first_row() + result / 4 / EACH * 16 + group + result % 4 / 2 * 8;
    }
    __device__ static int column(int result) {
        const int member = threadIdx.x % 4;
        return first_column() + result / 4 % EACH * 8 + member * 2 + result % 2;
    }
};

template <int SIDE, bool A_ALONG_K, bool B_ALONG_K>
struct Tiles<TF32, SIDE, A_ALONG_K, B_ALONG_K, float>
    : TensorTiles<TF32, SIDE, A_ALONG_K, B_ALONG_K> {};

template <int SIDE, bool A_ALONG_K, bool B_ALONG_K>
struct Tiles<BF16, SIDE, A_ALONG_K, B_ALONG_K, float>
    : TensorTiles<BF16, SIDE, A_ALONG_K, B_ALONG_K> {};

}  // namespace fastconv
