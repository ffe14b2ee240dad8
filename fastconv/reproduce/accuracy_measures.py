"""Accuracies of systems side by side: which is better, and how far training runs ahead."""

from __future__ import annotations

import itertools

import numpy as np

from fastconv.report.content import Table, percent
from fastconv.reproduce.claim import Claim, Evidence, Found, measured
from fastconv.reproduce.paired import accuracy_difference, gap_difference
from fastconv.reproduce.verdicts import all_of, of_cases, shown_measurement


def higher_accuracy(claim: Claim, found: Found) -> Evidence:
    """Whether the last system has a higher test accuracy than the first."""
    test = {name: measured(found[name], "test_accuracy") for name in claim.names}
    shown = {name: shown_measurement("test_accuracy", value) for name, value in test.items()}
    rows = [
        (label, shown_measurement("train_accuracy", measured(found[name], "train_accuracy")),
         shown[name])
        for name, label in claim.systems.items()
    ]  # fmt: skip
    first, *_, last = claim.names
    said = " and ".join(f"{shown[name]} {label}" for name, label in claim.systems.items())
    return Evidence(
        accuracy_difference(found[last], found[first], "test").is_positive,
        f"Test accuracy {said}.",
        [Table(("", "training (running)", "test"), rows)],
        {name: value.mean for name, value in test.items()},
    )


def _errors(claim: Claim, found: Found, figure: str) -> tuple[dict[str, float], str]:
    """The errors in a figure of the summaries, and what is said of them."""
    errors = {name: 1 - measured(found[name], figure).mean for name in claim.names}
    return errors, claim.said({name: f"{100 * error:.2f} %" for name, error in errors.items()})


def rising_training_error(claim: Claim, found: Found) -> Evidence:
    """Whether each system has a larger training error than the one before it."""
    errors, said = _errors(claim, found, "train_accuracy_final")
    steps = [
        accuracy_difference(found[a], found[b], "training").is_positive
        for a, b in itertools.pairwise(claim.names)
    ]
    items = [_gap_table(claim, found)]
    return Evidence(all_of(steps), f"Training error {said}.", items, errors)


def no_lower_error(claim: Claim, found: Found) -> Evidence:
    """Whether no system has a lower error than the first: shown unless one surely has."""
    errors, said = _errors(claim, found, f"{claim.part}_accuracy")
    first, *others = claim.names
    lower = [
        accuracy_difference(found[name], found[first], claim.part).is_positive for name in others
    ]
    return Evidence(
        "refuted" if "shown" in lower else "shown",
        f"{claim.part.capitalize()} error {said}. To be lower takes two standard errors of the "
        f"difference.",
        (),
        errors,
    )


def _gaps(claim: Claim, found: Found) -> dict[str, float]:
    return {
        name: measured(found[name], "train_accuracy_final").mean
        - measured(found[name], f"{claim.part}_accuracy").mean
        for name in claim.names
    }


def _gap_table(claim: Claim, found: Found) -> Table:
    """Accuracies and the gaps between them, a row for each system."""
    held_out = f"{claim.part}_accuracy"
    rows = [
        (claim.systems[name],
         shown_measurement("train_accuracy", measured(found[name], "train_accuracy_final")),
         shown_measurement(held_out, measured(found[name], held_out)),
         f"{100 * gap:.2f} points")
        for name, gap in _gaps(claim, found).items()
    ]  # fmt: skip
    return Table(("", "training accuracy", f"{claim.part} accuracy", "gap"), rows)


def narrower_gap(claim: Claim, found: Found) -> Evidence:
    """Whether each system's training accuracy is less ahead than that of the one before it."""
    gaps = _gaps(claim, found)
    said = claim.said({name: f"{100 * gap:.2f} points" for name, gap in gaps.items()})
    pairs = itertools.pairwise(claim.names)
    return Evidence(
        all_of([gap_difference(found[a], found[b], claim.part).is_positive for a, b in pairs]),
        f"Training accuracy less {claim.part} accuracy: {said}.",
        [_gap_table(claim, found)],
        gaps,
    )


def fraction_learned(claim: Claim, found: Found) -> Evidence:
    """Whether every run gets the stated share of its training samples right at least."""
    assert claim.stated is not None
    shares = {
        name: [float(each.run.summary["train_accuracy_final"]) for each in found[name]]
        for name in claim.names
    }
    means = {name: float(np.mean(values)) for name, values in shares.items()}
    return Evidence(
        of_cases([min(values) >= claim.stated for values in shares.values()]),
        f"Training accuracy {claim.said({name: percent(mean) for name, mean in means.items()})}.",
        (),
        means,
    )
