"""A claim of a report in words, and the evidence that runs give for or against it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from fastconv.report.comparison import overlaid
from fastconv.report.content import Picture, Section, Table
from fastconv.report.findings import Findings
from fastconv.reproduce.verdicts import Measurement, Verdict, measure

Found: TypeAlias = Mapping[str, Sequence[Findings]]
"""For each system its runs, one for each seed."""
Items: TypeAlias = list[Picture | Table]
"""Pictures and tables."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """Evidence for or against a claim.

    Parameters
    ----------
    verdict
        Computed from the measurements.
    text
        The measurements that decide, in a sentence.
    items
        Pictures and tables that show them.
    measured
        The numbers, for JSON.
    """

    verdict: Verdict
    text: str
    items: Sequence[Picture | Table] = ()
    measured: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """A claim.

    Parameters
    ----------
    report, name
        The report's letter, and a name of the claim, unique.
    words
        The claim, so that it can be refuted.
    systems
        The systems whose runs are measured, and what each is called beside the others.
    measure
        Name of the function that measures them: :data:`fastconv.reproduce.claims.MEASURES`.
    stated
        The number that the claim states.
    part
        Whose accuracy is measured: "validation" or "test".
    curves
        Columns of the histories that are drawn beside the measurements.
    takes_diverged
        Whether runs that diverged can be measured too.
    is_ours
        Whether the words are ours, where the report shows something without a claim.
    """

    report: str
    name: str
    words: str
    systems: dict[str, str]
    measure: str
    stated: float | None = None
    part: Literal["validation", "test"] = "test"
    curves: tuple[str, ...] = ()
    takes_diverged: bool = False
    is_ours: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the systems."""
        return tuple(self.systems)

    def said(self, values: Mapping[str, str]) -> str:
        """Say what was found for each system, as in "3.1 % at lambda 0, 4 % at lambda 1"."""
        return ", ".join(f"{value} at {self.systems[name]}" for name, value in values.items())


_PARTS = {"test": "test", "validation": "validation", "train": "training"}


def measured(runs: Sequence[Findings], figure: str) -> Measurement:
    """Return a figure of the summaries of a system's runs."""
    part = runs[0].dataset.parts.get(_PARTS[figure.split("_")[0]])
    samples = len(part) if part is not None and "accuracy" in figure else None
    return measure([findings.run.summary.get(figure) for findings in runs], samples)


_CURVES = {
    "loss": "training loss", "validation_loss": "validation loss",
    "accuracy": "training accuracy", "validation_accuracy": "validation accuracy",
}  # fmt: skip


def curves(claim: Claim, found: Found) -> list[Picture]:
    """Return the curves of a claim, of the first run of each system; none without values."""
    runs = [found[name][0].run for name in claim.names]
    pictures = [
        overlaid(
            runs, list(claim.systems.values()), column, title=_CURVES[column],
            in_percent="accuracy" in column, picture=f"{claim.name}-{column.replace('_', '-')}",
        )
        for column in claim.curves
    ]  # fmt: skip
    return [picture for picture in pictures if picture is not None]


def pictures_of(section: Section | None, prefix: str, only: str = "") -> list[Picture]:
    """Return the pictures of a run's report, under names that are unique on another page.

    Parameters
    ----------
    section
        Of the run's report.
    prefix
        Of their names.
    only
        What the pictures wanted have in their names.
    """
    return [
        dataclasses.replace(picture, name=f"{prefix}-{picture.name}")
        for picture in (section.pictures if section else ())
        if only in picture.name
    ]
