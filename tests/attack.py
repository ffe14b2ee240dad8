"""Public functions under attack: ``python -m tests.attack --minutes 10 --seed 0``.

Good calls of every public function (``public_calls.py``) are made with the same numbers in other
memory (strides, alignment, subclasses, overlaps, other libraries), which must not change a result;
and with other dtypes, shapes, values and options, which must be computed or refused in one line.
Other threads change arrays meanwhile. Trainings run whose images, labels and intermediate arrays
are overwritten. Nothing may crash, write beside an array, or change what is only read. Each chunk
follows from its seed and number; ``--first 12 --chunks 1`` makes one again.

    python -m tests.sanitized_engine /tmp/sanitized -m tests.attack --minutes 10 --backend cython

does it in an engine with the sanitizers of memory and of undefined behaviour.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import inspect
import os
import random
import resource
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from disguises import OPTIONS, OTHER, SAME, OfOtherLibrary
from public_calls import CALLS

import fastconv
from fastconv._errors import UserError
from fastconv.backends.selection import BackendError, backend_state
from fastconv.data import Samples
from fastconv.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU

CHUNK = 1000
"""Calls that one process makes."""
BACKENDS = [name for name in ("numpy", "cython", "numba") if backend_state(name).works]
REFUSALS = (TypeError, ValueError, MemoryError, BackendError)
_SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")
_WRITTEN = ("out", "running_mean", "running_variance")
"""Arguments that a function writes to."""
_BYTES = 3 << 30


def limit_memory() -> None:
    """Let this process take so much and no more; the sanitizer of memory reserves terabytes."""
    if not _SANITIZED:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + _BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _arrays_of(result: Any) -> list[np.ndarray]:
    items = result if isinstance(result, tuple) else (result,)
    return [np.asarray(each) for each in items if each is not None]


def _assert_same(found: Any, expected: Any, what: str) -> None:
    for got, wanted in zip(_arrays_of(found), _arrays_of(expected), strict=True):
        assert got.shape == wanted.shape, what
        tolerance = 2e-4 if got.dtype == np.float32 else 1e-9
        np.testing.assert_allclose(got, wanted, tolerance, tolerance, err_msg=what)


def _in_float(array: Any, dtype: str) -> Any:
    is_float = isinstance(array, np.ndarray) and array.dtype == np.float64
    return array.astype(dtype) if is_float else array


def _bytes_of(value: Any) -> bytes | None:
    """All bytes of an array and of the memory around it, if it is one of ours and small."""
    if isinstance(value, OfOtherLibrary):
        value = value._array
    if not isinstance(value, np.ndarray) or value.dtype.hasobject or value.nbytes > 1 << 24:
        return None
    while isinstance(value.base, np.ndarray):
        value = value.base
    return value.tobytes() if value.nbytes <= 1 << 24 else None


def _around(out: Any) -> bytes | None:
    """The bytes of the memory that an array lies in, without its own elements."""
    if not isinstance(out, np.ndarray) or not isinstance(out.base, np.ndarray):
        return None
    values = out.copy()
    out[...] = 0
    content = _bytes_of(out)
    out[...] = values
    return content


class Attack:
    """Draws calls and makes them."""

    def __init__(self, choose: random.Random, backend: str) -> None:
        self.choose, self.backend = choose, backend

    def call(self) -> str:
        """Make one call: what kind it was, and how it ended."""
        choose = self.choose
        name, arguments, defaults = choose.choice(CALLS)
        options: dict[str, Any] = dict(defaults)  # type: ignore[call-overload]
        dtype = choose.choice(("float32", "float64"))
        given = [_in_float(a.copy() if isinstance(a, np.ndarray) else a, dtype) for a in arguments]
        places = [k for k, a in enumerate(given) if isinstance(a, np.ndarray)]
        expected = None
        if choose.random() < 0.5:
            kind = "other memory"
            expected = self._made(name, given, options, "numpy")
            for k in places:
                if choose.random() < 0.6:
                    given[k] = choose.choice(list(SAME.values()))(given[k], choose)
            if choose.random() < 0.3:
                self._add_out(name, given, options, expected)
        else:
            kind = "other arguments"
            for _ in range(choose.choice((1, 1, 2, 3))):
                self._spoil(name, given, options, places)
        what = f"{name}, {self.backend}, {kind}: {self._shown(given)} {self._shown(options)}"
        before = [_bytes_of(value) for value in given]
        around = _around(options.get("out"))
        try:
            found = self._made(name, given, options, self.backend)
        except REFUSALS as fault:
            told = str(fault)
            assert kind == "other arguments" or "read-only" in told, f"{what}: {told}"
            starts = told.startswith(f"{name}: ") or isinstance(fault, BackendError | MemoryError)
            assert starts, f"{what}: {told}"
            assert "\n" not in told, f"{what}: {told!r}"
            assert len(told) < 500, f"{what}: {told}"
            return f"{kind}: refused"
        finally:
            for value, content in zip(given, before, strict=True):
                if content is not None:
                    kept = _bytes_of(value) == content
                    assert kept or self._writes(name, given, value), f"{what}: an argument changed"
        assert _around(options.get("out")) == around, f"{what}: written beside out"
        if expected is not None:
            _assert_same(found, expected, what)
        return f"{kind}: computed"

    @staticmethod
    def _made(name: str, given: list[Any], options: dict[str, Any], backend: str) -> Any:
        copies = dict(options)
        for key in ("running_mean", "running_variance"):
            if isinstance(copies.get(key), np.ndarray):
                copies[key] = copies[key].copy()
        with np.errstate(all="ignore"):
            return getattr(fastconv, name)(*given, **copies, backend=backend)

    @staticmethod
    def _shown(values: Any) -> str:
        items = values.items() if isinstance(values, dict) else enumerate(values)
        return ", ".join(
            f"{key}: {value.dtype} {value.shape} {value.strides}"
            if isinstance(value, np.ndarray) else f"{key}: {value!r:.60}"
            for key, value in items
        )  # fmt: skip

    def _parameters(self, name: str) -> list[inspect.Parameter]:
        parameters = inspect.signature(getattr(fastconv, name)).parameters
        return [each for each in parameters.values() if each.name != "backend"]

    def _writes(self, name: str, given: list[Any], value: Any) -> bool:
        """Whether an argument is one that the function writes to, or its memory out's."""
        named = zip((each.name for each in self._parameters(name)), given, strict=False)
        return any(each is value and key in _WRITTEN for key, each in named)

    def _add_out(self, name: str, given: list[Any], options: dict[str, Any], expected: Any) -> None:
        """Give a place for the result: between guards, strided, or over an input."""
        if "out" not in [each.name for each in self._parameters(name)]:
            return
        result = _arrays_of(expected)[0]
        kind = self.choose.choice(("strided", "misaligned", "within other memory"))
        options["out"] = SAME[kind](np.zeros_like(result), self.choose)

    def _spoil(
        self, name: str, given: list[Any], options: dict[str, Any], places: list[int]
    ) -> None:
        choose = self.choose
        if places and choose.random() < 0.6:
            k = choose.choice(places)
            if not isinstance(given[k], np.ndarray) or given[k].nbytes > 1 << 20:
                return  # it was spoiled before
            ways = [w for w in OTHER if not (_SANITIZED and w == "claims much")]
            given[k] = OTHER[choose.choice(ways)](given[k], choose)
            return
        names = [
            each.name for each in self._parameters(name)
            if each.kind is inspect.Parameter.KEYWORD_ONLY
        ]  # fmt: skip
        if names and choose.random() < 0.7:
            key = choose.choice(names)
            value = choose.choice(OPTIONS)
            if key in _WRITTEN:
                value = choose.choice((np.zeros(3), np.float32(1), value))
            options[key] = value
        elif len(given) > len(places):
            k = choose.choice([k for k in range(len(given)) if k not in places])
            given[k] = choose.choice(OPTIONS)


