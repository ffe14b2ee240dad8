/* Thread pools that run instruction streams; see thread_pool.h. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "thread_pool.h"

#include <stdlib.h>

#include "stretch.h"

#if defined(_WIN32)
#define ALONE 1 /* no POSIX threads: streams run on the caller's thread */
#else
#define ALONE 0
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#endif

enum { MOST_THREADS = 256, LINE = 64 };
/* Bytes of a worker's stack: kernels keep up to 128 KiB there, which is all that some C libraries
 * (musl) give a thread. */
enum { WORKER_STACK = 1 << 20 };

/* All steps on one thread. */
static void walk_alone(const int64_t *stream, int64_t instructions, int64_t steps,
                       int64_t *nanoseconds) {
    const int64_t *const end = stream + instructions * WORDS;
    struct stopwatch watch = {stream, nanoseconds, nanoseconds ? now() : 0};
    for (int64_t step = 0; step < steps; step++) {
        for (const int64_t *each = stream; each < end; each += WORDS) {
            if (!is_wanted(each)) continue;
            call_kernel(each, step, 0, 1);
            lap(&watch, each);
        }
    }
}

#if ALONE

int fastconv_run(const int64_t *stream, int64_t instructions, int64_t steps, int threads,
                 int64_t *nanoseconds) {
    (void)threads;
    walk_alone(stream, instructions, steps, nanoseconds);
    return 1;
}

double fastconv_barrier_nanoseconds(int threads, int64_t count) {
    (void)threads, (void)count;
    return 0;
}

#else

/* ---- a pool ------------------------------------------------------------------------------ */

/* Which units of a thread's are claimed: the position that they are of, and how many. */
struct claims {
    _Alignas(LINE) _Atomic uint64_t word;
};
enum { CLAIM_BITS = 24 };

struct thread_pool {
    /* The instruction of the job, counted on from step to step, that the stretch begins with that is
     * being done. */
    _Alignas(LINE) _Atomic uint64_t position;
    /* Units of the stretch that are done. Who completes it moves the position. */
    _Alignas(LINE) _Atomic int64_t done;
    /* The job, written by the caller before it changes the word `job`. */
    _Alignas(LINE) _Atomic uint64_t job;
    const int64_t *stream;
    uint64_t last; /* the position where the job ends */
    int64_t instructions, *nanoseconds;
    int threads; /* that take part in the job */
    /* Threads that sleep, until there is a job or until the position moves. */
    pthread_mutex_t mutex;
    pthread_cond_t job_is_there, position_moved;
    int without_a_job;
    _Atomic int sleepers;
    struct core callers; /* where the thread runs that gives the jobs */
    int workers;         /* threads of the pool beside the caller */
    struct thread_pool *next;
    /* Workers that may read the job. */
    _Alignas(LINE) atomic_int inside;
    struct claims claims[MOST_THREADS];
};

struct worker {
    struct thread_pool *pool;
    int number;
    uint64_t seen; /* the last job that is not for it */
};

/* Sleep until the position is no longer `old`. Who moves it looks for sleepers behind that: it finds
 * this one, or this one finds the position moved. */
static void sleep_at(struct thread_pool *pool, uint64_t old) {
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->position) == old)
        pthread_cond_wait(&pool->position_moved, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

/* The stretch at a position, which is not the last one. */
static struct stretch stretch_of(const struct thread_pool *pool, uint64_t position) {
    const uint64_t instructions = (uint64_t)pool->instructions;
    return stretch_at(pool->stream + position % instructions * WORDS,
                      pool->stream + instructions * WORDS, (int64_t)(position / instructions),
                      pool->threads);
}

/* The next position from one on where there is something to do. */
static uint64_t skip_unwanted(const struct thread_pool *pool, uint64_t position) {
    while (position != pool->last) {
        const struct stretch s = stretch_of(pool, position);
        for (const int64_t *each = s.begin; each < s.end; each += WORDS)
            if (is_wanted(each)) return position;
        position += (uint64_t)(s.end - s.begin) / WORDS;
    }
    return position;
}

/* Say that some units are done; whether the stretch is. */
static int complete(struct thread_pool *pool, uint64_t position, const struct stretch *s,
                    int64_t units) {
    const int64_t before = atomic_fetch_add_explicit(&pool->done, units, memory_order_acq_rel);
    if (before + units < units_of_stretch(s)) return 0;
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    position += (uint64_t)(s->end - s->begin) / WORDS;
    atomic_store(&pool->position, skip_unwanted(pool, position));
    if (atomic_load(&pool->sleepers)) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->position_moved);
        pthread_mutex_unlock(&pool->mutex);
    }
    return 1;
}

