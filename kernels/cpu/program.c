/* Teams of threads that walk programs; see program.h. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "program.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#if defined(_WIN32)
#define ALONE 1 /* no POSIX threads: programs run on the caller's thread */
#else
#define ALONE 0
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>
#endif

enum { MOST_THREADS = 256, LINE = 64, SLEEPER = 65536 };

/* How a thread waits. It spins for some ten microseconds, as long as a small kernel lasts, at first
 * without a pause, which would double the cost of a barrier; then it yields; then it sleeps until it
 * is woken. A yield that takes long says that another thread wanted this core: it is crowded, and
 * for a while the thread spins little and sleeps at once, so that the core goes to whoever is not
 * waiting. To be woken on an idle core costs more than to spin, so that while is short at first
 * and twice as long when the core is found crowded again soon after it. */
enum { EAGER_SPINS = 200, CROWDED_SPINS = 100, SPINS = 1000, YIELDS = 1000 };
enum { LONG_YIELD = 20000, SHORTEST_CROWD = 2000000, LONGEST_CROWD = 128000000 }; /* nanoseconds */

static int64_t now(void) {
    struct timespec t;
    timespec_get(&t, TIME_UTC);
#if !defined(_WIN32)
    clock_gettime(CLOCK_MONOTONIC, &t);
#endif
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

#if ALONE

static void walk(const int64_t *program, int64_t rows, int64_t steps, int64_t *nanoseconds) {
    for (int64_t step = 0; step < steps; step++) {
        for (int64_t row = 0; row < rows; row++) {
            const int64_t *record = program + row * WORDS;
            const int64_t start = nanoseconds ? now() : 0;
            ((kernel_function *)(intptr_t)record[0])(record, step, 0, 1);
            if (nanoseconds) nanoseconds[row] += now() - start;
        }
    }
}

int fastconv_run(const int64_t *program, int64_t rows, int64_t steps, int threads,
                 int64_t *nanoseconds) {
    (void)threads;
    walk(program, rows, steps, nanoseconds);
    return 1;
}

double fastconv_barrier_nanoseconds(int threads, int64_t count) {
    (void)threads, (void)count;
    return 0;
}

#else

/* ---- a team ------------------------------------------------------------------------------ */

/* What a thread knows of its core. */
struct crowd {
    int is_there;
    int64_t until, length; /* nanoseconds */
};

struct team {
    /* Written by every thread at a barrier: how many have arrived, and SLEEPER for each that went
     * to sleep there. */
    _Alignas(LINE) atomic_uint arrived;
    _Alignas(LINE) atomic_uint generation;
    /* The job, written by the caller before it changes the word `job`. */
    _Alignas(LINE) atomic_uint job;
    const int64_t *program;
    int64_t rows, steps, *nanoseconds;
    int64_t barriers; /* measure this many barriers instead of running a program */
    int threads;      /* that take part in the job */
    /* Threads that sleep, until there is a job or until all have arrived at a barrier. */
    pthread_mutex_t mutex;
    pthread_cond_t job_is_there, all_are_there;
    int without_a_job;
    struct crowd callers; /* where the thread runs that gives the jobs */
    int workers; /* threads of the team beside the caller */
    struct team *next;
};

struct worker {
    struct team *team;
    int number;
    unsigned seen; /* the last job that is not for it */
};

/* Spin, then yield, until `*word` is no longer `old`; return it, changed or not. */
static unsigned wait_for(atomic_uint *word, unsigned old, struct crowd *crowd) {
    unsigned value;
    const int spins = crowd->is_there ? CROWDED_SPINS : SPINS;
    for (int i = 0; i < spins; i++) {
        if ((value = atomic_load_explicit(word, memory_order_acquire)) != old) return value;
        if (i >= EAGER_SPINS) relax();
    }
    int64_t before = now();
    if (crowd->is_there && before < crowd->until) return old;
    crowd->is_there = 0;
    for (int i = 0; i < YIELDS && !crowd->is_there; i++) {
        if ((value = atomic_load_explicit(word, memory_order_acquire)) != old) return value;
        sched_yield();
        const int64_t after = now();
        if (after - before > LONG_YIELD) {
            const int again = before - crowd->until < crowd->length;
            const int64_t length = again ? 2 * crowd->length : SHORTEST_CROWD;
            crowd->length = length < LONGEST_CROWD ? length : LONGEST_CROWD;
            crowd->until = after + crowd->length;
            crowd->is_there = 1;
        }
        before = after;
    }
    return atomic_load_explicit(word, memory_order_acquire);
}

/* Sleep until the last thread has arrived. That one looks at `arrived` as it arrives: it either
 * finds the sleeper there, and takes the mutex before it lets all go on, or it was the earlier one
 * and the count is full, or 0 again, or another barrier's and `generation` has moved. */
static void sleep_at_barrier(struct team *team, unsigned generation, unsigned threads) {
    pthread_mutex_lock(&team->mutex);
    const unsigned arrived =
        atomic_fetch_add_explicit(&team->arrived, SLEEPER, memory_order_acq_rel) % SLEEPER;
    if (arrived != 0 && arrived != threads)
        while (atomic_load_explicit(&team->generation, memory_order_acquire) == generation)
            pthread_cond_wait(&team->all_are_there, &team->mutex);
    pthread_mutex_unlock(&team->mutex);
}

/* Wait until all threads of the job have arrived. */
static void barrier(struct team *team, struct crowd *crowd) {
    /* Read before arriving: once all have arrived, the caller may write the next job's number. */
    const unsigned threads = (unsigned)team->threads;
    if (threads == 1) return;
    const unsigned generation = atomic_load_explicit(&team->generation, memory_order_relaxed);
    const unsigned before = atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel);
    if (before % SLEEPER == threads - 1) {
        const int wakes = before >= SLEEPER;
        if (wakes) pthread_mutex_lock(&team->mutex);
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&team->generation, generation + 1, memory_order_release);
        if (wakes) {
            pthread_mutex_unlock(&team->mutex);
            pthread_cond_broadcast(&team->all_are_there);
        }
    } else {
        while (wait_for(&team->generation, generation, crowd) == generation)
            sleep_at_barrier(team, generation, threads);
    }
}

