/* Backward passes of a convolution behind a 2x2 max pool, over the pixels that the pool took.
 *
 * Of four entries of the gradient that enters such a convolution three are exactly zero. So its weight
 * gradient and its data gradient run over the pooled gradient, with the place of each entry in its window:
 * the same sums without the zeros, in another order. The convolution has stride 1, no dilation, no
 * padding, one group. fastconv/backends/compiled/rules/pooled.py makes the instructions.
 *
 * Lists, for each sample and pooled pixel p:
 *   plain   gradient[p][n] of each channel n, and offset[p][n]: of the pixel taken, in elements of x
 *   sorted  gradient[p][i] and channel[p][i], by place in the window, and count[p][4] of each place
 */

#ifndef MOST_POOLED
/* Sums of a weight tile at most, as in fastconv/backends/compiled/rules/pooled.py, and vectors in a row of them. */
#define MOST_POOLED 24
#define MOST_POOLED_VECTORS 12
/* Pixels down that a tile of dx has: all 4 that a pooled pixel reaches, or, where there are too few
 * registers, the 3 that it reaches from one row of its window. */
#if REGISTERS >= 32
#define POOLED_DOWN 4
#else
#define POOLED_DOWN 3
#endif
#endif

/* Make the lists. */
static void TYPED(pooled_lists)(const int64_t *instruction, int64_t step, int64_t thread,
                                int64_t threads) {
    (void)step;
    const struct pooled_lists *const n = fields_of(instruction);
    const REAL *const dys = array_at(n->dy), *const ys = array_at(n->y);
    const int32_t *const argmaxes = array_at(n->argmax);
    REAL *const gradients = array_at(n->gradient), *const sorted_gradients =
                                                       array_at(n->sorted_gradient);
    int32_t *const offsets = array_at(n->offset), *const sorted_channels = array_at(n->channel);
    int32_t *const counts = array_at(n->count);
    const REAL slope = (REAL)n->slope;
    const ptrdiff_t rows = n->rows, columns = n->columns, channels = n->channels;
    const int32_t width = (int32_t)n->plane_width, x_row = (int32_t)n->x_row,
                  x_pixel = (int32_t)n->x_pixel;
    const ptrdiff_t lines = n->samples * rows, end = first_of(lines, thread + 1, threads);
    for (ptrdiff_t line = first_of(lines, thread, threads); line < end; line++) {
        const int32_t row = 2 * (int32_t)(line % rows);
        for (ptrdiff_t p = line * columns; p < (line + 1) * columns; p++) {
            const int32_t column = 2 * (int32_t)(p - line * columns);
            const int32_t corner = row * width + column, start = row * x_row + column * x_pixel;
            const REAL *const restrict dy = dys + p * channels;
            const int32_t *const restrict argmax = argmaxes + p * channels;
            REAL *const restrict gradient = gradients + p * channels;
            int32_t *const restrict offset = offsets + p * channels;
            for (ptrdiff_t c = 0; c < channels; c++) {
                const int32_t from = argmax[c] - corner, down = from >= width;
                offset[c] = start + (from - down * width) * x_pixel + down * x_row;
            }
            if (ys) {
                const REAL *const restrict y = ys + p * channels;
                for (ptrdiff_t c = 0; c < channels; c++)
                    gradient[c] = dy[c] * (y[c] > 0 ? 1 : slope);
            } else {
                for (ptrdiff_t c = 0; c < channels; c++) gradient[c] = dy[c];
            }
            if (!counts) continue;
            /* Places 0 and 1 are in the upper row, which begins at `start`. */
            int32_t count[4] = {0};
            for (ptrdiff_t c = 0; c < channels; c++) count[1] += offset[c] == start + x_pixel;
            for (ptrdiff_t c = 0; c < channels; c++) count[2] += offset[c] == start + x_row;
            for (ptrdiff_t c = 0; c < channels; c++) count[0] += offset[c] == start;
            count[3] = (int32_t)channels - count[0] - count[1] - count[2];
            memcpy(counts + p * 4, count, sizeof count);
            int32_t place[4] = {0, count[0], count[0] + count[1], count[0] + count[1] + count[2]};
            REAL *const restrict sorted = sorted_gradients + p * channels;
            int32_t *const restrict channel = sorted_channels + p * channels;
            for (ptrdiff_t c = 0; c < channels; c++) {
                const int32_t from = argmax[c] - corner, down = from >= width;
                const int32_t to = place[2 * down + from - down * width]++;
                sorted[to] = gradient[c];
                channel[to] = (int32_t)c;
            }
        }
    }
}