/* Claim a unit of a thread's, or all of an instruction, and do what was claimed; return how many. */
static int64_t work_on(struct thread_pool *pool, uint64_t position, const struct stretch *s,
                       int owner, int all, struct stopwatch *watch) {
    _Atomic uint64_t *const word = &pool->claims[owner].word;
    const uint64_t none = position << CLAIM_BITS;
    uint64_t claimed = atomic_load_explicit(word, memory_order_relaxed), next;
    struct units units;
    do {
        if (claimed >= none + (1 << CLAIM_BITS)) return 0; /* the next stretch has begun */
        next = claimed > none ? claimed - none : 0;
        units = units_from(s, owner, (int64_t)next);
        if (!units.count) return 0;
        keep_some(&units, all ? units.count : 1);
        next += (uint64_t)units.count;
    } while (!atomic_compare_exchange_weak_explicit(word, &claimed, none + next, memory_order_acq_rel,
                                                    memory_order_relaxed));
    /* Before the position moves on, all units are claimed: a thread that comes later than that finds
     * none, but where it read the conditions of a later stretch. */
    if (atomic_load_explicit(&pool->position, memory_order_acquire) != position) return 0;
    do_units(s, owner, &units, watch);
    return units.count;
}

/* Spins before a thread helps: threads come some hundred nanoseconds apart, and what is done on the
 * core where it was done before is in its caches. */
enum { SPINS_BEFORE_HELP = 500 };
/* Waits, of some ten microseconds each, before a thread leaves a shared core on which it has nothing
 * to do. */
enum { WAITS_ON_A_SHARED_CORE = 10 };

/* Do what there is to do of a job, until it ends, or the thread should leave its core: return 1. */
static int walk(struct thread_pool *pool, int thread, struct core *core) {
    const int threads = pool->threads;
    struct stopwatch watch = {pool->stream, thread == 0 ? pool->nanoseconds : NULL, 0};
    if (watch.nanoseconds) watch.before = now();
    for (;;) {
        const uint64_t position = atomic_load_explicit(&pool->position, memory_order_acquire);
        if (position == pool->last) return 0;
        if (turn_is_over(core)) return 1;
        const struct stretch s = stretch_of(pool, position);
        int moved = 0;
        for (int other = 0; other < threads && !moved && !(other && turn_is_over(core)); other++) {
            const int owner = thread + other < threads ? thread + other : thread + other - threads;
            int64_t count, mine = 0;
            do {
                const int all = other == 0 && !core->is_shared;
                count = work_on(pool, position, &s, owner, all, &watch);
                mine += count;
            } while (count && !turn_is_over(core));
            moved = mine && complete(pool, position, &s, mine);
            /* Who comes last was perhaps kept from its core. */
            if (moved) look_at_core(core);
            for (int i = 0; other == 0 && i < SPINS_BEFORE_HELP && !moved; i++)
                moved = atomic_load_explicit(&pool->position, memory_order_acquire) != position;
        }
        for (int waits = 0; !moved;) {
            if (turn_is_over(core)) return 1;
            moved = wait_for(&pool->position, position, core) != position;
            if (!moved && core->is_shared && ++waits > WAITS_ON_A_SHARED_CORE) return 1;
            if (!moved && !core->is_shared) {
                sleep_at(pool, position);
                core->looked = 0; /* to sleep is not to lose time */
            }
        }
        lap(&watch, s.end - WORDS);
    }
}

/* The number of threads of a job stands in its word, so that a worker that is not wanted need not
 * read what the caller may be writing for the next job. A job that is over has none. */
static int threads_of(uint64_t job) { return (int)(job % MOST_THREADS); }

