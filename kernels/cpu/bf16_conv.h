/* Convolutions and dense layers by products of bf16; fastconv/backends/compiled/rules/bf16.py makes
 * their instructions. Arrays are float32: factors are rounded on their way into the caches.
 *
 * Where the channels of a group are whole tiles deep, A of a product is a band of image rows, rounded:
 * its rows are pixels, and each tap begins at a pixel of its own. With stride 1 the pixels of a band
 * are one run, and the few between the end of a row of C and the begin of the next are left out at
 * the end. Else the patches of 32 pixels are copied, as im2col does, the last step filled up with
 * zeros. */
enum {
    BLOCK_PIXELS = 2 * TILE_ROWS,
    BLOCK_OUTPUTS = 2 * TILE_COLUMNS,
    MOST_BF16_STEPS = 512, /* of 32 factors in a sum, as rules/bf16.py knows */
};

/* Pixels of row y of an image that there are: the last row of pixels that stand for rows, those of a
 * 1x1 convolution, may be shorter. */
INLINE ptrdiff_t width_of_row(const struct patches *n, ptrdiff_t y) {
    return n->last_columns < n->columns && y == n->height - 1 ? n->last_columns : n->width;
}

INLINE ptrdiff_t columns_of_row(const struct patches *n, ptrdiff_t row) {
    return row == n->rows - 1 ? n->last_columns : n->columns;
}

INLINE void copy_run(float *to, const float *from, ptrdiff_t count) {
    ptrdiff_t k = 0;
    for (; k + LANES <= count; k += LANES) TYPED(store)(to + k, TYPED(load)(from + k));
    if (k < count) TYPED(store_first)(to + k, TYPED(load_first)(from + k, count - k), count - k);
}

/* What the taps of `count` pixels of a row of C see of an image, to[pixel][tap][k], zeros outside of
 * it; `to_row` from pixel to pixel. */
INLINE void copy_patches(const struct patches *n, const float *image, ptrdiff_t group,
                         ptrdiff_t row, ptrdiff_t column, ptrdiff_t count, float *to,
                         ptrdiff_t to_row) {
    const ptrdiff_t depth = n->depth, across = n->taps_across, dilation = n->dilation_across;
    const ptrdiff_t stride = n->stride_across, width = n->width, channels = n->channels;
    const ptrdiff_t run = across * depth;
    const int merges = depth == channels && dilation == 1;
    for (ptrdiff_t tap = 0; tap < n->taps_down; tap++, to += run) {
        const ptrdiff_t y = row * n->stride_down + tap * n->dilation_down - n->top;
        const float *const from = image + y * width * channels + group * depth;
        ptrdiff_t left = column * stride - n->left;
        float *patch = to;
        for (ptrdiff_t i = 0; i < count; i++, left += stride, patch += to_row) {
            if (y < 0 || y >= n->height) {
                memset(patch, 0, (size_t)run * sizeof(float));
            } else if (merges && left >= 0 && left + across <= width) {
                copy_run(patch, from + left * depth, run);
            } else {
                for (ptrdiff_t t = 0; t < across; t++) {
                    const ptrdiff_t x = left + t * dilation;
                    if (x < 0 || x >= width)
                        memset(patch + t * depth, 0, (size_t)depth * sizeof(float));
                    else
                        copy_run(patch + t * depth, from + x * channels, depth);
                }
            }
        }
    }
}

