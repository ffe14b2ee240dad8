"""Convolutions of NCHW images in CUDA: the kernels of ``conv.cu`` with other strides."""

from __future__ import annotations

from typing import Any

from fastconv.backends.cupy import conv, strided_conv
from fastconv.backends.cupy.device import Array
from fastconv.spec import ConvSpec, Shape


def _strides_of_nchw(shape: Shape) -> strided_conv.Strides:
    _, height, width, channels = shape
    return channels * height * width, width, 1, height * width


def _geometry(spec: ConvSpec) -> tuple[int, ...]:
    height, width, inputs, _ = spec.w_shape
    return strided_conv.geometry_of(
        spec,
        _strides_of_nchw(spec.x_shape),
        (width, 1, height * width, inputs * height * width),
        _strides_of_nchw(spec.y_shape),
    )


def conv2d_forward(
    spec: ConvSpec,
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    workspace: Array | None,
) -> None:
    """Convolve with a bias."""
    strided_conv.forward(spec, _geometry(spec), x, w, b, y, workspace)


def conv2d_backward(
    spec: ConvSpec,
    dy: Array,
    x: Array,
    w: Array,
    dx: Array | None,
    dw: Array | None,
    db: Array | None,
    workspace: Array | None,
) -> None:
    """Gradients of the input, the weights and the bias: those that are not None."""
    geometry = _geometry(spec)
    if dx is not None:
        strided_conv.backward_data(spec, geometry, dy, w, None, dx, workspace)
    if dw is not None:
        strided_conv.backward_weight(spec, geometry, dy, x, dw, db, workspace)


def conv_transpose2d_forward(
    spec: ConvSpec,
    x: Array,
    w: Array,
    b: Array | None,
    y: Array,
    workspace: Array | None,
) -> None:
    """Add up what each pixel of x spreads over the output, and a bias."""
    strided_conv.backward_data(spec, _geometry(spec), x, w, b, y, workspace)


def conv_transpose2d_backward(
    spec: ConvSpec,
    dy: Array,
    x: Array,
    w: Array,
    dx: Array | None,
    dw: Array | None,
    db: Array | None,
    workspace: Array | None,
) -> None:
    """Gradients of the input, the weights and the bias: those that are not None."""
    geometry = _geometry(spec)
    if dx is not None:
        strided_conv.forward(spec, geometry, dy, w, None, dx, workspace)
    if dw is not None:
        strided_conv.backward_weight(spec, geometry, x, dy, dw, None, workspace)
    if db is not None:
        strided_conv.sum_pixels(spec, geometry, dy, db)


def workspace_bytes(kernel: str, spec: ConvSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: the sums of the parts."""
    if kernel.endswith("_forward"):
        return conv.workspace_bytes(kernel, spec, dtype)
    name = kernel.removesuffix("_backward")
    return max(
        conv.workspace_bytes(f"{name}_backward_{of}", spec, dtype) for of in ("data", "weight")
    )
