"""Marks and text in pictures, in files and on pages."""

from __future__ import annotations

import numpy as np

from fastconv.plots.arguments import FloatArray

MOST_CELLS = 16
"""Classes up to which the cells of a confusion matrix hold numbers."""

_MARKS = 8
"""About how many markers a line has: enough to know it by, few enough to see it."""
_MOST_NAMES = 20
"""Names that there is room for along a side of a confusion matrix."""


def marked_points(values: FloatArray, number: int) -> list[int]:
    """Return the points to mark: some along the line, and those that no line reaches.

    Parameters
    ----------
    values
        (N,); what is not finite leaves a gap.
    number
        Of the line: lines that lie on each other are marked at different places.

    Examples
    --------
    >>> marked_points(np.array([1.0, np.nan, 2.0]), 0)
    [0, 2]
    """
    finite = np.isfinite(values)
    points = np.flatnonzero(finite)
    every = -(-len(points) // _MARKS) or 1
    some = points[number * every // 3 % every :: every]
    around = np.pad(finite, 1)
    alone = np.flatnonzero(finite & ~around[:-2] & ~around[2:])
    return [int(point) for point in np.union1d(some, alone)]


def last_value(values: FloatArray, *, percent: bool) -> str:
    """Return the last finite value as text, and what came after it.

    Examples
    --------
    >>> last_value(np.array([0.5, 0.25]), percent=True)
    '25.0 %'
    >>> last_value(np.array([0.5, np.nan]), percent=False)
    '0.5, then nan'
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return str(values[-1]) if values.size else "none"
    text = f"{finite[-1]:.1%}".replace("%", " %") if percent else f"{finite[-1]:.4g}"
    return text if np.isfinite(values[-1]) else f"{text}, then {values[-1]}"


def whole_percent(value: float) -> str:
    """Return whole percent; what is not 0 is never written as 0, what is not 100 never as 100.

    Examples
    --------
    >>> whole_percent(37.2), whole_percent(99.7), whole_percent(0.2), whole_percent(0.01)
    ('37', '99.7', '0.2', '<0.1')
    """
    if value < 1:
        return f"{value:.1f}" if value >= 0.05 else "<0.1"
    return f"{value:.1f}" if 99 <= value < 100 else f"{value:.0f}"


def named_places(count: int) -> range:
    """Return which of so many classes are named: where there is no room, some stand for all.

    Examples
    --------
    >>> len(named_places(10)), len(named_places(100))
    (10, 20)
    """
    return range(0, count, -(-count // _MOST_NAMES))


def names_stand_upright(names: list[str]) -> bool:
    """Whether names below columns touch each other unless they are turned."""
    return max(map(len, names), default=0) * len(names) > 40
