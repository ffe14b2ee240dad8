/* Dense layers where a tile of gemm.h does not fit; fastconv/backends/compiled/rules/dense.py makes their rows. */

#ifndef DEPTH_OF_A_SUM
#define DEPTH_OF_A_SUM 4096 /* a multiple of two vectors */
#endif

/* c[i, j] = sum over k of a[i, k] b[j, k]: rows of two matrices, both contiguous along k.
 *
 * pointers: a, b, c
 * integers: 0 rows of a, 1 rows of b, 2 depth; 3, 4, 5 strides of rows of a, b, c
 */
static void TYPED(row_products)(const int64_t *record, int64_t step, int64_t thread,
                                int64_t threads) {
    (void)step;
    const int64_t *const n = record + INTEGERS;
    const REAL *const a = pointer_of(record, 0), *const b = pointer_of(record, 1);
    REAL *const c = pointer_of(record, 2);
    const ptrdiff_t rows = n[0], depth = n[2];
    const ptrdiff_t whole = depth - depth % LANES;
    const ptrdiff_t end = first_of(n[1], thread + 1, threads);
    ptrdiff_t j = first_of(n[1], thread, threads);
    for (; j < end; j += 4) {
        const ptrdiff_t others = least_of(4, end - j);
        const REAL *row[4];
        for (int q = 0; q < 4; q++) row[q] = b + (j + least_of(q, others - 1)) * n[4];
        for (ptrdiff_t i = 0; i < rows; i++) {
            const REAL *const left = a + i * n[3];
            double total[4] = {0};
            ptrdiff_t k = 0;
            do { /* some of a long sum, whose parts are added in float64 */
                const ptrdiff_t end = least_of(whole, k + DEPTH_OF_A_SUM);
                VECTOR sum[8] = NO_SUMS;
                for (; k + 2 * LANES <= end; k += 2 * LANES) {
                    const VECTOR first = TYPED(load)(left + k);
                    const VECTOR second = TYPED(load)(left + k + LANES);
                    UNROLL for (int q = 0; q < 4; q++) {
                        sum[q] += first * TYPED(load)(row[q] + k);
                        sum[q + 4] += second * TYPED(load)(row[q] + k + LANES);
                    }
                }
                if (k < end) {
                    const VECTOR first = TYPED(load)(left + k);
                    UNROLL for (int q = 0; q < 4; q++) sum[q] += first * TYPED(load)(row[q] + k);
                    k += LANES;
                }
                UNROLL for (int q = 0; q < 4; q++)
                    total[q] += TYPED(sum_of_lanes)(sum[q] + sum[q + 4]);
            } while (k < whole);
            for (ptrdiff_t q = 0; q < others; q++) {
                REAL rest = 0;
                for (k = whole; k < depth; k++) rest += left[k] * row[q][k];
                c[i * n[5] + j + q] = (REAL)(total[q] + rest);
            }
        }
    }
}

/* y = b + the sum of parts, in their order.
 *
 * pointers: parts, b (NULL: none), y
 * integers: 0 elements of y, 1 elements of b, 2 parts; 3 STORE or LEAKY_RELU
 * reals:    slope
 */
static void TYPED(add_parts)(const int64_t *record, int64_t step, int64_t thread,
                             int64_t threads) {
    (void)step;
    const int64_t *const n = record + INTEGERS;
    const REAL *const parts = pointer_of(record, 0), *const b = pointer_of(record, 1);
    REAL *const y = pointer_of(record, 2);
    const ptrdiff_t size = n[0], vectors = (size + LANES - 1) / LANES;
    const VECTOR slope = TYPED(spread)((REAL)real_of(record, 0));
    const ptrdiff_t end = first_of(vectors, thread + 1, threads);
    for (ptrdiff_t piece = first_of(vectors, thread, threads); piece < end; piece++) {
        const ptrdiff_t i = piece * LANES, count = least_of(LANES, size - i);
        VECTOR sum = {0};
        if (b) sum = TYPED(load_first)(b + i % n[1], count);
        for (ptrdiff_t part = 0; part < n[2]; part++)
            sum += TYPED(load_first)(parts + part * size + i, count);
        if (n[3] == LEAKY_RELU) sum = TYPED(where_positive)(sum, sum, sum * slope);
        TYPED(store_first)(y + i, sum, count);
    }
}