/* packed[group][16 columns][step] = a tile of B, of the weights w[group][tap][k][column]. */
static void bf16_pack_weights(const int64_t *instruction, int64_t step, int64_t thread,
                              int64_t threads) {
    (void)step;
    const struct bf16_pack_weights *const n = fields_of(instruction);
    const float *const w = array_at(n->w);
    bf16 *const packed = array_at(n->packed);
    const ptrdiff_t depth = n->depth, across = n->taps_across, size = n->taps_down * across * depth;
    const ptrdiff_t steps = (size + TILE_DEPTH - 1) / TILE_DEPTH;
    const ptrdiff_t blocks = (n->outputs + TILE_COLUMNS - 1) / TILE_COLUMNS;
    const ptrdiff_t pieces = n->groups * blocks * steps;
    const ptrdiff_t end = first_of(pieces, thread + 1, threads);
    for (ptrdiff_t piece = first_of(pieces, thread, threads); piece < end; piece++) {
        const ptrdiff_t s = piece % steps, block = piece / steps % blocks;
        const ptrdiff_t first = block * TILE_COLUMNS;
        const ptrdiff_t count = least_of(TILE_COLUMNS, n->outputs - first);
        const float *const from = w + piece / (steps * blocks) * n->w_group + first * n->w_output;
        bf16 *const to = packed + piece * TILE_OF_B;
        const float *row[TILE_DEPTH];
        for (ptrdiff_t k = 0; k < TILE_DEPTH; k++) {
            const ptrdiff_t at = s * TILE_DEPTH + k, tap = at / depth;
            row[k] = at >= size ? NULL
                                : from + tap / across * n->w_down + tap % across * n->w_across +
                                      at % depth * n->w_depth;
        }
        if (n->w_output == 1) {
            for (ptrdiff_t k = 0; k < TILE_DEPTH / 2; k++)
                round_pairs(to + k * 2 * TILE_COLUMNS, row[2 * k], row[2 * k + 1], count);
        } else if (n->w_depth == 1 && depth % TILE_DEPTH == 0) {
            /* The factors of a column lie side by side. */
            _Alignas(64) bf16 columns[TILE_COLUMNS][TILE_DEPTH] = {{0}};
            for (ptrdiff_t j = 0; j < count; j++)
                round_run(columns[j], row[0] + j * n->w_output, TILE_DEPTH);
            transpose_pairs(columns, to, 2 * TILE_COLUMNS);
        } else {
            for (ptrdiff_t k = 0; k < TILE_DEPTH; k++)
                for (ptrdiff_t j = 0; j < TILE_COLUMNS; j++)
                    to[(k / 2 * TILE_COLUMNS + j) * 2 + k % 2] =
                        row[k] && j < count ? rounded(row[k][j * n->w_output]) : 0;
        }
    }
}

/* Round the rows of an image that `count` rows of C from `first` on see, with zeros around, `pitch`
 * pixels each, and fill up with zeros what a last tile of 32 pixels reads behind them. */
INLINE void round_band(const struct patches *n, const float *image, ptrdiff_t first,
                       ptrdiff_t count, ptrdiff_t pitch, bf16 *band) {
    const ptrdiff_t channels = n->channels;
    const ptrdiff_t seen = (count - 1) * n->stride_down + (n->taps_down - 1) * n->dilation_down + 1;
    for (ptrdiff_t i = 0; i < seen; i++, band += pitch * channels) {
        const ptrdiff_t y = first * n->stride_down + i - n->top;
        ptrdiff_t begin = n->left > 0 ? n->left : 0, end = begin;
        if (y >= 0 && y < n->height) end = least_of(pitch, width_of_row(n, y) + n->left);
        if (end <= begin) begin = end = 0;
        memset(band, 0, (size_t)(begin * channels) * sizeof(bf16));
        if (end > begin)
            round_run(band + begin * channels,
                      image + (y * n->width + begin - n->left) * channels, (end - begin) * channels);
        memset(band + end * channels, 0, (size_t)((pitch - end) * channels) * sizeof(bf16));
    }
    const ptrdiff_t behind = (BLOCK_PIXELS - 1) * n->stride_across * channels;
    memset(band, 0, (size_t)behind * sizeof(bf16));
}

/* A pixel of C: sums, bias and activation. */
INLINE void store_sums(float *c, const float *sums, const float *bias, const float *other,
                       ptrdiff_t count, int epilogue, float slope) {
    for (ptrdiff_t j = 0; j < count; j += LANES) {
        const ptrdiff_t lanes = least_of(LANES, count - j);
        VECTOR v = TYPED(load)(sums + j);
        if (bias) v += TYPED(load_first)(bias + j, lanes);
        if (epilogue == LEAKY_RELU)
            v = TYPED(where_positive)(v, v, v * slope);
        else if (epilogue == LEAKY_GRADIENT)
            v = TYPED(where_positive)(TYPED(load_first)(other + j, lanes), v, v * slope);
        TYPED(store_first)(c + j, v, lanes);
    }
}

