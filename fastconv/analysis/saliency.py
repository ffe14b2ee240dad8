"""Saliency maps, and maximally activating images of filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.analysis.observed_network import ObservedNetwork
from fastconv.functional.softmax import softmax


def gradient_maps(
    observed: ObservedNetwork, images: NDArray[Any], outputs: NDArray[Any]
) -> NDArray[Any]:
    """Return how strongly a score depends on each pixel.

    The largest absolute gradient over the channels of a pixel: Simonyan, Vedaldi & Zisserman, "Deep
    Inside Convolutional Networks" (arXiv:1312.6034), section 3.1.

    Parameters
    ----------
    observed
        The network.
    images
        (N, height, width, channels), as they come from a data set.
    outputs
        (N,) integers: of which score, for each image.

    Returns
    -------
    ndarray
        (N, height, width), 0 or more.
    """
    maps: NDArray[Any] = np.abs(observed.input_gradient(images, outputs)).max(axis=-1)
    return maps


def occlusion_maps(
    observed: ObservedNetwork,
    images: NDArray[Any],
    outputs: NDArray[Any],
    *,
    patch: int = 8,
    stride: int = 4,
    fill: float | None = None,
) -> NDArray[Any]:
    """Return how much probability is lost where a square of the image is covered.

    Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks" (arXiv:1311.2901),
    section 4.2. A pixel's value is the mean over all squares
    that cover it, 0 where none does.

    Parameters
    ----------
    observed
        A network whose scores become probabilities by softmax.
    images
        (N, height, width, channels), as they come from a data set.
    outputs
        (N,) integers: the probability of which class, for each image.
    patch, stride
        Side of the square and distance between squares, in pixels; squares reach every border.
    fill
        What the square is painted with, in raw pixel values; None: the mean of each image.

    Returns
    -------
    ndarray
        (N, height, width), -1 to 1: above 0 where covering lowers the probability.

    Raises
    ------
    ValueError
        If the patch or the stride is less than 1, or the patch larger than the image.

    Examples
    --------
    >>> from fastconv.layers import Dense, Flatten
    >>> from fastconv.network import Sequential
    >>> network = Sequential([Flatten(), Dense(2)], input_shape=(8, 8, 1))
    >>> observed = ObservedNetwork(network, backend="numpy")
    >>> images = np.zeros((1, 8, 8, 1), np.uint8)
    >>> bool((occlusion_maps(observed, images, np.array([0]), patch=4, fill=0) == 0).all())
    True
    """
    height, width = images.shape[1:3]
    if not 1 <= patch <= min(height, width) or stride < 1:
        raise ValueError(
            f"occlusion_maps: patch is {patch} and stride is {stride}; expected 1 to "
            f"{min(height, width)} (the image is {height}x{width}), and 1 or more"
        )
    corners = [
        (i, j) for i in _starts(height, patch, stride) for j in _starts(width, patch, stride)
    ]
    maps = np.zeros((len(images), height, width))
    covers = np.zeros((height, width))
    for i, j in corners:
        covers[i : i + patch, j : j + patch] += 1
    variants = len(corners) + 1
    covered = np.repeat(images, variants, axis=0)
    for n, image in enumerate(images):
        colour = image.mean() if fill is None else fill
        for number, (i, j) in enumerate(corners, n * variants):
            covered[number, i : i + patch, j : j + patch] = colour
    # All together: the last batch of each image would be filled up with images for nothing.
    scores = softmax(observed.scores(covered).astype(np.float64))
    for n, output in enumerate(outputs):
        probabilities = scores[n * variants : (n + 1) * variants, output]
        for loss, (i, j) in zip(probabilities[-1] - probabilities[:-1], corners, strict=True):
            maps[n, i : i + patch, j : j + patch] += loss
    return maps / np.maximum(covers, 1)


def _starts(size: int, patch: int, stride: int) -> list[int]:
    """Starts of squares along an axis: the last one ends with it."""
    return sorted({*range(0, size - patch, stride), size - patch})


@dataclass(frozen=True)
class MostActivating:
    """Maximally activating images of the filters of a layer.

    Parameters
    ----------
    layer
        Its name.
    indices
        int64 (filters, count): the images, the most exciting first.
    values
        (filters, count): the filter's largest output on each.
    places
        int64 (filters, count, 2): row and column of that output; 0 for a dense layer's units.
    """

    layer: str
    indices: NDArray[np.int64]
    values: NDArray[Any]
    places: NDArray[np.int64]


def most_activating(
    observed: ObservedNetwork, images: NDArray[Any], layer: str, *, count: int = 9, chunk: int = 500
) -> MostActivating:
    """Find the images with the largest output of each filter of a layer.

    Parameters
    ----------
    observed
        The network.
    images
        (N, height, width, channels), as they come from a data set; all are looked at.
    layer
        One whose output can be observed.
    count
        Images for each filter; fewer where there are fewer images.
    chunk
        Images that are handed to the network at a time.
    """
    return most_activating_of_layers(observed, images, [layer], count=count, chunk=chunk)[layer]


def most_activating_of_layers(
    observed: ObservedNetwork,
    images: NDArray[Any],
    layers: Sequence[str],
    *,
    count: int = 9,
    chunk: int = 500,
) -> dict[str, MostActivating]:
    """Find the images with the largest output of each filter of several layers, in one pass.

    Parameters
    ----------
    observed, images, count, chunk
        As for :func:`most_activating`.
    layers
        Those whose filters are asked about.

    Returns
    -------
    dict
        For each layer what :func:`most_activating` returns.
    """
    widths = dict.fromkeys(layers, 1)
    found: dict[str, list[tuple[NDArray[Any], NDArray[np.int64]]]] = {name: [] for name in layers}
    parts = (images[start : start + chunk] for start in range(0, len(images), chunk))
    for batch in (each for part in parts for each in observed.batches_of_outputs(part, layers)):
        for name, y in batch.items():
            widths[name] = y.shape[2] if y.ndim == 4 else 1
            flat = y.reshape(len(y), -1, y.shape[-1])
            spots = flat.argmax(axis=1)
            found[name].append((np.take_along_axis(flat, spots[:, None], 1)[:, 0], spots))
    return {name: _strongest(name, found[name], widths[name], count) for name in layers}


def _strongest(
    layer: str,
    found: Sequence[tuple[NDArray[Any], NDArray[np.int64]]],
    width: int,
    count: int,
) -> MostActivating:
    """Choose images by the largest outputs of each filter, and where these are."""
    values = np.concatenate([each[0] for each in found])
    spots = np.concatenate([each[1] for each in found])
    # Ties go to the earlier image.
    indices = np.argsort(-values, axis=0, kind="stable")[:count].T
    filters = np.arange(len(indices))[:, None]
    chosen = spots[indices, filters]
    places = np.stack([chosen // width, chosen % width], axis=-1)
    return MostActivating(layer, indices, values[indices, filters], places)