/* Whether rows of weights are written many at a time, across their ends: where a store of some lanes
 * takes long, and a shuffle of lanes is one instruction. */
#undef WRITES_ROWS_TOGETHER
#if defined(CAN_TRANSPOSE) && defined(MASKED_STORES_ARE_SLOW)
#define WRITES_ROWS_TOGETHER 1
#endif
/* Whether a row of two vectors, the second not whole, is narrow. */
#undef WRITES_TWO_VECTORS
#if defined(WRITES_ROWS_TOGETHER)
#define WRITES_TWO_VECTORS 1
#else
#define WRITES_TWO_VECTORS 0
#endif

/* keep * w - x * step, element by element. */
INLINE VECTOR TYPED(updated)(VECTOR w, VECTOR x, VECTOR step, REAL keep) {
    return keep * w - x * step;
}

/* The same as below where a row of weights takes one or two vectors, the last of them not whole. As many
 * rows as there are lanes are read before any is written: a load of a row would meet the store of
 * the one before, which lies in the same vector. */
INLINE void TYPED(narrow_backward_update)(const REAL *dy, const REAL *x, REAL *w, REAL *dx,
                                          ptrdiff_t inputs, ptrdiff_t outputs, REAL keep,
                                          REAL rate, const int vectors) {
    enum { ROWS = sizeof(VECTOR) / sizeof(REAL) };
    const ptrdiff_t before = (vectors - 1) * LANES, last = outputs - before;
    const VECTOR end = TYPED(load_first)(dy + before, last);
    VECTOR whole = {0};
    if (vectors == 2) whole = TYPED(load)(dy);
#ifdef WRITES_ROWS_TOGETHER
    /* So many rows are as many whole vectors as a row has elements: which row each of their lanes
     * belongs to, and the step of its column. */
    MASKS rows_of[2 * ROWS];
    VECTOR steps[2 * ROWS];
    for (ptrdiff_t v = 0; v < outputs; v++) {
        for (ptrdiff_t l = 0; l < LANES; l++) {
            rows_of[v][l] = (int)((v * LANES + l) / outputs);
            steps[v][l] = dy[(v * LANES + l) % outputs] * rate;
        }
    }
#endif
    for (ptrdiff_t first = 0; first < inputs; first += ROWS) {
        const ptrdiff_t rows = least_of(ROWS, inputs - first);
        REAL *const block = w + first * outputs;
        VECTOR products[ROWS];
        if (rows == ROWS) {
#ifdef WRITES_ROWS_TOGETHER
            UNROLL for (int i = 0; i < ROWS; i++) {
                const REAL *const row = block + i * outputs;
                products[i] = TYPED(load_first)(row + before, last) * end;
                if (vectors == 2) products[i] += TYPED(load)(row) * whole;
            }
            TYPED(store)(dx + first, TYPED(sums_of_vectors)(products));
            const VECTOR factors = TYPED(load)(x + first);
            for (ptrdiff_t v = 0; v < outputs; v++) {
                REAL *const to = block + v * LANES;
                const VECTOR factor = __builtin_shuffle(factors, rows_of[v]);
                TYPED(store)(to, TYPED(updated)(TYPED(load)(to), factor, steps[v], keep));
            }
#else
            VECTOR old[ROWS];
            UNROLL for (int i = 0; i < ROWS; i++)
                old[i] = TYPED(load_first)(block + i * outputs, outputs);
            UNROLL for (int i = 0; i < ROWS; i++) products[i] = old[i] * end;
            TYPED(store)(dx + first, TYPED(sums_of_vectors)(products));
            UNROLL for (int i = 0; i < ROWS; i++) {
                const VECTOR factor = TYPED(spread)(x[first + i]);
                TYPED(store_first)(block + i * outputs,
                                   TYPED(updated)(old[i], factor, end * rate, keep), outputs);
            }
#endif
        } else {
            /* Summed in the order of whole blocks: where a thread's share ends changes no bit. */
            for (ptrdiff_t i = 0; i < ROWS; i++) {
                products[i] = (VECTOR){0};
                if (i >= rows) continue;
                REAL *const row = block + i * outputs;
                const VECTOR factor = TYPED(spread)(x[first + i]);
                const VECTOR old = TYPED(load_first)(row + before, last);
                products[i] = old * end;
                if (vectors == 2) {
                    const VECTOR begin = TYPED(load)(row);
                    products[i] += begin * whole;
                    TYPED(store)(row, TYPED(updated)(begin, factor, whole * rate, keep));
                }
                TYPED(store_first)(row + before, TYPED(updated)(old, factor, end * rate, keep),
                                   last);
            }
            TYPED(store_first)(dx + first, TYPED(sums_of_vectors)(products), rows);
        }
    }
}

