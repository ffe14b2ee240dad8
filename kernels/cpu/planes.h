/* Depthwise convolutions of NCHW images: each channel of a sample is a plane with its own filter.
 *
 * Vectors run along the rows of a plane. The rows that some output rows read are first copied to
 * `lines` on the stack, with zeros where the padding is, so that no tap meets an edge; the columns
 * of a stride lie apart there, and those of a strided output have zeros in between.
 * fastconv/backends/compiled/rules/plane_products.py chooses how much is done at once.
 */

#ifndef PLANE_LINES_BYTES
#define PLANE_LINES_BYTES 24576 /* as in fastconv/backends/compiled/rules/plane_products.py */
#define MOST_TAPS_ACROSS 32
#define MOST_PHASES 8
#define AHEAD (4096 / (ptrdiff_t)sizeof(REAL)) /* elements from what is read to what is asked for */
#define MOST_PLANE_SUMS 128
#if REGISTERS >= 32
#define PLANE_VECTORS 2
#define PLANE_LOOP INLINE
#else
#define PLANE_VECTORS 1
/* A function of its own: in a large one, the compiler has no registers left for its loop. */
#define PLANE_LOOP APART
#endif
#endif

struct TYPED(planes) {
    REAL *lines;
    REAL *other;          /* output rows, or rows of dy */
    const REAL *weights;
    VECTOR *sums;         /* of the weight gradient, by taps */
    ptrdiff_t line, row;  /* from a line to the next, from a row of `other` to the next */
    ptrdiff_t rows, columns;
    ptrdiff_t row_step, tap_step; /* lines from a row, and from a tap, to the next one below */
    ptrdiff_t down, across, w_down, w_across;
    ptrdiff_t offset[MOST_TAPS_ACROSS]; /* of the taps in a line */
    REAL bias;
};

/* Elements [first, end) of a phase of a line are in the image; the first is column `from`. */
struct TYPED(range) {
    ptrdiff_t first, end, from;
};

/* line[k] = row[(start + k * step) / spacing] where that is a whole number inside of the row, else
 * 0; step or spacing is 1. */
INLINE struct TYPED(range) TYPED(range_of)(ptrdiff_t start, ptrdiff_t length, ptrdiff_t width,
                                           ptrdiff_t step, ptrdiff_t spacing) {
    struct TYPED(range) r;
    if (spacing > 1) {
        r.from = start <= 0 ? 0 : (start + spacing - 1) / spacing;
        r.first = least_of(length, r.from * spacing - start);
        TYPED(inside)(r.first + start, 1, width * spacing, length - r.first, &r.end, &r.end);
        r.end += r.first;
    } else {
        TYPED(inside)(start, step, width, length, &r.first, &r.end);
        r.from = start + r.first * step;
    }
    return r;
}

INLINE REAL *TYPED(clear_line)(REAL *line, ptrdiff_t first, ptrdiff_t end) {
    for (; first < end; first += LANES) TYPED(store)(line + first, (VECTOR){0});
    return line + end;
}

/* Writes up to 2 * LANES elements beyond the line. */
INLINE void TYPED(fill_line)(REAL *line, ptrdiff_t length, const REAL *row, struct TYPED(range) r,
                             ptrdiff_t step, ptrdiff_t spacing) {
    ptrdiff_t k = r.first;
    TYPED(clear_line)(line, 0, k);
    if (r.first >= r.end) {
        TYPED(clear_line)(line, k, length);
        return;
    }
    row += r.from;
    if (step == 1 && spacing == 1) {
        for (; k + LANES <= r.end; k += LANES, row += LANES)
            TYPED(store)(line + k, TYPED(load)(row));
        if (k < r.end) {
            TYPED(store)(line + k, TYPED(load_first)(row, r.end - k));
            k += LANES;
        }
#ifdef CAN_TRANSPOSE
    } else if (step == 2) {
        MASKS even;
        UNROLL for (int l = 0; l < LANES; l++) even[l] = 2 * l;
        for (; k + LANES < r.end; k += LANES, row += 2 * LANES) {
            const VECTOR a = TYPED(load)(row), b = TYPED(load)(row + LANES);
            TYPED(store)(line + k, __builtin_shuffle(a, b, even));
        }
        const ptrdiff_t rest = 2 * (r.end - k) - 1; /* from the first to the last one */
        const VECTOR a = TYPED(load_first)(row, least_of(LANES, rest));
        VECTOR b = {0};
        if (rest > LANES) b = TYPED(load_first)(row + LANES, rest - LANES);
        TYPED(store)(line + k, __builtin_shuffle(a, b, even));
        k += LANES;
    } else if (spacing == 2) {
        const VECTOR zero = {0};
        MASKS low, high;
        UNROLL for (int l = 0; l < LANES; l++) {
            low[l] = l & 1 ? (int)LANES : l / 2;
            high[l] = l & 1 ? (int)LANES : (int)(l + LANES) / 2;
        }
        for (; k < r.end; k += 2 * LANES, row += LANES) {
            const VECTOR v = TYPED(load_first)(row, least_of(LANES, (r.end - k + 1) / 2));
            TYPED(store)(line + k, __builtin_shuffle(v, zero, low));
            TYPED(store)(line + k + LANES, __builtin_shuffle(v, zero, high));
        }
#endif
    } else {
        TYPED(clear_line)(line, k, r.end);
        for (; k < r.end; k += spacing, row += step) line[k] = *row;
        k = r.end;
    }
    TYPED(clear_line)(line, k, length);
}

