"""The beginning of a step: gather a batch by index, augment it, normalise it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fastconv.backends.numpy import random
from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.plans.operation import AugmentSpec, InputSpec

if TYPE_CHECKING:
    from fastconv.plans.jitter import JitterSpec


def gather_images(
    spec: InputSpec,
    images: np.ndarray,
    indices: np.ndarray,
    x: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``x[n] = images[indices[n]]``, as floating point numbers of the same value."""
    if images.dtype == x.dtype:
        np.take(images, indices, axis=0, out=x, mode="clip")
        return
    raw = Carver(workspace).take(x.shape, images.dtype)
    np.take(images, indices, axis=0, out=raw, mode="clip")
    np.copyto(x, raw, casting="same_kind")


def gather_rows(
    spec: InputSpec,
    rows: np.ndarray,
    indices: np.ndarray,
    out: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``out[n] = rows[indices[n]]``: labels, or targets as floating point numbers of out."""
    if rows.dtype == out.dtype:
        np.take(rows, indices, axis=0, out=out, mode="clip")
    else:
        np.copyto(out, np.take(rows, indices, axis=0, mode="clip"), casting="same_kind")


def scale_images(
    spec: InputSpec,
    x: np.ndarray,
    factor: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y = x * factor``."""
    np.multiply(x, float(factor[0]), out=y)


def standardize_images(
    spec: InputSpec,
    x: np.ndarray,
    mean: np.ndarray,
    std: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y = (x - mean) / std``, by channel or by feature."""
    shape = (-1, mean.size)
    np.subtract(x.reshape(shape), mean.reshape(-1), out=y.reshape(shape))
    np.divide(y.reshape(shape), std.reshape(-1), out=y.reshape(shape))


def min_max_images(
    spec: InputSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """``y = (x - min) / (max - min)`` of each image; a constant image becomes 0."""
    carver = Carver(workspace)
    low, span = carver.take((spec.batch, 1), x.dtype), carver.take((spec.batch, 1), x.dtype)
    shape = (spec.batch, spec.height * spec.width * spec.channels)
    pixels, out = x.reshape(shape), y.reshape(shape)
    np.minimum.reduce(pixels, axis=1, keepdims=True, out=low)
    np.maximum.reduce(pixels, axis=1, keepdims=True, out=span)
    np.subtract(span, low, out=span)
    np.copyto(span, 1, where=span == 0)
    np.subtract(pixels, low, out=out)
    np.divide(out, span, out=out)


def augment_images(
    spec: AugmentSpec,
    x: np.ndarray,
    step: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Apply the random changes of :class:`fastconv.plans.operation.AugmentSpec` to every image."""
    carver = Carver(workspace)
    count = spec.input.batch * spec.words_per_image
    words = carver.take((count,), np.uint32)
    moved = carver.take(x.shape, x.dtype)
    rest = None if workspace is None else workspace[_own_bytes(spec, x.dtype) :]
    random.random_words(spec.random, step, words, rest)
    u = (words >> np.uint32(8)).reshape(-1, spec.words_per_image) / 2.0**24
    source = x
    if spec.moves_pixels:
        target = moved if spec.warps else y
        _flip_and_crop(spec, source, u, target)
        source = target
    if spec.warps:
        _warp(spec, source, u, y)
    elif source is x:
        np.copyto(y, x)
    if spec.cutout:
        _cut_out(spec, u, y)


def _flip_and_crop(spec: AugmentSpec, x: np.ndarray, u: np.ndarray, y: np.ndarray) -> None:
    """Move every image by whole pixels, mirrored or not: exact copies of pixels."""
    size = spec.input
    shift = np.floor(u[:, 1:3] * (2 * spec.crop + 1)).astype(np.int64) - spec.crop
    rows = np.arange(size.height) + shift[:, :1]
    columns = np.arange(size.width) + shift[:, 1:]
    flipped = (u[:, 0] < 0.5)[:, None] & spec.flip
    inside = ((rows >= 0) & (rows < size.height))[:, :, None] & (
        (columns >= 0) & (columns < size.width)
    )[:, None, :]
    columns = np.where(flipped, size.width - 1 - columns, columns)
    np.clip(rows, 0, size.height - 1, out=rows)
    np.clip(columns, 0, size.width - 1, out=columns)
    images = np.arange(size.batch)[:, None, None]
    y[...] = x[images, rows[:, :, None], columns[:, None, :]]
    np.copyto(y, 0, where=~inside[..., None])


def _warp(spec: AugmentSpec, x: np.ndarray, u: np.ndarray, y: np.ndarray) -> None:
    """Rotate, shear and shift: one affine map, sampled bilinearly."""
    size = spec.input
    draws = 2.0 * u[:, 3:7] - 1.0
    angle = np.radians(draws[:, 0] * spec.rotation)[:, None, None]
    slope = np.tan(np.radians(draws[:, 1] * spec.shear))[:, None, None]
    down = (draws[:, 2] * (spec.translation * size.height))[:, None, None]
    right = (draws[:, 3] * (spec.translation * size.width))[:, None, None]
    middle_row, middle_column = (size.height - 1) / 2, (size.width - 1) / 2
    v = np.arange(size.height)[None, :, None] - middle_row - down
    h = np.arange(size.width)[None, None, :] - middle_column - right
    h = h - slope * v
    row = np.sin(angle) * h + np.cos(angle) * v + middle_row
    column = np.cos(angle) * h - np.sin(angle) * v + middle_column
    top, left = np.floor(row).astype(np.int64), np.floor(column).astype(np.int64)
    images = np.arange(size.batch)[:, None, None]
    y.fill(0)
    for i, weight_row in ((top, 1 - (row - top)), (top + 1, row - top)):
        for j, weight_column in ((left, 1 - (column - left)), (left + 1, column - left)):
            inside = (i >= 0) & (i < size.height) & (j >= 0) & (j < size.width)
            weight = np.where(inside, weight_row * weight_column, 0).astype(y.dtype)
            rows, columns = np.clip(i, 0, size.height - 1), np.clip(j, 0, size.width - 1)
            y += x[images, rows, columns] * weight[..., None]


def _cut_out(spec: AugmentSpec, u: np.ndarray, y: np.ndarray) -> None:
    """Zero a square around a random pixel."""
    size = spec.input
    top = np.floor(u[:, 7:8] * size.height) - spec.cutout // 2
    left = np.floor(u[:, 8:9] * size.width) - spec.cutout // 2
    rows, columns = np.arange(size.height), np.arange(size.width)
    in_rows = (rows >= top) & (rows < top + spec.cutout)
    in_columns = (columns >= left) & (columns < left + spec.cutout)
    np.copyto(y, 0, where=(in_rows[:, :, None] & in_columns[:, None, :])[..., None])


def jitter_images(
    spec: JitterSpec, x: np.ndarray, step: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Apply the random changes of :class:`fastconv.plans.jitter.JitterSpec` to every image."""
    size, carver = spec.input, Carver(workspace)
    words = carver.take((size.batch * spec.words_per_image,), np.uint32)
    scratch, luma = carver.take(x.shape, x.dtype), carver.take(x.shape[:3], x.dtype)
    own = _jitter_bytes(spec, x.dtype)
    rest = None if workspace is None else workspace[own:]
    random.random_words(spec.random, step, words, rest)
    u = (words >> np.uint32(8)).reshape(-1, spec.words_per_image) / 2.0**24
    factors = (1 + (2 * u[:, :3] - 1) * (spec.brightness, spec.contrast, spec.saturation)).astype(
        x.dtype
    )
    brighter, c, s = (factors[:, k, None, None, None] for k in range(3))
    gray = np.asarray(spec.gray, x.dtype)
    if spec.brightness:
        np.multiply(x, brighter, out=x)
    if spec.contrast:
        np.multiply(x, gray, out=scratch)
        means = scratch.sum(axis=3).mean(axis=(1, 2), dtype=np.float64).astype(x.dtype)
        np.multiply(x, c, out=x)
        np.add(x, (1 - c) * means[:, None, None, None], out=x)
    if spec.saturation:
        np.multiply(x, gray, out=scratch)
        np.add.reduce(scratch, axis=3, out=luma)
        np.multiply(x, s, out=x)
        np.add(x, (1 - s) * luma[..., None], out=x)
    for n in np.flatnonzero(u[:, 3] < spec.erase):
        top, left, height, width = spec.erased(tuple(u[n, 4:].tolist()))
        x[n, top : top + height, left : left + width] = 0


def _jitter_bytes(spec: JitterSpec, dtype: Any) -> int:
    size = spec.input
    words = size_of((size.batch * spec.words_per_image,), np.uint32)
    return words + size_of(size.x_shape, dtype) + size_of(size.x_shape[:3], dtype)


def _own_bytes(spec: AugmentSpec, dtype: Any) -> int:
    words = size_of((spec.input.batch * spec.words_per_image,), np.uint32)
    return words + size_of(spec.input.x_shape, dtype)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    if kernel == "jitter_images":
        jitter = cast("JitterSpec", spec)
        own = _jitter_bytes(jitter, dtype)
        return own + random.workspace_bytes("random_words", jitter.random, dtype)
    if isinstance(spec, AugmentSpec):
        return _own_bytes(spec, dtype) + random.workspace_bytes("random_words", spec.random, dtype)
    if kernel == "gather_images":
        return size_of(spec.x_shape, "float64")  # the widest that images come in
    if kernel == "min_max_images":
        return 2 * size_of((spec.batch, 1), dtype)
    return 0
