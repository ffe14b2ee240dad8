"""Convolutions in CUDA (``kernels/cuda/conv.cu``)."""

from __future__ import annotations

from typing import Any

from fastconv.backends.cupy import strided_conv
from fastconv.backends.cupy.device import Array
from fastconv.spec import ConvSpec


def conv2d_forward(
    spec: ConvSpec,
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    workspace: Array | None,
) -> None:
    """``y = x * w + b``."""
    strided_conv.forward(spec, strided_conv.geometry_of_nhwc(spec), x, w, b, y, workspace)


def conv2d_backward_data(
    spec: ConvSpec,
    dy: Array,
    w: Array,
    dx: Array,
    workspace: Array | None,
) -> None:
    """Gradient of x."""
    strided_conv.backward_data(
        spec, strided_conv.geometry_of_nhwc(spec), dy, w, None, dx, workspace
    )


def conv2d_backward_weight(
    spec: ConvSpec,
    dy: Array,
    x: Array,
    dw: Array,
    db: Array | None,
    workspace: Array | None,
) -> None:
    """Gradients of w and, unless None, of b."""
    strided_conv.backward_weight(
        spec, strided_conv.geometry_of_nhwc(spec), dy, x, dw, db, workspace
    )


def conv_transpose2d_forward(
    spec: ConvSpec,
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    workspace: Array | None,
) -> None:
    """The data gradient of ``spec`` as a layer, plus b."""
    strided_conv.backward_data(spec, strided_conv.geometry_of_nhwc(spec), x, w, b, y, workspace)


def conv_transpose2d_backward_data(
    spec: ConvSpec,
    dy: Array,
    w: Array,
    dx: Array,
    workspace: Array | None,
) -> None:
    """Gradient of x."""
    strided_conv.forward(spec, strided_conv.geometry_of_nhwc(spec), dy, w, None, dx, workspace)


def conv_transpose2d_backward_weight(
    spec: ConvSpec,
    dy: Array,
    x: Array,
    dw: Array,
    db: Array | None,
    workspace: Array | None,
) -> None:
    """Gradients of w and, unless None, of b."""
    geometry = strided_conv.geometry_of_nhwc(spec)
    strided_conv.backward_weight(spec, geometry, x, dy, dw, None, workspace)
    if db is not None:
        strided_conv.sum_pixels(spec, geometry, dy, db)


def workspace_bytes(kernel: str, spec: ConvSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: the sums of the parts."""
    forward, data, weight = strided_conv.workspace_bytes(spec, dtype)
    if kernel in ("conv2d_forward", "conv_transpose2d_backward_data"):
        return forward
    return data if kernel in ("conv2d_backward_data", "conv_transpose2d_forward") else weight
