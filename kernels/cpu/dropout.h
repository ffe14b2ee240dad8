/* Inverted dropout; fastconv/backends/compiled/rules/dropout.py makes its rows. An output may be the input. */

/* mask = word >> 8 >= threshold, y = scale x where kept, else 0: an infinity that is dropped too.
 *
 * pointers: x, first_step (int64), mask (uint8), y
 * integers: size, threshold, key0, key1, stream
 * reals:    scale
 */
static void TYPED(dropout_forward)(const int64_t *record, int64_t step, int64_t thread,
                                   int64_t threads) {
    const REAL *const x = pointer_of(record, 0);
    const int64_t *const first_step = pointer_of(record, 1);
    uint8_t *const mask = pointer_of(record, 2);
    REAL *const y = pointer_of(record, 3);
    const int64_t size = record[INTEGERS];
    const uint32_t threshold = (uint32_t)record[INTEGERS + 1];
    const struct random_stream s = stream_at(record + INTEGERS + 2, first_step[0] + step);
    const REAL scale = (REAL)real_of(record, 0);
    const int64_t chunks = (size + WORDS_AT_ONCE - 1) / WORDS_AT_ONCE;
    const int64_t end = first_of(chunks, thread + 1, threads);
    for (int64_t chunk = first_of(chunks, thread, threads); chunk < end; chunk++) {
        uint32_t words[WORDS_AT_ONCE];
        const int64_t first = chunk * WORDS_AT_ONCE;
        const int64_t count = least_of(WORDS_AT_ONCE, size - first);
        fill_words(&s, (uint64_t)(chunk * BLOCKS_AT_ONCE), words);
        INDEPENDENT
        for (int64_t i = 0; i < count; i++) mask[first + i] = words[i] >> 8 >= threshold;
        INDEPENDENT
        for (int64_t i = 0; i < count; i++)
            y[first + i] = words[i] >> 8 >= threshold ? x[first + i] * scale : 0;
    }
}

/* dx = scale dy where kept, else 0.
 *
 * pointers: dy, mask (uint8), dx
 * integers: size
 * reals:    scale
 */
static void TYPED(dropout_backward)(const int64_t *record, int64_t step, int64_t thread,
                                    int64_t threads) {
    const REAL *const dy = pointer_of(record, 0);
    const uint8_t *const mask = pointer_of(record, 1);
    REAL *const dx = pointer_of(record, 2);
    const int64_t size = record[INTEGERS], end = first_in_blocks(size, thread + 1, threads);
    const REAL scale = (REAL)real_of(record, 0);
    (void)step;
    INDEPENDENT
    for (int64_t i = first_in_blocks(size, thread, threads); i < end; i++) {
        const REAL scaled = dy[i] * scale;
        dx[i] = mask[i] ? scaled : 0;
    }
}

#define DROPOUT_KERNELS ENTRY(dropout_forward), ENTRY(dropout_backward)
