"""Upsampling, padding and cropping of images on plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from fastconv.functional.array_results import results_like_arguments
from fastconv.functional.arrays import (
    Array,
    Layout,
    check_dimensions,
    check_layout,
    check_shape,
    empty,
    shape_from_nhwc,
    shape_to_nhwc,
    take_floats,
)
from fastconv.functional.images import launch_on_images
from fastconv.plans.resample_operation import ResampleSpec
from fastconv.spec import Shape, SpecError, as_pair, shown


def _is_one_of(value: Any, *names: str) -> bool:
    return isinstance(value, str) and value in names  # arrays are compared element by element


def _upsample_spec(
    owner: str, shape: Shape, scale_factor: Any, mode: Any, align_corners: bool
) -> ResampleSpec:
    if not _is_one_of(mode, "nearest", "bilinear"):
        raise ValueError(f"{owner}: mode is {shown(mode)}; expected 'nearest' or 'bilinear'")
    if align_corners and mode == "nearest":
        raise ValueError(f"{owner}: align_corners is True; expected False with mode 'nearest'")
    n, height, width, channels = shape
    down, across = as_pair(owner, "scale_factor", scale_factor)
    try:
        return ResampleSpec(
            mode, n, height, width, channels, height * down, width * across,
            align_corners=bool(align_corners),
        )  # fmt: skip
    except SpecError as fault:
        raise fault.of(owner) from None


def _pad_spec(owner: str, shape: Shape, padding: Any, mode: Any) -> ResampleSpec:
    if not _is_one_of(mode, "zeros", "reflect"):
        raise ValueError(f"{owner}: mode is {shown(mode)}; expected 'zeros' or 'reflect'")
    least = 0 if mode == "reflect" else None
    pair = tuple(padding) if isinstance(padding, (tuple, list)) else (padding, padding)
    sides = [tuple(s) if isinstance(s, (tuple, list)) else (s, s) for s in pair]
    numbers = [number for side in sides for number in side]
    if (
        [len(side) for side in sides] != [2, 2]
        or any(isinstance(n, bool) or not isinstance(n, int) for n in numbers)
        or (least is not None and min(numbers) < least)
    ):
        kind = "integers" if least is None else "integers of 0 or more"
        raise ValueError(
            f"{owner}: padding is {shown(padding)}; expected {kind}: one, (height, width) or "
            f"((top, bottom), (left, right))"
        )
    (top, bottom), (left, right) = sides
    n, height, width, channels = shape
    try:
        return ResampleSpec(
            mode, n, height, width, channels, height + top + bottom, width + left + right, top,
            left,
        )  # fmt: skip
    except SpecError as fault:
        raise ValueError(f"{owner}: padding is {shown(padding)}; {fault.said}") from None


def _forward(owner: str, x: Array, layout: Layout, backend: str | None, make_spec: Any) -> Array:
    check_layout(owner, layout)
    (x,) = take_floats(owner, x=x)
    check_dimensions(owner, "x", x, layout)
    spec = make_spec(shape_to_nhwc(owner, "x", x.shape, layout))
    y = empty(owner, shape_from_nhwc(spec.y_shape, layout), x)
    launch_on_images(backend, "resample.resample_forward", spec, x.dtype, layout, "rw", x, y)
    return y


def _backward(
    owner: str, dy: Array, x_shape: Sequence[int], layout: Layout, backend: str | None,
    make_spec: Any,
) -> Array:  # fmt: skip
    check_layout(owner, layout)
    (dy,) = take_floats(owner, dy=dy)
    spec = make_spec(shape_to_nhwc(owner, "x_shape", x_shape, layout))
    expected = shape_from_nhwc(spec.y_shape, layout)
    check_shape(owner, "dy", dy, expected, "the shape of the output")
    dx = empty(owner, shape_from_nhwc(spec.x_shape, layout), dy)
    launch_on_images(backend, "resample.resample_backward", spec, dy.dtype, layout, "rw", dy, dx)
    return dx


@results_like_arguments
def upsample2d(
    x: Array,
    scale_factor: Any = 2,
    *,
    mode: Literal["nearest", "bilinear"] = "nearest",
    align_corners: bool = False,
    layout: Layout = "NCHW",
    backend: str | None = None,
) -> Array:
    """Make images larger, by PyTorch's rules.

    Parameters
    ----------
    x
        Images in ``layout``; float32 or float64.
    scale_factor
        An integer, or (height, width).
    mode
        "nearest": every pixel as often; "bilinear": mixed with its neighbours.
    align_corners
        Of bilinear: whether the pixels at the corners keep their values.
    layout, backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        The images.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array, or out of range, here and in the functions below.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.upsample2d(np.array([[[[1.0, 3.0]]]]), (1, 2), mode="bilinear")
    array([[[[1. , 1.5, 2.5, 3. ]]]])
    """
    owner = "upsample2d"
    return _forward(
        owner, x, layout, backend,
        lambda shape: _upsample_spec(owner, shape, scale_factor, mode, align_corners),
    )  # fmt: skip


@results_like_arguments
def upsample2d_backward(
    dy: Array,
    x_shape: Sequence[int],
    scale_factor: Any = 2,
    *,
    mode: Literal["nearest", "bilinear"] = "nearest",
    align_corners: bool = False,
    layout: Layout = "NCHW",
    backend: str | None = None,
) -> Array:
    """Gradient of :func:`upsample2d` with respect to x.

    Parameters
    ----------
    dy
        Gradient with respect to the output.
    x_shape
        Shape of x.
    scale_factor, mode, align_corners, layout, backend
        As they were given to :func:`upsample2d`.

    Returns
    -------
    ndarray
        In the shape of x.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.upsample2d_backward(np.ones((1, 1, 2, 2)), (1, 1, 1, 1))
    array([[[[4.]]]])
    """
    owner = "upsample2d_backward"
    return _backward(
        owner, dy, x_shape, layout, backend,
        lambda shape: _upsample_spec(owner, shape, scale_factor, mode, align_corners),
    )  # fmt: skip


@results_like_arguments
def pad2d(
    x: Array,
    padding: Any,
    *,
    mode: Literal["zeros", "reflect"] = "zeros",
    layout: Layout = "NCHW",
    backend: str | None = None,
) -> Array:
    """Pad images, or crop them where a padding is negative.

    Parameters
    ----------
    x, layout, backend
        As for :func:`upsample2d`.
    padding
        Pixels at every side, (height, width) or ((top, bottom), (left, right)); below 0 they are
        cut off.
    mode
        "zeros", or "reflect": mirrored, where the pixels at the border are not repeated.

    Returns
    -------
    ndarray
        The images.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.pad2d(np.array([[[[1.0, 2.0, 3.0]]]]), ((0, 0), (2, -1)))
    array([[[[0., 0., 1., 2.]]]])
    """
    owner = "pad2d"
    return _forward(owner, x, layout, backend, lambda shape: _pad_spec(owner, shape, padding, mode))


@results_like_arguments
def pad2d_backward(
    dy: Array,
    x_shape: Sequence[int],
    padding: Any,
    *,
    mode: Literal["zeros", "reflect"] = "zeros",
    layout: Layout = "NCHW",
    backend: str | None = None,
) -> Array:
    """Gradient of :func:`pad2d` with respect to x.

    Parameters
    ----------
    dy
        Gradient with respect to the output.
    x_shape
        Shape of x.
    padding, mode, layout, backend
        As they were given to :func:`pad2d`.

    Returns
    -------
    ndarray
        In the shape of x.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.pad2d_backward(np.ones((1, 1, 3, 4)), (1, 1, 1, 2), 1)
    array([[[[1., 1.]]]])
    """
    owner = "pad2d_backward"
    return _backward(
        owner, dy, x_shape, layout, backend, lambda shape: _pad_spec(owner, shape, padding, mode)
    )
