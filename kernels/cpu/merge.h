/* Two arrays that become one; fastconv/backends/compiled/rules/merge.py makes the instructions. */

#ifndef FASTCONV_MERGE_H
#define FASTCONV_MERGE_H

enum { ADD, MULTIPLY }; /* operations, in the order of rules/merge.py */

#endif

/* y = x1 (+) x2 for some elements, and the epilogue while they are in the first cache. An output
 * may be an input, element for element. */
INLINE void TYPED(merge_run)(const struct merge_elements *n, int64_t first, int64_t count,
                                  const REAL *x2) {
    const REAL *const x1 = (const REAL *)array_at(n->x1) + first;
    REAL *const y = (REAL *)array_at(n->y) + first;
    const REAL slope = (REAL)n->slope;
    if (n->operation == MULTIPLY) {
        INDEPENDENT
        for (int64_t i = 0; i < count; i++) y[i] = x1[i] * x2[i];
    } else {
        INDEPENDENT
        for (int64_t i = 0; i < count; i++) y[i] = x1[i] + x2[i];
    }
    if (n->epilogue == LEAKY_RELU) {
        INDEPENDENT
        for (int64_t i = 0; i < count; i++) y[i] = y[i] > 0 ? y[i] : slope * y[i];
    } else if (n->epilogue == LEAKY_GRADIENT) {
        const REAL *const other = (const REAL *)array_at(n->other) + first;
        INDEPENDENT
        for (int64_t i = 0; i < count; i++) y[i] *= other[i] > 0 ? 1 : slope;
    }
}

static void TYPED(merge_elements)(const int64_t *instruction, int64_t step, int64_t thread,
                               int64_t threads) {
    const struct merge_elements *const n = fields_of(instruction);
    const REAL *const x2 = array_at(n->x2);
    const int64_t rows = n->rows, channels = n->channels, pixels = n->pixels;
    (void)step;
    if (pixels == 0) {
        /* Downwards, from what was written last: see norm.h. */
        const int64_t size = rows * channels, begin = first_in_blocks(size, thread, threads);
        for (int64_t end = first_in_blocks(size, thread + 1, threads); end > begin;) {
            const int64_t count = (end - begin - 1) % BLOCK + 1;
            end -= count;
            TYPED(merge_run)(n, end, count, x2 + end);
        }
        return;
    }
    const int64_t end = first_of(rows, thread + 1, threads);
    for (int64_t row = first_of(rows, thread, threads); row < end; row++)
        TYPED(merge_run)(n, row * channels, channels, x2 + row / pixels * channels);
}

/* total = the sum over the pixels of each image of dy, or of dy * x1, in double; as many channels at
 * once as in global average pooling. */
static void TYPED(sum_of_each_image)(const int64_t *instruction, int64_t step, int64_t thread,
                                     int64_t threads) {
    const struct sum_of_each_image *const n = fields_of(instruction);
    const REAL *const dy = array_at(n->dy);
    const REAL *const x1 = array_at(n->x1);
    REAL *const total = array_at(n->total);
    const int64_t pixels = n->pixels, channels = n->channels;
    const int64_t pieces = (channels + CHANNELS_AT_ONCE - 1) / CHANNELS_AT_ONCE;
    const int64_t end = first_of(n->batch * pieces, thread + 1, threads);
    (void)step;
    for (int64_t piece = first_of(n->batch * pieces, thread, threads); piece < end; piece++) {
        const int64_t image = piece / pieces, first = piece % pieces * CHANNELS_AT_ONCE;
        const int64_t count = least_of(CHANNELS_AT_ONCE, channels - first);
        const int64_t start = image * pixels * channels + first;
        double sums[CHANNELS_AT_ONCE] = {0};
        for (int64_t i = 0; i < pixels; i++) {
            const REAL *const restrict gradient = dy + start + i * channels;
            if (x1 == NULL) {
                for (int64_t k = 0; k < count; k++) sums[k] += gradient[k];
                continue;
            }
            const REAL *const restrict factor = x1 + start + i * channels;
            for (int64_t k = 0; k < count; k++) sums[k] += (double)gradient[k] * factor[k];
        }
        for (int64_t k = 0; k < count; k++)
            total[image * channels + first + k] = (REAL)sums[k];
    }
}

/* The columns of each row of x to a row of y; a single row falls into blocks. */
static void TYPED(copy_rows)(const int64_t *instruction, int64_t step, int64_t thread,
                             int64_t threads) {
    const struct copy_rows *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x);
    REAL *const y = array_at(n->y);
    const int64_t rows = n->rows, columns = n->columns;
    (void)step;
    if (rows == 1) {
        const int64_t first = first_in_blocks(columns, thread, threads);
        const int64_t end = first_in_blocks(columns, thread + 1, threads);
        if (first < end) memcpy(y + first, x + first, (size_t)(end - first) * sizeof(REAL));
        return;
    }
    const int64_t end = first_of(rows, thread + 1, threads);
    for (int64_t row = first_of(rows, thread, threads); row < end; row++)
        memcpy(y + row * n->y_row, x + row * n->x_row, (size_t)columns * sizeof(REAL));
}

#define MERGE_KERNELS ENTRY(merge_elements), ENTRY(sum_of_each_image), ENTRY(copy_rows)
