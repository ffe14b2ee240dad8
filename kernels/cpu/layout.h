/* Transposing matrices: images between NCHW and NHWC, weights between OIHW and HWIO;
 * fastconv/backends/compiled/rules/layout.py makes their instructions.
 */

#ifndef MOST_INTERLEAVED
#define MOST_INTERLEAVED 4 /* rows or columns that are few */
#endif

/* Where the rows of a matrix begin that are taken in an order of their own: row j of the order is
 * row j % period * (count / period) + j / period of the matrix; a period of 1 is the order of the
 * matrix. */
struct TYPED(order) {
    int64_t period, step, place; /* place: j % period */
    int64_t row;                 /* of the matrix */
};

INLINE struct TYPED(order) TYPED(order_from)(int64_t j, int64_t count, int64_t period) {
    struct TYPED(order) order = {1, 1, 0, j};
    if (period > 1) {
        order.period = period;
        order.step = count / period;
        order.place = j % period;
        order.row = order.place * order.step + j / period;
    }
    return order;
}

/* The row of the matrix, and on to the next one. */
INLINE int64_t TYPED(next_row)(struct TYPED(order) *order) {
    const int64_t row = order->row;
    order->place++;
    if (order->period == 1) {
        order->row++;
    } else if (order->place < order->period) {
        order->row += order->step;
    } else {
        order->row += 1 - (order->period - 1) * order->step;
        order->place = 0;
    }
    return row;
}

#ifdef HAS_VECTORS
/* Lane by lane of one half of each of two vectors: a0 b0 a1 b1 ... */
INLINE VECTOR TYPED(zip_lanes)(VECTOR a, VECTOR b, ptrdiff_t half) {
#if defined(__clang__)
    VECTOR result;
    UNROLL for (ptrdiff_t l = 0; l < LANES / 2; l++) {
        result[2 * l] = a[half * (LANES / 2) + l];
        result[2 * l + 1] = b[half * (LANES / 2) + l];
    }
    return result;
#else
    MASKS order;
    UNROLL for (ptrdiff_t l = 0; l < LANES / 2; l++) {
        order[2 * l] = half * (LANES / 2) + l;
        order[2 * l + 1] = LANES + half * (LANES / 2) + l;
    }
    return __builtin_shuffle(a, b, order);
#endif
}

/* Whole blocks of LANES x LANES: a perfect shuffle of the vectors, once for each bit of a lane's
 * number, is the transposition. */
INLINE void TYPED(transpose_block)(const REAL *const *from, REAL *const *to) {
    VECTOR v[sizeof(VECTOR) / sizeof(REAL)], other[sizeof(VECTOR) / sizeof(REAL)];
    UNROLL for (ptrdiff_t i = 0; i < LANES; i++) v[i] = TYPED(load)(from[i]);
    UNROLL for (ptrdiff_t bit = 1; bit < LANES; bit *= 2) {
        UNROLL for (ptrdiff_t i = 0; i < LANES / 2; i++) {
            other[2 * i] = TYPED(zip_lanes)(v[i], v[i + LANES / 2], 0);
            other[2 * i + 1] = TYPED(zip_lanes)(v[i], v[i + LANES / 2], 1);
        }
        UNROLL for (ptrdiff_t i = 0; i < LANES; i++) v[i] = other[i];
    }
    UNROLL for (ptrdiff_t i = 0; i < LANES; i++) TYPED(store)(to[i], v[i]);
}
#endif

#ifdef HAS_VECTORS
/* Lane by lane of two vectors: those of b have the numbers from LANES on. */
INLINE VECTOR TYPED(lanes_of_two)(VECTOR a, VECTOR b, MASKS order) {
#if defined(__clang__)
    VECTOR result;
    UNROLL for (ptrdiff_t l = 0; l < LANES; l++) {
        result[l] = order[l] < LANES ? a[order[l]] : b[order[l] - LANES];
    }
    return result;
#else
    return __builtin_shuffle(a, b, order);
#endif
}

/* LANES columns of `rows` rows, few and known to the compiler: to[column][row] = from[row][column].
 */
