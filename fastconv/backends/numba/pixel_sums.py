"""Sums over many pixels, which keep their digits.

64 are added in the dtype of the pixels, with four sums that take 16 each, and those of 64 in
float64: a sum in float32 alone stands still at 2**24 ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numba.compilation import Real, inlined
from fastconv.backends.numba.vector_memory import load
from fastconv.backends.numba.vectors import as_dtype, spread

PIXELS_OF_A_BLOCK = 64
ADDS_OF_A_BLOCK = 16
MOST_BIASES = 1024
"""Whose float64 sums are kept on the stack, as in ``kernels/cpu/pixel_sums.h``."""


@inlined
def sum_of_pixels(
    total: Any, source: Any, at: int, pixels: int, step: int, count: int, real: Real
) -> Any:
    """Add vectors of ``count`` channels, ``step`` elements apart, to a float64 vector."""
    for first in range(0, pixels, PIXELS_OF_A_BLOCK):
        last = min(pixels, first + PIXELS_OF_A_BLOCK)
        rest = last - (last - first) % 4
        s0, s1, s2, s3 = spread(0, real), spread(0, real), spread(0, real), spread(0, real)
        for pixel in range(first, rest, 4):
            place = at + pixel * step
            s0 = s0 + load(source, place, count)
            s1 = s1 + load(source, place + step, count)
            s2 = s2 + load(source, place + 2 * step, count)
            s3 = s3 + load(source, place + 3 * step, count)
        for pixel in range(rest, last):
            s0 = s0 + load(source, at + pixel * step, count)
        total = total + as_dtype((s0 + s1) + (s2 + s3), np.float64)
    return total
