"""Crops and flips of images, and mixtures of one with another, each by its own draws."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from fastconv.backends.numpy import random
from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.plans.augmentation import STEP_OF_FIRST_FLIPS, CropSpec, MixSpec
from fastconv.plans.operation import InputSpec, RandomSpec


def _draws(spec: CropSpec | MixSpec, step: np.ndarray, workspace: np.ndarray | None) -> np.ndarray:
    """The numbers u_0 to u_7 of each image, a row each."""
    words = Carver(workspace).take((spec.input.batch * spec.words_per_image,), np.uint32)
    rest = None if workspace is None else workspace[_bytes_of_words(spec) :]
    random.random_words(spec.random, step, words, rest)
    return _uniform(words).reshape(-1, spec.words_per_image)


def _uniform(words: np.ndarray) -> np.ndarray:
    """Numbers from 0 up to 1 of words, float64."""
    numbers: np.ndarray = (words >> np.uint32(8)) / 2.0**24
    return numbers


def crop_images(
    spec: CropSpec,
    x: np.ndarray,
    indices: np.ndarray,
    step: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Take the part of every image that :class:`fastconv.plans.augmentation.CropSpec` draws."""
    size = spec.input
    u = _draws(spec, step, workspace)
    columns = np.broadcast_to(np.arange(size.width), (size.batch, size.width))
    flipped = _flipped(spec, u[:, 0], indices, int(step[0]))
    columns = np.where(flipped[:, None], size.width - 1 - columns, columns)
    images = np.arange(size.batch)[:, None, None]
    if spec.least_area:
        _resize(spec, x, u, columns, y)
        return
    shift = np.floor(u[:, 1:3] * (2 * spec.crop + 1)).astype(np.int64) - spec.crop
    rows = _mirrored(np.arange(size.height) + shift[:, :1], size.height)
    columns = _mirrored(columns + shift[:, 1:], size.width)
    y[...] = x[images, rows[:, :, None], columns[:, None, :]]


def _flipped(spec: CropSpec, u: np.ndarray, indices: np.ndarray, step: int) -> np.ndarray:
    """Which images are mirrored."""
    if spec.flip == "random":
        return u < 0.5
    if spec.flip == "none" or not len(indices):
        return np.zeros(len(u), bool)
    # By the next power of two, so that few lengths are asked for.
    first = _first_flips(spec.random, 1 << int(indices.max()).bit_length())[indices]
    flipped: np.ndarray = first != (step // spec.steps_per_epoch % 2 == 1)
    return flipped


@functools.lru_cache(maxsize=2)
def _first_flips(spec: RandomSpec, count: int) -> np.ndarray:
    """Which samples are mirrored in even epochs."""
    words = np.empty(count, np.uint32)
    random.random_words(spec, np.array([STEP_OF_FIRST_FLIPS]), words, None)
    flipped: np.ndarray = _uniform(words) < 0.5
    return flipped


def _mirrored(places: np.ndarray, size: int) -> np.ndarray:
    """The pixels that places beside an image show."""
    inside = np.abs(places)
    shown: np.ndarray = np.where(inside < size, inside, 2 * (size - 1) - inside)
    return shown


def _resize(
    spec: CropSpec, x: np.ndarray, u: np.ndarray, columns: np.ndarray, y: np.ndarray
) -> None:
    """Sample the part of each image bilinearly, rows first, then its columns in this order."""
    height, width = spec.input.height, spec.input.width
    for n in range(spec.input.batch):
        top, left, rows, wide = spec.part(tuple(u[n, 3:7].tolist()))
        above, below, down = _neighbours(np.arange(height), rows, height)
        before, behind, right = _neighbours(columns[n], wide, width)
        down, right = down.astype(y.dtype)[:, None, None], right.astype(y.dtype)[None, :, None]
        part = x[n, top : top + rows, left : left + wide]
        upper, lower = part[above], part[below]
        upper = (1 - right) * upper[:, before] + right * upper[:, behind]
        lower = (1 - right) * lower[:, before] + right * lower[:, behind]
        np.add((1 - down) * upper, down * lower, out=y[n])


def _neighbours(
    places: np.ndarray, part: int, whole: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For places of the whole, the two places of the part around, and the share of the second."""
    found = np.maximum((places + 0.5) * (part / whole) - 0.5, 0.0)
    first = np.floor(found).astype(np.int64)
    return first, np.minimum(first + 1, part - 1), found - first


def mix_images(
    spec: MixSpec,
    x: np.ndarray,
    step: np.ndarray,
    y: np.ndarray,
    partners: np.ndarray,
    shares: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Mix every image with another as :class:`fastconv.plans.augmentation.MixSpec` draws."""
    batch, pixels = spec.input.batch, spec.input.height * spec.input.width
    u = _draws(spec, step, workspace)
    places = np.arange(batch) + 1 + np.floor(u[:, 0] * (batch - 1)).astype(np.int64)
    np.mod(places, max(1, batch), out=partners)
    for n in range(batch):
        _, u1, u2, u3, u4, u5, *_ = u[n].tolist()
        cuts = spec.cuts(u5)
        share, other = spec.share((u1, u2), cuts=cuts), x[partners[n]]
        if cuts:
            top, bottom, left, right = spec.rectangle(share, (u3, u4))
            y[n] = x[n]
            y[n, top:bottom, left:right] = other[top:bottom, left:right]
            share = 1 - (bottom - top) * (right - left) / pixels
        else:
            kept = x.dtype.type(share)
            np.multiply(x[n], kept, out=y[n])
            y[n] += (1 - kept) * other
        shares[n] = share


def mix_rows(
    spec: InputSpec,
    rows: np.ndarray,
    partners: np.ndarray,
    shares: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y[n] = shares[n] * rows[n] + (1 - shares[n]) * rows[partners[n]]``."""
    own = shares[:, None]
    np.multiply(rows[partners], 1 - own, out=y)
    y += own * rows


def _bytes_of_words(spec: CropSpec | MixSpec) -> int:
    return size_of((spec.input.batch * spec.words_per_image,), np.uint32)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: for words."""
    if not isinstance(spec, CropSpec | MixSpec):
        return 0
    return _bytes_of_words(spec) + random.workspace_bytes("random_words", spec.random, dtype)
