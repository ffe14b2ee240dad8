"""The gap between training accuracy and that on held-out samples, penalty by penalty."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from fastconv.report.content import Table
from fastconv.reproduce.claim import Evidence, Found, Items, measured
from fastconv.reproduce.paired import gap_difference
from fastconv.reproduce.verdicts import all_of, shown_measurement


def _gaps(found: Found, labels: Mapping[str, str], part: str) -> dict[str, float]:
    return {
        name: measured(found[name], "train_accuracy_final").mean
        - measured(found[name], f"{part}_accuracy").mean
        for name in labels
    }


def gap_table(found: Found, labels: Mapping[str, str], part: str) -> Table:
    """Return accuracies and gaps, a row for each system.

    Parameters
    ----------
    found
        The runs.
    labels
        For each system what to call it.
    part
        "validation" or "test".
    """
    rows = [
        (labels[name],
         shown_measurement("train_accuracy", measured(found[name], "train_accuracy_final")),
         shown_measurement(f"{part}_accuracy", measured(found[name], f"{part}_accuracy")),
         f"{100 * gap:.2f} points")
        for name, gap in _gaps(found, labels, part).items()
    ]  # fmt: skip
    return Table(("", "training accuracy", f"{part} accuracy", "gap"), rows)


def narrower_gap(
    found: Found, labels: Mapping[str, str], part: str, items: Items | None = None
) -> Evidence:
    """Return whether each larger penalty has the smaller gap.

    Parameters
    ----------
    found, labels, part
        As for :func:`gap_table`; the smallest penalty first.
    items
        What shows it.
    """
    gaps = _gaps(found, labels, part)
    said = ", ".join(f"{100 * gap:.2f} points at {labels[name]}" for name, gap in gaps.items())
    pairs = itertools.pairwise(labels)
    return Evidence(
        all_of([gap_difference(found[a], found[b], part).is_positive for a, b in pairs]),
        f"Training accuracy less {part} accuracy: {said}.",
        items or (),
        gaps,
    )
