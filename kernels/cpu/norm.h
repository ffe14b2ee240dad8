/* Batch normalisation over the rows of a (rows, channels) array; fastconv/backends/compiled/rules/norm.py makes
 * the instructions.
 *
 * A sum over all rows is made of the sums of blocks of rows, in float64, which are added in
 * order: the size of a block is fixed, so that the number of threads changes nothing.
 *
 * Images may be larger than the caches. Each pass begins where the one before it ended, whose last
 * elements are still there: convolutions go upwards, norm_sums downwards, norm_apply upwards; sums of
 * gradients downwards (merge.h), norm_gradient_sums upwards, norm_backward_data downwards. */
#ifndef FASTCONV_NORM_H
#define FASTCONV_NORM_H

/* A block of rows and a piece of the channels: small enough for L2, so that it is read twice at the
 * cost of once. */
enum { ROWS_OF_A_BLOCK = 256, CHANNELS_OF_A_PIECE = 64 };

struct norm_piece {
    int64_t block, first_row, rows, first_channel, channels;
};

INLINE int64_t blocks_of(int64_t rows) { return (rows + ROWS_OF_A_BLOCK - 1) / ROWS_OF_A_BLOCK; }

INLINE int64_t pieces_of(int64_t channels) {
    return (channels + CHANNELS_OF_A_PIECE - 1) / CHANNELS_OF_A_PIECE;
}

INLINE struct norm_piece norm_piece_of(int64_t number, int64_t rows, int64_t channels) {
    const int64_t pieces = pieces_of(channels);
    struct norm_piece p;
    p.block = number / pieces;
    p.first_row = p.block * ROWS_OF_A_BLOCK;
    p.rows = least_of(ROWS_OF_A_BLOCK, rows - p.first_row);
    p.first_channel = number % pieces * CHANNELS_OF_A_PIECE;
    p.channels = least_of(CHANNELS_OF_A_PIECE, channels - p.first_channel);
    return p;
}

/* Vectors of channels whose factors stay in registers while rows go by, and the rows that are taken
 * through all of the channels together: a page or two, that they are read in the order of memory. */
#define VECTORS_OF_A_ROW 4
INLINE int64_t rows_together(int64_t channels) {
    return channels < 2048 ? 2048 / (channels + !channels) : 1;
}

/* call(first channel, vectors, channels of the last vector) */
#define FOR_VECTORS_OF_CHANNELS(call, channels)                                                    \
    do {                                                                                           \
        int64_t first_channel = 0;                                                                 \
        for (; first_channel + VECTORS_OF_A_ROW * LANES <= (channels);                             \
             first_channel += VECTORS_OF_A_ROW * LANES)                                            \
            call(first_channel, VECTORS_OF_A_ROW, LANES);                                          \
        if (first_channel + 2 * LANES <= (channels)) {                                             \
            call(first_channel, 2, LANES);                                                         \
            first_channel += 2 * LANES;                                                            \
        }                                                                                          \
        if (first_channel + LANES <= (channels)) {                                                 \
            call(first_channel, 1, LANES);                                                         \
            first_channel += LANES;                                                                \
        }                                                                                          \
        if (first_channel < (channels)) call(first_channel, 1, (channels) - first_channel);        \
    } while (0)

/* Channels whose sums stay in registers while the rows of a block go by. */
#define CHANNELS_AT_ONCE 16
#define FOR_CHANNELS_AT_ONCE(call, channels)                                                       \
    do {                                                                                           \
        int64_t k = 0;                                                                             \
        for (; k + CHANNELS_AT_ONCE <= (channels); k += CHANNELS_AT_ONCE) call(k, CHANNELS_AT_ONCE); \
        for (; k < (channels); k++) call(k, 1);                                                    \
    } while (0)

#endif

/* The sum of `count` channels over the rows of a block, and that of the squared distances from the
 * block's own mean. */
