/* Depthwise convolutions: one input channel for each output channel, vectors over channels.
 *
 * A tile of a few neighbouring output pixels keeps one vector of sums for each. Taps outside the image
 * are passed by, so no padded copy is needed.
 */

enum { TYPED(PIXELS) = 8 };

/* Range of i in [0, count) with 0 <= start + i * stride < size. */
INLINE void TYPED(inside)(ptrdiff_t start, ptrdiff_t stride, ptrdiff_t size, ptrdiff_t count,
                          ptrdiff_t *first, ptrdiff_t *end) {
    *first = start >= 0 ? 0 : (-start + stride - 1) / stride;
    const ptrdiff_t behind = size - start;
    *end = behind <= 0 ? 0 : (behind + stride - 1) / stride;
    if (*end > count) *end = count;
    if (*first > *end) *first = *end;
}

/* y[sample, row, column, c] = b[c] + sum over taps of x[..., c] w[tap, c]. */
static void TYPED(depthwise_tiles)(const int64_t *instruction, int64_t step, int64_t thread,
                                   int64_t threads) {
    (void)step;
    const struct depthwise_tiles *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x), *const w = array_at(n->w);
    const REAL *const bias = array_at(n->b);
    REAL *const y = array_at(n->y);
    const ptrdiff_t channels = n->channels, height = n->height, width = n->width, rows = n->rows,
                    columns = n->columns;
    const ptrdiff_t lines = n->samples * rows, end = first_of(lines, thread + 1, threads);
    for (ptrdiff_t line = first_of(lines, thread, threads); line < end; line++) {
        const ptrdiff_t sample = line / rows, row = line % rows;
        const ptrdiff_t top = row * n->stride_down - n->top;
        ptrdiff_t tap_first, tap_end;
        TYPED(inside)(top, n->dilation_down, height, n->taps_down, &tap_first, &tap_end);
        REAL *const out =
            y + ((sample * n->y_height + n->first_row + row * n->row_step) * n->y_width +
                 n->first_column) *
                    channels;
        for (ptrdiff_t c = 0; c < channels; c += LANES) {
            /* The last vector is moved back to end at the last channel: it gets the same bits again. */
            if (c > channels - LANES && channels >= LANES) c = channels - LANES;
            const ptrdiff_t count = least_of(LANES, channels);
            const VECTOR first = bias ? TYPED(load_first)(bias + c, count) : (VECTOR){0};
            for (ptrdiff_t column = 0; column < columns; column += TYPED(PIXELS)) {
                const ptrdiff_t pixels = least_of(TYPED(PIXELS), columns - column);
                VECTOR sum[8];
                UNROLL for (int p = 0; p < 8; p++) sum[p] = first;
                for (ptrdiff_t i = tap_first; i < tap_end; i++) {
                    const REAL *const image_row =
                        x + ((sample * height + top + i * n->dilation_down) * width) * channels + c;
                    for (ptrdiff_t j = 0; j < n->taps_across; j++) {
                        const VECTOR value =
                            TYPED(load_first)(w + i * n->w_down + j * n->w_across + c, count);
                        const ptrdiff_t left =
                            column * n->stride_across - n->left + j * n->dilation_across;
                        ptrdiff_t p_first, p_end;
                        TYPED(inside)(left, n->stride_across, width, pixels, &p_first, &p_end);
                        const REAL *const in = image_row + left * channels;
                        const ptrdiff_t stride = n->stride_across * channels;
                        if (count == LANES && p_first == 0 && p_end == TYPED(PIXELS)) {
                            const REAL *pixel = in;
                            UNROLL for (int p = 0; p < 8; p++) {
                                sum[p] += TYPED(load)(pixel) * value;
                                pixel += stride;
                                FORGET_ORIGIN(pixel);
                            }
                        } else {
                            UNROLL for (int p = 0; p < 8; p++)
                                if (p >= p_first && p < p_end)
                                    sum[p] += TYPED(load_first)(in + p * stride, count) * value;
                        }
                    }
                }
                /* Unrolled: an index that the compiler does not know would put the sums in memory. */
                REAL *const to = out + column * n->column_step * channels + c;
                UNROLL for (int p = 0; p < 8; p++) if (p < pixels)
                    TYPED(store_first)(to + p * n->column_step * channels, sum[p], count);
            }
        }
    }
}

/* to[c] += sum over the pixels first to stop of in[pixel, c] out[pixel, c], for `count` channels. */
INLINE void TYPED(add_products)(const REAL *in, ptrdiff_t stride, const REAL *out,
                                ptrdiff_t channels, ptrdiff_t first, ptrdiff_t stop, REAL *to,
                                ptrdiff_t count) {
    VECTOR sum[4] = NO_SUMS;
    ptrdiff_t p = first;
    for (; p + 4 <= stop; p += 4) {
        UNROLL for (int q = 0; q < 4; q++)
            sum[q] += TYPED(load_first)(in + (p + q) * stride, count) *
                      TYPED(load_first)(out + (p + q) * channels, count);
    }
    for (; p < stop; p++)
        sum[0] += TYPED(load_first)(in + p * stride, count) *
                  TYPED(load_first)(out + p * channels, count);
    const VECTOR row_sum = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    TYPED(store_first)(to, TYPED(load_first)(to, count) + row_sum, count);
}