/* Ask for rows that are read or written soon. The processor foresees what follows in memory, but
 * not across the ends of pages, and not early enough: between planes there is much else to do. */
INLINE void TYPED(fetch)(const REAL *from, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t row) {
#if defined(__GNUC__)
    if (columns == row) { /* no gaps */
        columns *= rows;
        rows = 1;
    }
    for (ptrdiff_t r = 0; r < rows; r++, from += row) {
        for (ptrdiff_t k = 0; k < columns; k += 64 / (ptrdiff_t)sizeof(REAL))
            __builtin_prefetch(from + k);
    }
#else
    (void)from, (void)rows, (void)columns, (void)row;
#endif
}

/* Copy what a block of rows and columns and a group of taps read: rows from `top` on, columns from
 * `left` on, which may be outside of the plane. */
INLINE void TYPED(fill_lines)(const struct plane_sizes *n, const REAL *plane, ptrdiff_t count,
                              ptrdiff_t top, ptrdiff_t left, REAL *lines) {
    const ptrdiff_t height = n->height, width = n->width, phases = n->phases, length = n->length;
    struct TYPED(range) ranges[MOST_PHASES];
    for (ptrdiff_t phase = 0; phase < phases; phase++)
        ranges[phase] = TYPED(range_of)(left + phase, length, width, n->stride_across, n->spacing);
    const ptrdiff_t first = most_of(0, top),
                    end = least_of(height, top + (count - 1) * n->line_step + 1);
    TYPED(fetch)(plane + first * width + AHEAD, 1, (end - first) * width, 0);
    for (ptrdiff_t q = 0; q < count; q++) {
        const ptrdiff_t row = top + q * n->line_step;
        if (row < 0 || row >= height) {
            lines = TYPED(clear_line)(lines, 0, phases * length);
            continue;
        }
        for (ptrdiff_t phase = 0; phase < phases; phase++, lines += length)
            TYPED(fill_line)
            (lines, length, plane + row * width, ranges[phase], n->stride_across, n->spacing);
    }
}

/* What is the same for all tiles of some rows. A tile does not read it again from memory, where for
 * all that the compiler knows it might have stored it. */
struct TYPED(plane_strip) {
    const REAL *in;
    REAL *out;
    ptrdiff_t line, row, columns, offset[3];
    VECTOR bias, w[9];
};

/* A tile of output rows and vectors. Its filter has `down` x `across` taps, known to the compiler,
 * and a line is read once for all rows that it belongs to; or, if `down` is 0, any number of them.
 * Sums begin at the bias, or, if `adds`, at what is there. */
