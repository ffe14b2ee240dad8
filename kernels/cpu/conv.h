/* Convolutions as tiles of gemm.h; fastconv/backends/compiled/rules/conv.py makes their rows.
 *
 * Images are NHWC. What the rows call A is the image that is read along its patches: x for forward
 * and weight gradient, dy for the data gradient. It holds its own padding: where there is some, a row of
 * pad_images made a padded copy.
 */

/* C[sample, row, column, n] = start + sum over taps and k of A[...] B[tap, k, n].
 *
 * pointers: A, B, C, bias (NULL: start from zero or C; START_ROWS: of the columns), other (LEAKY_GRADIENT)
 * integers:  0 samples, 1 rows, 2 columns of C; 3 vectors of a block of B; 4 outputs of a group;
 *            5 rows of a tile
 *            6, 7, 8 strides of A from sample, row, column of C to the next; 9, 10, 11 those of C
 *           12 taps1, 13, 14 strides of A and B from one to the next; 15 taps2, 16, 17 the same
 *           18 depth of a tap; 19 stride of B along depth, or 0: packed in blocks
 *           20 stride of B from block to block
 *           21 groups; 22, 23, 24 strides of A, B, C from group to group
 *           25 what sums start from; 26 what becomes of them;
 *           27 whether blocks of B are the outer loop; 28 columns of the last row
 * reals:    slope
 */
static void TYPED(conv_tiles)(const int64_t *record, int64_t step, int64_t thread,
                              int64_t threads) {
    (void)step;
    const int64_t *const n = record + INTEGERS;
    const REAL *const a = pointer_of(record, 0), *const b = pointer_of(record, 1);
    REAL *const c = pointer_of(record, 2);
    const REAL *const bias = pointer_of(record, 3), *const other = pointer_of(record, 4);
    const ptrdiff_t rows = n[1], columns = n[2], outputs = n[4], tile_rows = n[5];
    const ptrdiff_t width = n[3] * LANES, blocks = (outputs + width - 1) / width;
    const ptrdiff_t images = n[0] * rows, parts = n[21] * blocks;
    struct TYPED(tile) t = {
        .runs1 = n[12], .a_run1 = n[13], .runs2 = n[15], .a_run2 = n[16], .depth = n[18],
        .a_row = n[8], .c_row = n[11], .slope = (REAL)real_of(record, 0),
        .from = (int)n[25], .finish = (int)n[26],
    };
    const ptrdiff_t end = first_of(images * parts, thread + 1, threads);
    ptrdiff_t piece = first_of(images * parts, thread, threads);
    if (piece >= end) return;
    /* Where the first piece is; from one to the next, it takes no division. */
    const ptrdiff_t image = n[27] ? piece % images : piece / parts;
    const ptrdiff_t part = n[27] ? piece / images : piece % parts;
    ptrdiff_t sample = image / rows, row = image % rows, group = part / blocks, block = part % blocks;
    for (; piece < end; piece++) {
        const ptrdiff_t first = block * width;
        t.columns = least_of(width, outputs - first);
        const ptrdiff_t vectors = (t.columns + LANES - 1) / LANES;
        t.b = b + group * n[23] + block * n[20];
        /* The last block is packed as narrow as it is. */
        t.b_step = n[19] ? n[19] : vectors * LANES;
        t.b_run1 = n[19] ? n[14] : n[14] * t.b_step;
        t.b_run2 = n[19] ? n[17] : n[17] * t.b_step;
        t.start = bias ? bias + group * outputs + first : NULL;
        const REAL *const a_row = a + sample * n[6] + row * n[7] + group * n[22];
        REAL *const c_row = c + sample * n[9] + row * n[10] + group * n[24] + first;
        const ptrdiff_t wide = row == rows - 1 ? n[28] : columns;
        for (ptrdiff_t column = 0; column < wide; column += tile_rows) {
            t.a = a_row + column * n[8];
            t.c = c_row + column * n[11];
            if (t.from == START_ROWS) t.start = bias + column;
            t.other = other ? other + (t.c - c) : NULL;
            TYPED(deep)[vectors][least_of(tile_rows, wide - column)](&t);
        }
        if (n[27]) {
            if (++row < rows) continue;
            row = 0;
            if (++sample < n[0]) continue;
            sample = 0;
            if (++block < blocks) continue;
            block = 0, group++;
        } else {
            if (++block < blocks) continue;
            block = 0;
            if (++group < n[21]) continue;
            group = 0;
            if (++row < rows) continue;
            row = 0, sample++;
        }
    }
}

