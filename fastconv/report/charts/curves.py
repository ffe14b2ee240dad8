"""Numbers over the steps of a training, as lines that answer the pointer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fastconv.plots.annotation import last_value, marked_points
from fastconv.plots.arguments import FloatArray, same_length
from fastconv.plots.palette import dashes
from fastconv.report.charts.axes import (
    Axis,
    Box,
    axis_over,
    draw_axes,
    draw_axis_above,
    draw_no_data,
    room_on_the_left,
    scaled,
)
from fastconv.report.charts.canvas import TEXT, WIDTH, Canvas, markers, points, series_class
from fastconv.report.charts.pointer import Line, draw_readouts

_HEIGHT = 330.0
_BELOW, _ABOVE, _RIGHT = 3.0 * TEXT, 0.7 * TEXT, 14.0


def learning_curves(
    canvas: Canvas,
    series: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    *,
    ylabel: str,
    xlabel: str = "step",
    steps_per_epoch: float | None = None,
    log: bool = False,
    percent: bool = False,
) -> None:
    """Draw what :func:`fastconv.plots.learning_curves` draws."""
    lines = _lines("learning_curves", series)
    for number, line in enumerate(lines):
        named = f"{line.name}: {last_value(line.ys, percent=percent)}"
        canvas.name_line(number, named, len(line.xs))
    _draw(
        canvas, lines, _HEIGHT, xlabel, ylabel, steps_per_epoch=steps_per_epoch, log=log,
        percent=percent,
    )  # fmt: skip


def learning_rate_curve(
    canvas: Canvas,
    steps: npt.ArrayLike,
    rates: npt.ArrayLike,
    *,
    steps_per_epoch: float | None = None,
    log: bool = False,
    groups: Mapping[str, npt.ArrayLike] | None = None,
) -> None:
    """Draw what :func:`fastconv.plots.learning_rate_curve` draws."""
    series = {"learning rate": rates, **(groups or {})}
    lines = _lines("learning_rate_curve", {name: (steps, ys) for name, ys in series.items()})
    if groups:
        for number, line in enumerate(lines):
            canvas.name_line(number, line.name, len(line.xs))
    _draw(
        canvas, lines, 0.75 * _HEIGHT, "step", "learning rate", steps_per_epoch=steps_per_epoch,
        log=log,
    )  # fmt: skip


def gradient_norms(
    canvas: Canvas, steps: npt.ArrayLike, norms: Mapping[str, npt.ArrayLike]
) -> None:
    """Draw what :func:`fastconv.plots.gradient_norms` draws."""
    lines = _lines("gradient_norms", {name: (steps, values) for name, values in norms.items()})
    for number, line in enumerate(lines):
        canvas.name_line(number, line.name, len(line.xs))
    _draw(canvas, lines, _HEIGHT, "step", "norm of the gradient", log=True)


def activation_statistics(
    canvas: Canvas,
    steps: npt.ArrayLike,
    statistics: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]],
) -> None:
    """Draw what :func:`fastconv.plots.activation_statistics` draws."""
    owner, titles = "activation_statistics", ("mean", "std", "dead")
    panels = [
        _lines(owner, {name: (steps, three[n]) for name, three in statistics.items()})
        for n in range(len(titles))
    ]
    for number, line in enumerate(panels[0]):
        canvas.name_line(number, line.name, len(line.xs))
    tops, bottom = 0.0, len(titles) - 1
    axes = [
        axis_over(_all_of([line.ys for line in lines]), title, most=5, percent=title == "dead")
        for lines, title in zip(panels, titles, strict=True)
    ]
    left = max([room_on_the_left(axis) for axis in axes if axis], default=3 * TEXT)
    for row, (lines, title, y) in enumerate(zip(panels, titles, axes, strict=True)):
        box = Box(left, tops + _ABOVE, WIDTH - _RIGHT, tops + _ABOVE + 160)
        _draw_in(canvas, box, lines, y, ("step" if row == bottom else "", title),
                 percent=title == "dead", numbers_below=row == bottom)  # fmt: skip
        tops = box.bottom + 0.6 * TEXT
    canvas.height = tops + _BELOW - 0.6 * TEXT


def _lines(owner: str, series: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]) -> list[Line]:
    return [
        Line(name, *same_length(owner, f"steps of {name}", xs, f"values of {name}", ys))
        for name, (xs, ys) in series.items()
    ]


def _all_of(arrays: Sequence[FloatArray]) -> FloatArray:
    return np.concatenate([np.empty(0), *arrays])


def _draw(
    canvas: Canvas,
    lines: Sequence[Line],
    height: float,
    xlabel: str,
    ylabel: str,
    *,
    steps_per_epoch: float | None = None,
    log: bool = False,
    percent: bool = False,
) -> None:
    """Draw lines in axes of their own."""
    y = axis_over(_all_of([line.ys for line in lines]), ylabel, most=8, log=log, percent=percent)
    top = 2.9 * TEXT if steps_per_epoch else _ABOVE
    left = room_on_the_left(y) if y else 3 * TEXT
    box = Box(left, top, WIDTH - _RIGHT, top + height - _ABOVE - _BELOW)
    canvas.height = box.bottom + _BELOW
    x = _draw_in(canvas, box, lines, y, (xlabel, ylabel), percent=percent)
    if x is not None and steps_per_epoch:
        draw_axis_above(canvas, box, scaled(x, steps_per_epoch, "epoch", 9))


def _draw_in(
    canvas: Canvas,
    box: Box,
    lines: Sequence[Line],
    y: Axis | None,
    titles: tuple[str, str],
    *,
    percent: bool = False,
    numbers_below: bool = True,
) -> Axis | None:
    """Draw lines and axes into a box; return the horizontal axis."""
    x = axis_over(_all_of([line.xs for line in lines]), titles[0], most=9, margin=0.04)
    if y is None or x is None:
        draw_no_data(canvas, box, titles[1], titles[0])
        return None
    draw_axes(canvas, box, x, y, numbers_below=numbers_below)
    placed = [
        Line(line.name, x.places(line.xs, box.left, box.right),
             y.places(line.ys, box.bottom, box.top))
        for line in lines
    ]  # fmt: skip
    for number, line in enumerate(placed):
        dash = dashes(number, len(line.xs))
        canvas.path(points(line.xs, line.ys), f"line {series_class(number)}", dash=dash)
        marked = [n for n in marked_points(line.ys, number) if np.isfinite(line.xs[n])]
        shapes = markers(number, line.xs[marked], line.ys[marked])
        canvas.path(shapes, f"mark {series_class(number)}")
    draw_readouts(canvas, box, lines, placed, titles[0] or "step", percent=percent)
    return x
