"""Pooling, tap by tap: each tap of the window is one strided view of the input.

For one tap, different windows read different pixels (the stride is at least 1), so the backward
passes may add through the same strided view without two windows meeting in one pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.operation import InputSpec
from fastconv.spec import PoolSpec, tap_range

_View = tuple[slice, slice, slice]


def _taps(spec: PoolSpec) -> Iterator[tuple[_View, _View, int, int]]:
    """Yield, for each tap, the windows that it meets, the pixels there, and the first pixel."""
    (sh, sw), ((top, _), (left, _)) = spec.stride, spec.padding
    every = slice(None)
    for i in range(spec.kernel[0]):
        r0, r1 = tap_range(spec.out_height, spec.height, sh, top, i)
        y0 = r0 * sh - top + i
        for j in range(spec.kernel[1]):
            c0, c1 = tap_range(spec.out_width, spec.width, sw, left, j)
            x0 = c0 * sw - left + j
            if r0 == r1 or c0 == c1:
                continue
            pixels = (
                every,
                slice(y0, y0 + (r1 - r0 - 1) * sh + 1, sh),
                slice(x0, x0 + (c1 - c0 - 1) * sw + 1, sw),
            )
            yield (every, slice(r0, r1), slice(c0, c1)), pixels, y0, x0


def _positions(spec: PoolSpec, windows: _View, y0: int, x0: int) -> np.ndarray:
    """Flat index (rows, columns, 1) into the H*W plane of the pixel that a tap reads."""
    rows = y0 + spec.stride[0] * np.arange(windows[1].stop - windows[1].start, dtype=np.int32)
    columns = x0 + spec.stride[1] * np.arange(windows[2].stop - windows[2].start, dtype=np.int32)
    positions: np.ndarray = rows[:, None] * np.int32(spec.width) + columns
    return positions[:, :, None]


def max_pool2d_forward(
    spec: PoolSpec,
    x: np.ndarray,
    y: np.ndarray,
    where: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Largest pixel of each window, and its flat index in the unpadded H*W plane."""
    y.fill(-np.inf)
    where.fill(-1)
    larger = Carver(workspace).take(y.shape, np.bool_)
    for windows, pixels, y0, x0 in _taps(spec):
        candidate, best, index = x[pixels], y[windows], where[windows]
        take = larger[windows]
        # "not (candidate <= best)" is also true for a NaN candidate, so NaN wins; once best is NaN
        # it would be replaced by anything, so that case is taken back: the first NaN stays. A
        # window of nothing but -inf must still get an index: its first pixel meets index -1.
        np.less_equal(candidate, best, out=take)
        np.logical_not(take, out=take)
        np.logical_and(take, best == best, out=take)
        np.logical_or(take, index < 0, out=take)
        np.copyto(best, candidate, where=take)
        np.copyto(index, _positions(spec, windows, y0, x0), where=take)


def max_pool2d_backward(
    spec: PoolSpec,
    dy: np.ndarray,
    where: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Send each window's gradient to the pixel it took."""
    carver = Carver(workspace)
    here = carver.take(dy.shape, np.bool_)
    part = carver.take(dy.shape, dy.dtype)
    apart = spec.kernel[0] <= spec.stride[0] and spec.kernel[1] <= spec.stride[1]
    dx.fill(0)
    for windows, pixels, y0, x0 in _taps(spec):
        np.equal(where[windows], _positions(spec, windows, y0, x0), out=here[windows])
        if apart:  # no pixel belongs to two windows: there is nothing to add up
            np.copyto(dx[pixels], dy[windows], where=here[windows])
            continue
        # A product would turn inf * 0 into NaN; zeros are written instead.
        part[windows] = 0
        np.copyto(part[windows], dy[windows], where=here[windows])
        target = dx[pixels]
        np.add(target, part[windows], out=target)


def _inverse_counts(spec: PoolSpec, dtype: Any) -> np.ndarray:
    """1 / number of cells that each window's average divides by, shape (rows, columns, 1)."""
    counts = []
    for axis, (outputs, size) in enumerate(
        ((spec.out_height, spec.height), (spec.out_width, spec.width))
    ):
        before, after = spec.padding[axis]
        start = np.arange(outputs) * spec.stride[axis] - before
        end = start + spec.kernel[axis]
        if spec.count_include_pad:
            counts.append(np.minimum(end, size + after) - start)
        else:
            counts.append(np.minimum(end, size) - np.maximum(start, 0))
    return np.asarray(1.0 / np.multiply.outer(counts[0], counts[1])[:, :, None], dtype)


def avg_pool2d_forward(
    spec: PoolSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Mean of each window."""
    y.fill(0)
    for windows, pixels, _, _ in _taps(spec):
        target = y[windows]
        np.add(target, x[pixels], out=target)
    np.multiply(y, _inverse_counts(spec, y.dtype), out=y)


def avg_pool2d_backward(
    spec: PoolSpec, dy: np.ndarray, dx: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Spread each window's gradient evenly over its pixels."""
    share = Carver(workspace).take(dy.shape, dy.dtype)
    np.multiply(dy, _inverse_counts(spec, dy.dtype), out=share)
    dx.fill(0)
    for windows, pixels, _, _ in _taps(spec):
        target = dx[pixels]
        np.add(target, share[windows], out=target)


def global_avg_pool2d_forward(
    spec: InputSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Mean over all pixels: (batch, height, width, channels) to (batch, channels)."""
    np.mean(x, axis=(1, 2), out=y)


def global_avg_pool2d_backward(
    spec: InputSpec, dy: np.ndarray, dx: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Spread the gradient evenly over all pixels."""
    np.copyto(dx, dy[:, None, None, :])
    np.multiply(dx, dx.dtype.type(1.0 / (spec.height * spec.width)), out=dx)


def workspace_bytes(kernel: str, spec: PoolSpec | InputSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    if isinstance(spec, InputSpec) or kernel == "avg_pool2d_forward":
        return 0
    size = 0
    if kernel in ("max_pool2d_forward", "max_pool2d_backward"):
        size += size_of(spec.y_shape, np.bool_)
    if kernel in ("max_pool2d_backward", "avg_pool2d_backward"):
        size += size_of(spec.y_shape, dtype)
    return size
