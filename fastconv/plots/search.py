"""Pictures of a search: what was tried, and how good it was."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fastconv.plots.arguments import FloatArray, same_length, with_axes
from fastconv.plots.palette import marker
from fastconv.plots.style import (
    WIDTH,
    axes_or_new,
    colour,
    ink,
    legend_above,
    make_logarithmic,
    paper,
    say_no_data,
    small_text,
    text_inches,
)

_MOST_TICKS = 12
"""Most values of a chosen key that are named; of more, every so many."""
_SPREAD_OUT = 0.32
"""Distance of trials of one value, as a share of the way to the next value."""
_MOST_MARKED = 6
"""Different values of a key that are all marked on its axis."""


def accuracy_against(
    series: Mapping[str, tuple[npt.ArrayLike, ...]],
    *,
    xlabel: str,
    ylabel: str = "validation accuracy",
    log: bool = False,
    percent: bool = True,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how good each trial of a search was by the value of one key.

    Parameters
    ----------
    series
        For each name, such as a stage of the search, two or three sequences, equally long: values
        of the key, numbers or strings; scores; and, if there are three, the spread of each score,
        drawn as a bar up and down (NaN for none). A score that is not finite is left out.
    xlabel, ylabel
        The key, and what the scores are.
    log
        Logarithmic axis of the values, which must be above 0. Not for strings.
    percent
        Scores are fractions of 1 to be read as percent.
    names
        Order of the values that are strings; None takes them as they come. Trials of one such value
        are drawn side by side.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        With a legend where there are several series. Without a score it says "no data".

    Raises
    ------
    TypeError, ValueError
        If a series is no such sequences, or a value on a logarithmic axis is not above 0.

    Examples
    --------
    >>> from fastconv import plots
    >>> tried = {"first": ([1e-4, 1e-3, 1e-2], [0.47, 0.48, 0.41])}
    >>> axes = plots.accuracy_against(tried, xlabel="optimizer.l2", log=True)
    >>> axes.get_xscale()
    'log'
    """
    owner = "accuracy_against"
    known = _names(series, names)
    checked = {name: _points(owner, name, each, known) for name, each in series.items()}
    if known:
        _set_beside(checked)
    ax = axes_or_new(ax)
    for number, (name, (xs, ys, spread)) in enumerate(checked.items()):
        if log and not known and not (xs > 0).all():
            raise ValueError(
                f"{owner}: values of {name} holds {xs[~(xs > 0)][0]}; expected more than 0 on a "
                f"logarithmic axis"
            )
        _draw_points(ax, xs, ys, spread, number, name)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if not any(xs.size for xs, _, _ in checked.values()):
        say_no_data(ax)
        return ax
    ax.grid(alpha=0.3)
    if known:
        every = -(-len(known) // _MOST_TICKS)
        ax.set_xticks(range(0, len(known), every), known[::every])
        ax.set_xlim(-0.5, len(known) - 0.5)
    elif log:
        make_logarithmic(ax, "x")
    if percent:
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    if len(checked) > 1:
        legend_above(ax, checked)
    return ax


_Points: TypeAlias = tuple[FloatArray, FloatArray, FloatArray]


def _names(
    series: Mapping[str, tuple[npt.ArrayLike, ...]], names: Sequence[str] | None
) -> list[str]:
    """The values in their order, if they are strings."""
    found = [np.asarray(columns[0]) for columns in series.values() if columns]
    if not any(values.dtype.kind == "U" for values in found):
        return []
    every = (str(value) for values in found for value in values.tolist())
    return list(dict.fromkeys((*(names or ()), *every)))


def _points(owner: str, name: str, columns: tuple[npt.ArrayLike, ...], known: list[str]) -> _Points:
    """Places, scores and spreads of the scores that are finite."""
    if len(columns) not in (2, 3):
        raise ValueError(
            f"{owner}: {name} has {len(columns)} sequences; expected 2 or 3: values, scores, spread"
        )
    places = columns[0]
    if known:
        places = [float(known.index(str(value))) for value in np.asarray(places).tolist()]
    xs, ys = same_length(owner, f"values of {name}", places, f"scores of {name}", columns[1])
    spread = np.full(xs.shape, np.nan)
    if len(columns) == 3:
        told = f"spread of {name}"
        _, spread = same_length(owner, f"values of {name}", places, told, columns[2])
    finite = np.isfinite(ys)
    return xs[finite], ys[finite], spread[finite]


def _set_beside(points: Mapping[str, _Points]) -> None:
    """Move what is at the same place apart, in place: the first to the left."""
    every = np.concatenate([xs for xs, _, _ in points.values()] or [np.empty(0)])
    moved = every.copy()
    for place in np.unique(every):
        there = np.flatnonzero(every == place)
        if there.size > 1:
            moved[there] += np.linspace(-_SPREAD_OUT, _SPREAD_OUT, there.size)
    first = 0
    for xs, _, _ in points.values():
        xs[:] = moved[first : first + xs.size]
        first += xs.size


def _draw_points(
    ax: Axes, xs: FloatArray, ys: FloatArray, spread: FloatArray, number: int, name: str
) -> None:
    shown = np.isfinite(spread)
    if shown.any():
        ax.errorbar(
            xs[shown], ys[shown], spread[shown],
            fmt="none", ecolor=colour(number), elinewidth=1.0, alpha=0.6,
        )  # fmt: skip
    ax.plot(
        xs,
        ys,
        linestyle="none",
        marker=marker(number),
        markersize=5.5,
        color=colour(number),
        markeredgecolor="none",
        alpha=0.85,
        label=name,
    )


def parallel_coordinates(
    columns: Mapping[str, npt.ArrayLike],
    scores: npt.ArrayLike,
    *,
    score_label: str = "validation accuracy",
    log: Collection[str] = (),
    percent: bool = True,
    best: Sequence[int] = (),
    ax: Axes | None = None,
) -> Axes:
    r"""Draw each trial of a search as a line through its values of all keys, to its score.

    Parameters
    ----------
    columns
        For each key its values, numbers or strings, one for each trial.
    scores
        (N,): how good each trial was; those that are not finite are left out.
    score_label
        What the scores are.
    log
        Keys whose axis is logarithmic.
    percent
        Scores are fractions of 1 to be read as percent.
    best
        Numbers of trials to draw thick, with markers, over all others.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        It has the lines; each has its own axis with ticks.

    Raises
    ------
    TypeError, ValueError
        If a column has not one value for each trial, a value on a logarithmic axis is not above 0,
        or ``best`` names a trial that there is not.

    Notes
    -----
    After Inselberg, "The plane with parallel coordinates" (The Visual Computer 1, 1985).

    Examples
    --------
    >>> from fastconv import plots
    >>> tried = {"optimizer.lr": [0.01, 0.1], "optimizer.kind": ["sgd", "adam"]}
    >>> axes = plots.parallel_coordinates(tried, [0.9, 0.8], log=["optimizer.lr"], best=[0])
    >>> [text.get_text() for text in axes.texts[:3]]
    ['0.01', '0.1', 'optimizer.\nlr']
    """
    owner = "parallel_coordinates"
    ends = with_axes(owner, "scores", scores, "N")
    for number in best:
        if not 0 <= number < ends.size:
            raise ValueError(f"{owner}: best holds {number}; expected 0 to {ends.size - 1}")
    scales = [
        _scale_of_key(owner, key, each, ends.size, key in log) for key, each in columns.items()
    ]
    scales.append(_scale_of_scores(score_label, ends, percent))
    wraps = _fit_beside([_wrapped(scale.title) for scale in scales])
    ax = axes_or_new(ax, height=4.25 if wraps else 5.5)
    ax.set_axis_off()
    finite = np.flatnonzero(np.isfinite(ends))
    if not finite.size:
        say_no_data(ax)
        return ax
    heights = np.stack([scale.heights for scale in scales])
    places = np.arange(len(scales), dtype=np.float64)
    for trial in finite[~np.isin(finite, best)]:
        ax.plot(places, heights[:, trial], color=colour(0), linewidth=0.9, alpha=0.4)
    for trial in finite[np.isin(finite, best)]:
        ax.plot(places, heights[:, trial], color=colour(1), marker=marker(0), linewidth=2.0)
    for place, scale in enumerate(scales):
        _draw_scale(ax, place, scale, is_last=place == len(scales) - 1, wraps=wraps)
    ax.set_xlim(-0.12, len(scales) - 1 + 0.12)
    ax.set_ylim(-0.03, 1.03)
    return ax


@dataclass(frozen=True)
class _Scale:
    """One of parallel axes: a height from 0 to 1 for each trial, and what is marked."""

    title: str
    heights: FloatArray
    ticks: Sequence[tuple[float, str]]


def _scale_of_key(owner: str, key: str, values: npt.ArrayLike, count: int, is_log: bool) -> _Scale:
    found = np.asarray(values)
    if found.dtype.kind in "Ub":
        texts = [str(value) for value in found.tolist()]
        names = list(dict.fromkeys(texts))
        numbers = np.array([float(names.index(text)) for text in texts])
        marked = [(float(place), name) for place, name in enumerate(names)]
        low, high = 0.0, float(len(names) - 1)
    else:
        numbers = with_axes(owner, f"column {key}", values, "N")
        if is_log:
            if not (numbers > 0).all():
                raise ValueError(
                    f"{owner}: column {key} holds {numbers[~(numbers > 0)][0]}; expected more than "
                    f"0 on a logarithmic axis"
                )
            numbers = np.log10(numbers)
        marked, low, high = _marks(numbers, is_log)
    if numbers.shape != (count,):
        raise ValueError(
            f"{owner}: column {key} has {numbers.size} values but there are {count} scores; "
            f"expected one for each"
        )
    return _Scale(
        key,
        _height(numbers, low, high),
        [(float(_height(np.float64(place), low, high)), text) for place, text in marked],
    )


def _scale_of_scores(label: str, scores: FloatArray, percent: bool) -> _Scale:
    finite = scores[np.isfinite(scores)]
    if not finite.size:
        return _Scale(label, scores, ())
    ticks = MaxNLocator(5).tick_values(finite.min(), finite.max())
    low, high = float(ticks[0]), float(ticks[-1])
    texts = [f"{100 * tick:g} %" if percent else f"{tick:g}" for tick in np.round(ticks, 12)]
    heights = [float(_height(tick, low, high)) for tick in ticks]
    return _Scale(
        label,
        _height(scores, low, high),
        list(zip(heights, texts, strict=True)),
    )


def _marks(numbers: FloatArray, is_log: bool) -> tuple[list[tuple[float, str]], float, float]:
    """Marks on the axis of some numbers, and its ends."""

    def text(place: float) -> str:
        return f"{10**place:.3g}" if is_log else f"{place:.4g}"

    distinct = np.unique(numbers)
    if distinct.size <= _MOST_MARKED:
        return [(p, text(p)) for p in distinct], float(distinct[0]), float(distinct[-1])
    low, high = float(distinct[0]), float(distinct[-1])
    if not is_log:
        ticks = MaxNLocator(4).tick_values(low, high)
        return [(t, text(t)) for t in ticks], float(ticks[0]), float(ticks[-1])
    decades = np.arange(np.ceil(low), np.floor(high) + 1)
    if decades.size < 2:
        return [(p, text(p)) for p in np.linspace(low, high, 3)], low, high
    return [(p, text(p)) for p in decades], low, high


def _height(numbers: Any, low: float, high: float) -> Any:
    """From 0 at the lower end to 1 at the upper one; in the middle where both are the same."""
    return (numbers - low) / (high - low) if high > low else numbers * 0 + 0.5


def _draw_scale(ax: Axes, place: int, scale: _Scale, *, is_last: bool, wraps: bool) -> None:
    ax.plot([place, place], [0, 1], color=ink(), linewidth=1.0, gid="scale")
    # Text on the inner side of the first axis would lie on the lines; so all of it is to the left,
    # on paper of its own, and that of the scores to the right.
    side = "left" if is_last else "right"
    for height, text in scale.ticks:
        ax.annotate(
            text, (place, height), (6 if is_last else -6, 0), textcoords="offset points",
            ha=side, va="center", fontsize=small_text(),
            bbox={"boxstyle": "round,pad=0.1", "facecolor": paper(), "edgecolor": "none",
                  "alpha": 0.75},
        )  # fmt: skip
        ax.plot([place], [height], marker="_", markersize=7, color=ink(), gid="tick")
    ax.annotate(
        _wrapped(scale.title) if wraps else scale.title,
        (place, 1),
        (0, 12),
        textcoords="offset points",
        ha="center" if wraps else "left",
        va="bottom",
        rotation=0 if wraps else 40,
        rotation_mode="anchor",
        fontsize=small_text(),
    )


def _wrapped(title: str) -> str:
    """A title in two lines: a key before its last part, anything else at its first space."""
    return ".\n".join(title.rsplit(".", 1)) if "." in title else title.replace(" ", "\n", 1)


def _fit_beside(titles: Sequence[str]) -> bool:
    """Whether titles fit over axes that stand side by side."""
    lines = [line for title in titles for line in title.split("\n")]
    room = 0.85 * WIDTH / (len(titles) - 1) if len(titles) > 1 else WIDTH
    return text_inches(lines, small_text()) < room
