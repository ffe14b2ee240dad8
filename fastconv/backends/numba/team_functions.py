"""What the threads of a team run, without the interpreter's lock.

The protocol is that of ``kernels/cpu/program.c``.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numba import types

from fastconv.backends.numba.compilation import compile_function, part
from fastconv.backends.numba.compiled_code import Compiled
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
from fastconv.backends.numba.team_words import (
    ARRIVED,
    BARRIERS,
    GENERATION,
    JOB,
    JOBS,
    MUTEX,
    NANOSECONDS,
    NAP,
    NOW,
    PROGRAM,
    QUIT,
    ROWS,
    SLEEPERS,
    SPINS,
    STEPS,
    THREADS,
    WAKE,
    YIELDS,
    YIELDS_FOR_A_JOB,
)
from fastconv.native.record import BARRIER, PARTS, WORDS

_WORD = types.int64
_CLOCK = getattr(time, "CLOCK_MONOTONIC", 0)


@part
def _wait_for(address: int, old: int, yields: int) -> int:
    """Spin, then yield, until a word is no longer ``old``; return it, changed or not."""
    for _ in range(SPINS):
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
    generation = atomic_load(team + 8 * GENERATION)
    if atomic_add(team + 8 * ARRIVED, 1) == threads - 1:
        atomic_store(team + 8 * ARRIVED, 0)
        atomic_store(team + 8 * GENERATION, generation + 1)
    else:
        while _wait_for(team + 8 * GENERATION, generation, YIELDS) == generation:
            nanosleep(team + 8 * NAP, 0)


@part
def _now(team: int) -> int:
    """Nanoseconds on a clock that only runs forward."""
    clock_gettime(_CLOCK, team + 8 * NOW)
    time = pointer(team + 8 * NOW, np.int64)
    nanoseconds: int = time[0] * 1_000_000_000 + time[1]
    return nanoseconds


@part
def _walk(team: int, thread: int) -> None:
    words = pointer(team, np.int64)
    program, rows, steps = words[PROGRAM], words[ROWS], words[STEPS]
    barriers, threads = words[BARRIERS], words[THREADS]
    times = pointer(words[NANOSECONDS], np.int64)
    timed = thread == 0 and words[NANOSECONDS] != 0
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
    threads = words[THREADS]
    if threads > 1:
        mutex_lock(team + 8 * MUTEX)
        atomic_store(team + 8 * JOB, (words[JOB] // JOBS + 1) * JOBS + threads)
        if words[SLEEPERS] > 0:
            condition_broadcast(team + 8 * WAKE)
        mutex_unlock(team + 8 * MUTEX)
    if threads != QUIT:
        _walk(team, 0)
        _barrier(team, threads)


def _prepare(team: int) -> None:
    mutex_init(team + 8 * MUTEX, 0)
    condition_init(team + 8 * WAKE, 0)


def _work(team: int, number: int, seen: int) -> None:
    """Take part in every job that wants worker ``number``; ``seen`` is a job that is not for it."""
    words = pointer(team, np.int64)
    while True:
        job = _wait_for(team + 8 * JOB, seen, YIELDS_FOR_A_JOB)
        if job == seen:
            mutex_lock(team + 8 * MUTEX)
            words[SLEEPERS] += 1
            job = atomic_load(team + 8 * JOB)
            while job == seen:
                condition_wait(team + 8 * WAKE, team + 8 * MUTEX)
                job = atomic_load(team + 8 * JOB)
            words[SLEEPERS] -= 1
            mutex_unlock(team + 8 * MUTEX)
        seen = job
        threads = job % JOBS
        if threads == QUIT:
            break
        if number < threads:
            _walk(team, number)
            _barrier(team, threads)


_FUNCTIONS: dict[str, Any] = {"run": _run, "prepare": _prepare, "work": _work}


def compile_team_function(function: str, name: str) -> Compiled:
    """Compile one of the functions that Python calls: "run", "prepare" or "work"."""
    made = _FUNCTIONS[function]
    count = made.__code__.co_argcount
    return compile_function(made, name, types.void(*[_WORD] * count))
