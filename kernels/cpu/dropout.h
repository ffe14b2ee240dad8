/* Inverted dropout; fastconv/backends/compiled/rules/dropout.py makes its instructions. An output
 * may be the input. */

/* mask = word >> 8 >= threshold, y = scale x where kept, else 0: an infinity that is dropped too.
 */
static void TYPED(dropout_forward)(const int64_t *instruction, int64_t step, int64_t thread,
                                   int64_t threads) {
    const struct dropout_forward *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x);
    const int64_t *const first_step = array_at(n->step);
    uint8_t *const mask = array_at(n->mask);
    REAL *const y = array_at(n->y);
    const int64_t size = n->size;
    const uint32_t threshold = (uint32_t)n->threshold;
    const struct random_stream s = stream_at(&n->random_key, first_step[0] + step);
    const REAL scale = (REAL)n->scale;
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

/* dx = scale dy where kept, else 0. */
static void TYPED(dropout_backward)(const int64_t *instruction, int64_t step, int64_t thread,
                                    int64_t threads) {
    const struct dropout_backward *const n = fields_of(instruction);
    const REAL *const dy = array_at(n->dy);
    const uint8_t *const mask = array_at(n->mask);
    REAL *const dx = array_at(n->dx);
    const int64_t size = n->size, end = first_in_blocks(size, thread + 1, threads);
    const REAL scale = (REAL)n->scale;
    (void)step;
    INDEPENDENT
    for (int64_t i = first_in_blocks(size, thread, threads); i < end; i++) {
        const REAL scaled = dy[i] * scale;
        dx[i] = mask[i] ? scaled : 0;
    }
}

/* y = scale x in the channels of a sample that are kept, else 0; y may be x. */
static void TYPED(drop_channels)(const int64_t *instruction, int64_t step, int64_t thread,
                                 int64_t threads) {
    const struct drop_channels *const n = fields_of(instruction);
    const REAL *const x = array_at(n->x);
    const uint8_t *const mask = array_at(n->mask);
    REAL *const y = array_at(n->y);
    const int64_t pixels = n->pixels, channels = n->channels, rows = n->batch * pixels;
    const int64_t end = first_of(rows, thread + 1, threads);
    const REAL scale = (REAL)n->scale;
    (void)step;
    for (int64_t row = first_of(rows, thread, threads); row < end; row++) {
        const uint8_t *const kept = mask + row / pixels * channels;
        const REAL *const from = x + row * channels;
        REAL *const to = y + row * channels;
        INDEPENDENT
        for (int64_t k = 0; k < channels; k++) {
            const REAL scaled = from[k] * scale;
            to[k] = kept[k] ? scaled : 0;
        }
    }
}

#define DROPOUT_KERNELS ENTRY(dropout_forward), ENTRY(dropout_backward), ENTRY(drop_channels)