struct TYPED(pooled_run) {
    const REAL *x, *gradient;
    const int32_t *offset;
    REAL *dw;
    ptrdiff_t row, dw_row; /* of x, of dw */
    ptrdiff_t pixels, channels;
    int add;
};

/* sums[r][v] += gradient[p] * x[offset[p] + r * row + v * LANES], over the pixels of one channel. */
INLINE void TYPED(pooled_tile)(const struct TYPED(pooled_run) *t, const int rows,
                               const int vectors) {
    VECTOR sum[MOST_POOLED];
    const ptrdiff_t row = t->row, channels = t->channels, pixels = t->pixels;
    const REAL *const x = t->x, *gradient = t->gradient;
    const int32_t *offset = t->offset;
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int v = 0; v < vectors; v++)
            sum[r * vectors + v] =
                t->add ? TYPED(load)(t->dw + r * t->dw_row + v * LANES) : (VECTOR){0};
    }
    for (ptrdiff_t p = 0; p < pixels; p++, offset += channels, gradient += channels) {
        const REAL *from = x + *offset;
        const REAL g = *gradient;
        UNROLL for (int r = 0; r < rows; r++, from += row) {
            FORGET_ORIGIN(from);
            UNROLL for (int v = 0; v < vectors; v++)
                sum[r * vectors + v] += g * TYPED(load)(from + v * LANES);
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int v = 0; v < vectors; v++)
            TYPED(store)(t->dw + r * t->dw_row + v * LANES, sum[r * vectors + v]);
    }
}

typedef void TYPED(pooled_function)(const struct TYPED(pooled_run) *);

#define POOLED_TILE(rows, vectors)                                                            \
    static void TYPED(pooled_##rows##x##vectors)(const struct TYPED(pooled_run) * t) {        \
        TYPED(pooled_tile)(t, rows, vectors);                                                 \
    }
/* As many sums as there are registers for. */
#define VECTORS_1_TO_4(X, rows) X(rows, 1) X(rows, 2) X(rows, 3) X(rows, 4)
#define VECTORS_5_TO_6(X, rows) X(rows, 5) X(rows, 6)
#define VECTORS_7_TO_8(X, rows) X(rows, 7) X(rows, 8)
#define VECTORS_9_TO_12(X, rows) X(rows, 9) X(rows, 10) X(rows, 11) X(rows, 12)
#define TILES_OF_FEW(X)                                                                       \
    VECTORS_1_TO_4(X, 1) VECTORS_5_TO_6(X, 1) VECTORS_7_TO_8(X, 1) VECTORS_9_TO_12(X, 1)      \
    VECTORS_1_TO_4(X, 2) VECTORS_5_TO_6(X, 2) VECTORS_1_TO_4(X, 3)
#if REGISTERS >= 32
#define ALL_TILES(X)                                                                          \
    TILES_OF_FEW(X) VECTORS_7_TO_8(X, 2) VECTORS_9_TO_12(X, 2) VECTORS_5_TO_6(X, 3)           \
    VECTORS_7_TO_8(X, 3)
#else
#define ALL_TILES(X) TILES_OF_FEW(X)
#endif
ALL_TILES(POOLED_TILE)
#define POOLED_ENTRY(rows, vectors) [rows][vectors] = TYPED(pooled_##rows##x##vectors),
static TYPED(pooled_function) *const
    TYPED(pooled)[4][MOST_POOLED_VECTORS + 1] = {ALL_TILES(POOLED_ENTRY)};
#undef POOLED_ENTRY
#undef ALL_TILES
#undef TILES_OF_FEW
#undef VECTORS_9_TO_12
#undef VECTORS_7_TO_8
#undef VECTORS_5_TO_6
#undef VECTORS_1_TO_4
#undef POOLED_TILE

/* db[n] is the sum of the gradient of channel n, added up sample by sample, for channels first to end. */
INLINE void TYPED(pooled_biases)(const REAL *gradients, ptrdiff_t pixels, ptrdiff_t channels,
                                 ptrdiff_t first, ptrdiff_t end, REAL *db, int add) {
    for (ptrdiff_t c = first; c < end; c += LANES) {
        const ptrdiff_t count = least_of(LANES, end - c);
        VECTOR sum = {0};
        for (ptrdiff_t p = 0; p < pixels; p++)
            sum += TYPED(load_first)(gradients + p * channels + c, count);
        if (add) sum += TYPED(load_first)(db + c, count);
        TYPED(store_first)(db + c, sum, count);
    }
}

/* dw[n][i][j] = sum over samples and pooled pixels of gradient * x, for each channel n of dy.
 *
 * A band of pixels is taken through all channels before the next: what it reads of x and of the lists
 * stays in the nearest cache. The sums go on in their order, from band to band.
 */
