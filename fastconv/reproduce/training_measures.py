"""Trainings step by step: losses that swing, rates that rise and fall, gradients."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from fastconv.gradient_check import check_gradients
from fastconv.report import training_sections
from fastconv.report.content import Table, decimal, percent
from fastconv.reproduce.claim import Claim, Evidence, Found, measured
from fastconv.reproduce.verdicts import Verdict, of_cases, shown_measurement

_UNSTABLE = 0.05
"""Share of itself by which an unstable loss moves from epoch to epoch."""
_CHECKED_IMAGES = 20


def swing(losses: NDArray[np.float64]) -> float:
    """Return by what share of its mean a loss moves from one epoch to the next.

    Mean over the second half of the training; infinite where a loss is not finite.

    Examples
    --------
    >>> swing(np.array([9.0, 9.0, 9.0, 9.0, 1.0, 3.0, 1.0, 3.0]))
    1.0
    """
    late = losses[len(losses) // 2 :]
    if len(late) < 2 or not np.isfinite(late).all():
        return float("inf")
    return float(np.abs(np.diff(late)).mean() / late.mean())


def instability_of_rates(claim: Claim, found: Found) -> Evidence:
    """Whether the validation loss swings at all rates but the first."""
    swings = {name: swing(found[name][0].run.history["validation_loss"]) for name in claim.names}
    slow, *fast = swings.values()
    verdict: Verdict = of_cases([value > _UNSTABLE for value in fast])
    if slow > _UNSTABLE:
        verdict = "not shown"
    shown = {name: f"{100 * value:.1f} %" for name, value in swings.items()}
    rows = [
        (label, shown[name],
         shown_measurement("validation_accuracy", measured(found[name], "validation_accuracy")),
         decimal(found[name][0].run.summary.get("validation_loss")))
        for name, label in claim.systems.items()
    ]  # fmt: skip
    return Evidence(
        verdict,
        f"In the second half of the training the validation loss moves from epoch to epoch by "
        f"{claim.said(shown)} of itself; above {100 * _UNSTABLE:.0f} % counts as unstable.",
        [Table(("", "swing", "validation accuracy", "validation loss"), rows)],
        swings,
    )


def tops_and_ends(
    steps: NDArray[np.float64], values: NDArray[np.float64], n_s: int
) -> list[tuple[float, float]]:
    """Return for each whole cycle a value where the rate is largest, and one at its end.

    Parameters
    ----------
    steps, values
        Points of a curve.
    n_s
        Steps in which the rate rises, and in which it falls.

    Returns
    -------
    list of (top, end)
        Of the points nearest to these steps.
    """
    cycles = int(steps[-1]) // (2 * n_s)
    places = [
        [int(np.abs(steps - (2 * cycle + half) * n_s).argmin()) for half in (1, 2)]
        for cycle in range(cycles)
    ]
    return [(float(values[top]), float(values[end])) for top, end in places]


def accuracy_in_cycles(claim: Claim, found: Found) -> Evidence:
    """Whether validation accuracy is higher at the end of each cycle than where its rate turns."""
    (name,) = claim.names
    run = found[name][0].run
    history, n_s = run.history, run.recipe.schedule.n_s
    assert n_s is not None
    pairs = tops_and_ends(history["step"], history["validation_accuracy"], n_s)
    if not pairs:
        return Evidence("not shown", "The training is shorter than a cycle.")
    said = "; ".join(f"{percent(top)} and {percent(end)}" for top, end in pairs)
    rate = dataclasses.replace(
        training_sections.learning_rate(run),
        name=f"{claim.name}-rate",
        alternative=f"The learning rate over {len(pairs)} cycles.",
    )
    numbers = {
        f"cycle {number} {place}": value
        for number, pair in enumerate(pairs, 1)
        for place, value in zip(("top", "end"), pair, strict=True)
    }
    return Evidence(
        of_cases([end > top for top, end in pairs]),
        f"Validation accuracy at the top of the rate and at the end of each cycle: {said}.",
        [rate],
        numbers,
    )


def error_of_gradients(claim: Claim, found: Found) -> Evidence:
    """Whether the network's gradients on real images agree with finite differences."""
    assert claim.stated is not None
    (name,) = claim.names
    findings = found[name][0]
    samples, preprocessing = findings.dataset.training, findings.run.preprocessing
    assert preprocessing.mean is not None
    assert preprocessing.std is not None
    shape = (1, *findings.dataset.image_shape)
    images = samples.images[:_CHECKED_IMAGES].astype(np.float64)
    images = (images - preprocessing.mean.reshape(shape)) / preprocessing.std.reshape(shape)
    check = check_gradients(
        findings.network,
        images,
        samples.labels[:_CHECKED_IMAGES],
        tolerance=claim.stated,
        backend="numpy",
        verbose=False,
    )
    rows = [(row.name, str(row.checked), f"{row.error:.1e}") for row in check.rows]
    differs = check.error > claim.stated
    verdict: Verdict = "shown" if check.passed else "refuted" if differs else "not shown"
    return Evidence(
        verdict,
        f"The largest relative error is {check.error:.1e}, on {len(images)} images of the training "
        f"set and the trained network.",
        [Table(("parameter", "elements", "largest relative error"), rows)],
        {"error": check.error},
    )
