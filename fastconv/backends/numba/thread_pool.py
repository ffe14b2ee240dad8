"""Running instruction streams on pools of threads.

A pool is its caller and Python threads that stay inside one compiled function, without the
interpreter's lock. All of them walk the same stream, each does its share of every instruction, and
they wait for each other behind it.
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
from numpy.typing import NDArray

from fastconv.backends.compiled.instructions.layout import KERNEL, MAX_THREADS
from fastconv.backends.numba.compiled_code import Compiled, address_of_function, is_disabled
from fastconv.backends.numba.thread_pool_words import (
    BARRIERS,
    INSTRUCTIONS,
    JOB,
    MOST_THREADS,
    NANOSECONDS,
    POOL_WORDS,
    QUIT,
    STEPS,
    STREAM,
    THREADS,
)

_ARGUMENTS = {"run": 1, "prepare": 1, "work": 3}
"""Words that each of the compiled functions takes."""


@functools.cache
def _function(name: str) -> Any:
    """Return a compiled function as ctypes calls it: without the interpreter's lock."""

    def compile_now(unique: str) -> Compiled:
        from fastconv.backends.numba.thread_pool_functions import compile_pool_function

        return compile_pool_function(name, unique)

    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * _ARGUMENTS[name])
    return kind(address_of_function(f"thread_pool_{name}", compile_now))


class _ThreadPool:
    """Its memory, and the threads in it beside the caller."""

    def __init__(self) -> None:
        memory = (ctypes.c_int64 * (POOL_WORDS + 7))()
        # A worker may look at its pool as long as the process lives.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))
        skipped = -ctypes.addressof(memory) % 64 // 8
        self.words = np.frombuffer(memoryview(memory), np.int64)[skipped:]
        self.address = ctypes.addressof(memory) + 8 * skipped
        self.workers: list[threading.Thread] = []
        _function("prepare")(self.address)

    def grow(self, threads: int) -> int:
        """Start workers until there are ``threads`` with the caller; return how many there are."""
        work = _function("work")
        while len(self.workers) + 1 < threads:
            number = len(self.workers) + 1
            seen = int(self.words[JOB])
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
        threads = self.grow(min(threads, MOST_THREADS)) if threads > 1 else 1
        self.words[THREADS] = threads
        _function("run")(self.address)
        return threads

    def end(self) -> None:
        """Let the workers end."""
        self.words[THREADS] = QUIT
        _function("run")(self.address)
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


_free_pools: list[_ThreadPool] = []
"""Taken from and put back by single operations of the list, which other threads cannot split."""

if hasattr(os, "register_at_fork"):
    # A child of fork has none of its parent's threads.
    os.register_at_fork(after_in_child=_free_pools.clear)


@atexit.register
def _end_free_pools() -> None:
    while _free_pools:
        _free_pools.pop().end()


@contextlib.contextmanager
def _pool() -> Iterator[_ThreadPool]:
    try:
        pool = _free_pools.pop()
    except IndexError:
        pool = _ThreadPool()
    yield pool
    _free_pools.append(pool)


_ALONE = os.name != "posix"
"""No POSIX threads: streams run on the caller's thread."""


def run_stream(
    stream: NDArray[np.int64],
    steps: int,
    threads: int,
    nanoseconds: NDArray[np.int64] | None = None,
) -> int:
    """Run a stream ``steps`` times on up to ``threads`` threads; the caller is one of them.

    Safe to call from several threads at once, each gets a pool of its own, and after fork.

    Parameters
    ----------
    stream
        int64 (instructions, 64), with whole addresses.
    steps
        How many times.
    threads
        How many threads.
    nanoseconds
        int64 (instructions,): the time of each instruction is added to it, of all steps together.

    Returns
    -------
    int
        How many threads ran: fewer where no instruction has work for more, or where the system
        would start no more.
    """
    if len(stream) == 0:
        return 1
    if is_disabled() or _ALONE:
        _walk_in_python(stream, steps, nanoseconds)
        return 1
    if threads > 1:
        threads = min(threads, int(stream[:, MAX_THREADS].max()))
    with _pool() as pool:
        words = pool.words
        words[STREAM], words[INSTRUCTIONS], words[STEPS] = stream.ctypes.data, len(stream), steps
        words[NANOSECONDS] = 0 if nanoseconds is None else nanoseconds.ctypes.data
        words[BARRIERS] = 0
        return pool.run(threads)


def _walk_in_python(
    stream: NDArray[np.int64], steps: int, nanoseconds: NDArray[np.int64] | None
) -> None:
    if is_disabled():
        from fastconv.backends.numba.compilation import python_function

        kernels = [python_function(words[KERNEL]) for words in stream]
    else:
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)
        kernels = [kind(int(words[KERNEL])) for words in stream]
    addresses = [int(words.ctypes.data) for words in stream]
    for step in range(steps):
        for number, (kernel, address) in enumerate(zip(kernels, addresses, strict=True)):
            before = time.perf_counter_ns()
            # Integers wrap around in compiled code.
            with np.errstate(all="ignore"):
                kernel(address, step, 0, 1)
            if nanoseconds is not None:
                nanoseconds[number] += time.perf_counter_ns() - before


def barrier_nanoseconds(threads: int, count: int) -> float:
    """Return the mean time of one barrier of a pool, in nanoseconds."""
    if is_disabled() or _ALONE:
        return 0.0
    with _pool() as pool:
        pool.words[INSTRUCTIONS] = pool.words[STEPS] = pool.words[NANOSECONDS] = 0
        pool.words[BARRIERS] = count
        pool.grow(threads)
        before = time.perf_counter_ns()
        pool.run(threads)
        return (time.perf_counter_ns() - before) / max(1, count)
