"""Report E: a two-layer perceptron with cyclic learning rates."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from fastconv.report import training_sections
from fastconv.report.content import percent
from fastconv.reproduce.claim import Claim, Evidence, Found, Items, curves, measured, pictures_of
from fastconv.reproduce.gaps import gap_table, narrower_gap
from fastconv.reproduce.paired import accuracy_difference
from fastconv.reproduce.verdicts import Verdict, of_cases, shown_measurement

_LAMBDAS = {
    "cifar10-mlp-weak-l2": "lambda 0.001",
    "cifar10-mlp-one-cycle": "lambda 0.01",
    "cifar10-mlp-strong-l2": "lambda 0.1",
}
_CYCLIC = "cifar10-mlp-three-cycles"
_LEARNED = 0.98
"""49 of 50."""


def _gap_by_lambda(found: Found) -> Evidence:
    items: Items = [
        gap_table(found, _LAMBDAS, "test"),
        *curves(found, _LAMBDAS, "accuracy", title="training accuracy", in_percent=True,
                name="mlp-lambda-training"),
        *curves(found, _LAMBDAS, "validation_accuracy", title="validation accuracy",
                in_percent=True, name="mlp-lambda-validation"),
    ]  # fmt: skip
    return narrower_gap(found, _LAMBDAS, "test", items)


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


def _cycles(found: Found) -> Evidence:
    run = found[_CYCLIC][0].run
    history, n_s = run.history, run.recipe.schedule.n_s
    assert n_s is not None
    column = "validation_accuracy"
    pairs = tops_and_ends(history["step"], history[column], n_s)
    if not pairs:
        return Evidence("not shown", "The training is shorter than a cycle.")
    said = "; ".join(f"{percent(top)} and {percent(end)}" for top, end in pairs)
    rate = dataclasses.replace(
        training_sections.learning_rate(run),
        name="mlp-cycles-rate",
        alternative=f"The learning rate over {len(pairs)} cycles.",
    )
    items = [
        rate,
        *curves(found, {_CYCLIC: "validation"}, column, title="validation accuracy",
                in_percent=True, name="mlp-cycles-validation"),
        *curves(found, {_CYCLIC: "training"}, "loss", title="training loss", in_percent=False,
                name="mlp-cycles-training"),
    ]  # fmt: skip
    numbers = {
        f"cycle {number} {place}": value
        for number, pair in enumerate(pairs, 1)
        for place, value in zip(("top", "end"), pair, strict=True)
    }
    return Evidence(
        of_cases([end > top for top, end in pairs]),
        f"Validation accuracy at the top of the rate and at the end of each cycle: {said}.",
        items,
        numbers,
    )


def _by_heart(found: Found) -> Evidence:
    names = ("cifar10-mlp-overfit", "cifar10-mlp-overfit-slow")
    labels = dict(zip(names, ("eta 0.1 (its caption)", "eta 0.001 (its text)"), strict=True))
    shares = {
        name: [float(each.run.summary["train_accuracy_final"]) for each in found[name]]
        for name in names
    }
    verdict: Verdict = of_cases([min(values) >= _LEARNED for values in shares.values()])
    said = ", ".join(
        f"{percent(float(np.mean(shares[name])))} at {label}" for name, label in labels.items()
    )
    items = [
        *curves(found, labels, "loss", title="training loss", in_percent=False,
                name="mlp-overfit-loss"),
        *curves(found, labels, "accuracy", title="training accuracy", in_percent=True,
                name="mlp-overfit-accuracy"),
    ]  # fmt: skip
    numbers = {name: float(np.mean(values)) for name, values in shares.items()}
    return Evidence(verdict, f"Training accuracy {said}.", items, numbers)


def _more_cycles(found: Found) -> Evidence:
    labels = {
        name: f"{found[name][0].run.summary['epochs']:.0f} epochs"
        for name in ("cifar10-mlp-cyclic", "cifar10-mlp-cyclic-12-epochs")
    }
    test = {name: measured(found[name], "test_accuracy") for name in labels}
    said = ", ".join(
        f"{shown_measurement('test_accuracy', test[name])} after {label}"
        for name, label in labels.items()
    )
    long, short = (found[name] for name in labels)
    items = pictures_of(
        training_sections.curves(found["cifar10-mlp-cyclic"][0]), "mlp-long", "accuracy"
    )
    numbers = {name: value.mean for name, value in test.items()}
    longer = accuracy_difference(long, short, "test")
    return Evidence(longer.is_positive, f"Test accuracy {said}.", items, numbers)


CLAIMS = (
    Claim(
        "E",
        "mlp-lambda",
        "The larger lambda, the smaller the gap between training and test.",
        tuple(_LAMBDAS),
        _gap_by_lambda,
    ),
    Claim(
        "E",
        "mlp-cycles",
        "Accuracy follows the cyclic rate: it is lower where the rate is largest, and best at the "
        "end of a cycle.",
        (_CYCLIC,),
        _cycles,
    ),
    Claim(
        "E",
        "mlp-more-cycles",
        "Twelve cycles are better than three (the report names both).",
        ("cifar10-mlp-cyclic", "cifar10-mlp-cyclic-12-epochs"),
        _more_cycles,
        is_ours=True,
    ),
    Claim(
        "E",
        "mlp-overfit",
        "The network learns 50 images by heart: at least 49 of them.",
        ("cifar10-mlp-overfit", "cifar10-mlp-overfit-slow"),
        _by_heart,
    ),
)
