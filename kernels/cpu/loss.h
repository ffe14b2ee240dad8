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

/* losses = log(sum(e^scores)) - scores[label], and the softmax.
 *
 * pointers: scores, labels (int64), losses, probabilities
 * integers: batch, outputs, rows done together
 */
static void TYPED(softmax_cross_entropy_forward)(const int64_t *record, int64_t step,
                                                 int64_t thread, int64_t threads) {
    const REAL *const scores = pointer_of(record, 0);
    const int64_t *const labels = pointer_of(record, 1);
    REAL *const losses = pointer_of(record, 2);
    REAL *const probabilities = pointer_of(record, 3);
    const int64_t *const n = record + INTEGERS;
    const int64_t batch = n[0], outputs = n[1], at_once = n[2];
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
            REAL *const powers = out + row * outputs;
            const REAL total = TYPED(sum_of)(powers, outputs), inverse = 1 / total;
            losses[c.first + row] += TYPED(logarithm)(total);
            INDEPENDENT
            for (int64_t k = 0; k < outputs; k++) powers[k] *= inverse;
        }
    }
}

/* dscores = (probabilities - (1 at the label)) / batch.
 *
 * pointers: probabilities, labels (int64), dscores
 * integers: batch, outputs, rows done together
 */
static void TYPED(softmax_cross_entropy_backward)(const int64_t *record, int64_t step,
                                                  int64_t thread, int64_t threads) {
    const REAL *const probabilities = pointer_of(record, 0);
    const int64_t *const labels = pointer_of(record, 1);
    REAL *const dscores = pointer_of(record, 2);
    const int64_t *const n = record + INTEGERS;
    const int64_t batch = n[0], outputs = n[1], at_once = n[2];
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

/* losses = -log_probabilities[label].
 *
 * pointers: log_probabilities, labels (int64), losses
 * integers: batch, outputs
 */
static void TYPED(nll_forward)(const int64_t *record, int64_t step, int64_t thread,
                               int64_t threads) {
    const REAL *const log_probabilities = pointer_of(record, 0);
    const int64_t *const labels = pointer_of(record, 1);
    REAL *const losses = pointer_of(record, 2);
    const int64_t batch = record[INTEGERS], outputs = record[INTEGERS + 1];
    const int64_t end = first_of(batch, thread + 1, threads);
    (void)step;
    for (int64_t row = first_of(batch, thread, threads); row < end; row++) {
        const int64_t label = label_of(labels, row, outputs);
        losses[row] = label < 0 ? (REAL)NAN : -log_probabilities[row * outputs + label];
    }
}

/* -1 / batch at the labels, 0 elsewhere.
 *
 * pointers: labels (int64), dlog_probabilities
 * integers: batch, outputs
 */
static void TYPED(nll_backward)(const int64_t *record, int64_t step, int64_t thread,
                                int64_t threads) {
    const int64_t *const labels = pointer_of(record, 0);
    REAL *const gradient = pointer_of(record, 1);
    const int64_t batch = record[INTEGERS], outputs = record[INTEGERS + 1];
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

/* losses = mean over the outputs of (y - target)^2.
 *
 * pointers: y, target, losses
 * integers: batch, outputs
 */
static void TYPED(mean_squared_error_forward)(const int64_t *record, int64_t step, int64_t thread,
                                              int64_t threads) {
    const REAL *const y = pointer_of(record, 0);
    const REAL *const target = pointer_of(record, 1);
    REAL *const losses = pointer_of(record, 2);
    const int64_t batch = record[INTEGERS], outputs = record[INTEGERS + 1];
    const int64_t end = first_of(batch, thread + 1, threads);
    (void)step;
    for (int64_t row = first_of(batch, thread, threads); row < end; row++) {
        const int64_t from = row * outputs;
        losses[row] = TYPED(sum_of_squares)(y + from, target + from, outputs) / (REAL)outputs;
    }
}

/* dy = 2 (y - target) / (batch * outputs).
 *
 * pointers: y, target, dy
 * integers: size = batch * outputs
 */
static void TYPED(mean_squared_error_backward)(const int64_t *record, int64_t step,
                                               int64_t thread, int64_t threads) {
    const REAL *const y = pointer_of(record, 0);
    const REAL *const target = pointer_of(record, 1);
    REAL *const dy = pointer_of(record, 2);
    const int64_t size = record[INTEGERS], end = first_in_blocks(size, thread + 1, threads);
    const REAL factor = (REAL)(2.0 / (double)size);
    (void)step;
    INDEPENDENT
    for (int64_t i = first_in_blocks(size, thread, threads); i < end; i++)
        dy[i] = (y[i] - target[i]) * factor;
}

/* statistics[0] += sum of the losses, statistics[2] += batch; one thread.
 *
 * pointers: losses, statistics (float64)
 * integers: batch
 */
static void TYPED(sum_losses)(const int64_t *record, int64_t step, int64_t thread,
                              int64_t threads) {
    const REAL *const losses = pointer_of(record, 0);
    double *const statistics = pointer_of(record, 1);
    const int64_t batch = record[INTEGERS];
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
 *
 * pointers: scores, labels (int64), statistics (float64)
 * integers: batch, outputs
 */
static void TYPED(count_correct)(const int64_t *record, int64_t step, int64_t thread,
                                 int64_t threads) {
    const REAL *scores = pointer_of(record, 0);
    const int64_t *const labels = pointer_of(record, 1);
    double *const statistics = pointer_of(record, 2);
    const int64_t batch = record[INTEGERS], outputs = record[INTEGERS + 1];
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
