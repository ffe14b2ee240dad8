"""Predicted numbers beside those that they should be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fastconv.functional.arrays import as_numbers, check_shape
from fastconv.metrics import regression_scores
from fastconv.plots.arguments import FloatArray, same_length
from fastconv.report.charts.axes import Box, axis_over, draw_axes, draw_no_data, room_on_the_left
from fastconv.report.charts.canvas import TEXT, WIDTH, Canvas, number, points, series_class
from fastconv.report.charts.pointer import Line, draw_readouts


def regression_fit(
    canvas: Canvas,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    grid_x: npt.ArrayLike,
    grid_y: npt.ArrayLike,
    *,
    test: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    test_name: str = "test",
    xlabel: str = "x",
    ylabel: str = "y",
) -> None:
    """Draw what :func:`fastconv.plots.regression_fit` draws."""
    owner = "regression_fit"
    samples = {"training": same_length(owner, "x", x, "y", y)}
    if test is not None:
        samples[test_name] = same_length(owner, "x of test", test[0], "y of test", test[1])
    curve = same_length(owner, "grid_x", grid_x, "grid_y", grid_y)
    for series, name in enumerate(samples):
        drawn = "M8 8h0M20 8h0M32 8h0"
        canvas.name_series(name, f'<path class="scatter {_shape(series)} c{series}" d="{drawn}"/>')
    canvas.name_series("fit", '<path class="fit" d="M1 8H39"/>')
    across = axis_over(np.concatenate([each[0] for each in (*samples.values(), curve)]), xlabel,
                       most=9)  # fmt: skip
    up = axis_over(np.concatenate([each[1] for each in (*samples.values(), curve)]), ylabel, most=8)
    left = room_on_the_left(up) if up else 3 * TEXT
    box = Box(left, 8, WIDTH - 14, 330)
    canvas.height = box.bottom + 3 * TEXT
    if across is None or up is None:
        draw_no_data(canvas, box, ylabel, xlabel)
        return
    draw_axes(canvas, box, across, up)
    for series, (xs, ys) in enumerate(samples.values()):
        placed = across.places(xs, box.left, box.right), up.places(ys, box.bottom, box.top)
        canvas.path(_dots(*placed), f"scatter {_shape(series)} {series_class(series)}")
    line = Line(
        "fit",
        across.places(curve[0], box.left, box.right),
        up.places(curve[1], box.bottom, box.top),
    )
    canvas.path(points(line.xs, line.ys), f"fit n{len(samples)}")
    draw_readouts(canvas, box, [Line("fit", *curve)], [line], xlabel)


def predictions_against_targets(
    canvas: Canvas, targets: npt.ArrayLike, predictions: npt.ArrayLike
) -> None:
    """Draw what :func:`fastconv.plots.predictions_against_targets` draws."""
    owner = "predictions_against_targets"
    true = as_numbers(owner, "targets", targets)
    guess = as_numbers(owner, "predictions", predictions)
    check_shape(owner, "predictions", guess, true.shape, "the shape of targets")
    finite = np.isfinite(true) & np.isfinite(guess)
    xs, ys = true[finite], guess[finite]
    whole = finite if finite.ndim == 1 else finite.all(axis=1)
    headings = []
    if whole.any():
        scores = regression_scores(true[whole], guess[whole])
        error = f"root mean squared error {scores.root_mean_squared_error:.3g}"
        headings.append(f"R² {scores.r2:.3f}, {error}")
    if finite.size > xs.size:
        headings.append(f"{finite.size - xs.size} not finite")
    both = np.concatenate([xs, ys])
    across, up = axis_over(both, "target", most=7), axis_over(both, "prediction", most=8)
    left = room_on_the_left(up) if up else 3 * TEXT
    side = 420.0
    top = 1.4 * TEXT * len(headings) + 6
    box = Box(left, top, left + side, top + side)
    canvas.width, canvas.height = box.right + 14, box.bottom + 3 * TEXT
    for row, heading in enumerate(headings):
        canvas.text(left + side / 2, (row + 1) * 1.3 * TEXT, heading, anchor="middle")
    if across is None or up is None:
        draw_no_data(canvas, box, "prediction", "target")
        return
    draw_axes(canvas, box, across, up)
    placed = across.places(xs, box.left, box.right), up.places(ys, box.bottom, box.top)
    canvas.path(_dots(*placed), f"scatter {_shape(0)} {series_class(0)}")
    diagonal = f"M{number(box.left)} {number(box.bottom)}L{number(box.right)} {number(box.top)}"
    canvas.path(diagonal, "fit", dash="--")


def _shape(series: int) -> str:
    """The class of the dots of a series, whose shape is not that of the one before."""
    return ("round", "square")[series % 2]


def _dots(xs: FloatArray, ys: FloatArray) -> str:
    """Dots as a path of lines without length; those at one place are one."""
    found: Sequence[str] = [
        f"M{number(x)} {number(y)}h0"
        for x, y in zip(xs.ravel().tolist(), ys.ravel().tolist(), strict=True)
        if np.isfinite(x) and np.isfinite(y)
    ]
    return "".join(dict.fromkeys(found))
