/* The work between two barriers of an instruction stream, and how threads come by it.
 *
 * A *stretch* is the instructions up to a barrier. Each falls into equal shares, one for each thread,
 * and a share into a few *units*. What a unit is follows from the instruction and the number of threads
 * alone, and who does it changes no result. The instructions that one thread does are one unit
 * together, in their order, since they may need each other; no others do.
 *
 * A thread claims units of its own share first, so that what it writes is in its caches when it reads
 * it: all of them at once, unless its core is shared. Then it helps others, who are late, unit by
 * unit. */
#ifndef FASTCONV_STRETCH_H
#define FASTCONV_STRETCH_H

#include "instruction.h"
#include "waiting.h"

/* Units of a share, and how many threads could share a unit at least: weight gradients read all samples
 * for each unit, whatever its size. */
enum { MOST_UNITS = 16, THREADS_OF_A_UNIT = 4 };

/* Times of instructions, as one thread sees them. */
struct stopwatch {
    const int64_t *stream;
    int64_t *nanoseconds; /* of each instruction; NULL: nobody wants to know */
    int64_t before;
};

/* What passed since the last lap was an instruction's. */
static inline void lap(struct stopwatch *watch, const int64_t *instruction) {
    if (!watch->nanoseconds) return;
    const int64_t after = now();
    watch->nanoseconds[(instruction - watch->stream) / WORDS] += after - watch->before;
    watch->before = after;
}

struct stretch {
    const int64_t *begin, *end; /* instructions */
    int64_t step;
    int threads;
};

/* Whether an instruction is to run. Its condition was written before a barrier: all threads agree. */
static inline int is_wanted(const int64_t *instruction) {
    const struct instruction_ends *const ends = fields_of(instruction);
    if (!ends->condition) return 1;
    const int64_t *const words = array_at(ends->condition);
    int64_t any = 0;
    for (int i = 0; i < CONDITION_WORDS; i++) any |= words[i];
    return any != 0;
}

static inline void call_kernel(const int64_t *instruction, int64_t step, int64_t thread,
                               int64_t threads) {
    const struct instruction_head *const head = fields_of(instruction);
    ((kernel_function *)(intptr_t)head->kernel)(instruction, step, thread, threads);
}

static inline int64_t max_threads_of(const int64_t *instruction) {
    return ((const struct instruction_head *)fields_of(instruction))->max_threads;
}

/* Shares of an instruction, of which it has two or more. */
static inline int64_t shares_of(const int64_t *instruction, int64_t threads) {
    const int64_t most = max_threads_of(instruction);
    return most < threads ? most : threads;
}

/* Units of a share: a power of two, so that some of them are a larger share. */
static inline int64_t units_of(const int64_t *instruction, int64_t shares) {
    const int64_t most = max_threads_of(instruction);
    int64_t units = 1;
    while (units < MOST_UNITS && 2 * units * shares * THREADS_OF_A_UNIT <= most) units *= 2;
    return units;
}

/* The stretch that begins with an instruction of a stream. */
static inline struct stretch stretch_at(const int64_t *begin, const int64_t *end, int64_t step,
                                        int threads) {
    const int64_t *instruction = begin;
    for (;; instruction += WORDS) {
        const struct instruction_head *const head = fields_of(instruction);
        if (head->barrier || instruction + WORDS == end) break;
    }
    return (struct stretch){begin, instruction + WORDS, step, threads};
}

/* Units of all threads. */
static inline int64_t units_of_stretch(const struct stretch *s) {
    int64_t units = 0;
    int is_chained = 0;
    for (const int64_t *each = s->begin; each < s->end; each += WORDS) {
        if (!is_wanted(each)) continue;
        if (max_threads_of(each) == 1) {
            is_chained = 1;
        } else {
            const int64_t shares = shares_of(each, s->threads);
            units += shares * units_of(each, shares);
        }
    }
    return units + is_chained;
}

/* Some units of a thread: the chain of instructions that one thread does, or of one instruction. */
struct units {
    const int64_t *instruction; /* NULL for the chain */
    int64_t first, count, of_share; /* units of the share; count 0: there are none */
};

/* The units from number `next` of a thread's on that are of one instruction. */
static inline struct units units_from(const struct stretch *s, int thread, int64_t next) {
    if (thread == 0) {
        for (const int64_t *each = s->begin; each < s->end; each += WORDS) {
            if (max_threads_of(each) != 1 || !is_wanted(each)) continue;
            if (next == 0) return (struct units){NULL, 0, 1, 1};
            next--;
            break;
        }
    }
    for (const int64_t *each = s->begin; each < s->end; each += WORDS) {
        if (max_threads_of(each) == 1 || !is_wanted(each)) continue;
        const int64_t shares = shares_of(each, s->threads);
        if (thread >= shares) continue;
        const int64_t units = units_of(each, shares);
        if (next < units) return (struct units){each, next, units - next, units};
        next -= units;
    }
    return (struct units){NULL, 0, 0, 1};
}

/* Keep as many of some units as are a share of a finer division, `most` at most. */
static inline void keep_some(struct units *u, int64_t most) {
    int64_t count = 1;
    while (2 * count <= most && 2 * count <= u->count && u->first % (2 * count) == 0) count *= 2;
    u->count = count;
}

/* Do some units of a thread's. */
static inline void do_units(const struct stretch *s, int thread, const struct units *u,
                            struct stopwatch *watch) {
    if (u->instruction) {
        const int64_t shares = shares_of(u->instruction, s->threads);
        call_kernel(u->instruction, s->step, (thread * u->of_share + u->first) / u->count,
                    shares * u->of_share / u->count);
        lap(watch, u->instruction);
        return;
    }
    for (const int64_t *each = s->begin; each < s->end; each += WORDS) {
        if (max_threads_of(each) != 1 || !is_wanted(each)) continue;
        call_kernel(each, s->step, 0, 1);
        lap(watch, each);
    }
}

#endif
