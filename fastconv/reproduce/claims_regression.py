"""Report D: a regression with SELU, beside one with ReLU."""

from __future__ import annotations

from fastconv.report import prediction_sections
from fastconv.report.content import Table
from fastconv.reproduce.claim import Claim, Evidence, Found, Items, curves, measured, pictures_of
from fastconv.reproduce.verdicts import is_larger, shown_measurement

_NETWORKS = {"regression-selu": "SELU and sigmoid", "regression-relu": "ReLU"}


def _selu_beside_relu(found: Found) -> Evidence:
    test = {name: measured(found[name], "test_loss") for name in _NETWORKS}
    training = {name: measured(found[name], "train_loss_final") for name in _NETWORKS}
    selu, relu = test.values()
    seeds = min(selu.seeds, relu.seeds)
    rows = [
        (label, shown_measurement("train_loss_final", training[name]),
         shown_measurement("test_loss", test[name]), str(test[name].seeds),
         f"{found[name][0].network.parameter_count:,}")
        for name, label in _NETWORKS.items()
    ]  # fmt: skip
    columns = ("", "training error", "test error", "seeds", "parameters")
    said = ", ".join(
        f"{label} {shown_measurement('test_loss', test[name])}" for name, label in _NETWORKS.items()
    )
    alone = "" if seeds > 1 else " One seed has no spread: --seeds 5 gives one."
    items: Items = [
        Table(columns, rows, "Mean squared errors; mean and std over the seeds."),
        *curves(found, _NETWORKS, "loss", title="training loss", in_percent=False,
                name="regression-curves"),
    ]  # fmt: skip
    for name in _NETWORKS:
        section = prediction_sections.regression(found[name][0])
        items += pictures_of(section, name, "fit")
    return Evidence(
        is_larger(relu, selu),
        f"Mean squared error on the test samples: {said}.{alone}",
        items,
        {name: value.mean for name, value in test.items()},
    )


CLAIMS = (
    Claim(
        "D",
        "regression-selu-relu",
        "The SELU network has a smaller test error than a ReLU network of the same size.",
        tuple(_NETWORKS),
        _selu_beside_relu,
    ),
)
