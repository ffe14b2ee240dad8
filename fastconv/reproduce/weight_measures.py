"""Weights of trained networks: how many, how large, how smooth."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from fastconv.report import layer_sections
from fastconv.report.content import Picture, Table, decimal
from fastconv.report.drawing import Drawing
from fastconv.reproduce.claim import Claim, Evidence, Found, pictures_of
from fastconv.reproduce.verdicts import Verdict, of_cases


def number_of_parameters(claim: Claim, found: Found) -> Evidence:
    """Whether a network has as many parameters as stated."""
    (name,) = claim.names
    network = found[name][0].network
    rows = [
        (name, " x ".join(map(str, view.shape)), f"{view.size:,}")
        for name, view in network.named_arrays().items()
        if network.places[name].buffer == "parameters"
    ]
    count = network.parameter_count
    verdict: Verdict = "shown" if count == claim.stated else "refuted"
    table = Table(("parameter", "shape", "numbers"), [*rows, ("all", "", f"{count:,}")])
    return Evidence(verdict, f"It has {count:,}.", [table], {"parameters": count})


def smaller_weights(claim: Claim, found: Found) -> Evidence:
    """Whether the largest weights of every layer are smaller in the second system."""
    one, other = (found[name][0].network for name in claim.names)
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
    labels = tuple(claim.systems.values())
    # Logarithmic: the tails hold few weights.
    drawing = Drawing(
        "histogram_pairs", {name: (one[name], other[name]) for name in layers}, bins=50, columns=2,
        log=True, names=labels,
    )  # fmt: skip
    picture = Picture(
        f"{claim.name}-histograms", drawing,
        f"Histograms of the weights {' and '.join(labels)}. {text}",
        f"Weights of each layer, {', '.join(labels)}; counts are logarithmic.",
    )  # fmt: skip
    numbers = {
        f"{name} {label}": value
        for name, pair in largest.items()
        for label, value in zip(("without", "with"), pair, strict=True)
    }
    return Evidence(of_cases(smaller), text, [Table(columns, rows), picture], numbers)


def _largest(weights: NDArray[np.floating]) -> float:
    return float(np.abs(weights).max())


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


def smoother_templates(claim: Claim, found: Found) -> Evidence:
    """Whether each system has smoother templates of its classes than the one before it."""
    values, items = {}, []
    for name, label in claim.systems.items():
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
    said = claim.said({name: f"{value:.3f}" for name, value in values.items()})
    return Evidence(
        of_cases([b < a for a, b in itertools.pairwise(values.values())]),
        f"Mean difference of neighbouring pixels over the std of all: {said}.",
        items,
        values,
    )


def smoother_filters(claim: Claim, found: Found) -> Evidence:
    """Whether the first filters are smoother than the random ones they began as."""
    (name,) = claim.names
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
