/* Normalisation of each group of channels of each sample by its own statistics;
 * fastconv/backends/compiled/rules/group_norm.py makes the instructions. One thread makes the sums of a group,
 * in float64 and in one order. */
#ifndef FASTCONV_GROUP_NORM_H
#define FASTCONV_GROUP_NORM_H

enum { PARTS_OF_A_SUM = 8, CHANNELS_OF_PARAMETERS = 16 };

INLINE double sum_of_parts(const double *part) {
    double total = 0;
    for (int k = 0; k < PARTS_OF_A_SUM; k++) total += part[k];
    return total;
}

#endif

/* The elements of group `number` of all samples: runs of `width` channels, one for each pixel. */
#define FOR_EACH_RUN(number)                                                                       \
    for (int64_t start = (number) / groups * pixels * channels + (number) % groups * width,        \
                 pixel = 0;                                                                        \
         pixel < pixels; pixel++, start += channels)

/* Side by side in parts, so that one need not wait for the other. */
#define ADD_UP(part, TERM)                                                                         \
    do {                                                                                           \
        int64_t k = 0;                                                                             \
        for (; k + PARTS_OF_A_SUM <= width; k += PARTS_OF_A_SUM)                                   \
            for (int lane = 0; lane < PARTS_OF_A_SUM; lane++) (part)[lane] += TERM(k + lane);      \
        for (int lane = 0; k < width; k++, lane++) (part)[lane] += TERM(k);                        \
    } while (0)

/* y = gamma (x - mean) inverse_std + beta, and the statistics. */
static void TYPED(group_norm_forward)(const int64_t *instruction, int64_t step, int64_t thread,
                                      int64_t threads) {
    const struct group_norm_forward *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x);
    const REAL *const gamma = array_at(n->gamma);
    const REAL *const beta = array_at(n->beta);
    REAL *const y = array_at(n->y);
    REAL *const mean = array_at(n->mean);
    REAL *const inverse_std = array_at(n->inverse_std);
    const int64_t pixels = n->pixels, channels = n->channels, groups = n->groups;
    const int64_t width = channels / groups, count = n->batch * groups;
    const double share = 1 / (double)(pixels * width), epsilon = n->epsilon;
    const int64_t end = first_of(count, thread + 1, threads);
    (void)step;
    for (int64_t number = first_of(count, thread, threads); number < end; number++) {
        double part[PARTS_OF_A_SUM] = {0}, squares[PARTS_OF_A_SUM] = {0};
        FOR_EACH_RUN(number) {
#define TERM(k) x[start + (k)]
            ADD_UP(part, TERM);
#undef TERM
        }
        const double exact = sum_of_parts(part) * share;
        const REAL centre = (REAL)exact;
        FOR_EACH_RUN(number) {
#define TERM(k) (((double)x[start + (k)] - centre) * ((double)x[start + (k)] - centre))
            ADD_UP(squares, TERM);
#undef TERM
        }
        /* The distances are those from the rounded mean. */
        const double between = exact - centre;
        const double variance = sum_of_parts(squares) * share - between * between;
        const REAL inverse = (REAL)(1 / sqrt(variance + epsilon));
        const REAL *const scale = gamma ? gamma + number % groups * width : NULL;
        const REAL *const offset = beta ? beta + number % groups * width : NULL;
        mean[number] = centre;
        inverse_std[number] = inverse;
        FOR_EACH_RUN(number) {
            const REAL *const from = x + start;
            REAL *const to = y + start;
            INDEPENDENT
            for (int64_t k = 0; k < width; k++) to[k] = (from[k] - centre) * inverse;
            if (scale) {
                INDEPENDENT
                for (int64_t k = 0; k < width; k++) to[k] *= scale[k];
            }
            if (offset) {
                INDEPENDENT
                for (int64_t k = 0; k < width; k++) to[k] += offset[k];
            }
        }
    }
}