/* Columns of C of a group, for a block of pixels whose A there is: each pixel at `at` in C, or -1. */
INLINE void multiply_block(const struct bf16_tiles *n, struct bf16_product *t, const bf16 *packed,
                           const ptrdiff_t *at, ptrdiff_t pixels, ptrdiff_t group, float *sums) {
    const ptrdiff_t outputs = n->patches.outputs;
    float *const c = (float *)array_at(n->c) + group * n->c_group;
    const float *const bias = array_at(n->bias), *const other = array_at(n->other);
    t->is_tall = pixels > TILE_ROWS;
    for (ptrdiff_t first = 0; first < outputs; first += BLOCK_OUTPUTS) {
        const ptrdiff_t count = least_of(BLOCK_OUTPUTS, outputs - first);
        if (n->epilogue == LEAKY_GRADIENT) {
            /* Outputs of the forward pass, long out of the caches. */
            for (ptrdiff_t i = 0; i < pixels; i++) {
                if (at[i] < 0) continue;
                const float *const line = other + group * n->c_group + at[i] + first;
                for (ptrdiff_t j = 0; j < count; j += 64 / sizeof(float))
                    __builtin_prefetch(line + j);
            }
        }
        t->b = packed + first / TILE_COLUMNS * t->b_columns;
        t->is_wide = count > TILE_COLUMNS;
        multiply_tiles(t);
        for (ptrdiff_t i = 0; i < pixels; i++) {
            if (at[i] < 0) continue;
            store_sums(c + at[i] + first, sums + i * BLOCK_OUTPUTS,
                       bias ? bias + group * outputs + first : NULL,
                       other ? other + group * n->c_group + at[i] + first : NULL, count,
                       (int)n->epilogue, (float)n->slope);
        }
    }
}

/* Rows of C from `first` on by a band of the image. */
INLINE void multiply_band(const struct bf16_tiles *n, struct bf16_product *t, const bf16 *packed,
                          const float *image, ptrdiff_t c_sample, ptrdiff_t first, ptrdiff_t count,
                          bf16 *band, float *sums) {
    const struct patches *const p = &n->patches;
    const ptrdiff_t pitch = (p->columns - 1) * p->stride_across +
                            (p->taps_across - 1) * p->dilation_across + 1;
    const int is_one_run = p->stride_down == 1 && p->stride_across == 1;
    const ptrdiff_t runs = is_one_run ? 1 : count;
    round_band(p, image, first, count, pitch, band);
    for (ptrdiff_t run = 0; run < runs; run++) {
        ptrdiff_t row = first + run, column = 0;
        ptrdiff_t length = columns_of_row(p, is_one_run ? first + count - 1 : row);
        if (is_one_run) length += (count - 1) * pitch;
        for (ptrdiff_t begin = 0; begin < length; begin += BLOCK_PIXELS) {
            const ptrdiff_t pixels = least_of(BLOCK_PIXELS, length - begin);
            ptrdiff_t at[BLOCK_PIXELS];
            for (ptrdiff_t i = 0; i < pixels; i++) {
                at[i] = column < p->columns ? c_sample + row * n->c_row + column * n->c_column : -1;
                if (++column == pitch && is_one_run) row++, column = 0;
            }
            for (ptrdiff_t group = 0; group < p->groups; group++) {
                t->a = band + (run * p->stride_down * pitch + begin * p->stride_across) *
                                  p->channels + group * p->depth;
                multiply_block(n, t, packed + group * n->packed_group, at, pixels, group, sums);
            }
        }
    }
}

/* The same by the patches of 32 pixels after the other. They are copied first and then rounded: a load
 * that takes together what several stores have just written would wait for them. */
