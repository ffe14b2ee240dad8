"""The beginning of a step: gather a batch by index, bring it to a common scale, augment it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.backends.reference.random import random_words
from fastconv.plans.jitter import JitterSpec
from fastconv.plans.operation import AugmentSpec, InputSpec


def gather_images(
    spec: InputSpec,
    images: np.ndarray,
    indices: np.ndarray,
    x: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``x[n] = images[indices[n]]``, the raw values.

    Parameters
    ----------
    spec
        Shape of the batch.
    images, indices
        uint8, float32 or float64 (samples, height, width, channels); int64 (batch,).
    x
        The batch (``spec.x_shape``), written.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        x[n] = images[indices[n]]


def gather_rows(
    spec: InputSpec,
    rows: np.ndarray,
    indices: np.ndarray,
    out: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``out[n] = rows[indices[n]]``: labels or targets.

    Parameters
    ----------
    spec
        Shape of the batch.
    rows, indices
        Any dtype (samples, ...); int64 (batch,).
    out
        The dtype of ``rows``, or float32 for float64 and the reverse (batch, ...), written.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        out[n] = rows[indices[n]]


@np.errstate(all="ignore")
def scale_images(
    spec: InputSpec,
    x: np.ndarray,
    factor: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y = x * factor``.

    Parameters
    ----------
    spec
        Shape of the batch.
    x, factor
        The batch (``spec.x_shape``); float64 (1,).
    y
        Like ``x``, written.
    workspace
        Not used.
    """
    y[...] = x.astype(np.float64) * float(factor[0])


