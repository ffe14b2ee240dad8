"""Many threads and processes that train, predict and call at once, while leaks are looked for.

One process does everything from several threads for as long as is asked; what comes out must be
what it is alone, and memory, threads, open files and mapped memory must stay what they are after
the first quarter. Then ten processes train on the cores of this machine at once, and workers of
joblib, fork, spawn and forkserver compute what their parent does.
"""

from __future__ import annotations

import argparse
import collections
import gc
import importlib.util
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soak

import fastconv
from fastconv.backends.selection import backend_state
from fastconv.data import Samples
from fastconv.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU

THREADS = 6
_PAUSE = 0.5
"""Seconds from one look at memory, threads and files to the next."""
MEMORY_GROWTH = 0.01
"""Of the memory after the first quarter: more is a leak."""
SEEDS = (1, 2, 3)
BACKENDS = tuple(name for name in ("cython", "numpy", "numba") if backend_state(name).works)


def samples(seed: int = 0, count: int = 48) -> Samples:
    """Small images of noise."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 10, 10, 3), np.uint8)
    return Samples(images, generator.integers(0, 4, count))


def made_trainer(seed: int, backend: str) -> fastconv.Trainer:
    """A training that follows from its seed."""
    network = fastconv.Sequential(
        [Conv2D(8), BatchNorm(), ReLU(), MaxPool2D(2), Dropout(0.3), Flatten(), Dense(4)],
        (10, 10, 3), seed=seed,
    )  # fmt: skip
    return fastconv.Trainer(
        network, samples(), loss="softmax_cross_entropy", optimizer="adam", schedule=0.01,
        batch_size=8, preprocessing="scale", seed=seed, backend=backend,
    )  # fmt: skip


def train(seed: int, backend: str = "auto", folder: str | None = None) -> bytes:
    """The bits of a training of nine steps, through a checkpoint where a folder is given."""
    trainer = made_trainer(seed, backend)
    trainer.train(6)
    if folder is not None:
        path = Path(folder) / f"{threading.get_ident()}.safetensors"
        trainer.save_checkpoint(path)
        trainer = made_trainer(seed, backend)
        trainer.load_checkpoint(path)
    for _ in range(3):
        trainer.train(min(1, trainer.steps_left_in_epoch()))
    trainer.update_network()
    return trainer.network.parameters.tobytes()


def call(seed: int, backend: str = "auto") -> bytes:
    """The bits of public functions."""
    generator = np.random.default_rng(seed)
    x = generator.integers(-3, 4, (2, 8, 12, 12)).astype(np.float32)
    w = generator.integers(-3, 4, (16, 8, 3, 3)).astype(np.float32)
    y = fastconv.conv2d(x, w, padding=1, backend=backend)
    dx, dw, _ = fastconv.conv2d_backward(y, x, w, padding=1, backend=backend)
    pooled, where = fastconv.max_pool2d(y, 2, backend=backend)
    back = fastconv.max_pool2d_backward(pooled, where, y.shape, 2, backend=backend)
    return b"".join(each.tobytes() for each in (y, dx, dw, back))


def count_everything() -> dict[str, int]:
    """Memory in KiB, threads, open files and mapped regions of this process."""
    status = dict(
        line.split(":", 1)
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    )
    return {
        "memory": int(status["VmRSS"].split()[0]),
        "threads": int(status["Threads"]),
        "files": len(os.listdir("/proc/self/fd")),
        "maps": Path("/proc/self/maps").read_text(encoding="utf-8").count("\n"),
    }


def leaks(seen: list[dict[str, int]]) -> list[str]:
    """What grew from the second quarter of some looks to the last one."""
    quarter = len(seen) // 4
    found = []
    for name in seen[0]:
        then, now = (
            statistics.median(each[name] for each in part)
            for part in (seen[quarter : 2 * quarter], seen[-quarter:])
        )
        allowed = then * (1 + MEMORY_GROWTH) if name == "memory" else then + 0.02 * then
        if now > allowed:
            found.append(f"{name}: {then} in the second quarter, {now} in the last")
    return found


class Busy:
    """Threads that work until they are told to end, and check what they get."""

    def __init__(self, seed: int, folder: str, backends: tuple[str, ...] = BACKENDS) -> None:
        self.done, self.seen = threading.Event(), collections.Counter[str]()
        self.wrong: list[str] = []
        self._folder, self._lock = folder, threading.Lock()
        shared = made_trainer(9, backends[0])
        shared.train(3)
        self._images = samples(5).images
        works: dict[str, Callable[[], Any]] = {
            "predictions of a shared network": lambda: shared.predict(self._images).tobytes(),
            "evaluations of a shared network": lambda: shared.evaluate(samples()).loss_sum,
        }
        for backend in backends:
            for number in SEEDS:
                works[f"calls, {backend} {number}"] = lambda n=number, b=backend: call(n, b)
                works[f"trainings, {backend} {number}"] = lambda n=number, b=backend: train(n, b)
                works[f"trainings with a checkpoint, {backend} {number}"] = (
                    lambda n=number, b=backend: train(n, b, self._folder)
                )
        self._works = works
        self._expected = {name: work() for name, work in works.items()}
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(f"{seed} {n}"),))
            for n in range(THREADS)
        ]

    def _run(self, choose: random.Random) -> None:
        names = list(self._works)
        while not self.done.is_set() and not self.wrong:
            name = choose.choice(names)
            try:
                if self._works[name]() != self._expected[name]:
                    self.wrong.append(f"{name}: another result than alone")
            except Exception as fault:
                self.wrong.append(f"{name}: {fault!r}")
            with self._lock:
                self.seen[name.rpartition(" ")[0] if name[-1].isdigit() else name] += 1

    def __enter__(self) -> Busy:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        for thread in self._threads:
            thread.join()


def soak_one_process(
    seconds: float, seed: int, backends: tuple[str, ...] = BACKENDS
) -> tuple[collections.Counter[str], list[str]]:
    """Keep threads busy; what was done, and what is wrong."""
    looks: list[dict[str, int]] = []
    with tempfile.TemporaryDirectory() as folder, Busy(seed, folder, backends) as busy:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and not busy.wrong:
            time.sleep(min(_PAUSE, seconds / 8))
            gc.collect()
            looks.append(count_everything())
    wrong = list(busy.wrong)
    if seconds >= 60:
        wrong += leaks(looks)
        print(f"first {looks[len(looks) // 4]}, last {looks[-1]}", file=sys.stderr)
    return busy.seen, wrong


def processes_at_once(count: int = 10) -> str | None:
    """Train the recipe of the soak in several processes; what differs, if anything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # On two threads each, more than there are cores: the bits are those of one.
        expected = {**soak.undisturbed(folder, "--no-report"), "summary.threads": 2}
        variables = {**soak.environment(), "FASTCONV_THREADS": "2"}
        started = [
            subprocess.Popen(
                soak.command("--recipe", "./recipe.toml", "--quiet", "--no-report",
                             "--out", f"run{number}"),
                cwd=folder, env=variables,
            )
            for number in range(count)
        ]  # fmt: skip
        for number, process in enumerate(started):
            if process.wait(600):
                return f"process {number} ended with exit code {process.returncode}"
            found = soak.result_of(folder / f"run{number}")
            soak.assert_same(found, expected, f"training beside {count - 1} others")
            shutil.rmtree(folder / f"run{number}")
    return None


