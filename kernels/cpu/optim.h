/* Updates of the flat parameter buffer; fastconv/backends/compiled/rules/optim.py makes their rows. */

/* What the penalties do to a stretch of the buffer, and the share of a thread in that stretch. */
struct TYPED(stretch) {
    int64_t first, end;
    REAL penalty; /* times w belongs to the gradient */
    REAL keep;    /* of w, beside the step */
};

/* Stretch 0, 1 or 2: both of weights and decayed, one of them, none of them. */
INLINE struct TYPED(stretch) TYPED(stretch_of)(const int64_t *record, int number, double rate,
                                               int64_t thread, int64_t threads) {
    const int64_t *const n = record + INTEGERS;
    const int64_t size = n[0], weights = n[1], decayed = n[2];
    const int64_t ends[] = {least_of(weights, decayed), most_of(weights, decayed), size};
    const int64_t from = number ? ends[number - 1] : 0, count = ends[number] - from;
    const int is_weight = from < weights, is_decayed = from < decayed;
    struct TYPED(stretch) s;
    s.first = from + first_in_blocks(count, thread, threads);
    s.end = from + first_in_blocks(count, thread + 1, threads);
    s.penalty = (REAL)((is_weight ? 2 * real_of(record, 0) : 0) +
                       (is_decayed ? real_of(record, 1) : 0));
    s.keep = (REAL)(is_decayed ? 1 - rate * real_of(record, 2) : 1);
    return s;
}

/* w -= rate * (dw + 2 l2 w[:weights] + coupled w[:decayed]) + rate decoupled w[:decayed].
 *
 * pointers: w, dw, rate (float64, one for each step of the run)
 * integers: size, weights, decayed
 * reals:    l2, coupled_decay, decoupled_decay
 */
static void TYPED(sgd_update)(const int64_t *record, int64_t step, int64_t thread,
                              int64_t threads) {
    REAL *const w = pointer_of(record, 0);
    const REAL *const dw = pointer_of(record, 1);
    const double *const rates = pointer_of(record, 2);
    const double rate = rates[step];
    for (int number = 0; number < 3; number++) {
        const struct TYPED(stretch) s = TYPED(stretch_of)(record, number, rate, thread, threads);
        const REAL keep = (REAL)(s.keep - rate * s.penalty), scale = (REAL)rate;
        INDEPENDENT
        for (int64_t i = s.first; i < s.end; i++) w[i] = keep * w[i] - scale * dw[i];
    }
}

/* m = momentum m + share g, then w -= rate m, or of share g + momentum m for nesterov; g and the
 * decoupled decay as in sgd_update.
 *
 * pointers: w, dw, m, rate (float64, one for each step of the run)
 * integers: size, weights, decayed, nesterov
 * reals:    l2, coupled_decay, decoupled_decay, momentum, share of the gradient
 */
static void TYPED(momentum_update)(const int64_t *record, int64_t step, int64_t thread,
                                   int64_t threads) {
    REAL *const w = pointer_of(record, 0);
    const REAL *const dw = pointer_of(record, 1);
    REAL *const m = pointer_of(record, 2);
    const double *const rates = pointer_of(record, 3);
    const int64_t nesterov = record[INTEGERS + 3];
    const REAL momentum = (REAL)real_of(record, 3), share = (REAL)real_of(record, 4);
    const REAL rate = (REAL)rates[step];
    for (int number = 0; number < 3; number++) {
        const struct TYPED(stretch) s =
            TYPED(stretch_of)(record, number, rates[step], thread, threads);
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

/* Adam; g and the decoupled decay as in sgd_update.
 *
 * pointers: w, dw, m, v, rate (float64, one for each step of the run), first_step (int64)
 * integers: size, weights, decayed
 * reals:    l2, coupled_decay, decoupled_decay, beta1, beta2, epsilon
 */
static void TYPED(adam_update)(const int64_t *record, int64_t step, int64_t thread,
                               int64_t threads) {
    REAL *const w = pointer_of(record, 0);
    const REAL *const dw = pointer_of(record, 1);
    REAL *const m = pointer_of(record, 2);
    REAL *const v = pointer_of(record, 3);
    const double *const rates = pointer_of(record, 4);
    const int64_t *const first_step = pointer_of(record, 5);
    const double t = (double)(first_step[0] + step + 1);
    const double beta1 = real_of(record, 3), beta2 = real_of(record, 4);
    const REAL b1 = (REAL)beta1, b2 = (REAL)beta2;
    const REAL c1 = (REAL)(1 - beta1), c2 = (REAL)(1 - beta2);
    const REAL epsilon = (REAL)real_of(record, 5);
    /* The corrections of the first steps; they multiply what would else be divided. */
    const REAL scale = (REAL)(rates[step] / (1 - pow(beta1, t)));
    const REAL correction = (REAL)(1 / (1 - pow(beta2, t)));
    for (int number = 0; number < 3; number++) {
        const struct TYPED(stretch) s =
            TYPED(stretch_of)(record, number, rates[step], thread, threads);
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
