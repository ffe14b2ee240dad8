"""Numbers over the steps of a training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from fastconv.plots.annotation import last_value, marked_points
from fastconv.plots.arguments import FloatArray, same_length
from fastconv.plots.style import axes_or_new, legend_above, make_logarithmic, say_no_data, stroke


def learning_curves(
    series: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    *,
    ylabel: str,
    xlabel: str = "step",
    steps_per_epoch: float | None = None,
    log: bool = False,
    percent: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw losses or accuracies by step, of one run or several.

    Parameters
    ----------
    series
        For each name its steps and its values, equally long. Values that are not finite leave a
        gap.
    ylabel
        What the values are, such as "loss".
    xlabel
        What the steps are, such as "epoch".
    steps_per_epoch
        Adds an axis in epochs at the top.
    log
        Logarithmic values; those not above 0 are drawn at the bottom. Where none is above 0, the
        axis stays linear.
    percent
        Values are fractions of 1 to be read as percent.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        The legend has the last finite value of each series. Without a finite value it says "no
        data".

    Raises
    ------
    TypeError, ValueError
        If a series is no such pair, or ``steps_per_epoch`` is not above 0.

    Examples
    --------
    >>> from fastconv import plots
    >>> axes = plots.learning_curves({"training": ([0, 50, 100], [2.3, 0.9, 0.4])}, ylabel="loss")
    >>> axes.get_legend().get_texts()[0].get_text()
    'training: 0.4'
    """
    owner = "learning_curves"
    checked = {
        name: same_length(owner, f"steps of {name}", steps, f"values of {name}", values)
        for name, (steps, values) in series.items()
    }
    ax = axes_or_new(ax)
    for number, (name, (steps, values)) in enumerate(checked.items()):
        _draw_line(ax, steps, values, number, f"{name}: {last_value(values, percent=percent)}")
    _finish(ax, ylabel, log=log, percent=percent)
    ax.set_xlabel(xlabel)
    _add_epochs(owner, ax, steps_per_epoch)
    if checked:
        # By hand: matplotlib leaves out names that begin with an underscore.
        lines = ax.get_lines()[: len(checked)]
        ax.legend(lines, [str(line.get_label()) for line in lines])
    return ax


