/* Weights of samples in a loss, and the statistics of an epoch with weights;
 * fastconv/backends/compiled/rules/loss_weights.py makes the instructions. A sample of factor 0 counts
 * for nothing, whatever its loss is. */

/* factors = own weight of each sample, 0 where ignored; weights = those times the classes';
 * counted = the labels, -1 for samples of factor 0. */
static void TYPED(label_weights)(const int64_t *instruction, int64_t step, int64_t thread,
                                 int64_t threads) {
    const struct label_weights *const n = fields_of(instruction);
    const int64_t *const labels = array_at(n->labels);
    const REAL *const class_weights = array_at(n->class_weights);
    const REAL *const sample_weights = array_at(n->sample_weights);
    int64_t *const counted = array_at(n->counted);
    REAL *const factors = array_at(n->factors);
    REAL *const weights = array_at(n->weights);
    const int64_t batch = n->batch, outputs = n->outputs;
    const int64_t end = first_of(batch, thread + 1, threads);
    (void)step;
    for (int64_t row = first_of(batch, thread, threads); row < end; row++) {
        const int64_t label = *(const volatile int64_t *)(labels + row); /* read once */
        const int ignored = n->has_ignore_index && label == n->ignore_index;
        const REAL factor = ignored ? 0 : sample_weights ? sample_weights[row] : 1;
        REAL of_class = 1;
        if (class_weights)
            of_class = label >= 0 && label < outputs ? class_weights[label] : (REAL)NAN;
        counted[row] = factor == 0 ? -1 : label;
        factors[row] = factor;
        weights[row] = factor == 0 ? 0 : factor * of_class;
    }
}

/* losses = factors * losses, 0 where the factor is 0. */
static void TYPED(weigh_losses)(const int64_t *instruction, int64_t step, int64_t thread,
                                int64_t threads) {
    const struct weigh_losses *const n = fields_of(instruction);
    const REAL *const factors = array_at(n->factors);
    REAL *const losses = array_at(n->losses);
    const int64_t batch = n->batch, end = first_in_blocks(batch, thread + 1, threads);
    (void)step;
    for (int64_t i = first_in_blocks(batch, thread, threads); i < end; i++)
        losses[i] = factors[i] == 0 ? 0 : factors[i] * losses[i];
}

/* dscores = dscores * factors * batch / sum(weights), 0 where the factor or that sum is 0. Each
 * thread makes the sum: they are few, and in one order. */
static void TYPED(weigh_gradients)(const int64_t *instruction, int64_t step, int64_t thread,
                                   int64_t threads) {
    const struct weigh_gradients *const n = fields_of(instruction);
    const REAL *const factors = array_at(n->factors);
    const REAL *const weights = array_at(n->weights);
    REAL *const dscores = array_at(n->dscores);
    const int64_t batch = n->batch, outputs = n->outputs;
    const int64_t end = first_of(batch, thread + 1, threads);
    double total = 0;
    (void)step;
    for (int64_t i = 0; i < batch; i++) total += weights[i];
    for (int64_t row = first_of(batch, thread, threads); row < end; row++) {
        REAL *const gradient = dscores + row * outputs;
        if (factors[row] == 0 || total == 0) {
            for (int64_t k = 0; k < outputs; k++) gradient[k] = 0;
            continue;
        }
        const REAL share = (REAL)(factors[row] * ((double)batch / total));
        INDEPENDENT
        for (int64_t k = 0; k < outputs; k++) gradient[k] *= share;
    }
}

/* statistics[0] += losses, [2] += samples whose factor is not 0, [3] += weights; one thread. */
static void TYPED(sum_weighted_losses)(const int64_t *instruction, int64_t step, int64_t thread,
                                       int64_t threads) {
    const struct sum_weighted_losses *const n = fields_of(instruction);
    const REAL *const losses = array_at(n->losses);
    const REAL *const factors = array_at(n->factors);
    const REAL *const weights = array_at(n->weights);
    double *const statistics = array_at(n->statistics);
    const int64_t batch = n->batch;
    double loss = 0, weight = 0;
    int64_t samples = 0;
    (void)step, (void)thread, (void)threads;
    for (int64_t i = 0; i < batch; i++) {
        loss += losses[i];
        weight += weights[i];
        samples += factors[i] != 0;
    }
    statistics[0] += loss;
    statistics[2] += (double)samples;
    statistics[3] += weight;
}

#define LOSS_WEIGHTS_KERNELS                                                                       \
    ENTRY(label_weights), ENTRY(weigh_losses), ENTRY(weigh_gradients), ENTRY(sum_weighted_losses)