@np.errstate(all="ignore")
def standardize_images(
    spec: InputSpec,
    x: np.ndarray,
    mean: np.ndarray,
    std: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y = (x - mean) / std``, by channel or by feature.

    Parameters
    ----------
    spec
        Shape of the batch.
    x
        The batch (``spec.x_shape``).
    mean, std
        ``channels`` elements, the same for every pixel, or height * width * channels.
    y
        Like ``x``, written.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        for i in range(spec.height):
            for j in range(spec.width):
                for c in range(spec.channels):
                    feature = (i * spec.width + j) * spec.channels + c
                    k = c if mean.size == spec.channels else feature
                    difference = x[n, i, j, c].astype(np.float64) - float(mean.flat[k])
                    y[n, i, j, c] = difference / float(std.flat[k])


@np.errstate(all="ignore")
def min_max_images(
    spec: InputSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """``y = (x - smallest) / (largest - smallest)`` of each image; a constant image becomes 0.

    Parameters
    ----------
    spec
        Shape of the batch.
    x
        The batch (``spec.x_shape``).
    y
        Like ``x``, written.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        image = x[n].astype(np.float64)
        smallest, largest = np.min(image), np.max(image)
        y[n] = 0.0 if smallest == largest else (image - smallest) / (largest - smallest)


@np.errstate(all="ignore")
def augment_images(
    spec: AugmentSpec,
    x: np.ndarray,
    step: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Flip and crop, warp, cut out: each image by its own draws.

    Parameters
    ----------
    spec
        What may change; :class:`fastconv.plans.operation.AugmentSpec` has the formulas and the
        draws.
    x
        The batch (``spec.input.x_shape``).
    step
        int64, (1,): the step.
    y
        Like ``x``, written.
    workspace
        Not used.
    """
    words = np.empty(12 * spec.input.batch, np.uint32)
    random_words(spec.random, step, words, None)
    for n in range(spec.input.batch):
        u = [(int(word) >> 8) / 2**24 for word in words[12 * n : 12 * n + 12]]
        image = x[n].astype(np.float64)
        image = _flip_and_crop(spec, image, u)
        if spec.warps:
            image = _warp(spec, image, u)
        y[n] = _cut_out(spec, image, u)


def _pixel(image: np.ndarray, i: int, j: int) -> np.ndarray:
    """All channels of pixel (i, j); 0 outside the image."""
    height, width, channels = image.shape
    inside = 0 <= i < height and 0 <= j < width
    return image[i, j] if inside else np.zeros(channels)


def _flip_and_crop(spec: AugmentSpec, image: np.ndarray, u: list[float]) -> np.ndarray:
    if spec.flip and u[0] < 0.5:
        image = image[:, ::-1]
    oy = math.floor(u[1] * (2 * spec.crop + 1)) - spec.crop
    ox = math.floor(u[2] * (2 * spec.crop + 1)) - spec.crop
    out = np.empty(image.shape)
    for i in range(spec.input.height):
        for j in range(spec.input.width):
            out[i, j] = _pixel(image, i + oy, j + ox)
    return out


def _warp(spec: AugmentSpec, image: np.ndarray, u: list[float]) -> np.ndarray:
    height, width = spec.input.height, spec.input.width
    a = math.radians((2 * u[3] - 1) * spec.rotation)
    s = math.radians((2 * u[4] - 1) * spec.shear)
    ty = (2 * u[5] - 1) * spec.translation * height
    tx = (2 * u[6] - 1) * spec.translation * width
    out = np.empty(image.shape)
    for i in range(height):
        for j in range(width):
            v = i - (height - 1) / 2 - ty
            h = j - (width - 1) / 2 - tx
            row = math.sin(a) * (h - math.tan(s) * v) + math.cos(a) * v + (height - 1) / 2
            column = math.cos(a) * (h - math.tan(s) * v) - math.sin(a) * v + (width - 1) / 2
            out[i, j] = _bilinear(image, row, column)
    return out


def _bilinear(image: np.ndarray, row: float, column: float) -> np.ndarray:
    """Weighted mean of the four pixels around (row, column)."""
    i, j = math.floor(row), math.floor(column)
    down, right = row - i, column - j
    upper = (1 - right) * _pixel(image, i, j) + right * _pixel(image, i, j + 1)
    lower = (1 - right) * _pixel(image, i + 1, j) + right * _pixel(image, i + 1, j + 1)
    mixed: np.ndarray = (1 - down) * upper + down * lower
    return mixed


def _cut_out(spec: AugmentSpec, image: np.ndarray, u: list[float]) -> np.ndarray:
    top = math.floor(u[7] * spec.input.height) - spec.cutout // 2
    left = math.floor(u[8] * spec.input.width) - spec.cutout // 2
    out = image.copy()
    for i in range(spec.input.height):
        for j in range(spec.input.width):
            if top <= i < top + spec.cutout and left <= j < left + spec.cutout:
                out[i, j] = 0
    return out


@np.errstate(all="ignore")
def jitter_images(
    spec: JitterSpec, x: np.ndarray, step: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Change colours, and erase a rectangle: each image by its own draws.

    Parameters
    ----------
    spec
        What may change; :class:`fastconv.plans.jitter.JitterSpec` has the formulas and the draws.
    x
        The batch (``spec.input.x_shape``), updated.
    step
        int64, (1,): the step.
    workspace
        Not used.
    """
    words = np.empty(8 * spec.input.batch, np.uint32)
    random_words(spec.random, step, words, None)
    for n in range(spec.input.batch):
        u = [(int(word) >> 8) / 2**24 for word in words[8 * n : 8 * n + 8]]
        image = x[n].astype(np.float64)
        if spec.brightness:
            image = (1 + (2 * u[0] - 1) * spec.brightness) * image
        if spec.contrast:
            c = 1 + (2 * u[1] - 1) * spec.contrast
            image = c * image + (1 - c) * np.mean(image @ np.array(spec.gray))
        if spec.saturation:
            s = 1 + (2 * u[2] - 1) * spec.saturation
            image = s * image + (1 - s) * (image @ np.array(spec.gray))[..., None]
        if u[3] < spec.erase:
            top, left, height, width = spec.erased((u[4], u[5], u[6], u[7]))
            image[top : top + height, left : left + width] = 0
        x[n] = image


def workspace_bytes(kernel: str, spec: InputSpec | AugmentSpec | JitterSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