def by_joblib() -> list[bytes]:
    """The bits of trainings in workers of joblib."""
    import joblib

    found: list[bytes] = joblib.Parallel(n_jobs=2)(joblib.delayed(train)(seed) for seed in SEEDS)
    return found


def by_processes(method: str) -> list[bytes]:
    """The bits of trainings in the workers of a pool."""
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map_async(train, SEEDS).get(300)


def soak_of(options: argparse.Namespace) -> collections.Counter[str]:
    """What ``python -m tests.soak threads`` does."""
    if "MALLOC_ARENA_MAX" not in os.environ:
        # With as many arenas as threads, what C's allocator keeps for later grows for long.
        os.environ["MALLOC_ARENA_MAX"] = "2"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    expected = [train(seed) for seed in SEEDS]
    seen = collections.Counter[str]()
    for method in multiprocessing.get_all_start_methods():
        assert by_processes(method) == expected, method
        seen[f"pools of processes by {method}"] += 1
    if importlib.util.find_spec("joblib"):
        assert by_joblib() == expected
        seen["workers of joblib"] += 2
    told = processes_at_once()
    assert told is None, told
    seen["processes at once"] += 10
    done, wrong = soak_one_process(60 * options.minutes, options.seed)
    assert not wrong, wrong
    return seen + done