static void *work(void *argument) {
    const struct worker self = *(struct worker *)argument;
    struct thread_pool *const pool = self.pool;
    free(argument);
    uint64_t seen = self.seen;
    struct core core = {0};
    for (;;) {
        uint64_t job = wait_for(&pool->job, seen, &core);
        if (job == seen) {
            pthread_mutex_lock(&pool->mutex);
            pool->without_a_job++;
            while ((job = atomic_load_explicit(&pool->job, memory_order_acquire)) == seen)
                pthread_cond_wait(&pool->job_is_there, &pool->mutex);
            pool->without_a_job--;
            pthread_mutex_unlock(&pool->mutex);
            core.looked = 0;
        }
        seen = job;
        while (self.number < threads_of(job)) {
            /* The caller closes the job, then looks who is inside: it finds this worker, or the worker
             * finds the job closed. */
            atomic_fetch_add(&pool->inside, 1);
            const int leaves = atomic_load(&pool->job) == job && walk(pool, self.number, &core);
            atomic_fetch_sub(&pool->inside, 1);
            if (!leaves) break;
            leave_core(&core);
        }
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
    pthread_cond_init(&pool->position_moved, NULL);
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

/* Run a stream on up to `threads` threads; return how many. */
static int run_job(struct thread_pool *pool, const int64_t *stream, int64_t instructions,
                   int64_t steps, int threads, int64_t *nanoseconds) {
    if (threads >= MOST_THREADS) threads = MOST_THREADS - 1;
    const int there = grow(pool, threads);
    if (there < threads) threads = there;
    if (threads == 1) {
        walk_alone(stream, instructions, steps, nanoseconds);
        return 1;
    }
    pool->stream = stream;
    pool->instructions = instructions;
    pool->nanoseconds = nanoseconds;
    pool->threads = threads;
    pool->last = (uint64_t)(instructions * steps);
    atomic_store(&pool->position, skip_unwanted(pool, 0));
    for (int i = 0; i < threads; i++)
        atomic_store_explicit(&pool->claims[i].word, 0, memory_order_relaxed);
    pthread_mutex_lock(&pool->mutex);
    const uint64_t number = atomic_load(&pool->job) / MOST_THREADS + 1;
    atomic_store(&pool->job, number * MOST_THREADS + (uint64_t)threads);
    if (pool->without_a_job) pthread_cond_broadcast(&pool->job_is_there);
    pthread_mutex_unlock(&pool->mutex);
    pool->callers.looked = 0; /* what it did since the last job does not count */
    while (walk(pool, 0, &pool->callers)) leave_core(&pool->callers);
    atomic_store(&pool->job, number * MOST_THREADS);
    for (int i = 0; atomic_load(&pool->inside); i++) {
        if (i < SPINS)
            relax();
        else
            sched_yield();
    }
    return threads;
}

static int threads_worth(const int64_t *stream, int64_t instructions, int threads) {
    int64_t most = 1;
    for (int64_t number = 0; number < instructions; number++) {
        const int64_t its = max_threads_of(stream + number * WORDS);
        if (its > most) most = its;
    }
    return most < threads ? (int)most : threads;
}

int fastconv_run(const int64_t *stream, int64_t instructions, int64_t steps, int threads,
                 int64_t *nanoseconds) {
    threads = threads_worth(stream, instructions, threads);
    struct thread_pool *const pool = threads > 1 ? take_pool() : NULL;
    if (!pool) {
        walk_alone(stream, instructions, steps, nanoseconds);
        return 1;
    }
    threads = run_job(pool, stream, instructions, steps, threads, nanoseconds);
    give_back(pool);
    return threads;
}

static void do_nothing(const int64_t *instruction, int64_t step, int64_t thread, int64_t threads) {
    (void)instruction, (void)step, (void)thread, (void)threads;
}

double fastconv_barrier_nanoseconds(int threads, int64_t count) {
    int64_t words[WORDS] = {0};
    struct instruction_head *const head = (struct instruction_head *)words;
    head->kernel = (int64_t)(intptr_t)do_nothing;
    head->max_threads = threads;
    head->barrier = 1;
    const int64_t start = now();
    fastconv_run(words, 1, count, threads, NULL);
    const int64_t end = now();
    return count ? (double)(end - start) / (double)count : 0;
}

#endif
