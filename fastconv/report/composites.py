"""Figures of several pictures of :mod:`fastconv.plots`, for the files beside a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastconv import plots
from fastconv.plots.style import WIDTH


def histogram_pairs(
    pairs: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    *,
    bins: int = 40,
    columns: int | None = None,
    log: bool = False,
    names: tuple[str, str] = ("before", "after"),
) -> Axes:
    """Draw how several sets of weights are spread, each in two networks.

    Parameters
    ----------
    pairs
        For each name the weights in the two networks.
    bins, log, names
        As for :func:`fastconv.plots.histograms`.
    columns
        Pictures in a row; None: all.
    """
    columns = columns or len(pairs)
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(WIDTH, (2.6 if rows == 1 else 2.4) * rows), layout="constrained")
    axes = []
    for number, (label, (before, after)) in enumerate(pairs.items()):
        ax = figure.add_subplot(rows, columns, number + 1)
        plots.histograms(before, after, bins=bins, log=log, xlabel=label, names=names, ax=ax)
        axes.append(ax)
        legend = ax.get_legend()
        if legend is not None:
            legend.remove()  # one is enough for all
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return axes[0]


def saliency_grid(
    images: npt.ArrayLike, heat: npt.ArrayLike, titles: Sequence[str], *, signed: bool = False
) -> Axes:
    """Draw where in several images a network looks.

    Parameters
    ----------
    images, heat
        Of each image; see :func:`fastconv.plots.saliency`.
    titles
        Text under each.
    signed
        As for :func:`fastconv.plots.saliency`.
    """
    pixels, maps = np.asarray(images), np.asarray(heat)
    rows = -(-len(titles) // 2)
    figure = Figure(figsize=(WIDTH, 2.9 * rows), layout="constrained")
    for number, title in enumerate(titles):
        ax = figure.add_subplot(rows, 2, number + 1)
        plots.saliency(pixels[number], maps[number], signed=signed, bar=False, ax=ax)
        ax.set_xlabel(title)
    return figure.axes[0]
