"""Values at the pointer: those of all lines at a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastconv.plots.arguments import FloatArray
from fastconv.report.charts.axes import Box
from fastconv.report.charts.canvas import TEXT, Canvas, number, series_class
from fastconv.report.charts.text import escaped

_MOST_STRIPS = 80
_LINE_HEIGHT = 1.15 * TEXT


@dataclass(frozen=True, eq=False)
class Line:
    """A line of a chart.

    Parameters
    ----------
    name
        Of what it shows.
    xs, ys
        Its points.
    """

    name: str
    xs: FloatArray
    ys: FloatArray


def draw_readouts(
    canvas: Canvas,
    box: Box,
    lines: Sequence[Line],
    placed: Sequence[Line],
    xlabel: str,
    *,
    percent: bool = False,
) -> None:
    """Divide a box into strips; below the pointer, each tells the values of the lines in it.

    Parameters
    ----------
    canvas
        Where.
    box
        Inside the axes.
    lines, placed
        The lines in their own numbers, and where they are drawn.
    xlabel
        What the horizontal axis is.
    percent
        Whether values are fractions of 1 to be read as percent.
    """
    centres = _centres([line.xs for line in placed])
    if not len(centres):
        return
    middles = (centres[1:] + centres[:-1]) / 2
    edges = [box.left, *middles.tolist(), box.right]
    for strip, at in enumerate(centres):
        left, right = edges[strip], edges[strip + 1]
        told = _told(lines, placed, at, left, right, percent=percent)
        if not told:
            continue
        line, place, _ = told[0]
        head = f"{xlabel} {lines[line].xs[place]:,.6g}"
        rows = [f"{lines[n].name} {text}" for n, _, text in told]
        canvas.add('<g class="at">')
        canvas.rectangle(
            left, box.top, right - left, box.bottom - box.top, 'class="strip"',
            title="\n".join([head, *rows]),
        )  # fmt: skip
        x = placed[line].xs[place]
        canvas.path(f"M{number(x)} {number(box.top)}V{number(box.bottom)}", "guide")
        for n, index, _ in told:
            x, y = placed[n].xs[index], placed[n].ys[index]
            canvas.path(
                f"M{number(x - 4.5)} {number(y)}a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
                f"dot {series_class(n)}",
            )
        _write(canvas, box, x, [head, *rows])
        canvas.add("</g>")


def _centres(xs: Sequence[FloatArray]) -> FloatArray:
    """Places of the strips: those of the points, or some of them where there are many."""
    places: FloatArray = np.unique(np.concatenate([np.empty(0), *xs]))
    places = places[np.isfinite(places)]
    if len(places) > _MOST_STRIPS:
        places = places[np.unique(np.linspace(0, len(places) - 1, _MOST_STRIPS).astype(int))]
    return places


def _told(
    lines: Sequence[Line],
    placed: Sequence[Line],
    at: float,
    left: float,
    right: float,
    *,
    percent: bool,
) -> list[tuple[int, int, str]]:
    """For each line with a point in the strip: its number, the point nearest to ``at``, text."""
    found = []
    for n, (line, drawn) in enumerate(zip(lines, placed, strict=True)):
        there = np.isfinite(drawn.ys) & np.isfinite(drawn.xs)
        there &= (drawn.xs >= left - 1e-6) & (drawn.xs <= right + 1e-6)
        inside = np.flatnonzero(there)
        if inside.size:
            place = int(inside[np.abs(drawn.xs[inside] - at).argmin()])
            value = line.ys[place]
            found.append((n, place, f"{100 * value:.2f} %" if percent else f"{value:.4g}"))
    return found


def _write(canvas: Canvas, box: Box, x: float, rows: Sequence[str]) -> None:
    """Write lines of text on the side of the box where the pointer is not."""
    most = int((box.bottom - box.top) / _LINE_HEIGHT)
    if len(rows) > most:  # the title has them all
        rows = [*rows[: most - 1], "\N{HORIZONTAL ELLIPSIS}"]
    on_left = x > (box.left + box.right) / 2
    at = number(box.left + 8 if on_left else box.right - 4)
    anchor = "" if on_left else ' text-anchor="end"'
    spans = "".join(
        f'<tspan x="{at}" dy="{number(_LINE_HEIGHT)}">{escaped(row)}</tspan>' for row in rows
    )
    canvas.add(f'<text class="told" y="{number(box.top - 2)}"{anchor}>{spans}</text>')
