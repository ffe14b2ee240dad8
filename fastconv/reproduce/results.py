"""All that a reproduction has made so far: runs, what they say of claims, and that as JSON."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastconv.backends.configuration import package_version
from fastconv.report.content import DASH, duration
from fastconv.reproduce import comparisons
from fastconv.reproduce.claim import Claim, Evidence
from fastconv.reproduce.claims import claims, examine
from fastconv.reproduce.comparisons import Comparison
from fastconv.reproduce.runs import Wanted, find, findings_of
from fastconv.reproduce.systems import FIGURES, System, is_accuracy, systems
from fastconv.reproduce.verdicts import (
    Outcome,
    measure,
    outcome_of,
    shown_figure,
    shown_measurement,
)
from fastconv.runs.datasets import Datasets
from fastconv.runs.saved_run import SavedRun

FORMAT = 1
"""Version of results.json."""


def wanted_run(system: System, seed: int, out: Path, *, quick: bool) -> Wanted:
    """Return the run of a system with a seed; that of seed 0 has the system's name alone."""
    name = f"{system.name}-seed{seed}" if seed else system.name
    recipe = system.load(seed, quick=quick)
    return Wanted(out / "runs" / name, recipe, system.command(seed, quick=quick))


@dataclass(frozen=True)
class Row:
    """A system in the table.

    Parameters
    ----------
    system
        The system.
    runs
        One for each seed.
    outcome
        Whether it reaches what is stated.
    stated, ours
        Results in words, figure by figure.
    stated_time, our_time
        Times in words.
    command
        That makes the first run.
    seeds
        Of the runs, in words.
    """

    system: System
    runs: Sequence[SavedRun]
    outcome: Outcome
    stated: tuple[str, ...]
    ours: tuple[str, ...]
    stated_time: str
    our_time: str
    command: str
    seeds: str


