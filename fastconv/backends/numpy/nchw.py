"""Convolutions of NCHW images.

Depthwise ones are shifted planes times numbers, tap by tap; all others are transposed to NHWC
and back, in the workspace.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv.backends.numpy import conv
from fastconv.backends.numpy.sums import sum_nchw
from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.spec import ConvSpec, tap_range

_Index = tuple[slice, ...]
_LAST, _FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
"""Axes of NCHW in the order of NHWC, and the other way."""
_HWIO, _OIHW = (2, 3, 1, 0), (3, 2, 0, 1)
"""The same for weights."""


def _has_one_filter_per_channel(spec: ConvSpec) -> bool:
    """Whether each channel has one filter of its own."""
    return spec.groups == spec.in_channels == spec.out_channels


def _taps(spec: ConvSpec) -> Iterator[tuple[int, int, _Index, _Index]]:
    """Each tap (kh, kw) that meets the image, with the outputs and the pixels that it joins."""
    for kh in range(spec.kernel[0]):
        for kw in range(spec.kernel[1]):
            outputs: list[slice] = [slice(None), slice(None)]
            pixels = list(outputs)
            sizes = (spec.out_height, spec.height), (spec.out_width, spec.width)
            for axis, (tap, (count, size)) in enumerate(zip((kh, kw), sizes, strict=True)):
                stride, before = spec.stride[axis], spec.padding[axis][0]
                offset = tap * spec.dilation[axis]
                first, end = tap_range(count, size, stride, before, offset)
                outputs.append(slice(first, end))
                start = first * stride - before + offset
                pixels.append(slice(start, start + (end - first - 1) * stride + 1, stride))
                if first == end:
                    break
            else:
                yield kh, kw, tuple(outputs), tuple(pixels)


def _y_shape(spec: ConvSpec) -> tuple[int, ...]:
    return spec.batch, spec.out_channels, spec.out_height, spec.out_width


def _depthwise_forward(
    spec: ConvSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Filter each channel of each sample: ``y = x * w + b``."""
    product = Carver(workspace).take(y.shape, y.dtype)
    y[...] = 0 if b is None else b[:, None, None]
    for kh, kw, outputs, pixels in _taps(spec):
        np.multiply(x[pixels], w[:, :, kh, kw, None], out=product[outputs])
        np.add(y[outputs], product[outputs], out=y[outputs])


def _depthwise_backward_data(
    spec: ConvSpec,
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Gradient of the input: for each tap, planes of dy are added to the pixels that it read."""
    product = Carver(workspace).take(dy.shape, dy.dtype)
    dx.fill(0)
    for kh, kw, outputs, pixels in _taps(spec):
        np.multiply(dy[outputs], w[:, :, kh, kw, None], out=product[outputs])
        np.add(dx[pixels], product[outputs], out=dx[pixels])


def _depthwise_backward_weight(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Gradients of the weights and, unless None, the bias.

    Row by row: a short sum in float32 loses little, and those of the rows are added in float64.
    """
    rows = Carver(workspace).take(dy.shape[:3], dy.dtype)
    dw.fill(0)
    for kh, kw, outputs, pixels in _taps(spec):
        part = rows[outputs[:3]]
        np.einsum("nchw,nchw->nch", x[pixels], dy[outputs], out=part)
        dw[:, 0, kh, kw] = np.add.reduce(part, axis=(0, 2), dtype=np.float64)
    if db is not None:
        np.copyto(db, sum_nchw(dy))


class _Turned:
    """Arrays transposed in a workspace, which the kernel behind them shares."""

    def __init__(self, workspace: np.ndarray | None) -> None:
        self._carver, self._workspace, self._bytes = Carver(workspace), workspace, 0

    def room(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return a new array."""
        self._bytes += size_of(shape, dtype)
        return self._carver.take(shape, dtype)

    def copy(self, array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        """Return an array with its axes in another order, C-contiguous."""
        transposed = array.transpose(axes)
        copy = self.room(transposed.shape, array.dtype)
        np.copyto(copy, transposed)
        return copy

    def rest(self) -> np.ndarray | None:
        """Return what is left of the workspace."""
        return None if self._workspace is None else self._workspace[self._bytes :]


def conv2d_forward(
    spec: ConvSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Convolve: ``y = x * w + b``."""
    if _has_one_filter_per_channel(spec):
        _depthwise_forward(spec, x, w, b, y, workspace)
        return
    _forward(conv.conv2d_forward, spec, x, w, b, y, workspace)


def _forward(
    kernel: Any, spec: ConvSpec, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:  # fmt: skip
    """Call a kernel of NHWC images."""
    turned = _Turned(workspace)
    images, weights = turned.copy(x, _LAST), turned.copy(w, _HWIO)
    result = turned.room(y.transpose(_LAST).shape, y.dtype)
    kernel(spec, images, weights, b, result, turned.rest())
    np.copyto(y, result.transpose(_FIRST))


def conv2d_backward(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray | None,
    dw: np.ndarray | None,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Gradients of the input, the weights and the bias: those that are not None."""
    if _has_one_filter_per_channel(spec):
        if dx is not None:
            _depthwise_backward_data(spec, dy, w, dx, workspace)
        if dw is not None:
            _depthwise_backward_weight(spec, dy, x, dw, db, workspace)
        return
    _backward(
        conv.conv2d_backward_data, conv.conv2d_backward_weight, spec, dy, x, w, dx, dw, db,
        workspace,
    )  # fmt: skip


def _backward(
    of_data: Any, of_weight: Any, spec: ConvSpec, dy: np.ndarray, x: np.ndarray, w: np.ndarray,
    dx: np.ndarray | None, dw: np.ndarray | None, db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:  # fmt: skip
    """Call two kernels of NHWC images, one after the other in the same memory."""
    turned = _Turned(workspace)
    gradients, images = turned.copy(dy, _LAST), turned.copy(x, _LAST)
    weights = turned.copy(w, _HWIO)
    if dw is not None:
        dw_hwio = turned.room(weights.shape, dw.dtype)
        of_weight(spec, gradients, images, dw_hwio, db, turned.rest())
        np.copyto(dw, dw_hwio.transpose(_OIHW))
    if dx is not None:
        # What has been read of x is overwritten with its gradient.
        of_data(spec, gradients, weights, images, turned.rest())
        np.copyto(dx, images.transpose(_FIRST))


def conv_transpose2d_forward(
    spec: ConvSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Transposed convolution: the data gradient of the convolution ``spec``, plus a bias."""
    _forward(conv.conv_transpose2d_forward, spec, x, w, b, y, workspace)


def conv_transpose2d_backward(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray | None,
    dw: np.ndarray | None,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Gradients of the input, the weights and the bias: those that are not None."""
    _backward(
        conv.conv_transpose2d_backward_data, conv.conv_transpose2d_backward_weight, spec, dy, x, w,
        dx, dw, db, workspace,
    )  # fmt: skip


def workspace_bytes(kernel: str, spec: ConvSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    if _has_one_filter_per_channel(spec) and kernel in ("conv2d_forward", "conv2d_backward"):
        return size_of(_y_shape(spec), dtype)
    arrays = [spec.x_shape, spec.y_shape, spec.w_shape]
    kernels = [kernel]
    if kernel.endswith("backward"):
        arrays.append(spec.w_shape)
        kernels = [f"{kernel}_data", f"{kernel}_weight"]
    turned = sum(size_of(shape, dtype) for shape in arrays)
    return turned + max(conv.workspace_bytes(each, spec, dtype) for each in kernels)