INLINE void TYPED(plane_tile)(const struct TYPED(planes) *t, const struct TYPED(plane_strip) *s,
                              ptrdiff_t column, const int rows, const int vectors, const int down,
                              const int across, const int step, const int adds) {
    const ptrdiff_t last = least_of(LANES, s->columns - column - (vectors - 1) * LANES);
    REAL *const out = s->out + column;
    const REAL *in = s->in + column;
    FORGET_ORIGIN(in);
    VECTOR sum[4][PLANE_VECTORS];
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int v = 0; v < vectors; v++) {
            sum[r][v] = s->bias;
            if (adds)
                sum[r][v] = TYPED(load_first)(out + r * s->row + v * LANES,
                                              v == vectors - 1 ? last : LANES);
        }
    }
    if (down) {
        const REAL *tap[3];
        UNROLL for (int j = 0; j < across; j++) tap[j] = in + s->offset[j];
        UNROLL for (int q = 0; q < (rows - 1) * step + down; q++) {
            UNROLL for (int j = 0; j < across; j++) {
                UNROLL for (int v = 0; v < vectors; v++) {
                    const VECTOR value = TYPED(load)(tap[j] + v * LANES);
                    UNROLL for (int r = 0; r < rows; r++) {
                        const int i = q - r * step;
                        if (i >= 0 && i < down) sum[r][v] += value * s->w[i * across + j];
                    }
                }
                tap[j] += s->line;
            }
        }
    } else {
        for (ptrdiff_t i = 0; i < t->down; i++) {
            for (ptrdiff_t j = 0; j < t->across; j++) {
                const VECTOR weight = TYPED(spread)(t->weights[i * t->w_down + j * t->w_across]);
                const REAL *const from = in + i * t->tap_step * t->line + t->offset[j];
                UNROLL for (int r = 0; r < rows; r++) {
                    UNROLL for (int v = 0; v < vectors; v++)
                        sum[r][v] += TYPED(load)(from + r * t->row_step * t->line + v * LANES) * weight;
                }
            }
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        UNROLL for (int v = 0; v < vectors; v++) {
            REAL *const to = out + r * s->row + v * LANES;
            if (v < vectors - 1 || last == LANES)
                TYPED(store)(to, sum[r][v]);
            else
                TYPED(store_first)(to, sum[r][v], last);
        }
    }
}

INLINE void TYPED(plane_rows)(const struct TYPED(planes) *t, ptrdiff_t row, const int rows,
                              const int down, const int across, const int step,
                              const int adds) {
    struct TYPED(plane_strip) s;
    s.in = t->lines + row * t->row_step * t->line;
    s.out = t->other + row * t->row;
    s.line = t->line;
    s.row = t->row;
    s.columns = t->columns;
    s.bias = TYPED(spread)(t->bias);
    UNROLL for (int j = 0; j < across; j++) s.offset[j] = t->offset[j];
    UNROLL for (int k = 0; k < down * across; k++)
        s.w[k] = TYPED(spread)(t->weights[k / across * t->w_down + k % across * t->w_across]);
    ptrdiff_t column = 0;
    for (; PLANE_VECTORS > 1 && column + LANES < t->columns; column += PLANE_VECTORS * LANES)
        TYPED(plane_tile)(t, &s, column, rows, PLANE_VECTORS, down, across, step, adds);
    /* The last vector is moved back to end at the last column, which gets the same bits again: some
     * processors take ten times as long for a masked store. */
    const ptrdiff_t most = adds || t->columns < LANES ? t->columns : t->columns - LANES;
    for (; column < t->columns; column += LANES)
        TYPED(plane_tile)(t, &s, least_of(column, most), rows, 1, down, across, step, adds);
}

INLINE void TYPED(plane_block)(const struct TYPED(planes) *t, const int down, const int across,
                               const int step) {
    for (ptrdiff_t row = 0; row < t->rows;) {
        /* The last tile is moved back to end at the last row, which gets the same bits again. */
        if (row + 4 > t->rows && t->rows >= 4) row = t->rows - 4;
        if (row + 4 <= t->rows) {
            TYPED(plane_rows)(t, row, 4, down, across, step, 0);
            row += 4;
        } else {
            TYPED(plane_rows)(t, row, 1, down, across, step, 0);
            row++;
        }
    }
}

PLANE_LOOP void TYPED(three_products)(const struct TYPED(planes) *t) {
    TYPED(plane_block)(t, 3, 3, 1);
}

PLANE_LOOP void TYPED(three_products_of_stride_2)(const struct TYPED(planes) *t) {
    TYPED(plane_block)(t, 3, 3, 2);
}

/* The lanes of a vector whose mask is set; the others are zero, whatever they hold. */
INLINE VECTOR TYPED(keep_lanes)(VECTOR v, VECTOR mask) {
#ifdef HAS_VECTORS
    return (VECTOR)((MASKS)v & (MASKS)mask);
#else
    (void)mask;
    return v;
#endif
}

/* Add the products of a tile of dy, of `rows` rows and a vector, to the sums of a filter. Behind
 * the last column are zeros in dy, and others in the lines, which may be infinite. */
