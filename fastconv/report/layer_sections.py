"""Sections on the layers: filters, templates, feature maps, maximally activating images."""

from __future__ import annotations

import numpy as np

from fastconv.analysis.saliency import gradient_maps, most_activating_of_layers, occlusion_maps
from fastconv.layers import BatchNorm, Conv2D, ConvTranspose2D, Dense
from fastconv.report.content import Numbers, Picture, Section
from fastconv.report.drawing import Drawing
from fastconv.report.findings import Findings

_BEHIND = ("batch_norm", "dropout", "relu", "leaky_relu", "elu", "selu", "sigmoid", "tanh",
           "softplus")  # fmt: skip
"""Layers that belong to the one before them."""
_MOST_MAPS = 64
_MOST_UNITS = 50
_ACTIVATED, _ACTIVATING = 6, 6
"""Filters in a picture, and images for each."""
_SEARCHED = 1000
"""Images among which those that activate a filter most are looked for."""


def filters(findings: Findings) -> Section | None:
    """The weights of the first layer as pictures, or the templates of a linear classifier."""
    if not findings.looks_at_images:
        return None
    network, shape = findings.network, findings.dataset.image_shape
    weighted = [
        vertex
        for vertex in network.vertices
        if vertex.parameters and not isinstance(vertex.layer, BatchNorm)
    ]
    if not weighted:
        return None
    first, layer = weighted[0], weighted[0].layer
    weight = f"{first.name}.weight"
    if isinstance(layer, Conv2D):
        w = network[weight]
        picture = Picture(
            "filters",
            Drawing("filters", w[..., :_MOST_MAPS]),
            f"The {w.shape[3]} filters of {first.name}, {w.shape[0]}x{w.shape[1]} "
            f"pixels each{_first_of(w.shape[3])}.",
            f"{first.name}: {w.shape[3]} filters of {w.shape[0]}x{w.shape[1]}"
            f"{_first_of(w.shape[3])}",
        )
        return Section("filters", "Filters of the first layer", "", [picture])
    if not isinstance(layer, Dense) or first.input_shapes[0] != (int(np.prod(shape)),):
        return None
    names = findings.dataset.class_names
    w = network[weight]
    if len(weighted) == 1 and len(names) == w.shape[1]:
        picture = Picture(
            "templates",
            Drawing("class_templates", w, shape, names),
            f"The weights of each of {len(names)} classes as a picture.",
            "What each class should look like: its score is the sum of these weights times the "
            "pixels.",
        )
        return Section("templates", "Class templates", "", [picture])
    units = min(_MOST_UNITS, w.shape[1])
    picture = Picture(
        "filters",
        Drawing("filters", w[:, :units].reshape(*shape, units)),
        f"The weights of {units} units of {first.name} as pictures.",
        f"{first.name}: {units} of {w.shape[1]} units",
    )
    return Section("filters", "Units of the first layer", "", [picture])


def _first_of(count: int) -> str:
    """Remark where not all are drawn."""
    return f", the first {_MOST_MAPS} drawn" if count > _MOST_MAPS else ""


def convolutions(findings: Findings) -> dict[str, str]:
    """Return for each convolution the layer whose output shows it: the activation behind it."""
    network = findings.network
    observable = set(findings.observed.outputs(findings.samples.images[:0]))
    found = {}
    vertices = network.vertices
    for number, vertex in enumerate(vertices):
        if not isinstance(vertex.layer, (Conv2D, ConvTranspose2D)):
            continue
        shown, last = vertex.name if vertex.name in observable else None, number
        for later in range(number + 1, len(vertices)):
            behind = vertices[later]
            if behind.inputs != (last,) or behind.layer.kind not in _BEHIND:
                break
            last = later
            if behind.name in observable:
                shown = behind.name
        if shown is not None:
            found[vertex.name] = shown
    return found


def chosen_images(findings: Findings, each: int) -> list[int]:
    """Return the first correct ones and the first mistakes, so many of each."""
    return [int(index) for index in (*findings.correct[:each], *findings.mistakes[:each])]


