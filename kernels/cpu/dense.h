/* Dense layers where a tile of gemm.h does not fit; fastconv/backends/compiled/rules/dense.py makes their instructions. */

#ifndef DEPTH_OF_A_SUM
#define DEPTH_OF_A_SUM 4096 /* a multiple of two vectors */
#endif

/* c[i, j] = sum over k of a[i, k] b[j, k]: rows of two matrices, both contiguous along k. */
static void TYPED(row_products)(const int64_t *instruction, int64_t step, int64_t thread,
                                int64_t threads) {
    (void)step;
    const struct row_products *const n = fields_of(instruction);
    const REAL *const a = array_at(n->a), *const b = array_at(n->b);
    REAL *const c = array_at(n->c);
    const ptrdiff_t rows = n->a_rows, depth = n->depth;
    const ptrdiff_t whole = depth - depth % LANES;
    const ptrdiff_t end = first_of(n->b_rows, thread + 1, threads);
    ptrdiff_t j = first_of(n->b_rows, thread, threads);
    for (; j < end; j += 4) {
        const ptrdiff_t others = least_of(4, end - j);
        const REAL *row[4];
        for (int q = 0; q < 4; q++) row[q] = b + (j + least_of(q, others - 1)) * n->b_row;
        for (ptrdiff_t i = 0; i < rows; i++) {
            const REAL *const left = a + i * n->a_row;
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
                c[i * n->c_row + j + q] = (REAL)(total[q] + rest);
            }
        }
    }
}

/* y = b + the sum of parts, in their order. */
static void TYPED(add_parts)(const int64_t *instruction, int64_t step, int64_t thread,
                             int64_t threads) {
    (void)step;
    const struct add_parts *const n = fields_of(instruction);
    const REAL *const parts = array_at(n->terms), *const b = array_at(n->b);
    REAL *const y = array_at(n->y);
    const ptrdiff_t size = n->size, vectors = (size + LANES - 1) / LANES;
    const VECTOR slope = TYPED(spread)((REAL)n->slope);
    const ptrdiff_t end = first_of(vectors, thread + 1, threads);
    for (ptrdiff_t piece = first_of(vectors, thread, threads); piece < end; piece++) {
        const ptrdiff_t i = piece * LANES, count = least_of(LANES, size - i);
        VECTOR sum = {0};
        if (b) sum = TYPED(load_first)(b + i % n->b_size, count);
        for (ptrdiff_t part = 0; part < n->parts; part++)
            sum += TYPED(load_first)(parts + part * size + i, count);
        if (n->epilogue == LEAKY_RELU) sum = TYPED(where_positive)(sum, sum, sum * slope);
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
                                          ptrdiff_t inputs, ptrdiff_t outputs, REAL keep, REAL rate,
                                          const int vectors) {
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
                TYPED(store_first)
                (block + i * outputs, TYPED(updated)(old[i], factor, end * rate, keep), outputs);
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
                TYPED(store_first)
                (row + before, TYPED(updated)(old, factor, end * rate, keep), last);
            }
            TYPED(store_first)(dx + first, TYPED(sums_of_vectors)(products), rows);
        }
    }
}

/* One pass over the weights of a dense layer, for one sample: dx[i] = sum over j of dy[j] w[i, j] with the weights
 * as they are, then w = keep * w - rate * x[i] dy[j]; and the same update of b.
 */
static void TYPED(dense_backward_update)(const int64_t *instruction, int64_t step, int64_t thread,
                                         int64_t threads) {
    const struct dense_backward_update *const n = fields_of(instruction);
    const REAL *const dy = array_at(n->dy), *const x = array_at(n->x);
    REAL *const w = array_at(n->w), *const b = array_at(n->b);
    REAL *const dx = array_at(n->dx);
    const REAL *const other = array_at(n->other);
    const double rate = ((const double *)array_at(n->rate))[step];
    const ptrdiff_t outputs = n->outputs, whole = outputs - outputs % LANES, rest = outputs - whole;
    const REAL keep = (REAL)(1 - rate * n->decay), slope = (REAL)n->slope;
    const ptrdiff_t begin = first_of(n->inputs, thread, threads);
    const ptrdiff_t end = first_of(n->inputs, thread + 1, threads);
    const int is_narrow = outputs < LANES || (WRITES_TWO_VECTORS && outputs < 2 * LANES && rest);
    if (outputs < LANES) {
        TYPED(narrow_backward_update)
        (dy, x + begin, w + begin * outputs, dx + begin, end - begin, outputs, keep, (REAL)rate, 1);
    } else if (is_narrow) {
        TYPED(narrow_backward_update)
        (dy, x + begin, w + begin * outputs, dx + begin, end - begin, outputs, keep, (REAL)rate, 2);
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
    if (n->epilogue == LEAKY_GRADIENT) {
        for (ptrdiff_t i = begin; i < end; i++) dx[i] *= other[i] > 0 ? 1 : slope;
    }
    if (thread == 0 && b) {
        const REAL keep_bias = (REAL)(1 - rate * n->bias_decay);
        for (ptrdiff_t j = 0; j < outputs; j++) b[j] = keep_bias * b[j] - (REAL)rate * dy[j];
    }
}

#define DENSE_KERNELS ENTRY(row_products), ENTRY(add_parts), ENTRY(dense_backward_update)