/* The same for the last channels, apart: where there are no masked loads, it takes all registers. */
APART void TYPED(add_some_products)(const REAL *in, ptrdiff_t stride, const REAL *out,
                                    ptrdiff_t channels, ptrdiff_t first, ptrdiff_t stop, REAL *to,
                                    ptrdiff_t count) {
    TYPED(add_products)(in, stride, out, channels, first, stop, to, count);
}

/* dw[tap, c] = sum over samples and pixels of x[..., c] dy[pixel, c]; db[c] = sum of dy[pixel, c].
 *
 * A thread does some vectors of channels, row by row of dy, so that a row of x and of dy is read
 * from L1 for all of its taps. */
static void TYPED(depthwise_weight_tiles)(const int64_t *instruction, int64_t step, int64_t thread,
                                          int64_t threads) {
    (void)step;
    const struct depthwise_weight_tiles *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x), *const dy = array_at(n->dy);
    REAL *const dw = array_at(n->dw), *const db = array_at(n->db);
    const ptrdiff_t channels = n->channels, height = n->height, width = n->width,
                    columns = n->columns;
    const ptrdiff_t vectors = (channels + LANES - 1) / LANES;
    const ptrdiff_t begin = first_of(vectors, thread, threads) * LANES;
    const ptrdiff_t end = least_of(channels, first_of(vectors, thread + 1, threads) * LANES);
    if (begin >= end) return;
    for (ptrdiff_t tap = 0; tap < n->taps_down * n->taps_across; tap++)
        memset(dw + tap * channels + begin, 0, (size_t)(end - begin) * sizeof(REAL));
    double biases[MOST_BIASES];
    const int keeps_biases = db && end - begin <= MOST_BIASES;
    if (keeps_biases) memset(biases, 0, (size_t)(end - begin) * sizeof(double));
    for (ptrdiff_t line = 0; line < n->samples * n->rows; line++) {
        const ptrdiff_t sample = line / n->rows, row = line % n->rows;
        const REAL *const out_row = dy + line * columns * channels;
        for (ptrdiff_t i = 0; i < n->taps_down; i++) {
            const ptrdiff_t from = row * n->stride_down - n->top + i * n->dilation_down;
            if (from < 0 || from >= height) continue;
            for (ptrdiff_t j = 0; j < n->taps_across; j++) {
                ptrdiff_t first, stop;
                const ptrdiff_t left = j * n->dilation_across - n->left,
                                stride = n->stride_across * channels;
                TYPED(inside)(left, n->stride_across, width, columns, &first, &stop);
                const REAL *const in_row = x + ((sample * height + from) * width + left) * channels;
                for (ptrdiff_t c = begin; c < end; c += LANES) {
                    const ptrdiff_t count = least_of(LANES, end - c);
                    const REAL *const in = in_row + c, *const out = out_row + c;
                    REAL *const to = dw + (i * n->taps_across + j) * channels + c;
                    /* Of whole vectors the compiler knows it. */
                    if (count == LANES)
                        TYPED(add_products)(in, stride, out, channels, first, stop, to, LANES);
                    else
                        TYPED(add_some_products)(in, stride, out, channels, first, stop, to, count);
                }
            }
        }
        for (ptrdiff_t c = begin; keeps_biases && c < end; c += LANES) {
            const ptrdiff_t count = least_of(LANES, end - c);
            double lanes[sizeof(VECTOR) / sizeof(REAL)] = {0};
            TYPED(add_pixels)(out_row + c, columns, channels, count, 0, lanes);
            for (ptrdiff_t l = 0; l < count; l++) biases[c - begin + l] += lanes[l];
        }
    }
    for (ptrdiff_t c = begin; db && c < end; c += LANES) {
        const ptrdiff_t count = least_of(LANES, end - c);
        if (keeps_biases)
            for (ptrdiff_t l = 0; l < count; l++) db[c + l] = (REAL)biases[c - begin + l];
        else
            TYPED(sum_channels)(dy + c, n->samples * n->rows * columns, channels, count, db + c);
    }
}

/* Repeat every channel `times` times, or add them up again: for more than one output channel for each
 * input channel.
 */
static void TYPED(spread_channels)(const int64_t *instruction, int64_t step, int64_t thread,
                                   int64_t threads) {
    (void)step;
    const struct spread_channels *const n = fields_of(instruction);
    const REAL *const from = array_at(n->x);
    REAL *const to = array_at(n->y);
    const REAL *const bias = array_at(n->b);
    const ptrdiff_t count = n->pixels * n->channels, times = n->times,
                    end = first_of(count, thread + 1, threads);
    for (ptrdiff_t i = first_of(count, thread, threads); i < end; i++) {
        if (n->adds) {
            REAL sum = bias ? bias[i % n->channels] : 0;
            for (ptrdiff_t j = 0; j < times; j++) sum += from[i * times + j];
            to[i] = sum;
        } else {
            for (ptrdiff_t j = 0; j < times; j++) to[i * times + j] = from[i];
        }
    }
}