@contextlib.contextmanager
def changed_meanwhile(arrays: list[np.ndarray], seed: int) -> Iterator[None]:
    """Let another thread write anything into arrays all the time."""
    done, generator = threading.Event(), np.random.default_rng(seed)

    def change() -> None:
        while not done.is_set():
            for array in arrays:
                flat = array.reshape(-1).view(np.uint8)
                start = int(generator.integers(0, flat.size))
                flat[start : start + 64] = generator.integers(0, 256, 64, np.uint8)[
                    : flat.size - start
                ]

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def race(choose: random.Random, backend: str, calls: int = 20) -> str:
    """Call a function whose arrays another thread changes: it computes anything, or refuses."""
    name, arguments, options = choose.choice(CALLS)
    given = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    arrays = [a for a in given if isinstance(a, np.ndarray) and a.size]
    with changed_meanwhile(arrays, choose.randrange(2**31)):
        for _ in range(calls):
            with contextlib.suppress(*REFUSALS):
                Attack._made(name, given, options, backend)
    return "arrays changed meanwhile"


def attack_training(choose: random.Random, backend: str) -> str:
    """Train while images, labels and what the steps keep in between are overwritten."""
    generator = np.random.default_rng(choose.randrange(2**31))
    images = generator.integers(0, 256, (40, 10, 9, 3), np.uint8)
    labels = generator.integers(0, 5, 40)
    batch = choose.choice((1, 4, 16))
    network = fastconv.Sequential(
        [Conv2D(choose.choice((4, 16))), BatchNorm(), ReLU(), MaxPool2D(2), Dropout(0.4),
         Conv2D(8, padding=1), MaxPool2D(2), Flatten(), Dense(5)],
        (10, 9, 3),
    )  # fmt: skip
    samples = Samples(images, labels)
    trainer = fastconv.Trainer(
        network, samples, loss="softmax_cross_entropy",
        optimizer=choose.choice(("sgd", "adam", "momentum")), schedule=0.01, batch_size=batch,
        preprocessing="scale", backend=backend, threads=choose.choice((1, 2)),
    )  # fmt: skip
    arrays = [samples.images, samples.labels]
    for buffer in trainer.runner.plan.buffers:
        with contextlib.suppress(KeyError):
            array = trainer.runner.buffer(buffer.name)
            if isinstance(array, np.ndarray) and array.size and array.flags.c_contiguous:
                arrays.append(array)
    arrays = [array for array in arrays if array.flags.writeable]
    with changed_meanwhile(arrays, choose.randrange(2**31)), np.errstate(all="ignore"):
        for _ in range(8):
            with contextlib.suppress(UserError, ArithmeticError, LookupError, *REFUSALS):
                trainer.train(min(3, trainer.steps_left_in_epoch()))
            with contextlib.suppress(UserError, ArithmeticError, LookupError, *REFUSALS):
                trainer.evaluate(samples)
    # Batches of samples that there are not.
    wrong = np.full((1, trainer.samples_per_step), choose.choice((-1, 40, 2**40)), np.int64)
    with contextlib.suppress(IndexError):
        trainer.runner.run(wrong, np.array([0.01]), 0)
        raise AssertionError(f"{backend}: a batch of samples {wrong[0, 0]} was run")
    return "trainings with arrays that were overwritten"


