/* Convolutions of interleaved samples; fastconv/backends/compiled/rules/interleaved.py makes their rows.
 *
 * Images are [samples / LANES][height][width][channel][LANES]: a vector holds one value of LANES samples, so
 * that few channels fill it as well as many. Every product of one sample becomes a product of vectors; the
 * weight is a scalar, or, in the weight gradient, a sum over lanes that is made once at the end.
 * Padding above and below is left out; padding at the sides is in the copy that a row of
 * pad_images made.
 */

/* The largest tiles: Q outputs by P pixels, or P inputs. */
#ifndef MOST_OUTPUTS
#define MOST_OUTPUTS 8
#define MOST_PIXELS 4
#endif

struct TYPED(interleaved) {
    const REAL *a, *b, *bias, *other;
    REAL *c;
    ptrdiff_t runs1, a_run1, b_run1, runs2, a_run2, b_run2, depth;
    ptrdiff_t a_pixel, b_step, c_pixel;
    REAL slope;
    int finish, from;
};

typedef void TYPED(interleaved_function)(const struct TYPED(interleaved) *);

/* c[p][q] = bias[q] + sum over runs and k of a[k + p] b[k][q]: b are scalars. */
INLINE void TYPED(interleaved_product)(const struct TYPED(interleaved) *t, const int outputs,
                                       const int pixels) {
    VECTOR sum[MOST_OUTPUTS][MOST_PIXELS];
    const ptrdiff_t a_pixel = t->a_pixel, b_step = t->b_step, depth = t->depth;
    const ptrdiff_t c_pixel = t->c_pixel;
    REAL *const c = t->c;
    UNROLL for (int q = 0; q < outputs; q++) {
        UNROLL for (int p = 0; p < pixels; p++)
            sum[q][p] = t->bias ? TYPED(spread)(t->bias[q]) : (VECTOR){0};
    }
    for (ptrdiff_t r1 = 0; r1 < t->runs1; r1++) {
        for (ptrdiff_t r2 = 0; r2 < t->runs2; r2++) {
            const REAL *a = t->a + r1 * t->a_run1 + r2 * t->a_run2;
            const REAL *b = t->b + r1 * t->b_run1 + r2 * t->b_run2;
            for (ptrdiff_t k = 0; k < depth; k++, a += LANES, b += b_step) {
                VECTOR value[MOST_PIXELS];
                UNROLL for (int p = 0; p < pixels; p++) value[p] = TYPED(load)(a + p * a_pixel);
                UNROLL for (int q = 0; q < outputs; q++) {
                    const REAL factor = b[q];
                    UNROLL for (int p = 0; p < pixels; p++) sum[q][p] += factor * value[p];
                }
            }
        }
    }
    if (t->finish == LEAKY_RELU || t->finish == LEAKY_GRADIENT) {
        const VECTOR slope = TYPED(spread)(t->slope);
        UNROLL for (int q = 0; q < outputs; q++) {
            UNROLL for (int p = 0; p < pixels; p++) {
                VECTOR test = sum[q][p];
                if (t->finish == LEAKY_GRADIENT)
                    test = TYPED(load)(t->other + p * t->c_pixel + q * LANES);
                sum[q][p] = TYPED(where_positive)(test, sum[q][p], sum[q][p] * slope);
            }
        }
    }
    UNROLL for (int q = 0; q < outputs; q++) {
        UNROLL for (int p = 0; p < pixels; p++)
            TYPED(store)(c + p * c_pixel + q * LANES, sum[q][p]);
    }
}

