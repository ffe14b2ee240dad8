/* Thread pools that run instruction streams; see thread_pool.h. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "thread_pool.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#if defined(_WIN32)
#define ALONE 1 /* no POSIX threads: streams run on the caller's thread */
#else
#define ALONE 0
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>
#endif

enum { MOST_THREADS = 256, LINE = 64, SLEEPER = 65536 };
/* Bytes of a worker's stack: kernels keep up to 128 KiB there, which is all that some C libraries
 * (musl) give a thread. */
enum { WORKER_STACK = 1 << 20 };

/* How a thread waits. It spins for some ten microseconds, as long as a small kernel lasts, at first
 * without a pause, which would double the cost of a barrier; then it yields; then it sleeps until
 * it is woken. A yield that takes long says that another thread wanted this core: it is
 * oversubscribed, and for a while the thread spins little and sleeps at once, so that the core goes
 * to whoever is not waiting. To be woken on an idle core costs more than to spin, so that while is
 * short at first and twice as long when the core is found oversubscribed again soon after it. */
enum { EAGER_SPINS = 200, OVERSUBSCRIBED_SPINS = 100, SPINS = 1000, YIELDS = 1000 };
enum {
    LONG_YIELD = 20000,
    SHORTEST_OVERSUBSCRIPTION = 2000000,
    LONGEST_OVERSUBSCRIPTION = 128000000
}; /* nanoseconds */

static int64_t now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
#if !defined(_WIN32)
    clock_gettime(CLOCK_MONOTONIC, &t);
#endif
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Whether an instruction is to run. Its condition was written before a barrier: all threads agree. */
static int is_wanted(const int64_t *instruction) {
    const struct instruction_ends *const ends = fields_of(instruction);
    if (!ends->condition) return 1;
    const int64_t *const words = array_at(ends->condition);
    int64_t any = 0;
    for (int i = 0; i < CONDITION_WORDS; i++) any |= words[i];
    return any != 0;
}

static kernel_function *kernel_of(const int64_t *instruction) {
    const struct instruction_head *const head = fields_of(instruction);
    return (kernel_function *)(intptr_t)head->kernel;
}

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

#if ALONE

static void walk(const int64_t *stream, int64_t instructions, int64_t steps, int64_t *nanoseconds) {
    for (int64_t step = 0; step < steps; step++) {
        for (int64_t number = 0; number < instructions; number++) {
            const int64_t *instruction = stream + number * WORDS;
            const int64_t start = nanoseconds ? now() : 0;
            if (!is_wanted(instruction)) continue;
            kernel_of(instruction)(instruction, step, 0, 1);
            if (nanoseconds) nanoseconds[number] += now() - start;
        }
    }
}

int fastconv_run(const int64_t *stream, int64_t instructions, int64_t steps, int threads,
                 int64_t *nanoseconds) {
    (void)threads;
    walk(stream, instructions, steps, nanoseconds);
    return 1;
}

double fastconv_barrier_nanoseconds(int threads, int64_t count) {
    (void)threads, (void)count;
    return 0;
}

#else

/* ---- a pool ------------------------------------------------------------------------------ */

/* What a thread knows of its core. */
struct oversubscription {
    int is_there;
    int64_t until, length; /* nanoseconds */
};

struct thread_pool {
    /* Written by every thread at a barrier: how many have arrived, and SLEEPER for each that went
     * to sleep there. */
    _Alignas(LINE) atomic_uint arrived;
    _Alignas(LINE) atomic_uint generation;
    /* The job, written by the caller before it changes the word `job`. */
    _Alignas(LINE) atomic_uint job;
    const int64_t *stream;
    int64_t instructions, steps, *nanoseconds;
    int64_t barriers; /* measure this many barriers instead of running a stream */
    int threads;      /* that take part in the job */
    /* Threads that sleep, until there is a job or until all have arrived at a barrier. */
    pthread_mutex_t mutex;
    pthread_cond_t job_is_there, all_are_there;
    int without_a_job;
    struct oversubscription callers; /* where the thread runs that gives the jobs */
    int workers;                     /* threads of the pool beside the caller */
    struct thread_pool *next;
};

struct worker {
    struct thread_pool *pool;
    int number;
    unsigned seen; /* the last job that is not for it */
};

