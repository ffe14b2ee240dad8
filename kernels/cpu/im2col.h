/* Convolutions of NCHW images as products of the weights, as they lie, and the im2col matrix;
 * fastconv/backends/compiled/rules/im2col.py makes their instructions.
 *
 *   y[sample][output][pixel] = bias[output] + sum over k of w[output][k] matrix[k][pixel]
 *
 * with k = (channel, tap down, tap across), as OIHW has it. The matrix is made for some pixels and
 * some of the depth at a time, so that it stays in a cache; its rows lie in blocks as wide as the
 * tiles of gemm.h that read them. Neither images nor weights change their layout. Chellapilla, Puri
 * and Simard, "High Performance Convolutional Neural Networks for Document Processing" (2006).
 */

#ifndef IM2COL_ELEMENTS
/* Of the matrix: on the stack. What a copy writes too far, by a vector, is the rest. */
#define IM2COL_ELEMENTS 16384
#define IM2COL_REST 64
#endif

#ifdef HAS_VECTORS
/* The lanes with even numbers of a and b, one behind the other. */
INLINE VECTOR TYPED(even_lanes)(VECTOR a, VECTOR b) {
#if defined(__clang__)
    VECTOR result;
    UNROLL for (ptrdiff_t l = 0; l < LANES / 2; l++) {
        result[l] = a[2 * l];
        result[LANES / 2 + l] = b[2 * l];
    }
    return result;
#else
    MASKS order;
    UNROLL for (ptrdiff_t l = 0; l < LANES; l++) order[l] = 2 * l;
    return __builtin_shuffle(a, b, order);
#endif
}
#endif

/* to[0] to to[count - 1] = 0; a part of a vector is written too far. */
INLINE void TYPED(im2col_zeros)(REAL *to, ptrdiff_t count) {
    const VECTOR zero = {0};
    for (ptrdiff_t t = 0; t < count; t += LANES) TYPED(store)(to + t, zero);
}

/* to[t] = row[first + t * stride], 0 where that is no column; a part of a vector is written too
 * far. */
INLINE void TYPED(im2col_run)(const REAL *row, ptrdiff_t width, ptrdiff_t first, ptrdiff_t stride,
                              REAL *to, ptrdiff_t count) {
    ptrdiff_t t = first < 0 ? least_of((stride - 1 - first) / stride, count) : 0;
    const ptrdiff_t inside = first < width ? (width - first + stride - 1) / stride : 0;
    const ptrdiff_t end = inside < t ? t : least_of(inside, count);
    TYPED(im2col_zeros)(to, t);
    if (stride == 1) {
        for (; t + LANES <= end; t += LANES) TYPED(store)(to + t, TYPED(load)(row + first + t));
        if (t < end) TYPED(store)(to + t, TYPED(load_first)(row + first + t, end - t));
    } else {
#ifdef HAS_VECTORS
        if (stride == 2) {
            for (; t + LANES <= end && first + 2 * (t + LANES) <= width; t += LANES) {
                const REAL *const from = row + first + 2 * t;
                TYPED(store)
                (to + t, TYPED(even_lanes)(TYPED(load)(from), TYPED(load)(from + LANES)));
            }
        } else if (stride == 4) {
            for (; t + LANES <= end && first + 4 * (t + LANES) <= width; t += LANES) {
                const REAL *const from = row + first + 4 * t;
                const VECTOR a = TYPED(even_lanes)(TYPED(load)(from), TYPED(load)(from + LANES));
                const VECTOR b = TYPED(even_lanes)(TYPED(load)(from + 2 * LANES),
                                                   TYPED(load)(from + 3 * LANES));
                TYPED(store)(to + t, TYPED(even_lanes)(a, b));
            }
        }
#endif
        for (; t < end; t++) to[t] = row[first + t * stride];
    }
    TYPED(im2col_zeros)(to + end, count - end);
}

/* Rows k to k + depth of the matrix, for `count` pixels from the first one on; `pitch` elements from
 * row to row, filled up with zeros. */
