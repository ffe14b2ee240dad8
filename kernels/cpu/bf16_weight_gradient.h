/* Weight gradients by products of bf16, whose sums run over pixels: x is transposed on its way into
 * the caches, so that the pixels of a channel lie side by side, and pairs of pixels of dy are B.
 *
 * Where stride is 1 and channels fill tiles, a tap is the transposed image from another pixel on; dy
 * then has zeros where a row of the image is longer than one of dy. Else the rows are those of the
 * transposed im2col matrix. Samples are summed in fixed parts, so that each sum is made in one order
 * on any number of threads. */

/* Pixels of one unit: `band_rows` rows of dy of a sample. */
struct bf16_unit {
    ptrdiff_t pitch;    /* pixels from row to row of dy */
    ptrdiff_t pixels;   /* of dy, filled up to whole steps */
    ptrdiff_t turned;   /* of the transposed image */
    ptrdiff_t line;     /* of the transposed images of all units, and what a last step reads */
    ptrdiff_t depth;    /* rows of the transposed image */
};

/* Pixels of 16 channels at a time are no stream that a processor sees by itself. */
enum { PIXELS_AHEAD = 64 };

INLINE void prefetch_pixel(const float *pixel, ptrdiff_t channels) {
#ifdef __GNUC__
    for (ptrdiff_t k = 0; k < channels; k += 64 / (ptrdiff_t)sizeof(float))
        __builtin_prefetch(pixel + k);
#else
    (void)pixel, (void)channels;
#endif
}

/* The transposed rows of an image that a band of dy sees: to[k][pixel], k from `first_k` on. */
INLINE void turn_band(const struct bf16_weight_sums *n, const struct bf16_unit *unit,
                      const float *image, ptrdiff_t group, ptrdiff_t first, ptrdiff_t first_k,
                      bf16 *to) {
    const struct patches *const p = &n->patches;
    const float *pixel[TILE_DEPTH];
    ptrdiff_t row = 0, column = 0;
    for (ptrdiff_t begin = 0; begin < unit->turned; begin += TILE_DEPTH) {
        for (ptrdiff_t i = 0; i < TILE_DEPTH; i++) {
            const ptrdiff_t y = first + row - p->top, x = column - p->left;
            const int inside = y >= 0 && y < p->height && x >= 0 && x < width_of_row(p, y);
            pixel[i] = inside ? image + (y * p->width + x) * p->channels + group * p->depth + first_k
                              : NULL;
            if (inside) prefetch_pixel(pixel[i] + PIXELS_AHEAD * p->channels, unit->depth);
            if (++column == unit->pitch) row++, column = 0;
        }
        round_transposed(pixel, unit->depth, to + begin, unit->line);
    }
}

/* The transposed patches of the pixels of a band of dy. */
INLINE void turn_patches(const struct bf16_weight_sums *n, const struct bf16_unit *unit,
                         const float *image, ptrdiff_t group, ptrdiff_t first, ptrdiff_t count,
                         float *patches, bf16 *to) {
    const struct patches *const p = &n->patches;
    const float *pixel[TILE_DEPTH];
    ptrdiff_t row = 0, column = 0;
    for (ptrdiff_t begin = 0; begin < unit->turned; begin += TILE_DEPTH) {
        for (ptrdiff_t i = 0; i < TILE_DEPTH;) {
            const ptrdiff_t run = least_of(TILE_DEPTH - i, unit->pitch - column);
            const ptrdiff_t there = row < count ? columns_of_row(p, first + row) - column : 0;
            if (there > 0)
                copy_patches(p, image, group, first + row, column, least_of(run, there),
                             patches + i * unit->depth, unit->depth);
            for (ptrdiff_t j = 0; j < run; j++)
                pixel[i + j] = j < there ? patches + (i + j) * unit->depth : NULL;
            i += run, column += run;
            if (column == unit->pitch) row++, column = 0;
        }
        round_transposed(pixel, unit->depth, to + begin, unit->line);
    }
}

