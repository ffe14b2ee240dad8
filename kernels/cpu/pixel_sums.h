/* Sums over many pixels, which keep their digits: 64 in REAL, with four sums that take 16 each, and
 * those of 64 in float64. A sum in float32 alone stands still at 2^24 ones. */
#ifndef FASTCONV_PIXEL_SUMS_H
#define FASTCONV_PIXEL_SUMS_H
enum {
    PIXELS_OF_A_BLOCK = 64,
    ADDS_OF_A_BLOCK = 16,
    MOST_BIASES = 1024, /* whose float64 sums are kept on the stack */
};
#endif

/* total[l] += lane l. */
INLINE void TYPED(add_lanes)(double *restrict total, VECTOR sum) {
    REAL lane[sizeof sum / sizeof(REAL)];
    memcpy(lane, &sum, sizeof sum);
    UNROLL for (ptrdiff_t l = 0; l < LANES; l++) total[l] += lane[l];
}

/* total[l] += the sum of from[pixel * step + l]: all lanes where `is_whole`, which may be read
 * behind the last channel then; else the first `count`, and nothing to the others. */
INLINE void TYPED(add_pixels)(const REAL *from, ptrdiff_t pixels, ptrdiff_t step, ptrdiff_t count,
                              const int is_whole, double *total) {
#define LOAD_PIXEL(p)                                                                         \
    (is_whole ? TYPED(load)(from + (p) * step) : TYPED(load_first)(from + (p) * step, count))
    for (ptrdiff_t first = 0; first < pixels; first += PIXELS_OF_A_BLOCK) {
        const ptrdiff_t end = least_of(pixels, first + PIXELS_OF_A_BLOCK);
        VECTOR sum[4] = NO_SUMS;
        ptrdiff_t p = first;
        for (; p + 4 <= end; p += 4) {
            UNROLL for (int q = 0; q < 4; q++) sum[q] += LOAD_PIXEL(p + q);
        }
        for (; p < end; p++) sum[0] += LOAD_PIXEL(p);
        TYPED(add_lanes)(total, (sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
#undef LOAD_PIXEL
}

/* The sum of the channels from `from` on over all pixels. */
INLINE void TYPED(sum_channels)(const REAL *from, ptrdiff_t pixels, ptrdiff_t step,
                                ptrdiff_t count, REAL *to) {
    double total[sizeof(VECTOR) / sizeof(REAL)] = {0};
    if (count >= LANES)
        TYPED(add_pixels)(from, pixels, step, count, 1, total);
    else
        TYPED(add_pixels)(from, pixels, step, count, 0, total);
    for (ptrdiff_t l = 0; l < least_of(LANES, count); l++) to[l] = (REAL)total[l];
}
