"""2-D pooling on plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.functional.array_results import results_like_arguments
from fastconv.functional.array_types import module_of
from fastconv.functional.arrays import (
    Array,
    Layout,
    check_dimensions,
    check_layout,
    check_range,
    check_shape,
    dense,
    empty,
    shape_from_nhwc,
    shape_to_nhwc,
    take_floats,
    take_returned,
)
from fastconv.functional.images import launch_on_images
from fastconv.plans.operation import InputSpec
from fastconv.spec import PoolSpec, SpecError, as_pair, resolve_padding

_NAMES = {
    "batch": "the batch of x", "channels": "the number of channels of x",
    "height": "the height of x", "width": "the width of x",
}  # fmt: skip
"""Names of fields of the spec that come from the shape of an argument."""


def pool_spec(
    owner: str,
    shape: Sequence[int],
    kernel: object,
    stride: object,
    padding: object,
    ceil_mode: bool,
    count_include_pad: bool,
    layout: Layout,
) -> PoolSpec:
    """Make the spec of a pooling of images of a shape in ``layout``."""
    check_layout(owner, layout)
    n, h, w, c = shape_to_nhwc(owner, "the shape of x", shape, layout)
    window = as_pair(owner, "kernel", kernel)
    strides = window if stride is None else as_pair(owner, "stride", stride)
    sides = resolve_padding(owner, padding, (h, w), window, strides)
    if h * w >= 2**31:
        raise ValueError(
            f"{owner}: x has {h} x {w} pixels; expected fewer than 2**31 (indices are int32)"
        )
    try:
        return PoolSpec(n, c, h, w, window, strides, sides, ceil_mode, count_include_pad)
    except SpecError as fault:
        raise fault.of(owner, **_NAMES) from None


def input_spec(owner: str, name: str, shape: Sequence[int], layout: Layout) -> InputSpec:
    """Check the shape of images and make their spec."""
    try:
        return InputSpec(*shape_to_nhwc(owner, name, shape, layout))
    except SpecError as fault:
        raise fault.of(owner, **_NAMES) from None


@results_like_arguments
def max_pool2d(
    x: Array,
    kernel: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    layout: Layout = "NCHW",
    backend: str | None = None,
) -> tuple[Array, Array]:
    """Largest pixel of each window, and where it is.

    Parameters
    ----------
    x
        Images, float32 or float64, in ``layout``.
    kernel
        Size of the window: an int or (height, width).
    stride
        An int or (height, width); None takes the kernel's size.
    padding
        Minus infinity around x, less than the kernel: an int, (height, width), ((top, bottom),
        (left, right)), "same" or "valid".
    ceil_mode
        Round the output size up instead of down.
    layout, backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    y
        The largest pixels; a NaN counts as largest.
    where
        int32, the shape of y: flat index of that pixel in the unpadded H*W plane; the first one
        where several are equal. :func:`max_pool2d_backward` needs it.

    Raises
    ------
    TypeError, ValueError
        If x is no such array, or the window does not fit.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> y, where = fastconv.max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    >>> y[0, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    >>> where[0, 0]
    array([[ 5,  7],
           [13, 15]], dtype=int32)
    """
    check_layout("max_pool2d", layout)
    (x,) = take_floats("max_pool2d", x=x)
    check_dimensions("max_pool2d", "x", x, layout)
    spec = pool_spec("max_pool2d", x.shape, kernel, stride, padding, ceil_mode, True, layout)
    shape = shape_from_nhwc(spec.y_shape, layout)
    y, where = empty("max_pool2d", shape, x), empty("max_pool2d", shape, x, np.int32)
    launch_on_images(backend, "pool.max_pool2d_forward", spec, x.dtype, layout, "rww", x, y, where)
    return y, where


@results_like_arguments
def max_pool2d_backward(
    dy: Array,
    where: Array,
    x_shape: Sequence[int],
    kernel: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    layout: Layout = "NCHW",
    backend: str | None = None,
) -> Array:
    """Gradient of :func:`max_pool2d`: each window's gradient goes to the pixel it took.

    Parameters
    ----------
    dy
        Gradient with respect to the output, in the output's shape.
    where
        As :func:`max_pool2d` returned it. On a CUDA device nobody looks at it: the gradient of a
        window whose place is outside of it is lost.
    x_shape
        Shape of x, in ``layout``.
    kernel, stride, padding, ceil_mode, layout, backend
        As they were given to :func:`max_pool2d`.

    Returns
    -------
    ndarray
        Gradient with respect to x.

    Raises
    ------
    TypeError, ValueError
        If the shapes do not fit together.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> y, where = fastconv.max_pool2d(np.array([[[[1.0, 3.0], [2.0, 0.0]]]]), 2)
    >>> fastconv.max_pool2d_backward(np.array([[[[5.0]]]]), where, (1, 1, 2, 2), 2)[0, 0]
    array([[0., 5.],
           [0., 0.]])
    """
    owner = "max_pool2d_backward"
    (dy,) = take_floats(owner, dy=dy)
    spec = pool_spec(owner, x_shape, kernel, stride, padding, ceil_mode, True, layout)
    shape = shape_from_nhwc(spec.y_shape, layout)
    check_shape(owner, "dy", dy, shape, "the shape of max_pool2d's result")
    where = take_returned(owner, "where", where, np.int32, "max_pool2d", "dy", dy)
    if isinstance(where, np.ndarray):
        check_range(owner, "where", where, spec.height * spec.width, ", pixels of x")
    dx = empty(owner, shape_from_nhwc(spec.x_shape, layout), dy)
    launch_on_images(
        backend, "pool.max_pool2d_backward", spec, dy.dtype, layout, "rrw", dy, where, dx
    )
    return dx


@results_like_arguments
def avg_pool2d(
    x: Array,
    kernel: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    layout: Layout = "NCHW",
    backend: str | None = None,
) -> Array:
    """Mean of each window.

    Parameters
    ----------
    x, kernel, stride, ceil_mode, layout, backend
        As for :func:`max_pool2d`.
    padding
        Zeros around x, less than the kernel; forms as for :func:`max_pool2d`.
    count_include_pad
        Divide by the window's size with its padding, instead of by its number of pixels.

    Returns
    -------
    ndarray
        The means, in the layout and dtype of x.

    Raises
    ------
    TypeError, ValueError
        If x is no such array, or the window does not fit.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)[0, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    owner = "avg_pool2d"
    check_layout(owner, layout)
    (x,) = take_floats(owner, x=x)
    check_dimensions(owner, "x", x, layout)
    spec = pool_spec(owner, x.shape, kernel, stride, padding, ceil_mode, count_include_pad, layout)
    y = empty(owner, shape_from_nhwc(spec.y_shape, layout), x)
    launch_on_images(backend, "pool.avg_pool2d_forward", spec, x.dtype, layout, "rw", x, y)
    return y


@results_like_arguments
def avg_pool2d_backward(
    dy: Array,
    x_shape: Sequence[int],
    kernel: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    layout: Layout = "NCHW",
    backend: str | None = None,
) -> Array:
    """Gradient of :func:`avg_pool2d`: each window's gradient is spread evenly over its pixels.

    Parameters
    ----------
    dy
        Gradient with respect to the output, in the output's shape.
    x_shape
        Shape of x, in ``layout``.
    kernel, stride, padding, ceil_mode, count_include_pad, layout, backend
        As they were given to :func:`avg_pool2d`.

    Returns
    -------
    ndarray
        Gradient with respect to x.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.avg_pool2d_backward(np.array([[[[4.0]]]]), (1, 1, 2, 2), 2)[0, 0]
    array([[1., 1.],
           [1., 1.]])
    """
    owner = "avg_pool2d_backward"
    (dy,) = take_floats(owner, dy=dy)
    spec = pool_spec(owner, x_shape, kernel, stride, padding, ceil_mode, count_include_pad, layout)
    shape = shape_from_nhwc(spec.y_shape, layout)
    check_shape(owner, "dy", dy, shape, "the shape of avg_pool2d's result")
    dx = empty(owner, shape_from_nhwc(spec.x_shape, layout), dy)
    launch_on_images(backend, "pool.avg_pool2d_backward", spec, dy.dtype, layout, "rw", dy, dx)
    return dx


@results_like_arguments
def global_avg_pool2d(x: Array, *, layout: Layout = "NCHW", backend: str | None = None) -> Array:
    """Mean over all pixels of each channel.

    Parameters
    ----------
    x
        Images, float32 or float64, in ``layout``.
    layout, backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        (N, C).

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.global_avg_pool2d(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[1.5, 5.5]])
    """
    owner = "global_avg_pool2d"
    check_layout(owner, layout)
    (x,) = take_floats(owner, x=x)
    check_dimensions(owner, "x", x, layout)
    spec = input_spec(owner, "x", x.shape, layout)
    y: Array = module_of(x).empty((spec.batch, spec.channels), x.dtype)
    launch_on_images(backend, "pool.global_avg_pool2d_forward", spec, x.dtype, layout, "r.", x, y)
    return y


@results_like_arguments
def global_avg_pool2d_backward(
    dy: Array, x_shape: Sequence[int], *, layout: Layout = "NCHW", backend: str | None = None
) -> Array:
    """Gradient of :func:`global_avg_pool2d`.

    Parameters
    ----------
    dy
        (N, C).
    x_shape
        Shape of x, in ``layout``.
    layout, backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        Gradient with respect to x.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.global_avg_pool2d_backward(np.array([[8.0]]), (1, 1, 2, 2))[0, 0]
    array([[2., 2.],
           [2., 2.]])
    """
    owner = "global_avg_pool2d_backward"
    check_layout(owner, layout)
    (dy,) = take_floats(owner, dy=dy)
    spec = input_spec(owner, "x_shape", x_shape, layout)
    check_shape(owner, "dy", dy, (spec.batch, spec.channels), "(N, C) of x_shape")
    dx = empty(owner, shape_from_nhwc(spec.x_shape, layout), dy)
    kernel = "pool.global_avg_pool2d_backward"
    launch_on_images(backend, kernel, spec, dy.dtype, layout, ".w", dense(dy), dx)
    return dx
