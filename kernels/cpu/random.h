/* Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011): every
 * word by itself, from its number. fastconv.plans.operation.RandomSpec says which counter gives which
 * word. */
#ifndef FASTCONV_RANDOM_H
#define FASTCONV_RANDOM_H

enum { BLOCKS_AT_ONCE = 64, WORDS_AT_ONCE = 4 * BLOCKS_AT_ONCE };

/* A stream at one step. */
struct random_stream {
    uint32_t key0, key1, stream, step_low, step_high;
};

INLINE struct random_stream stream_at(const struct random_key *key, int64_t step) {
    return (struct random_stream){(uint32_t)key->key0, (uint32_t)key->key1, (uint32_t)key->stream,
                                  (uint32_t)step, (uint32_t)((uint64_t)step >> 32)};
}

/* One round on the counter c0 to c3, and the step of the key. */
#define PHILOX_ROUND                                                                               \
    {                                                                                              \
        const uint64_t product0 = (uint64_t)0xD2511F53u * c0;                                      \
        const uint64_t product1 = (uint64_t)0xCD9E8D57u * c2;                                      \
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ key0;                                               \
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ key1;                                               \
        c1 = (uint32_t)product1;                                                                   \
        c3 = (uint32_t)product0;                                                                   \
        key0 += 0x9E3779B9u;                                                                       \
        key1 += 0xBB67AE85u;                                                                       \
    }

/* The WORDS_AT_ONCE words from number 4 * block on. */
static void fill_words(const struct random_stream *s, uint64_t block, uint32_t *restrict words) {
    for (uint32_t i = 0; i < BLOCKS_AT_ONCE; i++) {
        uint32_t c0 = (uint32_t)block + i, c1 = s->stream, c2 = s->step_low, c3 = s->step_high;
        uint32_t key0 = s->key0, key1 = s->key1;
        PHILOX_ROUND PHILOX_ROUND PHILOX_ROUND PHILOX_ROUND PHILOX_ROUND
        PHILOX_ROUND PHILOX_ROUND PHILOX_ROUND PHILOX_ROUND PHILOX_ROUND
        words[4 * i] = c0;
        words[4 * i + 1] = c1;
        words[4 * i + 2] = c2;
        words[4 * i + 3] = c3;
    }
}

/* One block of four words. */
INLINE void four_words(const struct random_stream *s, uint64_t block, uint32_t *words) {
    uint32_t c0 = (uint32_t)block, c1 = s->stream, c2 = s->step_low, c3 = s->step_high;
    uint32_t key0 = s->key0, key1 = s->key1;
    for (int round = 0; round < 10; round++) PHILOX_ROUND
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
}

#endif

/* The first words of a stream at a step. */
static void TYPED(random_words)(const int64_t *instruction, int64_t step, int64_t thread,
                                int64_t threads) {
    const struct random_words *const n = fields_of(instruction);
    const int64_t *const first_step = array_at(n->step);
    uint32_t *const words = array_at(n->words);
    const int64_t count = n->count;
    const struct random_stream s = stream_at(&n->random_key, first_step[0] + step);
    const int64_t chunks = (count + WORDS_AT_ONCE - 1) / WORDS_AT_ONCE;
    const int64_t end = first_of(chunks, thread + 1, threads);
    for (int64_t chunk = first_of(chunks, thread, threads); chunk < end; chunk++) {
        uint32_t some[WORDS_AT_ONCE];
        const int64_t first = chunk * WORDS_AT_ONCE;
        fill_words(&s, (uint64_t)(chunk * BLOCKS_AT_ONCE), some);
        memcpy(words + first, some,
               (size_t)least_of(WORDS_AT_ONCE, count - first) * sizeof(uint32_t));
    }
}

#define RANDOM_KERNELS ENTRY(random_words)