INLINE void TYPED(block_sums)(const REAL *restrict block, int64_t rows, int64_t channels,
                              const int count, double *restrict totals, double *restrict squares) {
    double total[CHANNELS_AT_ONCE] = {0}, mean[CHANNELS_AT_ONCE], square[CHANNELS_AT_ONCE] = {0};
    for (int64_t i = 0; i < rows; i++)
        UNROLL for (int k = 0; k < count; k++) total[k] += block[i * channels + k];
    for (int k = 0; k < count; k++) mean[k] = total[k] / (double)rows;
    for (int64_t i = 0; i < rows; i++)
        UNROLL for (int k = 0; k < count; k++) {
            const double distance = block[i * channels + k] - mean[k];
            square[k] += distance * distance;
        }
    for (int k = 0; k < count; k++) totals[k] = total[k], squares[k] = square[k];
}

/* Of each block: the sum of x, and the sum of the squared distances from the block's own mean. */
static void TYPED(norm_sums)(const int64_t *instruction, int64_t step, int64_t thread,
                             int64_t threads) {
    const struct norm_sums *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x);
    double *const sums = array_at(n->sums);
    const int64_t rows = n->rows, channels = n->channels;
    const int64_t count = blocks_of(rows) * pieces_of(channels);
    const int64_t begin = first_of(count, thread, threads), end = first_of(count, thread + 1, threads);
    (void)step;
    for (int64_t number = end - 1; number >= begin; number--) { /* from what was written last */
        const struct norm_piece p = norm_piece_of(number, rows, channels);
        const REAL *const restrict block = x + p.first_row * channels + p.first_channel;
        double *const out = sums + 2 * p.block * channels + p.first_channel;
#define BLOCK_SUMS(k, count)                                                                       \
    TYPED(block_sums)(block + (k), p.rows, channels, count, out + (k), out + channels + (k))
        FOR_CHANNELS_AT_ONCE(BLOCK_SUMS, p.channels);
#undef BLOCK_SUMS
    }
}

/* Mean and inverse std of all rows, the running statistics, and the factor gamma / std.
 */
static void TYPED(norm_statistics)(const int64_t *instruction, int64_t step, int64_t thread,
                                   int64_t threads) {
    const struct norm_statistics *const n = fields_of(instruction);
    const double *const sums = array_at(n->sums);
    const REAL *const gamma = array_at(n->gamma);
    REAL *const running_mean = array_at(n->running_mean);
    REAL *const running_variance = array_at(n->running_variance);
    REAL *const mean = array_at(n->mean);
    REAL *const inverse_std = array_at(n->inverse_std);
    REAL *const factor = array_at(n->factor);
    const int64_t rows = n->rows, channels = n->channels;
    const double epsilon = n->epsilon, momentum = n->momentum;
    const int64_t blocks = blocks_of(rows), pieces = pieces_of(channels);
    const int64_t end = first_of(pieces, thread + 1, threads);
    (void)step;
    for (int64_t number = first_of(pieces, thread, threads); number < end; number++) {
        const int64_t first = number * CHANNELS_OF_A_PIECE;
        const int64_t count = least_of(CHANNELS_OF_A_PIECE, channels - first);
        double centre[CHANNELS_OF_A_PIECE] = {0}, squares[CHANNELS_OF_A_PIECE] = {0};
        for (int64_t block = 0; block < blocks; block++)
            for (int64_t k = 0; k < count; k++)
                centre[k] += sums[2 * block * channels + first + k];
        for (int64_t k = 0; k < count; k++) centre[k] /= (double)rows;
        /* Squares around the mean of all: those around a block's mean, and that mean's distance
         * for each row (Chan, Golub & LeVeque, The American Statistician 37, 1983). */
        for (int64_t block = 0; block < blocks; block++) {
            const double *const restrict own = sums + 2 * block * channels + first;
            const double size =
                (double)least_of(ROWS_OF_A_BLOCK, rows - block * ROWS_OF_A_BLOCK);
            for (int64_t k = 0; k < count; k++) {
                const double distance = own[k] / size - centre[k];
                squares[k] += own[channels + k] + size * distance * distance;
            }
        }
        for (int64_t k = 0; k < count; k++) {
            const int64_t c = first + k;
            if (rows == 0) {
                mean[c] = inverse_std[c] = factor[c] = 0;
                continue;
            }
            const double variance = squares[k] / (double)rows;
            const double unbiased = rows > 1 ? squares[k] / (double)(rows - 1) : variance;
            const double inverse = 1 / sqrt(variance + epsilon);
            mean[c] = (REAL)centre[k];
            inverse_std[c] = (REAL)inverse;
            factor[c] = (REAL)(gamma[c] * inverse);
            running_mean[c] = (REAL)((1 - momentum) * running_mean[c] + momentum * centre[k]);
            running_variance[c] =
                (REAL)((1 - momentum) * running_variance[c] + momentum * unbiased);
        }
    }
}

