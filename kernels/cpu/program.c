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

enum { MOST_THREADS = 256, LINE = 64 };

/* How long a thread waits in each way. It spins for some ten microseconds, as long as a small kernel
 * lasts, at first without a pause, which would double the cost of a barrier; then it yields to whoever shares its core; then it sleeps, so that teams on busy cores cost
 * the others little. */
enum { EAGER_SPINS = 200, SPINS = 1000, YIELDS = 1000, YIELDS_FOR_A_JOB = 100, NAP_NANOSECONDS = 50000 };

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

struct team {
    /* Written by every thread at a barrier. */
    _Alignas(LINE) atomic_int arrived;
    _Alignas(LINE) atomic_uint generation;
    /* The job, written by the caller before it changes the word `job`. */
    _Alignas(LINE) atomic_uint job;
    const int64_t *program;
    int64_t rows, steps, *nanoseconds;
    int64_t barriers; /* measure this many barriers instead of running a program */
    int threads;      /* that take part in the job */
    /* Workers that sleep until there is a job. */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    int sleepers;
    int workers; /* threads of the team beside the caller */
    struct team *next;
};

struct worker {
    struct team *team;
    int number;
    unsigned seen; /* the last job that is not for it */
};

/* Spin, then yield, until `*word` is no longer `old`; return it, changed or not. */
static unsigned wait_for(atomic_uint *word, unsigned old, int yields) {
    unsigned value;
    for (int i = 0; i < SPINS; i++) {
        if ((value = atomic_load_explicit(word, memory_order_acquire)) != old) return value;
        if (i >= EAGER_SPINS) relax();
    }
    for (int i = 0; i < yields; i++) {
        if ((value = atomic_load_explicit(word, memory_order_acquire)) != old) return value;
        sched_yield();
    }
    return old;
}

static void barrier(struct team *team) {
    /* Read before arriving: once all have arrived, the caller may write the next job's number. */
    const int threads = team->threads;
    if (threads == 1) return;
    const unsigned generation = atomic_load_explicit(&team->generation, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) == threads - 1) {
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&team->generation, generation + 1, memory_order_release);
    } else {
        while (wait_for(&team->generation, generation, YIELDS) == generation) {
            const struct timespec nap = {0, NAP_NANOSECONDS};
            nanosleep(&nap, NULL);
        }
    }
}

static void walk(struct team *team, int thread) {
    const int threads = team->threads;
    const int64_t *const end = team->program + team->rows * WORDS;
    int64_t *const nanoseconds = thread == 0 ? team->nanoseconds : NULL;
    for (int64_t step = 0; step < team->steps; step++) {
        int64_t row = 0, before = nanoseconds ? now() : 0;
        for (const int64_t *record = team->program; record < end; record += WORDS, row++) {
            const int64_t parts = record[PARTS] < threads ? record[PARTS] : threads;
            if (thread < parts)
                ((kernel_function *)(intptr_t)record[0])(record, step, thread, parts);
            if (record[BARRIER]) barrier(team);
            if (nanoseconds) {
                const int64_t after = now();
                nanoseconds[row] += after - before;
                before = after;
            }
        }
    }
    for (int64_t i = 0; i < team->barriers; i++) barrier(team);
}

/* The number of threads of a job stands in its word, so that a worker that is not wanted need not
 * read what the caller may be writing for the next job. */
static int threads_of(unsigned job) { return (int)(job % MOST_THREADS); }

static void *work(void *argument) {
    const struct worker self = *(struct worker *)argument;
    struct team *const team = self.team;
    free(argument);
    unsigned seen = self.seen;
    for (;;) {
        unsigned job = wait_for(&team->job, seen, YIELDS_FOR_A_JOB);
        if (job == seen) {
            pthread_mutex_lock(&team->mutex);
            team->sleepers++;
            while ((job = atomic_load_explicit(&team->job, memory_order_acquire)) == seen)
                pthread_cond_wait(&team->wake, &team->mutex);
            team->sleepers--;
            pthread_mutex_unlock(&team->mutex);
        }
        seen = job;
        if (self.number < threads_of(job)) {
            walk(team, self.number);
            barrier(team);
        }
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
    pthread_cond_init(&team->wake, NULL);
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
        walk(team, 0);
        return 1;
    }
    pthread_mutex_lock(&team->mutex);
    const unsigned number = atomic_load(&team->job) / MOST_THREADS + 1;
    atomic_store_explicit(&team->job, number * MOST_THREADS + (unsigned)threads,
                          memory_order_release);
    if (team->sleepers) pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->mutex);
    walk(team, 0);
    barrier(team);
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