static void TYPED(pooled_weight_tiles)(const int64_t *instruction, int64_t step, int64_t thread,
                                       int64_t threads) {
    (void)step;
    const struct pooled_weight_tiles *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x), *const gradients = array_at(n->gradient);
    const int32_t *const offsets = array_at(n->offset);
    REAL *const dw = array_at(n->dw), *const db = array_at(n->db);
    const ptrdiff_t samples = n->samples, pixels = n->pixels, channels = n->channels,
                    row = n->x_row, down = n->taps_down;
    const ptrdiff_t wide = n->vectors * LANES, band = n->band, bands = (pixels + band - 1) / band;
    const ptrdiff_t begin = first_of(channels, thread, threads);
    const ptrdiff_t end = first_of(channels, thread + 1, threads);
    for (ptrdiff_t number = 0; number < samples * bands; number++) {
        const ptrdiff_t sample = number / bands, pixel = number % bands * band;
        const REAL *const gradient = gradients + (sample * pixels + pixel) * channels;
        const int32_t *const offset = offsets + (sample * pixels + pixel) * channels;
        for (ptrdiff_t c = begin; c < end; c++) {
            for (ptrdiff_t i = 0; i < down; i += n->tile_rows) {
                const ptrdiff_t rows = least_of(n->tile_rows, down - i);
                for (ptrdiff_t v = 0; v < n->vectors; v += MOST_POOLED_VECTORS) {
                    const ptrdiff_t vectors = least_of(MOST_POOLED_VECTORS, n->vectors - v);
                    const struct TYPED(pooled_run) t = {
                        .x = x + sample * n->x_sample + i * row + v * LANES,
                        .gradient = gradient + c,
                        .offset = offset + c,
                        .dw = dw + (c * down + i) * wide + v * LANES,
                        .row = row,
                        .dw_row = wide,
                        .pixels = least_of(band, pixels - pixel),
                        .channels = channels,
                        .add = number > 0,
                    };
                    TYPED(pooled)[rows][vectors](&t);
                }
            }
        }
        if (db && pixel == 0)
            TYPED(pooled_biases)(gradient, pixels, channels, begin, end, db, sample > 0);
    }
}

/* Bring a weight gradient from [n][k] to [k][n], as a gradient or as an update. */
static void TYPED(transpose_weights)(const int64_t *instruction, int64_t step, int64_t thread,
                                     int64_t threads) {
    const struct transpose_weights *const n = fields_of(instruction);
    const REAL *const from = array_at(n->sums), *const db = array_at(n->bias_sums);
    REAL *const w = array_at(n->dw), *const b = array_at(n->db);
    const ptrdiff_t depth = n->depth, outputs = n->outputs,
                    end = first_of(depth, thread + 1, threads);
    const double rate = n->epilogue == UPDATE ? ((const double *)array_at(n->rate))[step] : -1;
    /* A gradient is an update that keeps nothing, at a rate of -1. */
    const REAL keep = (REAL)(n->epilogue == UPDATE ? 1 - rate * n->decay : 0);
    const REAL keep_bias = (REAL)(n->epilogue == UPDATE ? 1 - rate * n->bias_decay : 0);
    const REAL factor = (REAL)rate;
    enum { SIDE = sizeof(VECTOR) / sizeof(REAL) > 8 ? sizeof(VECTOR) / sizeof(REAL) : 8 };
    for (ptrdiff_t k = first_of(depth, thread, threads); k < end; k += SIDE) {
        const ptrdiff_t tall = least_of(SIDE, end - k);
        for (ptrdiff_t o = 0; o < outputs; o += SIDE) {
            const ptrdiff_t wide = least_of(SIDE, outputs - o);
            REAL block[SIDE][SIDE];
            TYPED(transposed_block)(from + o * depth + k, depth, tall, wide, &block[0][0], SIDE);
            for (ptrdiff_t i = 0; i < tall; i++) {
                REAL *const to = w + (k + i) * outputs + o;
                if (n->epilogue == UPDATE) {
                    for (ptrdiff_t j = 0; j < wide; j++)
                        to[j] = keep * to[j] - factor * block[i][j];
                } else {
                    for (ptrdiff_t j = 0; j < wide; j++) to[j] = block[i][j];
                }
            }
        }
    }
    if (thread == 0 && db) {
        for (ptrdiff_t o = 0; o < outputs; o++)
            b[o] = n->epilogue == UPDATE ? keep_bias * b[o] - factor * db[o] : db[o];
    }
}

/* Taps 3 x 3 of the channels first to end of a list, all with their place (down, across), to the sums
 * of a tile whose upper row is `upper`. */