INLINE void TYPED(interleave)(const REAL *from, ptrdiff_t pitch, ptrdiff_t rows, REAL *to) {
    VECTOR row[MOST_INTERLEAVED];
    UNROLL for (ptrdiff_t r = 0; r < rows; r++) row[r] = TYPED(load)(from + r * pitch);
    UNROLL for (ptrdiff_t v = 0; v < rows; v++) {
        VECTOR result = row[0];
        UNROLL for (ptrdiff_t r = 1; r < rows; r++) {
            MASKS order;
            UNROLL for (ptrdiff_t l = 0; l < LANES; l++) {
                const ptrdiff_t place = v * LANES + l, column = place / rows;
                order[l] = place % rows == r ? LANES + column : r == 1 ? column : l;
            }
            result = TYPED(lanes_of_two)(result, row[r], order);
        }
        TYPED(store)(to + v * LANES, result);
    }
}

/* The other way round: to[row][column] = from[column][row]. */
INLINE void TYPED(deinterleave)(const REAL *from, ptrdiff_t rows, REAL *to, ptrdiff_t pitch) {
    VECTOR part[MOST_INTERLEAVED];
    UNROLL for (ptrdiff_t v = 0; v < rows; v++) part[v] = TYPED(load)(from + v * LANES);
    UNROLL for (ptrdiff_t r = 0; r < rows; r++) {
        VECTOR result = part[0];
        UNROLL for (ptrdiff_t v = 1; v < rows; v++) {
            MASKS order;
            UNROLL for (ptrdiff_t l = 0; l < LANES; l++) {
                const ptrdiff_t place = l * rows + r, lane = place % LANES;
                const ptrdiff_t other = v == 1 ? lane : l;
                order[l] = place / LANES == v ? LANES + lane : other;
            }
            result = TYPED(lanes_of_two)(result, part[v], order);
        }
        TYPED(store)(to + r * pitch, result);
    }
}

/* Columns from `first` on of few rows, as many as fill vectors before `end`: how many they are. */
INLINE ptrdiff_t TYPED(interleave_rows)(const REAL *x, REAL *y, ptrdiff_t rows, ptrdiff_t columns,
                                        ptrdiff_t first, ptrdiff_t end) {
    ptrdiff_t c = first;
    for (; c + LANES <= end; c += LANES) TYPED(interleave)(x + c, columns, rows, y + c * rows);
    return c - first;
}

INLINE ptrdiff_t TYPED(deinterleave_columns)(const REAL *x, REAL *y, ptrdiff_t rows,
                                             ptrdiff_t columns, ptrdiff_t first, ptrdiff_t end) {
    ptrdiff_t j = first;
    for (; j + LANES <= end; j += LANES) TYPED(deinterleave)(x + j * columns, columns, y + j, rows);
    return j - first;
}

/* Whole blocks of rows from `top` and columns from `left` on, up to `bottom` and `right`. */
static void TYPED(transpose_blocks)(const struct transpose *n, const REAL *source, REAL *target,
                                    int64_t top, int64_t bottom, int64_t left, int64_t right) {
    const int64_t rows = n->rows, columns = n->columns;
    const int64_t x_period = n->x_period, y_period = n->y_period;
    const REAL *from[sizeof(VECTOR) / sizeof(REAL)];
    REAL *to[sizeof(VECTOR) / sizeof(REAL)];
    for (int64_t j = top; j < bottom; j += LANES) {
        struct TYPED(order) order = TYPED(order_from)(j, rows, x_period);
        for (ptrdiff_t i = 0; i < LANES; i++) {
            from[i] = source + TYPED(next_row)(&order) * columns + left;
        }
        order = TYPED(order_from)(left, columns, y_period);
        for (int64_t c = left; c < right; c += LANES) {
            for (ptrdiff_t i = 0; i < LANES; i++) {
                to[i] = target + TYPED(next_row)(&order) * rows + j;
            }
            TYPED(transpose_block)(from, to);
            for (ptrdiff_t i = 0; i < LANES; i++) from[i] += LANES;
        }
    }
}
#endif

/* Matrices of two, three or four rows or columns, such as pixels of RGB, in their own order: from
 * row or column `first` on, as many as fill vectors before `end`: how many they are. */
static ptrdiff_t TYPED(transpose_thin)(const REAL *x, REAL *y, ptrdiff_t rows, ptrdiff_t columns,
                                       ptrdiff_t first, ptrdiff_t end) {
#ifdef HAS_VECTORS
    if (rows == 2) return TYPED(interleave_rows)(x, y, 2, columns, first, end);
    if (rows == 3) return TYPED(interleave_rows)(x, y, 3, columns, first, end);
    if (rows == 4) return TYPED(interleave_rows)(x, y, 4, columns, first, end);
    if (columns == 2) return TYPED(deinterleave_columns)(x, y, rows, 2, first, end);
    if (columns == 3) return TYPED(deinterleave_columns)(x, y, rows, 3, first, end);
    if (columns == 4) return TYPED(deinterleave_columns)(x, y, rows, 4, first, end);
#endif
    return 0;
}

