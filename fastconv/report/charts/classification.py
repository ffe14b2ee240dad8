"""Charts of a classifier: confusion matrix and class scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fastconv.metrics import ClassScores
from fastconv.plots.annotation import MOST_CELLS, named_places, names_stand_upright, whole_percent
from fastconv.plots.arguments import names_of, with_axes
from fastconv.report.charts.canvas import SMALL, TEXT, WIDTH, Canvas, number, series_class, widest

CELL_LIGHT, CELL_DARK = "#084594", "#639fe0"
"""Colours of a full cell on a light and on a dark page; other cells are less opaque."""
TEXT_TURNS = 0.73
"""Opacity from which the text of a cell is white on a light page, black on a dark one."""
_BAR = 74.0
_BAR_SHARES = (0, 1, 5, 20, 50, 100)
_PITCH = 66.0
"""Height of the bars of a class."""


def confusion_matrix(
    canvas: Canvas,
    matrix: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    normalize: bool = True,
) -> None:
    """Draw what :func:`fastconv.plots.confusion_matrix` draws."""
    owner = "confusion_matrix"
    counts = with_axes(owner, "matrix", matrix, "NC")
    names = names_of(owner, "class_names", class_names, len(counts), "class")
    totals = counts.sum(axis=1, keepdims=True)
    values = 100 * counts / np.where(totals > 0, totals, 1) if normalize else counts
    most = 100.0 if normalize else max(1.0, float(values.max()))
    shown = [names[place] for place in named_places(len(names))]
    upright = names_stand_upright(names)
    left = 1.7 * TEXT + widest(shown) + 8
    below = (widest(shown) if upright else TEXT) + 2.2 * TEXT
    side = WIDTH - left - _BAR - 14
    cell = side / len(names)
    with_text = len(names) <= MOST_CELLS
    if with_text:
        inner = [number(cell * n) for n in range(len(names) + 1)]
        grid = "".join(f"M{number(left + float(at))} 0V{number(side)}" for at in inner)
        grid += "".join(f"M{number(left)} {at}H{number(left + side)}" for at in inner)
        canvas.path(grid, "grid")
    for row, column in np.argwhere(values > 0):
        share = f"{whole_percent(100 * counts[row, column] / totals[row, 0])} %"
        # The root of a share, so that a mistake of one percent can be seen beside 99.
        opacity = float(np.sqrt(values[row, column] / most))
        x, y = left + cell * column, cell * row
        canvas.rectangle(
            x, y, cell, cell, f'class="cell" fill-opacity="{opacity:.2f}"',
            title=f"true {names[row]}, predicted {names[column]}: "
            f"{counts[row, column]:,.0f} of {totals[row, 0]:,.0f}, {share}",
        )  # fmt: skip
        if with_text:
            text = whole_percent(values[row, column]) if normalize else f"{values[row, column]:.0f}"
            turned = "over" if opacity >= TEXT_TURNS else "on"
            canvas.text(
                x + cell / 2, y + cell / 2 + 0.35 * SMALL, text, anchor="middle",
                classes=f"small {turned}",
            )  # fmt: skip
    for place, name in zip(named_places(len(names)), shown, strict=True):
        middle = cell * (place + 0.5)
        canvas.text(left - 6, middle + 0.35 * TEXT, name, anchor="end")
        if upright:
            at = left + middle + 0.35 * TEXT
            canvas.text(at, side + 6, name, anchor="end", turned=True)
        else:
            canvas.text(left + middle, side + 1.1 * TEXT, name, anchor="middle")
    canvas.text(TEXT, side / 2, "true", anchor="middle", turned=True)
    canvas.text(left + side / 2, side + below - 0.5 * TEXT, "predicted", anchor="middle")
    canvas.height = side + below
    title = "percent of the true class" if normalize else "samples"
    marks = _BAR_SHARES if normalize else (0, round(most / 4), round(most))
    _draw_scale(canvas, left + side + 14, side, most, marks, title)


def _draw_scale(
    canvas: Canvas, left: float, height: float, most: float, marks: Sequence[int], title: str
) -> None:
    """Draw the colours of the cells, and what they stand for."""
    steps = 25
    for step in range(steps):
        canvas.rectangle(
            left, height * (1 - (step + 1) / steps), 14, height / steps,
            f'class="cell" fill-opacity="{(step + 0.5) / steps:.2f}"',
        )  # fmt: skip
    for mark in marks:
        y = height * (1 - (mark / most) ** 0.5)
        # The ends stay within the picture.
        canvas.text(left + 19, min(max(y + 0.35 * TEXT, TEXT), height), str(mark))
    canvas.text(left + _BAR - 3, height / 2, title, anchor="middle", turned=True)


def class_scores(canvas: Canvas, scores: ClassScores, class_names: Sequence[str]) -> None:
    """Draw what :func:`fastconv.plots.class_scores` draws."""
    names = names_of("class_scores", "class_names", class_names, len(scores.support), "class")
    parts = {"precision": scores.precision, "recall": scores.recall, "F1": scores.f1}
    left = widest(names) + 10
    right = WIDTH - widest(["100.0"], SMALL) - 22
    thick = 0.27 * _PITCH
    bottom = _PITCH * len(names) + 4
    _draw_hatches(canvas)
    quarters = [left + (right - left) * n / 4 for n in range(5)]
    canvas.path("".join(f"M{number(at)} 0V{number(bottom)}" for at in quarters[1:]), "grid")
    for series, (label, values) in enumerate(parts.items()):
        fill = f"url(#{canvas.name}-hatch-{series})"
        colour = series_class(series).split()[0]
        swatch = f'<rect class="bar {colour}" x="4" y="3" width="32" height="11"/>'
        if series:
            swatch += f'<rect x="4" y="3" width="32" height="11" fill="{fill}"/>'
        canvas.name_series(label, swatch)
        canvas.add(f'<g class="{series_class(series)}">')
        for place, (name, value) in enumerate(zip(names, values.tolist(), strict=True)):
            top = _PITCH * place + 0.095 * _PITCH + thick * series
            undefined = np.isnan(value)
            width = 0.0 if undefined else value * (right - left)
            text = "\N{EN DASH}" if undefined else f"{100 * value:.1f}"
            title = f"{name}: {label} {text}{'' if undefined else ' %'}"
            canvas.rectangle(left, top, width, thick, f'class="bar {colour}"', title=title)
            if series:
                canvas.rectangle(left, top, width, thick, f'fill="{fill}" class="hatch"')
            canvas.text(left + width + 4, top + thick - 4.5, text, classes="small")
        canvas.add("</g>")
    for place, name in enumerate(names):
        canvas.text(left - 8, _PITCH * (place + 0.5) + 0.35 * TEXT, name, anchor="end")
    canvas.path(f"M{number(left)} 0V{number(bottom)}H{number(right)}", "axis")
    for at, share in zip(quarters, (0, 25, 50, 75, 100), strict=True):
        canvas.text(at, bottom + 1.3 * TEXT, f"{share} %", anchor="middle")
    canvas.height = bottom + 1.8 * TEXT


def _draw_hatches(canvas: Canvas) -> None:
    """Define what tells the bars apart beside their colours."""
    for series, kind, drawn in ((1, "lines", "M-1 1l2-2M0 6l6-6M5 7l2-2"), (2, "dots", "M3 3h0")):
        canvas.add(
            f'<pattern id="{canvas.name}-hatch-{series}" width="6" height="6" '
            f'patternUnits="userSpaceOnUse"><path class="{kind}" d="{drawn}"/></pattern>'
        )
