/* Losses of targets that are numbers: a distribution over the classes, or a value of each output;
 * fastconv/backends/compiled/rules/target_loss.py makes the instructions. */

#ifndef FASTCONV_ELEMENTWISE_LOSS
#define FASTCONV_ELEMENTWISE_LOSS
/* In the order of fastconv.plans.loss_operation.ELEMENTWISE_LOSS_KINDS. */
enum { BINARY_CROSS_ENTROPY_WITH_LOGITS, HUBER, MEAN_ABSOLUTE_ERROR };
#endif

/* targets = 1 at the label, else 0; NaN for a label that is none of the classes. */
static void TYPED(one_hot)(const int64_t *instruction, int64_t step, int64_t thread,
                           int64_t threads) {
    const struct one_hot *const n = fields_of(instruction);
    const int64_t *const labels = array_at(n->labels);
    REAL *const targets = array_at(n->targets);
    const int64_t batch = n->batch, outputs = n->outputs;
    const int64_t end = first_of(batch, thread + 1, threads);
    (void)step;
    for (int64_t row = first_of(batch, thread, threads); row < end; row++) {
        const int64_t label = label_of(labels, row, outputs);
        REAL *const target = targets + row * outputs;
        for (int64_t k = 0; k < outputs; k++) target[k] = label < 0 ? (REAL)NAN : 0;
        if (label >= 0) target[label] = 1;
    }
}

/* A target as it counts: smoothed, and times the weight of its class. */
INLINE double TYPED(smoothed)(const REAL *target, const REAL *class_weights, int64_t k, double kept,
                              double spread) {
    const double value = kept * target[k] + spread;
    return class_weights ? value * class_weights[k] : value;
}

/* losses = sum of q (log(sum(e^scores)) - scores), and the softmax. */
static void TYPED(soft_cross_entropy_forward)(const int64_t *instruction, int64_t step,
                                              int64_t thread, int64_t threads) {
    const struct soft_cross_entropy_forward *const n = fields_of(instruction);
    const REAL *const scores = array_at(n->scores);
    const REAL *const targets = array_at(n->targets);
    const REAL *const class_weights = array_at(n->class_weights);
    REAL *const losses = array_at(n->losses);
    REAL *const probabilities = array_at(n->probabilities);
    const int64_t batch = n->batch, outputs = n->outputs;
    const double kept = 1 - n->label_smoothing, spread = n->label_smoothing / (double)outputs;
    const int64_t end = first_of(batch, thread + 1, threads);
    (void)step;
    for (int64_t row = first_of(batch, thread, threads); row < end; row++) {
        const REAL *const target = targets + row * outputs;
        REAL *const out = probabilities + row * outputs;
        double whole = 0, product = 0;
        TYPED(shift_rows)(scores + row * outputs, out, 1, outputs);
        for (int64_t k = 0; k < outputs; k++) {
            const double q = TYPED(smoothed)(target, class_weights, k, kept, spread);
            whole += q;
            product += q * out[k];
        }
        INDEPENDENT
        for (int64_t k = 0; k < outputs; k++) out[k] = TYPED(exponential)(out[k]);
        const REAL total = TYPED(sum_of)(out, outputs), inverse = 1 / total;
        losses[row] = (REAL)(whole * (double)TYPED(logarithm)(total) - product);
        INDEPENDENT
        for (int64_t k = 0; k < outputs; k++) out[k] *= inverse;
    }
}