/* factor = gamma / sqrt(variance + epsilon). */
static void TYPED(norm_factor)(const int64_t *instruction, int64_t step, int64_t thread,
                               int64_t threads) {
    const struct norm_factor *const n = fields_of(instruction);
    const REAL *const gamma = array_at(n->gamma);
    const REAL *const variance = array_at(n->variance);
    REAL *const factor = array_at(n->factor);
    const int64_t channels = n->channels;
    const double epsilon = n->epsilon;
    (void)step, (void)thread, (void)threads;
    INDEPENDENT
    for (int64_t k = 0; k < channels; k++)
        factor[k] = (REAL)(gamma[k] / sqrt(variance[k] + epsilon));
}

/* y = (x - mean) * factor + beta, plus what is added, and the epilogue: rows from one on, of some vectors
 * of channels whose factors stay in registers. */
INLINE void TYPED(apply_to_rows)(const struct norm_apply *n, int64_t first, int64_t rows, int64_t k,
                                 const int vectors, ptrdiff_t last) {
    const int64_t channels = n->channels, start = first * channels + k;
    const REAL *x = (const REAL *)array_at(n->x) + start;
    const REAL *more = array_at(n->addend);
    REAL *y = (REAL *)array_at(n->y) + start;
    const REAL *const mean = array_at(n->mean), *const factor = array_at(n->factor);
    const REAL *const beta = array_at(n->beta);
    const VECTOR slope = TYPED(spread)((REAL)n->slope);
    const int ends = n->epilogue == LEAKY_RELU;
    VECTOR centre[VECTORS_OF_A_ROW], scale[VECTORS_OF_A_ROW], shift[VECTORS_OF_A_ROW];
    if (more) more += start;
    UNROLL for (int v = 0; v < vectors; v++) {
        const ptrdiff_t at = k + v * LANES;
        centre[v] = TYPED(load_first)(mean + at, last);
        scale[v] = TYPED(load_first)(factor + at, last);
        shift[v] = TYPED(load_first)(beta + at, last);
    }
    for (int64_t i = 0; i < rows; i++) {
        UNROLL for (int v = 0; v < vectors; v++) {
            VECTOR value = TYPED(load_first)(x + v * LANES, last) - centre[v];
            value = value * scale[v] + shift[v];
            if (more) value += TYPED(load_first)(more + v * LANES, last);
            if (ends) value = TYPED(where_positive)(value, value, value * slope);
            TYPED(store_first)(y + v * LANES, value, last);
        }
        x += channels, y += channels;
        if (more) more += channels;
    }
}

static void TYPED(norm_apply)(const int64_t *instruction, int64_t step, int64_t thread,
                              int64_t threads) {
    const struct norm_apply *const n = fields_of(instruction);
    const int64_t channels = n->channels, end = first_of(n->rows, thread + 1, threads);
    (void)step;
    for (int64_t row = first_of(n->rows, thread, threads); row < end;) {
        const int64_t rows = least_of(rows_together(channels), end - row);
#define APPLY(k, vectors, last) TYPED(apply_to_rows)(n, row, rows, k, vectors, last)
        FOR_VECTORS_OF_CHANNELS(APPLY, channels);
#undef APPLY
        row += rows;
    }
}

