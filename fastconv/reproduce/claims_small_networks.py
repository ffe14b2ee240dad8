"""Report C: small convolutional networks with momentum."""

from __future__ import annotations

import functools

import numpy as np

from fastconv.report import layer_sections, prediction_sections
from fastconv.report.content import Table, percent
from fastconv.report.findings import Findings
from fastconv.reproduce.claim import (
    Claim,
    Evidence,
    Found,
    Items,
    curves,
    measured,
    pictures_of,
)
from fastconv.reproduce.claims_by_hand import surer_where_right
from fastconv.reproduce.claims_softmax import roughness
from fastconv.reproduce.paired import accuracy_difference
from fastconv.reproduce.verdicts import Verdict, is_larger, measure, shown_measurement

_PARAMETERS = 14682
_VEHICLES = frozenset({"airplane", "automobile", "ship", "truck"})


def _parameter_table(found: Found) -> Evidence:
    network = found["mnist-lenet"][0].network
    rows = [
        (name, " x ".join(map(str, view.shape)), f"{view.size:,}")
        for name, view in network.named_arrays().items()
        if network.places[name].buffer == "parameters"
    ]
    count = network.parameter_count
    verdict: Verdict = "shown" if count == _PARAMETERS else "refuted"
    table = Table(("parameter", "shape", "numbers"), [*rows, ("all", "", f"{count:,}")])
    return Evidence(verdict, f"It has {count:,}.", [table], {"parameters": count})


def _confusion(name: str, findings: Findings) -> Items:
    """The confusion matrix, and precision and recall of each class, of the run's own report."""
    section = prediction_sections.confusion(findings)
    tables = [item for item in section.items if isinstance(item, Table)]
    return [*pictures_of(section, name), *tables]


def _recall_of_all(found: Found) -> Evidence:
    """Whether every class is recognised, and not only most."""
    findings = found["mnist-lenet"][0]
    matrix, names = findings.confusion, findings.dataset.class_names
    recall = np.diag(matrix) / matrix.sum(axis=1)
    worst = int(recall.argmin())
    stated = 0.9
    verdict: Verdict = "shown" if recall[worst] > stated else "refuted"
    return Evidence(
        verdict,
        f"The least is that of {names[worst]}: {percent(float(recall[worst]))}.",
        _confusion("mnist-lenet", findings),
        {name: float(value) for name, value in zip(names, recall, strict=True)},
    )


def share_within_groups(
    matrix: np.ndarray[tuple[int, ...], np.dtype[np.int64]], groups: list[bool]
) -> tuple[float, int, float]:
    """Return how many mistakes stay within a group of classes.

    Parameters
    ----------
    matrix
        (classes, classes) of counts, true classes in rows.
    groups
        For each class in which of two groups it is.

    Returns
    -------
    share, mistakes, by_chance
        The share of mistakes within a group, the number of all mistakes, and the share that there
        would be if a mistake took each wrong class equally often.
    """
    wrong = np.array(matrix, np.float64)
    np.fill_diagonal(wrong, 0)
    in_group = np.array(groups)
    same = in_group[:, None] == in_group[None, :]
    others = (same.sum(axis=1) - 1) / (len(groups) - 1)
    mistakes = wrong.sum()
    by_chance = float((wrong.sum(axis=1) * others).sum() / mistakes)
    return float(wrong[same].sum() / mistakes), int(mistakes), by_chance


def _animals_and_vehicles(name: str, found: Found) -> Evidence:
    findings = found[name][0]
    groups = [each in _VEHICLES for each in findings.dataset.class_names]
    share, mistakes, by_chance = share_within_groups(findings.confusion, groups)
    verdict = is_larger(measure([share], mistakes), measure([by_chance], mistakes))
    return Evidence(
        verdict,
        f"{percent(share)} of {mistakes:,} mistakes stay among animals or among vehicles; "
        f"{percent(by_chance)} would if each wrong class were as likely.",
        _confusion(name, findings),
        {"share": share, "by_chance": by_chance},
    )


def _filters(name: str, found: Found) -> Evidence:
    """Whether the first filters are smoother than the random ones they began as."""
    findings = found[name][0]
    before = roughness(findings.initial["conv2d_1.weight"])
    after = roughness(findings.network["conv2d_1.weight"])
    verdict: Verdict = "shown" if after < before else "refuted"
    return Evidence(
        verdict,
        f"Mean difference of neighbouring weights over the std of all: {before:.3f} before "
        f"the training, {after:.3f} after it.",
        pictures_of(layer_sections.filters(findings), name),
        {"before": before, "after": after},
    )


def _improved(found: Found) -> Evidence:
    labels = {"cifar10-lenet": "first", "cifar10-lenet-improved": "improved"}
    test = {name: measured(found[name], "test_accuracy") for name in labels}
    said = ", ".join(
        f"{label} {shown_measurement('test_accuracy', test[name])}"
        for name, label in labels.items()
    )
    items = curves(
        found, labels, "validation_accuracy", title="validation accuracy", in_percent=True,
        name="lenet-improved",
    )  # fmt: skip
    numbers = {name: value.mean for name, value in test.items()}
    better = accuracy_difference(found["cifar10-lenet-improved"], found["cifar10-lenet"], "test")
    return Evidence(better.is_positive, f"Test accuracy: {said}.", items, numbers)


CLAIMS = (
    Claim(
        "C",
        "lenet-parameters",
        f"mnist-lenet has {_PARAMETERS} parameters.",
        ("mnist-lenet",),
        _parameter_table,
    ),
    Claim(
        "C",
        "mnist-lenet-classes",
        "mnist-lenet finds more than nine in ten of every digit.",
        ("mnist-lenet",),
        _recall_of_all,
        is_ours=True,
    ),
    Claim(
        "C",
        "cifar10-lenet-improved-classes",
        "Mistakes on CIFAR-10 are between classes that look alike: animals are taken for animals, "
        "vehicles for vehicles.",
        ("cifar10-lenet-improved",),
        functools.partial(_animals_and_vehicles, "cifar10-lenet-improved"),
        is_ours=True,
    ),
    *(
        Claim(
            "C",
            f"{name}-filters",
            f"The first filters of {name} are smoother after the training than before.",
            (name,),
            functools.partial(_filters, name),
            is_ours=True,
        )
        for name in ("mnist-lenet", "cifar10-lenet")
    ),
    Claim(
        "C",
        "mnist-lenet-mistakes",
        "mnist-lenet is surer of what it gets right than of its mistakes.",
        ("mnist-lenet",),
        functools.partial(surer_where_right, "mnist-lenet"),
        is_ours=True,
    ),
    Claim(
        "C",
        "lenet-improved",
        "The improved network is better on CIFAR-10 than the first one.",
        ("cifar10-lenet", "cifar10-lenet-improved"),
        _improved,
    ),
)
