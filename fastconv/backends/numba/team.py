"""Running programs, which are rows of records, on teams of threads.

A team is its caller and Python threads that stay inside one compiled function, without the
interpreter's lock. All of them walk the same rows, each does its share of every row, and they wait
for each other behind it. The protocol is that of ``kernels/cpu/program.c``.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import config, types
from numpy.typing import NDArray

from fastconv.backends.numba.compilation import compile_function, part, python_function
from fastconv.backends.numba.pointers import pointer
from fastconv.backends.numba.synchronization import (
    atomic_add,
    atomic_load,
    atomic_store,
    call_kernel,
    clock_gettime,
    condition_broadcast,
    condition_init,
    condition_wait,
    mutex_init,
    mutex_lock,
    mutex_unlock,
    nanosleep,
    relax,
    sched_yield,
)
from fastconv.native.record import BARRIER, PARTS, WORDS

# Words of a team. The first three are written by several threads: each has a cache line.
_ARRIVED, _GENERATION, _JOB = 0, 8, 16
_PROGRAM, _ROWS, _STEPS, _NANOSECONDS, _BARRIERS, _THREADS, _SLEEPERS = range(24, 31)
_NAP, _NOW = 32, 34
"""Two struct timespec: how long a nap is, and the room for the time of thread 0."""
_MUTEX, _WAKE, _TEAM_WORDS = 40, 56, 72
"""128 bytes each for a pthread_mutex_t and a pthread_cond_t, which have 64 at most."""

_MOST_THREADS = 254
_JOBS = 256
"""A job word is its number * 256 + the number of its threads, so that a worker that is not wanted
need not read what the caller may be writing for the next job."""
_QUIT = 255
"""In place of the number of threads: workers end."""

_SPINS, _YIELDS, _YIELDS_FOR_A_JOB, _NAP_NANOSECONDS = 1000, 1000, 100, 50_000
"""How long a thread waits in each way. It spins for some ten microseconds, as long as a small
kernel lasts; then it yields to whoever shares its core; then it sleeps, so that teams on busy
cores cost the others little."""

_WORD = types.int64
_CLOCK = getattr(time, "CLOCK_MONOTONIC", 0)


@part
def _wait_for(address: int, old: int, yields: int) -> int:
    """Spin, then yield, until a word is no longer ``old``; return it, changed or not."""
    for _ in range(_SPINS):
        value = atomic_load(address)
        if value != old:
            return value
        relax()
    for _ in range(yields):
        value = atomic_load(address)
        if value != old:
            return value
        sched_yield()
    return old


@part
def _barrier(team: int, threads: int) -> None:
    if threads == 1:
        return
    generation = atomic_load(team + 8 * _GENERATION)
    if atomic_add(team + 8 * _ARRIVED, 1) == threads - 1:
        atomic_store(team + 8 * _ARRIVED, 0)
        atomic_store(team + 8 * _GENERATION, generation + 1)
    else:
        while _wait_for(team + 8 * _GENERATION, generation, _YIELDS) == generation:
            nanosleep(team + 8 * _NAP, 0)


@part
def _now(team: int) -> int:
    """Nanoseconds on a clock that only runs forward."""
    clock_gettime(_CLOCK, team + 8 * _NOW)
    time = pointer(team + 8 * _NOW, np.int64)
    nanoseconds: int = time[0] * 1_000_000_000 + time[1]
    return nanoseconds


@part
def _walk(team: int, thread: int) -> None:
    words = pointer(team, np.int64)
    program, rows, steps = words[_PROGRAM], words[_ROWS], words[_STEPS]
    barriers, threads = words[_BARRIERS], words[_THREADS]
    times = pointer(words[_NANOSECONDS], np.int64)
    timed = thread == 0 and words[_NANOSECONDS] != 0
    for step in range(steps):
        before = _now(team) if timed else 0
        for row in range(rows):
            address = program + row * (8 * WORDS)
            record = pointer(address, np.int64)
            parts = min(record[PARTS], threads)
            if thread < parts:
                call_kernel(record[0], address, step, thread, parts)
            if record[BARRIER] != 0:
                _barrier(team, threads)
            if timed:
                after = _now(team)
                times[row] += after - before
                before = after
    for _ in range(barriers):
        _barrier(team, threads)


def _run(team: int) -> None:
    """Run the job that stands in a team on all of its threads, or tell them to end."""
    words = pointer(team, np.int64)
    threads = words[_THREADS]
    if threads > 1:
        mutex_lock(team + 8 * _MUTEX)
        atomic_store(team + 8 * _JOB, (words[_JOB] // _JOBS + 1) * _JOBS + threads)
        if words[_SLEEPERS] > 0:
            condition_broadcast(team + 8 * _WAKE)
        mutex_unlock(team + 8 * _MUTEX)
    if threads != _QUIT:
        _walk(team, 0)
        _barrier(team, threads)


def _prepare(team: int) -> None:
    mutex_init(team + 8 * _MUTEX, 0)
    condition_init(team + 8 * _WAKE, 0)


def _work(team: int, number: int, seen: int) -> None:
    """Take part in every job that wants worker ``number``; ``seen`` is a job that is not for it."""
    words = pointer(team, np.int64)
    while True:
        job = _wait_for(team + 8 * _JOB, seen, _YIELDS_FOR_A_JOB)
        if job == seen:
            mutex_lock(team + 8 * _MUTEX)
            words[_SLEEPERS] += 1
            job = atomic_load(team + 8 * _JOB)
            while job == seen:
                condition_wait(team + 8 * _WAKE, team + 8 * _MUTEX)
                job = atomic_load(team + 8 * _JOB)
            words[_SLEEPERS] -= 1
            mutex_unlock(team + 8 * _MUTEX)
        seen = job
        threads = job % _JOBS
        if threads == _QUIT:
            break
        if number < threads:
            _walk(team, number)
            _barrier(team, threads)


# In Python: teams that are free, and jobs for them.


@functools.cache
def _compiled(function: Any) -> Any:
    """A function as ctypes calls it: without the interpreter's lock."""
    count = function.__code__.co_argcount
    name = f"team{function.__name__}"
    return compile_function(function, name, types.void(*[_WORD] * count)).ctypes


