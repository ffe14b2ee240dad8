"""Ticks of an axis: where it has its numbers, and how they are written."""

from __future__ import annotations

import math
from collections.abc import Sequence

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_TOLERANCE = 1e-9


def linear_ticks(low: float, high: float, most: int) -> list[float]:
    """Return round numbers from ``low`` to ``high``: multiples of 1, 2, 2.5 or 5 tens or tenths.

    Parameters
    ----------
    low, high
        Ends of the axis.
    most
        How many there may be, 2 or more.

    Examples
    --------
    >>> linear_ticks(0.0, 1.0, 6)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> linear_ticks(37, 803, 5)
    [200.0, 400.0, 600.0, 800.0]
    """
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low] if math.isfinite(low) else []
    power = 10.0 ** math.floor(math.log10(span / most))
    for factor in (*_STEPS, 20.0):
        step = factor * power
        first = math.ceil(low / step - _TOLERANCE)
        last = math.floor(high / step + _TOLERANCE)
        if last - first + 1 <= most:
            break
    # Rounded, so that 3 times 0.1 is 0.3.
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(number * step, digits) + 0.0 for number in range(first, last + 1)]


def logarithmic_ticks(low: float, high: float, most: int) -> list[float]:
    """Return powers of ten from ``low`` to ``high``, with 2 and 5 times each where there is room.

    Parameters
    ----------
    low, high
        Ends of the axis, above 0.
    most
        How many there may be, 2 or more.

    Examples
    --------
    >>> logarithmic_ticks(0.015, 2.5, 9)
    [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    >>> logarithmic_ticks(1e-9, 1.0, 5)
    [1e-08, 1e-06, 0.0001, 0.01, 1.0]
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [
            float(f"{factor}e{power}") for power in range(first, last + 1) for factor in factors
        ]
        ticks = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(ticks) <= most:
            break
    else:
        # From the largest down.
        ticks = ticks[::-1][:: -(-len(ticks) // most)][::-1]
    # Less than a power of ten may hold none of these.
    return ticks if len(ticks) > 1 else linear_ticks(low, high, most)


def tick_labels(ticks: Sequence[float], *, percent: bool = False) -> list[str]:
    """Return how ticks are written: with the decimals that tell them apart.

    Parameters
    ----------
    ticks
        From the least to the largest.
    percent
        Whether they are fractions of 1 to be read as percent.

    Examples
    --------
    >>> tick_labels([0.0, 0.5, 1.0]), tick_labels([0.0, 0.25], percent=True)
    (['0.0', '0.5', '1.0'], ['0 %', '25 %'])
    >>> tick_labels([0.0, 1e-6, 2e-6])
    ['0', '1e-06', '2e-06']
    """
    values = [100 * tick for tick in ticks] if percent else list(ticks)
    unit = " %" if percent else ""
    most = max(map(abs, values), default=0.0)
    if most >= 1e6 or 0 < most < 1e-3:
        return [f"{value:g}{unit}" for value in values]
    for digits in range(7):
        if all(abs(value - round(value, digits)) <= 1e-9 * max(most, 1e-300) for value in values):
            return [f"{value:.{digits}f}{unit}" for value in values]
    return [f"{value:g}{unit}" for value in values]


def logarithmic_labels(ticks: Sequence[float]) -> list[str]:
    """Return how the ticks of a logarithmic axis are written, each by itself.

    Examples
    --------
    >>> logarithmic_labels([1e-8, 0.01, 100.0])
    ['1e-08', '0.01', '100']
    """
    return [f"{tick:g}" for tick in ticks]
