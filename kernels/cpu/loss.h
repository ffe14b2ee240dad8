/* Losses, their gradients and the statistics of an epoch; fastconv/backends/compiled/rules/loss.py makes their
 * rows. A label that is none of the classes gives a loss of NaN, and nothing is taken from its
 * sample's gradient: nothing beside a row is read or written. */

#ifndef FASTCONV_LABEL
#define FASTCONV_LABEL
/* A label, or -1 for one outside the classes. It is read once: it may lie in memory that another
 * thread writes to, so that what was compared must be what is used. */
static inline int64_t label_of(const int64_t *labels, int64_t row, int64_t outputs) {
    const int64_t label = *(const volatile int64_t *)(labels + row);
    return label >= 0 && label < outputs ? label : -1;
}
#endif

/* losses = log(sum(e^scores)) - scores[label], and the softmax. */
static void TYPED(softmax_cross_entropy_forward)(const int64_t *instruction, int64_t step,
                                                 int64_t thread, int64_t threads) {
    const struct softmax_cross_entropy_forward *const n = fields_of(instruction);
    const REAL *const scores = array_at(n->scores);
    const int64_t *const labels = array_at(n->labels);
    REAL *const losses = array_at(n->losses);
    REAL *const probabilities = array_at(n->probabilities);
    const int64_t batch = n->batch, outputs = n->outputs, at_once = n->together;
    const int64_t chunks = (batch + at_once - 1) / at_once;
    const int64_t end = first_of(chunks, thread + 1, threads);
    (void)step;
    for (int64_t number = first_of(chunks, thread, threads); number < end; number++) {
        const struct TYPED(chunk) c = TYPED(chunk_of)(number, batch, at_once);
        REAL *const out = probabilities + c.first * outputs;
        const int64_t size = c.rows * outputs;
        TYPED(shift_rows)(scores + c.first * outputs, out, c.rows, outputs);
        for (int64_t row = 0; row < c.rows; row++) {
            const int64_t label = label_of(labels, c.first + row, outputs);
            losses[c.first + row] = label < 0 ? (REAL)NAN : -out[row * outputs + label];
        }
        INDEPENDENT
        for (int64_t i = 0; i < size; i++) out[i] = TYPED(exponential)(out[i]);
        for (int64_t row = 0; row < c.rows; row++) {
            const REAL total = TYPED(divide_by_sum)(out + row * outputs, outputs);
            losses[c.first + row] += TYPED(logarithm)(total);
        }
    }
}

/* dscores = (probabilities - (1 at the label)) / batch. */
static void TYPED(softmax_cross_entropy_backward)(const int64_t *instruction, int64_t step,
                                                  int64_t thread, int64_t threads) {
    const struct softmax_cross_entropy_backward *const n = fields_of(instruction);
    const REAL *const probabilities = array_at(n->probabilities);
    const int64_t *const labels = array_at(n->labels);
    REAL *const dscores = array_at(n->dscores);
    const int64_t batch = n->batch, outputs = n->outputs, at_once = n->together;
    const int64_t chunks = (batch + at_once - 1) / at_once;
    const int64_t end = first_of(chunks, thread + 1, threads);
    const REAL share = (REAL)(1.0 / (double)batch);
    (void)step;
    for (int64_t number = first_of(chunks, thread, threads); number < end; number++) {
        const struct TYPED(chunk) c = TYPED(chunk_of)(number, batch, at_once);
        const int64_t from = c.first * outputs, size = c.rows * outputs;
        INDEPENDENT
        for (int64_t i = from; i < from + size; i++) dscores[i] = probabilities[i] * share;
        for (int64_t row = c.first; row < c.first + c.rows; row++) {
            const int64_t label = label_of(labels, row, outputs), i = row * outputs + label;
            if (label >= 0) dscores[i] = (probabilities[i] - 1) * share;
        }
    }
}

/* losses = -log_probabilities[label]. */
static void TYPED(nll_forward)(const int64_t *instruction, int64_t step, int64_t thread,
                               int64_t threads) {
    const struct nll_forward *const n = fields_of(instruction);
    const REAL *const log_probabilities = array_at(n->scores);
    const int64_t *const labels = array_at(n->labels);
    REAL *const losses = array_at(n->losses);
    const int64_t batch = n->batch, outputs = n->outputs;
    const int64_t end = first_of(batch, thread + 1, threads);
    (void)step;
    for (int64_t row = first_of(batch, thread, threads); row < end; row++) {
        const int64_t label = label_of(labels, row, outputs);
        losses[row] = label < 0 ? (REAL)NAN : -log_probabilities[row * outputs + label];
    }
}

