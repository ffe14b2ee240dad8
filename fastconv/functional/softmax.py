"""Softmax and its logarithm along one axis of plain arrays.

A backward function takes the *output* ``y`` of the forward one, so that the input need not be kept.
"""

from __future__ import annotations

import operator

from fastconv.functional.array_results import results_like_arguments
from fastconv.functional.array_types import module_of
from fastconv.functional.arrays import Array, check_shape, dense, launch, take_floats
from fastconv.plans.operation import SoftmaxSpec
from fastconv.spec import shown


def _rows(owner: str, x: Array, axis: int) -> Array:
    """Bring ``axis`` to the end and flatten the others."""
    try:
        number = None if isinstance(axis, bool) else operator.index(axis)
    except TypeError:
        number = None
    if number is None or not -x.ndim <= number < x.ndim:
        raise ValueError(
            f"{owner}: axis is {shown(axis)}; expected {-x.ndim} to {x.ndim - 1} for shape "
            f"{x.shape}"
        )
    xp = module_of(x)
    moved = xp.moveaxis(x, axis, -1)
    if x.shape[axis] == 0:
        raise ValueError(f"{owner}: x has no classes along axis {axis}: shape {x.shape}")
    rows: Array = dense(moved).reshape(-1, x.shape[axis])
    return rows


def _like(rows: Array, x: Array, axis: int) -> Array:
    """Undo :func:`_rows`."""
    xp = module_of(x)
    moved = xp.moveaxis(x, axis, -1).shape
    result: Array = dense(xp.moveaxis(rows.reshape(moved), -1, axis))
    return result


def _along_axis(
    name: str, arrays: dict[str, Array], axis: int, backend: str | None, owner: str
) -> Array:
    taken = dict(zip(arrays, take_floats(owner, **arrays), strict=True))
    *_, last = taken.values()
    for key, array in taken.items():
        check_shape(owner, key, array, last.shape, "the shape of y")
    rows = [_rows(owner, array, axis) for array in taken.values()]
    spec = SoftmaxSpec(*rows[0].shape)
    result = module_of(last).empty_like(rows[0])
    launch(backend, f"activation.{name}", spec, last.dtype, *rows, result)
    return _like(result, last, axis)


@results_like_arguments
def softmax(x: Array, *, axis: int = -1, backend: str | None = None) -> Array:
    """``e^x / sum(e^x)`` along one axis, which cannot overflow.

    Parameters
    ----------
    x
        Scores, float32 or float64, any shape.
    axis
        The axis of the classes.
    backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        Probabilities in the shape of x.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.softmax(np.array([[1000.0, 1000.0]]))
    array([[0.5, 0.5]])
    """
    return _along_axis("softmax_forward", {"x": x}, axis, backend, "softmax")


@results_like_arguments
def softmax_backward(dy: Array, y: Array, *, axis: int = -1, backend: str | None = None) -> Array:
    """Gradient of :func:`softmax` from its output ``y``: ``y * (dy - sum(dy * y))``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.softmax_backward(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]]))
    array([[ 0.25, -0.25]])
    """
    arrays = {"dy": dy, "y": y}
    return _along_axis("softmax_backward", arrays, axis, backend, "softmax_backward")


@results_like_arguments
def log_softmax(x: Array, *, axis: int = -1, backend: str | None = None) -> Array:
    """``x - log(sum(e^x))`` along one axis; parameters as for :func:`softmax`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.log_softmax(np.array([[0.0, 0.0]])).round(4)
    array([[-0.6931, -0.6931]])
    """
    return _along_axis("log_softmax_forward", {"x": x}, axis, backend, "log_softmax")


@results_like_arguments
def log_softmax_backward(
    dy: Array, y: Array, *, axis: int = -1, backend: str | None = None
) -> Array:
    """Gradient of :func:`log_softmax` from its output ``y``: ``dy - e^y * sum(dy)``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> y = np.log(np.array([[0.5, 0.5]]))
    >>> fastconv.log_softmax_backward(np.array([[1.0, 0.0]]), y)
    array([[ 0.5, -0.5]])
    """
    arrays = {"dy": dy, "y": y}
    return _along_axis("log_softmax_backward", arrays, axis, backend, "log_softmax_backward")
