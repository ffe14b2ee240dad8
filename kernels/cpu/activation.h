/* Elementwise activations, and softmax and log-softmax over rows; fastconv/backends/compiled/rules/activation.py
 * makes their instructions. An output may be the input, element for element. */

/* y = f(x); comparisons are written so that a NaN stays one. */
static void TYPED(activation_forward)(const int64_t *instruction, int64_t step, int64_t thread,
                                      int64_t threads) {
    const struct activation_forward *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x);
    REAL *const y = array_at(n->y);
    const int64_t size = n->size, first = first_in_blocks(size, thread, threads);
    const int64_t end = first_in_blocks(size, thread + 1, threads);
    const REAL alpha = (REAL)n->alpha, scale = (REAL)n->scale;
    (void)step;
    switch (n->kind) {
    case KIND_RELU:
        INDEPENDENT
        for (int64_t i = first; i < end; i++) y[i] = x[i] <= 0 ? 0 : x[i];
        break;
    case KIND_LEAKY_RELU:
        INDEPENDENT
        for (int64_t i = first; i < end; i++) y[i] = x[i] > 0 ? x[i] : alpha * x[i];
        break;
    case KIND_ELU:
    case KIND_SELU:
        INDEPENDENT
        for (int64_t i = first; i < end; i++) {
            const REAL below = alpha * TYPED(exponential_minus_one)(x[i]);
            y[i] = x[i] > 0 ? scale * x[i] : below;
        }
        break;
    case KIND_SIGMOID:
        INDEPENDENT
        for (int64_t i = first; i < end; i++) y[i] = TYPED(sigmoid)(x[i]);
        break;
    case KIND_TANH:
        INDEPENDENT
        for (int64_t i = first; i < end; i++) y[i] = TYPED(hyperbolic_tangent)(x[i]);
        break;
    case KIND_SOFTPLUS:
        INDEPENDENT
        for (int64_t i = first; i < end; i++) y[i] = TYPED(softplus)(x[i]);
    }
}

/* dx = dy * f'(x), the derivative from y; it is multiplied, so that an infinite dy at a slope of 0
 * gives NaN.
 */
static void TYPED(activation_backward)(const int64_t *instruction, int64_t step, int64_t thread,
                                       int64_t threads) {
    const struct activation_backward *const n = fields_of(instruction);
    const REAL *const dy = array_at(n->dy);
    const REAL *const y = array_at(n->y);
    REAL *const dx = array_at(n->dx);
    const int64_t size = n->size, first = first_in_blocks(size, thread, threads);
    const int64_t end = first_in_blocks(size, thread + 1, threads);
    const REAL alpha = (REAL)n->alpha, scale = (REAL)n->scale;
    (void)step;
    switch (n->kind) {
    case KIND_RELU:
        INDEPENDENT
        for (int64_t i = first; i < end; i++) dx[i] = dy[i] * (REAL)(y[i] > 0 ? 1 : 0);
        break;
    case KIND_LEAKY_RELU:
        INDEPENDENT
        for (int64_t i = first; i < end; i++) dx[i] = dy[i] * (y[i] > 0 ? 1 : alpha);
        break;
    case KIND_ELU:
    case KIND_SELU:
        INDEPENDENT
        for (int64_t i = first; i < end; i++) dx[i] = dy[i] * (y[i] > 0 ? scale : y[i] + alpha);
        break;
    case KIND_SIGMOID:
        INDEPENDENT
        for (int64_t i = first; i < end; i++) dx[i] = dy[i] * (y[i] * (1 - y[i]));
        break;
    case KIND_TANH:
        INDEPENDENT
        for (int64_t i = first; i < end; i++) dx[i] = dy[i] * (1 - y[i] * y[i]);
        break;
    case KIND_SOFTPLUS:
        INDEPENDENT
        for (int64_t i = first; i < end; i++)
            dx[i] = dy[i] * -TYPED(exponential_minus_one)(-y[i]);
    }
}