/* c[p][q] (+)= sum over runs and pixels of a[p] b[q]: all are vectors. */
INLINE void TYPED(interleaved_moments)(const struct TYPED(interleaved) *t, const int outputs,
                                       const int inputs) {
    VECTOR sum[MOST_OUTPUTS][MOST_PIXELS];
    const ptrdiff_t a_pixel = t->a_pixel, b_step = t->b_step, depth = t->depth;
    REAL *const c = t->c;
    UNROLL for (int q = 0; q < outputs; q++) {
        UNROLL for (int p = 0; p < inputs; p++) sum[q][p] = (VECTOR){0};
    }
    for (ptrdiff_t r1 = 0; r1 < t->runs1; r1++) {
        for (ptrdiff_t r2 = 0; r2 < t->runs2; r2++) {
            const REAL *a = t->a + r1 * t->a_run1 + r2 * t->a_run2;
            const REAL *b = t->b + r1 * t->b_run1 + r2 * t->b_run2;
            for (ptrdiff_t k = 0; k < depth; k++, a += a_pixel, b += b_step) {
                VECTOR value[MOST_PIXELS];
                UNROLL for (int p = 0; p < inputs; p++) value[p] = TYPED(load)(a + p * LANES);
                UNROLL for (int q = 0; q < outputs; q++) {
                    VECTOR factor = TYPED(load)(b + q * LANES);
                    KEEP_IN_REGISTER(factor);
                    UNROLL for (int p = 0; p < inputs; p++) sum[q][p] += factor * value[p];
                }
            }
        }
    }
    UNROLL for (int q = 0; q < outputs; q++) {
        UNROLL for (int p = 0; p < inputs; p++) {
            REAL *const to = c + (q * inputs + p) * LANES;
            if (t->from == START_C) sum[q][p] += TYPED(load)(to);
            TYPED(store)(to, sum[q][p]);
        }
    }
}

#define TILE(q, p)                                                                            \
    static void TYPED(product_##q##x##p)(const struct TYPED(interleaved) * t) {               \
        TYPED(interleaved_product)(t, q, p);                                                  \
    }                                                                                         \
    static void TYPED(moments_##q##x##p)(const struct TYPED(interleaved) * t) {               \
        TYPED(interleaved_moments)(t, q, p);                                                  \
    }
#define ENTRY_OF(kind, q, p) [q][p] = TYPED(kind##_##q##x##p)
/* As many sums as there are registers for, beside the values and a factor. */
#define OUTPUTS_1_TO_4(X, p) X(1, p) X(2, p) X(3, p) X(4, p)
#define OUTPUTS_5_TO_8(X, p) X(5, p) X(6, p) X(7, p) X(8, p)
#if REGISTERS >= 32
#define ALL_TILES(X)                                                                          \
    OUTPUTS_1_TO_4(X, 1) OUTPUTS_5_TO_8(X, 1) OUTPUTS_1_TO_4(X, 2) OUTPUTS_5_TO_8(X, 2)       \
    OUTPUTS_1_TO_4(X, 3) OUTPUTS_5_TO_8(X, 3) OUTPUTS_1_TO_4(X, 4) X(5, 4) X(6, 4)
#else
#define ALL_TILES(X)                                                                          \
    OUTPUTS_1_TO_4(X, 1) OUTPUTS_5_TO_8(X, 1) OUTPUTS_1_TO_4(X, 2) X(5, 2) X(6, 2)            \
    OUTPUTS_1_TO_4(X, 3) X(1, 4) X(2, 4) X(3, 4)
#endif
ALL_TILES(TILE)
#define PRODUCT(q, p) ENTRY_OF(product, q, p),
#define MOMENTS(q, p) ENTRY_OF(moments, q, p),
static TYPED(interleaved_function) *const
    TYPED(interleaved_products)[MOST_OUTPUTS + 1][MOST_PIXELS + 1] = {ALL_TILES(PRODUCT)};
static TYPED(interleaved_function) *const
    TYPED(interleaved_sums)[MOST_OUTPUTS + 1][MOST_PIXELS + 1] = {ALL_TILES(MOMENTS)};
#undef PRODUCT
#undef MOMENTS
#undef ALL_TILES
#undef OUTPUTS_1_TO_4
#undef OUTPUTS_5_TO_8
#undef ENTRY_OF
#undef TILE