/* B of a band of dy, tiles of 16 columns `b_columns` apart; its sums are added to those of the bias. */
INLINE void pair_band(const struct bf16_weight_sums *n, const struct bf16_unit *unit,
                      const float *dy, ptrdiff_t group, ptrdiff_t first, ptrdiff_t count, bf16 *to,
                      ptrdiff_t b_columns, double *biases) {
    const struct patches *const p = &n->patches;
    const ptrdiff_t outputs = p->outputs, step = p->groups * outputs;
    ptrdiff_t row = 0, column = 0;
    for (ptrdiff_t begin = 0; begin < unit->pixels; begin += 2, to += 2 * TILE_COLUMNS) {
        const float *pixel[2];
        for (ptrdiff_t i = 0; i < 2; i++) {
            const int inside = row < count && column < columns_of_row(p, first + row);
            pixel[i] = inside ? dy + ((first + row) * p->columns + column) * step + group * outputs
                              : NULL;
            if (inside) prefetch_pixel(pixel[i] + PIXELS_AHEAD * step, outputs);
            if (++column == unit->pitch) row++, column = 0;
        }
        for (ptrdiff_t block = 0; block * TILE_COLUMNS < outputs; block++) {
            const ptrdiff_t k = block * TILE_COLUMNS;
            round_pairs(to + block * b_columns, pixel[0] ? pixel[0] + k : NULL,
                        pixel[1] ? pixel[1] + k : NULL, outputs - k);
        }
    }
    if (!biases) return;
    for (ptrdiff_t k = 0; k < outputs; k += LANES) {
        const ptrdiff_t lanes = least_of(LANES, outputs - k);
        VECTOR sums[2] = NO_SUMS; /* in turns: an addition waits for the one before */
        for (ptrdiff_t r = first; r < first + count; r++) {
            const float *from = dy + r * p->columns * step + group * outputs + k;
            for (ptrdiff_t i = columns_of_row(p, r); i > 0; i--, from += step)
                sums[i & 1] += TYPED(load_first)(from, lanes);
        }
        float lane[sizeof(VECTOR) / sizeof(float)];
        TYPED(store)(lane, sums[0] + sums[1]);
        for (ptrdiff_t l = 0; l < lanes; l++) biases[k + l] += lane[l];
    }
}

/* sums[part][group][tap, k][n] = the sum over the samples of a part, and pixels, of A dy;
 * bias_sums[part][n] = the sum of dy. */
static void bf16_weight_sums(const int64_t *instruction, int64_t step, int64_t thread,
                             int64_t threads) {
    (void)step;
    const struct bf16_weight_sums *const n = fields_of(instruction);
    const struct patches *const p = &n->patches;
    const float *const a = array_at(n->a), *const dy = array_at(n->dy);
    double *const bias_sums = array_at(n->bias_sums);
    const ptrdiff_t taps = p->taps_down * p->taps_across, size = taps * p->depth;
    const ptrdiff_t blocks = n->by_bands ? p->depth / n->depth_block : 1;
    const ptrdiff_t bands = (p->rows + n->band_rows - 1) / n->band_rows;
    const ptrdiff_t units = p->samples * bands, outputs = p->outputs;
    const ptrdiff_t pieces = n->parts * p->groups * blocks;
    const ptrdiff_t end = first_of(pieces, thread + 1, threads);
    ptrdiff_t piece = first_of(pieces, thread, threads);
    if (piece >= end) return;
    const ptrdiff_t sums_row = round_up(outputs, TILE_COLUMNS);
    const ptrdiff_t sums_group = round_up(size, TILE_DEPTH) * sums_row;
    struct bf16_unit unit = {.pitch = p->columns, .depth = round_up(size, TILE_DEPTH)};
    ptrdiff_t rows_seen = n->band_rows;
    if (n->by_bands) {
        unit.pitch += (p->taps_across - 1) * p->dilation_across;
        unit.depth = n->depth_block;
        rows_seen += (p->taps_down - 1) * p->dilation_down;
    }
    unit.pixels = round_up((n->band_rows - 1) * unit.pitch + p->columns, TILE_DEPTH);
    unit.turned = round_up(rows_seen * unit.pitch, TILE_DEPTH);
    /* No multiple of 4 KiB, which would be one set of a cache. */
    unit.line = n->together * unit.turned + 2 * TILE_DEPTH;
    if (unit.line % (2 * TILE_DEPTH) == 0) unit.line += TILE_DEPTH;
    const ptrdiff_t steps = unit.pixels / TILE_DEPTH;
    float *const patches = (float *)array_at(n->scratch) +
                           scratch_of(instruction, thread, threads) * n->scratch_thread;
    bf16 *const turned = (bf16 *)(patches + n->patch_elements);
    bf16 *const pairs = turned + unit.depth * unit.line;
    int32_t offset[MOST_BF16_STEPS];
    for (ptrdiff_t s = 0; s < n->together * steps; s++)
        offset[s] = (int32_t)(s / steps * unit.turned + s % steps * TILE_DEPTH);
    struct bf16_product t = {
        .a_row = unit.line,
        .offset = offset,
        .b_columns = n->together * unit.pixels * TILE_COLUMNS,
        .c_row = sums_row,
    };
    /* What the last tap reads behind the last unit is multiplied by zeros: it must be finite. */
    memset(turned, 0, (size_t)(unit.depth * unit.line) * sizeof(bf16));
    memset(patches, 0, (size_t)n->patch_elements * sizeof(float)); /* and behind their terms */
    begin_products();
    for (; piece < end; piece++) {
        const ptrdiff_t first_k = piece % blocks * n->depth_block;
        const ptrdiff_t group = piece / blocks % p->groups, part = piece / (blocks * p->groups);
        const ptrdiff_t last = first_of(units, part + 1, n->parts);
        float *const sums =
            (float *)array_at(n->sums) + (part * p->groups + group) * sums_group;
        double *biases = NULL;
        if (bias_sums && first_k == 0) {
            biases = bias_sums + (part * p->groups + group) * outputs;
            memset(biases, 0, (size_t)outputs * sizeof(double));
        }
        ptrdiff_t next = first_of(units, part, n->parts);
        t.adds = 0;
        do { /* once without units too: their sum is 0 */
            const ptrdiff_t count = least_of(n->together, last - next);
            for (ptrdiff_t u = 0; u < count; u++) {
                const ptrdiff_t sample = (next + u) / bands, first = (next + u) % bands * n->band_rows;
                const ptrdiff_t rows = least_of(n->band_rows, p->rows - first);
                const float *const image = a + sample * p->height * p->width * p->channels;
                if (n->by_bands)
                    turn_band(n, &unit, image, group, first, first_k, turned + u * unit.turned);
                else
                    turn_patches(n, &unit, image, group, first, rows, patches,
                                 turned + u * unit.turned);
                pair_band(n, &unit, dy + sample * p->rows * p->columns * p->groups * outputs, group,
                          first, rows, pairs + u * unit.pixels * TILE_COLUMNS, t.b_columns, biases);
            }
            t.steps = count * steps;
            for (ptrdiff_t tap = 0; tap < (n->by_bands ? taps : 1); tap++) {
                const ptrdiff_t pixel = tap / p->taps_across * p->dilation_down * unit.pitch +
                                        tap % p->taps_across * p->dilation_across;
                for (ptrdiff_t k = 0; k < unit.depth; k += BLOCK_PIXELS) {
                    t.a = turned + k * unit.line + pixel;
                    t.is_tall = 1;
                    for (ptrdiff_t first = 0; first < outputs; first += BLOCK_OUTPUTS) {
                        t.b = pairs + first / TILE_COLUMNS * t.b_columns;
                        t.c = sums + (tap * p->depth + first_k + k) * sums_row + first;
                        t.is_wide = outputs - first > TILE_COLUMNS;
                        multiply_tiles(&t);
                    }
                }
            }
            t.adds = 1;
            next += count;
        } while (next < last);
    }
    end_products();
}