INLINE void multiply_patches(const struct bf16_tiles *n, struct bf16_product *t,
                             const bf16 *packed, const float *image, ptrdiff_t c_sample,
                             ptrdiff_t first, ptrdiff_t count, float *patches, bf16 *to,
                             float *sums) {
    const struct patches *const p = &n->patches;
    const ptrdiff_t length = (count - 1) * p->columns + columns_of_row(p, first + count - 1);
    t->a = to;
    for (ptrdiff_t group = 0; group < p->groups; group++) {
        ptrdiff_t row = first, column = 0;
        for (ptrdiff_t begin = 0; begin < length; begin += BLOCK_PIXELS) {
            const ptrdiff_t pixels = least_of(BLOCK_PIXELS, length - begin);
            ptrdiff_t at[BLOCK_PIXELS];
            for (ptrdiff_t i = 0; i < pixels;) {
                const ptrdiff_t run = least_of(pixels - i, p->columns - column);
                copy_patches(p, image, group, row, column, run, patches + i * t->a_row, t->a_row);
                for (ptrdiff_t end = i + run; i < end; i++, column++)
                    at[i] = c_sample + row * n->c_row + column * n->c_column;
                if (column == p->columns) row++, column = 0;
            }
            round_run(to, patches, pixels * t->a_row);
            multiply_block(n, t, packed + group * n->packed_group, at, pixels, group, sums);
        }
    }
}

/* C[sample, row, column, n] = bias[n] + sum over taps and k of A[...] B[tap, k, n]. */
static void bf16_tiles(const int64_t *instruction, int64_t step, int64_t thread, int64_t threads) {
    (void)step;
    const struct bf16_tiles *const n = fields_of(instruction);
    const struct patches *const p = &n->patches;
    const float *const a = array_at(n->a);
    const bf16 *const packed = array_at(n->packed);
    const ptrdiff_t bands = (p->rows + n->band_rows - 1) / n->band_rows;
    const ptrdiff_t end = first_of(p->samples * bands, thread + 1, threads);
    ptrdiff_t piece = first_of(p->samples * bands, thread, threads);
    if (piece >= end) return;
    const ptrdiff_t size = p->taps_down * p->taps_across * p->depth;
    const ptrdiff_t steps = (size + TILE_DEPTH - 1) / TILE_DEPTH;
    const ptrdiff_t pitch = (p->columns - 1) * p->stride_across +
                            (p->taps_across - 1) * p->dilation_across + 1;
    float *const scratch = (float *)array_at(n->scratch) +
                           scratch_of(instruction, thread, threads) * n->scratch_thread;
    bf16 *const rounded_pixels = (bf16 *)(scratch + n->patch_elements);
    _Alignas(64) float sums[BLOCK_PIXELS * BLOCK_OUTPUTS];
    int32_t offset[MOST_BF16_STEPS];
    for (ptrdiff_t s = 0; s < steps; s++) {
        const ptrdiff_t tap = s * TILE_DEPTH / p->depth, k = s * TILE_DEPTH % p->depth;
        const ptrdiff_t pixel = tap / p->taps_across * p->dilation_down * pitch +
                                tap % p->taps_across * p->dilation_across;
        offset[s] = (int32_t)(n->by_bands ? pixel * p->channels + k : s * TILE_DEPTH);
    }
    struct bf16_product t = {
        .a_row = n->by_bands ? p->stride_across * p->channels : steps * TILE_DEPTH,
        .offset = offset,
        .steps = steps,
        .b_columns = steps * TILE_OF_B,
        .c = sums,
        .c_row = BLOCK_OUTPUTS,
    };
    /* Behind the terms of a patch, up to whole steps. */
    memset(scratch, 0, (size_t)n->patch_elements * sizeof(float));
    begin_products();
    for (; piece < end; piece++) {
        const ptrdiff_t sample = piece / bands, first = piece % bands * n->band_rows;
        const ptrdiff_t count = least_of(n->band_rows, p->rows - first);
        const float *const image = a + sample * p->height * p->width * p->channels;
        if (n->by_bands)
            multiply_band(n, &t, packed, image, sample * n->c_sample, first, count, rounded_pixels,
                          sums);
        else
            multiply_patches(n, &t, packed, image, sample * n->c_sample, first, count, scratch,
                             rounded_pixels, sums);
    }
    end_products();
}
