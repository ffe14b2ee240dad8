"""Images of another size: pixels are copied, or mixed by products with their shares."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.plans.resample_operation import ResampleSpec


def _places(
    spec: ResampleSpec, size: int, out: int, offset: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and second pixel along an axis, -1 for none, and the share of the second."""
    i = np.arange(out)
    if spec.kind == "bilinear":
        if spec.align_corners:
            place = i * (size - 1) / max(1, out - 1)
        else:
            place = np.maximum(0.0, (i + 0.5) * size / out - 0.5)
        low = np.floor(place).astype(np.int64)
        return low, np.minimum(low + 1, size - 1), place - low
    if spec.kind == "nearest":
        low = i * size // out
    elif spec.kind == "reflect":
        low = np.abs(i - offset)
        low = np.where(low < size, low, 2 * (size - 1) - low)
    else:
        low = i - offset
        low = np.where((low >= 0) & (low < size), low, -1)
    return low, low, np.zeros(out)


def _shares(
    spec: ResampleSpec, size: int, out: int, offset: int, dtype: np.dtype[Any]
) -> np.ndarray:
    """Matrix (out, size) of the shares of pixels along an axis."""
    low, high, share = _places(spec, size, out, offset)
    shares = np.zeros((out, size))
    i = np.flatnonzero(low >= 0)
    shares[i, low[i]] += 1 - share[i]
    shares[i, high[i]] += share[i]
    return shares.astype(dtype)


def _of_axes(spec: ResampleSpec, dtype: np.dtype[Any]) -> tuple[np.ndarray, np.ndarray]:
    rows = _shares(spec, spec.height, spec.out_height, spec.top, dtype)
    return rows, _shares(spec, spec.width, spec.out_width, spec.left, dtype)


def resample_forward(
    spec: ResampleSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Copy pixels, or mix them by their shares: along the rows, then along the columns."""
    n, h, w, c = spec.x_shape
    if spec.kind != "bilinear":
        rows = _places(spec, h, spec.out_height, spec.top)[0]
        columns = _places(spec, w, spec.out_width, spec.left)[0]
        inside = np.flatnonzero(columns >= 0)
        for i, row in enumerate(rows):
            y[:, i] = 0
            if row >= 0:
                y[:, i, inside] = x[:, row, columns[inside]]
        return
    rows, columns = _of_axes(spec, x.dtype)
    between = Carver(workspace).take((n, spec.out_height, w * c), x.dtype)
    np.matmul(rows, x.reshape(n, h, w * c), out=between)
    out = y.reshape(n * spec.out_height, spec.out_width, c)
    np.matmul(columns, between.reshape(n * spec.out_height, w, c), out=out)


def resample_backward(
    spec: ResampleSpec, dy: np.ndarray, dx: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Add up the shares of each pixel."""
    n, h, w, c = spec.x_shape
    rows, columns = _of_axes(spec, dy.dtype)
    between = Carver(workspace).take((n * spec.out_height, w, c), dy.dtype)
    np.matmul(columns.T, dy.reshape(n * spec.out_height, spec.out_width, c), out=between)
    out = dx.reshape(n, h, w * c)
    np.matmul(rows.T, between.reshape(n, spec.out_height, w * c), out=out)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    if kernel == "resample_forward" and spec.kind != "bilinear":
        return 0
    return size_of((spec.batch, spec.out_height, spec.width, spec.channels), dtype)