/* y[n][row of c][j] = x[n][row of j][c] for matrices n of so many rows and columns; j and c run
 * through the rows and columns of x in the order of x_period and the rows of y in that of y_period.
 * Threads share tiles, which are transposed in blocks of vectors.
 */
static void TYPED(transpose)(const int64_t *instruction, int64_t step, int64_t thread,
                             int64_t threads) {
    const struct transpose *const n = fields_of(instruction);
    const REAL *const restrict x = array_at(n->x);
    REAL *const restrict y = array_at(n->y);
    const int64_t rows = n->rows, columns = n->columns, x_period = n->x_period,
                  y_period = n->y_period;
    const int64_t down = (rows + n->tile_rows - 1) / n->tile_rows,
                  across = (columns + n->tile_columns - 1) / n->tile_columns;
    const int64_t tiles = n->matrices * down * across;
    const int64_t end = first_of(tiles, thread + 1, threads);
    for (int64_t tile = first_of(tiles, thread, threads); tile < end; tile++) {
        const int64_t matrix = tile / (down * across) * rows * columns;
        int64_t top = tile / across % down * n->tile_rows, left = tile % across * n->tile_columns;
        const int64_t bottom = least_of(rows, top + n->tile_rows),
                      right = least_of(columns, left + n->tile_columns);
        const REAL *const source = x + matrix;
        REAL *const target = y + matrix;
        if (rows == 1 && y_period == 1) {
            memcpy(target + left, source + left, (size_t)(right - left) * sizeof(REAL));
            continue;
        }
        if (x_period == 1 && y_period == 1) {
            if (bottom - top == rows && rows <= MOST_INTERLEAVED)
                left += TYPED(transpose_thin)(source, target, rows, columns, left, right);
            else if (right - left == columns && columns <= MOST_INTERLEAVED)
                top += TYPED(transpose_thin)(source, target, rows, columns, top, bottom);
        }
        int64_t whole_bottom = top, whole_right = left;
#ifdef HAS_VECTORS
        whole_bottom += (bottom - top) / LANES * LANES;
        whole_right += (right - left) / LANES * LANES;
        TYPED(transpose_blocks)(n, source, target, top, whole_bottom, left, whole_right);
#endif
        /* What is left of the columns beside whole blocks, and of the rows below them. */
        struct TYPED(order) of_y = TYPED(order_from)(left, columns, y_period);
        for (int64_t c = left; c < right; c++) {
            REAL *const to = target + TYPED(next_row)(&of_y) * rows;
            int64_t j = c < whole_right ? whole_bottom : top;
            if (x_period == 1) {
                for (; j < bottom; j++) to[j] = source[j * columns + c];
                continue;
            }
            struct TYPED(order) of_x = TYPED(order_from)(j, rows, x_period);
            for (; j < bottom; j++) to[j] = source[TYPED(next_row)(&of_x) * columns + c];
        }
    }
}

/* found[part] = whether a NaN or an infinity is in that part of x: x - x is 0 for all else. */
static void TYPED(find_not_finite)(const int64_t *instruction, int64_t step, int64_t thread,
                                   int64_t threads) {
    (void)step;
    const struct find_not_finite *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x);
    int64_t *const found = array_at(n->found);
    const int64_t last = first_of(CONDITION_WORDS, thread + 1, threads);
    for (int64_t part = first_of(CONDITION_WORDS, thread, threads); part < last; part++) {
        int64_t i = first_of(n->size, part, CONDITION_WORDS);
        const int64_t end = first_of(n->size, part + 1, CONDITION_WORDS);
        VECTOR sums[4] = NO_SUMS;
        for (; i + 4 * LANES <= end; i += 4 * LANES) {
            UNROLL for (int v = 0; v < 4; v++) {
                const VECTOR value = TYPED(load)(x + i + v * LANES);
                sums[v] += value - value;
            }
        }
        VECTOR sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        REAL rest = 0, lanes[sizeof(VECTOR) / sizeof(REAL)];
        for (; i < end; i++) rest += x[i] - x[i];
        memcpy(lanes, &sum, sizeof sum);
        for (ptrdiff_t l = 0; l < LANES; l++) rest += lanes[l];
        found[part] = !(rest == 0);
    }
}

#define LAYOUT_KERNELS ENTRY(transpose), ENTRY(find_not_finite)