#define POOLED_PLACE(down, across)                                                            \
    for (const int32_t last = i + count[2 * (down) + across]; i < last; i++) {                \
        const REAL g = gradient[i];                                                           \
        const REAL *const taps = weights + channel[i] * 9 * LANES;                            \
        UNROLL for (int t = 0; t < 9; t++)                                                    \
            sum[(t / 3 + (down) - upper) * 4 + t % 3 + across] +=                             \
                g * TYPED(load)(taps + t * LANES);                                            \
    }

/* dx of a 3 x 3 convolution: every pooled pixel adds to a region of 4 x 4 pixels.
 *
 * A piece of work is a strip of rows of one image: who does it writes all of its rows, from every
 * pooled pixel that reaches them, in their order.
 */
static void TYPED(pooled_data_tiles)(const int64_t *instruction, int64_t step, int64_t thread,
                                     int64_t threads) {
    (void)step;
    const struct pooled_data_tiles *const n = fields_of(instruction);
    const REAL *const gradients = array_at(n->gradient), *const packed = array_at(n->w);
    const int32_t *const order = array_at(n->channel), *const counts = array_at(n->count);
    REAL *const dx = array_at(n->dx);
    const REAL *const other = array_at(n->other);
    const VECTOR slope = TYPED(spread)((REAL)n->slope);
    const ptrdiff_t rows = n->rows, columns = n->columns, channels = n->channels,
                    height = n->height, width = n->width;
    const ptrdiff_t inputs = n->inputs, line = width * inputs,
                    strips = (height + n->strip - 1) / n->strip;
    const ptrdiff_t pieces = n->samples * strips, end = first_of(pieces, thread + 1, threads);
    for (ptrdiff_t piece = first_of(pieces, thread, threads); piece < end; piece++) {
        const ptrdiff_t sample = piece / strips, top = piece % strips * n->strip;
        const ptrdiff_t bottom = least_of(height, top + n->strip);
        REAL *const image = dx + sample * height * line;
        memset(image + top * line, 0, (size_t)((bottom - top) * line) * sizeof(REAL));
        const ptrdiff_t from = top > 3 ? (top - 2) / 2 : 0;
        const ptrdiff_t to = least_of(rows, (bottom + 1) / 2);
        for (ptrdiff_t c = 0; c < inputs; c += LANES) {
            const REAL *const weights = packed + c * channels * 9;
            for (ptrdiff_t row = from; row < to; row++) {
                const ptrdiff_t first = 2 * row < top ? top - 2 * row : 0;
                const ptrdiff_t stop = least_of(4, bottom - 2 * row);
                for (ptrdiff_t column = 0; column < columns; column++) {
                    const ptrdiff_t at = (sample * rows + row) * columns + column;
                    const REAL *const gradient = gradients + at * channels;
                    const int32_t *const channel = order + at * channels;
                    const int32_t *const count = counts + at * 4;
                    REAL *const region = image + 2 * row * line + 2 * column * inputs + c;
                    int32_t i = 0;
                    UNROLL for (int upper = 0; upper <= 4 - POOLED_DOWN; upper++) {
                        VECTOR sum[4 * POOLED_DOWN];
                        UNROLL for (int v = 0; v < 4 * POOLED_DOWN; v++) sum[v] = (VECTOR){0};
                        POOLED_PLACE(upper, 0)
                        POOLED_PLACE(upper, 1)
                        if (POOLED_DOWN == 4) {
                            POOLED_PLACE(1, 0)
                            POOLED_PLACE(1, 1)
                        }
                        UNROLL for (int r = 0; r < POOLED_DOWN; r++) {
                            if (upper + r >= first && upper + r < stop) {
                                UNROLL for (int q = 0; q < 4; q++) {
                                    REAL *const pixel = region + (upper + r) * line + q * inputs;
                                    TYPED(store)(pixel, TYPED(load)(pixel) + sum[4 * r + q]);
                                }
                            }
                        }
                    }
                }
            }
        }
        if (n->epilogue == LEAKY_GRADIENT) {
            const ptrdiff_t start = (sample * height + top) * line;
            const ptrdiff_t elements = (bottom - top) * line;
            for (ptrdiff_t i = start; i < start + elements; i += LANES) {
                const VECTOR v = TYPED(load)(dx + i);
                TYPED(store)(dx + i, TYPED(where_positive)(TYPED(load)(other + i), v, v * slope));
            }
        }
    }
}
#undef POOLED_PLACE

#define POOLED_KERNELS                                                                        \
    ENTRY(pooled_lists), ENTRY(pooled_weight_tiles), ENTRY(transpose_weights),                \
        ENTRY(pooled_data_tiles)