INLINE void TYPED(moments_tile)(const struct TYPED(planes) *t, ptrdiff_t row, ptrdiff_t column,
                                const int rows, const int is_whole, const int down,
                                const int across, const int step, VECTOR *sum) {
    const ptrdiff_t count = is_whole ? LANES : t->columns - column;
    const VECTOR mask = is_whole ? (VECTOR){0} : TYPED(first_lanes)(count);
    const REAL *in = t->lines + row * t->row_step * t->line + column;
    const ptrdiff_t line = t->line;
    const REAL *tap[8];
    VECTOR dy[4];
    UNROLL for (int r = 0; r < rows; r++)
        dy[r] = TYPED(load_first)(t->other + (row + r) * t->row + column, count);
    if (down > 1) FORGET_ORIGIN(in);
    UNROLL for (int j = 0; j < across; j++) tap[j] = in + t->offset[j];
    UNROLL for (int q = 0; q < (rows - 1) * step + down; q++) {
        UNROLL for (int j = 0; j < across; j++) {
            VECTOR value = TYPED(load)(tap[j]);
            tap[j] += line;
            if (!is_whole) value = TYPED(keep_lanes)(value, mask);
            UNROLL for (int r = 0; r < rows; r++) {
                const int i = q - r * step;
                if (i >= 0 && i < down) sum[i * across + j] += value * dy[r];
            }
        }
    }
}

INLINE void TYPED(moments_rows)(const struct TYPED(planes) *t, ptrdiff_t row, const int rows,
                                const int down, const int across, const int step, VECTOR *sum) {
    ptrdiff_t column = 0;
    for (; column + LANES <= t->columns; column += LANES)
        TYPED(moments_tile)(t, row, column, rows, 1, down, across, step, sum);
    if (column < t->columns)
        TYPED(moments_tile)(t, row, column, rows, 0, down, across, step, sum);
}

/* The sums of `down` x `across` taps stay in registers. */
INLINE void TYPED(moments_block)(const struct TYPED(planes) *t, const int down, const int across,
                                 const int step) {
    VECTOR sum[9];
    UNROLL for (int k = 0; k < down * across; k++) sum[k] = t->sums[k];
    ptrdiff_t row = 0;
    for (; down > 1 && row + 4 <= t->rows; row += 4)
        TYPED(moments_rows)(t, row, 4, down, across, step, sum);
    for (; down > 1 && row + 2 <= t->rows; row += 2)
        TYPED(moments_rows)(t, row, 2, down, across, step, sum);
    for (; row < t->rows; row++) TYPED(moments_rows)(t, row, 1, down, across, step, sum);
    UNROLL for (int k = 0; k < down * across; k++) t->sums[k] = sum[k];
}

PLANE_LOOP void TYPED(three_moments)(const struct TYPED(planes) *t) {
    TYPED(moments_block)(t, 3, 3, 1);
}

PLANE_LOOP void TYPED(three_moments_of_stride_2)(const struct TYPED(planes) *t) {
    TYPED(moments_block)(t, 3, 3, 2);
}

/* Any number of taps: up to 8 neighbours at a time. */
INLINE void TYPED(moments_of_taps)(const struct TYPED(planes) *t) {
    struct TYPED(planes) part = *t;
    for (ptrdiff_t i = 0; i < t->down; i++) {
        for (ptrdiff_t j = 0; j < t->across;) {
            const ptrdiff_t taps = t->across - j;
            part.lines = t->lines + i * t->tap_step * t->line;
            part.sums = t->sums + i * t->across + j;
            for (ptrdiff_t k = 0; k < least_of(8, taps); k++) part.offset[k] = t->offset[j + k];
            if (taps >= 8) {
                TYPED(moments_block)(&part, 1, 8, 1);
                j += 8;
            } else if (taps == 7) {
                TYPED(moments_block)(&part, 1, 7, 1);
                j += 7;
            } else if (taps >= 5) {
                TYPED(moments_block)(&part, 1, 5, 1);
                j += 5;
            } else if (taps >= 3) {
                TYPED(moments_block)(&part, 1, 3, 1);
                j += 3;
            } else {
                TYPED(moments_block)(&part, 1, 1, 1);
                j++;
            }
        }
    }
}

/* Where the taps of a group are in a line, and how far apart lines are. */
INLINE void TYPED(set_taps)(const struct plane_sizes *n, struct TYPED(planes) * t, ptrdiff_t i,
                            ptrdiff_t j) {
    t->down = least_of(n->tile_down, n->taps_down - i);
    t->across = least_of(n->tile_across, n->taps_across - j);
    t->line = n->phases * n->length;
    t->row_step = n->stride_down / n->line_step;
    t->tap_step = n->dilation_down / n->line_step;
    for (ptrdiff_t k = 0; k < t->across; k++)
        t->offset[k] = k * n->dilation_across % n->stride_across * n->length +
                       k * n->dilation_across / n->stride_across;
}

