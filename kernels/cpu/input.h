/* The beginning of a step; fastconv/backends/compiled/rules/input.py makes the instructions. */

#ifndef FASTCONV_FETCH
#define FASTCONV_FETCH
/* Images lie anywhere in the data set, which no cache holds: ask for the next ones early. */
enum { IMAGES_AHEAD = 2 };
static inline void fetch_early(const void *from, int64_t bytes) {
#if defined(__GNUC__)
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)from + i);
#else
    (void)from, (void)bytes;
#endif
}
#endif

/* x[n] = images[indices[step * batch + n]], as REAL. */
static void TYPED(gather_images)(const int64_t *instruction, int64_t step, int64_t thread,
                                 int64_t threads) {
    const struct gather_images *const n = fields_of(instruction);
    const int64_t batch = n->batch, elements = n->elements, bytes = n->itemsize,
                  size = batch * elements;
    const int64_t *const indices = (const int64_t *)array_at(n->indices) + step * batch;
    const char *const images = array_at(n->images);
    REAL *const x = array_at(n->x);
    const int64_t end = first_in_blocks(size, thread + 1, threads);
    /* Blocks of the whole batch, each a piece of an image or of several. */
    for (int64_t i = first_in_blocks(size, thread, threads); i < end;) {
        const int64_t sample = i / elements, offset = i % elements;
        const int64_t count = least_of(elements - offset, end - i);
        const char *const from = images + (indices[sample] * elements + offset) * bytes;
        REAL *const to = x + i;
        const int64_t soon = sample + IMAGES_AHEAD;
        if (soon < batch && soon * elements < end)
            fetch_early(images + indices[soon] * elements * bytes,
                        least_of(elements, end - soon * elements) * bytes);
        if (bytes == sizeof(REAL)) {
            memcpy(to, from, (size_t)count * sizeof(REAL));
        } else if (bytes == 1) {
            const uint8_t *const image = (const uint8_t *)from;
            INDEPENDENT
            for (int64_t k = 0; k < count; k++) to[k] = image[k];
        } else if (bytes == sizeof(double)) {
            INDEPENDENT
            for (int64_t k = 0; k < count; k++) {
                double value;
                memcpy(&value, from + k * bytes, sizeof value);
                to[k] = (REAL)value;
            }
        } else {
            INDEPENDENT
            for (int64_t k = 0; k < count; k++) {
                float value;
                memcpy(&value, from + k * bytes, sizeof value);
                to[k] = value;
            }
        }
        i += count;
    }
}

/* out[n] = rows[indices[step * batch + n]]: labels or targets of any type. */
static void TYPED(gather_rows)(const int64_t *instruction, int64_t step, int64_t thread,
                               int64_t threads) {
    const struct gather_rows *const n = fields_of(instruction);
    const int64_t batch = n->batch, bytes = n->bytes;
    const int64_t *const indices = (const int64_t *)array_at(n->indices) + step * batch;
    const int64_t first = first_of(batch, thread, threads);
    const int64_t end = first_of(batch, thread + 1, threads);
    if (bytes == sizeof(int64_t)) {
        const int64_t *const rows = array_at(n->rows);
        int64_t *const out = array_at(n->y);
        for (int64_t sample = first; sample < end; sample++)
            memcpy(out + sample, rows + indices[sample], sizeof *out);
    } else {
        const char *const rows = array_at(n->rows);
        char *const out = array_at(n->y);
        for (int64_t sample = first; sample < end; sample++)
            memcpy(out + sample * bytes, rows + indices[sample] * bytes, (size_t)bytes);
    }
}

/* y = x * factor. */
static void TYPED(scale_images)(const int64_t *instruction, int64_t step, int64_t thread,
                                int64_t threads) {
    const struct scale_images *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x);
    const REAL factor = (REAL) * (const double *)array_at(n->factor);
    REAL *const y = array_at(n->y);
    const int64_t size = n->size, end = first_in_blocks(size, thread + 1, threads);
    (void)step;
    INDEPENDENT
    for (int64_t i = first_in_blocks(size, thread, threads); i < end; i++) y[i] = x[i] * factor;
}

#ifndef FASTCONV_PERIOD
#define FASTCONV_PERIOD
enum { LONGEST_PERIOD = 256 };
#endif

