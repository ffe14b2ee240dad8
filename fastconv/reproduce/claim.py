"""A claim of a report in words, and the evidence that runs give for or against it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from numpy.typing import ArrayLike

from fastconv.report.comparison import overlaid
from fastconv.report.content import Picture, Section, Table
from fastconv.report.drawing import Drawing
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
        The systems whose runs are measured.
    examine
        Measures them.
    takes_diverged
        Whether runs that diverged can be measured too.
    is_ours
        Whether the words are ours, where the report shows something without a claim.
    """

    report: str
    name: str
    words: str
    systems: tuple[str, ...]
    examine: Callable[[Found], Evidence]
    takes_diverged: bool = False
    is_ours: bool = False


def examine(claim: Claim, found: Found) -> Evidence | None:
    """Return the evidence for a claim; None where runs that it needs are missing."""
    if not all(found.get(name) for name in claim.systems):
        return None
    needed = {name: found[name] for name in claim.systems}
    diverged = [name for name, runs in needed.items() if not all(_is_usable(run) for run in runs)]
    if diverged and not claim.takes_diverged:
        return Evidence("not shown", f"The training of {' and of '.join(diverged)} diverged.")
    return claim.examine(needed)


def _is_usable(findings: Findings) -> bool:
    return findings.is_finite and findings.run.summary.get("stopped") != "diverged"


_PARTS = {"test": "test", "validation": "validation", "train": "training"}


def measured(runs: Sequence[Findings], figure: str) -> Measurement:
    """Return a figure of the summaries of a system's runs."""
    part = runs[0].dataset.parts.get(_PARTS[figure.split("_")[0]])
    samples = len(part) if part is not None and "accuracy" in figure else None
    return measure([findings.run.summary.get(figure) for findings in runs], samples)


def curves(
    found: Found,
    labels: Mapping[str, str],
    column: str,
    *,
    title: str,
    in_percent: bool,
    name: str,
) -> list[Picture]:
    """Return the curves of the first runs of some systems in a picture; none without values.

    Parameters
    ----------
    found
        The runs.
    labels
        For each system what to call it.
    column, title, in_percent
        As for :func:`fastconv.report.comparison.overlaid`.
    name
        Of the picture.
    """
    runs = [found[system][0].run for system in labels]
    picture = overlaid(
        runs, list(labels.values()), column, title=title, in_percent=in_percent, picture=name
    )
    return [] if picture is None else [picture]


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


def weight_histograms(
    name: str,
    weights: Mapping[str, tuple[ArrayLike, ArrayLike]],
    names: tuple[str, str],
    alternative: str,
) -> Picture:
    """Return histograms of the weights of two networks, layer by layer.

    Parameters
    ----------
    name, alternative
        Of the picture.
    weights
        For each layer its weights in the two networks.
    names
        Of the two.
    """
    # Logarithmic: the tails hold few weights.
    drawing = Drawing("histogram_pairs", weights, bins=50, columns=2, log=True, names=names)
    caption = f"Weights of each layer, {names[0]} and {names[1]}; counts are logarithmic."
    return Picture(name, drawing, alternative, caption)