/* 3x3 taps at lines below each other, of rows with as many lines between them as the stride. */
INLINE int TYPED(is_three)(const struct TYPED(planes) *t, ptrdiff_t stride) {
    return t->down == 3 && t->across == 3 && t->tap_step == 1 && t->row_step == stride;
}

/* Output row r, column c = b + sum over taps of the filter times the plane; the others are written.
 *
 * The data gradient is the same with the taps backwards, for each sub-pixel phase of the rows.
 */
static void TYPED(plane_products)(const int64_t *instruction, int64_t step, int64_t thread,
                                  int64_t threads) {
    (void)step;
    const struct plane_products *const call = fields_of(instruction);
    const struct plane_sizes *const n = &call->plane_sizes;
    const REAL *const x = array_at(call->x), *const w = array_at(call->w);
    const REAL *const bias = array_at(call->b);
    REAL *const y = array_at(call->y);
    REAL lines[PLANE_LINES_BYTES / sizeof(REAL)];
    struct TYPED(planes) t = {.lines = lines, .row = n->other_row};
    const ptrdiff_t bands = (n->rows + n->tile_rows - 1) / n->tile_rows,
                    pieces = n->samples * n->channels * bands;
    const ptrdiff_t end = first_of(pieces, thread + 1, threads);
    for (ptrdiff_t piece = first_of(pieces, thread, threads); piece < end; piece++) {
        const ptrdiff_t plane = piece / bands, row = piece % bands * n->tile_rows,
                        channel = plane % n->channels;
        t.rows = least_of(n->tile_rows, n->rows - row);
        t.bias = bias ? bias[channel] : 0;
        for (ptrdiff_t column = 0; column < n->columns; column += n->tile_columns) {
            t.columns = least_of(n->tile_columns, n->columns - column);
            t.other = y + plane * n->other_plane + row * n->other_row + column;
            TYPED(fetch)(t.other, t.rows, t.columns, t.row);
            ptrdiff_t i = 0;
            do {
                ptrdiff_t j = 0;
                do {
                    TYPED(set_taps)(n, &t, i, j);
                    t.weights = w + channel * n->w_channel + i * n->w_down + j * n->w_across;
                    t.w_down = n->w_down;
                    t.w_across = n->w_across;
                    if (t.down > 0 && t.across > 0)
                        TYPED(fill_lines)
                        (n, x + plane * n->height * n->width,
                         (t.rows - 1) * t.row_step + (t.down - 1) * t.tap_step + 1,
                         row * n->stride_down - n->top + i * n->dilation_down,
                         column * n->stride_across - n->left + j * n->dilation_across, lines);
                    if (i > 0 || j > 0) {
                        for (ptrdiff_t r = 0; r < t.rows; r++)
                            TYPED(plane_rows)(&t, r, 1, 0, 0, 0, 1);
                    } else if (TYPED(is_three)(&t, 1)) {
                        TYPED(three_products)(&t);
                    } else if (TYPED(is_three)(&t, 2)) {
                        TYPED(three_products_of_stride_2)(&t);
                    } else {
                        TYPED(plane_block)(&t, 0, 0, 0);
                    }
                    j += n->tile_across;
                } while (j < n->taps_across);
                i += n->tile_down;
            } while (i < n->taps_down);
        }
    }
}

/* Add what a plane gives to the sums of a group of taps, and, unless NULL, to those of dy by lanes. */
INLINE void TYPED(moments_of_plane)(const struct plane_sizes *n, struct TYPED(planes) * t,
                                    const REAL *x, REAL *dy, ptrdiff_t plane, ptrdiff_t i,
                                    ptrdiff_t j, double *biases) {
    for (ptrdiff_t row = 0; row < n->rows; row += n->tile_rows) {
        t->rows = least_of(n->tile_rows, n->rows - row);
        for (ptrdiff_t column = 0; column < n->columns; column += n->tile_columns) {
            t->columns = least_of(n->tile_columns, n->columns - column);
            t->other = dy + plane * n->other_plane + row * n->other_row + column;
            TYPED(fetch)(t->other + AHEAD, t->rows, t->columns, t->row);
            TYPED(fill_lines)
            (n, x + plane * n->height * n->width,
             (t->rows - 1) * t->row_step + (t->down - 1) * t->tap_step + 1,
             row * n->stride_down - n->top + i * n->dilation_down,
             column * n->stride_across - n->left + j * n->dilation_across, t->lines);
            if (TYPED(is_three)(t, 1))
                TYPED(three_moments)(t);
            else if (TYPED(is_three)(t, 2))
                TYPED(three_moments_of_stride_2)(t);
            else
                TYPED(moments_of_taps)(t);
            if (!biases) continue;
            VECTOR sum = {0};
            int adds = 0;
            for (ptrdiff_t r = 0; r < t->rows; r++) {
                for (ptrdiff_t c = 0; c < t->columns; c += LANES) {
                    sum += TYPED(load_first)(t->other + r * t->row + c,
                                             least_of(LANES, t->columns - c));
                    if (++adds == ADDS_OF_A_BLOCK) {
                        TYPED(add_lanes)(biases, sum);
                        sum = (VECTOR){0};
                        adds = 0;
                    }
                }
            }
            TYPED(add_lanes)(biases, sum);
        }
    }
}

