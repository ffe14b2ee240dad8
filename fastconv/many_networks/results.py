"""Results of many trainings together: a table, the mean and the spread."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from fastconv.cli.progress import percent

FIGURES = {
    "train_loss": "training loss",
    "train_accuracy": "training accuracy, %",
    "validation_loss": "validation loss",
    "validation_accuracy": "validation accuracy, %",
    "test_loss": "test loss",
    "test_accuracy": "test accuracy, %",
    "train_seconds": "training, s",
}
"""Fields of a summary of which there is a mean, and what they are called."""
_ASIDE = ("train_loss", "train_accuracy")
"""Running means, for which the table has no room."""
_UNUSABLE = ("diverged", "interrupted")
"""Ends of trainings that no mean counts."""


def mean_and_spread(
    summaries: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the mean and the standard deviation of each figure, over trainings with a result.

    Parameters
    ----------
    summaries
        As in summary.json; those that diverged or were interrupted do not count, nor figures that
        one of the others lacks.

    Returns
    -------
    mean, std : dict
        By the field of the summary. The std divides by one less than their number; it is left out
        of a single one.

    Examples
    --------
    >>> accuracies = 0.9, 0.8, 0.1
    >>> runs = [{"stopped": "completed", "test_accuracy": each} for each in accuracies]
    >>> runs[2]["stopped"] = "diverged"
    >>> mean, std = mean_and_spread(runs)
    >>> round(mean["test_accuracy"], 3), round(std["test_accuracy"], 3)
    (0.85, 0.071)
    """
    counted = [each for each in summaries if each["stopped"] not in _UNUSABLE]
    whole: dict[str, list[float]] = {}
    for name in FIGURES:
        values = [each[name] for each in counted if each.get(name) is not None]
        if values and len(values) == len(counted):
            whole[name] = values
    mean = {name: statistics.fmean(each) for name, each in whole.items()}
    std = {name: statistics.stdev(each) for name, each in whole.items() if len(each) > 1}
    return mean, std


def table_of_results(
    summaries: Sequence[Mapping[str, Any]],
) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows for people: a row for each training, the mean and the std.

    Parameters
    ----------
    summaries
        As in summary.json.

    Examples
    --------
    >>> runs = [{"seed": n, "stopped": "completed", "test_accuracy": 0.5 + n} for n in (0, 0.25)]
    >>> heads, rows = table_of_results(runs)
    >>> rows
    [['0', '50.000'], ['0.25', '75.000'], ['mean', '62.500'], ['std', '17.678']]
    """
    shown = [
        name
        for name in FIGURES
        if name not in _ASIDE and any(each.get(name) is not None for each in summaries)
    ]
    rows = []
    for each in summaries:
        ended = f" ({each['stopped']})" if each["stopped"] in _UNUSABLE else ""
        rows.append([f"{each['seed']}{ended}", *(shown_figure(n, each.get(n)) for n in shown)])
    for label, of_all in zip(("mean", "std"), mean_and_spread(summaries), strict=True):
        if of_all:
            rows.append([label, *(shown_figure(name, of_all.get(name)) for name in shown)])
    return ["seed", *(FIGURES[name] for name in shown)], rows


def shown_figure(name: str, value: float | None) -> str:
    """Return a figure for people: an accuracy in percent, seconds and losses as they are.

    Parameters
    ----------
    name
        One of :data:`FIGURES`.
    value
        Its value; None where there is none.

    Examples
    --------
    >>> shown_figure("test_accuracy", 0.98125), shown_figure("test_loss", 0.5)
    ('98.125', '0.5000')
    """
    if value is None:
        return "-"
    if name.endswith("_accuracy"):
        return percent(value)
    return f"{value:.2f}" if name.endswith("_seconds") else f"{value:.4f}"