/* The sum of dy of `count` channels over the rows of a block, and that of dy * z. */
INLINE void TYPED(block_gradient_sums)(const REAL *restrict dy, const REAL *restrict x,
                                       const REAL *restrict mean, const REAL *restrict inverse_std,
                                       int64_t rows, int64_t channels, const int count,
                                       double *restrict totals, double *restrict products) {
    double total[CHANNELS_AT_ONCE] = {0}, product[CHANNELS_AT_ONCE] = {0};
    REAL centre[CHANNELS_AT_ONCE], inverse[CHANNELS_AT_ONCE];
    for (int k = 0; k < count; k++) centre[k] = mean[k], inverse[k] = inverse_std[k];
    for (int64_t i = 0; i < rows; i++)
        UNROLL for (int k = 0; k < count; k++) {
            const REAL gradient = dy[i * channels + k];
            const REAL z = (x[i * channels + k] - centre[k]) * inverse[k];
            total[k] += gradient;
            product[k] += (double)gradient * z;
        }
    for (int k = 0; k < count; k++) totals[k] = total[k], products[k] = product[k];
}

/* Of each block: the sum of dy, and of dy * z with z = (x - mean) * inverse_std. */
static void TYPED(norm_gradient_sums)(const int64_t *instruction, int64_t step, int64_t thread,
                                      int64_t threads) {
    const struct norm_gradient_sums *const n = fields_of(instruction);
    const REAL *const dy = array_at(n->dy);
    const REAL *const x = array_at(n->x);
    const REAL *const mean = array_at(n->mean);
    const REAL *const inverse_std = array_at(n->inverse_std);
    double *const sums = array_at(n->sums);
    const int64_t rows = n->rows, channels = n->channels;
    const int64_t count = blocks_of(rows) * pieces_of(channels);
    const int64_t end = first_of(count, thread + 1, threads);
    (void)step;
    for (int64_t number = first_of(count, thread, threads); number < end; number++) {
        const struct norm_piece p = norm_piece_of(number, rows, channels);
        const int64_t start = p.first_row * channels + p.first_channel;
        double *const out = sums + 2 * p.block * channels + p.first_channel;
        const REAL *const centre = mean + p.first_channel;
        const REAL *const inverse = inverse_std + p.first_channel;
#define BLOCK_SUMS(k, count)                                                                       \
    TYPED(block_gradient_sums)(dy + start + (k), x + start + (k), centre + (k), inverse + (k),     \
                               p.rows, channels, count, out + (k), out + channels + (k))
        FOR_CHANNELS_AT_ONCE(BLOCK_SUMS, p.channels);
#undef BLOCK_SUMS
    }
}

/* dbeta = sum of dy, dgamma = sum of dy * z, and what dx takes of them: their means, and
 * gamma * inverse_std.
 */
static void TYPED(norm_gradients)(const int64_t *instruction, int64_t step, int64_t thread,
                                  int64_t threads) {
    const struct norm_gradients *const n = fields_of(instruction);
    const double *const sums = array_at(n->sums);
    const REAL *const gamma = array_at(n->gamma);
    const REAL *const inverse_std = array_at(n->inverse_std);
    REAL *const dgamma = array_at(n->dgamma);
    REAL *const dbeta = array_at(n->dbeta);
    REAL *const means = array_at(n->means);
    REAL *const factor = array_at(n->factor);
    const int64_t rows = n->rows, channels = n->channels;
    const int64_t blocks = blocks_of(rows), pieces = pieces_of(channels);
    const int64_t end = first_of(pieces, thread + 1, threads);
    const double share = rows ? 1 / (double)rows : 0;
    (void)step;
    for (int64_t number = first_of(pieces, thread, threads); number < end; number++) {
        const int64_t first = number * CHANNELS_OF_A_PIECE;
        const int64_t count = least_of(CHANNELS_OF_A_PIECE, channels - first);
        double total[CHANNELS_OF_A_PIECE] = {0}, products[CHANNELS_OF_A_PIECE] = {0};
        for (int64_t block = 0; block < blocks; block++) {
            const double *const restrict own = sums + 2 * block * channels + first;
            for (int64_t k = 0; k < count; k++) {
                total[k] += own[k];
                products[k] += own[channels + k];
            }
        }
        for (int64_t k = 0; k < count; k++) {
            const int64_t c = first + k;
            dbeta[c] = (REAL)total[k];
            dgamma[c] = (REAL)products[k];
            means[c] = (REAL)(total[k] * share);
            means[channels + c] = (REAL)(products[k] * share);
            factor[c] = gamma[c] * inverse_std[c];
        }
    }
}