def learning_rate_curve(
    steps: npt.ArrayLike,
    rates: npt.ArrayLike,
    *,
    steps_per_epoch: float | None = None,
    log: bool = False,
    groups: Mapping[str, npt.ArrayLike] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the learning rate by step.

    Parameters
    ----------
    steps, rates
        (N,): steps and the rate at each.
    groups
        By a name, the rates of parameters that have a schedule of their own, (N,).
    steps_per_epoch, log, ax
        As for :func:`learning_curves`.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If the two differ in length, or ``steps_per_epoch`` is not above 0.

    Examples
    --------
    >>> from fastconv import plots
    >>> axes = plots.learning_rate_curve([0, 100, 200], [0.1, 0.01, 0.001], log=True)
    >>> axes.get_yscale()
    'log'
    """
    owner = "learning_rate_curve"
    xs, ys = same_length(owner, "steps", steps, "rates", rates)
    ax = axes_or_new(ax, height=2.75)
    others = {
        name: same_length(owner, "steps", steps, f"rates of {name}", of_group)
        for name, of_group in (groups or {}).items()
    }
    if xs.size:
        _draw_line(ax, xs, ys, 0, "learning rate")
        for number, (name, line) in enumerate(others.items(), start=1):
            _draw_line(ax, *line, number, name)
    _finish(ax, "learning rate", log=log)
    if others:
        ax.legend()
    _add_epochs(owner, ax, steps_per_epoch)
    return ax


def gradient_norms(
    steps: npt.ArrayLike, norms: Mapping[str, npt.ArrayLike], *, ax: Axes | None = None
) -> Axes:
    """Draw the norm of each layer's gradient by step, on a logarithmic scale.

    Parameters
    ----------
    steps
        (N,).
    norms
        For each layer its norms, (N,); a norm of 0 is drawn at the bottom. Where all are 0, the
        scale is linear.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If a layer's norms are not one for each step.

    Examples
    --------
    >>> from fastconv import plots
    >>> axes = plots.gradient_norms([0, 1], {"conv2d_1": [0.5, 0.1], "dense_1": [2.0, 0.3]})
    >>> [line.get_label() for line in axes.get_lines()]
    ['conv2d_1', 'dense_1']
    """
    checked = {
        name: same_length("gradient_norms", "steps", steps, f"norms of {name}", values)
        for name, values in norms.items()
    }
    ax = axes_or_new(ax)
    for number, (name, (xs, ys)) in enumerate(checked.items()):
        _draw_line(ax, xs, ys, number, name)
    _finish(ax, "norm of the gradient", log=True)
    if checked:
        legend_above(ax, checked)
    return ax


def activation_statistics(
    steps: npt.ArrayLike,
    statistics: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]],
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw mean, std and dead share of each layer's activations by step.

    Parameters
    ----------
    steps
        (N,).
    statistics
        For each layer three sequences of N numbers: the mean, the standard deviation, and the share
        of units that are dead (a fraction of 1).
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        It is empty itself; its ``child_axes`` are the three panels, in that order from the top.

    Raises
    ------
    TypeError, ValueError
        If a layer's numbers are not one for each step.

    Examples
    --------
    >>> from fastconv import plots
    >>> axes = plots.activation_statistics([0, 1], {"relu_1": ([0.4, 0.5], [1.0, 1.1], [0.5, 0.6])})
    >>> [panel.get_ylabel() for panel in axes.child_axes]
    ['mean', 'std', 'dead']
    """
    owner, titles = "activation_statistics", ("mean", "std", "dead")
    checked: dict[str, list[tuple[FloatArray, FloatArray]]] = {}
    for name, columns in statistics.items():
        if len(columns) != len(titles):
            raise ValueError(
                f"{owner}: statistics of {name} are {len(columns)} sequences; expected 3: mean, "
                f"std, dead share"
            )
        checked[name] = [
            same_length(owner, "steps", steps, f"{title} of {name}", column)
            for title, column in zip(titles, columns, strict=True)
        ]
    ax = axes_or_new(ax, height=6.0)
    ax.set_axis_off()
    panels = [ax.inset_axes((0.0, (2 - row) * 0.35, 1.0, 0.3)) for row in range(3)]
    for row, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        for number, (name, pairs) in enumerate(checked.items()):
            _draw_line(panel, *pairs[row], number, name)
        _finish(panel, title, percent=title == "dead")
        if row < 2:
            panel.set_xlabel("")
            panel.tick_params(labelbottom=False)
    if checked:
        legend_above(panels[0], checked)
    return ax


def _draw_line(ax: Axes, steps: FloatArray, values: FloatArray, number: int, label: str) -> None:
    ax.plot(
        steps,
        values,
        **stroke(number, len(values)),
        markevery=marked_points(values, number),
        markersize=5,
        linewidth=1.6,
        label=label,
    )


def _finish(ax: Axes, ylabel: str, *, log: bool = False, percent: bool = False) -> None:
    ax.set_xlabel("step")
    ax.set_ylabel(ylabel)
    ax.grid(alpha=0.3)
    values = [np.asarray(line.get_ydata(), np.float64) for line in ax.get_lines()]
    if not any(np.isfinite(ys).any() for ys in values):
        say_no_data(ax)
        return
    if log and any((ys > 0).any() for ys in values):
        make_logarithmic(ax)
    if percent:
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def _add_epochs(owner: str, ax: Axes, steps_per_epoch: float | None) -> None:
    if steps_per_epoch is None:
        return
    per_epoch = float(steps_per_epoch)
    if not 0 < per_epoch < np.inf:
        raise ValueError(f"{owner}: steps_per_epoch is {steps_per_epoch}; expected more than 0")
    top = ax.secondary_xaxis(
        "top",
        functions=(
            lambda step: np.asarray(step, float) / per_epoch,
            lambda epoch: np.asarray(epoch, float) * per_epoch,
        ),
    )
    top.set_xlabel("epoch")
