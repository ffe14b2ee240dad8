"""Pictures of a classifier: confusion matrix, class scores, certainty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.ticker import PercentFormatter

from fastconv.metrics import ClassScores
from fastconv.plots.annotation import (
    MOST_CELLS,
    named_places,
    names_stand_upright,
    whole_percent,
)
from fastconv.plots.arguments import FloatArray, check_range, names_of, with_axes
from fastconv.plots.palette import HATCHES
from fastconv.plots.style import (
    amounts,
    axes_or_new,
    colour,
    colour_bar,
    ink,
    legend_above,
    small_text,
    text_on,
)


def confusion_matrix(
    matrix: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    normalize: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw a confusion matrix.

    Parameters
    ----------
    matrix
        (classes, classes) of counts, true classes in rows, as from
        :func:`fastconv.metrics.confusion_matrix`.
    class_names
        One name for each class.
    normalize
        Cells give the percent of their row; False: the counts. Cells that are 0 stay blank, and so
        do rows of classes that never occur. Up to 16 classes, numbers stand in the cells; beyond
        20, only some names are written.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If the matrix is none, or the names are not one for each class.

    Examples
    --------
    >>> from fastconv import plots
    >>> axes = plots.confusion_matrix([[3, 1], [0, 2]], ["cat", "dog"])
    >>> [text.get_text() for text in axes.texts]
    ['75', '25', '100']
    """
    owner = "confusion_matrix"
    counts = with_axes(owner, "matrix", matrix, "NC")
    if counts.shape[0] != counts.shape[1] or counts.size == 0:
        raise ValueError(f"{owner}: matrix has shape {counts.shape}; expected (classes, classes)")
    check_range(owner, "matrix", counts, 0, np.finfo(np.float64).max)
    names = names_of(owner, "class_names", class_names, len(counts), "class")
    totals = counts.sum(axis=1, keepdims=True)
    values = 100 * counts / np.where(totals > 0, totals, 1) if normalize else counts
    ax = axes_or_new(ax, height=5.4, layout="compressed")
    # The root of a share, so that a mistake of one percent can be seen beside 99.
    norm = PowerNorm(0.5, vmin=0, vmax=100 if normalize else max(1.0, float(values.max())))
    image = ax.imshow(np.ma.masked_equal(values, 0), cmap=amounts(), norm=norm)
    if len(names) <= MOST_CELLS:
        for row, column in np.argwhere(values > 0):
            background = image.cmap(float(norm(values[row, column])))
            text = whole_percent(values[row, column]) if normalize else f"{values[row, column]:.0f}"
            ax.text(
                column, row, text, ha="center", va="center", fontsize=small_text(),
                color=text_on(background),
            )  # fmt: skip
    _label_classes(ax, names)
    bar = colour_bar(image, "percent of the true class" if normalize else "samples")
    if normalize:
        bar.set_ticks([0, 1, 5, 20, 50, 100])
    return ax


def _label_classes(ax: Axes, names: list[str]) -> None:
    places = named_places(len(names))
    shown = [names[place] for place in places]
    ax.set_xticks(places, shown, rotation=90 if names_stand_upright(names) else 0)
    ax.set_yticks(places, shown)
    if len(names) <= MOST_CELLS:
        ax.set_xticks(np.arange(0.5, len(names) - 1), minor=True)
        ax.set_yticks(np.arange(0.5, len(names) - 1), minor=True)
        ax.grid(which="minor", alpha=0.3)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")


def class_scores(
    scores: ClassScores, class_names: Sequence[str], *, ax: Axes | None = None
) -> Axes:
    """Draw precision, recall and F1 of each class as bars.

    Parameters
    ----------
    scores
        As from :func:`fastconv.metrics.class_scores`; what is undefined there is a dash here.
    class_names
        One name for each class.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the names are not one for each class.

    Examples
    --------
    >>> from fastconv import metrics, plots
    >>> scores = metrics.class_scores([[3, 1], [0, 2]])
    >>> axes = plots.class_scores(scores, ["cat", "dog"])
    >>> [float(bar.get_width()) for bar in axes.containers[1]]
    [0.75, 1.0]
    """
    names = names_of("class_scores", "class_names", class_names, len(scores.support), "class")
    ax = axes_or_new(ax, height=1.2 + 0.64 * len(names))
    parts = {"precision": scores.precision, "recall": scores.recall, "F1": scores.f1}
    places = np.arange(len(names))
    for number, (label, values) in enumerate(parts.items()):
        bars = ax.barh(
            places + 0.27 * (number - 1),
            np.nan_to_num(values),
            height=0.27,
            color=colour(number),
            hatch=HATCHES[number],
            edgecolor=ink(),
            linewidth=0.5,
            label=label,
        )
        texts = ["\N{EN DASH}" if np.isnan(value) else f"{100 * value:.1f}" for value in values]
        ax.bar_label(bars, texts, padding=3, fontsize=small_text())
    ax.set_yticks(places, names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    _percent_axis(ax)
    legend_above(ax, parts)
    return ax


def prediction_bars(
    probabilities: npt.ArrayLike,
    class_names: Sequence[str],
    *,
    label: int | None = None,
    count: int = 5,
    ax: Axes | None = None,
) -> Axes:
    """Draw the most probable classes of one sample as bars.

    Parameters
    ----------
    probabilities
        (classes,), from 0 to 1.
    class_names
        One name for each class.
    label
        The true class: its bar is hatched and its name marked. It is drawn even where it is not
        among the most probable.
    count
        How many classes to draw, at most.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array or number.

    Examples
    --------
    >>> from fastconv import plots
    >>> axes = plots.prediction_bars([0.2, 0.7, 0.1], ["cat", "dog", "owl"], label=0, count=2)
    >>> [tick.get_text() for tick in axes.get_yticklabels()]
    ['dog', 'cat (true)']
    """
    owner = "prediction_bars"
    values: FloatArray = with_axes(owner, "probabilities", probabilities, "C")
    check_range(owner, "probabilities", values, 0, 1)
    names = names_of(owner, "class_names", class_names, len(values), "class")
    if label is not None and not 0 <= label < len(names):
        raise ValueError(f"{owner}: label is {label}; expected 0 to {len(names) - 1}")
    if count < 1:
        raise ValueError(f"{owner}: count is {count}; expected 1 or more")
    shown = [int(place) for place in np.argsort(-values, kind="stable")[:count]]
    if label is not None and label not in shown:
        shown[-1] = label
    ax = axes_or_new(ax, height=1.0 + 0.36 * len(shown))
    bars = ax.barh(
        range(len(shown)),
        values[shown],
        height=0.7,
        color=[colour(1 if place == label else 0) for place in shown],
        edgecolor=ink(),
        linewidth=0.5,
        hatch=[HATCHES[1 if place == label else 0] for place in shown],
    )
    texts = [f"{100 * values[place]:.1f} %" for place in shown]
    ax.bar_label(bars, texts, padding=3, fontsize=small_text())
    marked = [names[place] + (" (true)" if place == label else "") for place in shown]
    ax.set_yticks(range(len(shown)), marked)
    ax.set_ylim(len(shown) - 0.5, -0.5)
    _percent_axis(ax)
    return ax


def _percent_axis(ax: Axes) -> None:
    # Room for the number of a bar that is full.
    ax.set_xlim(0, 1.13)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1])
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    ax.tick_params(axis="y", length=0)
    ax.set_axisbelow(True)
    ax.grid(axis="x", alpha=0.3)