@dataclass(eq=False)
class Results:
    """The runs of a reproduction, found in its folder or added as they are made.

    Parameters
    ----------
    out
        Its folder.
    datasets
        Of its runs.
    quick
        Whether the runs are the shortened ones.
    backend
        Whose kernels apply the networks.
    """

    out: Path
    datasets: Datasets
    quick: bool = False
    backend: str | None = None
    runs: dict[str, list[SavedRun]] = field(default_factory=dict)
    compared: dict[str, tuple[Comparison, dict[str, list[SavedRun]]]] = field(default_factory=dict)
    _evidence: dict[tuple[str, ...], Evidence | None] = field(default_factory=dict)

    def find_runs(self) -> None:
        """Find the complete runs of all systems in the folder."""
        for system in systems():
            seeds = [0]
            for path in (self.out / "runs").glob(f"{system.name}-seed*"):
                number = path.name.removeprefix(f"{system.name}-seed")
                if number.isdecimal():
                    seeds.append(int(number))
            made = [find(wanted_run(system, s, self.out, quick=self.quick)) for s in sorted(seeds)]
            self.runs[system.name] = [run for run in made if run is not None]
        if not self.quick:
            for comparison in comparisons.comparisons_of(systems()):
                self._find_compared(comparison)

    def _find_compared(self, comparison: Comparison) -> None:
        """Find the runs of a comparison, in full length if there are such."""
        for full in (True, False):
            made: dict[str, list[SavedRun]] = {}
            for variation in comparison.variations:
                for seed in itertools.count():
                    wanted = comparison.wanted(variation, seed, self.out, full=full)
                    run = find(wanted)
                    if run is None:
                        break
                    made.setdefault(variation.label, []).append(run)
            if len(made) == len(comparison.variations):
                self.compared[comparison.name] = comparison, made
                return

    def add(self, system: System, run: SavedRun) -> None:
        """Add a run, or put it in the place of an earlier one of its seed."""
        kept = [each for each in self.runs.get(system.name, []) if each.path != run.path]
        self.runs[system.name] = sorted([*kept, run], key=lambda each: each.recipe.seed)
        for key in [key for key in self._evidence if str(run.path) in key]:
            del self._evidence[key]

    def compare(self, comparison: Comparison, label: str, run: SavedRun) -> None:
        """Add a run of a comparison's variation; short and full ones are not mixed."""
        _, runs = self.compared.setdefault(comparison.name, (comparison, {}))
        for each, made in runs.items():
            runs[each] = [
                other
                for other in made
                if other.path.parent == run.path.parent and other.path != run.path
            ]
        runs[label] = sorted([*runs.get(label, []), run], key=lambda each: each.recipe.seed)
        for key in [key for key in self._evidence if key[0] == comparison.name]:
            del self._evidence[key]

    def rows(self) -> list[Row]:
        """Return the table: all systems, those without a run too."""
        return [self._row(system) for system in systems()]

    def _row(self, system: System) -> Row:
        runs = self.runs.get(system.name, [])
        values = [run.summary.get(system.decides) for run in runs]
        return Row(
            system,
            runs,
            shortened_outcome(system, runs) if self.quick else outcome_of(system, values),
            tuple(f"{FIGURES[key]} {shown_figure(key, value)}"
                  for key, value in system.stated.items()),
            tuple(_ours(system, runs)),
            system.time or DASH,
            self._our_time(system, runs),
            system.command(quick=self.quick),
            ", ".join(str(run.recipe.seed) for run in runs) or DASH,
        )  # fmt: skip

    def _our_time(self, system: System, runs: Sequence[SavedRun]) -> str:
        if not runs:
            return DASH
        seconds = sum(run.summary["train_seconds"] for run in runs) / len(runs)
        text = duration(seconds)
        if system.seconds is None or self.quick or not seconds:
            return text
        return f"{text} ({system.seconds / seconds:,.0f} times less)"

    def _examine(self, claim: Claim) -> Evidence | None:
        runs = {name: self.runs[name] for name in claim.systems if self.runs.get(name)}
        if len(runs) < len(claim.systems):
            return None  # before any data are loaded for it
        found = {
            name: [findings_of(run, self.datasets, self.backend) for run in made]
            for name, made in runs.items()
        }
        return examine(claim, found)

    def claims(self) -> list[tuple[Claim | Comparison, Evidence | None]]:
        """Return all claims, and what the runs say of each; None where runs are missing.

        Each is examined once, and again where a run that it needs has changed.
        """
        said: list[tuple[Claim | Comparison, Evidence | None]] = []
        for claim in claims():
            used = [str(run.path) for name in claim.systems for run in self.runs.get(name, [])]
            key = (claim.name, *used)
            if self._evidence.get(key) is None:
                self._evidence[key] = self._examine(claim)
            said.append((claim, self._evidence[key]))
        for comparison, runs in self.compared.values():
            key = (comparison.name, *(str(run.path) for made in runs.values() for run in made))
            if self._evidence.get(key) is None:
                self._evidence[key] = comparisons.evidence(comparison, runs, self.datasets)
            said.append((comparison, self._evidence[key]))
        return said

    def floors_missed(self) -> list[str]:
        """Return in words which of the shortened runs miss their bounds."""
        missed = []
        for system in systems():
            quick = system.quick
            for run in self.runs.get(system.name, []):
                value = run.summary.get(quick.figure)
                if quick.misses(value):
                    side = "at least" if quick.at_least is not None else "at most"
                    bound = quick.at_least if quick.at_least is not None else quick.at_most
                    missed.append(
                        f"{run.name}: {FIGURES[quick.figure]} {shown_figure(quick.figure, value)}, "
                        f"expected {side} {shown_figure(quick.figure, bound)}"
                    )
        return missed

    def table(self) -> dict[str, Any]:
        """Return everything as plain numbers and words, for JSON."""
        return {
            "format": FORMAT,
            "fastconv": package_version("fastconv"),
            "quick": self.quick,
            "systems": [self._entry(row) for row in self.rows()],
            "claims": [
                {
                    "report": claim.report,
                    "name": claim.name,
                    "words": claim.words,
                    "is_ours": claim.is_ours,
                    "verdict": evidence.verdict if evidence else None,
                    "text": evidence.text if evidence else None,
                    "measured": dict(evidence.measured) if evidence else None,
                }
                for claim, evidence in self.claims()
            ],
        }

    def _entry(self, row: Row) -> dict[str, Any]:
        system = row.system
        return {
            "name": system.name,
            "report": system.report,
            "recipe": system.recipe_name,
            "settings": system.settings,
            "decides": system.decides,
            "stated": system.stated,
            "stated_seconds": system.seconds,
            "result": row.outcome.result,
            "words": row.outcome.words,
            "missed_by": row.outcome.missed_by,
            "command": row.command,
            "runs": [
                {
                    "folder": run.path.relative_to(self.out).as_posix(),
                    "seed": run.recipe.seed,
                    "summary": run.summary,
                    "processor": run.environment.get("processor"),
                }
                for run in row.runs
            ],
        }


def shortened_outcome(system: System, runs: Sequence[SavedRun]) -> Outcome:
    """Return whether shortened runs reach what they must; what is stated is out of their reach."""
    if not runs:
        return outcome_of(system, [])
    quick = system.quick
    bound = quick.at_least if quick.at_least is not None else quick.at_most
    side = "at least" if quick.at_least is not None else "at most"
    missed = any(quick.misses(run.summary.get(quick.figure)) for run in runs)
    words = f"shortened: {FIGURES[quick.figure]} {side} {shown_figure(quick.figure, bound)}"
    return Outcome("not comparable", f"{words} {'missed' if missed else 'reached'}")


def _ours(system: System, runs: Sequence[SavedRun]) -> list[str]:
    """The figures that are stated; where none is, those that there are."""
    wanted = list(system.stated)
    if not wanted:
        kind = is_accuracy(system.decides)
        wanted = [key for key in FIGURES if is_accuracy(key) is kind and key != "train_accuracy"]
    shown = []
    for key in wanted:
        values = [run.summary.get(key) for run in runs]
        if any(value is not None for value in values):
            shown.append(f"{FIGURES[key]} {shown_measurement(key, measure(values))}")
    return shown