def feature_maps(findings: Findings) -> Section | None:
    """Feature maps of a correctly classified sample and of a misclassified one."""
    if not (findings.is_classification and findings.looks_at_images):
        return None
    layers = convolutions(findings)
    chosen = chosen_images(findings, 1)
    if not layers or not chosen:
        return None
    section = Section(
        "feature-maps",
        "Feature maps",
        "What each convolution gives for one image that is classified correctly and for one that "
        "is misclassified, behind its activation. Each map goes from its own smallest to its own "
        "largest value.",
    )
    images = findings.samples.images[chosen]
    outputs = findings.observed.outputs(images, list(dict.fromkeys(layers.values())))
    for n, index in enumerate(chosen):
        right = findings.predictions[index] == findings.samples.labels[index]
        kind = "correct" if right else "mistake"
        title = findings.title_of(index).replace("\n", ", ")
        section.items.append(
            Picture(
                f"maps-{kind}-image",
                Drawing("image_grid", images[n : n + 1], titles=[findings.title_of(index)]),
                f"The image: predicted as {title}.",
                f"{'Correctly classified' if right else 'Misclassified'}: {title}",
            )
        )
        for layer, shown in layers.items():
            maps = outputs[shown][n]
            more = _first_of(maps.shape[2])
            name = layer if shown == layer else f"{layer}, {shown}"
            section.items.append(
                Picture(
                    f"maps-{kind}-{layer}",
                    Drawing(
                        "feature_maps",
                        maps[..., :_MOST_MAPS],
                        scale="each",
                        columns=_columns(maps.shape[2]),
                    ),
                    f"Feature maps of {layer} for that image: {maps.shape[2]} channels of "
                    f"{maps.shape[0]}x{maps.shape[1]}{more}.",
                    f"{name}: {maps.shape[2]} maps of {maps.shape[0]}x{maps.shape[1]}{more}",
                )
            )
    return section


def _columns(maps: int) -> int | None:
    """Maps in a row, for a picture that is wide rather than high; None: as look well."""
    return None if maps < 16 else 8 if maps <= 32 else 12


def saliency(findings: Findings) -> Section | None:
    """Saliency maps: input gradient and occlusion."""
    if not (findings.is_classification and findings.looks_at_images):
        return None
    chosen = chosen_images(findings, 2)
    if not chosen:
        return None
    images, guesses = findings.samples.images[chosen], findings.predictions[chosen]
    side = min(images.shape[1:3])
    patch = max(1, side // 4)
    gradient = gradient_maps(findings.observed, images, guesses)
    occluded = occlusion_maps(
        findings.observed, images, guesses, patch=patch, stride=max(1, patch // 2)
    )
    titles = [findings.title_of(index) for index in chosen]
    said = "; ".join(title.replace("\n", ", ") for title in titles)
    section = Section(
        "saliency",
        "Saliency maps",
        "Which pixels decide on the predicted class, each image with a scale of its own. The "
        "gradient says where small changes of a pixel change the score most; occlusion, how much "
        f"probability is lost where a square of {patch}x{patch} pixels is covered with the image's "
        "mean (red: lost, blue: gained).",
    )
    changes = [f"{100 * each.max():.0f} % lost" for each in occluded]
    for name, what, maps, labels in (
        ("gradient", "Input gradient", gradient, titles),
        (
            "occlusion",
            "Occlusion, and the most that is lost on average where a pixel is covered",
            occluded,
            changes,
        ),
    ):
        section.items.append(
            Picture(
                f"saliency-{name}",
                Drawing("saliency_grid", images, maps, labels, signed=name == "occlusion"),
                f"{what}, laid over {len(chosen)} images ({said}): {', '.join(labels)}.",
                what,
            )
        )
    return section


def maximally_activating(findings: Findings) -> Section | None:
    """The images that activate the filters of each convolution most."""
    layers = convolutions(findings) if findings.looks_at_images else {}
    if not layers:
        return None
    count = len(findings.samples)
    looked = np.linspace(0, count - 1, min(count, _SEARCHED)).astype(np.int64)
    images = findings.samples.images[looked]
    section = Section(
        "excitation",
        "Maximally activating images",
        f"A row for each of the first filters of a convolution: the images with its largest "
        f"outputs, of {len(images):,} of the {findings.part} part.",
    )
    strongest = most_activating_of_layers(
        findings.observed, images, list(dict.fromkeys(layers.values())), count=_ACTIVATING
    )
    for layer, shown in layers.items():
        found = strongest[shown]
        dead = [n for n, values in enumerate(found.values) if not values[0] > 0]
        filters = [n for n in range(len(found.values)) if n not in dead][:_ACTIVATED]
        said = f"; {_counted(dead)} activated by no image" if dead else ""
        if not filters:
            continue
        chosen = found.indices[filters]
        titles = [f"{n}: {value:.3g}" for n in filters for value in found.values[n]]
        section.items.append(
            Picture(
                f"excitation-{layer}",
                Drawing(
                    "image_grid", images[chosen.reshape(-1)], titles=titles, columns=chosen.shape[1]
                ),
                f"The {chosen.shape[1]} images that activate each of {len(filters)} filters of "
                f"{layer} most, a row for each filter{said}.",
                f"{layer}: number of the filter and its largest activation{said}",
                Numbers(
                    ("filter", "sample", "output", "row", "column"),
                    [
                        (n, int(looked[index]), float(value), *map(int, place))
                        for n in filters
                        for index, value, place in zip(
                            found.indices[n], found.values[n], found.places[n], strict=True
                        )
                    ],
                ),
            )
        )
    return section


def _counted(filters: list[int]) -> str:
    """Name some filters."""
    if len(filters) > 6:
        return f"{len(filters)} filters are"
    names = ", ".join(map(str, filters))
    return f"filter {names} is" if len(filters) == 1 else f"filters {names} are"