/* Spin, then yield, until `*word` is no longer `old`; return it, changed or not. */
static unsigned wait_for(atomic_uint *word, unsigned old,
                         struct oversubscription *oversubscription) {
    unsigned value;
    const int spins = oversubscription->is_there ? OVERSUBSCRIBED_SPINS : SPINS;
    for (int i = 0; i < spins; i++) {
        if ((value = atomic_load_explicit(word, memory_order_acquire)) != old) return value;
        if (i >= EAGER_SPINS) relax();
    }
    int64_t before = now();
    if (oversubscription->is_there && before < oversubscription->until) return old;
    oversubscription->is_there = 0;
    for (int i = 0; i < YIELDS && !oversubscription->is_there; i++) {
        if ((value = atomic_load_explicit(word, memory_order_acquire)) != old) return value;
        sched_yield();
        const int64_t after = now();
        if (after - before > LONG_YIELD) {
            const int again = before - oversubscription->until < oversubscription->length;
            const int64_t length = again ? 2 * oversubscription->length : SHORTEST_OVERSUBSCRIPTION;
            oversubscription->length =
                length < LONGEST_OVERSUBSCRIPTION ? length : LONGEST_OVERSUBSCRIPTION;
            oversubscription->until = after + oversubscription->length;
            oversubscription->is_there = 1;
        }
        before = after;
    }
    return atomic_load_explicit(word, memory_order_acquire);
}

/* Sleep until the last thread has arrived. That one looks at `arrived` as it arrives: it either
 * finds the sleeper there, and takes the mutex before it lets all go on, or it was the earlier one
 * and the count is full, or 0 again, or another barrier's and `generation` has moved. */
static void sleep_at_barrier(struct thread_pool *pool, unsigned generation, unsigned threads) {
    pthread_mutex_lock(&pool->mutex);
    const unsigned arrived =
        atomic_fetch_add_explicit(&pool->arrived, SLEEPER, memory_order_acq_rel) % SLEEPER;
    if (arrived != 0 && arrived != threads)
        while (atomic_load_explicit(&pool->generation, memory_order_acquire) == generation)
            pthread_cond_wait(&pool->all_are_there, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}

/* Wait until all threads of the job have arrived. */
static void barrier(struct thread_pool *pool, struct oversubscription *oversubscription) {
    /* Read before arriving: once all have arrived, the caller may write the next job's number. */
    const unsigned threads = (unsigned)pool->threads;
    if (threads == 1) return;
    const unsigned generation = atomic_load_explicit(&pool->generation, memory_order_relaxed);
    const unsigned before = atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel);
    if (before % SLEEPER == threads - 1) {
        const int wakes = before >= SLEEPER;
        if (wakes) pthread_mutex_lock(&pool->mutex);
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&pool->generation, generation + 1, memory_order_release);
        if (wakes) {
            pthread_mutex_unlock(&pool->mutex);
            pthread_cond_broadcast(&pool->all_are_there);
        }
    } else {
        while (wait_for(&pool->generation, generation, oversubscription) == generation)
            sleep_at_barrier(pool, generation, threads);
    }
}

static void walk(struct thread_pool *pool, int thread, struct oversubscription *oversubscription) {
    const int threads = pool->threads;
    const int64_t *const end = pool->stream + pool->instructions * WORDS;
    int64_t *const nanoseconds = thread == 0 ? pool->nanoseconds : NULL;
    for (int64_t step = 0; step < pool->steps; step++) {
        int64_t number = 0, before = nanoseconds ? now() : 0;
        for (const int64_t *instruction = pool->stream; instruction < end;
             instruction += WORDS, number++) {
            const struct instruction_head *const head = fields_of(instruction);
            const int64_t used = head->max_threads < threads ? head->max_threads : threads;
            if (!is_wanted(instruction)) continue;
            if (thread < used) kernel_of(instruction)(instruction, step, thread, used);
            if (head->barrier) barrier(pool, oversubscription);
            if (nanoseconds) {
                const int64_t after = now();
                nanoseconds[number] += after - before;
                before = after;
            }
        }
    }
    for (int64_t i = 0; i < pool->barriers; i++) barrier(pool, oversubscription);
    barrier(pool, oversubscription); /* nobody leaves before the job is done */
}

/* The number of threads of a job stands in its word, so that a worker that is not wanted need not
 * read what the caller may be writing for the next job. */
static int threads_of(unsigned job) { return (int)(job % MOST_THREADS); }

static void *work(void *argument) {
    const struct worker self = *(struct worker *)argument;
    struct thread_pool *const pool = self.pool;
    free(argument);
    unsigned seen = self.seen;
    struct oversubscription oversubscription = {0, 0, 0};
    for (;;) {
        unsigned job = wait_for(&pool->job, seen, &oversubscription);
        if (job == seen) {
            pthread_mutex_lock(&pool->mutex);
            pool->without_a_job++;
            while ((job = atomic_load_explicit(&pool->job, memory_order_acquire)) == seen)
                pthread_cond_wait(&pool->job_is_there, &pool->mutex);
            pool->without_a_job--;
            pthread_mutex_unlock(&pool->mutex);
        }
        seen = job;
        if (self.number < threads_of(job)) walk(pool, self.number, &oversubscription);
    }
    return NULL;
}

