"""The words of a team in memory, and how long its threads wait in which way."""

# Words of a team. The first three are written by several threads: each has a cache line.
ARRIVED, GENERATION, JOB = 0, 8, 16
PROGRAM, ROWS, STEPS, NANOSECONDS, BARRIERS, THREADS, SLEEPERS = range(24, 31)
NAP, NOW = 32, 34
"""Two struct timespec: how long a nap is, and the room for the time of thread 0."""
MUTEX, WAKE, TEAM_WORDS = 40, 56, 72
"""128 bytes each for a pthread_mutex_t and a pthread_cond_t, which have 64 at most."""

MOST_THREADS = 254
JOBS = 256
"""A job word is its number * 256 + the number of its threads, so that a worker that is not wanted
need not read what the caller may be writing for the next job."""
QUIT = 255
"""In place of the number of threads: workers end."""

SPINS, YIELDS, YIELDS_FOR_A_JOB, NAP_NANOSECONDS = 1000, 1000, 100, 50_000
"""How long a thread waits in each way. It spins for some ten microseconds, as long as a small
kernel lasts; then it yields to whoever shares its core; then it sleeps, so that teams on busy
cores cost the others little."""
