"""What the threads of a team run, without the interpreter's lock.

The protocol is that of ``kernels/cpu/program.c``.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numba import types

from fastconv.backends.compiled.instructions.record import BARRIER, PARTS, WORDS
from fastconv.backends.numba.compilation import compile_function, part
from fastconv.backends.numba.compiled_code import Compiled
from fastconv.backends.numba.pointers import address_at, local, pointer
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
    relax,
    sched_yield,
)
from fastconv.backends.numba.team_words import (
    ALL_ARE_THERE,
    ARRIVED,
    BARRIERS,
    CALLERS_CROWD,
    CROWD_WORDS,
    CROWDED_SPINS,
    EAGER_SPINS,
    GENERATION,
    IS_THERE,
    JOB,
    JOB_IS_THERE,
    JOBS,
    LENGTH,
    LONG_YIELD,
    LONGEST_CROWD,
    MUTEX,
    NANOSECONDS,
    PROGRAM,
    QUIT,
    ROWS,
    SHORTEST_CROWD,
    SLEEPER,
    SPINS,
    STEPS,
    THREADS,
    TIME,
    UNTIL,
    WITHOUT_A_JOB,
    YIELDS,
)

_WORD = types.int64
_CLOCK = getattr(time, "CLOCK_MONOTONIC", 0)


@part
def _now(crowd: int) -> int:
    """Nanoseconds on a clock that only runs forward."""
    clock_gettime(_CLOCK, crowd + 8 * TIME)
    time = pointer(crowd + 8 * TIME, np.int64)
    nanoseconds: int = time[0] * 1_000_000_000 + time[1]
    return nanoseconds


@part
def _wait_for(address: int, old: int, crowd: int) -> int:
    """Spin, then yield, until a word is no longer ``old``; return it, changed or not."""
    core = pointer(crowd, np.int64)
    for spin in range(CROWDED_SPINS if core[IS_THERE] != 0 else SPINS):
        value = atomic_load(address)
        if value != old:
            return value
        if spin >= EAGER_SPINS:
            relax()
    before = _now(crowd)
    if core[IS_THERE] != 0 and before < core[UNTIL]:
        return old
    core[IS_THERE] = 0
    for _ in range(YIELDS):
        value = atomic_load(address)
        if value != old:
            return value
        sched_yield()
        after = _now(crowd)
        if after - before > LONG_YIELD:
            again = before - core[UNTIL] < core[LENGTH]
            core[LENGTH] = min(2 * core[LENGTH], LONGEST_CROWD) if again else SHORTEST_CROWD
            core[UNTIL] = after + core[LENGTH]
            core[IS_THERE] = 1
            break
        before = after
    return atomic_load(address)


@part
def _sleep_at_barrier(team: int, generation: int, threads: int) -> None:
    """Sleep until the last thread has arrived.

    That one looks at the word as it arrives: it either finds the sleeper there, and takes the
    mutex before it lets all go on, or it was the earlier one and the count is full, or 0 again, or
    another barrier's and the generation has moved.
    """
    mutex_lock(team + 8 * MUTEX)
    arrived = atomic_add(team + 8 * ARRIVED, SLEEPER) % SLEEPER
    if arrived != 0 and arrived != threads:
        while atomic_load(team + 8 * GENERATION) == generation:
            condition_wait(team + 8 * ALL_ARE_THERE, team + 8 * MUTEX)
    mutex_unlock(team + 8 * MUTEX)


@part
def _barrier(team: int, threads: int, crowd: int) -> None:
    """Wait until all threads of the job have arrived."""
    if threads == 1:
        return
    generation = atomic_load(team + 8 * GENERATION)
    before = atomic_add(team + 8 * ARRIVED, 1)
    if before % SLEEPER == threads - 1:
        wakes = before >= SLEEPER
        if wakes:
            mutex_lock(team + 8 * MUTEX)
        atomic_store(team + 8 * ARRIVED, 0)
        atomic_store(team + 8 * GENERATION, generation + 1)
        if wakes:
            mutex_unlock(team + 8 * MUTEX)
            condition_broadcast(team + 8 * ALL_ARE_THERE)
    else:
        while _wait_for(team + 8 * GENERATION, generation, crowd) == generation:
            _sleep_at_barrier(team, generation, threads)


@part
def _walk(team: int, thread: int, crowd: int) -> None:
    words = pointer(team, np.int64)
    program, rows, steps = words[PROGRAM], words[ROWS], words[STEPS]
    barriers, threads = words[BARRIERS], words[THREADS]
    times = pointer(words[NANOSECONDS], np.int64)
    timed = thread == 0 and words[NANOSECONDS] != 0
    for step in range(steps):
        before = _now(crowd) if timed else 0
        for row in range(rows):
            address = program + row * (8 * WORDS)
            record = pointer(address, np.int64)
            parts = min(record[PARTS], threads)
            if thread < parts:
                call_kernel(record[0], address, step, thread, parts)
            if record[BARRIER] != 0:
                _barrier(team, threads, crowd)
            if timed:
                after = _now(crowd)
                times[row] += after - before
                before = after
    for _ in range(barriers):
        _barrier(team, threads, crowd)
    _barrier(team, threads, crowd)  # nobody leaves before the job is done


def _run(team: int) -> None:
    """Run the job that stands in a team on all of its threads, or tell them to end."""
    words = pointer(team, np.int64)
    threads = words[THREADS]
    if threads > 1:
        mutex_lock(team + 8 * MUTEX)
        atomic_store(team + 8 * JOB, (words[JOB] // JOBS + 1) * JOBS + threads)
        if words[WITHOUT_A_JOB] > 0:
            condition_broadcast(team + 8 * JOB_IS_THERE)
        mutex_unlock(team + 8 * MUTEX)
    if threads != QUIT:
        _walk(team, 0, team + 8 * CALLERS_CROWD)


def _prepare(team: int) -> None:
    mutex_init(team + 8 * MUTEX, 0)
    condition_init(team + 8 * JOB_IS_THERE, 0)
    condition_init(team + 8 * ALL_ARE_THERE, 0)


def _work(team: int, number: int, seen: int) -> None:
    """Take part in every job that wants worker ``number``; ``seen`` is a job that is not for it."""
    words = pointer(team, np.int64)
    core = local(CROWD_WORDS, np.int64)
    for word in range(CROWD_WORDS):
        core[word] = 0
    crowd = address_at(core, 0)
    while True:
        job = _wait_for(team + 8 * JOB, seen, crowd)
        if job == seen:
            mutex_lock(team + 8 * MUTEX)
            words[WITHOUT_A_JOB] += 1
            job = atomic_load(team + 8 * JOB)
            while job == seen:
                condition_wait(team + 8 * JOB_IS_THERE, team + 8 * MUTEX)
                job = atomic_load(team + 8 * JOB)
            words[WITHOUT_A_JOB] -= 1
            mutex_unlock(team + 8 * MUTEX)
        seen = job
        threads = job % JOBS
        if threads == QUIT:
            break
        if number < threads:
            _walk(team, number, crowd)


_FUNCTIONS: dict[str, Any] = {"run": _run, "prepare": _prepare, "work": _work}


def compile_team_function(function: str, name: str) -> Compiled:
    """Compile one of the functions that Python calls: "run", "prepare" or "work"."""
    made = _FUNCTIONS[function]
    count = made.__code__.co_argcount
    return compile_function(made, name, types.void(*[_WORD] * count))
