"""Depthwise convolutions of NCHW images: shifted planes times numbers, tap by tap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.spec import ConvSpec, tap_range

_Index = tuple[slice, ...]


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


def _planes_shape(spec: ConvSpec) -> tuple[int, ...]:
    return spec.batch, spec.out_channels, spec.out_height, spec.out_width


def depthwise_forward(
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


def depthwise_backward_data(
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


def depthwise_backward_weight(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Gradients of the weights and, unless None, the bias.

    Row by row: short float32 sums, added up, lose less than one long sum.
    """
    rows = Carver(workspace).take(dy.shape[:3], dy.dtype)
    dw.fill(0)
    for kh, kw, outputs, pixels in _taps(spec):
        part = rows[outputs[:3]]
        np.einsum("nchw,nchw->nch", x[pixels], dy[outputs], out=part)
        np.add.reduce(part, axis=(0, 2), out=dw[:, 0, kh, kw])
    if db is not None:
        np.add.reduce(dy, axis=3, out=rows)
        np.add.reduce(rows, axis=(0, 2), out=db)


def workspace_bytes(kernel: str, spec: ConvSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    shape = _planes_shape(spec)
    return size_of(shape[:3] if kernel == "depthwise_backward_weight" else shape, dtype)
