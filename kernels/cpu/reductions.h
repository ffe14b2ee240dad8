/* One number from many: sums and extremes of contiguous numbers, in an order that only their
 * count fixes. */

/* Long rows are folded into this many numbers side by side, which is where vectors come in; 16 are
 * added up in each, and what all of them give, in float64: a longer sum in float32 loses digits. */
#ifndef FASTCONV_FOLD
#define FASTCONV_FOLD
enum { FOLD = 64, FOLDED = 16 * FOLD };
#endif

#define SUM_OF(TERM)                                                                          \
    double total = 0;                                                                         \
    int64_t i = 0;                                                                            \
    while (i + FOLD <= count) {                                                               \
        const int64_t end = least_of(count, i + FOLDED);                                      \
        REAL part[FOLD];                                                                      \
        for (int k = 0; k < FOLD; k++) part[k] = TERM(i + k);                                 \
        for (i += FOLD; i + FOLD <= end; i += FOLD)                                           \
            for (int k = 0; k < FOLD; k++) part[k] += TERM(i + k);                            \
        for (int half = FOLD / 2; half; half /= 2)                                            \
            for (int k = 0; k < half; k++) part[k] += part[k + half];                         \
        total += part[0];                                                                     \
    }                                                                                         \
    for (; i < count; i++) total += TERM(i);                                                  \
    return (REAL)total

INLINE REAL TYPED(sum_of)(const REAL *x, int64_t count) {
#define TERM(i) x[i]
    SUM_OF(TERM);
#undef TERM
}

/* Of a[k] * b[k]. */
INLINE REAL TYPED(sum_of_products)(const REAL *a, const REAL *b, int64_t count) {
#define TERM(i) (a[i] * b[i])
    SUM_OF(TERM);
#undef TERM
}

/* Of (a[k] - b[k])^2. */
INLINE REAL TYPED(sum_of_squares)(const REAL *a, const REAL *b, int64_t count) {
#define TERM(i) ((a[i] - b[i]) * (a[i] - b[i]))
    SUM_OF(TERM);
#undef TERM
}
#undef SUM_OF

/* The largest; NaN counts for nothing, and -inf is the largest of none. */
INLINE REAL TYPED(largest_of)(const REAL *x, int64_t count) {
    REAL most = (REAL)-INFINITY;
    int64_t i = 0;
    if (count >= FOLD) {
        REAL part[FOLD];
        for (int k = 0; k < FOLD; k++) part[k] = most;
        for (; i + FOLD <= count; i += FOLD)
            for (int k = 0; k < FOLD; k++) part[k] = x[i + k] > part[k] ? x[i + k] : part[k];
        for (int k = 0; k < FOLD; k++) most = part[k] > most ? part[k] : most;
    }
    for (; i < count; i++) most = x[i] > most ? x[i] : most;
    return most;
}

/* The smallest and the largest of one number or more, or NaN where there is one. */
INLINE void TYPED(extremes_of)(const REAL *x, int64_t count, REAL *smallest, REAL *largest) {
    REAL low = x[0], high = x[0];
    int64_t i = 0;
    if (count >= FOLD) {
        REAL lows[FOLD], highs[FOLD];
        memcpy(lows, x, sizeof lows);
        memcpy(highs, x, sizeof highs);
        for (i = FOLD; i + FOLD <= count; i += FOLD)
            for (int k = 0; k < FOLD; k++) {
                const REAL v = x[i + k];
                lows[k] = (v < lows[k]) | (v != v) ? v : lows[k];
                highs[k] = (v > highs[k]) | (v != v) ? v : highs[k];
            }
        for (int k = 0; k < FOLD; k++) {
            low = (lows[k] < low) | (lows[k] != lows[k]) ? lows[k] : low;
            high = (highs[k] > high) | (highs[k] != highs[k]) ? highs[k] : high;
        }
    }
    for (; i < count; i++) {
        low = (x[i] < low) | (x[i] != x[i]) ? x[i] : low;
        high = (x[i] > high) | (x[i] != x[i]) ? x[i] : high;
    }
    *smallest = low;
    *largest = high;
}
