"""Depthwise convolutions of NCHW images: a filter over each plane, without another layout."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastconv.functional.arrays import Array, Layout, launch, result_buffer
from fastconv.spec import ConvSpec


def are_planes(spec: ConvSpec, layout: Layout) -> bool:
    """Whether each channel has one filter of its own, in a plane of its own."""
    return layout == "NCHW" and spec.groups == spec.in_channels == spec.out_channels


def forward(
    backend: str | None, spec: ConvSpec, x: Array, w: Array, b: Array | None, out: Array | None
) -> Array:
    """Convolve checked arrays; the parameters are those of :func:`fastconv.conv2d`."""
    shape = spec.batch, spec.out_channels, spec.out_height, spec.out_width
    y = result_buffer(out, shape, x.dtype)
    x, w = np.ascontiguousarray(x), np.ascontiguousarray(w)
    launch(backend, "planes.depthwise_forward", spec, x.dtype, x, w, b, y)
    if out is None or y is out:
        return y
    np.copyto(out, y)
    return out


def backward(
    backend: str | None, spec: ConvSpec, dy: Array, x: Array, w: Array, needs: Sequence[str]
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients that are needed; the parameters are those of :func:`fastconv.conv2d_backward`."""
    dy = np.ascontiguousarray(dy)
    dx = dw = db = None
    if "x" in needs:
        dx = np.empty(x.shape, x.dtype)
        weights = np.ascontiguousarray(w)
        launch(backend, "planes.depthwise_backward_data", spec, x.dtype, dy, weights, dx)
    if "w" in needs:
        dw = np.empty(w.shape, x.dtype)
        db = np.empty(spec.out_channels, x.dtype) if "b" in needs else None
        images = np.ascontiguousarray(x)
        launch(backend, "planes.depthwise_backward_weight", spec, x.dtype, dy, images, dw, db)
    elif "b" in needs:
        with np.errstate(all="ignore"):
            db = dy.sum(axis=(0, 2, 3))
    return dx, dw, db