/* y = f(x) by a formula of the table of activations. */
static void TYPED(formula_forward)(const int64_t *instruction, int64_t step, int64_t thread,
                                   int64_t threads) {
    const struct formula_forward *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x);
    REAL *const y = array_at(n->y);
    const int64_t size = n->size, first = first_in_blocks(size, thread, threads);
    const int64_t end = first_in_blocks(size, thread + 1, threads);
    (void)step;
#define CASE(KIND, NAME)                                                                           \
    case KIND:                                                                                     \
        INDEPENDENT                                                                                \
        for (int64_t i = first; i < end; i++) y[i] = TYPED(NAME##_value)(x[i]);                    \
        break;
    switch (n->kind) { EACH_FORMULA(CASE) }
#undef CASE
}

/* dx = dy * f', the derivative from what is kept: x, or y. */
static void TYPED(formula_backward)(const int64_t *instruction, int64_t step, int64_t thread,
                                    int64_t threads) {
    const struct formula_backward *const n = fields_of(instruction);
    const REAL *const dy = array_at(n->dy);
    const REAL *const kept = array_at(n->kept);
    REAL *const dx = array_at(n->dx);
    const int64_t size = n->size, first = first_in_blocks(size, thread, threads);
    const int64_t end = first_in_blocks(size, thread + 1, threads);
    (void)step;
#define CASE(KIND, NAME)                                                                           \
    case KIND:                                                                                     \
        INDEPENDENT                                                                                \
        for (int64_t i = first; i < end; i++) dx[i] = dy[i] * TYPED(NAME##_derivative)(kept[i]);   \
        break;
    switch (n->kind) { EACH_FORMULA(CASE) }
#undef CASE
}

/* Rows of a kernel over rows that are done together: short rows, of ten classes, say, are
 * nothing for vectors, but all the elements of some of them are. The instruction says how many, so
 * that what is done together does not depend on the number of threads. */
struct TYPED(chunk) {
    int64_t first, rows;
};

INLINE struct TYPED(chunk) TYPED(chunk_of)(int64_t number, int64_t rows, int64_t at_once) {
    const int64_t first = number * at_once;
    return (struct TYPED(chunk)){first, least_of(at_once, rows - first)};
}

/* y = x minus the largest of its row. */
INLINE void TYPED(shift_rows)(const REAL *x, REAL *y, int64_t rows, int64_t classes) {
    for (int64_t row = 0; row < rows; row++, x += classes, y += classes) {
        const REAL most = TYPED(largest_of)(x, classes);
        INDEPENDENT
        for (int64_t k = 0; k < classes; k++) y[k] = x[k] - most;
    }
}

/* Divide a row of powers by its sum, and return that. */
INLINE REAL TYPED(divide_by_sum)(REAL *y, int64_t classes) {
    const REAL total = TYPED(sum_of)(y, classes), inverse = 1 / total;
    INDEPENDENT
    for (int64_t k = 0; k < classes; k++) y[k] *= inverse;
    return total;
}

/* y = e^x / sum(e^x) in each row. */
static void TYPED(softmax_forward)(const int64_t *instruction, int64_t step, int64_t thread,
                                   int64_t threads) {
    const struct softmax_forward *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x);
    REAL *const y = array_at(n->y);
    const int64_t rows = n->rows, classes = n->classes, at_once = n->together;
    const int64_t chunks = (rows + at_once - 1) / at_once;
    const int64_t end = first_of(chunks, thread + 1, threads);
    (void)step;
    for (int64_t number = first_of(chunks, thread, threads); number < end; number++) {
        const struct TYPED(chunk) c = TYPED(chunk_of)(number, rows, at_once);
        REAL *const out = y + c.first * classes;
        const int64_t size = c.rows * classes;
        TYPED(shift_rows)(x + c.first * classes, out, c.rows, classes);
        INDEPENDENT
        for (int64_t i = 0; i < size; i++) out[i] = TYPED(exponential)(out[i]);
        for (int64_t row = 0; row < c.rows; row++)
            TYPED(divide_by_sum)(out + row * classes, classes);
    }
}

