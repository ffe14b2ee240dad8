"""One number from elements ``first`` to ``end``, in an order that only their count fixes."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numba.compilation import Real, inlined
from fastconv.backends.numba.pointers import local
from fastconv.backends.numba.vector_functions import largest_lane, sum_of_lanes
from fastconv.backends.numba.vector_memory import load, load_or, store
from fastconv.backends.numba.vectors import as_dtype, lanes_of, select, spread, spread_beside

_MOST_LANES = 16
_ADDS_OF_A_BLOCK = 16
"""Vectors that are added in their dtype; the sums of so many are added in float64, as longer ones
in float32 lose digits."""
ELEMENTS_OF_A_BLOCK = 1024
"""Elements whose squares are summed at once; the sums are added in order, so that the number of
threads changes nothing. It is that of fastconv/backends/compiled/rules/gradient.py."""


@inlined
def sum_of(x: Any, first: int, end: int, real: Real) -> Any:
    """The sum."""
    lanes = lanes_of(real)
    wide = spread_beside(0, np.float64, real)
    for block in range(first, end, _ADDS_OF_A_BLOCK * lanes):
        last, total = min(end, block + _ADDS_OF_A_BLOCK * lanes), spread(0, real)
        for i in range(block, last, lanes):
            total = total + load(x, i, min(lanes, last - i))
        wide = wide + as_dtype(total, np.float64)
    return real(sum_of_lanes(wide))


@inlined
def sum_of_products(a: Any, b: Any, first: int, end: int, real: Real) -> Any:
    """The sum of ``a[i] * b[i]``."""
    lanes = lanes_of(real)
    wide = spread_beside(0, np.float64, real)
    for block in range(first, end, _ADDS_OF_A_BLOCK * lanes):
        last, total = min(end, block + _ADDS_OF_A_BLOCK * lanes), spread(0, real)
        for i in range(block, last, lanes):
            count = min(lanes, last - i)
            total = total + load(a, i, count) * load(b, i, count)
        wide = wide + as_dtype(total, np.float64)
    return real(sum_of_lanes(wide))


@inlined
def sum_of_squares(a: Any, b: Any, first: int, end: int, real: Real) -> Any:
    """The sum of ``(a[i] - b[i]) ** 2``."""
    lanes = lanes_of(real)
    wide = spread_beside(0, np.float64, real)
    for block in range(first, end, _ADDS_OF_A_BLOCK * lanes):
        last, total = min(end, block + _ADDS_OF_A_BLOCK * lanes), spread(0, real)
        for i in range(block, last, lanes):
            count = min(lanes, last - i)
            difference = load(a, i, count) - load(b, i, count)
            total = total + difference * difference
        wide = wide + as_dtype(total, np.float64)
    return real(sum_of_lanes(wide))


@inlined
def largest_of(x: Any, first: int, end: int, real: Real) -> Any:
    """The largest; NaN counts for nothing, and -inf is the largest of none."""
    lanes = lanes_of(real)
    most = spread(-np.inf, real)
    for i in range(first, end, lanes):
        numbers = load_or(x, i, min(lanes, end - i), real(-np.inf))
        most = select(numbers > most, numbers, most)
    return largest_lane(most)


@inlined
def extremes_of(x: Any, first: int, end: int, real: Real) -> tuple[Any, Any]:
    """The smallest and the largest of one number or more, or NaN where there is one."""
    lanes = lanes_of(real)
    low = spread(x[first], real)
    high = low
    for i in range(first, end, lanes):
        numbers = load_or(x, i, min(lanes, end - i), x[first])
        is_nan = numbers != numbers
        low = select((numbers < low) | is_nan, numbers, low)
        high = select((numbers > high) | is_nan, numbers, high)
    lows, highs = local(_MOST_LANES, real), local(_MOST_LANES, real)
    store(lows, 0, low, lanes)
    store(highs, 0, high, lanes)
    smallest, largest = lows[0], highs[0]
    for lane in range(1, lanes):
        a, b = lows[lane], highs[lane]
        smallest = a if a < smallest or a != a else smallest
        largest = b if b > largest or b != b else largest
    return smallest, largest


@inlined
def sum_of_blocks(sums: Any, size: int) -> float:
    """The sum of what squared_sums gives for ``size`` elements."""
    total = 0.0
    for i in range((size + ELEMENTS_OF_A_BLOCK - 1) // ELEMENTS_OF_A_BLOCK):
        total += sums[i]
    return total