/* -1 / batch at the labels, 0 elsewhere. */
static void TYPED(nll_backward)(const int64_t *instruction, int64_t step, int64_t thread,
                                int64_t threads) {
    const struct nll_backward *const n = fields_of(instruction);
    const int64_t *const labels = array_at(n->labels);
    REAL *const gradient = array_at(n->dscores);
    const int64_t batch = n->batch, outputs = n->outputs;
    const int64_t first = first_of(batch, thread, threads);
    const int64_t end = first_of(batch, thread + 1, threads);
    const REAL share = (REAL)(-1.0 / (double)batch);
    (void)step;
    for (int64_t i = first * outputs; i < end * outputs; i++) gradient[i] = 0;
    for (int64_t row = first; row < end; row++) {
        const int64_t label = label_of(labels, row, outputs);
        if (label >= 0) gradient[row * outputs + label] = share;
    }
}

/* losses = mean over the outputs of (y - target)^2. */
static void TYPED(mean_squared_error_forward)(const int64_t *instruction, int64_t step,
                                              int64_t thread, int64_t threads) {
    const struct mean_squared_error_forward *const n = fields_of(instruction);
    const REAL *const y = array_at(n->y);
    const REAL *const target = array_at(n->target);
    REAL *const losses = array_at(n->losses);
    const int64_t batch = n->batch, outputs = n->outputs;
    const int64_t end = first_of(batch, thread + 1, threads);
    (void)step;
    for (int64_t row = first_of(batch, thread, threads); row < end; row++) {
        const int64_t from = row * outputs;
        losses[row] = TYPED(sum_of_squares)(y + from, target + from, outputs) / (REAL)outputs;
    }
}

/* dy = 2 (y - target) / (batch * outputs). */
static void TYPED(mean_squared_error_backward)(const int64_t *instruction, int64_t step,
                                               int64_t thread, int64_t threads) {
    const struct mean_squared_error_backward *const n = fields_of(instruction);
    const REAL *const y = array_at(n->y);
    const REAL *const target = array_at(n->target);
    REAL *const dy = array_at(n->dy);
    const int64_t size = n->size, end = first_in_blocks(size, thread + 1, threads);
    const REAL factor = (REAL)(2.0 / (double)size);
    (void)step;
    INDEPENDENT
    for (int64_t i = first_in_blocks(size, thread, threads); i < end; i++)
        dy[i] = (y[i] - target[i]) * factor;
}

/* statistics[0] += sum of the losses, statistics[2] += batch; one thread. */
static void TYPED(sum_losses)(const int64_t *instruction, int64_t step, int64_t thread,
                              int64_t threads) {
    const struct sum_losses *const n = fields_of(instruction);
    const REAL *const losses = array_at(n->losses);
    double *const statistics = array_at(n->statistics);
    const int64_t batch = n->batch;
    /* Eight sums, so that one need not wait for the other. */
    double part[8] = {0}, total = 0;
    int64_t i = 0;
    (void)step, (void)thread, (void)threads;
    for (; i + 8 <= batch; i += 8)
        for (int k = 0; k < 8; k++) part[k] += losses[i + k];
    for (int k = 0; k < 8; k++) total += part[k];
    for (; i < batch; i++) total += losses[i];
    statistics[0] += total;
    statistics[2] += (double)batch;
}

/* statistics[1] += number of samples whose first largest score is at the label; a NaN is the
 * largest. One thread.
 */
static void TYPED(count_correct)(const int64_t *instruction, int64_t step, int64_t thread,
                                 int64_t threads) {
    const struct count_correct *const n = fields_of(instruction);
    const REAL *scores = array_at(n->scores);
    const int64_t *const labels = array_at(n->labels);
    double *const statistics = array_at(n->statistics);
    const int64_t batch = n->batch, outputs = n->outputs;
    int64_t correct = 0;
    (void)step, (void)thread, (void)threads;
    for (int64_t row = 0; row < batch; row++, scores += outputs) {
        const int64_t label = label_of(labels, row, outputs);
        if (label < 0) continue;
        /* Count the scores that would be chosen instead: larger ones or equal ones in front,
         * larger ones behind. `!` before a comparison, so that a NaN counts. */
        const REAL own = scores[label];
        int better = 0;
        if (own != own) {
            for (int64_t k = 0; k < label; k++) better += scores[k] != scores[k];
        } else {
            for (int64_t k = 0; k < label; k++) better += !(scores[k] < own);
            for (int64_t k = label + 1; k < outputs; k++) better += !(scores[k] <= own);
        }
        correct += better == 0;
    }
    statistics[1] += (double)correct;
}

#define LOSS_KERNELS                                                                               \
    ENTRY(softmax_cross_entropy_forward), ENTRY(softmax_cross_entropy_backward),                   \
        ENTRY(nll_forward), ENTRY(nll_backward), ENTRY(mean_squared_error_forward),                \
        ENTRY(mean_squared_error_backward), ENTRY(sum_losses), ENTRY(count_correct)