static void TYPED(im2col_block)(const struct im2col_tiles *n, const REAL *x, ptrdiff_t first,
                                ptrdiff_t count, ptrdiff_t k, ptrdiff_t depth, REAL *to,
                                ptrdiff_t pitch) {
    const ptrdiff_t width = n->width, height = n->height, columns = n->columns;
    const ptrdiff_t taps_down = n->taps_down, taps_across = n->taps_across;
    const ptrdiff_t top_row = first / columns, left_column = first % columns;
    ptrdiff_t across = k % taps_across, down = k / taps_across % taps_down;
    const REAL *plane = x + k / (taps_across * taps_down) * height * width;
    for (; depth > 0; depth--, to += pitch) {
        ptrdiff_t row = top_row * n->stride_down - n->top + down * n->dilation_down;
        ptrdiff_t column = left_column;
        for (ptrdiff_t done = 0; done < count;) {
            const ptrdiff_t run = least_of(columns - column, count - done);
            if (row < 0 || row >= height)
                TYPED(im2col_zeros)(to + done, run);
            else
                TYPED(im2col_run)
            (plane + row * width, width,
             column * n->stride_across - n->left + across * n->dilation_across, n->stride_across,
             to + done, run);
            done += run;
            column = 0;
            row += n->stride_down;
        }
        TYPED(im2col_zeros)(to + count, pitch - count);
        if (++across < taps_across) continue;
        across = 0;
        if (++down < taps_down) continue;
        down = 0;
        plane += height * width;
    }
}

/* Threads share pieces: some pixels of an image, and some of the outputs. */
static void TYPED(im2col_tiles)(const int64_t *instruction, int64_t step, int64_t thread,
                                int64_t threads) {
    (void)step;
    const struct im2col_tiles *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x), *const w = array_at(n->w);
    const REAL *const bias = array_at(n->bias);
    REAL *const y = array_at(n->y);
    const ptrdiff_t pixels = n->rows * n->columns, outputs = n->outputs;
    const ptrdiff_t depth = n->channels * n->taps_down * n->taps_across;
    const ptrdiff_t width = n->vectors * LANES, image = n->channels * n->height * n->width;
    const ptrdiff_t shares = (pixels + n->pixels_together - 1) / n->pixels_together;
    const ptrdiff_t parts = (outputs + n->outputs_together - 1) / n->outputs_together;
    REAL matrix[IM2COL_ELEMENTS + IM2COL_REST];
    struct TYPED(tile) t = {
        .runs1 = 1, .runs2 = 1, .a_row = depth, .c_row = pixels, .epilogue = STORE};
    const ptrdiff_t pieces = n->samples * n->groups * shares * parts;
    const ptrdiff_t end = first_of(pieces, thread + 1, threads);
    for (ptrdiff_t piece = first_of(pieces, thread, threads); piece < end; piece++) {
        const ptrdiff_t part = piece % parts, share = piece / parts % shares;
        const ptrdiff_t images = piece / (parts * shares), group = images % n->groups;
        const ptrdiff_t first = share * n->pixels_together;
        const ptrdiff_t last = least_of(pixels, first + n->pixels_together);
        const ptrdiff_t from = part * n->outputs_together;
        const ptrdiff_t to = least_of(outputs, from + n->outputs_together);
        for (ptrdiff_t k = 0; k < depth; k += n->depth_together) {
            t.depth = least_of(depth - k, n->depth_together);
            for (ptrdiff_t p = first; p < last; p += width) {
                const ptrdiff_t count = least_of(width, last - p);
                TYPED(im2col_block)
                (n, x + images * image, p, count, k, t.depth, matrix + (p - first) * t.depth,
                 (count + LANES - 1) / LANES * LANES);
            }
            t.init = k ? INIT_C : bias ? INIT_ROW_BIAS : INIT_ZERO;
            for (ptrdiff_t output = from; output < to; output += n->tile_rows) {
                const ptrdiff_t rows = least_of(n->tile_rows, to - output);
                t.a = w + (group * outputs + output) * depth + k;
                t.start = bias ? bias + group * outputs + output : NULL;
                for (ptrdiff_t p = first; p < last; p += width) {
                    t.columns = least_of(width, last - p);
                    const ptrdiff_t vectors = (t.columns + LANES - 1) / LANES;
                    t.b = matrix + (p - first) * t.depth;
                    t.b_step = vectors * LANES;
                    t.c = y + (images * outputs + output) * pixels + p;
                    TYPED(deep)[vectors][rows](&t);
                }
            }
        }
    }
}

#define IM2COL_KERNELS ENTRY(im2col_tiles)