/* dscores = (probabilities * sum(q) - q) / batch. */
static void TYPED(soft_cross_entropy_backward)(const int64_t *instruction, int64_t step,
                                               int64_t thread, int64_t threads) {
    const struct soft_cross_entropy_backward *const n = fields_of(instruction);
    const REAL *const probabilities = array_at(n->probabilities);
    const REAL *const targets = array_at(n->targets);
    const REAL *const class_weights = array_at(n->class_weights);
    REAL *const dscores = array_at(n->dscores);
    const int64_t batch = n->batch, outputs = n->outputs;
    const double kept = 1 - n->label_smoothing, spread = n->label_smoothing / (double)outputs;
    const double share = 1.0 / (double)batch;
    const int64_t end = first_of(batch, thread + 1, threads);
    (void)step;
    for (int64_t row = first_of(batch, thread, threads); row < end; row++) {
        const REAL *const target = targets + row * outputs, *const y = probabilities + row * outputs;
        REAL *const out = dscores + row * outputs;
        double whole = 0;
        for (int64_t k = 0; k < outputs; k++)
            whole += TYPED(smoothed)(target, class_weights, k, kept, spread);
        for (int64_t k = 0; k < outputs; k++) {
            const double q = TYPED(smoothed)(target, class_weights, k, kept, spread);
            out[k] = (REAL)((y[k] * whole - q) * share);
        }
    }
}

/* The loss of one output; max(y, 0) - y t is exactly 0 where a sure output is right. */
INLINE REAL TYPED(elementwise_loss_of)(int64_t kind, REAL y, REAL target, REAL delta) {
    const REAL difference = y - target, distance = difference < 0 ? -difference : difference;
    if (kind == HUBER)
        return distance <= delta ? difference * difference * (REAL)0.5
                                 : delta * (distance - delta * (REAL)0.5);
    if (kind == MEAN_ABSOLUTE_ERROR) return distance;
    const REAL power = TYPED(exponential)(TYPED(minus_magnitude)(y));
    return (y <= 0 ? 0 : y) - y * target + TYPED(logarithm_of_one_plus)(power);
}

/* losses = mean over the outputs of the loss of each. */
static void TYPED(elementwise_loss_forward)(const int64_t *instruction, int64_t step,
                                            int64_t thread, int64_t threads) {
    const struct elementwise_loss_forward *const n = fields_of(instruction);
    const REAL *const y = array_at(n->y);
    const REAL *const target = array_at(n->target);
    REAL *const losses = array_at(n->losses);
    const int64_t batch = n->batch, outputs = n->outputs, kind = n->kind;
    const REAL delta = (REAL)n->delta;
    const int64_t end = first_of(batch, thread + 1, threads);
    (void)step;
    for (int64_t row = first_of(batch, thread, threads); row < end; row++) {
        double total = 0;
        for (int64_t i = row * outputs; i < (row + 1) * outputs; i++)
            total += TYPED(elementwise_loss_of)(kind, y[i], target[i], delta);
        losses[row] = (REAL)(total / (double)outputs);
    }
}

/* dy = derivative / (batch * outputs). */
static void TYPED(elementwise_loss_backward)(const int64_t *instruction, int64_t step,
                                             int64_t thread, int64_t threads) {
    const struct elementwise_loss_backward *const n = fields_of(instruction);
    const REAL *const y = array_at(n->y);
    const REAL *const target = array_at(n->target);
    REAL *const dy = array_at(n->dy);
    const int64_t size = n->size, kind = n->kind;
    const int64_t first = first_in_blocks(size, thread, threads);
    const int64_t end = first_in_blocks(size, thread + 1, threads);
    const REAL share = (REAL)(1.0 / (double)size), delta = (REAL)n->delta;
    (void)step;
    if (kind == HUBER) {
        INDEPENDENT
        for (int64_t i = first; i < end; i++) {
            const REAL d = y[i] - target[i]; /* compared so that a NaN stays */
            dy[i] = (d < -delta ? -delta : d > delta ? delta : d) * share;
        }
    } else if (kind == MEAN_ABSOLUTE_ERROR) {
        INDEPENDENT
        for (int64_t i = first; i < end; i++) {
            const REAL d = y[i] - target[i];
            dy[i] = (d > 0 ? 1 : d < 0 ? -1 : d) * share;
        }
    } else {
        INDEPENDENT
        for (int64_t i = first; i < end; i++)
            dy[i] = (TYPED(sigmoid)(y[i]) - target[i]) * share;
    }
}

#define TARGET_LOSS_KERNELS                                                                        \
    ENTRY(one_hot), ENTRY(soft_cross_entropy_forward), ENTRY(soft_cross_entropy_backward),         \
        ENTRY(elementwise_loss_forward), ENTRY(elementwise_loss_backward)
