"""Checks of one backend on one problem: every kernel, alignment, number of threads and dtype."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.compiled.threads import set_threads
from fastconv.backends.selection import load_module
from fastconv.verify.kernel_calls import Call, calls_of
from fastconv.verify.oracle import expected
from fastconv.verify.problems import Problem
from fastconv.verify.tolerances import EXACT, excess, may_be_of_large_tiles, tolerance_of
from fastconv.verify.watched_memory import run_watched

COMPILED = ("cython", "numba")
"""Backends whose bits are the same on any number of threads."""
DTYPES = ("float32", "float64")
_SUMS = ("conv.", "nchw.", "dense.")
_BYTES_OF_CACHES = 32 * 2**20
_LINE = 64
"""Bytes of a cache line."""


@dataclass(frozen=True)
class Subject:
    """What is verified.

    Parameters
    ----------
    backend
        Its name.
    isa
        Of the compiled backends: what FASTCONV_ISA names; empty for the others.
    threads
        Numbers of threads to verify it with.
    """

    backend: str
    isa: str = ""
    threads: tuple[int, ...] = (1,)

    def __str__(self) -> str:
        return f"{self.backend} {self.isa}".strip()


@dataclass(frozen=True)
class Failure:
    """Something that is not as promised.

    Parameters
    ----------
    backend, isa, threads
        Where it was found.
    problem
        A descriptor, or the name of a recipe.
    kernel, dtype
        Which call; empty for the steps of a recipe.
    what
        What is wrong, in one line.
    """

    backend: str
    isa: str
    threads: int
    problem: str
    kernel: str
    dtype: str
    what: str

    @property
    def reproducer(self) -> str:
        """The command that finds it again."""
        words = ["python", "-m", "fastconv.verify", "--backend", self.backend]
        for option, value in (
            ("--isa", self.isa), ("--threads", str(self.threads)), ("--kernel", self.kernel),
            ("--dtype", self.dtype),
        ):  # fmt: skip
            words += [option, value] if value else []
        return shlex.join([*words, self.problem])

    def __str__(self) -> str:
        call = " ".join(filter(None, (self.kernel, self.dtype)))
        return (
            f"{self.backend} {self.isa}".strip()
            + f", {call or 'steps'}, {self.threads} thread{'s' if self.threads != 1 else ''}: "
            f"{self.what}"
        )

    def table(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "reproducer": self.reproducer}


@dataclass
class Tally:
    """What a check came to.

    Parameters
    ----------
    calls
        Calls of kernels, or training steps, that were compared.
    failures
        What is wrong.
    """

    calls: int = 0
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True)
class _Run:
    """How a call is made: on so many threads, so far from a cache line, from cold caches."""

    threads: int
    is_aligned: bool = True
    is_cold: bool = False


def check_problem(
    subject: Subject,
    problem: Problem,
    *,
    kernel: str | None = None,
    dtypes: Sequence[str] = DTYPES,
    oracle: Callable[[Call], dict[str, NDArray[Any]]] = expected,
) -> Tally:
    """Check every kernel of a backend on one problem, in this process.

    On small integers the results must be equal, where sums of those are exact; on random numbers
    within the tolerance of the kernel, and the same in every bit on any number of threads and when
    made again.

    Parameters
    ----------
    subject
        The backend; its instruction set is the one of this process.
    problem
        The problem.
    kernel
        The one to check; None for all.
    dtypes
        Of the arrays.
    oracle
        Says what is right.

    Examples
    --------
    >>> from fastconv.verify.problems import parse_descriptor
    >>> check_problem(Subject("numpy"), parse_descriptor("mb1ic3oc4_ih5kh3")).failures
    []
    """
    tally = Tally()
    for dtype in dtypes:
        for integers in (True, False):
            for call in calls_of(problem.spec, dtype, integers=integers):
                if kernel in (None, call.kernel):
                    tally.calls += 1
                    for threads, what in _faults(subject, call, integers, oracle(call)):
                        where = subject.backend, subject.isa, threads, problem.descriptor
                        tally.failures.append(Failure(*where, call.kernel, dtype, what))
                        break  # what else is wrong with a call mostly follows from it
    return tally


def _runs(threads: Sequence[int], integers: bool, is_first: bool) -> list[_Run]:
    if integers:
        # One dtype shows what depends on caches; emptying them takes longer than most calls.
        return [_Run(threads[0], is_cold=is_first), _Run(threads[-1], is_aligned=False)]
    again = _Run(threads[0])
    return [*map(_Run, threads), again, _Run(threads[-1], is_aligned=False)]


def _faults(
    subject: Subject, call: Call, integers: bool, wanted: dict[str, NDArray[Any]]
) -> Iterator[tuple[int, str]]:
    """Make a call in every way; yield what is wrong, with the number of threads."""
    first: dict[str, NDArray[Any]] | None = None
    try:
        for run in _runs(subject.threads, integers, np.dtype(call.dtype) == np.float32):
            set_threads(run.threads)
            if run.is_cold:
                _empty_caches()
            try:
                results = _make(subject.backend, call, run)
            except Exception as fault:  # whatever a kernel raises is what is looked for
                told = " ".join(str(fault).split())
                yield run.threads, f"{type(fault).__name__}: {told}"
                return
            where = "" if run.is_aligned else " (arrays beside a cache line)"
            for name, array in results.items():
                told = _difference(call, name, array, wanted[name], integers)
                if told:
                    yield run.threads, f"{name}{told}{where}"
                elif run.is_aligned and first is not None and not _same_bits(array, first[name]):
                    ways = "on another number of threads" if run.threads > 1 else "when made again"
                    yield run.threads, f"{name} has other bits {ways}"
            if run.is_aligned and first is None:
                first = results
    finally:
        set_threads(None)


def _make(backend: str, call: Call, run: _Run) -> dict[str, NDArray[Any]]:
    module = load_module(backend, call.kernel.partition(".")[0])
    skip = 0 if run.is_aligned else np.dtype(call.dtype).itemsize
    return run_watched(module, load_module(backend, "run"), call, skip=skip)


@functools.cache
def _large() -> NDArray[np.uint8]:
    return np.zeros(_BYTES_OF_CACHES, np.uint8)


def _empty_caches() -> None:
    """Fill the caches with other memory."""
    _large()[::_LINE] += 1


def _same_bits(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.tobytes() == other.tobytes()


def _difference(
    call: Call, name: str, actual: NDArray[Any], wanted: NDArray[Any], integers: bool
) -> str:
    """Say where an array is wrong, most wrong first; empty where it is not."""
    sums_exactly = call.kernel.startswith(_SUMS) and not may_be_of_large_tiles(
        call.kernel, name, call.spec
    )
    is_exact = (integers and sums_exactly) or (
        actual.dtype.kind != "f" or tolerance_of(call.kernel) == EXACT
    )
    if actual.size == 0:
        return ""
    with np.errstate(invalid="ignore"):
        if is_exact:
            error = np.abs(actual.astype(np.float64) - wanted)
            wrong = ~(error == 0)
        else:
            error = excess(actual, wanted, call.kernel, call.scale_of(name))
            wrong = ~(error <= 1)  # so that a NaN is wrong
    if not wrong.any():
        return ""
    worst = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), actual.shape)
    place = ", ".join(map(str, worst))
    return (
        f"[{place}] is {actual[worst]:.9g}, not {wanted[worst]:.9g}: "
        f"{np.count_nonzero(wrong)} of {wrong.size} wrong"
    )
