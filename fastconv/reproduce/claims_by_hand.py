"""Report A: convolutional networks written by hand, with a penalty and without."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
from numpy.typing import NDArray

from fastconv.report import layer_sections, prediction_sections
from fastconv.report.content import Table, decimal, percent
from fastconv.report.findings import Findings
from fastconv.reproduce.claim import (
    Claim,
    Evidence,
    Found,
    curves,
    measured,
    pictures_of,
    weight_histograms,
)
from fastconv.reproduce.paired import accuracy_difference
from fastconv.reproduce.verdicts import (
    Measurement,
    Verdict,
    is_larger,
    of_cases,
    shown_measurement,
)

_PENALIZED = {"mnist-strided": "mnist-strided-l2", "cifar10-deep": "cifar10-deep-l2"}
"""Systems without a penalty, and the same with one."""
_IMAGES_BY_DEPTH = 200
"""Test images whose feature maps are compared with them."""


def _helps(plain: str, penalized: str, found: Found) -> Evidence:
    """Whether the penalty raises test accuracy."""
    labels = {plain: "without penalty", penalized: "with penalty"}
    test = {name: measured(found[name], "test_accuracy") for name in labels}
    running = {name: measured(found[name], "train_accuracy") for name in labels}
    items = [
        *curves(found, labels, "accuracy", title="training accuracy", in_percent=True,
                name=f"{penalized}-training"),
        *curves(found, labels, "validation_accuracy", title="validation accuracy",
                in_percent=True, name=f"{penalized}-validation"),
    ]  # fmt: skip
    rows = [
        (label, shown_measurement("train_accuracy", running[name]),
         shown_measurement("test_accuracy", test[name]))
        for name, label in labels.items()
    ]  # fmt: skip
    table = Table(("", "training (running)", "test"), rows)
    said = " and ".join(
        f"{shown_measurement('test_accuracy', test[name])} {label}"
        for name, label in labels.items()
    )
    return Evidence(
        accuracy_difference(found[penalized], found[plain], "test").is_positive,
        f"Test accuracy {said}.",
        [table, *items],
        {f"{name} test_accuracy": value.mean for name, value in test.items()},
    )


def _tails(plain: str, penalized: str, found: Found) -> Evidence:
    """Whether the largest weights of every layer are smaller with the penalty."""
    one, other = (found[name][0].network for name in (plain, penalized))
    layers = [name for name in one.places if name.endswith(".weight")]
    largest = {name: (_largest(one[name]), _largest(other[name])) for name in layers}
    rows = [
        (name, decimal(a, 3), decimal(b, 3), decimal(float(one[name].std()), 3),
         decimal(float(other[name].std()), 3))
        for name, (a, b) in largest.items()
    ]  # fmt: skip
    columns = ("layer", "largest without", "with", "std without", "with")
    smaller = [b < a for a, b in largest.values()]
    text = f"The largest weight is smaller in {sum(smaller)} of {len(smaller)} layers."
    picture = weight_histograms(
        f"{penalized}-tails",
        {name: (one[name], other[name]) for name in layers},
        ("without penalty", "with penalty"),
        f"Histograms of the weights without and with a penalty. {text}",
    )
    numbers = {
        f"{name} {label}": value
        for name, pair in largest.items()
        for label, value in zip(("without", "with"), pair, strict=True)
    }
    return Evidence(of_cases(smaller), text, [Table(columns, rows), picture], numbers)


def _largest(weights: NDArray[np.floating]) -> float:
    return float(np.abs(weights).max())


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


def surer_where_right(name: str, found: Found) -> Evidence:
    """Whether a network is surer where it is right than where it is wrong."""
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


def _by_depth(name: str, found: Found) -> Evidence:
    """Whether feature maps resemble the image less with every convolution."""
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


CLAIMS = (
    *(
        Claim(
            "A",
            f"{plain}-penalty",
            f"A penalty on the weights raises the test accuracy of {plain}.",
            (plain, penalized),
            functools.partial(_helps, plain, penalized),
        )
        for plain, penalized in _PENALIZED.items()
    ),
    Claim(
        "A",
        "cifar10-deep-weak-penalty",
        "A tenth of that penalty raises the test accuracy of cifar10-deep.",
        ("cifar10-deep", "cifar10-deep-weak-l2"),
        functools.partial(_helps, "cifar10-deep", "cifar10-deep-weak-l2"),
        is_ours=True,
    ),
    *(
        Claim(
            "A",
            f"{plain}-tails",
            f"The penalty clips the tails of the weight histograms of {plain}.",
            (plain, penalized),
            functools.partial(_tails, plain, penalized),
        )
        for plain, penalized in _PENALIZED.items()
    ),
    *(
        Claim(
            "A",
            f"{name}-examples",
            f"{name} is surer of what it gets right than of what it gets wrong.",
            (name,),
            functools.partial(surer_where_right, name),
            is_ours=True,
        )
        for name in ("mnist-strided", "cifar10-deep")
    ),
    Claim(
        "A",
        "cifar10-deep-depth",
        "The deeper the convolution, the less its feature maps look like the image.",
        ("cifar10-deep",),
        functools.partial(_by_depth, "cifar10-deep"),
        is_ours=True,
    ),
)
