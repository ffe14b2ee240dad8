"""Report B: a one-layer softmax classifier, its rates and its penalty."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from fastconv.gradient_check import check_gradients
from fastconv.report.content import Picture, Table, decimal
from fastconv.report.drawing import Drawing
from fastconv.reproduce.claim import Claim, Evidence, Found, Items, curves, measured
from fastconv.reproduce.gaps import gap_table, narrower_gap
from fastconv.reproduce.paired import accuracy_difference
from fastconv.reproduce.verdicts import (
    Verdict,
    all_of,
    of_cases,
    shown_measurement,
)

_RATES = {
    "cifar10-softmax": "eta 0.001",
    "cifar10-softmax-fast": "eta 0.1 (its run)",
    "cifar10-softmax-eta-1": "eta 1 (its text)",
}
_LAMBDAS = {
    "cifar10-softmax": "lambda 0",
    "cifar10-softmax-l2": "lambda 0.1",
    "cifar10-softmax-l2-strong": "lambda 1",
}
_UNSTABLE = 0.05
"""Share of itself by which an unstable loss moves from epoch to epoch."""
_CHECKED_IMAGES = 20
_TOLERANCE = 1e-6


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


def _large_rates(found: Found) -> Evidence:
    swings = {name: swing(found[name][0].run.history["validation_loss"]) for name in _RATES}
    slow, *fast = swings.values()
    verdict: Verdict = of_cases([value > _UNSTABLE for value in fast])
    if slow > _UNSTABLE:
        verdict = "not shown"
    said = ", ".join(f"{100 * swings[name]:.1f} % at {label}" for name, label in _RATES.items())
    rows = [
        (label, f"{100 * swings[name]:.1f} %",
         shown_measurement("validation_accuracy", measured(found[name], "validation_accuracy")),
         decimal(found[name][0].run.summary.get("validation_loss")))
        for name, label in _RATES.items()
    ]  # fmt: skip
    columns = ("", "swing", "validation accuracy", "validation loss")
    items: Items = [
        Table(columns, rows),
        *curves(found, _RATES, "validation_loss", title="validation loss", in_percent=False,
                name="softmax-rates"),
    ]  # fmt: skip
    return Evidence(
        verdict,
        f"In the second half of the training the validation loss moves from epoch to epoch by "
        f"{said} of itself; above {100 * _UNSTABLE:.0f} % counts as unstable.",
        items,
        swings,
    )


def _training_error(found: Found) -> Evidence:
    """Whether each larger lambda has the lower training accuracy."""
    values = [measured(found[name], "train_accuracy_final") for name in _LAMBDAS]
    steps = [
        accuracy_difference(found[weaker], found[stronger], "training").is_positive
        for weaker, stronger in itertools.pairwise(_LAMBDAS)
    ]
    said = ", ".join(
        f"{100 * (1 - value.mean):.2f} % at {label}"
        for value, label in zip(values, _LAMBDAS.values(), strict=True)
    )
    items: Items = [
        gap_table(found, _LAMBDAS, "validation"),
        *curves(found, _LAMBDAS, "accuracy", title="training accuracy", in_percent=True,
                name="softmax-penalties-training"),
    ]  # fmt: skip
    numbers = {name: 1 - value.mean for name, value in zip(_LAMBDAS, values, strict=True)}
    return Evidence(all_of(steps), f"Training error {said}.", items, numbers)


def _narrower_gap(found: Found) -> Evidence:
    return narrower_gap(found, _LAMBDAS, "validation")


def _validation_error(found: Found) -> Evidence:
    """Whether no lambda has a lower validation error than none: shown unless one surely has."""
    plain, *penalized = (measured(found[name], "validation_accuracy") for name in _LAMBDAS)
    lower = [
        accuracy_difference(found[name], found["cifar10-softmax"], "validation").is_positive
        for name in list(_LAMBDAS)[1:]
    ]
    verdict: Verdict = "refuted" if "shown" in lower else "shown"
    said = ", ".join(
        f"{100 * (1 - value.mean):.2f} % at {label}"
        for value, label in zip((plain, *penalized), _LAMBDAS.values(), strict=True)
    )
    items = curves(
        found, _LAMBDAS, "validation_accuracy", title="validation accuracy", in_percent=True,
        name="softmax-penalties-validation",
    )  # fmt: skip
    numbers = {
        name: 1 - value.mean for name, value in zip(_LAMBDAS, (plain, *penalized), strict=True)
    }
    return Evidence(
        verdict,
        f"Validation error {said}. To be lower takes two standard errors of the difference.",
        items,
        numbers,
    )


def _gradients(found: Found) -> Evidence:
    """Whether the network's gradients on real images agree with finite differences."""
    findings = found["cifar10-softmax"][0]
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
        tolerance=_TOLERANCE,
        backend="numpy",
        verbose=False,
    )
    rows = [(row.name, str(row.checked), f"{row.error:.1e}") for row in check.rows]
    differs = check.error > _TOLERANCE
    verdict: Verdict = "shown" if check.passed else "refuted" if differs else "not shown"
    return Evidence(
        verdict,
        f"The largest relative error is {check.error:.1e}, on {len(images)} images of the training "
        f"set and the trained network.",
        [Table(("parameter", "elements", "largest relative error"), rows)],
        {"error": check.error},
    )


