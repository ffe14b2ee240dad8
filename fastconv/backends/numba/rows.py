"""Passes over some rows of an array together.

Short rows, of ten classes, say, are nothing for vectors, but all the elements of some of them are.
An instruction says how many are done together, so that this does not depend on the number of
threads.
"""

from __future__ import annotations

from typing import Any

from fastconv.backends.numba.compilation import Real, inlined
from fastconv.backends.numba.exponential import exponential
from fastconv.backends.numba.reductions import largest_of, sum_of
from fastconv.backends.numba.vector_memory import load, store
from fastconv.backends.numba.vectors import lanes_of


@inlined
def exponentials(x: Any, y: Any, first: int, end: int, real: Real) -> None:
    """``y = e^x`` between two elements."""
    lanes = lanes_of(real)
    for i in range(first, end, lanes):
        count = min(lanes, end - i)
        store(y, i, exponential(load(x, i, count)), count)


@inlined
def shift_rows(x: Any, y: Any, first: int, end: int, classes: int, real: Real) -> None:
    """Write x minus the largest of its row to y, for the rows between two elements."""
    lanes = lanes_of(real)
    for start in range(first, end, classes):
        most, stop = largest_of(x, start, start + classes, real), start + classes
        for i in range(start, stop, lanes):
            count = min(lanes, stop - i)
            store(y, i, load(x, i, count) - most, count)


@inlined
def divide_by_sum(y: Any, start: int, stop: int, real: Real) -> Any:
    """Divide a row of powers by its sum, and return that."""
    lanes, total = lanes_of(real), sum_of(y, start, stop, real)
    inverse = real(1) / total
    for i in range(start, stop, lanes):
        count = min(lanes, stop - i)
        store(y, i, load(y, i, count) * inverse, count)
    return total
