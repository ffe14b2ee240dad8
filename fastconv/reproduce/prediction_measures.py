"""Predictions of trained networks: how sure, which mistakes, what feature maps show."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from fastconv.report import layer_sections, prediction_sections
from fastconv.report.content import Table, percent
from fastconv.report.findings import Findings
from fastconv.reproduce.claim import Claim, Evidence, Found, Items, measured, pictures_of
from fastconv.reproduce.verdicts import (
    Measurement,
    Verdict,
    is_larger,
    measure,
    of_cases,
    shown_measurement,
)

_IMAGES_BY_DEPTH = 200
"""Test images whose feature maps are compared with them."""
_VEHICLES = frozenset({"airplane", "automobile", "ship", "truck"})


def certainty(findings: Findings) -> tuple[Measurement, Measurement]:
    """Return how probable the class taken is held, where it is right and where it is wrong."""
    taken = findings.probabilities.max(axis=1)
    right = findings.predictions == findings.samples.labels
    return _mean(taken[right]), _mean(taken[~right])


def _mean(values: NDArray[np.float64]) -> Measurement:
    if len(values) < 2:
        return Measurement(math.nan, math.nan, math.nan, 1)
    spread = float(values.std(ddof=1))
    return Measurement(float(values.mean()), spread, spread / math.sqrt(len(values)), 1)


def certainty_where_right(claim: Claim, found: Found) -> Evidence:
    """Whether a network is surer where it is right than where it is wrong."""
    (name,) = claim.names
    findings = found[name][0]
    right, wrong = certainty(findings)
    text = (
        f"On average the class taken has a probability of {percent(right.mean)} where it is right "
        f"and of {percent(wrong.mean)} where it is wrong."
    )
    items = pictures_of(prediction_sections.examples(findings), f"{name}-examples")
    numbers = {"right": right.mean, "wrong": wrong.mean}
    return Evidence(is_larger(right, wrong), text, items, numbers)


def likeness(image: NDArray[np.generic], maps: NDArray[np.floating]) -> float:
    """Return how much the most alike of some feature maps resembles the image.

    Parameters
    ----------
    image
        (height, width, channels).
    maps
        (map height, map width, filters) of that image.

    Returns
    -------
    float
        Largest magnitude of a correlation between a map and the image's brightness, sampled at as
        many places; 0 where nothing varies.
    """
    height, width, count = maps.shape
    brightness = image.astype(np.float64).mean(axis=2)
    rows = ((np.arange(height) + 0.5) * image.shape[0] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * image.shape[1] / width).astype(np.int64)
    seen = brightness[np.ix_(rows, columns)].reshape(-1)
    flat = maps.reshape(-1, count).astype(np.float64)
    seen, flat = seen - seen.mean(), flat - flat.mean(axis=0)
    norms = np.linalg.norm(seen) * np.linalg.norm(flat, axis=0)
    products = np.abs(seen @ flat)
    alike = np.divide(products, norms, out=np.zeros(count), where=norms > 0)
    return float(alike.max(initial=0.0))


def likeness_by_depth(claim: Claim, found: Found) -> Evidence:
    """Whether feature maps resemble the image less with every convolution."""
    (name,) = claim.names
    findings = found[name][0]
    layers = layer_sections.convolutions(findings)
    images = findings.samples.images[:_IMAGES_BY_DEPTH]
    outputs = findings.observed.outputs(images, list(dict.fromkeys(layers.values())))
    alike = {
        layer: float(np.mean([likeness(*pair) for pair in zip(images, outputs[seen], strict=True)]))
        for layer, seen in layers.items()
    }
    values = list(alike.values())
    falls = [b < a for a, b in itertools.pairwise(values)]
    verdict: Verdict = of_cases(falls) if falls else "not shown"
    if values[-1] >= values[0]:
        verdict = "refuted"
    said = ", ".join(f"{value:.2f} in {layer}" for layer, value in alike.items())
    return Evidence(
        verdict,
        f"Mean correlation of the map that is most like the image with its brightness, over "
        f"{len(images)} images: {said}.",
        pictures_of(layer_sections.feature_maps(findings), f"{name}-depth", "maps-correct"),
        alike,
    )


def _confusion(name: str, findings: Findings) -> Items:
    """The confusion matrix, and precision and recall of each class, of the run's own report."""
    section = prediction_sections.confusion(findings)
    tables = [item for item in section.items if isinstance(item, Table)]
    return [*pictures_of(section, name), *tables]


def recall_of_each_class(claim: Claim, found: Found) -> Evidence:
    """Whether every class is recognised in more than the stated share, and not only most."""
    assert claim.stated is not None
    (name,) = claim.names
    findings = found[name][0]
    matrix, names = findings.confusion, findings.dataset.class_names
    recall = np.diag(matrix) / matrix.sum(axis=1)
    worst = int(recall.argmin())
    verdict: Verdict = "shown" if recall[worst] > claim.stated else "refuted"
    return Evidence(
        verdict,
        f"The least is that of {names[worst]}: {percent(float(recall[worst]))}.",
        _confusion(name, findings),
        {each: float(value) for each, value in zip(names, recall, strict=True)},
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


def mistakes_within_groups(claim: Claim, found: Found) -> Evidence:
    """Whether animals are taken for animals and vehicles for vehicles, more than by chance."""
    (name,) = claim.names
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


def smaller_regression_error(claim: Claim, found: Found) -> Evidence:
    """Whether the first system has a smaller test error than the second."""
    test = {name: measured(found[name], "test_loss") for name in claim.names}
    training = {name: measured(found[name], "train_loss_final") for name in claim.names}
    first, second = test.values()
    seeds = min(first.seeds, second.seeds)
    rows = [
        (label, shown_measurement("train_loss_final", training[name]),
         shown_measurement("test_loss", test[name]), str(test[name].seeds),
         f"{found[name][0].network.parameter_count:,}")
        for name, label in claim.systems.items()
    ]  # fmt: skip
    columns = ("", "training error", "test error", "seeds", "parameters")
    said = ", ".join(
        f"{label} {shown_measurement('test_loss', test[name])}"
        for name, label in claim.systems.items()
    )
    alone = "" if seeds > 1 else " One seed has no spread: --seeds 5 gives one."
    items: Items = [
        Table(columns, rows, "Mean squared errors; mean and std over the seeds."),
    ]
    for name in claim.names:
        section = prediction_sections.regression(found[name][0])
        items += pictures_of(section, name, "fit")
    return Evidence(
        is_larger(second, first),
        f"Mean squared error on the test samples: {said}.{alone}",
        items,
        {name: value.mean for name, value in test.items()},
    )
