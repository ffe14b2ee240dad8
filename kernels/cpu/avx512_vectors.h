/* Vectors of AVX-512, for files that are compiled for it: 32 registers of 64 bytes, and masks. */
#define VECTOR_BYTES 64
#define REGISTERS 32

#include <immintrin.h>
#define JOIN_NOW_(a, b) a##b
#define JOIN_NOW(a, b) JOIN_NOW_(a, b)
#define MASKED_LOADS_ARE_FREE 1
#define MASKED_LOAD(type, from, count) JOIN_NOW(MASKED_LOAD_, type)(from, count)
#define MASKED_STORE(type, to, v, count) JOIN_NOW(MASKED_STORE_, type)(to, v, count)
#define MASKED_STORE_INDICES(type, to, v, count) JOIN_NOW(MASKED_INDICES_, type)(to, v, count)
#define MASK(count) ((1u << (count)) - 1)
#define MASKED_LOAD_float32(from, count) \
    (vector_float32) _mm512_maskz_loadu_ps((__mmask16)MASK(count), from)
#define MASKED_LOAD_float64(from, count) \
    (vector_float64) _mm512_maskz_loadu_pd((__mmask8)MASK(count), from)
#define MASKED_STORE_float32(to, v, count) \
    _mm512_mask_storeu_ps(to, (__mmask16)MASK(count), (__m512)(v))
#define MASKED_STORE_float64(to, v, count) \
    _mm512_mask_storeu_pd(to, (__mmask8)MASK(count), (__m512d)(v))
#define MASKED_INDICES_float32(to, v, count) \
    _mm512_mask_storeu_epi32(to, (__mmask16)MASK(count), (__m512i)(v))
#define MASKED_INDICES_float64(to, v, count) \
    _mm256_mask_storeu_epi32(to, (__mmask8)MASK(count), (__m256i)(v))