/* The sum over the lanes of each of `outputs` times `inputs` vectors. */
INLINE void TYPED(store_sums)(REAL *to, ptrdiff_t row, const REAL *sums, ptrdiff_t outputs,
                              ptrdiff_t inputs) {
    const ptrdiff_t count = outputs * inputs;
    REAL total[MOST_OUTPUTS * MOST_PIXELS + sizeof(VECTOR) / sizeof(REAL)];
    for (ptrdiff_t i = 0; i < count; i += LANES) TYPED(sums_of_lanes)(sums + i * LANES, total + i);
    for (ptrdiff_t q = 0; q < outputs; q++)
        for (ptrdiff_t p = 0; p < inputs; p++) to[p * row + q] = total[q * inputs + p];
}

/* The numbers i, from `*begin` to `*end`, of 0 to count, with which some place from first + i * step to
 * last + i * step is inside the image: not below 0, and below size. */
INLINE void TYPED(numbers_inside)(ptrdiff_t first, ptrdiff_t last, ptrdiff_t step,
                                  ptrdiff_t size, ptrdiff_t count, ptrdiff_t *begin,
                                  ptrdiff_t *end) {
    ptrdiff_t i = 0, j = count;
    while (i < j && last + i * step < 0) i++;
    while (j > i && first + (j - 1) * step >= size) j--;
    *begin = i;
    *end = j;
}

/* C[sample, row, column, n] = bias + sum over taps and k of A[...] B[tap, k, n].
 *
 * pointers: A (the image), B, C, bias (NULL: none), other (LEAKY_GRADIENT)
 * integers:  0 vectors of samples, 1 rows, 2 columns of C; 3 outputs of a tile; 4 outputs of a group;
 *            5 pixels of a tile
 *            6, 7, 8 strides of A from vector of samples, row, column of C to the next; 9, 10, 11 those of C
 *           12 taps1, 13, 14 strides of A and B from one to the next; 15 taps2, 16, 17 the same
 *           18 depth of a tap; 19 stride of B along depth
 *           20 groups; 21, 22, 23 strides of A, B, C from group to group
 *           24 what becomes of the sums
 *           25 where row 0 and tap1 0 are, behind the beginning of the image; 26 elements of the image
 *           27 where column 0 and tap2 0 are, behind the left edge of it; 28 elements of a row of it
 * reals:    slope
 */
static void TYPED(interleaved_tiles)(const int64_t *record, int64_t step, int64_t thread,
                                     int64_t threads) {
    (void)step;
    const int64_t *const n = record + INTEGERS;
    const REAL *const a = pointer_of(record, 0), *const b = pointer_of(record, 1);
    REAL *const c = pointer_of(record, 2);
    const REAL *const bias = pointer_of(record, 3), *const other = pointer_of(record, 4);
    const ptrdiff_t rows = n[1], columns = n[2], tile = n[3], outputs = n[4], pixels = n[5];
    const int merged = n[16] == n[18] * LANES && n[17] == n[18] * n[19];
    struct TYPED(interleaved) t = {
        .a_run1 = n[13], .b_run1 = n[14], .a_run2 = n[16], .b_run2 = n[17],
        .a_pixel = n[8], .b_step = n[19], .c_pixel = n[11],
        .slope = (REAL)real_of(record, 0), .finish = (int)n[24],
    };
    const ptrdiff_t end = first_of(n[0] * rows, thread + 1, threads);
    for (ptrdiff_t piece = first_of(n[0] * rows, thread, threads); piece < end; piece++) {
        const ptrdiff_t sample = piece / rows, row = piece % rows;
        ptrdiff_t tap, tap_end;
        const ptrdiff_t place = n[25] + row * n[7];
        TYPED(numbers_inside)(place, place, n[13], n[26], n[12], &tap, &tap_end);
        t.runs1 = tap_end - tap;
        for (ptrdiff_t group = 0; group < n[20]; group++) {
            const REAL *const a_row = a + (sample * n[6] + place + tap * n[13] + group * n[21]);
            const REAL *const b_row = b + group * n[22] + tap * n[14];
            REAL *const c_row = c + sample * n[9] + row * n[10] + group * n[23];
            for (ptrdiff_t q = 0; q < outputs; q += tile) {
                const ptrdiff_t wide = least_of(tile, outputs - q);
                t.bias = bias ? bias + group * outputs + q : NULL;
                for (ptrdiff_t column = 0; column < columns; column += pixels) {
                    const ptrdiff_t here = least_of(pixels, columns - column);
                    const ptrdiff_t left = n[27] + column * n[8];
                    ptrdiff_t side, side_end;
                    TYPED(numbers_inside)(left, left + (here - 1) * n[8], n[16], n[28], n[15],
                                          &side, &side_end);
                    t.runs2 = merged ? 1 : side_end - side;
                    t.depth = merged ? (side_end - side) * n[18] : n[18];
                    t.a = a_row + column * n[8] + side * n[16];
                    t.b = b_row + side * n[17] + q;
                    t.c = c_row + column * n[11] + q * LANES;
                    t.other = other ? other + (t.c - c) : NULL;
                    TYPED(interleaved_products)[wide][here](&t);
                }
            }
        }
    }
}

