/* Every kernel for AVX-512 with vectors of half the width: 32 registers of 32 bytes, and masks. For processors
 * that take two cycles for a vector of 64 bytes. */
#if defined(__GNUC__) && defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(                                                                 \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=256")
#endif
#define VECTOR_BYTES 32
#define REGISTERS 32

#include <immintrin.h>
#define JOIN_NOW_(a, b) a##b
#define JOIN_NOW(a, b) JOIN_NOW_(a, b)
#define MASKED_LOADS_ARE_FREE 1
/* On Zen 4, which this is for, a masked store takes much longer than another. */
#define MASKED_STORES_ARE_SLOW 1
#define MASKED_LOAD(type, from, count) JOIN_NOW(MASKED_LOAD_, type)(from, count)
#define MASKED_STORE(type, to, v, count) JOIN_NOW(MASKED_STORE_, type)(to, v, count)
#define MASKED_STORE_INDICES(type, to, v, count) JOIN_NOW(MASKED_INDICES_, type)(to, v, count)
#define MASK(count) ((__mmask8)((1u << (count)) - 1))
#define MASKED_LOAD_float32(from, count) (vector_float32) _mm256_maskz_loadu_ps(MASK(count), from)
#define MASKED_LOAD_float64(from, count) (vector_float64) _mm256_maskz_loadu_pd(MASK(count), from)
#define MASKED_STORE_float32(to, v, count) _mm256_mask_storeu_ps(to, MASK(count), (__m256)(v))
#define MASKED_STORE_float64(to, v, count) _mm256_mask_storeu_pd(to, MASK(count), (__m256d)(v))
#define MASKED_INDICES_float32(to, v, count) \
    _mm256_mask_storeu_epi32(to, MASK(count), (__m256i)(v))
#define MASKED_INDICES_float64(to, v, count) _mm_mask_storeu_epi32(to, MASK(count), (__m128i)(v))
#include "kernels_of_one_set.h"

extern const struct instruction_set fastconv_avx512;
static int works(void) { return fastconv_avx512.works(); }

const struct instruction_set fastconv_avx512vl = {"avx512vl", 32, 32, 1, kernels, works};
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int not_for_this_machine;
#endif
