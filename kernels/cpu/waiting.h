/* How a thread of a pool waits for a word to change, and what it knows of its core.
 *
 * It spins for some ten microseconds, as long as a small kernel lasts, at first without a pause, which
 * would double the cost of a barrier; then it yields; then whoever asked puts it to sleep.
 *
 * A core that other processes want too is *shared*. A scheduler takes it from a thread in the middle
 * of its work, for milliseconds, and all others wait for that work. On such a core a thread takes
 * little at a time, and yields when it holds nothing, before the core is taken. */
#ifndef FASTCONV_WAITING_H
#define FASTCONV_WAITING_H

#include <stdint.h>
#include <time.h>

static inline int64_t now(void) {
    struct timespec t;
#if defined(_WIN32)
    timespec_get(&t, TIME_UTC);
#else
    clock_gettime(CLOCK_MONOTONIC, &t);
#endif
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

#if !defined(_WIN32)
#include <sched.h>
#include <stdatomic.h>

enum { EAGER_SPINS = 200, SPINS = 1000, YIELDS = 1000 };

/* All in nanoseconds. A yield that takes long, or work during which the thread had no core for so long,
 * says that the core is shared. */
enum { LONG_YIELD = 20000, LOST_TIME = 200000 };
/* To look at the thread's own clock is a system call: looks are so far apart. */
enum { LOOKS_APART = 500000 };
/* How long a thread works on a shared core before it yields: less than a scheduler lets it. */
enum { TURN = 2000000 };

/* What a thread knows of its core. */
struct core {
    int is_shared;
    int64_t turn_ends;      /* if so */
    int64_t looked, worked; /* the time of the last look at the thread's clock, and what it showed */
};

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Look at the thread's clock, which stands while the thread has no core; return what time was lost
 * since the last look. */
static inline int64_t look_at_clock(struct core *core, int64_t time) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    const int64_t worked = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    const int64_t lost = time - core->looked - (worked - core->worked);
    core->looked = time;
    core->worked = worked;
    return lost;
}

/* See now and then whether the thread lost its core while it worked. */
static inline void look_at_core(struct core *core) {
    if (core->is_shared) return;
    const int64_t time = now();
    if (time - core->looked < LOOKS_APART) return;
    const int is_first = core->looked == 0;
    if (look_at_clock(core, time) < LOST_TIME || is_first) return;
    core->is_shared = 1;
    core->turn_ends = time + TURN;
}

/* Let others have the core: it is shared if that takes long, and the thread's own if it does not. */
static inline void yield_core(struct core *core) {
    const int64_t before = now();
    sched_yield();
    const int64_t after = now();
    core->is_shared = after - before > LONG_YIELD;
    core->turn_ends = after + TURN;
}

/* The same at the end of a turn. What is lost meanwhile was given. */
static inline void leave_core(struct core *core) {
    yield_core(core);
    look_at_clock(core, now());
}

/* Whether a thread should leave its core. */
static inline int turn_is_over(const struct core *core) {
    return core->is_shared && now() >= core->turn_ends;
}

/* Spin, then yield, until `*word` is no longer `old`; return it, changed or not. */
static inline uint64_t wait_for(_Atomic uint64_t *word, uint64_t old, struct core *core) {
    uint64_t value = old;
    for (int i = 0; i < SPINS; i++) {
        if ((value = atomic_load_explicit(word, memory_order_acquire)) != old) return value;
        if (i >= EAGER_SPINS) relax();
    }
    if (core->is_shared) return value;
    for (int i = 0; i < YIELDS && value == old && !core->is_shared; i++) {
        yield_core(core);
        value = atomic_load_explicit(word, memory_order_acquire);
    }
    look_at_clock(core, now());
    return value;
}
#endif

#endif
