/* Every kernel for AVX2 with FMA: 16 registers of 32 bytes. */
#if defined(__GNUC__) && defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define VECTOR_BYTES 32
#define REGISTERS 16

#include <immintrin.h>
#define JOIN_NOW_(a, b) a##b
#define JOIN_NOW(a, b) JOIN_NOW_(a, b)
/* A mask is a register of its own, and a masked store takes much longer than another: whole vectors
 * are stored without. */
#define MASKED_STORES_ARE_SLOW 1
#define MASKED_LOAD(type, from, count) JOIN_NOW(MASKED_LOAD_, type)(from, count)
#define MASKED_STORE(type, to, v, count)                                                      \
    do {                                                                                      \
        if ((count) >= LANES)                                                                 \
            JOIN_NOW(store_, type)(to, v);                                                    \
        else                                                                                  \
            JOIN_NOW(MASKED_STORE_, type)(to, v, count);                                      \
    } while (0)
#define MASKED_STORE_INDICES(type, to, v, count)                                              \
    do {                                                                                      \
        if ((count) >= LANES)                                                                 \
            memcpy(to, &(v), sizeof(v));                                                      \
        else                                                                                  \
            JOIN_NOW(MASKED_INDICES_, type)(to, v, count);                                    \
    } while (0)
#define MASKED_LOAD_float32(from, count) \
    (vector_float32) _mm256_maskload_ps(from, (__m256i)first_lanes_float32(count))
#define MASKED_LOAD_float64(from, count) \
    (vector_float64) _mm256_maskload_pd(from, (__m256i)first_lanes_float64(count))
#define MASKED_STORE_float32(to, v, count) \
    _mm256_maskstore_ps(to, (__m256i)first_lanes_float32(count), (__m256)(v))
#define MASKED_STORE_float64(to, v, count) \
    _mm256_maskstore_pd(to, (__m256i)first_lanes_float64(count), (__m256d)(v))
#define MASKED_INDICES_float32(to, v, count) \
    _mm256_maskstore_epi32(to, (__m256i)first_lanes_float32(count), (__m256i)(v))
#define MASKED_INDICES_float64(to, v, count)                                                  \
    _mm_maskstore_epi32(to, _mm256_castsi256_si128((__m256i)first_lanes_float32(count)),     \
                        (__m128i)(v))
#include "kernels_of_one_set.h"

static int works(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const struct instruction_set fastconv_avx2 = {"avx2", 32, 16, 0, kernels, works};
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int not_for_this_machine;
#endif
