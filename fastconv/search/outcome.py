"""What came of a search: its trials, and which are best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from fastconv.search.definition import Search
from fastconv.search.space import Settings

State: TypeAlias = Literal["completed", "pruned", "diverged", "impossible"]
"""How a trial ended. Pruned: stopped early, because others were better by then; impossible: the
settings do not make a network that can be trained on these data."""


@dataclass(frozen=True)
class Trial:
    """One point of the space, trained.

    Parameters
    ----------
    stage
        0: the first stage; 1: the finer one.
    index
        Number of its draw within the stage, from 0.
    settings
        Of the keys that vary.
    state
        How it ended.
    scores
        The metric after each training: repeats, and in each repeat its folds; the trainings that
        were finished, if not all were.
    seconds
        That it took.
    reason
        Why it is impossible, or nothing.
    """

    stage: int
    index: int
    settings: Settings
    state: State
    scores: tuple[float, ...]
    seconds: float
    reason: str = ""

    @property
    def score(self) -> float | None:
        """Mean of the scores of a completed trial."""
        return statistics.fmean(self.scores) if self.state == "completed" else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of the scores of a completed trial, estimated from the sample."""
        several = self.state == "completed" and len(self.scores) > 1
        return statistics.stdev(self.scores) if several else None


@dataclass(frozen=True)
class Outcome:
    """The trials of a search so far.

    Parameters
    ----------
    search
        What was searched.
    trials
        Finished ones, in the order of stages and draws.
    wanted
        Trials that all stages have when the search is complete.
    backend
        That trained last, or nothing.
    """

    search: Search
    trials: tuple[Trial, ...]
    wanted: int
    backend: str = ""

    def best(self, count: int | None = None) -> list[Trial]:
        """Return the best trials, the very best first; of equal ones the earlier."""
        return best_of(self.trials, self.search.definition.is_maximised)[:count]

    def summary(self) -> dict[str, Any]:
        """Return all of it for a JSON file."""
        definition = self.search.definition
        best = self.best(1)
        return {
            "search": definition.name,
            "recipe": self.search.base["name"],
            "method": definition.method,
            "metric": definition.metric,
            "seed": definition.seed,
            "repeats": definition.repeats,
            "folds": definition.folds,
            "wanted": self.wanted,
            "finished": len(self.trials),
            "backend": self.backend or None,
            "seconds": math.fsum(trial.seconds for trial in self.trials),
            "best": _row(best[0]) if best else None,
            "trials": [_row(trial) for trial in self.trials],
        }


def best_of(trials: Iterable[Trial], is_maximised: bool) -> list[Trial]:
    """Return the completed trials, the best first."""
    scored = [(trial.score, trial) for trial in trials]
    ranked = sorted(
        ((score, trial) for score, trial in scored if score is not None),
        key=lambda pair: -pair[0] if is_maximised else pair[0],
    )
    return [trial for _, trial in ranked]


def csv_rows(outcome: Outcome) -> tuple[Sequence[str], list[list[str | int | float | None]]]:
    """Return heads and rows of trials.csv: a line for each trial."""
    keys = list(outcome.search.definition.space)
    heads = ("stage", "trial", *keys, "state", "score", "spread", "scores", "seconds", "reason")
    rows: list[list[str | int | float | None]] = [
        [
            trial.stage,
            trial.index,
            *(trial.settings.get(key) for key in keys),
            trial.state,
            trial.score,
            trial.spread,
            " ".join(map(repr, trial.scores)),
            trial.seconds,
            trial.reason,
        ]
        for trial in outcome.trials
    ]
    return heads, rows


def _row(trial: Trial) -> dict[str, Any]:
    return {
        "stage": trial.stage,
        "trial": trial.index,
        "settings": trial.settings,
        "state": trial.state,
        "score": trial.score,
        "spread": trial.spread,
        "scores": list(trial.scores),
        "seconds": trial.seconds,
        "reason": trial.reason or None,
    }