static void walk(struct team *team, int thread, struct crowd *crowd) {
    const int threads = team->threads;
    const int64_t *const end = team->program + team->rows * WORDS;
    int64_t *const nanoseconds = thread == 0 ? team->nanoseconds : NULL;
    for (int64_t step = 0; step < team->steps; step++) {
        int64_t row = 0, before = nanoseconds ? now() : 0;
        for (const int64_t *record = team->program; record < end; record += WORDS, row++) {
            const int64_t parts = record[PARTS] < threads ? record[PARTS] : threads;
            if (thread < parts)
                ((kernel_function *)(intptr_t)record[0])(record, step, thread, parts);
            if (record[BARRIER]) barrier(team, crowd);
            if (nanoseconds) {
                const int64_t after = now();
                nanoseconds[row] += after - before;
                before = after;
            }
        }
    }
    for (int64_t i = 0; i < team->barriers; i++) barrier(team, crowd);
    barrier(team, crowd); /* nobody leaves before the job is done */
}

/* The number of threads of a job stands in its word, so that a worker that is not wanted need not
 * read what the caller may be writing for the next job. */
static int threads_of(unsigned job) { return (int)(job % MOST_THREADS); }

static void *work(void *argument) {
    const struct worker self = *(struct worker *)argument;
    struct team *const team = self.team;
    free(argument);
    unsigned seen = self.seen;
    struct crowd crowd = {0, 0, 0};
    for (;;) {
        unsigned job = wait_for(&team->job, seen, &crowd);
        if (job == seen) {
            pthread_mutex_lock(&team->mutex);
            team->without_a_job++;
            while ((job = atomic_load_explicit(&team->job, memory_order_acquire)) == seen)
                pthread_cond_wait(&team->job_is_there, &team->mutex);
            team->without_a_job--;
            pthread_mutex_unlock(&team->mutex);
        }
        seen = job;
        if (self.number < threads_of(job)) walk(team, self.number, &crowd);
    }
    return NULL;
}

/* ---- teams that are free ----------------------------------------------------------------- */

static pthread_mutex_t teams_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t teams_once = PTHREAD_ONCE_INIT;
static struct team *free_teams;

