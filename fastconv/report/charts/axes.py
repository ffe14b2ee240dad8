"""The axes of a chart: from numbers to places, with ticks, a grid and titles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fastconv.plots.arguments import FloatArray
from fastconv.report.charts.canvas import TEXT, Canvas, number, widest
from fastconv.report.charts.ticks import (
    linear_ticks,
    logarithmic_labels,
    logarithmic_ticks,
    tick_labels,
)

_GAP = 7.0
"""Between an axis and its numbers."""
_OVERHANG = 14.0
"""Pixels that the last number may go beyond a horizontal axis."""


@dataclass(frozen=True)
class Axis:
    """One axis.

    Parameters
    ----------
    low, high
        Its ends.
    ticks, labels
        Where its numbers are, and how they are written.
    title
        What they are.
    log
        Whether it is logarithmic.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]
    title: str = ""
    log: bool = False

    def places(self, values: npt.ArrayLike, start: float, end: float) -> FloatArray:
        """Return where values lie between two places; nothing is below a logarithmic axis."""
        numbers = np.asarray(values, np.float64)
        low, high = self.low, self.high
        if self.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                numbers = np.log10(np.where(numbers < low, low, numbers))
            low, high = float(np.log10(low)), float(np.log10(high))
        # Halves: the span of what is as large as numbers can be is none.
        shares = (numbers / 2 - low / 2) / (high / 2 - low / 2)
        placed: FloatArray = start + shares * (end - start)
        return placed


def axis_over(
    values: npt.ArrayLike,
    title: str,
    *,
    most: int,
    log: bool = False,
    percent: bool = False,
    margin: float = 0.05,
) -> Axis | None:
    """Return an axis that holds all finite values; None where there are none.

    Parameters
    ----------
    values
        Numbers.
    title
        What they are.
    most
        Ticks.
    log
        Whether it is logarithmic, if a value is above 0.
    percent
        Whether values are fractions of 1 to be read as percent.
    margin
        Room at both ends as a share of the span.
    """
    numbers = np.asarray(values, np.float64).ravel()
    numbers = numbers[np.isfinite(numbers)]
    if log and (numbers > 0).any():
        numbers = np.log10(numbers[numbers > 0])
    else:
        log = False
    if not numbers.size:
        return None
    low, high = float(numbers.min()), float(numbers.max())
    # Half of it first: what is as large as numbers can be has no span.
    room = (high / 2 - low / 2) * 2 * margin
    if log:
        room = room or 0.3
        low, high = 10 ** max(low - room, -307.0), 10 ** min(high + room, 308.0)
        found = logarithmic_ticks(low, high, most)
        return Axis(low, high, tuple(found), tuple(logarithmic_labels(found)), title, log=True)
    room = room or abs(low) * margin or margin
    low, high = max(low - room, -1.7e308), min(high + room, 1.7e308)
    found = linear_ticks(low, high, most)
    if percent and not (numbers < 0).any():
        # No share is less than nothing, though there is room for it.
        found = [tick for tick in found if tick >= 0]
    labels = tick_labels(found, percent=percent)
    return Axis(low, high, tuple(found), tuple(labels), title)


@dataclass(frozen=True)
class Box:
    """Frame of the axes.

    Parameters
    ----------
    left, top, right, bottom
        Its sides.
    """

    left: float
    top: float
    right: float
    bottom: float


def room_on_the_left(axis: Axis) -> float:
    """Return the room for the numbers and the title of a vertical axis."""
    return widest(axis.labels) + _GAP + (1.6 * TEXT if axis.title else 0.0) + 2


def draw_axes(canvas: Canvas, box: Box, x: Axis, y: Axis, *, numbers_below: bool = True) -> None:
    """Draw grid, axes, numbers and titles.

    Parameters
    ----------
    canvas
        Where.
    box
        Inside the axes.
    x, y
        The axes.
    numbers_below
        Whether the horizontal axis has its numbers and title.
    """
    xs, ys = x.places(x.ticks, box.left, box.right), y.places(y.ticks, box.bottom, box.top)
    grid = "".join(f"M{number(at)} {number(box.top)}V{number(box.bottom)}" for at in xs)
    grid += "".join(f"M{number(box.left)} {number(at)}H{number(box.right)}" for at in ys)
    canvas.path(grid, "grid")
    canvas.path(
        f"M{number(box.left)} {number(box.top)}V{number(box.bottom)}H{number(box.right)}", "axis"
    )
    for at, label in zip(ys, y.labels, strict=True):
        canvas.text(box.left - _GAP, at + 0.35 * TEXT, label, anchor="end")
    middle = (box.top + box.bottom) / 2
    if y.title:
        canvas.text(TEXT, middle, y.title, anchor="middle", turned=True)
    if numbers_below:
        for at, label in _apart(xs, x.labels, box.right + _OVERHANG):
            canvas.text(at, box.bottom + _GAP + 0.8 * TEXT, label, anchor="middle")
        across = (box.left + box.right) / 2
        canvas.text(across, box.bottom + _GAP + 2.2 * TEXT, x.title, anchor="middle")


def _apart(places: FloatArray, labels: Sequence[str], limit: float) -> list[tuple[float, str]]:
    """Return the labels that neither touch the one before nor go beyond the chart."""
    kept: list[tuple[float, str]] = []
    end = -np.inf
    for at, label in zip(places.tolist(), labels, strict=True):
        half = widest([label]) / 2
        if at - half > end + 0.4 * TEXT and at + half <= limit:
            kept.append((at, label))
            end = at + half
    return kept


def draw_axis_above(canvas: Canvas, box: Box, axis: Axis) -> None:
    """Draw a second horizontal axis at the top."""
    places = axis.places(axis.ticks, box.left, box.right)
    marks = "".join(f"M{number(at)} {number(box.top)}v-4" for at in places)
    canvas.path(f"M{number(box.left)} {number(box.top)}H{number(box.right)}{marks}", "axis")
    for at, label in _apart(places, axis.labels, box.right + _OVERHANG):
        canvas.text(at, box.top - _GAP - 1, label, anchor="middle")
    across = (box.left + box.right) / 2
    canvas.text(across, box.top - _GAP - 1.25 * TEXT, axis.title, anchor="middle")


def scaled(axis: Axis, factor: float, title: str, most: int) -> Axis:
    """Return an axis of the same ends whose numbers are those of another, divided by a factor."""
    low, high = axis.low / factor, axis.high / factor
    ticks = linear_ticks(low, high, most)
    return replace(
        axis, low=low, high=high, ticks=tuple(ticks), labels=tuple(tick_labels(ticks)), title=title
    )


def draw_no_data(canvas: Canvas, box: Box, ylabel: str, xlabel: str) -> None:
    """Write "no data" into empty axes, and their titles."""
    canvas.path(
        f"M{number(box.left)} {number(box.top)}V{number(box.bottom)}H{number(box.right)}", "axis"
    )
    middle, across = (box.top + box.bottom) / 2, (box.left + box.right) / 2
    canvas.text(across, middle, "no data", anchor="middle")
    canvas.text(TEXT, middle, ylabel, anchor="middle", turned=True)
    canvas.text(across, box.bottom + _GAP + 2.2 * TEXT, xlabel, anchor="middle")