/* dw[part][channel, tap] = sum over samples of a part, and pixels, of x times dy;
 * db[part][channel] = sum of dy. The planes of dy are the others.
 *
 * Some channels, whose planes are neighbours, are taken through the samples together.
 */
static void TYPED(plane_weight_products)(const int64_t *instruction, int64_t step, int64_t thread,
                                         int64_t threads) {
    (void)step;
    const struct plane_weight_products *const call = fields_of(instruction);
    const struct plane_sizes *const n = &call->plane_sizes;
    const REAL *const x = array_at(call->x);
    REAL *const dy = array_at(call->dy);
    REAL *const dw = array_at(call->dw), *const db = array_at(call->db);
    REAL lines[PLANE_LINES_BYTES / sizeof(REAL)];
    VECTOR sums[MOST_PLANE_SUMS];
    double biases[MOST_PLANE_SUMS][sizeof(VECTOR) / sizeof(REAL)]; /* as many channels at most */
    struct TYPED(planes) t = {.lines = lines, .row = n->other_row};
    const ptrdiff_t down = (n->taps_down + n->tile_down - 1) / n->tile_down,
                    across = (n->taps_across + n->tile_across - 1) / n->tile_across;
    const ptrdiff_t blocks = (n->channels + call->together - 1) / call->together,
                    pieces = call->parts * blocks * down * across;
    const ptrdiff_t end = first_of(pieces, thread + 1, threads);
    for (ptrdiff_t piece = first_of(pieces, thread, threads); piece < end; piece++) {
        const ptrdiff_t j = piece % across * n->tile_across,
                        i = piece / across % down * n->tile_down;
        const ptrdiff_t block = piece / (across * down) % blocks * call->together;
        const ptrdiff_t block_end = least_of(n->channels, block + call->together);
        const ptrdiff_t part = piece / (across * down * blocks);
        const ptrdiff_t sample_end = first_of(n->samples, part + 1, call->parts);
        const int has_bias = db && i == 0 && j == 0;
        TYPED(set_taps)(n, &t, i, j);
        const ptrdiff_t taps = t.down * t.across;
        for (ptrdiff_t k = 0; k < (block_end - block) * taps; k++) sums[k] = (VECTOR){0};
        memset(biases, 0, (size_t)(block_end - block) * sizeof biases[0]);
        for (ptrdiff_t sample = first_of(n->samples, part, call->parts); sample < sample_end;
             sample++) {
            for (ptrdiff_t channel = block; channel < block_end; channel++) {
                t.sums = sums + (channel - block) * taps;
                TYPED(moments_of_plane)
                (n, &t, x, dy, sample * n->channels + channel, i, j,
                 has_bias ? biases[channel - block] : NULL);
            }
        }
        for (ptrdiff_t channel = block; channel < block_end; channel++) {
            const VECTOR *const from = sums + (channel - block) * taps;
            REAL *const to = dw + (part * n->channels + channel) * n->w_channel + i * n->w_down +
                             j * n->w_across;
            for (ptrdiff_t k = 0; k < taps; k++)
                to[k / t.across * n->w_down + k % t.across * n->w_across] =
                    TYPED(sum_of_lanes)(from[k]);
            double total = 0;
            for (ptrdiff_t l = 0; has_bias && l < LANES; l++) total += biases[channel - block][l];
            if (has_bias) db[part * n->channels + channel] = (REAL)total;
        }
    }
}

#define PLANES_KERNELS ENTRY(plane_products), ENTRY(plane_weight_products)
