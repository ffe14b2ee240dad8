"""Convolutions in CUDA with images and weights of any strides.

They are products (``kernels/cuda/conv.cu``), but those of many small groups, depthwise ones above
all, are summed directly (``direct_conv.cu``): they would fill a few columns of a product's tiles.
"""

from __future__ import annotations

import math
from typing import Any

from fastconv.backends.cupy import products
from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import (
    THREADS,
    check_size,
    launch,
    launch_elements,
    numbers_of,
)
from fastconv.backends.cupy.products import CountedWorkspace, Product
from fastconv.plans.operation import ActivationSpec
from fastconv.spec import ConvSpec, Shape

Strides = tuple[int, int, int, int]

_FEW_CHANNELS = 8
"""Most channels of a group up to which convolutions in groups are summed directly."""


def geometry_of(spec: ConvSpec, x: Strides, w: Strides, y: Strides) -> tuple[int, ...]:
    """Return what every kernel begins with.

    Parameters
    ----------
    spec
        The convolution.
    x, y
        Elements from one sample, row, column and channel to the next.
    w
        Elements from one row, column, input and output channel to the next.
    """
    return (
        spec.batch, spec.groups,
        spec.in_channels // spec.groups, spec.out_channels // spec.groups,
        spec.height, spec.width, spec.out_height, spec.out_width,
        *spec.kernel, *spec.stride, *spec.dilation, spec.padding[0][0], spec.padding[1][0],
        *x, *w, *y,
    )  # fmt: skip


def _strides_of_images(shape: Shape) -> Strides:
    _, height, width, channels = shape
    return height * width * channels, width * channels, channels, 1


def geometry_of_nhwc(spec: ConvSpec) -> tuple[int, ...]:
    """Return the geometry of images in NHWC and weights in HWIO."""
    _, width, inputs, outputs = spec.w_shape
    return geometry_of(
        spec,
        _strides_of_images(spec.x_shape),
        (width * inputs * outputs, inputs * outputs, outputs, 1),
        _strides_of_images(spec.y_shape),
    )