/* Pixels of dy whose products are summed in registers; the sums of so many are added in memory. */
#ifndef MOST_PIXELS_OF_A_SUM
#define MOST_PIXELS_OF_A_SUM 4096
#endif

/* total[k] += the sum of dy[pixel, k] over some samples, rows and columns from `dy` on; integers as
 * below. Without gaps between them, the pixels are one run. */
INLINE void TYPED(add_biases)(const int64_t *n, const REAL *dy, ptrdiff_t samples, ptrdiff_t rows,
                              ptrdiff_t columns, ptrdiff_t outputs, double *total) {
    if (rows > 1 && columns == n[2] && n[10] == columns * n[11]) {
        columns *= rows;
        rows = 1;
    }
    if (samples > 1 && rows == 1 && n[9] == columns * n[11]) {
        columns *= samples;
        samples = 1;
    }
    for (ptrdiff_t j = 0; j < outputs; j += LANES) {
        const ptrdiff_t count = least_of(LANES, outputs - j);
        double lanes[sizeof(VECTOR) / sizeof(REAL)] = {0};
        for (ptrdiff_t s = 0; s < samples; s++) {
            for (ptrdiff_t row = 0; row < rows; row++) {
                const REAL *const from = dy + s * n[9] + row * n[10] + j;
#ifdef MASKED_LOADS_ARE_FREE
                TYPED(add_pixels)(from, columns, n[11], count, 0, lanes);
#else
                TYPED(add_pixels)(from, columns, n[11], count, 1, lanes);
#endif
            }
        }
        for (ptrdiff_t l = 0; l < count; l++) total[j + l] += lanes[l];
    }
}

/* db = total, or the update of b by it; where total is NULL, the sums are made here. */
APART void TYPED(store_biases)(const int64_t *n, const double *total, const REAL *dy,
                               ptrdiff_t outputs, REAL *db, int updates, REAL keep, REAL rate) {
    double own[MOST_VECTORS * sizeof(VECTOR) / sizeof(REAL)];
    if (!total) {
        memset(own, 0, sizeof own);
        TYPED(add_biases)(n, dy, n[0], n[1], n[2], outputs, own);
        total = own;
    }
    for (ptrdiff_t j = 0; j < outputs; j++) {
        const REAL sum = (REAL)total[j];
        db[j] = updates ? keep * db[j] - rate * sum : sum;
    }
}

/* dw[tap, k, n] = sum over samples and pixels of A[...] dy[pixel, n]; db[n] = sum of dy[pixel, n].
 *
 * With UPDATE, w and b take the place of dw and db, and are updated by plain gradient descent.
 *
 * pointers: A, dy, dw, db (NULL: none), rate (UPDATE: float64, one for each step of the run)
 * integers:  0 samples, 1 rows, 2 columns of dy; 3 vectors of a block; 4 outputs of a group;
 *            5 rows of a tile
 *            6, 7, 8 strides of A from sample, row, column of dy to the next; 9, 10, 11 those of dy
 *           12 taps1, 13, 14 strides of A and dw from one to the next; 15 taps2, 16, 17 the same
 *           18 depth of a tap; 19 stride of dw along depth
 *           20 groups; 21, 22, 23 strides of A, dy, dw from group to group
 *           24 samples that are taken together (UPDATE: all); 25 STORE or UPDATE
 * reals:    UPDATE: factors of rate * w and of rate * b that are subtracted beside
 */