/* dx = inverse_std (g - mean of g - z mean of g z) with g = gamma dy. */
static void TYPED(group_norm_backward_data)(const int64_t *instruction, int64_t step,
                                            int64_t thread, int64_t threads) {
    const struct group_norm_backward_data *const n = fields_of(instruction);
    const REAL *const dy = array_at(n->dy);
    const REAL *const x = array_at(n->x);
    const REAL *const gamma = array_at(n->gamma);
    const REAL *const mean = array_at(n->mean);
    const REAL *const inverse_std = array_at(n->inverse_std);
    REAL *const dx = array_at(n->dx);
    const int64_t pixels = n->pixels, channels = n->channels, groups = n->groups;
    const int64_t width = channels / groups, count = n->batch * groups;
    const double share = 1 / (double)(pixels * width);
    const int64_t end = first_of(count, thread + 1, threads);
    (void)step;
    for (int64_t number = first_of(count, thread, threads); number < end; number++) {
        const REAL centre = mean[number], inverse = inverse_std[number];
        const REAL *const scale = gamma ? gamma + number % groups * width : NULL;
        double part[PARTS_OF_A_SUM] = {0}, products[PARTS_OF_A_SUM] = {0};
        FOR_EACH_RUN(number) {
#define SCALED(k) ((double)dy[start + (k)] * (scale ? scale[k] : 1))
#define PRODUCT(k) (SCALED(k) * ((x[start + (k)] - centre) * inverse))
            ADD_UP(part, SCALED);
            ADD_UP(products, PRODUCT);
#undef PRODUCT
#undef SCALED
        }
        const REAL of_gradient = (REAL)(sum_of_parts(part) * share);
        const REAL of_products = (REAL)(sum_of_parts(products) * share);
        FOR_EACH_RUN(number) {
            const REAL *const gradient = dy + start, *const from = x + start;
            REAL *const to = dx + start;
            INDEPENDENT
            for (int64_t k = 0; k < width; k++) {
                const REAL z = (from[k] - centre) * inverse;
                const REAL scaled = scale ? gradient[k] * scale[k] : gradient[k];
                to[k] = inverse * (scaled - of_gradient - z * of_products);
            }
        }
    }
}

/* dgamma = sum of dy z, dbeta = sum of dy, of some channels side by side. */
static void TYPED(group_norm_backward_parameters)(const int64_t *instruction, int64_t step,
                                                  int64_t thread, int64_t threads) {
    const struct group_norm_backward_parameters *const n = fields_of(instruction);
    const REAL *const dy = array_at(n->dy);
    const REAL *const x = array_at(n->x);
    const REAL *const mean = array_at(n->mean);
    const REAL *const inverse_std = array_at(n->inverse_std);
    REAL *const dgamma = array_at(n->dgamma);
    REAL *const dbeta = array_at(n->dbeta);
    const int64_t batch = n->batch, pixels = n->pixels, channels = n->channels;
    const int64_t groups = n->groups, width = channels / groups;
    const int64_t pieces = (channels + CHANNELS_OF_PARAMETERS - 1) / CHANNELS_OF_PARAMETERS;
    const int64_t end = first_of(pieces, thread + 1, threads);
    (void)step;
    for (int64_t piece = first_of(pieces, thread, threads); piece < end; piece++) {
        const int64_t first = piece * CHANNELS_OF_PARAMETERS;
        const int64_t some = least_of(CHANNELS_OF_PARAMETERS, channels - first);
        double total[CHANNELS_OF_PARAMETERS] = {0}, products[CHANNELS_OF_PARAMETERS] = {0};
        for (int64_t sample = 0; sample < batch; sample++) {
            REAL centre[CHANNELS_OF_PARAMETERS], inverse[CHANNELS_OF_PARAMETERS];
            for (int64_t k = 0; k < some; k++) {
                const int64_t group = sample * groups + (first + k) / width;
                centre[k] = mean[group];
                inverse[k] = inverse_std[group];
            }
            for (int64_t pixel = 0; pixel < pixels; pixel++) {
                const int64_t start = (sample * pixels + pixel) * channels + first;
                for (int64_t k = 0; k < some; k++) {
                    const REAL gradient = dy[start + k];
                    total[k] += gradient;
                    products[k] += (double)gradient * ((x[start + k] - centre[k]) * inverse[k]);
                }
            }
        }
        for (int64_t k = 0; k < some; k++) {
            dgamma[first + k] = (REAL)products[k];
            if (dbeta) dbeta[first + k] = (REAL)total[k];
        }
    }
}
#undef FOR_EACH_RUN
#undef ADD_UP

#define GROUP_NORM_KERNELS                                                                         \
    ENTRY(group_norm_forward), ENTRY(group_norm_backward_data),                                    \
        ENTRY(group_norm_backward_parameters)
