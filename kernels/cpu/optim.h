/* Updates of the flat parameter buffer; fastconv/backends/compiled/rules/optim.py makes their
 * instructions. */
#ifndef FASTCONV_OPTIM_H
#define FASTCONV_OPTIM_H

/* Of a scheduled momentum: the gradient counts by what it leaves of 1. */
enum { OF_WHAT_IS_LEFT = 2 };

/* The sum of what squared_sums gives for `size` elements. */
INLINE double sum_of_blocks(const double *sums, int64_t size) {
    double total = 0;
    for (int64_t i = 0; i < (size + BLOCK - 1) / BLOCK; i++) total += sums[i];
    return total;
}

struct pace {
    double rate, momentum;
};

/* Learning rate and momentum of a step: where the latter is scheduled, both are in `rates`. */
INLINE struct pace pace_of(const double *rates, int64_t step, int64_t scheduled, double momentum) {
    const struct pace p = {scheduled ? rates[2 * step] : rates[step],
                           scheduled ? rates[2 * step + 1] : momentum};
    return p;
}

struct nadam_shares {
    double gradient, mean;
};

/* Factors of g and of m in step t of NAdam; OptimizerSpec.nadam_shares says why a few terms of a
 * series are enough. */
INLINE struct nadam_shares nadam_shares_of(double beta1, double momentum_decay, double t) {
    const double log_q = momentum_decay * log(0.96);
    const double mu = beta1 * (1 - 0.5 * exp(log_q * t));
    const double following = beta1 * (1 - 0.5 * exp(log_q * (t + 1)));
    double log_product = t * log(beta1), power = 1;
    for (int k = 1; k <= 60; k++) {
        const double sums =
            log_q != 0 ? exp(k * log_q) * expm1(k * log_q * t) / expm1(k * log_q) : t;
        power /= 2;
        log_product -= power / k * sums;
    }
    const double product = exp(log_product);
    const struct nadam_shares shares = {(1 - mu) / (1 - product),
                                        following / (1 - product * following)};
    return shares;
}

