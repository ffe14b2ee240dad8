/* Convolutions as tiles of gemm.h; fastconv/backends/compiled/rules/conv.py makes their
 * instructions.
 *
 * Images are NHWC. What the rows call A is the image that is read along its patches: x for forward
 * and weight gradient, dy for the data gradient. It holds its own padding: where there is some, an
 * instruction pad_images made a padded copy. */

/* C[sample, row, column, n] = start + sum over taps and k of A[...] B[tap, k, n]. */
static void TYPED(conv_tiles)(const int64_t *instruction, int64_t step, int64_t thread,
                              int64_t threads) {
    (void)step;
    const struct conv_tiles *const n = fields_of(instruction);
    const REAL *const a = array_at(n->a), *const b = array_at(n->b);
    REAL *const c = array_at(n->c);
    const REAL *const bias = array_at(n->bias), *const other = array_at(n->other);
    const ptrdiff_t rows = n->rows, columns = n->columns, outputs = n->outputs,
                    tile_rows = n->tile_rows;
    const ptrdiff_t width = n->vectors * LANES, blocks = (outputs + width - 1) / width;
    const ptrdiff_t images = n->samples * rows, parts = n->groups * blocks;
    struct TYPED(tile) t = {
        .runs1 = n->taps_down,
        .a_run1 = n->a_down,
        .runs2 = n->taps_across,
        .a_run2 = n->a_across,
        .depth = n->depth,
        .a_row = n->a_column,
        .c_row = n->c_column,
        .slope = (REAL)n->slope,
        .init = (int)n->accumulator_init,
        .epilogue = (int)n->epilogue,
    };
    const ptrdiff_t end = first_of(images * parts, thread + 1, threads);
    ptrdiff_t piece = first_of(images * parts, thread, threads);
    if (piece >= end) return;
    /* Where the first piece is; from one to the next, it takes no division. */
    const ptrdiff_t image = n->blocks_outside ? piece % images : piece / parts;
    const ptrdiff_t part = n->blocks_outside ? piece / images : piece % parts;
    ptrdiff_t sample = image / rows, row = image % rows, group = part / blocks, block = part % blocks;
    for (; piece < end; piece++) {
        const ptrdiff_t first = block * width;
        t.columns = least_of(width, outputs - first);
        const ptrdiff_t vectors = (t.columns + LANES - 1) / LANES;
        t.b = b + group * n->b_group + block * n->b_block;
        /* The last block is packed as narrow as it is. */
        t.b_step = n->b_depth ? n->b_depth : vectors * LANES;
        t.b_run1 = n->b_depth ? n->b_down : n->b_down * t.b_step;
        t.b_run2 = n->b_depth ? n->b_across : n->b_across * t.b_step;
        t.start = bias ? bias + group * outputs + first : NULL;
        const REAL *const a_row = a + sample * n->a_sample + row * n->a_row + group * n->a_group;
        REAL *const c_row = c + sample * n->c_sample + row * n->c_row + group * n->c_group + first;
        const ptrdiff_t wide = row == rows - 1 ? n->last_columns : columns;
        for (ptrdiff_t column = 0; column < wide; column += tile_rows) {
            t.a = a_row + column * n->a_column;
            t.c = c_row + column * n->c_column;
            if (t.init == INIT_ROW_BIAS) t.start = bias + column;
            t.other = other ? other + (t.c - c) : NULL;
            TYPED(deep)[vectors][least_of(tile_rows, wide - column)](&t);
        }
        if (n->blocks_outside) {
            if (++row < rows) continue;
            row = 0;
            if (++sample < n->samples) continue;
            sample = 0;
            if (++block < blocks) continue;
            block = 0, group++;
        } else {
            if (++block < blocks) continue;
            block = 0;
            if (++group < n->groups) continue;
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

/* total[k] += the sum of dy[pixel, k] over some samples, rows and columns from `dy` on; n is that
 * below. Without gaps between them, the pixels are one run. */
INLINE void TYPED(add_biases)(const struct conv_weight_tiles *n, const REAL *dy, ptrdiff_t samples,
                              ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t outputs, double *total) {
    if (rows > 1 && columns == n->columns && n->dy_row == columns * n->dy_column) {
        columns *= rows;
        rows = 1;
    }
    if (samples > 1 && rows == 1 && n->dy_sample == columns * n->dy_column) {
        columns *= samples;
        samples = 1;
    }
    for (ptrdiff_t j = 0; j < outputs; j += LANES) {
        const ptrdiff_t count = least_of(LANES, outputs - j);
        double lanes[sizeof(VECTOR) / sizeof(REAL)] = {0};
        for (ptrdiff_t s = 0; s < samples; s++) {
            for (ptrdiff_t row = 0; row < rows; row++) {
                const REAL *const from = dy + s * n->dy_sample + row * n->dy_row + j;
#ifdef MASKED_LOADS_ARE_FREE
                TYPED(add_pixels)(from, columns, n->dy_column, count, 0, lanes);
#else
                TYPED(add_pixels)(from, columns, n->dy_column, count, 1, lanes);
#endif
            }
        }
        for (ptrdiff_t l = 0; l < count; l++) total[j + l] += lanes[l];
    }
}

/* db = total, or the update of b by it; where total is NULL, the sums are made here. */
APART void TYPED(store_biases)(const struct conv_weight_tiles *n, const double *total,
                               const REAL *dy, ptrdiff_t outputs, REAL *db, int updates, REAL keep,
                               REAL rate) {
    double own[MOST_VECTORS * sizeof(VECTOR) / sizeof(REAL)];
    if (!total) {
        memset(own, 0, sizeof own);
        TYPED(add_biases)(n, dy, n->samples, n->rows, n->columns, outputs, own);
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
 */
static void TYPED(conv_weight_tiles)(const int64_t *instruction, int64_t step, int64_t thread,
                                     int64_t threads) {
    const struct conv_weight_tiles *const n = fields_of(instruction);
    const REAL *const a = array_at(n->a), *const dy = array_at(n->dy);
    REAL *const dw = array_at(n->dw), *const db = array_at(n->db);
    const ptrdiff_t samples = n->samples, outputs = n->outputs, tile_rows = n->tile_rows,
                    depth = n->depth;
    const ptrdiff_t width = n->vectors * LANES, blocks = (outputs + width - 1) / width;
    const ptrdiff_t tiles = (depth + tile_rows - 1) / tile_rows;
    const ptrdiff_t pieces = n->groups * n->taps_down * n->taps_across * tiles * blocks;
    struct TYPED(tile) t = {
        .a_run1 = n->a_sample,
        .runs2 = n->rows,
        .a_run2 = n->a_row,
        .b_run1 = n->dy_sample,
        .b_run2 = n->dy_row,
        .depth = n->columns,
        .a_step = n->a_column,
        .b_step = n->dy_column,
        .c_row = n->dw_depth,
        .epilogue = (int)n->epilogue,
    };
    REAL keep_bias = 0;
    if (t.epilogue == UPDATE) {
        const double rate = ((const double *)array_at(n->rate))[step];
        t.rate = (REAL)rate;
        t.keep = (REAL)(1 - rate * n->decay);
        keep_bias = (REAL)(1 - rate * n->bias_decay);
    }
    const ptrdiff_t begin = first_of(pieces, thread, threads);
    const ptrdiff_t end = first_of(pieces, thread + 1, threads);
    ptrdiff_t rows_at_once = n->rows, columns_at_once = n->columns;
    if (t.epilogue != UPDATE) { /* which takes whole sums */
        columns_at_once = least_of(MOST_PIXELS_OF_A_SUM, n->columns);
        rows_at_once = least_of(n->rows, MOST_PIXELS_OF_A_SUM / columns_at_once);
    }
    double biases[MOST_BIASES];
    const ptrdiff_t all_outputs = n->groups * outputs;
    if (db && all_outputs <= MOST_BIASES) memset(biases, 0, (size_t)all_outputs * sizeof(double));
    const ptrdiff_t down = (n->rows + rows_at_once - 1) / rows_at_once;
    const ptrdiff_t across = (n->columns + columns_at_once - 1) / columns_at_once;
    const ptrdiff_t together = n->together, blocks_of_samples = (samples + together - 1) / together;
    /* A few samples through all tiles, so that they come from L2; of none, the sum is 0. */
    for (ptrdiff_t chunk = 0; chunk == 0 || chunk < blocks_of_samples * down * across; chunk++) {
        const ptrdiff_t sample = chunk / (down * across) * together;
        const ptrdiff_t row = chunk / across % down * rows_at_once;
        const ptrdiff_t column = chunk % across * columns_at_once;
        t.runs1 = least_of(together, samples - sample);
        t.runs2 = least_of(rows_at_once, n->rows - row);
        t.depth = least_of(columns_at_once, n->columns - column);
        t.init = chunk ? INIT_C : INIT_ZERO;
        for (ptrdiff_t piece = begin; piece < end; piece++) {
            const ptrdiff_t block = piece % blocks, tile = piece / blocks % tiles;
            const ptrdiff_t tap2 = piece / (blocks * tiles) % n->taps_across;
            const ptrdiff_t tap1 = piece / (blocks * tiles * n->taps_across) % n->taps_down;
            const ptrdiff_t group = piece / (blocks * tiles * n->taps_across * n->taps_down);
            const ptrdiff_t first = block * width, k = tile * tile_rows;
            t.columns = least_of(width, outputs - first);
            const ptrdiff_t vectors = (t.columns + LANES - 1) / LANES;
            t.a = a + sample * n->a_sample + row * n->a_row + column * n->a_column +
                  group * n->a_group + tap1 * n->a_down + tap2 * n->a_across + k;
            t.b = dy + sample * n->dy_sample + row * n->dy_row + column * n->dy_column +
                  group * n->dy_group + first;
            t.c = dw + group * n->dw_group + tap1 * n->dw_down + tap2 * n->dw_across +
                  k * n->dw_depth + first;
            TYPED(wide)[vectors][least_of(tile_rows, depth - k)](&t);
            if (db && all_outputs <= MOST_BIASES && tile == 0 && tap1 == 0 && tap2 == 0)
                TYPED(add_biases)(n, t.b, t.runs1, t.runs2, t.depth, t.columns,
                                  biases + group * outputs + first);
        }
    }
    if (!db) return;
    /* The first piece of each block of outputs has its biases. */
    const ptrdiff_t pieces_of_group = blocks * tiles * n->taps_across * n->taps_down;
    for (ptrdiff_t group = 0; group < n->groups; group++) {
        for (ptrdiff_t block = 0; block < blocks; block++) {
            const ptrdiff_t piece = group * pieces_of_group + block;
            if (piece < begin || piece >= end) continue;
            const ptrdiff_t first = block * width, wide = least_of(width, outputs - first);
            const double *const total = biases + group * outputs + first;
            TYPED(store_biases)
            (n, all_outputs > MOST_BIASES ? NULL : total, dy + group * n->dy_group + first, wide,
             db + group * outputs + first, t.epilogue == UPDATE, keep_bias, t.rate);
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

/* Copy images into zeros: padding around them (or a crop, where it is negative), and channels. */
static void TYPED(pad_images)(const int64_t *instruction, int64_t step, int64_t thread,
                              int64_t threads) {
    (void)step;
    const struct pad_images *const n = fields_of(instruction);
    const REAL *const from = array_at(n->x);
    REAL *const to = array_at(n->y);
    const ptrdiff_t channels = n->channels, wide = n->out_channels,
                    lines = n->samples * n->out_height;
    const ptrdiff_t end = first_of(lines, thread + 1, threads);
    /* Columns of `to` that have a pixel of `from`. */
    const ptrdiff_t left = n->left > 0 ? n->left : 0;
    const ptrdiff_t right = least_of(n->out_width, n->width + n->left);
    for (ptrdiff_t line = first_of(lines, thread, threads); line < end; line++) {
        const ptrdiff_t sample = line / n->out_height, row = line % n->out_height - n->top;
        REAL *const out = to + line * n->out_width * wide;
        if (row < 0 || row >= n->height || right <= left) {
            memset(out, 0, (size_t)(n->out_width * wide) * sizeof(REAL));
            continue;
        }
        memset(out, 0, (size_t)(left * wide) * sizeof(REAL));
        const REAL *const in =
            from + ((sample * n->height + row) * n->width + left - n->left) * channels;
        if (channels == wide) {
            memcpy(out + left * wide, in, (size_t)((right - left) * wide) * sizeof(REAL));
        } else {
            for (ptrdiff_t column = left; column < right; column++)
                TYPED(copy_wider)(out + column * wide, in + (column - left) * channels, channels,
                                  wide);
        }
        memset(out + right * wide, 0, (size_t)((n->out_width - right) * wide) * sizeof(REAL));
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
 */
static void TYPED(pack_weights)(const int64_t *instruction, int64_t step, int64_t thread,
                                int64_t threads) {
    (void)step;
    const struct pack_weights *const n = fields_of(instruction);
    const REAL *const from = array_at(n->w);
    REAL *const to = array_at(n->packed);
    const ptrdiff_t width = n->vectors * LANES, outputs = n->outputs, depth = n->depth;
    const ptrdiff_t blocks = (outputs + width - 1) / width, taps = n->taps_down * n->taps_across;
    const ptrdiff_t pieces = n->groups * blocks * taps;
    const ptrdiff_t end = first_of(pieces, thread + 1, threads);
    for (ptrdiff_t piece = first_of(pieces, thread, threads); piece < end; piece++) {
        const ptrdiff_t tap = piece % taps, block = piece / taps % blocks;
        const ptrdiff_t group = piece / (taps * blocks), first = block * width;
        const ptrdiff_t count = least_of(width, outputs - first);
        const ptrdiff_t wide = (count + LANES - 1) / LANES * LANES;
        const REAL *in = from + group * n->w_group + first * n->w_output +
                         tap / n->taps_across * n->w_down + tap % n->taps_across * n->w_across;
        REAL *out = to + group * n->packed_group + block * n->packed_block + tap * depth * wide;
        if (n->w_output == 1) {
            for (ptrdiff_t k = 0; k < depth; k++, in += n->w_depth, out += wide)
                TYPED(copy_wider)(out, in, count, wide);
            continue;
        }
        /* Transposed, by squares: of outputs and depth, or of outputs and taps across. */
        const ptrdiff_t across = n->taps_across - tap % n->taps_across;
        if (n->w_across == 1 && n->taps_across % LANES == 0 && wide == LANES && count == LANES) {
            if (tap % LANES) continue; /* the first of LANES taps does them all */
            for (ptrdiff_t k = 0; k < depth && across >= LANES; k++)
                TYPED(transposed_block)
                (in + k * n->w_depth, n->w_output, LANES, LANES, out + k * wide, depth * wide);
            continue;
        }
        for (ptrdiff_t k = 0; k < depth; k += LANES) {
            const ptrdiff_t tall = least_of(LANES, depth - k);
            for (ptrdiff_t lane = 0; lane < wide; lane += LANES) {
                const ptrdiff_t there = least_of(LANES, count - lane);
                REAL *const place = out + k * wide + lane;
                if (n->w_depth == 1) {
                    TYPED(transposed_block)
                    (in + k + lane * n->w_output, n->w_output, tall, there, place, wide);
                } else {
                    for (ptrdiff_t j = 0; j < there; j++)
                        for (ptrdiff_t i = 0; i < tall; i++)
                            place[i * wide + j] =
                                in[(k + i) * n->w_depth + (lane + j) * n->w_output];
                }
                for (ptrdiff_t i = 0; i < tall; i++)
                    for (ptrdiff_t j = there; j < LANES; j++) place[i * wide + j] = 0;
            }
        }
    }
}

/* Pack weights of some column phases of a strided data gradient side by side, by blocks as above:
 * to[block][tap1][tap2][k][phase, input] = from[...].
 */
static void TYPED(pack_subpixel_phases)(const int64_t *instruction, int64_t step, int64_t thread,
                                        int64_t threads) {
    (void)step;
    const struct pack_subpixel_phases *const n = fields_of(instruction);
    const REAL *const from = array_at(n->w);
    REAL *const to = array_at(n->packed);
    const ptrdiff_t width = n->vectors * LANES, outputs = n->phases * n->inputs, depth = n->depth;
    const ptrdiff_t end = first_of(n->taps_down * n->taps_across, thread + 1, threads);
    for (ptrdiff_t tap = first_of(n->taps_down * n->taps_across, thread, threads); tap < end;
         tap++) {
        const REAL *const in = from + tap / n->taps_across * n->w_down +
                               (n->first + tap % n->taps_across * n->step) * n->w_across;
        for (ptrdiff_t first = 0; first < outputs; first += width) {
            const ptrdiff_t count = least_of(width, outputs - first);
            const ptrdiff_t wide = (count + LANES - 1) / LANES * LANES;
            REAL *const out = to + first / width * n->packed_block + tap * depth * wide;
            for (ptrdiff_t lane = 0; lane < wide; lane++) {
                const ptrdiff_t phase = (first + lane) / n->inputs,
                                input = (first + lane) % n->inputs;
                const REAL *const line = in + phase * n->w_across + input * n->w_input;
                for (ptrdiff_t k = 0; k < depth; k++)
                    out[k * wide + lane] = lane < count ? line[k] : 0;
            }
        }
    }
}

/* to[channel] = sum over pixels. */
static void TYPED(sum_pixels)(const int64_t *instruction, int64_t step, int64_t thread,
                              int64_t threads) {
    (void)step;
    const struct sum_pixels *const n = fields_of(instruction);
    const REAL *const from = array_at(n->x);
    REAL *const to = array_at(n->total);
    const ptrdiff_t channels = n->channels, vectors = (channels + LANES - 1) / LANES;
    const ptrdiff_t end = first_of(vectors, thread + 1, threads);
    for (ptrdiff_t piece = first_of(vectors, thread, threads); piece < end; piece++) {
        const ptrdiff_t c = piece * LANES, count = least_of(LANES, channels - c);
        TYPED(sum_channels)(from + c, n->pixels, channels, count, to + c);
    }
}

#define CONV_KERNELS                                                                               \
    ENTRY(conv_tiles), ENTRY(conv_weight_tiles), ENTRY(pad_images), ENTRY(pack_weights),           \
        ENTRY(pack_subpixel_phases), ENTRY(sum_pixels), ENTRY(depthwise_tiles),                    \
        ENTRY(depthwise_weight_tiles), ENTRY(spread_channels)
