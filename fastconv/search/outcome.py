"""Outcome of a search: its trials, and which are best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from fastconv.search.definition import Search
from fastconv.search.space import Settings

State: TypeAlias = Literal["completed", "pruned", "diverged", "impossible"]
"""End of a trial. Pruned: stopped early, because others were better by then; impossible: the
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
    training_scores
        The metric on the samples that each training learned from; empty unless the recipe has
        ``evaluate_train``.
    """

    stage: int
    index: int
    settings: Settings
    state: State
    scores: tuple[float, ...]
    seconds: float
    reason: str = ""
    training_scores: tuple[float, ...] = ()

    @property
    def score(self) -> float | None:
        """Mean of the scores of a completed trial."""
        return statistics.fmean(self.scores) if self.state == "completed" else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of the scores of a completed trial, estimated from the sample."""
        return _spread(self.scores) if self.state == "completed" else None

    @property
    def training_score(self) -> float | None:
        """Mean of the training scores of a completed trial."""
        there = self.state == "completed" and self.training_scores
        return statistics.fmean(self.training_scores) if there else None

    @property
    def gap(self) -> float | None:
        """Mean of the training scores less the scores, of a completed trial that has both."""
        gaps = self._gaps()
        return statistics.fmean(gaps) if gaps else None

    @property
    def gap_spread(self) -> float | None:
        """Standard deviation of the gaps of the trainings, estimated from the sample."""
        return _spread(self._gaps())

    def _gaps(self) -> list[float]:
        if self.state != "completed" or len(self.training_scores) != len(self.scores):
            return []
        pairs = zip(self.training_scores, self.scores, strict=True)
        return [learned - held_out for learned, held_out in pairs]


def _spread(scores: Sequence[float]) -> float | None:
    return statistics.stdev(scores) if len(scores) > 1 else None


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
    heads = (
        "stage", "trial", *keys, "state", "score", "spread", "scores", "training_score",
        "training_scores", "gap", "gap_spread", "seconds", "reason",
    )  # fmt: skip
    rows: list[list[str | int | float | None]] = [
        [
            trial.stage,
            trial.index,
            *(trial.settings.get(key) for key in keys),
            trial.state,
            trial.score,
            trial.spread,
            " ".join(map(repr, trial.scores)),
            trial.training_score,
            " ".join(map(repr, trial.training_scores)),
            trial.gap,
            trial.gap_spread,
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
        "training_score": trial.training_score,
        "training_scores": list(trial.training_scores),
        "gap": trial.gap,
        "gap_spread": trial.gap_spread,
        "seconds": trial.seconds,
        "reason": trial.reason or None,
    }
