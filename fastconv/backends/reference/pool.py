"""Max, average and global average pooling."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv.plans.operation import InputSpec
from fastconv.spec import PoolSpec


def _windows(spec: PoolSpec) -> Iterator[tuple[int, int, list[tuple[int, int]], int]]:
    """Every output pixel (oh, ow) with the image pixels of its window, in row order, and its area.

    The area counts the cells of the window that lie on the image or its padding, not those beyond
    that only ``ceil_mode`` adds.
    """
    (top, bottom), (left, right) = spec.padding
    for oh in range(spec.out_height):
        for ow in range(spec.out_width):
            pixels = []
            area = 0
            for kh in range(spec.kernel[0]):
                for kw in range(spec.kernel[1]):
                    ih, iw = oh * spec.stride[0] - top + kh, ow * spec.stride[1] - left + kw
                    if ih < spec.height + bottom and iw < spec.width + right:
                        area += 1
                    if 0 <= ih < spec.height and 0 <= iw < spec.width:
                        pixels.append((ih, iw))
            yield oh, ow, pixels, area


def max_pool2d_forward(
    spec: PoolSpec,
    x: np.ndarray,
    y: np.ndarray,
    argmax: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Largest pixel of each window, and where it is.

    Parameters
    ----------
    spec
        The pooling.
    x
        Input (``spec.x_shape``).
    y, argmax
        Output, and int32 flat index ``ih * width + iw`` of the first largest pixel in row order, a
        NaN being the largest (both ``spec.y_shape``); written.
    workspace
        Not used.

    Examples
    --------
    >>> spec = PoolSpec(1, 1, 2, 2, kernel=(2, 2), stride=(2, 2))
    >>> x = np.array([[3.0, 5.0], [5.0, 4.0]]).reshape(spec.x_shape)
    >>> y, argmax = np.empty(spec.y_shape), np.empty(spec.y_shape, np.int32)
    >>> max_pool2d_forward(spec, x, y, argmax, None)
    >>> y.item(), argmax.item()
    (5.0, 1)
    """
    for n in range(spec.batch):
        for oh, ow, pixels, _ in _windows(spec):
            for c in range(spec.channels):
                best = pixels[0]
                for pixel in pixels[1:]:
                    largest, value = float(x[n, *best, c]), float(x[n, *pixel, c])
                    if value > largest or (math.isnan(value) and not math.isnan(largest)):
                        best = pixel
                y[n, oh, ow, c] = x[n, *best, c]
                argmax[n, oh, ow, c] = best[0] * spec.width + best[1]


@np.errstate(all="ignore")
def max_pool2d_backward(
    spec: PoolSpec,
    dy: np.ndarray,
    argmax: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Add each output's gradient to the pixel that won its window.

    Parameters
    ----------
    spec
        The pooling.
    dy, argmax
        Gradient of the output, and the forward kernel's ``argmax`` (both ``spec.y_shape``).
    dx
        Gradient of the input (``spec.x_shape``), written.
    workspace
        Not used.
    """
    total = np.zeros(spec.x_shape)
    for n in range(spec.batch):
        for oh in range(spec.out_height):
            for ow in range(spec.out_width):
                for c in range(spec.channels):
                    ih, iw = divmod(int(argmax[n, oh, ow, c]), spec.width)
                    total[n, ih, iw, c] += float(dy[n, oh, ow, c])
    dx[...] = total


@np.errstate(all="ignore")
def avg_pool2d_forward(
    spec: PoolSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Sum of each window's pixels over its area or, without ``count_include_pad``, their number.

    Parameters
    ----------
    spec
        The pooling.
    x
        Input (``spec.x_shape``).
    y
        Output (``spec.y_shape``), written.
    workspace
        Not used.
    """
    x64 = x.astype(np.float64)
    for oh, ow, pixels, area in _windows(spec):
        total = np.zeros((spec.batch, spec.channels))
        for ih, iw in pixels:
            total += x64[:, ih, iw, :]
        y[:, oh, ow, :] = total / (area if spec.count_include_pad else len(pixels))


@np.errstate(all="ignore")
def avg_pool2d_backward(
    spec: PoolSpec, dy: np.ndarray, dx: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Spread each output's gradient evenly over the pixels of its window.

    Parameters
    ----------
    spec
        The pooling.
    dy
        Gradient of the output (``spec.y_shape``).
    dx
        Gradient of the input (``spec.x_shape``), written.
    workspace
        Not used.
    """
    dy64 = dy.astype(np.float64)
    total = np.zeros(spec.x_shape)
    for oh, ow, pixels, area in _windows(spec):
        for ih, iw in pixels:
            divisor = area if spec.count_include_pad else len(pixels)
            total[:, ih, iw, :] += dy64[:, oh, ow, :] / divisor
    dx[...] = total


@np.errstate(all="ignore")
def global_avg_pool2d_forward(
    spec: InputSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Mean over all pixels of each channel.

    Parameters
    ----------
    spec
        Shape of the images.
    x
        Input (``spec.x_shape``).
    y
        Output (batch, channels), written.
    workspace
        Not used.
    """
    x64 = x.astype(np.float64)
    total = np.zeros((spec.batch, spec.channels))
    for i in range(spec.height):
        for j in range(spec.width):
            total += x64[:, i, j, :]
    y[...] = total / (spec.height * spec.width)


@np.errstate(all="ignore")
def global_avg_pool2d_backward(
    spec: InputSpec, dy: np.ndarray, dx: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Spread each channel's gradient evenly over all pixels.

    Parameters
    ----------
    spec
        Shape of the images.
    dy
        Gradient of the output (batch, channels).
    dx
        Gradient of the input (``spec.x_shape``), written.
    workspace
        Not used.
    """
    dy64 = dy.astype(np.float64)
    for i in range(spec.height):
        for j in range(spec.width):
            dx[:, i, j, :] = dy64 / (spec.height * spec.width)


def workspace_bytes(kernel: str, spec: PoolSpec | InputSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