#endif

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
    const double rate = rates[step] * n->rate_factor;
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
    const struct pace p = pace_of(array_at(n->rate), step, n->scheduled, n->momentum);
    const int64_t nesterov = n->nesterov;
    const REAL momentum = (REAL)p.momentum;
    const REAL share = (REAL)(n->scheduled == OF_WHAT_IS_LEFT ? 1 - p.momentum : n->share);
    const double own_rate = p.rate * n->rate_factor;
    const REAL rate = (REAL)own_rate;
    for (int number = 0; number < 3; number++) {
        const struct TYPED(stretch) s = TYPED(stretch_of)(&n->parameter_ranges, &n->penalties,
                                                          number, own_rate, thread, threads);
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
    const struct pace p = pace_of(array_at(n->rate), step, n->scheduled, n->beta1);
    const int64_t *const first_step = array_at(n->step);
    const double t = (double)(first_step[0] + step + 1);
    const double beta1 = p.momentum, beta2 = n->beta2;
    const REAL b1 = (REAL)beta1, b2 = (REAL)beta2;
    const REAL c1 = (REAL)(1 - beta1), c2 = (REAL)(1 - beta2);
    const REAL epsilon = (REAL)n->epsilon;
    /* The corrections of the first steps; they multiply what would else be divided. */
    const double rate = p.rate * n->rate_factor;
    const REAL scale = (REAL)(rate / (1 - pow(beta1, t)));
    const REAL correction = (REAL)(1 / (1 - pow(beta2, t)));
    for (int number = 0; number < 3; number++) {
        const struct TYPED(stretch) s = TYPED(stretch_of)(&n->parameter_ranges, &n->penalties,
                                                          number, rate, thread, threads);
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

/* RMSprop, centred where there is `mean`, with momentum where there is `m`; g and the decoupled decay
 * as in sgd_update. */
static void TYPED(rmsprop_update)(const int64_t *instruction, int64_t step, int64_t thread,
                                  int64_t threads) {
    const struct rmsprop_update *const n = fields_of(instruction);
    REAL *const w = array_at(n->w);
    const REAL *const dw = array_at(n->dw);
    REAL *const v = array_at(n->v);
    REAL *const mean = array_at(n->mean);
    REAL *const m = array_at(n->m);
    const double *const rates = array_at(n->rate);
    const double rate = rates[step] * n->rate_factor;
    const REAL alpha = (REAL)n->alpha, share = (REAL)(1 - n->alpha), epsilon = (REAL)n->epsilon;
    const REAL momentum = (REAL)n->momentum, scale = (REAL)rate;
    for (int number = 0; number < 3; number++) {
        const struct TYPED(stretch) s = TYPED(stretch_of)(&n->parameter_ranges, &n->penalties,
                                                          number, rate, thread, threads);
        for (int64_t i = s.first; i < s.end; i++) {
            const REAL g = dw[i] + s.penalty * w[i];
            REAL square = alpha * v[i] + share * (g * g);
            v[i] = square;
            if (mean) {
                const REAL centre = alpha * mean[i] + share * g;
                mean[i] = centre;
                square -= centre * centre;
                square = square < 0 ? 0 : square; /* by rounding alone */
            }
            REAL u = g / (TYPED(square_root)(square) + epsilon);
            if (m) m[i] = u = momentum * m[i] + u;
            w[i] = s.keep * w[i] - scale * u;
        }
    }
}

/* Adagrad; g and the decoupled decay as in sgd_update. */
static void TYPED(adagrad_update)(const int64_t *instruction, int64_t step, int64_t thread,
                                  int64_t threads) {
    const struct adagrad_update *const n = fields_of(instruction);
    REAL *const w = array_at(n->w);
    const REAL *const dw = array_at(n->dw);
    REAL *const v = array_at(n->v);
    const double *const rates = array_at(n->rate);
    const double rate = rates[step] * n->rate_factor;
    const REAL epsilon = (REAL)n->epsilon, scale = (REAL)rate;
    for (int number = 0; number < 3; number++) {
        const struct TYPED(stretch) s = TYPED(stretch_of)(&n->parameter_ranges, &n->penalties,
                                                          number, rate, thread, threads);
        INDEPENDENT
        for (int64_t i = s.first; i < s.end; i++) {
            const REAL g = dw[i] + s.penalty * w[i];
            const REAL square = v[i] + g * g;
            v[i] = square;
            w[i] = s.keep * w[i] - scale * g / (TYPED(square_root)(square) + epsilon);
        }
    }
}

/* NAdam; g and the decoupled decay as in sgd_update. */
static void TYPED(nadam_update)(const int64_t *instruction, int64_t step, int64_t thread,
                                int64_t threads) {
    const struct nadam_update *const n = fields_of(instruction);
    REAL *const w = array_at(n->w);
    const REAL *const dw = array_at(n->dw);
    REAL *const m = array_at(n->m);
    REAL *const v = array_at(n->v);
    const double *const rates = array_at(n->rate);
    const int64_t *const first_step = array_at(n->step);
    const double t = (double)(first_step[0] + step + 1);
    const double rate = rates[step] * n->rate_factor;
    const REAL b1 = (REAL)n->beta1, b2 = (REAL)n->beta2;
    const REAL c1 = (REAL)(1 - n->beta1), c2 = (REAL)(1 - n->beta2);
    const REAL epsilon = (REAL)n->epsilon;
    const REAL correction = (REAL)(1 / (1 - pow(n->beta2, t)));
    const struct nadam_shares shares = nadam_shares_of(n->beta1, n->momentum_decay, t);
    const REAL of_gradient = (REAL)(rate * shares.gradient), of_mean = (REAL)(rate * shares.mean);
    for (int number = 0; number < 3; number++) {
        const struct TYPED(stretch) s = TYPED(stretch_of)(&n->parameter_ranges, &n->penalties,
                                                          number, rate, thread, threads);
        INDEPENDENT
        for (int64_t i = s.first; i < s.end; i++) {
            const REAL g = dw[i] + s.penalty * w[i];
            const REAL first = b1 * m[i] + c1 * g, second = b2 * v[i] + c2 * (g * g);
            m[i] = first;
            v[i] = second;
            const REAL root = TYPED(square_root)(second * correction);
            w[i] = s.keep * w[i] - (of_gradient * g + of_mean * first) / (root + epsilon);
        }
    }
}

/* Of LAMB: Adam's running means, and the direction u with its decay; g as in sgd_update. */
static void TYPED(lamb_direction)(const int64_t *instruction, int64_t step, int64_t thread,
                                  int64_t threads) {
    const struct lamb_direction *const n = fields_of(instruction);
    const REAL *const w = array_at(n->w);
    const REAL *const dw = array_at(n->dw);
    REAL *const m = array_at(n->m);
    REAL *const v = array_at(n->v);
    REAL *const u = array_at(n->u);
    const int64_t *const first_step = array_at(n->step);
    const double t = (double)(first_step[0] + step + 1);
    const REAL b1 = (REAL)n->beta1, b2 = (REAL)n->beta2;
    const REAL c1 = (REAL)(1 - n->beta1), c2 = (REAL)(1 - n->beta2);
    const REAL epsilon = (REAL)n->epsilon;
    const REAL scale = (REAL)(1 / (1 - pow(n->beta1, t)));
    const REAL correction = (REAL)(1 / (1 - pow(n->beta2, t)));
    const struct parameter_ranges *const ranges = &n->parameter_ranges;
    for (int number = 0; number < 3; number++) {
        const struct TYPED(stretch) s =
            TYPED(stretch_of)(ranges, &n->penalties, number, 1, thread, threads);
        const REAL decay = s.first < ranges->decayed ? (REAL)n->penalties.decoupled_decay : 0;
        INDEPENDENT
        for (int64_t i = s.first; i < s.end; i++) {
            const REAL g = dw[i] + s.penalty * w[i];
            const REAL first = b1 * m[i] + c1 * g, second = b2 * v[i] + c2 * (g * g);
            m[i] = first;
            v[i] = second;
            const REAL root = TYPED(square_root)(second * correction);
            u[i] = scale * first / (root + epsilon) + decay * w[i];
        }
    }
}

/* The rest of LAMB: w -= rate ||w|| / ||u|| u. */
static void TYPED(lamb_apply)(const int64_t *instruction, int64_t step, int64_t thread,
                              int64_t threads) {
    const struct lamb_apply *const n = fields_of(instruction);
    REAL *const w = array_at(n->w);
    const REAL *const u = array_at(n->u);
    const double *const of_w = array_at(n->w_sums);
    const double *const of_u = array_at(n->u_sums);
    const double *const rates = array_at(n->rate);
    const int64_t size = n->size, end = first_in_blocks(size, thread + 1, threads);
    const double length = sqrt(sum_of_blocks(of_w, size)), step_length = sqrt(sum_of_blocks(of_u, size));
    const double ratio = length != 0 && step_length != 0 ? length / step_length : 1;
    const REAL scale = (REAL)(rates[step] * n->rate_factor * ratio);
    for (int64_t i = first_in_blocks(size, thread, threads); i < end; i++) w[i] -= scale * u[i];
}

/* Slow weights that follow, and to which the others are brought back, once in `steps` steps. */
static void TYPED(lookahead_update)(const int64_t *instruction, int64_t step, int64_t thread,
                                    int64_t threads) {
    const struct lookahead_update *const n = fields_of(instruction);
    REAL *const w = array_at(n->w);
    REAL *const slow = array_at(n->slow);
    const int64_t *const first_step = array_at(n->step);
    const int64_t size = n->size, end = first_in_blocks(size, thread + 1, threads);
    const REAL alpha = (REAL)n->alpha;
    if ((first_step[0] + step + 1) % n->steps != 0) return;
    INDEPENDENT
    for (int64_t i = first_in_blocks(size, thread, threads); i < end; i++) {
        const REAL next = slow[i] + alpha * (w[i] - slow[i]);
        slow[i] = next;
        w[i] = next;
    }
}

#define OPTIM_KERNELS                                                                         \
    ENTRY(sgd_update), ENTRY(momentum_update), ENTRY(adam_update), ENTRY(rmsprop_update),     \
        ENTRY(adagrad_update), ENTRY(nadam_update), ENTRY(lamb_direction), ENTRY(lamb_apply), \
        ENTRY(lookahead_update)