/* y = (x - mean) / std, mean and std repeating with a period. */
static void TYPED(standardize_images)(const int64_t *instruction, int64_t step, int64_t thread,
                                      int64_t threads) {
    const struct standardize_images *const n = fields_of(instruction);
    const REAL *x = array_at(n->x);
    const REAL *mean = array_at(n->mean);
    const REAL *std = array_at(n->std);
    REAL *y = array_at(n->y);
    const int64_t rows = n->rows;
    int64_t period = n->period, repeats = LONGEST_PERIOD / period;
    REAL means[LONGEST_PERIOD], stds[LONGEST_PERIOD];
    (void)step;
    /* Short periods, of three colours, say, are written side by side: more for a vector, and whole
     * vectors where there is room. */
    if (repeats >= 16) repeats -= repeats % 16;
    if (repeats > 1) {
        for (int64_t i = 0; i < repeats * period; i++) {
            means[i] = mean[i % period];
            stds[i] = std[i % period];
        }
        mean = means;
        std = stds;
    } else {
        repeats = 1;
    }
    const int64_t size = rows * period, groups = (rows + repeats - 1) / repeats;
    const int64_t end = first_of(groups, thread + 1, threads);
    period *= repeats;
    for (int64_t group = first_of(groups, thread, threads); group < end; group++) {
        const int64_t start = group * period, count = least_of(period, size - start);
        const REAL *const from = x + start;
        REAL *const to = y + start;
        INDEPENDENT
        for (int64_t i = 0; i < count; i++) to[i] = (from[i] - mean[i]) / std[i];
    }
}

/* y = (x - smallest) / (largest - smallest) of each image; a constant image becomes 0. */
static void TYPED(min_max_images)(const int64_t *instruction, int64_t step, int64_t thread,
                                  int64_t threads) {
    const struct min_max_images *const n = fields_of(instruction);
    const int64_t batch = n->batch, elements = n->elements;
    const int64_t end = first_of(batch, thread + 1, threads);
    (void)step;
    for (int64_t sample = first_of(batch, thread, threads); sample < end; sample++) {
        const REAL *const x = (const REAL *)array_at(n->x) + sample * elements;
        REAL *const y = (REAL *)array_at(n->y) + sample * elements;
        REAL low, high;
        TYPED(extremes_of)(x, elements, &low, &high);
        if (low == high) {
            for (int64_t i = 0; i < elements; i++) y[i] = 0;
        } else {
            const REAL span = high - low;
            INDEPENDENT
            for (int64_t i = 0; i < elements; i++) y[i] = (x[i] - low) / span;
        }
    }
}

/* value / span, with 1 / span at hand. Where a product and a sum are rounded once, the quotient is put
 * right by what is left: for all bytes, the same bits as a division, which takes ten times as long. */
#undef MULTIPLY_ADD
#if defined(__GNUC__) && (defined(__FMA__) || defined(__AVX512F__) || defined(__ARM_FEATURE_FMA))
#define MULTIPLY_ADD _Generic((REAL)0, float: __builtin_fmaf, double: __builtin_fma)
#endif
INLINE REAL TYPED(quotient_of_bytes)(REAL value, REAL span, REAL inverse) {
#ifdef MULTIPLY_ADD
    const REAL near = value * inverse;
    return MULTIPLY_ADD(MULTIPLY_ADD(-near, span, value), inverse, near);
#else
    (void)inverse;
    return value / span;
#endif
}

/* gather_images of uint8 images and min_max_images in one: the bytes are read twice, x is
 * written once.
 */
static void TYPED(gather_min_max_images)(const int64_t *instruction, int64_t step, int64_t thread,
                                         int64_t threads) {
    const struct gather_min_max_images *const n = fields_of(instruction);
    const int64_t batch = n->batch, elements = n->elements;
    const int64_t *const indices = (const int64_t *)array_at(n->indices) + step * batch;
    const int64_t end = first_of(batch, thread + 1, threads);
    for (int64_t sample = first_of(batch, thread, threads); sample < end; sample++) {
        const uint8_t *const image =
            (const uint8_t *)array_at(n->images) + indices[sample] * elements;
        REAL *const x = (REAL *)array_at(n->x) + sample * elements;
        const int64_t soon = sample + IMAGES_AHEAD;
        if (soon < end)
            fetch_early((const uint8_t *)array_at(n->images) + indices[soon] * elements, elements);
        uint8_t low = 255, high = 0;
        for (int64_t i = 0; i < elements; i++) {
            low = image[i] < low ? image[i] : low;
            high = image[i] > high ? image[i] : high;
        }
        const REAL least = low, span = high > low ? (REAL)(high - low) : 1, inverse = 1 / span;
        INDEPENDENT
        for (int64_t i = 0; i < elements; i++)
            x[i] = TYPED(quotient_of_bytes)((REAL)image[i] - least, span, inverse);
    }
}

#define INPUT_KERNELS                                                                              \
    ENTRY(gather_images), ENTRY(gather_rows), ENTRY(scale_images), ENTRY(standardize_images),      \
        ENTRY(min_max_images), ENTRY(gather_min_max_images), ENTRY(augment_images),         \
        ENTRY(jitter_images), ENTRY(crop_images), ENTRY(mix_images), ENTRY(mix_rows)