def roughness(pictures: NDArray[np.floating]) -> float:
    """Return how much neighbouring pixels differ, beside how much all pixels do.

    Parameters
    ----------
    pictures
        (height, width, channels, pictures), such as the weights of a convolution.

    Returns
    -------
    float
        Mean absolute difference of neighbours in a row and in a column, over the standard deviation
        of all values: 0 for what is smooth, about 1.13 for independent normal numbers.
    """
    values = np.asarray(pictures, np.float64)
    differences = [np.abs(np.diff(values, axis=axis)).reshape(-1) for axis in (0, 1)]
    return float(np.concatenate(differences).mean() / values.std())


def _templates(found: Found) -> Evidence:
    """Whether each larger lambda has the smoother templates."""
    values = {}
    items = []
    for name, label in _LAMBDAS.items():
        findings = found[name][0]
        weights = findings.network["dense_1.weight"]
        shape, classes = findings.dataset.image_shape, findings.dataset.class_names
        values[name] = roughness(weights.reshape(*shape, -1))
        items.append(
            Picture(
                f"{name}-templates",
                Drawing("class_templates", weights, shape, classes),
                f"The weights of each class as a picture, {label}.",
                f"Class templates, {label}",
            )
        )
    order = list(values.values())
    said = ", ".join(f"{values[name]:.3f} at {label}" for name, label in _LAMBDAS.items())
    return Evidence(
        of_cases([b < a for a, b in itertools.pairwise(order)]),
        f"Mean difference of neighbouring pixels over the std of all: {said}.",
        items,
        values,
    )


_PENALIZED = tuple(_LAMBDAS)
CLAIMS = (
    Claim(
        "B",
        "softmax-rates",
        "A large eta is unstable. The text says 1, the run is one of 0.1: both are here.",
        tuple(_RATES),
        _large_rates,
        takes_diverged=True,
    ),
    Claim(
        "B",
        "softmax-training-error",
        "A stronger lambda raises the training error.",
        _PENALIZED,
        _training_error,
    ),
    Claim(
        "B",
        "softmax-gap",
        "A stronger lambda narrows the gap between training and validation.",
        _PENALIZED,
        _narrower_gap,
    ),
    Claim(
        "B",
        "softmax-validation-error",
        "A stronger lambda does not lower the validation error.",
        _PENALIZED,
        _validation_error,
    ),
    Claim(
        "B",
        "softmax-gradients",
        "Gradients agree with finite differences to 1e-6.",
        ("cifar10-softmax",),
        _gradients,
    ),
    Claim(
        "B",
        "softmax-templates",
        "Class templates are smoother with a larger lambda.",
        _PENALIZED,
        _templates,
    ),
)