/* dx = y (dy - sum(dy y)) in each row. */
static void TYPED(softmax_backward)(const int64_t *instruction, int64_t step, int64_t thread,
                                    int64_t threads) {
    const struct softmax_backward *const n = fields_of(instruction);
    const REAL *const dy = array_at(n->dy);
    const REAL *const y = array_at(n->y);
    REAL *const dx = array_at(n->dx);
    const int64_t rows = n->rows, classes = n->classes;
    const int64_t end = first_of(rows, thread + 1, threads);
    (void)step;
    for (int64_t row = first_of(rows, thread, threads); row < end; row++) {
        const int64_t start = row * classes;
        const REAL total = TYPED(sum_of_products)(dy + start, y + start, classes);
        INDEPENDENT
        for (int64_t i = start; i < start + classes; i++) dx[i] = y[i] * (dy[i] - total);
    }
}

/* y = x - log(sum(e^x)) in each row. */
static void TYPED(log_softmax_forward)(const int64_t *instruction, int64_t step, int64_t thread,
                                       int64_t threads) {
    const struct log_softmax_forward *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x);
    REAL *const y = array_at(n->y);
    REAL *const scratch = array_at(n->powers);
    const int64_t rows = n->rows, classes = n->classes, at_once = n->together;
    const int64_t chunks = (rows + at_once - 1) / at_once;
    const int64_t end = first_of(chunks, thread + 1, threads);
    (void)step;
    for (int64_t number = first_of(chunks, thread, threads); number < end; number++) {
        const struct TYPED(chunk) c = TYPED(chunk_of)(number, rows, at_once);
        REAL *const out = y + c.first * classes, *const powers = scratch + c.first * classes;
        const int64_t size = c.rows * classes;
        TYPED(shift_rows)(x + c.first * classes, out, c.rows, classes);
        INDEPENDENT
        for (int64_t i = 0; i < size; i++) powers[i] = TYPED(exponential)(out[i]);
        for (int64_t row = 0; row < c.rows; row++) {
            const int64_t start = row * classes;
            const REAL total = TYPED(logarithm)(TYPED(sum_of)(powers + start, classes));
            INDEPENDENT
            for (int64_t i = start; i < start + classes; i++) out[i] -= total;
        }
    }
}

/* dx = dy - e^y sum(dy) in each row. */
static void TYPED(log_softmax_backward)(const int64_t *instruction, int64_t step, int64_t thread,
                                        int64_t threads) {
    const struct log_softmax_backward *const n = fields_of(instruction);
    const REAL *const dy = array_at(n->dy);
    const REAL *const y = array_at(n->y);
    REAL *const dx = array_at(n->dx);
    REAL *const scratch = array_at(n->powers);
    const int64_t rows = n->rows, classes = n->classes, at_once = n->together;
    const int64_t chunks = (rows + at_once - 1) / at_once;
    const int64_t end = first_of(chunks, thread + 1, threads);
    (void)step;
    for (int64_t number = first_of(chunks, thread, threads); number < end; number++) {
        const struct TYPED(chunk) c = TYPED(chunk_of)(number, rows, at_once);
        const int64_t from = c.first * classes, size = c.rows * classes;
        INDEPENDENT
        for (int64_t i = from; i < from + size; i++) scratch[i] = TYPED(exponential)(y[i]);
        for (int64_t start = from; start < from + size; start += classes) {
            const REAL total = TYPED(sum_of)(dy + start, classes);
            INDEPENDENT
            for (int64_t i = start; i < start + classes; i++) dx[i] = dy[i] - scratch[i] * total;
        }
    }
}

#define ACTIVATION_KERNELS                                                                         \
    ENTRY(activation_forward), ENTRY(activation_backward), ENTRY(formula_forward),                 \
        ENTRY(formula_backward), ENTRY(softmax_forward), ENTRY(softmax_backward),                  \
        ENTRY(log_softmax_forward), ENTRY(log_softmax_backward)
