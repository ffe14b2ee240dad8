"""Sums, products and concatenations of plain arrays, with their gradients.

What merges the branches of a network: a residual sum, a squeeze-and-excitation's product, the
channels of two branches side by side.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import cast

from fastconv.functional.array_results import results_like_arguments
from fastconv.functional.arrays import (
    Array,
    Layout,
    check_layout,
    check_needs,
    check_shape,
    dense,
    empty,
    launch,
    take_floats,
)
from fastconv.functional.images import launch_on_images
from fastconv.plans.merging import BroadcastSpec, ConcatenateSpec
from fastconv.spec import Shape, SpecError

_BOTH = ("x1", "x2")


def _spec(owner: str, shape: Shape, other: Shape, layout: Layout) -> BroadcastSpec:
    """Say which element of ``x2`` each one of ``x1`` meets, or that they do not fit."""
    check_layout(owner, layout)
    if other == shape:
        return BroadcastSpec(math.prod(shape), 1, 1)
    expected = f"{shape}, the shape of x1"
    if len(shape) == 4:
        sizes = dict(zip(layout, shape, strict=True))
        small = tuple(1 if axis in "HW" else sizes[axis] for axis in layout)
        if other == small:
            try:
                return BroadcastSpec(
                    sizes["N"], sizes["H"] * sizes["W"], sizes["C"], per_channel=True
                )
            except SpecError as fault:
                raise fault.of(owner) from None
        expected += f", or {small}, one number for each channel ({layout})"
    raise ValueError(f"{owner}: x2 has shape {other}; expected {expected}")


def _merge(operation: str, x1: Array, x2: Array, layout: Layout, backend: str | None) -> Array:
    x1, x2 = take_floats(operation, x1=x1, x2=x2)
    spec = _spec(operation, x1.shape, x2.shape, layout)
    kernel = f"merge.{operation}_forward"
    y = empty(operation, x1.shape, x1)
    if spec.per_channel:
        numbers = dense(x2).reshape(spec.x2_shape)
        launch_on_images(backend, kernel, spec, x1.dtype, layout, "r.w", x1, numbers, y)
    else:
        launch(backend, kernel, spec, x1.dtype, dense(x1), dense(x2), dense(y))
    return y


def _gradients(
    owner: str, needs: Sequence[str], dy: Array, other: Shape
) -> tuple[Array | None, Array | None]:
    """Room for the gradients that are needed."""
    check_needs(owner, needs, _BOTH)
    dx1 = empty(owner, dy.shape, dy) if "x1" in needs else None
    dx2 = empty(owner, other, dy) if "x2" in needs else None
    return dx1, dx2


def _flat(*gradients: Array | None) -> list[Array | None]:
    """New arrays as a kernel takes them."""
    return [None if each is None else dense(each) for each in gradients]


def _rows(spec: BroadcastSpec, dx2: Array | None) -> Array | None:
    """A gradient of one number for each channel as a kernel writes it."""
    return None if dx2 is None else dx2.reshape(spec.x2_shape)


@results_like_arguments
def add(x1: Array, x2: Array, *, layout: Layout = "NCHW", backend: str | None = None) -> Array:
    """``x1 + x2``: elementwise, or one number for each channel of each sample.

    Parameters
    ----------
    x1
        Any shape, float32 or float64.
    x2
        The shape of x1; or beside images, (N, C, 1, 1) in layout NCHW and (N, 1, 1, C) in NHWC.
    layout
        Of images, where x2 has one number for each channel.
    backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        In the shape of x1.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array, or the shapes do not fit together, here and in the
        functions below.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.add(np.array([1.0, 2.0]), np.array([10.0, 20.0]))
    array([11., 22.])
    """
    return _merge("add", x1, x2, layout, backend)


@results_like_arguments
def add_backward(
    dy: Array,
    x2_shape: Sequence[int] | None = None,
    *,
    needs: Sequence[str] = _BOTH,
    layout: Layout = "NCHW",
    backend: str | None = None,
) -> tuple[Array | None, Array | None]:
    """Gradients of :func:`add` with respect to x1 and x2.

    Parameters
    ----------
    dy
        Gradient with respect to the sum.
    x2_shape
        Shape of x2; None: that of x1.
    needs
        Which gradients to compute, of "x1" and "x2".
    layout, backend
        As they were given to :func:`add`.

    Returns
    -------
    dx1, dx2
        In the shapes of x1 and x2; None where not needed. For an x2 of one number for each channel,
        the sum over the pixels.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> dx1, dx2 = fastconv.add_backward(np.ones((1, 2, 3, 3)), (1, 2, 1, 1))
    >>> dx1.shape, dx2.ravel()
    ((1, 2, 3, 3), array([9., 9.]))
    """
    owner, kernel = "add_backward", "merge.add_backward"
    (dy,) = take_floats(owner, dy=dy)
    try:
        other = dy.shape if x2_shape is None else tuple(map(operator.index, x2_shape))
    except TypeError:
        raise TypeError(f"{owner}: x2_shape is {x2_shape!r}; expected a tuple of sizes") from None
    spec = _spec(owner, dy.shape, other, layout)
    dx1, dx2 = _gradients(owner, needs, dy, other)
    if spec.per_channel:
        rows = _rows(spec, dx2)
        launch_on_images(backend, kernel, spec, dy.dtype, layout, "rw.", dy, dx1, rows)
    else:
        launch(backend, kernel, spec, dy.dtype, dense(dy), *_flat(dx1, dx2))
    return dx1, dx2


@results_like_arguments
def multiply(x1: Array, x2: Array, *, layout: Layout = "NCHW", backend: str | None = None) -> Array:
    """``x1 * x2``; parameters as for :func:`add`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> images, factors = np.ones((1, 2, 2, 2)), np.array([3.0, 5.0]).reshape(1, 2, 1, 1)
    >>> fastconv.multiply(images, factors)[0, :, 0, 0]
    array([3., 5.])
    """
    return _merge("multiply", x1, x2, layout, backend)


@results_like_arguments
def multiply_backward(
    dy: Array,
    x1: Array,
    x2: Array,
    *,
    needs: Sequence[str] = _BOTH,
    layout: Layout = "NCHW",
    backend: str | None = None,
) -> tuple[Array | None, Array | None]:
    """Gradients of :func:`multiply` with respect to x1 and x2.

    Parameters
    ----------
    dy
        Gradient with respect to the product.
    x1, x2, layout, backend
        As they were given to :func:`multiply`.
    needs
        Which gradients to compute, of "x1" and "x2".

    Returns
    -------
    dx1, dx2
        In the shapes of x1 and x2; None where not needed. For an x2 of one number for each channel,
        the sum over the pixels.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.multiply_backward(np.ones(2), np.array([1.0, 2.0]), np.array([3.0, 5.0]))
    (array([3., 5.]), array([1., 2.]))
    """
    owner, kernel = "multiply_backward", "merge.multiply_backward"
    dy, x1, x2 = take_floats(owner, dy=dy, x1=x1, x2=x2)
    spec = _spec(owner, x1.shape, x2.shape, layout)
    check_shape(owner, "dy", dy, x1.shape, "the shape of x1")
    dx1, dx2 = _gradients(owner, needs, dy, x2.shape)
    if spec.per_channel:
        launch_on_images(
            backend, kernel, spec, dy.dtype, layout, "rr.w.",
            dy, x1, dense(x2).reshape(spec.x2_shape), dx1, _rows(spec, dx2),
        )  # fmt: skip
    else:
        arrays = dense(dy), dense(x1), dense(x2), *_flat(dx1, dx2)
        launch(backend, kernel, spec, dy.dtype, *arrays)
    return dx1, dx2


def _axis(owner: str, axis: int, shape: Shape) -> int:
    """Check an axis, and return it as 0 or more."""
    count = len(shape)
    if isinstance(axis, bool) or not hasattr(axis, "__index__") or not -count <= axis < count:
        expected = f"expected {-count} to {count - 1}" if count else "expected arrays with axes"
        raise ValueError(f"{owner}: axis is {axis!r}; {expected} for shape {shape}")
    return operator.index(axis) % count


def _concatenate_spec(shape: Shape, axis: int, first: int, second: int) -> ConcatenateSpec:
    """Arrays as rows: all that lies behind the axis is beside each other in memory."""
    behind = math.prod(shape[axis + 1 :])
    return ConcatenateSpec(math.prod(shape[:axis]), first * behind, second * behind)


def _with_size(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


@results_like_arguments
def concatenate(arrays: Sequence[Array], *, axis: int = 1, backend: str | None = None) -> Array:
    """Arrays side by side along one axis.

    Parameters
    ----------
    arrays
        One or more arrays of one dtype, float32 or float64, whose shapes differ along the axis at
        most.
    axis
        1: the channels of images in NCHW; -1: those of images in NHWC.
    backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        A new array.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.concatenate([np.array([[1.0], [2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]])])
    array([[1., 3., 4.],
           [2., 5., 6.]])
    """
    owner = "concatenate"
    if not isinstance(arrays, (list, tuple)) or not arrays:
        raise TypeError(
            f"{owner}: arrays is {type(arrays).__name__!r}; expected a list or tuple of one array "
            f"or more"
        )
    given = {f"arrays[{number}]": array for number, array in enumerate(arrays)}
    taken = list(take_floats(owner, **given))
    shape = taken[0].shape
    axis = _axis(owner, axis, shape)
    for name, array in zip(given, taken, strict=True):
        size = array.shape[axis] if array.ndim == len(shape) else shape[axis]
        why = f"as arrays[0] but for axis {axis}"
        check_shape(owner, name, array, _with_size(shape, axis, size), why)
    whole = _with_size(shape, axis, sum(array.shape[axis] for array in taken))
    parts = [dense(array) for array in taken if array.size]
    if not parts:
        return empty(owner, whole, taken[0])
    result = _joined(parts, axis, backend)
    return result.copy() if any(result is array for array in taken) else result


def _joined(parts: Sequence[Array], axis: int, backend: str | None) -> Array:
    """One array of many: of halves, so that an element is copied log2 times."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    first, second = (_joined(half, axis, backend) for half in (parts[:middle], parts[middle:]))
    sizes = first.shape[axis], second.shape[axis]
    spec = _concatenate_spec(first.shape, axis, *sizes)
    y = empty("concatenate", _with_size(first.shape, axis, sum(sizes)), first)
    launch(backend, "merge.concatenate_forward", spec, first.dtype, first, second, y)
    return y