/* ---- pools that are free ----------------------------------------------------------------- */

static pthread_mutex_t pools_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t pools_once = PTHREAD_ONCE_INIT;
static struct thread_pool *free_pools;

/* A child of fork has none of its parent's threads: it starts without pools. The mutex is held over
 * the fork, so that the list is whole. */
static void before_fork(void) { pthread_mutex_lock(&pools_mutex); }
static void parent_after_fork(void) { pthread_mutex_unlock(&pools_mutex); }
static void child_after_fork(void) {
    free_pools = NULL;
    pthread_mutex_init(&pools_mutex, NULL);
}
static void watch_forks(void) { pthread_atfork(before_fork, parent_after_fork, child_after_fork); }

static struct thread_pool *take_pool(void) {
    pthread_once(&pools_once, watch_forks);
    pthread_mutex_lock(&pools_mutex);
    struct thread_pool *pool = free_pools;
    if (pool) free_pools = pool->next;
    pthread_mutex_unlock(&pools_mutex);
    if (pool) return pool;
    if (posix_memalign((void **)&pool, LINE, sizeof *pool)) return NULL;
    memset(pool, 0, sizeof *pool);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->job_is_there, NULL);
    pthread_cond_init(&pool->all_are_there, NULL);
    return pool;
}

static void give_back(struct thread_pool *pool) {
    pthread_mutex_lock(&pools_mutex);
    pool->next = free_pools;
    free_pools = pool;
    pthread_mutex_unlock(&pools_mutex);
}

/* Start workers until the pool has `threads` threads with its caller; return how many it has. */
static int grow(struct thread_pool *pool, int threads) {
    /* A worker must never run the caller's signal handlers: Ctrl-C belongs to Python's thread. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes)) threads = 0;
    if (threads) pthread_attr_setstacksize(&attributes, WORKER_STACK);
    while (pool->workers + 1 < threads) {
        struct worker *worker = malloc(sizeof *worker);
        pthread_t thread;
        if (!worker) break;
        *worker = (struct worker){pool, pool->workers + 1, atomic_load(&pool->job)};
        if (pthread_create(&thread, &attributes, work, worker)) {
            free(worker);
            break;
        }
        pthread_detach(thread);
        pool->workers++;
    }
    if (threads) pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return pool->workers + 1;
}

/* Run the job that stands in the pool on up to `threads` threads; return how many. */
static int run_job(struct thread_pool *pool, int threads) {
    if (threads >= MOST_THREADS) threads = MOST_THREADS - 1;
    if (threads > 1) {
        const int there = grow(pool, threads);
        if (there < threads) threads = there;
    }
    pool->threads = threads;
    if (threads == 1) {
        walk(pool, 0, &pool->callers);
        return 1;
    }
    pthread_mutex_lock(&pool->mutex);
    const unsigned number = atomic_load(&pool->job) / MOST_THREADS + 1;
    atomic_store_explicit(&pool->job, number * MOST_THREADS + (unsigned)threads,
                          memory_order_release);
    if (pool->without_a_job) pthread_cond_broadcast(&pool->job_is_there);
    pthread_mutex_unlock(&pool->mutex);
    walk(pool, 0, &pool->callers);
    return threads;
}

static int threads_worth(const int64_t *stream, int64_t instructions, int threads) {
    int64_t most = 1;
    for (int64_t number = 0; number < instructions; number++) {
        const struct instruction_head *const head = fields_of(stream + number * WORDS);
        if (head->max_threads > most) most = head->max_threads;
    }
    return most < threads ? (int)most : threads;
}

int fastconv_run(const int64_t *stream, int64_t instructions, int64_t steps, int threads,
                 int64_t *nanoseconds) {
    threads = threads_worth(stream, instructions, threads);
    struct thread_pool alone = {0};
    struct thread_pool *pool = threads > 1 ? take_pool() : NULL;
    if (!pool) {
        pool = &alone;
        threads = 1;
    }
    pool->stream = stream;
    pool->instructions = instructions;
    pool->steps = steps;
    pool->nanoseconds = nanoseconds;
    pool->barriers = 0;
    threads = run_job(pool, threads);
    if (pool != &alone) give_back(pool);
    return threads;
}

double fastconv_barrier_nanoseconds(int threads, int64_t count) {
    struct thread_pool *pool = take_pool();
    if (!pool) return -1;
    pool->stream = NULL;
    pool->instructions = pool->steps = 0;
    pool->nanoseconds = NULL;
    pool->barriers = count;
    const int64_t start = now();
    run_job(pool, threads);
    const int64_t end = now();
    give_back(pool);
    return count ? (double)(end - start) / (double)count : 0;
}

#endif
