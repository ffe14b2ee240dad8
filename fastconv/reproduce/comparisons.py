"""Variations of a recipe side by side, and whether they compare as a report says."""

from __future__ import annotations

import functools
import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from fastconv.recipe import load_recipe
from fastconv.recipes.schema import read_dataclass
from fastconv.report.comparison import overlaid
from fastconv.report.content import Table, duration
from fastconv.reproduce.claim import Evidence, Items
from fastconv.reproduce.runs import Wanted
from fastconv.reproduce.systems import FIGURES, System, is_accuracy, train_command
from fastconv.reproduce.verdicts import (
    Measurement,
    Verdict,
    all_of,
    is_larger,
    is_within,
    measure,
    shown_measurement,
)
from fastconv.runs.datasets import Datasets
from fastconv.runs.saved_run import SavedRun


@dataclass(frozen=True)
class Variation:
    """One way to set a recipe.

    Parameters
    ----------
    label
        What to call it.
    settings
        Keys of the recipe that are other.
    """

    label: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Variations of a recipe, and what a report says of them.

    Parameters
    ----------
    report, name, words
        As of a :class:`fastconv.reproduce.claim.Claim`.
    recipe
        What is varied.
    variations
        At least two.
    expects
        Of the figure. "rises", "falls": the last variation has more, or less, than the first, and
        none in between turns back; "best": the variation named ``best`` is better than every other;
        "equal": all are within ``within``; "no worse": the last variation is worse than the first
        by ``within`` at most.
    figure
        Of a run's summary.
    best, within
        See ``expects``.
    seeds
        Runs of each without --seeds.
    short
        Keys of the recipe that shorten the training.
    is_ours
        As of a claim.
    """

    report: str
    name: str
    words: str
    recipe: str
    variations: tuple[Variation, ...]
    expects: Literal["rises", "falls", "best", "equal", "no worse"]
    figure: str = "validation_accuracy"
    best: str | None = None
    within: float | None = None
    seeds: int = 1
    short: dict[str, Any] = field(default_factory=dict)
    is_ours: bool = False

    def __post_init__(self) -> None:
        labels = [variation.label for variation in self.variations]
        if self.figure not in FIGURES or len(labels) < 2 or len(set(labels)) < len(labels):
            raise ValueError(f"{self.name}: expected a figure and two variations or more")
        if (self.expects == "best") != (self.best in labels):
            raise ValueError(f"{self.name}: best is {self.best!r}; expected one of {labels}")
        if (self.expects in ("equal", "no worse")) != (self.within is not None):
            raise ValueError(f"{self.name}: within goes with expects = 'equal' and 'no worse'")

    def wanted(self, variation: Variation, seed: int, out: Path, *, full: bool) -> Wanted:
        """Return the run of a variation with a seed, in the folder of a reproduction."""
        shortened = {} if full else self.short
        seeded = {"seed": seed} if seed else {}
        settings = list({**variation.settings, **shortened, **seeded}.items())
        slug = re.sub(r"\W+", "-", variation.label)
        folder = out / ("comparisons-full" if full else "comparisons") / self.name
        path = folder / (f"{slug}-seed{seed}" if seed else slug)
        return Wanted(
            path, load_recipe(self.recipe, settings), train_command(self.recipe, settings)
        )

    def is_shortened(self, run: SavedRun, variation: Variation) -> bool:
        """Whether a run of a variation is a shortened one."""
        whole = self.wanted(variation, run.recipe.seed, Path(), full=True)
        return run.recipe.table() != whole.recipe.table()


@dataclass(frozen=True)
class _Comparisons:
    comparisons: tuple[Comparison, ...]


@functools.cache
def _read() -> _Comparisons:
    source = resources.files("fastconv.reproduce") / "comparisons.toml"
    return read_dataclass(_Comparisons, tomllib.loads(source.read_text(encoding="utf-8")), "")


def comparisons_of(systems: Sequence[System]) -> tuple[Comparison, ...]:
    """Return the comparisons that vary the recipes of some systems."""
    recipes = {system.recipe_name for system in systems}
    return tuple(each for each in _read().comparisons if each.recipe in recipes)


def judge(comparison: Comparison, measured: Mapping[str, Measurement]) -> Verdict:
    """Return whether measurements are what a comparison says, beyond their errors.

    Parameters
    ----------
    comparison
        The comparison.
    measured
        Its figure for the label of each variation, in order.
    """
    values = list(measured.values())
    if comparison.expects == "rises":
        return _rises(values)
    if comparison.expects == "falls":
        return _rises(values[::-1])
    if comparison.expects == "best":
        assert comparison.best is not None
        best = measured[comparison.best]
        others = [value for label, value in measured.items() if label != comparison.best]
        if is_accuracy(comparison.figure):
            return all_of([is_larger(best, other) for other in others])
        return all_of([is_larger(other, best) for other in others])
    assert comparison.within is not None
    if comparison.expects == "no worse":
        better, worse = values[0], values[-1]
        if not is_accuracy(comparison.figure):
            better, worse = worse, better
    else:
        better = max(values, key=lambda value: value.mean)
        worse = min(values, key=lambda value: value.mean)
    return is_within(comparison.within, better, worse)


def _rises(values: Sequence[Measurement]) -> Verdict:
    """Whether the last is larger than the first, and none smaller than the one before it."""
    verdict = is_larger(values[-1], values[0])
    turns_back = any(later.mean < earlier.mean for earlier, later in itertools.pairwise(values))
    return "not shown" if verdict == "shown" and turns_back else verdict


def evidence(
    comparison: Comparison, runs: Mapping[str, Sequence[SavedRun]], datasets: Datasets
) -> Evidence | None:
    """Return what the runs of a comparison say.

    Parameters
    ----------
    comparison
        The comparison.
    runs
        For the label of each variation its runs, one for each seed; without one of them there is no
        evidence.
    datasets
        For the number of samples of the figure's part.
    """
    if not all(runs.get(variation.label) for variation in comparison.variations):
        return None
    figure = comparison.figure
    measured = {}
    for variation in comparison.variations:
        made = runs[variation.label]
        samples = None
        if is_accuracy(figure):
            datasets.check(made[0])
            samples = len(datasets.of(made[0].recipe).parts[figure.removesuffix("_accuracy")])
        measured[variation.label] = measure([run.summary.get(figure) for run in made], samples)
    rows = []
    for label, value in measured.items():
        summaries = [run.summary for run in runs[label]]
        seconds = sum(summary["train_seconds"] for summary in summaries) / len(summaries)
        rows.append(
            (label, shown_measurement(figure, value), f"{summaries[0]['parameters']:,}",
             f"{summaries[0]['epochs']:,.7g}", duration(seconds), str(value.seeds))
        )  # fmt: skip
    columns = ("", FIGURES[figure], "parameters", "epochs", "training time", "seeds")
    items: Items = [Table(columns, rows)]
    picture = overlaid(
        [runs[label][0] for label in measured],
        list(measured),
        "accuracy" if is_accuracy(figure) else "loss",
        title="training accuracy" if is_accuracy(figure) else "training loss",
        in_percent=is_accuracy(figure),
        picture=f"comparison-{comparison.name}",
    )
    # A curve of one point shows nothing.
    if picture is not None and all(len(runs[label][0].history["step"]) > 1 for label in measured):
        items.append(picture)
    said = ", ".join(
        f"{label} {shown_measurement(figure, value)}" for label, value in measured.items()
    )
    name = FIGURES[figure].capitalize() + (" accuracy" if is_accuracy(figure) else "")
    first = comparison.variations[0]
    if comparison.is_shortened(runs[first.label][0], first):
        how = ", ".join(f"{key} {value}" for key, value in comparison.short.items())
        said += f", in shortened trainings ({how})"
    numbers = {label: value.mean for label, value in measured.items()}
    return Evidence(judge(comparison, measured), f"{name}: {said}.", items, numbers)