def _forward_product(spec: ConvSpec) -> Product:
    """Output pixels times output channels, summed over taps and input channels."""
    depth = spec.kernel[0] * spec.kernel[1] * (spec.in_channels // spec.groups)
    pixels = spec.batch * spec.out_height * spec.out_width
    return Product(pixels, spec.out_channels // spec.groups, depth, spec.groups)


def _data_product(spec: ConvSpec) -> Product:
    """Input pixels times input channels, summed over taps and output channels."""
    depth = spec.kernel[0] * spec.kernel[1] * (spec.out_channels // spec.groups)
    pixels = spec.batch * spec.height * spec.width
    return Product(pixels, spec.in_channels // spec.groups, depth, spec.groups)


def _weight_product(spec: ConvSpec, bias: bool) -> Product:
    """Taps and input channels, and one for the bias, times output channels, over all pixels."""
    rows = spec.kernel[0] * spec.kernel[1] * (spec.in_channels // spec.groups) + bias
    pixels = spec.batch * spec.out_height * spec.out_width
    return Product(rows, spec.out_channels // spec.groups, pixels, spec.groups)


def _runs(geometry: tuple[int, ...], *names: str) -> tuple[int, ...]:
    """Return the strides of the runs of channels in which a product reads ``names``, or ().

    Those of w are its output channels.
    """
    inputs, outputs = geometry[2:4]
    of = {"x": (inputs, *geometry[16:20]), "w": (outputs, *geometry[20:24]),
          "y": (outputs, *geometry[24:28])}  # fmt: skip
    strides: tuple[int, ...] = ()
    for name in names:
        *others, beside = of[name]
        if beside != 1:
            return ()
        strides += tuple(others)
    return strides


def is_direct(spec: ConvSpec) -> bool:
    """Whether a convolution is summed directly.

    Examples
    --------
    >>> is_direct(ConvSpec(1, 32, 8, 8, 32, kernel=(3, 3), groups=32))
    True
    >>> is_direct(ConvSpec(1, 32, 8, 8, 32, kernel=(3, 3)))
    False
    """
    most = max(spec.in_channels, spec.out_channels) // spec.groups
    return spec.groups > 1 and most <= _FEW_CHANNELS


def workspace_bytes(spec: ConvSpec, dtype: Any) -> tuple[int, int, int]:
    """Bytes of workspace of :func:`forward`, :func:`backward_data` and :func:`backward_weight`."""
    if is_direct(spec):
        return 0, 0, 0
    weight = max(_weight_product(spec, bias).workspace_bytes(dtype) for bias in (False, True))
    return (
        _forward_product(spec).workspace_bytes(dtype),
        _data_product(spec).workspace_bytes(dtype),
        weight,
    )


def _check_images(kernel: str, spec: ConvSpec) -> None:
    """Raise a ValueError where 32-bit indices would not reach all elements of an image."""
    for name, shape in (("x", spec.x_shape), ("y", spec.y_shape)):
        check_size(kernel, **{name: math.prod(shape)})


def forward(spec: ConvSpec, geometry: tuple[int, ...], x: Array, w: Array, b: Array | None,
            y: Array, workspace: Array | None,
            activation: ActivationSpec | None = None) -> None:  # fmt: skip
    """Convolve images and weights of any strides; an activation may follow."""
    _check_images("conv2d_forward", spec)
    if is_direct(spec):
        count = math.prod(spec.y_shape)
        launch_elements(
            "direct_conv.direct_forward", count, *geometry, *numbers_of(activation), x, w, b, y,
            dtype=y.dtype,
        )  # fmt: skip
        return
    product = _forward_product(spec)
    product.run(
        "conv.conv2d_forward", geometry, (x, w), (b, y), workspace, y.dtype,
        numbers_of(activation), strides=_runs(geometry, "x", "w"),
    )  # fmt: skip


def pooled_forward(spec: ConvSpec, geometry: tuple[int, ...], x: Array, w: Array, b: Array | None,
                   y: Array | None, pooled: Array, where: Array, workspace: CountedWorkspace,
                   activation: ActivationSpec) -> None:  # fmt: skip
    """Convolve, activate and pool windows of 2x2 that cover the image; never summed directly."""
    _check_images("pooled_conv2d_forward", spec)
    # The tiles and parts of the convolution by itself, and so its sums.
    _forward_product(spec).run(
        "pooled_conv.pooled_conv2d_forward", geometry, (x, w), (b, y, pooled, where), workspace,
        pooled.dtype, numbers_of(activation), strides=_runs(geometry, "x", "w"),
    )  # fmt: skip


def backward_data(spec: ConvSpec, geometry: tuple[int, ...], dy: Array, w: Array, b: Array | None,
                  dx: Array, workspace: Array | None, activation: ActivationSpec | None = None,
                  kept: Array | None = None) -> None:  # fmt: skip
    """Compute the gradient of the images plus a bias, with any strides.

    An activation in front of the convolution, which keeps ``kept``, may follow: only where
    its strides are those of ``dx``.
    """
    _check_images("conv2d_backward_data", spec)
    if is_direct(spec):
        launch_elements(
            "direct_conv.direct_backward_data", math.prod(spec.x_shape), *geometry,
            *numbers_of(activation), dy, w, b, kept, dx, dtype=dx.dtype,
        )  # fmt: skip
        return
    product = _data_product(spec)
    product.run(
        "conv.conv2d_backward_data", geometry, (dy, w), (b, kept, dx), workspace, dx.dtype,
        numbers_of(activation), strides=_runs(geometry, "y", "w"),
    )  # fmt: skip


def backward_weight(spec: ConvSpec, geometry: tuple[int, ...], dy: Array, x: Array, dw: Array,
                    db: Array | None, workspace: Array | None) -> None:  # fmt: skip
    """Compute the gradients of weights and bias, with any strides."""
    _check_images("conv2d_backward_weight", spec)
    if is_direct(spec):
        blocks = math.prod(spec.w_shape) + (0 if db is None else spec.out_channels)
        launch(
            "direct_conv.direct_backward_weight", (blocks,), (THREADS,), *geometry, dy, x, dw, db,
            dtype=dw.dtype,
        )  # fmt: skip
        return
    product = _weight_product(spec, db is not None)
    product.run(
        "conv.conv2d_backward_weight", geometry, (dy, x), (dw, db), workspace, dw.dtype,
        strides=_runs(geometry, "y", "x"),
    )  # fmt: skip


def sum_pixels(spec: ConvSpec, geometry: tuple[int, ...], x: Array, db: Array) -> None:
    """Sum over all pixels of an image of the size of x, with any strides."""
    _check_images("sum_pixels", spec)
    launch(
        "conv.sum_pixels", (spec.in_channels,), (products.THREADS,), *geometry, x, db,
        dtype=db.dtype,
    )  # fmt: skip