static void TYPED(conv_weight_tiles)(const int64_t *record, int64_t step, int64_t thread,
                                     int64_t threads) {
    const int64_t *const n = record + INTEGERS;
    const REAL *const a = pointer_of(record, 0), *const dy = pointer_of(record, 1);
    REAL *const dw = pointer_of(record, 2), *const db = pointer_of(record, 3);
    const ptrdiff_t samples = n[0], outputs = n[4], tile_rows = n[5], depth = n[18];
    const ptrdiff_t width = n[3] * LANES, blocks = (outputs + width - 1) / width;
    const ptrdiff_t tiles = (depth + tile_rows - 1) / tile_rows;
    const ptrdiff_t pieces = n[20] * n[12] * n[15] * tiles * blocks;
    struct TYPED(tile) t = {
        .a_run1 = n[6], .runs2 = n[1], .a_run2 = n[7], .b_run1 = n[9], .b_run2 = n[10],
        .depth = n[2], .a_step = n[8], .b_step = n[11], .c_row = n[19],
        .finish = (int)n[25],
    };
    REAL keep_bias = 0;
    if (t.finish == UPDATE) {
        const double rate = ((const double *)pointer_of(record, 4))[step];
        t.rate = (REAL)rate;
        t.keep = (REAL)(1 - rate * real_of(record, 0));
        keep_bias = (REAL)(1 - rate * real_of(record, 1));
    }
    const ptrdiff_t begin = first_of(pieces, thread, threads);
    const ptrdiff_t end = first_of(pieces, thread + 1, threads);
    ptrdiff_t rows_at_once = n[1], columns_at_once = n[2];
    if (t.finish != UPDATE) { /* which takes whole sums */
        columns_at_once = least_of(MOST_PIXELS_OF_A_SUM, n[2]);
        rows_at_once = least_of(n[1], MOST_PIXELS_OF_A_SUM / columns_at_once);
    }
    double biases[MOST_BIASES];
    const ptrdiff_t all_outputs = n[20] * outputs;
    if (db && all_outputs <= MOST_BIASES) memset(biases, 0, (size_t)all_outputs * sizeof(double));
    const ptrdiff_t down = (n[1] + rows_at_once - 1) / rows_at_once;
    const ptrdiff_t across = (n[2] + columns_at_once - 1) / columns_at_once;
    const ptrdiff_t together = n[24], blocks_of_samples = (samples + together - 1) / together;
    /* A few samples through all tiles, so that they come from a near cache; of none, the sum is 0. */
    for (ptrdiff_t chunk = 0; chunk == 0 || chunk < blocks_of_samples * down * across; chunk++) {
        const ptrdiff_t sample = chunk / (down * across) * together;
        const ptrdiff_t row = chunk / across % down * rows_at_once;
        const ptrdiff_t column = chunk % across * columns_at_once;
        t.runs1 = least_of(together, samples - sample);
        t.runs2 = least_of(rows_at_once, n[1] - row);
        t.depth = least_of(columns_at_once, n[2] - column);
        t.from = chunk ? START_C : START_ZERO;
        for (ptrdiff_t piece = begin; piece < end; piece++) {
            const ptrdiff_t block = piece % blocks, tile = piece / blocks % tiles;
            const ptrdiff_t tap2 = piece / (blocks * tiles) % n[15];
            const ptrdiff_t tap1 = piece / (blocks * tiles * n[15]) % n[12];
            const ptrdiff_t group = piece / (blocks * tiles * n[15] * n[12]);
            const ptrdiff_t first = block * width, k = tile * tile_rows;
            t.columns = least_of(width, outputs - first);
            const ptrdiff_t vectors = (t.columns + LANES - 1) / LANES;
            t.a = a + sample * n[6] + row * n[7] + column * n[8] + group * n[21] + tap1 * n[13] +
                  tap2 * n[16] + k;
            t.b = dy + sample * n[9] + row * n[10] + column * n[11] + group * n[22] + first;
            t.c = dw + group * n[23] + tap1 * n[14] + tap2 * n[17] + k * n[19] + first;
            TYPED(wide)[vectors][least_of(tile_rows, depth - k)](&t);
            if (db && all_outputs <= MOST_BIASES && tile == 0 && tap1 == 0 && tap2 == 0)
                TYPED(add_biases)(n, t.b, t.runs1, t.runs2, t.depth, t.columns,
                                  biases + group * outputs + first);
        }
    }
    if (!db) return;
    /* The first piece of each block of outputs has its biases. */
    const ptrdiff_t pieces_of_group = blocks * tiles * n[15] * n[12];
    for (ptrdiff_t group = 0; group < n[20]; group++) {
        for (ptrdiff_t block = 0; block < blocks; block++) {
            const ptrdiff_t piece = group * pieces_of_group + block;
            if (piece < begin || piece >= end) continue;
            const ptrdiff_t first = block * width, wide = least_of(width, outputs - first);
            const double *const total = biases + group * outputs + first;
            TYPED(store_biases)(n, all_outputs > MOST_BIASES ? NULL : total,
                                dy + group * n[22] + first, wide, db + group * outputs + first,
                                t.finish == UPDATE, keep_bias, t.rate);
        }
    }
}

