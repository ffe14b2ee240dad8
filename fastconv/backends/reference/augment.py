"""Crops and flips of images, and mixtures of one with another, each by its own draws."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from fastconv.backends.reference.random import random_words
from fastconv.plans.augmentation import STEP_OF_FIRST_FLIPS, CropSpec, MixSpec
from fastconv.plans.operation import InputSpec, RandomSpec


def _draws(spec: CropSpec | MixSpec, step: np.ndarray) -> list[tuple[float, ...]]:
    """The numbers u_0 to u_7 of each image."""
    words = np.empty(8 * spec.input.batch, np.uint32)
    random_words(spec.random, step, words, None)
    u = [_draw(int(word)) for word in words]
    return [tuple(u[8 * n : 8 * n + 8]) for n in range(spec.input.batch)]


def _draw(word: int) -> float:
    return (word >> 8) / 2**24


@np.errstate(all="ignore")
def crop_images(
    spec: CropSpec,
    x: np.ndarray,
    indices: np.ndarray,
    step: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Crop each image with mirrored edges, or resize a part of it, and flip it.

    Parameters
    ----------
    spec
        What may change; :class:`fastconv.plans.augmentation.CropSpec` has the formulas.
    x
        The batch (``spec.input.x_shape``).
    indices, step
        int64: the samples that it is of, (batch,), and the step, (1,).
    y
        Like ``x``, written.
    workspace
        Not used.
    """
    height, width = spec.input.height, spec.input.width
    for n, u in enumerate(_draws(spec, step)):
        image, part = x[n].astype(np.float64), spec.part(u[3:7])
        oy = math.floor(u[1] * (2 * spec.crop + 1)) - spec.crop
        ox = math.floor(u[2] * (2 * spec.crop + 1)) - spec.crop
        flipped = _is_flipped(spec, u[0], int(indices[n]), int(step[0]))
        for i in range(height):
            for j in range(width):
                column = width - 1 - j if flipped else j
                if spec.least_area:
                    y[n, i, j] = _resized(image, part, i, column)
                else:
                    y[n, i, j] = image[_mirrored(i + oy, height), _mirrored(column + ox, width)]


def _is_flipped(spec: CropSpec, u: float, sample: int, step: int) -> bool:
    if spec.flip != "alternating":
        return spec.flip == "random" and u < 0.5
    # By the next power of two, so that few lengths are asked for.
    words = _words_of_first_flips(spec.random, 1 << sample.bit_length())
    first = _draw(int(words[sample])) < 0.5
    return first != (step // spec.steps_per_epoch % 2 == 1)


@functools.lru_cache(maxsize=2)
def _words_of_first_flips(random: RandomSpec, count: int) -> np.ndarray:
    words = np.empty(count, np.uint32)
    random_words(random, np.array([STEP_OF_FIRST_FLIPS]), words, None)
    return words


def _mirrored(place: int, size: int) -> int:
    """The pixel that a place beside an image shows: -1 is 1, and ``size`` is ``size - 2``."""
    inside = abs(place)
    return inside if inside < size else 2 * (size - 1) - inside


def _resized(image: np.ndarray, part: tuple[int, int, int, int], i: int, j: int) -> np.ndarray:
    """Weighted mean of the four pixels of a part around pixel (i, j) of the whole."""
    top, left, height, width = part
    r = max(0.0, (i + 0.5) * height / image.shape[0] - 0.5)
    c = max(0.0, (j + 0.5) * width / image.shape[1] - 0.5)
    rows = math.floor(r), min(math.floor(r) + 1, height - 1)
    columns = math.floor(c), min(math.floor(c) + 1, width - 1)
    down, right = r - rows[0], c - columns[0]
    upper, lower = (
        (1 - right) * image[top + row, left + columns[0]]
        + right * image[top + row, left + columns[1]]
        for row in rows
    )
    mixed: np.ndarray = (1 - down) * upper + down * lower
    return mixed


@np.errstate(all="ignore")
def mix_images(
    spec: MixSpec,
    x: np.ndarray,
    step: np.ndarray,
    y: np.ndarray,
    partners: np.ndarray,
    shares: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Mix each image with another one of the batch, or cut a rectangle of that one into it.

    Parameters
    ----------
    spec
        What is done; :class:`fastconv.plans.augmentation.MixSpec` has the formulas.
    x
        The batch (``spec.input.x_shape``).
    step
        int64, (1,): the step.
    y
        Like ``x``, written.
    partners, shares
        (batch,), written: int64, the number in the batch of what each image is mixed with, and
        what is left of the image itself.
    workspace
        Not used.
    """
    batch, pixels = spec.input.batch, spec.input.height * spec.input.width
    for n, u in enumerate(_draws(spec, step)):
        partner = (n + 1 + math.floor(u[0] * (batch - 1))) % batch
        image, other = x[n].astype(np.float64), x[partner].astype(np.float64)
        cuts = spec.cuts(u[5])
        share = spec.share((u[1], u[2]), cuts=cuts)
        if cuts:
            top, bottom, left, right = spec.rectangle(share, (u[3], u[4]))
            image[top:bottom, left:right] = other[top:bottom, left:right]
            share = 1 - (bottom - top) * (right - left) / pixels
        else:
            image = share * image + (1 - share) * other
        y[n], partners[n], shares[n] = image, partner, share


@np.errstate(all="ignore")
def mix_rows(
    spec: InputSpec,
    rows: np.ndarray,
    partners: np.ndarray,
    shares: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y[n] = shares[n] * rows[n] + (1 - shares[n]) * rows[partners[n]]``.

    Parameters
    ----------
    spec
        Of height and width 1: the elements of a row are its channels.
    rows
        Targets (batch, channels).
    partners, shares
        (batch,): as :func:`mix_images` wrote them.
    y
        Like ``rows``, written.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        share = float(shares[n])
        own, other = rows[n].astype(np.float64), rows[int(partners[n])].astype(np.float64)
        y[n] = share * own + (1 - share) * other


def workspace_bytes(kernel: str, spec: CropSpec | MixSpec | InputSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