/* to[o] = the sum of dy over some samples and all pixels, for outputs side by side; integers as below. */
INLINE void TYPED(interleaved_biases)(const int64_t *n, const REAL *dy, ptrdiff_t sample,
                                      ptrdiff_t sample_end, ptrdiff_t outputs, REAL *to) {
    double lanes[MOST_OUTPUTS][sizeof(VECTOR) / sizeof(REAL)] = {{0}};
    ptrdiff_t rows = n[1], columns = n[2];
    if (n[10] == columns * n[11]) { /* no gaps */
        columns *= rows;
        rows = 1;
    }
    for (; sample < sample_end; sample++) {
        for (ptrdiff_t row = 0; row < rows; row++) {
            const REAL *const from = dy + sample * n[9] + row * n[10];
            for (ptrdiff_t p = 0; p < columns; p += PIXELS_OF_A_BLOCK) {
                const ptrdiff_t pixels = least_of(PIXELS_OF_A_BLOCK, columns - p);
                for (ptrdiff_t o = 0; o < outputs; o++)
                    TYPED(add_pixels)(from + p * n[11] + o * LANES, pixels, n[11], LANES, 1,
                                      lanes[o]);
            }
        }
    }
    for (ptrdiff_t o = 0; o < outputs; o++) {
        double total = 0;
        for (ptrdiff_t l = 0; l < LANES; l++) total += lanes[o][l];
        to[o] = (REAL)total;
    }
}

/* dw[part][tap, k, n] = sum over the samples of a part, and pixels, of A[...] dy[pixel, n];
 * db[part][n] = sum of dy[pixel, n].
 *
 * pointers: A (the image), dy, dw, db (NULL: none), sums (workspace)
 * integers:  0 vectors of samples, 1 rows, 2 columns of dy; 3 outputs of a tile; 4 outputs of a group;
 *            5 inputs of a tile
 *            6, 7, 8 strides of A from vector of samples, row, column of dy to the next; 9, 10, 11 those of dy
 *           12 taps1, 13, 14 strides of A and dw from one to the next; 15 taps2, 16, 17 the same
 *           18 depth of a tap; 19 stride of dw along depth
 *           20 groups; 21, 22, 23 strides of A, dy, dw from group to group
 *           24 parts; 25 where row 0 and tap1 0 are, behind the beginning of the image; 26 elements of it
 *           27 rows that are taken through the tiles of a tap1 together; 28 elements of dw
 */