/* Copy `count` elements, and zeros up to `wide`. */
INLINE void TYPED(copy_wider)(REAL *to, const REAL *from, ptrdiff_t count, ptrdiff_t wide) {
    ptrdiff_t k = 0;
    for (; k + LANES <= count; k += LANES) TYPED(store)(to + k, TYPED(load)(from + k));
    if (k < count) {
        const VECTOR last = TYPED(load_first)(from + k, count - k);
        TYPED(store_first)(to + k, last, least_of(LANES, wide - k));
        k += LANES;
    }
    for (; k < wide; k++) to[k] = 0;
}

/* Copy images into zeros: padding around them (or a crop, where it is negative), and channels.
 *
 * pointers: from, to
 * integers: 0 samples; 1, 2, 3 height, width, channels of `from`; 4, 5, 6 those of `to`;
 *           7, 8 row and column of `to` where the first pixel of `from` goes
 */
static void TYPED(pad_images)(const int64_t *record, int64_t step, int64_t thread,
                              int64_t threads) {
    (void)step;
    const int64_t *const n = record + INTEGERS;
    const REAL *const from = pointer_of(record, 0);
    REAL *const to = pointer_of(record, 1);
    const ptrdiff_t channels = n[3], wide = n[6], lines = n[0] * n[4];
    const ptrdiff_t end = first_of(lines, thread + 1, threads);
    /* Columns of `to` that have a pixel of `from`. */
    const ptrdiff_t left = n[8] > 0 ? n[8] : 0;
    const ptrdiff_t right = least_of(n[5], n[2] + n[8]);
    for (ptrdiff_t line = first_of(lines, thread, threads); line < end; line++) {
        const ptrdiff_t sample = line / n[4], row = line % n[4] - n[7];
        REAL *const out = to + line * n[5] * wide;
        if (row < 0 || row >= n[1] || right <= left) {
            memset(out, 0, (size_t)(n[5] * wide) * sizeof(REAL));
            continue;
        }
        memset(out, 0, (size_t)(left * wide) * sizeof(REAL));
        const REAL *const in = from + ((sample * n[1] + row) * n[2] + left - n[8]) * channels;
        if (channels == wide) {
            memcpy(out + left * wide, in, (size_t)((right - left) * wide) * sizeof(REAL));
        } else {
            for (ptrdiff_t column = left; column < right; column++)
                TYPED(copy_wider)(out + column * wide, in + (column - left) * channels, channels,
                                  wide);
        }
        memset(out + right * wide, 0, (size_t)((n[5] - right) * wide) * sizeof(REAL));
    }
}

