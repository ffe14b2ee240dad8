/* A ReLU with learned slopes over the rows of a (rows, channels) array;
 * fastconv/backends/compiled/rules/prelu.py makes the instructions. Sums are those of blocks of rows, in
 * float64, as in norm.h. An output may be the input, element for element. */

/* y = x where it is positive, else slope * x; a NaN stays one. */
static void TYPED(prelu_forward)(const int64_t *instruction, int64_t step, int64_t thread,
                                 int64_t threads) {
    const struct prelu_forward *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x), *const slope = array_at(n->slope);
    REAL *const y = array_at(n->y);
    const int64_t channels = n->channels;
    const int64_t end = first_of(n->rows, thread + 1, threads);
    (void)step;
    if (n->slopes == 1) {
        const REAL only = *slope;
        INDEPENDENT
        for (int64_t i = first_of(n->rows, thread, threads) * channels; i < end * channels; i++)
            y[i] = x[i] > 0 ? x[i] : only * x[i];
        return;
    }
    for (int64_t row = first_of(n->rows, thread, threads); row < end; row++) {
        const REAL *const from = x + row * channels;
        REAL *const to = y + row * channels;
        INDEPENDENT
        for (int64_t k = 0; k < channels; k++) to[k] = from[k] > 0 ? from[k] : slope[k] * from[k];
    }
}

/* dx = dy, times the slope where x is not positive; of each block, the sums of dy * x there. */
static void TYPED(prelu_backward)(const int64_t *instruction, int64_t step, int64_t thread,
                                  int64_t threads) {
    const struct prelu_backward *const n = fields_of(instruction);
    const REAL *const dy = array_at(n->dy), *const x = array_at(n->x);
    const REAL *const slope = array_at(n->slope);
    REAL *const dx = array_at(n->dx);
    double *const sums = array_at(n->sums);
    const int64_t rows = n->rows, channels = n->channels, of_channels = n->slopes > 1;
    const int64_t blocks = blocks_of(rows), end = first_of(blocks, thread + 1, threads);
    (void)step;
    for (int64_t block = first_of(blocks, thread, threads); block < end; block++) {
        const int64_t first = block * ROWS_OF_A_BLOCK;
        const int64_t last = first + least_of(ROWS_OF_A_BLOCK, rows - first);
        for (int64_t start = 0; start < channels; start += CHANNELS_OF_A_PIECE) {
            const int64_t count = least_of(CHANNELS_OF_A_PIECE, channels - start);
            double total[CHANNELS_OF_A_PIECE] = {0};
            REAL own[CHANNELS_OF_A_PIECE];
            for (int64_t k = 0; k < count; k++) own[k] = slope[of_channels ? start + k : 0];
            for (int64_t row = first; row < last; row++) {
                const int64_t at = row * channels + start;
                INDEPENDENT
                for (int64_t k = 0; k < count; k++) {
                    const REAL gradient = dy[at + k], value = x[at + k];
                    total[k] += value > 0 ? 0. : (double)gradient * (double)value;
                    dx[at + k] = gradient * (value > 0 ? 1 : own[k]);
                }
            }
            for (int64_t k = 0; k < count; k++) sums[block * channels + start + k] = total[k];
        }
    }
}

/* The sums of all blocks; with one slope, of all channels too. */
static void TYPED(prelu_slopes)(const int64_t *instruction, int64_t step, int64_t thread,
                                int64_t threads) {
    const struct prelu_slopes *const n = fields_of(instruction);
    const double *const sums = array_at(n->sums);
    REAL *const dslope = array_at(n->dslope);
    const int64_t channels = n->channels, blocks = blocks_of(n->rows);
    double all = 0;
    (void)step, (void)threads;
    if (thread != 0) return;
    for (int64_t k = 0; k < channels; k++) {
        double total = 0;
        for (int64_t block = 0; block < blocks; block++) total += sums[block * channels + k];
        if (n->slopes > 1) dslope[k] = (REAL)total;
        all += total;
    }
    if (n->slopes == 1) *dslope = (REAL)all;
}

#define PRELU_KERNELS ENTRY(prelu_forward), ENTRY(prelu_backward), ENTRY(prelu_slopes)
