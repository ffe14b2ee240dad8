"""Predicted numbers beside those that they should be."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from fastconv.functional.arrays import as_numbers, check_shape
from fastconv.metrics import regression_scores
from fastconv.plots.arguments import same_length
from fastconv.plots.palette import marker
from fastconv.plots.style import axes_or_new, colour, ink, say_no_data


def regression_fit(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    grid_x: npt.ArrayLike,
    grid_y: npt.ArrayLike,
    *,
    test: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    test_name: str = "test",
    xlabel: str = "x",
    ylabel: str = "y",
    ax: Axes | None = None,
) -> Axes:
    """Draw points of one variable and the curve that was fitted to them.

    Parameters
    ----------
    x, y
        (N,): the points of the training.
    grid_x, grid_y
        (G,): the curve, in the order in which it is drawn.
    test
        x and y of the points of the test.
    test_name
        What these are called.
    xlabel, ylabel
        What the variables are.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If the parts of a pair differ in length.

    Examples
    --------
    >>> from fastconv import plots
    >>> axes = plots.regression_fit([0.0, 1.0], [0.1, 0.9], [0.0, 1.0], [0.0, 1.0])
    >>> [line.get_label() for line in axes.get_lines()]
    ['training', 'fit']
    """
    owner = "regression_fit"
    points = {"training": same_length(owner, "x", x, "y", y)}
    if test is not None:
        points[test_name] = same_length(owner, "x of test", test[0], "y of test", test[1])
    curve = same_length(owner, "grid_x", grid_x, "grid_y", grid_y)
    ax = axes_or_new(ax)
    for number, (name, (xs, ys)) in enumerate(points.items()):
        ax.plot(
            xs, ys, linestyle="none", marker=marker(number), color=colour(number), markersize=4.5,
            alpha=0.75, markeredgewidth=0, label=name,
        )  # fmt: skip
    ax.plot(*curve, color=ink(), linewidth=1.8, label="fit")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.grid(alpha=0.3)
    ax.legend()
    if not any(np.isfinite(ys).any() for _, ys in [*points.values(), curve]):
        say_no_data(ax)
    return ax


def predictions_against_targets(
    targets: npt.ArrayLike, predictions: npt.ArrayLike, *, ax: Axes | None = None
) -> Axes:
    """Draw each predicted number over its target; right ones lie on the dashed diagonal.

    Parameters
    ----------
    targets, predictions
        (N,) or (N, outputs), both of the same shape; all outputs are drawn alike. Pairs that are
        not finite are left out, and the title says how many.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        Its title has the scores of :func:`fastconv.metrics.regression_scores`.

    Raises
    ------
    TypeError, ValueError
        If the shapes differ.

    Examples
    --------
    >>> from fastconv import plots
    >>> axes = plots.predictions_against_targets([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    >>> axes.get_title()
    'R² 0.500, root mean squared error 0.577'
    """
    owner = "predictions_against_targets"
    true = as_numbers(owner, "targets", targets)
    guess = as_numbers(owner, "predictions", predictions)
    check_shape(owner, "predictions", guess, true.shape, "the shape of targets")
    finite = np.isfinite(true) & np.isfinite(guess)
    xs, ys = true[finite], guess[finite]
    # A sample counts with all its outputs: R² is one of each output.
    whole = finite if finite.ndim == 1 else finite.all(axis=1)
    ax = axes_or_new(ax, width=5.0, height=4.8)
    ax.set_xlabel("target")
    ax.set_ylabel("prediction")
    ax.grid(alpha=0.3)
    if not xs.size:
        say_no_data(ax)
        return ax
    ax.plot(
        xs, ys, linestyle="none", marker=marker(0), color=colour(0), markersize=4.5, alpha=0.6,
        markeredgewidth=0,
    )  # fmt: skip
    ax.axline((xs[0], xs[0]), slope=1, color=ink(), linestyle="--", linewidth=1.2)
    low, high = min(xs.min(), ys.min()), max(xs.max(), ys.max())
    margin = 0.05 * (high - low) or 1.0
    ax.set_xlim(low - margin, high + margin)
    ax.set_ylim(low - margin, high + margin)
    ax.set_aspect("equal")
    title = ""
    if whole.any():
        scores = regression_scores(true[whole], guess[whole])
        title = f"R² {scores.r2:.3f}, root mean squared error {scores.root_mean_squared_error:.3g}"
    lost = finite.size - xs.size
    ax.set_title(title + (f"\n{lost} not finite" if lost else ""))
    return ax
