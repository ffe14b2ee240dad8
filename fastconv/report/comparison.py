"""The page that compares runs: curves overlaid, settings that differ, results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._files import as_text
from fastconv.report.content import DASH, Numbers, Page, Picture, Section, Table, decimal, duration
from fastconv.report.content import percent as as_percent
from fastconv.report.drawing import Drawing
from fastconv.report.overview import duration_of_step
from fastconv.report.page import write_page
from fastconv.report.training_sections import steps_per_epoch
from fastconv.runs.saved_run import RunError, SavedRun

_CURVES = (
    ("validation_accuracy", "validation accuracy", True),
    ("accuracy", "training accuracy", True),
    ("validation_loss", "validation loss", False),
    ("loss", "training loss", False),
)
_RESULTS = (
    ("test_accuracy", "test accuracy", as_percent),
    ("validation_accuracy", "validation accuracy", as_percent),
    ("train_accuracy_final", "training accuracy, afterwards", as_percent),
    ("train_accuracy", "training accuracy, running", as_percent),
    ("test_loss", "test loss", decimal),
    ("validation_loss", "validation loss", decimal),
    ("train_loss", "training loss, running", decimal),
    ("steps", "steps", lambda steps: f"{steps:,}"),
    ("parameters", "parameters", lambda count: f"{count:,}"),
    ("train_seconds", "training time", duration),
    ("step_ms", "time of a step", duration_of_step),
    ("backend", "backend", str),
    ("threads", "threads", str),
    ("stopped", "stopped", str),
)
_NOT_SETTINGS = ("name", "description")


def names_of(runs: Sequence[SavedRun]) -> list[str]:
    """Return a name for each run: that of its folder, or its path where two are the same.

    Raises
    ------
    RunError
        If a run is there twice.
    """
    names = [run.name for run in runs]
    paths = [run.path.resolve() for run in runs]
    for run, path in zip(runs, paths, strict=True):
        if paths.count(path) > 1:
            raise RunError(f"run {run.path}: is there twice; expected different runs")
    return [
        name if names.count(name) == 1 else as_text(str(run.path))
        for name, run in zip(names, runs, strict=True)
    ]


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return the values of a nested table by dotted keys.

    Examples
    --------
    >>> flatten({"epochs": 2, "layers": [{"kind": "dense", "units": 10}]})
    {'epochs': 2, 'layers.0.kind': 'dense', 'layers.0.units': 10}
    """
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
        items = [(str(number), item) for number, item in enumerate(value)]
    else:
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, item in items:
        found.update(flatten(item, f"{prefix}.{key}" if prefix else key))
    return found


def differing_settings(runs: Sequence[SavedRun]) -> list[list[str]]:
    """Return a row for each key of the recipes that is not the same in all runs."""
    tables = [flatten(run.recipe.table()) for run in runs]
    keys = dict.fromkeys(key for table in tables for key in table)
    rows = []
    for key in keys:
        values = [table.get(key) for table in tables]
        if key not in _NOT_SETTINGS and any(value != values[0] for value in values):
            rows.append([key, *(DASH if value is None else str(value) for value in values)])
    return rows


def results(runs: Sequence[SavedRun]) -> list[list[str]]:
    """Return a row for each result that any of the runs has."""
    rows = []
    for key, name, shown in _RESULTS:
        values = [run.summary.get(key) for run in runs]
        if any(value is not None for value in values):
            rows.append([name, *(DASH if v is None else shown(v) for v in values)])
    return rows


def overlaid(
    runs: Sequence[SavedRun],
    names: Sequence[str],
    column: str,
    *,
    title: str,
    in_percent: bool,
    picture: str | None = None,
) -> Picture | None:
    """Return the curves of several runs in one picture.

    Parameters
    ----------
    runs, names
        The runs, and what to call them.
    column
        Of history.csv.
    title
        What its values are, such as "validation loss".
    in_percent
        Whether the values are fractions of 1 to be read as percent.
    picture
        Name of the picture; None for one after the column.

    Returns
    -------
    Picture or None
        By step, or by epoch where the runs have different batches or data; None where no run has a
        value.
    """
    by_epoch = _is_by_epoch(runs)
    axis = "epoch" if by_epoch else "step"
    series: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for run, name in zip(runs, names, strict=True):
        values = run.history[column]
        if np.isfinite(values).any():
            steps = run.history["step"]
            per_epoch = steps_per_epoch(run) if by_epoch else None
            series[name] = (steps / per_epoch if per_epoch else steps, values)
    if not series:
        return None
    said = as_percent if in_percent else decimal
    ends = ", ".join(
        f"{name} ends at {said(values[np.isfinite(values)][-1])}"
        for name, (_, values) in series.items()
    )
    rows = [
        (name, float(x), float(y))
        for name, (places, values) in series.items()
        for x, y in zip(places, values, strict=True)
        if np.isfinite(y)
    ]
    return Picture(
        picture or f"comparison-{column.replace('_', '-')}",
        Drawing("learning_curves", series, ylabel=title, xlabel=axis, percent=in_percent),
        f"{title.capitalize()} by {axis} of {len(series)} runs: {ends}.",
        title.capitalize(),
        Numbers(("run", axis, column), rows),
    )


def _is_by_epoch(runs: Sequence[SavedRun]) -> bool:
    return len({steps_per_epoch(run) for run in runs}) > 1


def _curves(runs: Sequence[SavedRun], names: Sequence[str]) -> Section:
    said = "Epochs in place of steps: the runs have different batches or data."
    section = Section("curves", "Learning curves", said if _is_by_epoch(runs) else "")
    for column, title, in_percent in _CURVES:
        picture = overlaid(runs, names, column, title=title, in_percent=in_percent)
        if picture is not None:
            section.items.append(picture)
    return section


def comparison_page(runs: Sequence[SavedRun]) -> Page:
    """Return the content of the page that compares runs."""
    names = names_of(runs)
    settings = differing_settings(runs)
    said = "" if settings else "The recipes are the same."
    sections = [
        Section("results", "Results", "", [Table(("result", *names), results(runs))]),
        Section(
            "settings",
            "Settings that differ",
            said,
            [Table(("key of the recipe", *names), settings)] if settings else [],
        ),
        _curves(runs, names),
    ]
    return Page("Runs compared", ", ".join(names), [], sections)


def write_comparison(
    runs: Sequence[SavedRun], path: str | Path, *, figures: str | None = None
) -> Path:
    """Write a page that compares runs, and its numbers into ``NAME-figures`` beside NAME.html.

    Parameters
    ----------
    runs
        The runs, at least one.
    path
        Of the page.
    figures
        Files of the pictures too: "png", or "svg" for SVG beside PNG; None for none.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    path = Path(path)
    write_page(
        comparison_page(runs),
        path,
        figures=figures,
        folder=path.with_name(f"{path.stem}-figures"),
    )
    return path
