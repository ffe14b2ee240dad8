"""Images of another size: padded, cropped or upsampled, one pixel at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.plans.resample_operation import ResampleSpec


def _sources(
    spec: ResampleSpec, i: int, size: int, out: int, offset: int
) -> list[tuple[int, float]]:
    """Pixels along an axis that pixel i is made of, with their shares."""
    if spec.kind == "zeros":
        return [(i - offset, 1.0)] if 0 <= i - offset < size else []
    if spec.kind == "reflect":
        from_first = abs(i - offset)
        from_last = 2 * (size - 1) - from_first
        return [(from_first if from_first < size else from_last, 1.0)]
    if spec.kind == "nearest":
        return [(i * size // out, 1.0)]
    if spec.align_corners:
        place = i * (size - 1) / (out - 1) if out > 1 else 0.0
    else:
        place = max(0.0, (i + 0.5) * size / out - 0.5)
    low = math.floor(place)
    share = place - low
    pairs = [(low, 1 - share), (min(low + 1, size - 1), share)]
    return [pair for pair in pairs if pair[1] != 0]


def _pixels(spec: ResampleSpec, i: int, j: int) -> list[tuple[int, int, float]]:
    """Pixels that pixel (i, j) is made of, with their shares."""
    rows = _sources(spec, i, spec.height, spec.out_height, spec.top)
    columns = _sources(spec, j, spec.width, spec.out_width, spec.left)
    return [(row, column, a * b) for row, a in rows for column, b in columns]


@np.errstate(all="ignore")
def resample_forward(
    spec: ResampleSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Each pixel is the sum of some others by their shares.

    Parameters
    ----------
    spec
        Kind and sizes; :class:`fastconv.plans.resample_operation.ResampleSpec` has the rules.
    x, y
        Images NHWC; y is written.
    workspace
        Not used.
    """
    for i in range(spec.out_height):
        for j in range(spec.out_width):
            total = np.zeros((spec.batch, spec.channels))
            for row, column, share in _pixels(spec, i, j):
                total += share * x[:, row, column].astype(np.float64)
            y[:, i, j] = total


@np.errstate(all="ignore")
def resample_backward(
    spec: ResampleSpec, dy: np.ndarray, dx: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Each pixel gets its shares of the gradients of those that it is a part of.

    Parameters
    ----------
    spec
        As for :func:`resample_forward`.
    dy, dx
        Gradients of y and of x, NHWC; dx is written.
    workspace
        Not used.
    """
    total = np.zeros(spec.x_shape)
    for i in range(spec.out_height):
        for j in range(spec.out_width):
            for row, column, share in _pixels(spec, i, j):
                total[:, row, column] += share * dy[:, i, j].astype(np.float64)
    dx[...] = total


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