static void TYPED(interleaved_weight_tiles)(const int64_t *record, int64_t step, int64_t thread,
                                            int64_t threads) {
    (void)step;
    const int64_t *const n = record + INTEGERS;
    const REAL *const a = pointer_of(record, 0), *const dy = pointer_of(record, 1);
    REAL *const dw = pointer_of(record, 2), *const db = pointer_of(record, 3);
    REAL *const sums = pointer_of(record, 4);
    const ptrdiff_t rows = n[1], tile = n[3], outputs = n[4], high = n[5], depth = n[18];
    const ptrdiff_t across = (outputs + tile - 1) / tile, down = (depth + high - 1) / high;
    /* By group, block of outputs, tap1, tap2, inputs; the bias comes last. */
    const ptrdiff_t of_weights = n[20] * n[12] * n[15] * down * across;
    const ptrdiff_t tiles = of_weights + (db ? n[20] * across : 0);
    const ptrdiff_t size = tile * high * LANES;
    const ptrdiff_t begin = first_of(n[24] * tiles, thread, threads);
    const ptrdiff_t end = first_of(n[24] * tiles, thread + 1, threads);
    for (ptrdiff_t piece = begin; piece < end;) {
        const ptrdiff_t part = piece / tiles, first = piece % tiles;
        const int is_weight = first < of_weights;
        const ptrdiff_t sample_begin = first_of(n[0], part, n[24]);
        const ptrdiff_t sample_end = first_of(n[0], part + 1, n[24]);
        /* Tiles that are taken through the same rows: those of one tap1. */
        const ptrdiff_t of_tap1 = is_weight ? n[15] * down : 1, of_block = is_weight ? n[12] : 1;
        const ptrdiff_t line = is_weight ? first / of_tap1 : first - of_weights;
        const ptrdiff_t tap1 = line % of_block;
        const ptrdiff_t block = line / of_block % across, group = line / of_block / across;
        const ptrdiff_t q = block * tile, wide = least_of(tile, outputs - q);
        if (!is_weight) {
            TYPED(interleaved_biases)(n, dy + group * n[22] + q * LANES, sample_begin, sample_end,
                                      wide, db + (part * n[20] + group) * outputs + q);
            piece++;
            continue;
        }
        const ptrdiff_t count = least_of(end - piece, of_tap1 - first % of_tap1);
        struct TYPED(interleaved) t = {
            .a_run1 = n[7], .a_pixel = n[8], .b_run1 = n[10], .runs2 = 1, .depth = n[2],
            .b_step = n[11],
        };
        for (ptrdiff_t sample = sample_begin; sample < sample_end; sample++) {
            for (ptrdiff_t chunk = 0; chunk < rows; chunk += n[27]) {
                const ptrdiff_t chunk_rows = least_of(n[27], rows - chunk);
                const ptrdiff_t place = n[25] + tap1 * n[13] + chunk * n[7];
                ptrdiff_t row, row_end;
                TYPED(numbers_inside)(place, place, n[7], n[26], chunk_rows, &row, &row_end);
                t.runs1 = row_end - row;
                t.from = chunk == 0 && sample == sample_begin ? START_ZERO : START_C;
                t.b = dy + sample * n[9] + (chunk + row) * n[10] + group * n[22] + q * LANES;
                for (ptrdiff_t i = first; i < first + count; i++) {
                    const ptrdiff_t k = i % down * high, tap2 = i / down % n[15];
                    t.a = a + (sample * n[6] + place + row * n[7] + tap2 * n[16] +
                               group * n[21] + k * LANES);
                    t.c = sums + (part * tiles + i) * size;
                    TYPED(interleaved_sums)[wide][least_of(high, depth - k)](&t);
                }
            }
        }
        for (ptrdiff_t i = first; i < first + count; i++) {
            const ptrdiff_t k = i % down * high, tap2 = i / down % n[15];
            TYPED(store_sums)(dw + part * n[28] + group * n[23] + tap1 * n[14] + tap2 * n[17] +
                                  k * n[19] + q,
                              n[19], sums + (part * tiles + i) * size, wide,
                              least_of(high, depth - k));
        }
        piece += count;
    }
}

#define INTERLEAVED_KERNELS ENTRY(interleaved_tiles), ENTRY(interleaved_weight_tiles)