/* to[i * to_row + j] = from[j * from_row + i], i below `tall` and j below `wide`. */
INLINE void TYPED(transposed_block)(const REAL *from, ptrdiff_t from_row, ptrdiff_t tall,
                                    ptrdiff_t wide, REAL *to, ptrdiff_t to_row) {
#ifdef CAN_TRANSPOSE
    if (tall == LANES && wide == LANES) {
        VECTOR rows[sizeof(VECTOR) / sizeof(REAL)];
        UNROLL for (int j = 0; j < LANES; j++) rows[j] = TYPED(load)(from + j * from_row);
        TYPED(transpose_square)(rows);
        UNROLL for (int i = 0; i < LANES; i++) TYPED(store)(to + i * to_row, rows[i]);
        return;
    }
#endif
    for (ptrdiff_t j = 0; j < wide; j++)
        for (ptrdiff_t i = 0; i < tall; i++) to[i * to_row + j] = from[j * from_row + i];
}

/* Pack weights into blocks of N vectors, the last one as narrow as it can be, filled up with zeros:
 * to[group][block][tap1][tap2][k][lane] = from[...].
 *
 * pointers: from, to
 * integers: 0 groups, 1 vectors of a block, 2 outputs, 3 taps1, 4 taps2, 5 depth;
 *           6 to 10 strides of `from`: group, output, tap1, tap2, k (taps may go backwards)
 *           11, 12 strides of `to`: group, block
 */
static void TYPED(pack_weights)(const int64_t *record, int64_t step, int64_t thread,
                                int64_t threads) {
    (void)step;
    const int64_t *const n = record + INTEGERS;
    const REAL *const from = pointer_of(record, 0);
    REAL *const to = pointer_of(record, 1);
    const ptrdiff_t width = n[1] * LANES, outputs = n[2], depth = n[5];
    const ptrdiff_t blocks = (outputs + width - 1) / width, taps = n[3] * n[4];
    const ptrdiff_t pieces = n[0] * blocks * taps;
    const ptrdiff_t end = first_of(pieces, thread + 1, threads);
    for (ptrdiff_t piece = first_of(pieces, thread, threads); piece < end; piece++) {
        const ptrdiff_t tap = piece % taps, block = piece / taps % blocks;
        const ptrdiff_t group = piece / (taps * blocks), first = block * width;
        const ptrdiff_t count = least_of(width, outputs - first);
        const ptrdiff_t wide = (count + LANES - 1) / LANES * LANES;
        const REAL *in = from + group * n[6] + first * n[7] + tap / n[4] * n[8] + tap % n[4] * n[9];
        REAL *out = to + group * n[11] + block * n[12] + tap * depth * wide;
        if (n[7] == 1) {
            for (ptrdiff_t k = 0; k < depth; k++, in += n[10], out += wide)
                TYPED(copy_wider)(out, in, count, wide);
            continue;
        }
        /* Transposed, by squares: of outputs and depth, or of outputs and taps across. */
        const ptrdiff_t across = n[4] - tap % n[4];
        if (n[9] == 1 && n[4] % LANES == 0 && wide == LANES && count == LANES) {
            if (tap % LANES) continue; /* the first of LANES taps does them all */
            for (ptrdiff_t k = 0; k < depth && across >= LANES; k++)
                TYPED(transposed_block)(in + k * n[10], n[7], LANES, LANES, out + k * wide,
                                        depth * wide);
            continue;
        }
        for (ptrdiff_t k = 0; k < depth; k += LANES) {
            const ptrdiff_t tall = least_of(LANES, depth - k);
            for (ptrdiff_t lane = 0; lane < wide; lane += LANES) {
                const ptrdiff_t there = least_of(LANES, count - lane);
                REAL *const place = out + k * wide + lane;
                if (n[10] == 1) {
                    TYPED(transposed_block)(in + k + lane * n[7], n[7], tall, there, place, wide);
                } else {
                    for (ptrdiff_t j = 0; j < there; j++)
                        for (ptrdiff_t i = 0; i < tall; i++)
                            place[i * wide + j] = in[(k + i) * n[10] + (lane + j) * n[7]];
                }
                for (ptrdiff_t i = 0; i < tall; i++)
                    for (ptrdiff_t j = there; j < LANES; j++) place[i * wide + j] = 0;
            }
        }
    }
}

