/* Convolutions of batch-blocked images (NHWC16n); fastconv/backends/compiled/rules/batch_blocked.py
 * makes their instructions.
 *
 * Images are [samples / LANES][height][width][channel][LANES]: a vector holds one value of LANES
 * samples, so that few channels fill it as well as many. Every product of one sample becomes a
 * product of vectors; the weight is a scalar, or, in the weight gradient, a sum over lanes that is
 * made once at the end. Padding above and below is left out; padding at the sides is in the copy
 * that an instruction pad_images made. */

/* The largest tiles: Q outputs by P pixels, or P inputs. */
#ifndef MOST_OUTPUTS
#define MOST_OUTPUTS 8
#define MOST_PIXELS 4
#endif

struct TYPED(batch_blocked) {
    const REAL *a, *b, *bias, *other;
    REAL *c;
    ptrdiff_t runs1, a_run1, b_run1, runs2, a_run2, b_run2, depth;
    ptrdiff_t a_pixel, b_step, c_pixel;
    REAL slope;
    int epilogue, init;
};

typedef void TYPED(batch_blocked_function)(const struct TYPED(batch_blocked) *);

/* c[p][q] = bias[q] + sum over runs and k of a[k + p] b[k][q]: b are scalars. */
INLINE void TYPED(batch_blocked_product)(const struct TYPED(batch_blocked) * t, const int outputs,
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
    if (t->epilogue == LEAKY_RELU || t->epilogue == LEAKY_GRADIENT) {
        const VECTOR slope = TYPED(spread)(t->slope);
        UNROLL for (int q = 0; q < outputs; q++) {
            UNROLL for (int p = 0; p < pixels; p++) {
                VECTOR test = sum[q][p];
                if (t->epilogue == LEAKY_GRADIENT)
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
INLINE void TYPED(batch_blocked_moments)(const struct TYPED(batch_blocked) * t, const int outputs,
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
            if (t->init == INIT_C) sum[q][p] += TYPED(load)(to);
            TYPED(store)(to, sum[q][p]);
        }
    }
}

#define TILE(q, p)                                                                                 \
    static void TYPED(product_##q##x##p)(const struct TYPED(batch_blocked) * t) {                  \
        TYPED(batch_blocked_product)(t, q, p);                                                     \
    }                                                                                              \
    static void TYPED(moments_##q##x##p)(const struct TYPED(batch_blocked) * t) {                  \
        TYPED(batch_blocked_moments)(t, q, p);                                                     \
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
static TYPED(batch_blocked_function) *const
    TYPED(batch_blocked_products)[MOST_OUTPUTS + 1][MOST_PIXELS + 1] = {ALL_TILES(PRODUCT)};
static TYPED(batch_blocked_function) *const
    TYPED(batch_blocked_sums)[MOST_OUTPUTS + 1][MOST_PIXELS + 1] = {ALL_TILES(MOMENTS)};
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

/* C[sample, row, column, n] = bias + sum over taps and k of A[...] B[tap, k, n]. */
static void TYPED(batch_blocked_tiles)(const int64_t *instruction, int64_t step, int64_t thread,
                                       int64_t threads) {
    (void)step;
    const struct batch_blocked_tiles *const n = fields_of(instruction);
    const REAL *const a = array_at(n->a), *const b = array_at(n->b);
    REAL *const c = array_at(n->c);
    const REAL *const bias = array_at(n->bias), *const other = array_at(n->other);
    const ptrdiff_t rows = n->rows, columns = n->columns, tile = n->tile_outputs,
                    outputs = n->outputs, pixels = n->tile_pixels;
    const int merged = n->a_across == n->depth * LANES && n->b_across == n->depth * n->b_depth;
    struct TYPED(batch_blocked) t = {
        .a_run1 = n->a_down,
        .b_run1 = n->b_down,
        .a_run2 = n->a_across,
        .b_run2 = n->b_across,
        .a_pixel = n->a_column,
        .b_step = n->b_depth,
        .c_pixel = n->c_column,
        .slope = (REAL)n->slope,
        .epilogue = (int)n->epilogue,
    };
    const ptrdiff_t end = first_of(n->samples * rows, thread + 1, threads);
    for (ptrdiff_t piece = first_of(n->samples * rows, thread, threads); piece < end; piece++) {
        const ptrdiff_t sample = piece / rows, row = piece % rows;
        ptrdiff_t tap, tap_end;
        const ptrdiff_t place = n->first_row + row * n->a_row;
        TYPED(numbers_inside)(place, place, n->a_down, n->image, n->taps_down, &tap, &tap_end);
        t.runs1 = tap_end - tap;
        for (ptrdiff_t group = 0; group < n->groups; group++) {
            const REAL *const a_row =
                a + (sample * n->a_sample + place + tap * n->a_down + group * n->a_group);
            const REAL *const b_row = b + group * n->b_group + tap * n->b_down;
            REAL *const c_row = c + sample * n->c_sample + row * n->c_row + group * n->c_group;
            for (ptrdiff_t q = 0; q < outputs; q += tile) {
                const ptrdiff_t wide = least_of(tile, outputs - q);
                t.bias = bias ? bias + group * outputs + q : NULL;
                for (ptrdiff_t column = 0; column < columns; column += pixels) {
                    const ptrdiff_t here = least_of(pixels, columns - column);
                    const ptrdiff_t left = n->first_column + column * n->a_column;
                    ptrdiff_t side, side_end;
                    TYPED(numbers_inside)
                    (left, left + (here - 1) * n->a_column, n->a_across, n->image_row,
                     n->taps_across, &side, &side_end);
                    t.runs2 = merged ? 1 : side_end - side;
                    t.depth = merged ? (side_end - side) * n->depth : n->depth;
                    t.a = a_row + column * n->a_column + side * n->a_across;
                    t.b = b_row + side * n->b_across + q;
                    t.c = c_row + column * n->c_column + q * LANES;
                    t.other = other ? other + (t.c - c) : NULL;
                    TYPED(batch_blocked_products)[wide][here](&t);
                }
            }
        }
    }
}

/* to[o] = the sum of dy over some samples and all pixels, for outputs side by side; the instruction
 * is that below. */
INLINE void TYPED(batch_blocked_biases)(const struct batch_blocked_weight_tiles *n, const REAL *dy,
                                        ptrdiff_t sample, ptrdiff_t sample_end, ptrdiff_t outputs,
                                        REAL *to) {
    double lanes[MOST_OUTPUTS][sizeof(VECTOR) / sizeof(REAL)] = {{0}};
    ptrdiff_t rows = n->rows, columns = n->columns;
    if (n->dy_row == columns * n->dy_column) { /* no gaps */
        columns *= rows;
        rows = 1;
    }
    for (; sample < sample_end; sample++) {
        for (ptrdiff_t row = 0; row < rows; row++) {
            const REAL *const from = dy + sample * n->dy_sample + row * n->dy_row;
            for (ptrdiff_t p = 0; p < columns; p += PIXELS_OF_A_BLOCK) {
                const ptrdiff_t pixels = least_of(PIXELS_OF_A_BLOCK, columns - p);
                for (ptrdiff_t o = 0; o < outputs; o++)
                    TYPED(add_pixels)
                    (from + p * n->dy_column + o * LANES, pixels, n->dy_column, LANES, 1, lanes[o]);
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
 */
static void TYPED(batch_blocked_weight_tiles)(const int64_t *instruction, int64_t step,
                                              int64_t thread, int64_t threads) {
    (void)step;
    const struct batch_blocked_weight_tiles *const n = fields_of(instruction);
    const REAL *const a = array_at(n->a), *const dy = array_at(n->dy);
    REAL *const dw = array_at(n->dw), *const db = array_at(n->db);
    REAL *const sums = array_at(n->sums);
    const ptrdiff_t rows = n->rows, tile = n->tile_outputs, outputs = n->outputs,
                    high = n->tile_inputs, depth = n->depth;
    const ptrdiff_t across = (outputs + tile - 1) / tile, down = (depth + high - 1) / high;
    /* By group, block of outputs, tap1, tap2, inputs; the bias comes last. */
    const ptrdiff_t of_weights = n->groups * n->taps_down * n->taps_across * down * across;
    const ptrdiff_t tiles = of_weights + (db ? n->groups * across : 0);
    const ptrdiff_t size = tile * high * LANES;
    const ptrdiff_t begin = first_of(n->parts * tiles, thread, threads);
    const ptrdiff_t end = first_of(n->parts * tiles, thread + 1, threads);
    for (ptrdiff_t piece = begin; piece < end;) {
        const ptrdiff_t part = piece / tiles, first = piece % tiles;
        const int is_weight = first < of_weights;
        const ptrdiff_t sample_begin = first_of(n->samples, part, n->parts);
        const ptrdiff_t sample_end = first_of(n->samples, part + 1, n->parts);
        /* Tiles that are taken through the same rows: those of one tap1. */
        const ptrdiff_t of_tap1 = is_weight ? n->taps_across * down : 1,
                        of_block = is_weight ? n->taps_down : 1;
        const ptrdiff_t line = is_weight ? first / of_tap1 : first - of_weights;
        const ptrdiff_t tap1 = line % of_block;
        const ptrdiff_t block = line / of_block % across, group = line / of_block / across;
        const ptrdiff_t q = block * tile, wide = least_of(tile, outputs - q);
        if (!is_weight) {
            TYPED(batch_blocked_biases)
            (n, dy + group * n->dy_group + q * LANES, sample_begin, sample_end, wide,
             db + (part * n->groups + group) * outputs + q);
            piece++;
            continue;
        }
        const ptrdiff_t count = least_of(end - piece, of_tap1 - first % of_tap1);
        struct TYPED(batch_blocked) t = {
            .a_run1 = n->a_row,
            .a_pixel = n->a_column,
            .b_run1 = n->dy_row,
            .runs2 = 1,
            .depth = n->columns,
            .b_step = n->dy_column,
        };
        for (ptrdiff_t sample = sample_begin; sample < sample_end; sample++) {
            for (ptrdiff_t chunk = 0; chunk < rows; chunk += n->rows_together) {
                const ptrdiff_t chunk_rows = least_of(n->rows_together, rows - chunk);
                const ptrdiff_t place = n->first_row + tap1 * n->a_down + chunk * n->a_row;
                ptrdiff_t row, row_end;
                TYPED(numbers_inside)(place, place, n->a_row, n->image, chunk_rows, &row, &row_end);
                t.runs1 = row_end - row;
                t.init = chunk == 0 && sample == sample_begin ? INIT_ZERO : INIT_C;
                t.b = dy + sample * n->dy_sample + (chunk + row) * n->dy_row + group * n->dy_group +
                      q * LANES;
                for (ptrdiff_t i = first; i < first + count; i++) {
                    const ptrdiff_t k = i % down * high, tap2 = i / down % n->taps_across;
                    t.a = a + (sample * n->a_sample + place + row * n->a_row + tap2 * n->a_across +
                               group * n->a_group + k * LANES);
                    t.c = sums + (part * tiles + i) * size;
                    TYPED(batch_blocked_sums)[wide][least_of(high, depth - k)](&t);
                }
            }
        }
        for (ptrdiff_t i = first; i < first + count; i++) {
            const ptrdiff_t k = i % down * high, tap2 = i / down % n->taps_across;
            TYPED(store_sums)
            (dw + part * n->dw_part + group * n->dw_group + tap1 * n->dw_down +
                 tap2 * n->dw_across + k * n->dw_depth + q,
             n->dw_depth, sums + (part * tiles + i) * size, wide, least_of(high, depth - k));
        }
        piece += count;
    }
}

#define BATCH_BLOCKED_KERNELS ENTRY(batch_blocked_tiles), ENTRY(batch_blocked_weight_tiles)