/* One pass over the weights of a dense layer, for one sample: dx[i] = sum over j of dy[j] w[i, j] with the weights
 * as they are, then w = keep * w - rate * x[i] dy[j]; and the same update of b.
 *
 * pointers: dy, x, w, b (NULL: none), dx, other (LEAKY_GRADIENT), rate (one for each step of the run)
 * integers: 0 inputs, 1 outputs; 2 STORE or LEAKY_GRADIENT
 * reals:    factors of rate * w and of rate * b that are subtracted beside; slope
 */
static void TYPED(dense_backward_update)(const int64_t *record, int64_t step, int64_t thread,
                                         int64_t threads) {
    const int64_t *const n = record + INTEGERS;
    const REAL *const dy = pointer_of(record, 0), *const x = pointer_of(record, 1);
    REAL *const w = pointer_of(record, 2), *const b = pointer_of(record, 3);
    REAL *const dx = pointer_of(record, 4);
    const REAL *const other = pointer_of(record, 5);
    const double rate = ((const double *)pointer_of(record, 6))[step];
    const ptrdiff_t outputs = n[1], whole = outputs - outputs % LANES, rest = outputs - whole;
    const REAL keep = (REAL)(1 - rate * real_of(record, 0)), slope = (REAL)real_of(record, 2);
    const ptrdiff_t begin = first_of(n[0], thread, threads);
    const ptrdiff_t end = first_of(n[0], thread + 1, threads);
    const int is_narrow = outputs < LANES || (WRITES_TWO_VECTORS && outputs < 2 * LANES && rest);
    if (outputs < LANES) {
        TYPED(narrow_backward_update)(dy, x + begin, w + begin * outputs, dx + begin, end - begin,
                                      outputs, keep, (REAL)rate, 1);
    } else if (is_narrow) {
        TYPED(narrow_backward_update)(dy, x + begin, w + begin * outputs, dx + begin, end - begin,
                                      outputs, keep, (REAL)rate, 2);
    }
    for (ptrdiff_t i = begin; i < end && !is_narrow; i++) {
        REAL *const row = w + i * outputs;
        const REAL factor = (REAL)rate * x[i];
        VECTOR sum[4] = NO_SUMS;
        ptrdiff_t j = 0;
        for (; j + 4 * LANES <= whole; j += 4 * LANES) {
            UNROLL for (int v = 0; v < 4; v++) {
                const VECTOR old = TYPED(load)(row + j + v * LANES);
                const VECTOR gradient = TYPED(load)(dy + j + v * LANES);
                sum[v] += old * gradient;
                TYPED(store)(row + j + v * LANES, keep * old - factor * gradient);
            }
        }
        for (; j < whole; j += LANES) {
            const VECTOR old = TYPED(load)(row + j), gradient = TYPED(load)(dy + j);
            sum[0] += old * gradient;
            TYPED(store)(row + j, keep * old - factor * gradient);
        }
        if (rest) {
            const VECTOR old = TYPED(load_first)(row + j, rest);
            const VECTOR gradient = TYPED(load_first)(dy + j, rest);
            sum[1] += old * gradient;
            TYPED(store_first)(row + j, keep * old - factor * gradient, rest);
        }
        dx[i] = TYPED(sum_of_lanes)((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
    if (n[2] == LEAKY_GRADIENT) {
        for (ptrdiff_t i = begin; i < end; i++) dx[i] *= other[i] > 0 ? 1 : slope;
    }
    if (thread == 0 && b) {
        const REAL keep_bias = (REAL)(1 - rate * real_of(record, 1));
        for (ptrdiff_t j = 0; j < outputs; j++) b[j] = keep_bias * b[j] - (REAL)rate * dy[j];
    }
}

#define DENSE_KERNELS ENTRY(row_products), ENTRY(add_parts), ENTRY(dense_backward_update)
