/* Updates of the flat parameter buffer; fastconv/backends/compiled/rules/optim.py makes their
 * instructions. */

/* What the penalties do to a stretch of the buffer, and the share of a thread in that stretch. */
struct TYPED(stretch) {
    int64_t first, end;
    REAL penalty; /* times w belongs to the gradient */
    REAL keep;    /* of w, beside the step */
};

/* Stretch 0, 1 or 2: both of weights and decayed, one of them, none of them. */
INLINE struct TYPED(stretch)
    TYPED(stretch_of)(const struct parameter_ranges *n, const struct penalties *p, int number,
                      double rate, int64_t thread, int64_t threads) {
    const int64_t size = n->size, weights = n->weights, decayed = n->decayed;
    const int64_t ends[] = {least_of(weights, decayed), most_of(weights, decayed), size};
    const int64_t from = number ? ends[number - 1] : 0, count = ends[number] - from;
    const int is_weight = from < weights, is_decayed = from < decayed;
    struct TYPED(stretch) s;
    s.first = from + first_in_blocks(count, thread, threads);
    s.end = from + first_in_blocks(count, thread + 1, threads);
    s.penalty = (REAL)((is_weight ? 2 * p->l2 : 0) + (is_decayed ? p->coupled_decay : 0));
    s.keep = (REAL)(is_decayed ? 1 - rate * p->decoupled_decay : 1);
    return s;
}

/* w -= rate * (dw + 2 l2 w[:weights] + coupled w[:decayed]) + rate decoupled w[:decayed]. */
static void TYPED(sgd_update)(const int64_t *instruction, int64_t step, int64_t thread,
                              int64_t threads) {
    const struct sgd_update *const n = fields_of(instruction);
    REAL *const w = array_at(n->w);
    const REAL *const dw = array_at(n->dw);
    const double *const rates = array_at(n->rate);
    const double rate = rates[step];
    for (int number = 0; number < 3; number++) {
        const struct TYPED(stretch) s =
            TYPED(stretch_of)(&n->parameter_ranges, &n->penalties, number, rate, thread, threads);
        const REAL keep = (REAL)(s.keep - rate * s.penalty), scale = (REAL)rate;
        INDEPENDENT
        for (int64_t i = s.first; i < s.end; i++) w[i] = keep * w[i] - scale * dw[i];
    }
}

/* m = momentum m + share g, then w -= rate m, or of share g + momentum m for nesterov; g and the
 * decoupled decay as in sgd_update.
 */
static void TYPED(momentum_update)(const int64_t *instruction, int64_t step, int64_t thread,
                                   int64_t threads) {
    const struct momentum_update *const n = fields_of(instruction);
    REAL *const w = array_at(n->w);
    const REAL *const dw = array_at(n->dw);
    REAL *const m = array_at(n->m);
    const double *const rates = array_at(n->rate);
    const int64_t nesterov = n->nesterov;
    const REAL momentum = (REAL)n->momentum, share = (REAL)n->share;
    const REAL rate = (REAL)rates[step];
    for (int number = 0; number < 3; number++) {
        const struct TYPED(stretch) s = TYPED(stretch_of)(&n->parameter_ranges, &n->penalties,
                                                          number, rates[step], thread, threads);
        if (nesterov) {
            INDEPENDENT
            for (int64_t i = s.first; i < s.end; i++) {
                const REAL g = share * (dw[i] + s.penalty * w[i]);
                const REAL velocity = momentum * m[i] + g;
                m[i] = velocity;
                w[i] = s.keep * w[i] - rate * (g + momentum * velocity);
            }
        } else {
            INDEPENDENT
            for (int64_t i = s.first; i < s.end; i++) {
                const REAL velocity = momentum * m[i] + share * (dw[i] + s.penalty * w[i]);
                m[i] = velocity;
                w[i] = s.keep * w[i] - rate * velocity;
            }
        }
    }
}

/* Adam; g and the decoupled decay as in sgd_update. */
static void TYPED(adam_update)(const int64_t *instruction, int64_t step, int64_t thread,
                               int64_t threads) {
    const struct adam_update *const n = fields_of(instruction);
    REAL *const w = array_at(n->w);
    const REAL *const dw = array_at(n->dw);
    REAL *const m = array_at(n->m);
    REAL *const v = array_at(n->v);
    const double *const rates = array_at(n->rate);
    const int64_t *const first_step = array_at(n->step);
    const double t = (double)(first_step[0] + step + 1);
    const double beta1 = n->beta1, beta2 = n->beta2;
    const REAL b1 = (REAL)beta1, b2 = (REAL)beta2;
    const REAL c1 = (REAL)(1 - beta1), c2 = (REAL)(1 - beta2);
    const REAL epsilon = (REAL)n->epsilon;
    /* The corrections of the first steps; they multiply what would else be divided. */
    const REAL scale = (REAL)(rates[step] / (1 - pow(beta1, t)));
    const REAL correction = (REAL)(1 / (1 - pow(beta2, t)));
    for (int number = 0; number < 3; number++) {
        const struct TYPED(stretch) s = TYPED(stretch_of)(&n->parameter_ranges, &n->penalties,
                                                          number, rates[step], thread, threads);
        INDEPENDENT
        for (int64_t i = s.first; i < s.end; i++) {
            const REAL g = dw[i] + s.penalty * w[i];
            const REAL first = b1 * m[i] + c1 * g, second = b2 * v[i] + c2 * (g * g);
            m[i] = first;
            v[i] = second;
            const REAL root = TYPED(square_root)(second * correction);
            w[i] = s.keep * w[i] - scale * first / (root + epsilon);
        }
    }
}

#define OPTIM_KERNELS ENTRY(sgd_update), ENTRY(momentum_update), ENTRY(adam_update)
