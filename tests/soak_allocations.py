"""Each allocation of calls, plans and training steps fails once: MemoryError, and all goes on.

A library that is loaded before the one of C counts what is asked of ``malloc`` and its like and of
``pthread_create``, and lets one request fail. Python's small objects come from blocks of its own
and are not among them. ``python soak_allocations.py EVERY`` is the process that it is loaded into.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import gc
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static atomic_long asked, failing = -1, live;
static atomic_int watching;

/* Whether this request is the one that fails. */
static int fails(void) {
    return atomic_load(&watching) && atomic_fetch_add(&asked, 1) == atomic_load(&failing);
}

static void *given(void *block) {
    if (block) atomic_fetch_add(&live, (long)malloc_usable_size(block));
    return block;
}

void allocations_begin(long number) {
    atomic_store(&asked, 0);
    atomic_store(&failing, number);
    atomic_store(&watching, 1);
}

long allocations_end(void) {
    atomic_store(&watching, 0);
    return atomic_load(&asked);
}

long allocations_live(void) { return atomic_load(&live); }

void *malloc(size_t size) { return fails() ? (errno = ENOMEM, NULL) : given(__libc_malloc(size)); }

void *calloc(size_t count, size_t size) {
    return fails() ? (errno = ENOMEM, NULL) : given(__libc_calloc(count, size));
}

void *realloc(void *block, size_t size) {
    if (fails()) return errno = ENOMEM, NULL;
    const long before = block ? (long)malloc_usable_size(block) : 0;
    void *const moved = __libc_realloc(block, size);
    if (moved || !size) atomic_fetch_sub(&live, before);
    return given(moved);
}

void *memalign(size_t alignment, size_t size) {
    return fails() ? (errno = ENOMEM, NULL) : given(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **block, size_t alignment, size_t size) {
    void *const made = memalign(alignment, size);
    if (!made) return ENOMEM;
    *block = made;
    return 0;
}

void free(void *block) {
    if (block) atomic_fetch_sub(&live, (long)malloc_usable_size(block));
    __libc_free(block);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*begin)(void *),
                   void *argument) {
    static int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!create) *(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
    return fails() ? EAGAIN : create(thread, attributes, begin, argument);
}
"""
_NO_MEMORY = re.compile(
    "memory|can't allocate lock|can't start new thread|without exception set|without setting"
)
_LEAK = 1 << 16
"""Bytes more than before that are no leak: tables of Python's that grew."""


def compiler() -> list[str]:
    """The C compiler's command."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def build_library(folder: Path) -> Path:
    """The compiled library."""
    source, library = folder / "failing.c", folder / "failing.so"
    source.write_text(LIBRARY, encoding="utf-8")
    subprocess.run(
        [*compiler(), "-O1", "-shared", "-fPIC", "-pthread", "-o", str(library), str(source),
         "-ldl"],
        check=True, capture_output=True,
    )  # fmt: skip
    return library


def run_process(folder: Path, every: int) -> subprocess.CompletedProcess[str]:
    """Run this file with the library in front of C's."""
    root = str(Path(__file__).resolve().parent.parent)
    return subprocess.run(
        [sys.executable, __file__, str(every)], capture_output=True, text=True, check=False,
        env={
            **os.environ, "LD_PRELOAD": str(build_library(folder)), "PYTHONPATH": root,
            "FASTCONV_THREADS": "2", "OPENBLAS_NUM_THREADS": "1", "FASTCONV_CHECK": "0",
        },
    )  # fmt: skip


class Allocations:
    """The library's functions."""

    def __init__(self) -> None:
        library = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self.begin, self.end, self.live = (
            library.allocations_begin, library.allocations_end, library.allocations_live,
        )  # fmt: skip
        self.begin.argtypes = [ctypes.c_long]
        self.end.restype = self.live.restype = ctypes.c_long

    def let_fail(self, work: Callable[[], Any], number: int) -> tuple[Any, int]:
        """What the work gives, None where it raised MemoryError; and how much it asked for."""
        found = None
        self.begin(number)
        try:
            found = work()
        except (MemoryError, ValueError, RuntimeError, SystemError) as fault:
            # A network that does not fit says so, Python has no lock or thread without memory, and
            # a few places in NumPy fail without saying anything.
            told = str(fault)
            if not isinstance(fault, MemoryError) and not _NO_MEMORY.search(told):
                raise
        finally:
            asked = self.end()
        return found, asked


def forget_lowered() -> None:
    """Let the next calls and plans be lowered anew."""
    from fastconv.backends.compiled.lowering.lowered_kernels import lower_kernel
    from fastconv.backends.cython import engine
    from fastconv.functional.kept_calls import forget_calls

    lower_kernel.cache_clear()
    engine._stream.cache_clear()
    forget_calls()