/* dw[group][row][n] = the sums of all parts, which are added in their order; db likewise. */
static void bf16_weight_gradient(const int64_t *instruction, int64_t step, int64_t thread,
                                 int64_t threads) {
    const struct bf16_weight_gradient *const n = fields_of(instruction);
    const float *const sums = array_at(n->sums);
    const double *const bias_sums = array_at(n->bias_sums);
    float *const dw = array_at(n->dw), *const db = array_at(n->db);
    const ptrdiff_t outputs = n->outputs, rows = n->groups * n->rows;
    const ptrdiff_t sums_row = round_up(outputs, TILE_COLUMNS);
    const ptrdiff_t sums_group = round_up(n->rows, TILE_DEPTH) * sums_row;
    const int updates = n->epilogue == UPDATE;
    double rate = 0;
    if (updates) rate = ((const double *)array_at(n->rate))[step];
    const float keep = (float)(1 - rate * n->decay), factor = (float)rate;
    const float keep_bias = (float)(1 - rate * n->bias_decay);
    const ptrdiff_t end = first_of(rows, thread + 1, threads);
    for (ptrdiff_t i = first_of(rows, thread, threads); i < end; i++) {
        const ptrdiff_t group = i / n->rows, row = i % n->rows;
        const float *const from = sums + group * sums_group + row * sums_row;
        float *const to = dw + (row * n->groups + group) * outputs;
        for (ptrdiff_t j = 0; j < outputs; j += LANES) {
            const ptrdiff_t lanes = least_of(LANES, outputs - j);
            VECTOR sum = TYPED(load)(from + j);
            for (ptrdiff_t part = 1; part < n->parts; part++)
                sum += TYPED(load)(from + part * n->groups * sums_group + j);
            if (updates) sum = TYPED(load_first)(to + j, lanes) * keep - factor * sum;
            TYPED(store_first)(to + j, sum, lanes);
        }
    }
    if (!db || thread != threads - 1) return;
    for (ptrdiff_t j = 0; j < n->groups * outputs; j++) {
        double sum = 0;
        for (ptrdiff_t part = 0; part < n->parts; part++)
            sum += bias_sums[part * n->groups * outputs + j];
        db[j] = updates ? keep_bias * db[j] - factor * (float)sum : (float)sum;
    }
}
