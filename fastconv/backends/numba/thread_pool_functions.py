"""Functions that the threads of a pool run, without the interpreter's lock.

All threads wait for each other at a barrier; those of ``kernels/cpu/thread_pool.c`` do not.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numba import types

from fastconv.backends.compiled.instructions.layout import (
    BARRIER,
    CONDITION,
    CONDITION_WORDS,
    KERNEL,
    MAX_THREADS,
    WORDS,
)
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
from fastconv.backends.numba.thread_pool_words import (
    ALL_ARE_THERE,
    ARRIVED,
    BARRIERS,
    CALLERS_CORE,
    CORE_WORDS,
    EAGER_SPINS,
    GENERATION,
    INSTRUCTIONS,
    IS_OVERSUBSCRIBED,
    JOB,
    JOB_IS_THERE,
    JOBS,
    LENGTH,
    LONG_YIELD,
    LONGEST_OVERSUBSCRIPTION,
    MUTEX,
    NANOSECONDS,
    OVERSUBSCRIBED_SPINS,
    QUIT,
    SHORTEST_OVERSUBSCRIPTION,
    SLEEPER,
    SPINS,
    STEPS,
    STREAM,
    THREADS,
    TIME,
    UNTIL,
    WITHOUT_A_JOB,
    YIELDS,
)

_WORD = types.int64
_CLOCK = getattr(time, "CLOCK_MONOTONIC", 0)


@part
def _now(core_words: int) -> int:
    """Nanoseconds on a clock that only runs forward."""
    clock_gettime(_CLOCK, core_words + 8 * TIME)
    time = pointer(core_words + 8 * TIME, np.int64)
    nanoseconds: int = time[0] * 1_000_000_000 + time[1]
    return nanoseconds


@part
def _wait_for(address: int, old: int, core_words: int) -> int:
    """Spin, then yield, until a word is no longer ``old``; return it, changed or not."""
    core = pointer(core_words, np.int64)
    for spin in range(OVERSUBSCRIBED_SPINS if core[IS_OVERSUBSCRIBED] != 0 else SPINS):
        value = atomic_load(address)
        if value != old:
            return value
        if spin >= EAGER_SPINS:
            relax()
    before = _now(core_words)
    if core[IS_OVERSUBSCRIBED] != 0 and before < core[UNTIL]:
        return old
    core[IS_OVERSUBSCRIBED] = 0
    for _ in range(YIELDS):
        value = atomic_load(address)
        if value != old:
            return value
        sched_yield()
        after = _now(core_words)
        if after - before > LONG_YIELD:
            again = before - core[UNTIL] < core[LENGTH]
            core[LENGTH] = (
                min(2 * core[LENGTH], LONGEST_OVERSUBSCRIPTION)
                if again
                else SHORTEST_OVERSUBSCRIPTION
            )
            core[UNTIL] = after + core[LENGTH]
            core[IS_OVERSUBSCRIBED] = 1
            break
        before = after
    return atomic_load(address)


@part
def _sleep_at_barrier(pool: int, generation: int, threads: int) -> None:
    """Sleep until the last thread has arrived.

    That one looks at the word as it arrives: it either finds the sleeper there, and takes the
    mutex before it lets all go on, or it was the earlier one and the count is full, or 0 again, or
    another barrier's and the generation has moved.
    """
    mutex_lock(pool + 8 * MUTEX)
    arrived = atomic_add(pool + 8 * ARRIVED, SLEEPER) % SLEEPER
    if arrived != 0 and arrived != threads:
        while atomic_load(pool + 8 * GENERATION) == generation:
            condition_wait(pool + 8 * ALL_ARE_THERE, pool + 8 * MUTEX)
    mutex_unlock(pool + 8 * MUTEX)


@part
def _barrier(pool: int, threads: int, core_words: int) -> None:
    """Wait until all threads of the job have arrived."""
    if threads == 1:
        return
    generation = atomic_load(pool + 8 * GENERATION)
    before = atomic_add(pool + 8 * ARRIVED, 1)
    if before % SLEEPER == threads - 1:
        wakes = before >= SLEEPER
        if wakes:
            mutex_lock(pool + 8 * MUTEX)
        atomic_store(pool + 8 * ARRIVED, 0)
        atomic_store(pool + 8 * GENERATION, generation + 1)
        if wakes:
            mutex_unlock(pool + 8 * MUTEX)
            condition_broadcast(pool + 8 * ALL_ARE_THERE)
    else:
        while _wait_for(pool + 8 * GENERATION, generation, core_words) == generation:
            _sleep_at_barrier(pool, generation, threads)


@part
def _holds(condition: int) -> bool:
    """Whether a word of a condition is not 0; it was written before a barrier."""
    words, together = pointer(condition, np.int64), 0
    for number in range(CONDITION_WORDS):
        together |= words[number]
    return together != 0


@part
def _walk(pool: int, thread: int, core_words: int) -> None:
    words = pointer(pool, np.int64)
    stream, instructions, steps = words[STREAM], words[INSTRUCTIONS], words[STEPS]
    barriers, threads = words[BARRIERS], words[THREADS]
    times = pointer(words[NANOSECONDS], np.int64)
    timed = thread == 0 and words[NANOSECONDS] != 0
    for step in range(steps):
        before = _now(core_words) if timed else 0
        for number in range(instructions):
            address = stream + number * (8 * WORDS)
            instruction = pointer(address, np.int64)
            if instruction[CONDITION] != 0 and not _holds(instruction[CONDITION]):
                continue
            used = min(instruction[MAX_THREADS], threads)
            if thread < used:
                call_kernel(instruction[KERNEL], address, step, thread, used)
            if instruction[BARRIER] != 0:
                _barrier(pool, threads, core_words)
            if timed:
                after = _now(core_words)
                times[number] += after - before
                before = after
    for _ in range(barriers):
        _barrier(pool, threads, core_words)
    _barrier(pool, threads, core_words)  # nobody leaves before the job is done


def _run(pool: int) -> None:
    """Run the job that stands in a pool on all of its threads, or tell them to end."""
    words = pointer(pool, np.int64)
    threads = words[THREADS]
    if threads > 1:
        mutex_lock(pool + 8 * MUTEX)
        atomic_store(pool + 8 * JOB, (words[JOB] // JOBS + 1) * JOBS + threads)
        if words[WITHOUT_A_JOB] > 0:
            condition_broadcast(pool + 8 * JOB_IS_THERE)
        mutex_unlock(pool + 8 * MUTEX)
    if threads != QUIT:
        _walk(pool, 0, pool + 8 * CALLERS_CORE)


def _prepare(pool: int) -> None:
    mutex_init(pool + 8 * MUTEX, 0)
    condition_init(pool + 8 * JOB_IS_THERE, 0)
    condition_init(pool + 8 * ALL_ARE_THERE, 0)


def _work(pool: int, number: int, seen: int) -> None:
    """Take part in every job that wants worker ``number``; ``seen`` is a job that is not for it."""
    words = pointer(pool, np.int64)
    core = local(CORE_WORDS, np.int64)
    for word in range(CORE_WORDS):
        core[word] = 0
    core_words = address_at(core, 0)
    while True:
        job = _wait_for(pool + 8 * JOB, seen, core_words)
        if job == seen:
            mutex_lock(pool + 8 * MUTEX)
            words[WITHOUT_A_JOB] += 1
            job = atomic_load(pool + 8 * JOB)
            while job == seen:
                condition_wait(pool + 8 * JOB_IS_THERE, pool + 8 * MUTEX)
                job = atomic_load(pool + 8 * JOB)
            words[WITHOUT_A_JOB] -= 1
            mutex_unlock(pool + 8 * MUTEX)
        seen = job
        threads = job % JOBS
        if threads == QUIT:
            break
        if number < threads:
            _walk(pool, number, core_words)


_FUNCTIONS: dict[str, Any] = {"run": _run, "prepare": _prepare, "work": _work}


def compile_pool_function(function: str, name: str) -> Compiled:
    """Compile one of the functions that Python calls: "run", "prepare" or "work"."""
    made = _FUNCTIONS[function]
    count = made.__code__.co_argcount
    return compile_function(made, name, types.void(*[_WORD] * count))