@results_like_arguments
def concatenate_backward(
    dy: Array, sizes: Sequence[int], *, axis: int = 1, backend: str | None = None
) -> tuple[Array, ...]:
    """Gradients of :func:`concatenate` with respect to each array: the parts of ``dy``.

    Parameters
    ----------
    dy
        Gradient with respect to the result.
    sizes
        Of the arrays along the axis, in order.
    axis, backend
        As they were given to :func:`concatenate`.

    Returns
    -------
    tuple of ndarray
        A new array for each size.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.concatenate_backward(np.array([[1.0, 3.0, 4.0]]), (1, 2))
    (array([[1.]]), array([[3., 4.]]))
    """
    owner = "concatenate_backward"
    (dy,) = take_floats(owner, dy=dy)
    axis = _axis(owner, axis, dy.shape)
    try:
        parts = [operator.index(size) for size in sizes]
    except TypeError:
        raise TypeError(f"{owner}: sizes is {sizes!r}; expected integers") from None
    if not parts or min(parts) < 0 or sum(parts) != dy.shape[axis]:
        raise ValueError(
            f"{owner}: sizes is {sizes!r}; expected sizes of 0 or more that add up to "
            f"{dy.shape[axis]}, those of dy along axis {axis}"
        )
    gradients: list[Array | None] = [None] * len(parts)
    filled = []
    for number, size in enumerate(parts):
        shape = _with_size(dy.shape, axis, size)
        if math.prod(shape):
            filled.append(number)
        else:
            gradients[number] = empty(owner, shape, dy)
    if filled:
        found = _split(dense(dy), [parts[number] for number in filled], axis, backend)
        for number, gradient in zip(filled, found, strict=True):
            gradients[number] = gradient.copy() if gradient is dy else gradient
    return cast("tuple[Array, ...]", tuple(gradients))


def _split(dy: Array, sizes: Sequence[int], axis: int, backend: str | None) -> list[Array]:
    """Undo :func:`_joined`."""
    if len(sizes) == 1:
        return [dy]
    middle = len(sizes) // 2
    halves = sum(sizes[:middle]), sum(sizes[middle:])
    dx1, dx2 = (
        empty("concatenate_backward", _with_size(dy.shape, axis, size), dy) for size in halves
    )
    spec = _concatenate_spec(dy.shape, axis, *halves)
    launch(backend, "merge.concatenate_backward", spec, dy.dtype, dy, dx1, dx2)
    return [
        *_split(dx1, sizes[:middle], axis, backend),
        *_split(dx2, sizes[middle:], axis, backend),
    ]