def works() -> dict[str, Callable[[], Any]]:
    """What is done while an allocation fails: each gives numbers that must not change."""
    import fastconv
    from fastconv.backends.selection import backend_state
    from fastconv.data import Samples
    from fastconv.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU

    generator = np.random.default_rng(0)
    x = generator.standard_normal((4, 16, 12, 12)).astype(np.float32)
    w = generator.standard_normal((16, 16, 3, 3)).astype(np.float32)
    images = generator.integers(0, 256, (24, 12, 12, 3), np.uint8)
    samples = Samples(images, generator.integers(0, 10, 24))
    made: dict[str, Callable[[], Any]] = {}
    for name in ("cython", "numpy"):
        if not backend_state(name).works:
            continue

        def call(backend: str = name) -> Any:
            y = fastconv.conv2d(x, w, padding=1, backend=backend)
            dx, dw, _ = fastconv.conv2d_backward(y, x, w, padding=1, backend=backend)
            pooled, where = fastconv.max_pool2d(y, 2, backend=backend)
            back = fastconv.max_pool2d_backward(pooled, where, y.shape, 2, backend=backend)
            return float(y.sum() + dx.sum() + dw.sum() + back.sum())

        def train(backend: str = name) -> Any:
            network = fastconv.Sequential(
                [Conv2D(8), BatchNorm(), ReLU(), MaxPool2D(2), Flatten(), Dropout(0.3), Dense(10)],
                (12, 12, 3),
            )
            trainer = fastconv.Trainer(
                network, samples, loss="softmax_cross_entropy", optimizer="adam", schedule=0.01,
                batch_size=8, preprocessing="scale", backend=backend,
            )  # fmt: skip
            if backend == "numpy":
                return float(trainer.network.parameters.sum())
            trainer.train(2)
            return trainer.evaluate(samples).loss_sum

        # Of the numpy backend the plans alone: NumPy itself crashes where a ufunc that converts its
        # arguments has no memory for its buffers (2.4.6).
        if name == "numpy":
            made["plan, numpy"] = train
        else:
            made[f"calls, {name}"], made[f"plan and steps, {name}"] = call, train
    return made


def try_works(every: int) -> collections.Counter[str]:
    """Let every ``every``-th allocation of each work fail once."""
    allocations, seen = Allocations(), collections.Counter[str]()
    for name, work in works().items():
        expected = work()
        for _ in range(2):  # what is kept from the first call on is there
            forget_lowered()
            assert work() == expected, name
        forget_lowered()
        _, asked = allocations.let_fail(work, -1)
        live = []
        for _ in range(3):
            for number in range(0, asked, every):
                forget_lowered()
                found, _ = allocations.let_fail(work, number)
                assert found in (None, expected), f"{name}, allocation {number}: {found}"
                seen[f"{name}: {'MemoryError' if found is None else 'done without'}"] += 1
            assert work() == expected, f"{name}: wrong afterwards"
            gc.collect()
            live.append(allocations.live())
        assert live[2] - live[1] < _LEAK, f"{name}: {live} bytes live after each round"
    return seen


def try_threads() -> collections.Counter[str]:
    """Let each allocation of new threads fail: fewer threads do the work."""
    from fastconv.backends.selection import backend_state

    seen = collections.Counter[str]()
    if not backend_state("cython").works:
        return seen
    from fastconv.backends.cython import _engine

    allocations = Allocations()
    for threads in range(2, 10):
        for number in range(4):
            found, _ = allocations.let_fail(
                lambda threads=threads: _engine.barrier_nanoseconds(threads, 2), number
            )
            # -1 where there was no memory for the pool itself.
            assert found == -1 or found > 0, (threads, number, found)
            seen["threads that could not begin"] += 1
        assert _engine.barrier_nanoseconds(threads, 2) > 0
    return seen


def soak_of(options: argparse.Namespace) -> collections.Counter[str]:
    """What ``python -m tests.soak allocations`` does."""
    with tempfile.TemporaryDirectory() as folder:
        done = run_process(Path(folder), options.every)
    assert done.returncode == 0, (done.returncode, done.stderr[-4000:])
    seen = collections.Counter[str]()
    for line in done.stdout.splitlines():
        count, _, what = line.strip().partition(" ")
        seen[what] += int(count)
    return seen


if __name__ == "__main__":
    for what, count in sorted((try_works(int(sys.argv[1])) + try_threads()).items()):
        print(count, what)
