"""Running a plan: one call of the compiled engine for many steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fastconv.backends.compiled.runner import StreamRunner
from fastconv.backends.numba import engine
from fastconv.plans.plan import Plan

IS_ON_HOST = True
"""Whether plans use the host's arrays where they lie."""


def to_device(array: np.ndarray) -> np.ndarray:
    """Return the array where this backend computes: here it is already."""
    return array


def to_host(array: np.ndarray) -> np.ndarray:
    """Return the array as a NumPy array: here it is one already."""
    return array


def write(array: np.ndarray, target: np.ndarray) -> None:
    """Write an array of the host over one where this backend computes.

    Parameters
    ----------
    array
        Numbers that the target's dtype need not hold: they are rounded, or infinite.
    target
        As :func:`to_device` returned it, of the array's shape.
    """
    if array.dtype == target.dtype:
        target[...] = array
    else:
        with np.errstate(over="ignore"):
            target[...] = array


class Runner(StreamRunner):
    """A plan with its buffers allocated and its instruction stream made.

    Parameters
    ----------
    plan
        What to run.
    shared
        Arrays for the buffers that the plan marks as shared, by name.
    threads
        How many threads may take part; None: FASTCONV_THREADS, else all cores of this process.
    """

    def __init__(
        self, plan: Plan, shared: Mapping[str, np.ndarray], threads: int | None = None
    ) -> None:
        super().__init__(plan, shared, threads, engine)
