"""Pooling, tap by tap: each tap of the window is one strided view of the input.

For one tap, different windows read different pixels (the stride is at least 1), so the backward
passes may add through the same strided view without two windows meeting in one pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv.backends.numpy.sums import sum_rows
from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.plans.operation import InputSpec
from fastconv.spec import PoolSpec, tap_range

_View = tuple[slice, slice, slice]
_CELLS_SUMMED_NARROW = 16
"""Cells of a window up to which its mean is summed in the dtype of x."""


def _taps(spec: PoolSpec) -> Iterator[tuple[_View, _View, int]]:
    """Yield, for each tap, the windows that it meets, the pixels there, and where it stands.

    A pixel's flat index in the H*W plane is its window's :func:`_window_starts` plus the last.
    """
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
            yield (every, slice(r0, r1), slice(c0, c1)), pixels, i * spec.width + j


def _window_starts(spec: PoolSpec) -> np.ndarray:
    """Flat index in the H*W plane of each window's first cell, int32 (1, rows, columns, 1)."""
    rows = np.arange(spec.out_height, dtype=np.int32) * spec.stride[0] - spec.padding[0][0]
    columns = np.arange(spec.out_width, dtype=np.int32) * spec.stride[1] - spec.padding[1][0]
    starts: np.ndarray = (rows[:, None] * np.int32(spec.width) + columns)[None, :, :, None]
    return starts


def max_pool2d_forward(
    spec: PoolSpec,
    x: np.ndarray,
    y: np.ndarray,
    argmax: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Largest pixel of each window, and its flat index in the unpadded H*W plane.

    First the maxima, tap by tap; then, last tap to first, each tap that holds its window's maximum
    takes the index over. That is written as arithmetic on 0 and 1, several times faster than
    a masked copy.
    """
    taps = list(_taps(spec))
    y.fill(-np.inf)
    for windows, pixels, _ in taps:
        np.maximum(y[windows], x[pixels], out=y[windows])
    has_nan = y.size > 0 and bool(np.isnan(np.max(y)))
    differs = Carver(workspace).take(y.shape, np.bool_)
    argmax.fill(0)
    for windows, pixels, tap in reversed(taps):
        candidate, index, other = x[pixels], argmax[windows], differs[windows]
        np.not_equal(candidate, y[windows], out=other)
        if has_nan:  # NaN differs from itself, and is its window's maximum all the same
            np.logical_and(other, ~np.isnan(candidate), out=other)
        np.subtract(index, np.int32(tap), out=index)
        np.multiply(index, other, out=index)
        np.add(index, np.int32(tap), out=index)
    np.add(argmax, _window_starts(spec), out=argmax)


def max_pool2d_backward(
    spec: PoolSpec,
    dy: np.ndarray,
    argmax: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Send each window's gradient to the pixel it took.

    The gradient's bits, as an unsigned integer, times 0 or 1 are 0.0 or the gradient itself:
    unlike a product of floats, also where it is infinite or NaN.
    """
    carver = Carver(workspace)
    here = carver.take(dy.shape, np.bool_)
    part = carver.take(dy.shape, dy.dtype)
    bits = np.uint32 if dy.dtype == np.float32 else np.uint64
    dy_bits, dx_bits, part_bits = dy.view(bits), dx.view(bits), part.view(bits)
    apart = spec.kernel[0] <= spec.stride[0] and spec.kernel[1] <= spec.stride[1]
    starts = _window_starts(spec)
    dx.fill(0)
    for windows, pixels, tap in _taps(spec):
        np.equal(argmax[windows], starts[windows] + np.int32(tap), out=here[windows])
        if apart:  # no pixel belongs to two windows: there is nothing to add up
            np.multiply(dy_bits[windows], here[windows], out=dx_bits[pixels])
            continue
        np.multiply(dy_bits[windows], here[windows], out=part_bits[windows])
        np.add(dx[pixels], part[windows], out=dx[pixels])


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
    """Mean of each window; that of a large one is summed in float64."""
    total = y
    if _is_summed_wide(spec):
        total = Carver(workspace).take(y.shape, np.float64)
    total.fill(0)
    for windows, pixels, _ in _taps(spec):
        target = total[windows]
        np.add(target, x[pixels], out=target)
    np.multiply(total, _inverse_counts(spec, total.dtype), out=y, casting="same_kind")


def _is_summed_wide(spec: PoolSpec) -> bool:
    """Whether float32 sums of so many cells would lose digits."""
    return spec.kernel[0] * spec.kernel[1] > _CELLS_SUMMED_NARROW


def avg_pool2d_backward(
    spec: PoolSpec, dy: np.ndarray, dx: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Spread each window's gradient evenly over its pixels."""
    share = Carver(workspace).take(dy.shape, dy.dtype)
    np.multiply(dy, _inverse_counts(spec, dy.dtype), out=share)
    dx.fill(0)
    for windows, pixels, _ in _taps(spec):
        target = dx[pixels]
        np.add(target, share[windows], out=target)


def global_avg_pool2d_forward(
    spec: InputSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Mean over all pixels: (batch, height, width, channels) to (batch, channels)."""
    pixels = spec.height * spec.width
    np.divide(
        sum_rows(x.reshape(spec.batch, pixels, spec.channels)), pixels, out=y, casting="same_kind"
    )


def global_avg_pool2d_backward(
    spec: InputSpec, dy: np.ndarray, dx: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Spread the gradient evenly over all pixels."""
    np.copyto(dx, dy[:, None, None, :])
    np.multiply(dx, dx.dtype.type(1.0 / (spec.height * spec.width)), out=dx)


def workspace_bytes(kernel: str, spec: PoolSpec | InputSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    if isinstance(spec, InputSpec):
        return 0
    if kernel == "avg_pool2d_forward":
        return size_of(spec.y_shape, np.float64) if _is_summed_wide(spec) else 0
    size = 0
    if kernel in ("max_pool2d_forward", "max_pool2d_backward"):
        size += size_of(spec.y_shape, np.bool_)
    if kernel in ("max_pool2d_backward", "avg_pool2d_backward"):
        size += size_of(spec.y_shape, dtype)
    return size
