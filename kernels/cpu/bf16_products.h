/* Products of matrices of bf16 in tiles, with float32 sums:
 *
 *   C[m, n] = (C[m, n] or 0) + sum over s and k below 32 of A[offset[s] + m * a_row + k] B[s, k, n]
 *
 * for 16 or 32 rows m and 16 or 32 columns n. B lies in tiles of 16 columns, one for each s, each of
 * them 16 rows of 16 pairs: the factors 2 k and 2 k + 1 of a column side by side.
 *
 * Three ways, of which the including file chooses one:
 *
 * - AMX (BF16_BY_AMX): TDPBF16PS adds to an element of C the sum over the even k's plus the sum over the
 *   odd ones, each made by fused multiply-adds from 0 on;
 * - AVX512-BF16 (BF16_BY_DOT): VDPBF16PS adds the product of the odd k, then that of the even one;
 * - the same sums as AMX in float32. The product of two factors is exact, so that a multiplication
 *   and an addition round as the fused operation does: all instruction sets have the bits of AMX, but
 *   for denormal numbers, which count as zeros there. */
struct bf16_product {
    const bf16 *a;
    ptrdiff_t a_row; /* in elements, as all strides */
    const int32_t *offset;
    ptrdiff_t steps;
    const bf16 *b;
    ptrdiff_t b_columns; /* from the first 16 columns of B to the next */
    float *c;
    ptrdiff_t c_row;
    int is_tall, is_wide; /* 32 rows, 32 columns */
    int adds;             /* to what is in C */
};

#if defined(BF16_BY_AMX)
INLINE void begin_products(void) {
    /* All eight tiles are 16 rows of 64 bytes. */
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1,
                .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&config);
}

INLINE void end_products(void) { _tile_release(); }

INLINE void tile_product(const struct bf16_product *t, const int tall, const int wide) {
    const ptrdiff_t a_bytes = t->a_row * 2, c_bytes = t->c_row * 4;
    float *const c = t->c, *const below = t->c + TILE_ROWS * t->c_row;
    if (t->adds) {
        _tile_loadd(0, c, c_bytes);
        if (wide) _tile_loadd(1, c + TILE_COLUMNS, c_bytes);
        if (tall) _tile_loadd(2, below, c_bytes);
        if (tall && wide) _tile_loadd(3, below + TILE_COLUMNS, c_bytes);
    } else {
        _tile_zero(0);
        if (wide) _tile_zero(1);
        if (tall) _tile_zero(2);
        if (tall && wide) _tile_zero(3);
    }
    const bf16 *b = t->b;
    for (ptrdiff_t s = 0; s < t->steps; s++, b += TILE_OF_B) {
        const bf16 *const a = t->a + t->offset[s];
        _tile_loadd(4, a, a_bytes);
        _tile_loadd(6, b, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (wide) {
            _tile_loadd(7, b + t->b_columns, 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (tall) {
            _tile_loadd(5, a + TILE_ROWS * t->a_row, a_bytes);
            _tile_dpbf16ps(2, 5, 6);
            if (wide) _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c, c_bytes);
    if (wide) _tile_stored(1, c + TILE_COLUMNS, c_bytes);
    if (tall) _tile_stored(2, below, c_bytes);
    if (tall && wide) _tile_stored(3, below + TILE_COLUMNS, c_bytes);
}

static void multiply_tiles(const struct bf16_product *t) {
    if (t->is_tall && t->is_wide)
        tile_product(t, 1, 1);
    else if (t->is_tall)
        tile_product(t, 1, 0);
    else if (t->is_wide)
        tile_product(t, 0, 1);
    else
        tile_product(t, 0, 0);
}
#else
INLINE void begin_products(void) {}
INLINE void end_products(void) {}

#if defined(BF16_BY_DOT)
/* One tile of C. */
APART void tile_product(const struct bf16_product *t, const bf16 *a_tile, const bf16 *b, float *c) {
    __m512 sums[TILE_ROWS];
    UNROLL for (int m = 0; m < TILE_ROWS; m++)
        sums[m] = t->adds ? _mm512_loadu_ps(c + m * t->c_row) : _mm512_setzero_ps();
    for (ptrdiff_t s = 0; s < t->steps; s++, b += TILE_OF_B) {
        const bf16 *const a = a_tile + t->offset[s];
        for (ptrdiff_t k = 0; k < TILE_DEPTH; k += 2) {
            const __m512i row = _mm512_loadu_si512(b + k * TILE_COLUMNS);
            UNROLL for (int m = 0; m < TILE_ROWS; m++) {
                int32_t pair;
                memcpy(&pair, a + m * t->a_row + k, sizeof pair);
                sums[m] = _mm512_dpbf16_ps(sums[m], (__m512bh)_mm512_set1_epi32(pair),
                                           (__m512bh)row);
            }
        }
    }
    UNROLL for (int m = 0; m < TILE_ROWS; m++) _mm512_storeu_ps(c + m * t->c_row, sums[m]);
}
#else
INLINE float widened(bf16 value) {
    const uint32_t bits = (uint32_t)value << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

/* One tile of C; a vector may be narrower than its 16 columns. */
APART void tile_product(const struct bf16_product *t, const bf16 *a_tile, const bf16 *b, float *c) {
    enum { VECTORS = TILE_COLUMNS / (sizeof(VECTOR) / sizeof(float)) };
    float even[TILE_OF_B / 2], odd[TILE_OF_B / 2]; /* rows of 16 columns */
    if (!t->adds)
        for (ptrdiff_t m = 0; m < TILE_ROWS; m++)
            memset(c + m * t->c_row, 0, TILE_COLUMNS * sizeof(float));
    for (ptrdiff_t s = 0; s < t->steps; s++, b += TILE_OF_B) {
        const bf16 *const a = a_tile + t->offset[s];
        for (ptrdiff_t i = 0; i < TILE_OF_B / 2; i++) {
            even[i] = widened(b[2 * i]);
            odd[i] = widened(b[2 * i + 1]);
        }
        for (ptrdiff_t m = 0; m < TILE_ROWS; m++) {
            VECTOR evens[VECTORS] = NO_SUMS, odds[VECTORS] = NO_SUMS;
            for (ptrdiff_t k = 0; k < TILE_DEPTH / 2; k++) {
                const VECTOR first = TYPED(spread)(widened(a[m * t->a_row + 2 * k]));
                const VECTOR second = TYPED(spread)(widened(a[m * t->a_row + 2 * k + 1]));
                UNROLL for (ptrdiff_t v = 0; v < VECTORS; v++) {
                    evens[v] += first * TYPED(load)(even + k * TILE_COLUMNS + v * LANES);
                    odds[v] += second * TYPED(load)(odd + k * TILE_COLUMNS + v * LANES);
                }
            }
            UNROLL for (ptrdiff_t v = 0; v < VECTORS; v++) {
                float *const to = c + m * t->c_row + v * LANES;
                TYPED(store)(to, TYPED(load)(to) + (evens[v] + odds[v]));
            }
        }
    }
}
#endif

static void multiply_tiles(const struct bf16_product *t) {
    for (ptrdiff_t m = 0; m <= t->is_tall; m++)
        for (ptrdiff_t n = 0; n <= t->is_wide; n++)
            tile_product(t, t->a + m * TILE_ROWS * t->a_row, t->b + n * t->b_columns,
                         t->c + m * TILE_ROWS * t->c_row + n * TILE_COLUMNS);
}
#endif
