"""The words of a pool in memory, and how long its threads wait in which way."""

# Words of a pool. The first three are written by several threads: each has a cache line.
ARRIVED, GENERATION, JOB = 0, 8, 16
STREAM, INSTRUCTIONS, STEPS, NANOSECONDS, BARRIERS, THREADS, WITHOUT_A_JOB = range(24, 31)
CALLERS_CORE = 32
MUTEX, JOB_IS_THERE, ALL_ARE_THERE, POOL_WORDS = 40, 56, 72, 88
"""128 bytes each for a pthread_mutex_t and two pthread_cond_t, which have 64 at most."""

IS_OVERSUBSCRIBED, UNTIL, LENGTH, TIME, CORE_WORDS = 0, 1, 2, 3, 5
"""Words in which a thread notes its core: whether other threads want it, until when it takes that
for granted, how long that is, in nanoseconds, and the room for a struct timespec."""

MOST_THREADS = 254
SLEEPER = 65536
"""Added to ARRIVED by each thread that goes to sleep at a barrier."""
JOBS = 256
"""A job word is its number * 256 + the number of its threads, so that a worker that is not wanted
need not read what the caller may be writing for the next job."""
QUIT = 255
"""In place of the number of threads: workers end."""

EAGER_SPINS, OVERSUBSCRIBED_SPINS, SPINS, YIELDS = 200, 100, 1000, 1000
LONG_YIELD, SHORTEST_OVERSUBSCRIPTION, LONGEST_OVERSUBSCRIPTION = 20_000, 2_000_000, 128_000_000
"""Wait of a thread. It spins for some ten microseconds, as long as a small kernel lasts, at first
without a pause, which would double the cost of a barrier; then it yields; then it sleeps until it
is woken. A yield that takes long says that another thread wanted this core: it is oversubscribed,
and for a while the thread spins little and sleeps at once, so that the core goes to whoever is not
waiting. To be woken on an idle core costs more than to spin, so that while is short at first and
twice as long when the core is found oversubscribed again soon after it. The last three are
nanoseconds."""
