"""The exponential and what is built on it, of each lane of a vector.

e^x = 2^n e^r with n the integer nearest to x / log 2 and abs(r) <= log(2) / 2 (Cody & Waite,
"Software Manual for the Elementary Functions", 1980); e^r is its Taylor series, to the term below
half a unit in the last place. :func:`exponential` and :func:`exponential_minus_one` are within 2
units in the last place. A NaN stays one.
"""

from __future__ import annotations

import math
from typing import Any

from fastconv.backends.numba.compilation import inlined
from fastconv.backends.numba.vector_functions import (
    bits_of,
    of_its_dtype,
    polynomial_of,
    power_of_two,
)
from fastconv.backends.numba.vectors import select

# (e^r - 1 - r) / r^2 and (artanh(s) / s - 1) / s^2.
_series = polynomial_of(
    tuple(1 / math.factorial(k) for k in range(7, 1, -1)),
    tuple(1 / math.factorial(k) for k in range(13, 1, -1)),
)
_artanh = polynomial_of(
    tuple(1 / k for k in range(15, 1, -2)), tuple(1 / k for k in range(33, 1, -2))
)

# Adding 1.5 * 2^mantissa leaves an integer in the last bits.
_shift = of_its_dtype(12582912.0, 6755399441055744.0)
# log 2 in two parts, the first one so short that n times it is exact.
_high = of_its_dtype(0.693359375, 6.93147180369123816490e-01)
_low = of_its_dtype(-2.12194440054690583e-4, 1.90821492927058770002e-10)
_least = of_its_dtype(-105.0, -746.0)
_least_but_one = of_its_dtype(-20.0, -40.0)
_most = of_its_dtype(89.0, 710.0)


@inlined
def _split(x: Any) -> tuple[Any, Any]:
    """The integer n and the rest r of x = n log 2 + r."""
    shifted = x * 1.4426950408889634 + _shift(x)
    n = shifted - _shift(x)
    return bits_of(shifted) - bits_of(_shift(x)), (x - n * _high(x)) - n * _low(x)


@inlined
def _exponential_minus_one_of_rest(r: Any) -> Any:
    return r + (r * r) * _series(r)


@inlined
def exponential(x: Any) -> Any:
    """e^x; infinity, 0 and numbers below the normal ones where they belong."""
    x = select(x < _least(x), _least(x), x)
    x = select(x > _most(x), _most(x), x)
    n, r = _split(x)
    half = n >> 1
    # In two factors: 2^n itself may be beyond what can be represented.
    power = (_exponential_minus_one_of_rest(r) + 1) * power_of_two(half)
    return power * power_of_two(n - half)


@inlined
def exponential_minus_one(x: Any) -> Any:
    """e^x - 1, without the cancellation near 0."""
    # Below the first limit it is -1, rounded.
    x = select(x < _least_but_one(x), _least_but_one(x), x)
    x = select(x > _most(x), _most(x), x)
    n, r = _split(x)
    # Half of it, because 2^n may just be too large.
    scale = power_of_two(n - 1)
    return (scale * _exponential_minus_one_of_rest(r) + (scale - 0.5)) * 2


@inlined
def _minus_magnitude(x: Any) -> Any:
    return select(x > 0, -x, x)


@inlined
def sigmoid(x: Any) -> Any:
    """1 / (1 + e^-x)."""
    power = exponential(_minus_magnitude(x))
    return select(x > 0, 1, power) / (power + 1)


@inlined
def hyperbolic_tangent(x: Any) -> Any:
    """The hyperbolic tangent."""
    power = exponential_minus_one(_minus_magnitude(x) * 2)
    t = power / (power + 2)  # of -abs(x)
    return select(x > 0, -t, t)


@inlined
def softplus(x: Any) -> Any:
    """log(1 + e^x)."""
    power = exponential(_minus_magnitude(x))
    # log(1 + power) as 2 artanh(s); s * s is at most 1/9.
    s = power / (power + 2)
    square = s * s
    return select(x > 0, x, 0) + (s + s * (square * _artanh(square))) * 2