/* dx = factor * (dy - mean of dy - z * mean of dy * z), as above. */
INLINE void TYPED(data_gradient_of_rows)(const struct norm_backward_data *n, int64_t first,
                                         int64_t rows, int64_t k, const int vectors,
                                         ptrdiff_t last) {
    const int64_t channels = n->channels, start = first * channels + k;
    const REAL *dy = (const REAL *)array_at(n->dy) + start;
    const REAL *x = (const REAL *)array_at(n->x) + start;
    REAL *dx = (REAL *)array_at(n->dx) + start;
    const REAL *const means = array_at(n->means), *const factor = array_at(n->factor);
    const REAL *const mean = array_at(n->mean), *const inverse_std = array_at(n->inverse_std);
    VECTOR centre[VECTORS_OF_A_ROW], inverse[VECTORS_OF_A_ROW], scale[VECTORS_OF_A_ROW];
    VECTOR of_dy[VECTORS_OF_A_ROW], of_products[VECTORS_OF_A_ROW];
    UNROLL for (int v = 0; v < vectors; v++) {
        const ptrdiff_t at = k + v * LANES;
        centre[v] = TYPED(load_first)(mean + at, last);
        inverse[v] = TYPED(load_first)(inverse_std + at, last);
        scale[v] = TYPED(load_first)(factor + at, last);
        of_dy[v] = TYPED(load_first)(means + at, last);
        of_products[v] = TYPED(load_first)(means + channels + at, last);
    }
    for (int64_t i = 0; i < rows; i++) {
        UNROLL for (int v = 0; v < vectors; v++) {
            const VECTOR z = (TYPED(load_first)(x + v * LANES, last) - centre[v]) * inverse[v];
            const VECTOR gradient = TYPED(load_first)(dy + v * LANES, last);
            const VECTOR rest = gradient - of_dy[v] - z * of_products[v];
            TYPED(store_first)(dx + v * LANES, scale[v] * rest, last);
        }
        x += channels, dy += channels, dx += channels;
    }
}

static void TYPED(norm_backward_data)(const int64_t *instruction, int64_t step, int64_t thread,
                                      int64_t threads) {
    const struct norm_backward_data *const n = fields_of(instruction);
    const int64_t channels = n->channels, begin = first_of(n->rows, thread, threads);
    (void)step;
    /* From what the sums have read last. */
    for (int64_t end = first_of(n->rows, thread + 1, threads); end > begin;) {
        const int64_t rows = least_of(rows_together(channels), end - begin);
        end -= rows;
#define GRADIENT(k, vectors, last)                                                                 \
    TYPED(data_gradient_of_rows)(n, end, rows, k, vectors, last)
        FOR_VECTORS_OF_CHANNELS(GRADIENT, channels);
#undef GRADIENT
    }
}

#define NORM_KERNELS                                                                               \
    ENTRY(norm_sums), ENTRY(norm_statistics), ENTRY(norm_factor), ENTRY(norm_apply),               \
        ENTRY(norm_gradient_sums), ENTRY(norm_gradients), ENTRY(norm_backward_data)
