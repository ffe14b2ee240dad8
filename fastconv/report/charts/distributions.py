"""Histograms of weights, before and after a training or in two networks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from fastconv.functional.arrays import as_numbers
from fastconv.report.charts.axes import (
    Axis,
    Box,
    axis_over,
    draw_axes,
    draw_no_data,
    room_on_the_left,
)
from fastconv.report.charts.canvas import TEXT, WIDTH, Canvas, number, series_class

_GAP, _RIGHT = 14.0, 14.0


def histogram_pairs(
    canvas: Canvas,
    pairs: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    *,
    bins: int = 40,
    columns: int | None = None,
    log: bool = False,
    names: tuple[str, str] = ("before", "after"),
) -> None:
    """Draw what :func:`fastconv.report.composites.histogram_pairs` draws."""
    columns = columns or len(pairs)
    width = (WIDTH - (columns - 1) * _GAP) / columns
    height = 268.0 if columns > 1 else 250.0
    canvas.name_series(names[0], '<rect class="bar area c0" x="4" y="3" width="32" height="11"/>')
    canvas.name_series(names[1], '<path class="line c1" d="M4 12V4H20V9H36V12"/>')
    for place, (label, (before, after)) in enumerate(pairs.items()):
        row, column = divmod(place, columns)
        left, top = column * (width + _GAP), row * height
        canvas.add(f'<g transform="translate({number(left)} {number(top)})">')
        title = "count" if not column else ""
        _draw_pair(canvas, before, after, bins, (width, height), (label, title), names, log=log)
        canvas.add("</g>")
    canvas.height = height * -(-len(pairs) // columns)


def _draw_pair(
    canvas: Canvas,
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    bins: int,
    size: tuple[float, float],
    titles: tuple[str, str],
    names: tuple[str, str],
    *,
    log: bool,
) -> None:
    """Draw two histograms into axes of their own."""
    values = [as_numbers("histogram_pairs", "weights", each).ravel() for each in (before, after)]
    finite = [each[np.isfinite(each)] for each in values]
    width, height = size
    bottom = height - 2.8 * TEXT
    everything = np.concatenate(finite)
    if not everything.size:
        draw_no_data(canvas, Box(2 * TEXT, 8, width - _RIGHT, bottom), titles[1], titles[0])
        return
    edges = np.histogram_bin_edges(everything, bins)
    counts = [np.histogram(each, edges)[0] for each in finite]
    y = _counted(max(int(each.max()) for each in counts), titles[1], log=log)
    x = axis_over(edges, titles[0], most=5, margin=0.03)
    assert x is not None  # edges are finite
    box = Box(room_on_the_left(y), 8, width - _RIGHT, bottom)
    draw_axes(canvas, box, x, y)
    at = x.places(edges, box.left, box.right)
    tops = [y.places(each, box.bottom, box.top) for each in counts]
    for series, (heights, kind) in enumerate(zip(tops, ("bar area", "line"), strict=True)):
        steps = "".join(
            f"V{number(top)}H{number(right)}" for top, right in zip(heights, at[1:], strict=True)
        )
        drawn = f"M{number(at[0])} {number(box.bottom)}{steps}V{number(box.bottom)}"
        canvas.path(drawn, f"{kind} {series_class(series)}")
    for n in range(len(edges) - 1):
        canvas.rectangle(
            at[n], box.top, at[n + 1] - at[n], box.bottom - box.top, 'class="strip"',
            title=f"{edges[n]:.4g} to {edges[n + 1]:.4g}\n{names[0]} {counts[0][n]:,}\n"
            f"{names[1]} {counts[1][n]:,}",
        )  # fmt: skip


def _counted(most: int, title: str, *, log: bool) -> Axis:
    """Return the axis of counts, which ends at the bottom of the bars."""
    if log:
        axis = axis_over([1.0, max(most, 2)], title, most=6, log=True)
        assert axis is not None
        # Below one, so that a bar of one is seen.
        return Axis(0.7, axis.high, axis.ticks, axis.labels, title, log=True)
    axis = axis_over([0.0, max(most, 1)], title, most=6)
    assert axis is not None
    return Axis(0.0, axis.high, *_whole(axis), title)


def _whole(axis: Axis) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Ticks from 0 up; only whole numbers, as counts are."""
    kept = [
        (tick, f"{tick:.0f}") for tick in axis.ticks if tick >= 0 and abs(tick - round(tick)) < 1e-9
    ]
    return tuple(tick for tick, _ in kept), tuple(label for _, label in kept)
