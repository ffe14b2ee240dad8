/* Transposing matrices: images between NCHW and NHWC, weights between OIHW and HWIO;
 * fastconv/backends/compiled/rules/layout.py makes their instructions.
 */

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
        const int64_t top = tile / across % down * n->tile_rows,
                      left = tile % across * n->tile_columns;
        const int64_t bottom = least_of(rows, top + n->tile_rows),
                      right = least_of(columns, left + n->tile_columns);
        const REAL *const source = x + matrix;
        REAL *const target = y + matrix;
        if (rows == 1 && y_period == 1) {
            memcpy(target + left, source + left, (size_t)(right - left) * sizeof(REAL));
            continue;
        }
        int64_t whole_bottom = top, whole_right = left;
#ifdef HAS_VECTORS
        whole_bottom += (bottom - top) / LANES * LANES;
        whole_right += (right - left) / LANES * LANES;
        for (int64_t j = top; j < whole_bottom; j += LANES) {
            const REAL *from[sizeof(VECTOR) / sizeof(REAL)];
            struct TYPED(order) order = TYPED(order_from)(j, rows, x_period);
            for (ptrdiff_t i = 0; i < LANES; i++) {
                from[i] = source + TYPED(next_row)(&order) * columns + left;
            }
            order = TYPED(order_from)(left, columns, y_period);
            for (int64_t c = left; c < whole_right; c += LANES) {
                REAL *to[sizeof(VECTOR) / sizeof(REAL)];
                for (ptrdiff_t i = 0; i < LANES; i++) {
                    to[i] = target + TYPED(next_row)(&order) * rows + j;
                }
                TYPED(transpose_block)(from, to);
                for (ptrdiff_t i = 0; i < LANES; i++) from[i] += LANES;
            }
        }
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