class _Team:
    """Its memory, and the threads in it beside the caller."""

    def __init__(self) -> None:
        memory = (ctypes.c_int64 * (_TEAM_WORDS + 7))()
        # A worker may look at its team as long as the process lives.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))
        skipped = -ctypes.addressof(memory) % 64 // 8
        self.words = np.frombuffer(memoryview(memory), np.int64)[skipped:]
        self.address = ctypes.addressof(memory) + 8 * skipped
        self.words[_NAP + 1] = _NAP_NANOSECONDS
        self.workers: list[threading.Thread] = []
        _compiled(_prepare)(self.address)

    def grow(self, threads: int) -> int:
        """Start workers until there are ``threads`` with the caller; return how many there are."""
        work = _compiled(_work)
        while len(self.workers) + 1 < threads:
            number = len(self.workers) + 1
            seen = int(self.words[_JOB])
            worker = threading.Thread(
                target=work, args=(self.address, number, seen), name="fastconv", daemon=True
            )
            try:
                with _signals_blocked():
                    worker.start()
            except RuntimeError:
                break  # the system has no more, or the interpreter is about to end
            self.workers.append(worker)
        return min(threads, len(self.workers) + 1)

    def run(self, threads: int) -> int:
        """Run the job that stands in the words; return how many threads did."""
        threads = self.grow(min(threads, _MOST_THREADS)) if threads > 1 else 1
        self.words[_THREADS] = threads
        _compiled(_run)(self.address)
        return threads

    def end(self) -> None:
        """Let the workers end."""
        self.words[_THREADS] = _QUIT
        _compiled(_run)(self.address)
        for worker in self.workers:
            worker.join(timeout=1)


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    # A worker inherits this: Ctrl-C must reach Python's own thread.
    old = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)


_free_teams: list[_Team] = []
"""Taken from and put back by single operations of the list, which other threads cannot split."""

if hasattr(os, "register_at_fork"):
    # A child of fork has none of its parent's threads.
    os.register_at_fork(after_in_child=_free_teams.clear)


@atexit.register
def _end_free_teams() -> None:
    while _free_teams:
        _free_teams.pop().end()


@contextlib.contextmanager
def _team() -> Iterator[_Team]:
    try:
        team = _free_teams.pop()
    except IndexError:
        team = _Team()
    yield team
    _free_teams.append(team)


_ALONE = os.name != "posix"
"""No POSIX threads: programs run on the caller's thread."""


def run_program(
    program: NDArray[np.int64],
    steps: int,
    threads: int,
    nanoseconds: NDArray[np.int64] | None = None,
) -> int:
    """Run a program ``steps`` times on up to ``threads`` threads; the caller is one of them.

    Safe to call from several threads at once, each gets a team of its own, and after fork.

    Parameters
    ----------
    program
        int64 (rows, 64), with whole addresses.
    steps
        How many times.
    threads
        How many threads.
    nanoseconds
        int64 (rows,): the time of each row is added to it, of all steps together.

    Returns
    -------
    int
        How many threads ran: fewer where no row has work for more, or where the system would
        start no more.
    """
    if len(program) == 0:
        return 1
    if config.DISABLE_JIT or _ALONE:
        _walk_in_python(program, steps, nanoseconds)
        return 1
    if threads > 1:
        threads = min(threads, int(program[:, PARTS].max()))
    with _team() as team:
        words = team.words
        words[_PROGRAM], words[_ROWS], words[_STEPS] = program.ctypes.data, len(program), steps
        words[_NANOSECONDS] = 0 if nanoseconds is None else nanoseconds.ctypes.data
        words[_BARRIERS] = 0
        return team.run(threads)


def _walk_in_python(
    program: NDArray[np.int64], steps: int, nanoseconds: NDArray[np.int64] | None
) -> None:
    if config.DISABLE_JIT:
        kernels = [python_function(row[0]) for row in program]
    else:
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)
        kernels = [kind(int(row[0])) for row in program]
    addresses = [int(row.ctypes.data) for row in program]
    for step in range(steps):
        for number, (kernel, address) in enumerate(zip(kernels, addresses, strict=True)):
            before = time.perf_counter_ns()
            # Integers wrap around in compiled code.
            with np.errstate(all="ignore"):
                kernel(address, step, 0, 1)
            if nanoseconds is not None:
                nanoseconds[number] += time.perf_counter_ns() - before


def barrier_nanoseconds(threads: int, count: int) -> float:
    """Return the mean time of one barrier of a team, in nanoseconds."""
    if config.DISABLE_JIT or _ALONE:
        return 0.0
    with _team() as team:
        team.words[_ROWS] = team.words[_STEPS] = team.words[_NANOSECONDS] = 0
        team.words[_BARRIERS] = count
        team.grow(threads)
        before = time.perf_counter_ns()
        team.run(threads)
        return (time.perf_counter_ns() - before) / max(1, count)
