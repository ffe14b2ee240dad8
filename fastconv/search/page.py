"""The page of a search: what was tried, what was best, and how scores depend on each key."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from fastconv.report.content import (
    DASH,
    Numbers,
    Page,
    Picture,
    Section,
    Table,
    decimal,
    duration,
    percent,
)
from fastconv.report.drawing import Drawing
from fastconv.report.page import write_page
from fastconv.search.definition import Definition
from fastconv.search.display import (
    shown_range,
    shown_score,
    shown_settings,
    shown_value,
    stage_name,
    table_of_best,
)
from fastconv.search.outcome import Outcome, Trial

_BEST = 10
"""Rows of the table of the best."""
_HIGHLIGHTED = 3
"""Lines that stand out among parallel coordinates."""


def search_page(outcome: Outcome) -> Page:
    """Return the content of a search's page."""
    definition = outcome.search.definition
    best = outcome.best(1)
    facts = [
        (f"best {_metric(definition)}", shown_score(definition, best[0].score if best else None)),
        ("trials", f"{len(outcome.trials):,} of {outcome.wanted:,}"),
        ("training time", duration(math.fsum(trial.seconds for trial in outcome.trials))),
    ]
    lead = f"Recipe {outcome.search.base['name']}, method {definition.method}, judged by "
    lead += f"{_metric(definition)} at the end of each training. The test part was not looked at."
    sections = [_what_was_tried(outcome), _best(outcome)]
    if best:
        sections.append(_by_key(outcome))
        if len(definition.space) > 1:
            sections.append(_together(outcome))
    sections.append(_all_trials(outcome))
    return Page(f"Search {definition.name}", lead, facts, sections)


