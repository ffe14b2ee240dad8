/* Small matrix products in registers: the building block of the C kernels.
 *
 *   gemm_TYPE       C[i, j] = start[j] + sum over k of A[i, k] B[k, j]
 *   gemm_dots_TYPE  C[i, j] =            sum over k of A[i, k] B[j, k]
 *
 * with TYPE float32 or float64. A of gemm has any two strides, so that its transpose costs nothing;
 * B and C have unit stride along the row. Both matrices of gemm_dots have unit stride along k.
 * Nothing is allocated, C is written once and never read, and every element of C is one sum in
 * one fixed order, whatever the tile it falls into. So an element gets the same bits if it is
 * computed twice, and that is how the last columns are done: where they are fewer than a tile is
 * wide, the last tile is moved back to end at the last column, over columns already written.
 *
 * The idea of one register-tiled product under all kernels: Georganas et al., "High-Performance
 * Deep Learning via a Single Building Block" (arXiv:1906.06440).
 *
 * The vectors are those of GCC and Clang, as wide as the instruction set the compiler was told
 * to use (16 bytes for any x86-64). Another compiler gets vectors of one element: the same code
 * and the same results, only slower.
 */
#ifndef FASTCONV_GEMM_H
#define FASTCONV_GEMM_H

#include <stddef.h>
#include <string.h>

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#else
#define INLINE static inline
#define UNROLL
#endif

/* Rows of a full tile. Two vectors of columns make 12 accumulators: with the two vectors of B and
 * one value of A they fill the 16 registers of x86-64 below AVX-512. */
#define ROWS 6

/* A matrix B of at most this size is taken to stay in the first-level cache. */
#define NEAR_BYTES 16384

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define TYPED(name) JOIN(name, TYPE)

#define TYPE float32
#define REAL float
#include "gemm_of_one_type.h"
#undef REAL
#undef TYPE

#define TYPE float64
#define REAL double
#include "gemm_of_one_type.h"
#undef REAL
#undef TYPE

#endif
