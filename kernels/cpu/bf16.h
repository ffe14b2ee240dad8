/* Factors of bf16: the upper half of a float32, rounded to the nearest, ties to even.
 *
 * The product of two such factors has 16 bits and is exact in float32. Denormal float32 numbers
 * become zeros of their sign, and a NaN keeps its upper bits, as VCVTNE2PS2BF16 does it.
 *
 * Where the including file defines HAS_BF16_INSTRUCTIONS, whole vectors are rounded by that. */
typedef uint16_t bf16;

/* Sizes of the matrices of a tile product, bf16_products.h. */
enum {
    TILE_ROWS = 16,
    TILE_COLUMNS = 16,
    TILE_DEPTH = 32,
    TILE_OF_B = TILE_DEPTH * TILE_COLUMNS,
};

INLINE bf16 rounded(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t size = bits & 0x7fffffff;
    if (size > 0x7f800000) return (bf16)(bits >> 16 | 0x40);
    if (size < 0x00800000) return (bf16)(bits >> 16 & 0x8000);
    return (bf16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

INLINE ptrdiff_t round_up(ptrdiff_t size, ptrdiff_t unit) { return (size + unit - 1) / unit * unit; }

/* to[i] = from[i], rounded. */
INLINE void round_run(bf16 *to, const float *from, ptrdiff_t count) {
#ifdef HAS_BF16_INSTRUCTIONS
    ptrdiff_t i = 0;
    for (; i + 32 <= count; i += 32) {
        const __m512 low = _mm512_loadu_ps(from + i), high = _mm512_loadu_ps(from + i + 16);
        _mm512_storeu_si512(to + i, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
    if (i < count) {
        const uint32_t mask = (1u << (count - i)) - 1;
        const __m512 low = _mm512_maskz_loadu_ps((__mmask16)mask, from + i);
        const __m512 high = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), from + i + 16);
        _mm512_mask_storeu_epi16(to + i, mask, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
#else
    for (ptrdiff_t i = 0; i < count; i++) to[i] = rounded(from[i]);
#endif
}

/* Pairs for a row of B: to[2 i] = first[i] and to[2 i + 1] = second[i], rounded, 16 pairs; zeros from
 * `count` on, and for a row that is NULL. */
INLINE void round_pairs(bf16 *to, const float *first, const float *second, ptrdiff_t count) {
#ifdef HAS_BF16_INSTRUCTIONS
    static const uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __mmask16 mask = (__mmask16)(count >= 16 ? 0xffff : (1u << count) - 1);
    const __m512 low = first ? _mm512_maskz_loadu_ps(mask, first) : _mm512_setzero_ps();
    const __m512 high = second ? _mm512_maskz_loadu_ps(mask, second) : _mm512_setzero_ps();
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high, low);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(_mm512_loadu_si512(order), both));
#else
    for (ptrdiff_t i = 0; i < TILE_COLUMNS; i++) {
        to[2 * i] = first && i < count ? rounded(first[i]) : 0;
        to[2 * i + 1] = second && i < count ? rounded(second[i]) : 0;
    }
#endif
}

/* Exchange rows and columns of 16 x 16 pairs: pair j of to + i * to_row is pair i of row j. */
INLINE void transpose_pairs(const bf16 from[16][32], bf16 *to, ptrdiff_t to_row) {
#ifdef CAN_TRANSPOSE
    if (LANES == 16) {
        VECTOR rows[16];
        UNROLL for (int j = 0; j < 16; j++) memcpy(&rows[j], from[j], 64);
        TYPED(transpose_square)(rows);
        UNROLL for (int i = 0; i < 16; i++) memcpy(to + i * to_row, &rows[i], 64);
        return;
    }
#endif
    for (ptrdiff_t i = 0; i < 16; i++)
        for (ptrdiff_t j = 0; j < 16; j++) memcpy(to + i * to_row + 2 * j, from[j] + 2 * i, 4);
}

/* to[k * to_row + p] = pixel[p][k], rounded, for 32 pixels and `depth` k's filled up to whole 16;
 * a pixel that is NULL is zeros. */
INLINE void round_transposed(const float *const pixel[TILE_DEPTH], ptrdiff_t depth, bf16 *to,
                             ptrdiff_t to_row) {
    _Alignas(64) bf16 pairs[16][32];
    for (ptrdiff_t k = 0; k < depth; k += 16) {
        for (ptrdiff_t j = 0; j < 16; j++) {
            const float *const first = pixel[2 * j], *const second = pixel[2 * j + 1];
            round_pairs(pairs[j], first ? first + k : NULL, second ? second + k : NULL, depth - k);
        }
        transpose_pairs(pairs, to + k * to_row, to_row);
    }
}
