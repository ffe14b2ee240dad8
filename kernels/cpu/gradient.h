/* What is done with gradients between the backward pass and the update;
 * fastconv/backends/compiled/rules/gradient.py makes the instructions. */

/* The sum of the squares of each block of BLOCK elements. */
static void TYPED(squared_sums)(const int64_t *instruction, int64_t step, int64_t thread,
                                int64_t threads) {
    const struct squared_sums *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x);
    double *const sums = array_at(n->sums);
    const int64_t size = n->size, blocks = (size + BLOCK - 1) / BLOCK;
    const int64_t end = first_of(blocks, thread + 1, threads);
    (void)step;
    for (int64_t block = first_of(blocks, thread, threads); block < end; block++) {
        const REAL *const own = x + block * BLOCK;
        sums[block] = TYPED(sum_of_products)(own, own, least_of(BLOCK, size - block * BLOCK));
    }
}

/* x *= min(1, limit / (norm + epsilon)), or limit / max(norm, epsilon), by the squared_sums of x. */
static void TYPED(scale_by_norm)(const int64_t *instruction, int64_t step, int64_t thread,
                                 int64_t threads) {
    const struct scale_by_norm *const n = fields_of(instruction);
    REAL *const x = array_at(n->x);
    const double *const sums = array_at(n->sums);
    const int64_t size = n->size, end = first_in_blocks(size, thread + 1, threads);
    const double limit = n->limit, epsilon = n->epsilon;
    const double norm = sqrt(sum_of_blocks(sums, size));
    double wide = limit / (norm < epsilon ? epsilon : norm);
    if (!n->normalizes) {
        wide = limit / (norm + epsilon);
        wide = wide > 1 ? 1 : wide;
    }
    const REAL scale = (REAL)wide;
    (void)step;
    for (int64_t i = first_in_blocks(size, thread, threads); i < end; i++) x[i] *= scale;
}

/* Each element between -limit and limit; NaN stays. */
static void TYPED(clip_by_value)(const int64_t *instruction, int64_t step, int64_t thread,
                                 int64_t threads) {
    const struct clip_by_value *const n = fields_of(instruction);
    REAL *const x = array_at(n->x);
    const int64_t end = first_in_blocks(n->size, thread + 1, threads);
    const REAL limit = (REAL)n->limit;
    (void)step;
    for (int64_t i = first_in_blocks(n->size, thread, threads); i < end; i++) {
        const REAL low = x[i] < -limit ? -limit : x[i];
        x[i] = low > limit ? limit : low;
    }
}

/* total = keep total + share dw; without total where keep is 0. */
static void TYPED(accumulate)(const int64_t *instruction, int64_t step, int64_t thread,
                              int64_t threads) {
    const struct accumulate *const n = fields_of(instruction);
    const REAL *const dw = array_at(n->dw);
    REAL *const total = array_at(n->total);
    const int64_t first = first_in_blocks(n->size, thread, threads);
    const int64_t end = first_in_blocks(n->size, thread + 1, threads);
    const REAL share = (REAL)n->share, keep = (REAL)n->keep;
    (void)step;
    if (keep == 0) {
        INDEPENDENT
        for (int64_t i = first; i < end; i++) total[i] = share * dw[i];
    } else {
        INDEPENDENT
        for (int64_t i = first; i < end; i++) total[i] = keep * total[i] + share * dw[i];
    }
}

/* m = momentum m + (1 - momentum) dw; direction = m, or for nesterov (1 - momentum) dw + momentum m. */
static void TYPED(muon_direction)(const int64_t *instruction, int64_t step, int64_t thread,
                                  int64_t threads) {
    const struct muon_direction *const n = fields_of(instruction);
    const REAL *const dw = array_at(n->dw);
    REAL *const m = array_at(n->m);
    REAL *const direction = array_at(n->direction);
    const int64_t end = first_in_blocks(n->size, thread + 1, threads);
    const REAL momentum = (REAL)n->momentum, share = (REAL)(1 - n->momentum);
    const int64_t nesterov = n->nesterov;
    (void)step;
    INDEPENDENT
    for (int64_t i = first_in_blocks(n->size, thread, threads); i < end; i++) {
        const REAL g = share * dw[i], mean = momentum * m[i] + g;
        m[i] = mean;
        direction[i] = nesterov ? g + momentum * mean : mean;
    }
}

/* polynomial = b gram + c square, and a more on the diagonal. */
static void TYPED(newton_schulz_polynomial)(const int64_t *instruction, int64_t step, int64_t thread,
                                            int64_t threads) {
    const struct newton_schulz_polynomial *const n = fields_of(instruction);
    const REAL *const gram = array_at(n->gram);
    const REAL *const square = array_at(n->square);
    REAL *const polynomial = array_at(n->polynomial);
    const int64_t rows = n->rows, end = first_of(rows, thread + 1, threads);
    const REAL a = (REAL)n->a, b = (REAL)n->b, c = (REAL)n->c;
    (void)step;
    for (int64_t row = first_of(rows, thread, threads); row < end; row++) {
        INDEPENDENT
        for (int64_t i = row * rows; i < (row + 1) * rows; i++)
            polynomial[i] = b * gram[i] + c * square[i];
        polynomial[row * rows + row] += a;
    }
}

#define GRADIENT_KERNELS                                                                      \
    ENTRY(squared_sums), ENTRY(scale_by_norm), ENTRY(clip_by_value), ENTRY(accumulate),       \
        ENTRY(muon_direction), ENTRY(newton_schulz_polynomial)
