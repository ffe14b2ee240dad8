"""Pictures of how numbers are spread."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from fastconv.functional.arrays import as_numbers
from fastconv.plots.arguments import FloatArray
from fastconv.plots.style import axes_or_new, colour, make_logarithmic, say_no_data


def histograms(
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    *,
    bins: int = 60,
    log: bool = False,
    xlabel: str = "weight",
    names: tuple[str, str] = ("before", "after"),
    ax: Axes | None = None,
) -> Axes:
    """Draw how a layer's weights are spread before and after training.

    Parameters
    ----------
    before, after
        Numbers in any shape. What is not finite is not counted; the legend says how many.
    bins
        Intervals of equal width, the same for both.
    log
        Logarithmic counts.
    xlabel
        What the numbers are.
    names
        Of the two, in the legend.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        ``before`` is a filled area, ``after`` a line.

    Raises
    ------
    TypeError, ValueError
        If an argument holds no numbers, or ``bins`` is not above 0.

    Examples
    --------
    >>> from fastconv import plots
    >>> axes = plots.histograms([-1.0, 0.0, 1.0], [0.0, 0.0, 1.0], bins=2)
    >>> [area.get_data().values.tolist() for area in axes.patches]
    [[1.0, 2.0], [0.0, 3.0]]
    """
    owner = "histograms"
    if bins < 1:
        raise ValueError(f"{owner}: bins is {bins}; expected 1 or more")
    given = {
        "before": as_numbers(owner, "before", before).ravel(),
        "after": as_numbers(owner, "after", after).ravel(),
    }
    finite = {name: values[np.isfinite(values)] for name, values in given.items()}
    ax = axes_or_new(ax)
    ax.set_xlabel(xlabel)
    ax.set_ylabel("count")
    ax.grid(alpha=0.3)
    everything = np.concatenate(list(finite.values()))
    if not everything.size:
        say_no_data(ax)
        return ax
    edges = np.histogram_bin_edges(everything, bins)
    for number, (kind, values) in enumerate(finite.items()):
        counts = np.histogram(values, edges)[0].astype(np.float64)
        filled = kind == "before"
        ax.stairs(
            counts,
            edges,
            fill=filled,
            color=colour(number),
            alpha=0.5 if filled else 1.0,
            linewidth=0 if filled else 1.6,
            label=_label(names[number], given[kind], values),
        )
    if log:
        make_logarithmic(ax)
    ax.legend()
    return ax


def _label(name: str, given: FloatArray, finite: FloatArray) -> str:
    lost = given.size - finite.size
    return f"{name} ({lost} not finite)" if lost else name