def attack_chunk(seed: int, number: int, count: int, backends: list[str]) -> collections.Counter:
    """Make the attacks of one chunk in this process."""
    choose, seen = random.Random(f"{seed} {number}"), collections.Counter[str]()
    limit_memory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index in range(count):
            backend = choose.choice(backends)
            print(f"chunk {number}, attack {index}, {backend}", file=sys.stderr)
            if index % 100 == 50:
                seen[attack_training(choose, backend)] += 1
            elif index % 20 == 10:
                seen[race(choose, backend)] += 1
            else:
                seen[Attack(choose, backend).call()] += 1
    return seen


def run_chunk(seed: int, number: int, options: argparse.Namespace) -> tuple[str, str]:
    """Make the attacks of one chunk in a process of its own: its output, and what went wrong."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", str(seed), str(number), str(CHUNK), options.backend],
        capture_output=True, text=True, check=False, timeout=3600,
        env={**os.environ, "FASTCONV_CHECK": "0", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode == 0:
        return done.stdout, ""
    return "", f"exit code {done.returncode}: {done.stderr[-4000:]}"


def main() -> int:
    """Run the command line and return the exit code."""
    if sys.argv[1:2] == ["--child"]:
        seed, number, count = map(int, sys.argv[2:5])
        for what, times in attack_chunk(seed, number, count, sys.argv[5].split(",")).items():
            print(times, what)
        return 0
    parser = argparse.ArgumentParser(
        "python -m tests.attack", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--minutes", type=float, default=10)
    add("--seed", type=int, default=0)
    add("--first", type=int, default=0, metavar="N", help="number of the first chunk")
    add("--chunks", type=int, default=10**6, metavar="N", help="most chunks")
    add("--backend", default=",".join(BACKENDS), help="some of %(default)s")
    add("--processes", type=int, default=1)
    options = parser.parse_args()
    ends, seen = time.monotonic() + 60 * options.minutes, collections.Counter[str]()
    failures = 0
    numbers = iter(range(options.first, options.first + options.chunks))

    def work() -> None:
        nonlocal failures
        while time.monotonic() < ends and (number := next(numbers, None)) is not None:
            told, wrong = run_chunk(options.seed, number, options)
            for line in told.splitlines():
                times, _, what = line.partition(" ")
                seen[what] += int(times)
            if wrong:
                failures += 1
                print(f"chunk {number}: {wrong}", flush=True)

    with ThreadPoolExecutor(options.processes) as pool:
        for job in [pool.submit(work) for _ in range(options.processes)]:
            job.result()
    for what, times in sorted(seen.items()):
        print(f"{times:8} {what}")
    print(f"{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