def write_search_page(outcome: Outcome, folder: Path, *, figures: str | None = None) -> Path:
    """Write ``search.html`` into a search's folder, and its numbers into ``figures``.

    Parameters
    ----------
    outcome
        The trials.
    folder
        Where.
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
    path = folder / "search.html"
    write_page(search_page(outcome), path, folder=folder / "figures", figures=figures)
    return path


def _metric(definition: Definition) -> str:
    return definition.metric.replace("_", " ")


def _what_was_tried(outcome: Outcome) -> Section:
    definition = outcome.search.definition
    states = Counter(trial.state for trial in outcome.trials)
    judged = "the recipe's validation part"
    if definition.folds:
        judged = f"{definition.folds} folds of the training part, each held out once"
    rows = [
        ("recipe", str(outcome.search.base["name"])),
        *((key, f"{shown_value(value)}, in all trials")
          for key, value in definition.settings.items()),
        *((key, shown_range(dimension)) for key, dimension in definition.space.items()),
        ("judged by", f"{_metric(definition)} on {judged}"),
        ("trainings of a trial", str(definition.trainings)),
        ("trials", ", ".join(f"{count} {state}" for state, count in states.items()) or DASH),
        ("seed of the draws", str(definition.seed)),
        ("backend", outcome.backend or DASH),
    ]  # fmt: skip
    if definition.finer is not None:
        told = f"{definition.finer.trials} trials in the range of the best {definition.finer.best}"
        rows.insert(-3, ("finer stage", told))
    return Section("what-was-tried", "What was tried", definition.description, [Table((), rows)])


def _best(outcome: Outcome) -> Section:
    heads, rows = table_of_best(outcome, _BEST, is_wide=True)
    if not rows:
        return Section("best", "The best", "No trial came to a result.")
    text = ""
    if outcome.search.definition.trainings > 1:
        text = "The spread is the standard deviation over the trainings of a trial."
    return Section("best", "The best", text, [Table(heads, rows)])


def _completed(outcome: Outcome) -> list[Trial]:
    return [trial for trial in outcome.trials if trial.score is not None]


def _scores(trials: Iterable[Trial]) -> list[float]:
    return [trial.score for trial in trials if trial.score is not None]


def _by_key(outcome: Outcome) -> Section:
    definition = outcome.search.definition
    section = Section("by-key", f"{_metric(definition).capitalize()} by key")
    has_gaps = any(trial.gap is not None for trial in outcome.trials)
    for key in definition.space:
        section.items.append(_scores_by_key(outcome, key))
        if has_gaps:
            section.items.append(_gaps_by_key(outcome, key))
    return section


def _scores_by_key(outcome: Outcome, key: str) -> Picture:
    definition = outcome.search.definition
    metric = _metric(definition)
    completed = _completed(outcome)
    first = outcome.best(1)[0]
    best = f"the best, {shown_score(definition, first.score)}, is at "
    best += shown_value(first.settings[key])
    return Picture(
        f"by-{key.replace('.', '-')}",
        _against(outcome, key, completed, lambda trial: (trial.score, trial.spread), ylabel=metric),
        f"{metric.capitalize()} of {len(completed)} trials by {key}: {best}.",
        f"{_points(definition)}; {best}.",
        Numbers(
            ("stage", key, "score", "spread"),
            [(t.stage, t.settings[key], t.score, t.spread) for t in completed],
        ),
    )


def _gaps_by_key(outcome: Outcome, key: str) -> Picture:
    definition = outcome.search.definition
    there = [trial for trial in _completed(outcome) if trial.gap is not None]
    what = definition.metric.removeprefix("validation_")
    what = f"training less validation {what}"
    ends = [
        f"{shown_score(definition, trial.gap)} at {shown_value(trial.settings[key])}"
        for trial in sorted(there, key=lambda trial: trial.gap or 0.0)[:: max(1, len(there) - 1)]
    ]
    told = f"{' to '.join(ends)}"
    return Picture(
        f"gap-by-{key.replace('.', '-')}",
        _against(outcome, key, there, lambda trial: (trial.gap, trial.gap_spread), ylabel=what),
        f"{what.capitalize()} of {len(there)} trials by {key}: {told}.",
        f"{_points(definition)}: {what}, from {told}.",
        Numbers(
            ("stage", key, "training_score", "gap", "gap_spread"),
            [(t.stage, t.settings[key], t.training_score, t.gap, t.gap_spread) for t in there],
        ),
    )


def _points(definition: Definition) -> str:
    """Caption of a picture of trials."""
    if definition.trainings > 1:
        return "A point for each trial, the bar is the standard deviation over its trainings"
    return "A point for each trial"


def _against(
    outcome: Outcome,
    key: str,
    trials: Sequence[Trial],
    measured: Callable[[Trial], tuple[float | None, float | None]],
    *,
    ylabel: str,
) -> Drawing:
    """Return the drawing of a figure of some trials, and its spread, by the value of a key."""
    definition = outcome.search.definition
    dimension = definition.space[key]
    is_choice = dimension.kind == "choice"
    series: dict[str, tuple[Any, ...]] = {}
    for stage in sorted({trial.stage for trial in trials}):
        there = [trial for trial in trials if trial.stage == stage]
        values = [trial.settings[key] for trial in there]
        figures = [[math.nan if x is None else x for x in measured(trial)] for trial in there]
        series[stage_name(stage)] = (
            [shown_value(value) for value in values] if is_choice else values,
            [figure for figure, _ in figures],
            [spread for _, spread in figures],
        )
    return Drawing(
        "accuracy_against",
        series,
        xlabel=key,
        ylabel=ylabel,
        log=dimension.kind == "log_uniform",
        percent=definition.is_maximised,
        names=[shown_value(value) for value in dimension.ends()] if is_choice else None,
    )


def _together(outcome: Outcome) -> Section:
    definition = outcome.search.definition
    completed = _completed(outcome)
    best = outcome.best(_HIGHLIGHTED)
    space = definition.space
    columns = {
        key: [
            shown_value(trial.settings[key])
            if isinstance(trial.settings[key], (str, bool))
            else trial.settings[key]
            for trial in completed
        ]
        for key in space
    }
    drawing = Drawing(
        "parallel_coordinates",
        columns,
        _scores(completed),
        score_label=_metric(definition),
        log=[key for key, dimension in space.items() if dimension.kind == "log_uniform"],
        percent=definition.is_maximised,
        best=[completed.index(trial) for trial in best],
    )
    told = "; ".join(
        f"{shown_settings(trial.settings)}: {shown_score(definition, trial.score)}"
        for trial in best
    )
    picture = Picture(
        "parallel-coordinates",
        drawing,
        f"{len(completed)} trials as lines through their values of {', '.join(space)} to their "
        f"{_metric(definition)}; the best: {told}.",
        f"A line for each trial; the {len(best)} best are thick, with round markers.",
        Numbers(
            (*space, "score"),
            [(*(trial.settings[key] for key in space), trial.score) for trial in completed],
        ),
    )
    return Section("together", "All keys together", "", [picture])


def _all_trials(outcome: Outcome) -> Section:
    definition = outcome.search.definition
    shown = percent if definition.is_maximised else decimal
    is_staged = definition.finer is not None
    has_gaps = any(trial.gap is not None for trial in outcome.trials)
    heads = ["trial", _metric(definition), *(["gap"] if has_gaps else []), *definition.space]
    heads += ["trainings", "time", "ended"]
    rows = [
        [
            f"{stage_name(trial.stage)} {trial.index}" if is_staged else str(trial.index),
            shown(trial.score),
            *([shown(trial.gap)] if has_gaps else []),
            *(shown_value(trial.settings.get(key)) for key in definition.space),
            ", ".join(map(shown, trial.scores)) or DASH,
            duration(trial.seconds),
            f"{trial.state}: {trial.reason}" if trial.reason else trial.state,
        ]
        for trial in outcome.trials
    ]
    return Section("trials", "All trials", "", [Table(heads, rows)], folded=True)