/* A child of fork has none of its parent's threads: it starts without teams. The mutex is held over
 * the fork, so that the list is whole. */
static void before_fork(void) { pthread_mutex_lock(&teams_mutex); }
static void parent_after_fork(void) { pthread_mutex_unlock(&teams_mutex); }
static void child_after_fork(void) {
    free_teams = NULL;
    pthread_mutex_init(&teams_mutex, NULL);
}
static void watch_forks(void) { pthread_atfork(before_fork, parent_after_fork, child_after_fork); }

static struct team *take_team(void) {
    pthread_once(&teams_once, watch_forks);
    pthread_mutex_lock(&teams_mutex);
    struct team *team = free_teams;
    if (team) free_teams = team->next;
    pthread_mutex_unlock(&teams_mutex);
    if (team) return team;
    if (posix_memalign((void **)&team, LINE, sizeof *team)) return NULL;
    memset(team, 0, sizeof *team);
    pthread_mutex_init(&team->mutex, NULL);
    pthread_cond_init(&team->job_is_there, NULL);
    pthread_cond_init(&team->all_are_there, NULL);
    return team;
}

static void give_back(struct team *team) {
    pthread_mutex_lock(&teams_mutex);
    team->next = free_teams;
    free_teams = team;
    pthread_mutex_unlock(&teams_mutex);
}

/* Start workers until the team has `threads` threads with its caller; return how many it has. */
static int grow(struct team *team, int threads) {
    /* A worker must never run the caller's signal handlers: Ctrl-C belongs to Python's thread. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (team->workers + 1 < threads) {
        struct worker *worker = malloc(sizeof *worker);
        pthread_t thread;
        if (!worker) break;
        *worker = (struct worker){team, team->workers + 1, atomic_load(&team->job)};
        if (pthread_create(&thread, NULL, work, worker)) {
            free(worker);
            break;
        }
        pthread_detach(thread);
        team->workers++;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return team->workers + 1;
}

/* Run the job that stands in the team on up to `threads` threads; return how many. */
static int run_job(struct team *team, int threads) {
    if (threads >= MOST_THREADS) threads = MOST_THREADS - 1;
    if (threads > 1) {
        const int there = grow(team, threads);
        if (there < threads) threads = there;
    }
    team->threads = threads;
    if (threads == 1) {
        walk(team, 0, &team->callers);
        return 1;
    }
    pthread_mutex_lock(&team->mutex);
    const unsigned number = atomic_load(&team->job) / MOST_THREADS + 1;
    atomic_store_explicit(&team->job, number * MOST_THREADS + (unsigned)threads,
                          memory_order_release);
    if (team->without_a_job) pthread_cond_broadcast(&team->job_is_there);
    pthread_mutex_unlock(&team->mutex);
    walk(team, 0, &team->callers);
    return threads;
}

static int threads_worth(const int64_t *program, int64_t rows, int threads) {
    int64_t most = 1;
    for (int64_t row = 0; row < rows; row++)
        if (program[row * WORDS + PARTS] > most) most = program[row * WORDS + PARTS];
    return most < threads ? (int)most : threads;
}

int fastconv_run(const int64_t *program, int64_t rows, int64_t steps, int threads,
                 int64_t *nanoseconds) {
    threads = threads_worth(program, rows, threads);
    struct team alone = {0};
    struct team *team = threads > 1 ? take_team() : NULL;
    if (!team) {
        team = &alone;
        threads = 1;
    }
    team->program = program;
    team->rows = rows;
    team->steps = steps;
    team->nanoseconds = nanoseconds;
    team->barriers = 0;
    threads = run_job(team, threads);
    if (team != &alone) give_back(team);
    return threads;
}

double fastconv_barrier_nanoseconds(int threads, int64_t count) {
    struct team *team = take_team();
    if (!team) return -1;
    team->program = NULL;
    team->rows = team->steps = 0;
    team->nanoseconds = NULL;
    team->barriers = count;
    const int64_t start = now();
    run_job(team, threads);
    const int64_t end = now();
    give_back(team);
    return count ? (double)(end - start) / (double)count : 0;
}

#endif