/* Pack weights of some column phases of a strided data gradient side by side, by blocks as above:
 * to[block][tap1][tap2][k][phase, input] = from[...].
 *
 * pointers: from, to
 * integers: 0 vectors of a block, 1 phases, 2 inputs, 3 taps1, 4 taps2, 5 depth;
 *           6, 7, 8 strides of `from`: tap1, column of the kernel, input; along depth it is 1
 *           9 column of the kernel of the first phase and tap2; 10 from tap2 to tap2
 *           11 stride of `to` from block to block
 */
static void TYPED(pack_phases)(const int64_t *record, int64_t step, int64_t thread,
                               int64_t threads) {
    (void)step;
    const int64_t *const n = record + INTEGERS;
    const REAL *const from = pointer_of(record, 0);
    REAL *const to = pointer_of(record, 1);
    const ptrdiff_t width = n[0] * LANES, outputs = n[1] * n[2], depth = n[5];
    const ptrdiff_t end = first_of(n[3] * n[4], thread + 1, threads);
    for (ptrdiff_t tap = first_of(n[3] * n[4], thread, threads); tap < end; tap++) {
        const REAL *const in = from + tap / n[4] * n[6] + (n[9] + tap % n[4] * n[10]) * n[7];
        for (ptrdiff_t first = 0; first < outputs; first += width) {
            const ptrdiff_t count = least_of(width, outputs - first);
            const ptrdiff_t wide = (count + LANES - 1) / LANES * LANES;
            REAL *const out = to + first / width * n[11] + tap * depth * wide;
            for (ptrdiff_t lane = 0; lane < wide; lane++) {
                const ptrdiff_t phase = (first + lane) / n[2], input = (first + lane) % n[2];
                const REAL *const line = in + phase * n[7] + input * n[8];
                for (ptrdiff_t k = 0; k < depth; k++)
                    out[k * wide + lane] = lane < count ? line[k] : 0;
            }
        }
    }
}

/* to[channel] = sum over pixels.
 *
 * pointers: from, to
 * integers: 0 pixels, 1 channels
 */
static void TYPED(sum_pixels)(const int64_t *record, int64_t step, int64_t thread,
                              int64_t threads) {
    (void)step;
    const int64_t *const n = record + INTEGERS;
    const REAL *const from = pointer_of(record, 0);
    REAL *const to = pointer_of(record, 1);
    const ptrdiff_t channels = n[1], vectors = (channels + LANES - 1) / LANES;
    const ptrdiff_t end = first_of(vectors, thread + 1, threads);
    for (ptrdiff_t piece = first_of(vectors, thread, threads); piece < end; piece++) {
        const ptrdiff_t c = piece * LANES, count = least_of(LANES, channels - c);
        TYPED(sum_channels)(from + c, n[0], channels, count, to + c);
    }
}

#define CONV_KERNELS                                                                          \
    ENTRY(conv_tiles), ENTRY(conv_weight_tiles), ENTRY(pad_images), ENTRY(pack_weights),      \
        ENTRY(pack_phases), ENTRY(sum_pixels), ENTRY(depthwise_tiles), ENTRY(depthwise_weight_tiles),             \
        ENTRY(spread_channels)
