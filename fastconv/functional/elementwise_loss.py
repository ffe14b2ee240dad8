"""Losses of each output and its target, on plain arrays."""

from __future__ import annotations

from fastconv.functional.array_results import results_like_arguments
from fastconv.functional.array_types import module_of
from fastconv.functional.arrays import (
    Array,
    check_dimensions,
    check_number,
    check_shape,
    dense,
    launch,
    take_floats,
)
from fastconv.plans.loss_operation import ElementwiseLossKind, ElementwiseLossSpec
from fastconv.spec import SpecError


def _apply(
    owner: str, kind: ElementwiseLossKind, y: Array, target: Array, delta: float,
    backend: str | None,
) -> Array:  # fmt: skip
    y, target = take_floats(owner, y=y, target=target)
    check_dimensions(owner, "y", y, "NK")
    if y.shape[1] == 0:
        raise ValueError(f"{owner}: y has no outputs {y.shape}; expected at least one")
    check_shape(owner, "target", target, y.shape, "the shape of y")
    try:
        batch, outputs = y.shape
        spec = ElementwiseLossSpec(kind, batch, outputs, check_number(owner, "delta", delta))
    except SpecError as fault:
        raise fault.of(owner) from None
    xp, backward = module_of(y), owner.endswith("_backward")
    result: Array = xp.empty(y.shape if backward else spec.batch, y.dtype)
    kernel = f"target_loss.elementwise_loss_{'backward' if backward else 'forward'}"
    launch(backend, kernel, spec, y.dtype, dense(y), dense(target), result)
    return result


@results_like_arguments
def binary_cross_entropy_with_logits(
    y: Array, target: Array, *, backend: str | None = None
) -> Array:
    """Mean over the outputs of the cross entropy between each target and the sigmoid of y.

    Parameters
    ----------
    y, target
        (N, K), float32 or float64: scores before any sigmoid, and numbers from 0 to 1.
    backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        (N,): their mean is the loss.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array, here and in the functions below.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> y = np.array([[0.0, 0.0]])
    >>> fastconv.binary_cross_entropy_with_logits(y, np.array([[1.0, 0.0]])).round(4)
    array([0.6931])
    """
    owner = "binary_cross_entropy_with_logits"
    return _apply(owner, "binary_cross_entropy_with_logits", y, target, 1.0, backend)


@results_like_arguments
def binary_cross_entropy_with_logits_backward(
    y: Array, target: Array, *, backend: str | None = None
) -> Array:
    """Gradient of the mean of :func:`binary_cross_entropy_with_logits`.

    Parameters
    ----------
    y, target, backend
        As they were given to it.

    Returns
    -------
    ndarray
        (N, K): ``(sigmoid(y) - target) / (N K)``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> y, target = np.array([[0.0, 0.0]]), np.array([[1.0, 0.0]])
    >>> fastconv.binary_cross_entropy_with_logits_backward(y, target)
    array([[-0.25,  0.25]])
    """
    owner = "binary_cross_entropy_with_logits_backward"
    return _apply(owner, "binary_cross_entropy_with_logits", y, target, 1.0, backend)


@results_like_arguments
def huber(y: Array, target: Array, *, delta: float = 1.0, backend: str | None = None) -> Array:
    """Mean over the outputs of Huber's loss: a square near the target, a distance far from it.

    Parameters
    ----------
    y, target
        (N, K), float32 or float64.
    delta
        Where the square ends (Huber, Annals of Mathematical Statistics 35, 1964).
    backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        (N,).

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.huber(np.array([[1.0, 3.0]]), np.array([[0.0, 0.0]]))
    array([1.5])
    """
    return _apply("huber", "huber", y, target, delta, backend)


@results_like_arguments
def huber_backward(
    y: Array, target: Array, *, delta: float = 1.0, backend: str | None = None
) -> Array:
    """Gradient of the mean of :func:`huber`.

    Parameters
    ----------
    y, target, delta, backend
        As they were given to it.

    Returns
    -------
    ndarray
        (N, K).

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.huber_backward(np.array([[0.5, 3.0]]), np.array([[0.0, 0.0]]))
    array([[0.25, 0.5 ]])
    """
    return _apply("huber_backward", "huber", y, target, delta, backend)


@results_like_arguments
def mean_absolute_error(y: Array, target: Array, *, backend: str | None = None) -> Array:
    """Mean over the outputs of ``abs(y - target)``, for each sample.

    Parameters
    ----------
    y, target
        (N, K), float32 or float64.
    backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        (N,).

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.mean_absolute_error(np.array([[1.0, -3.0]]), np.array([[0.0, 0.0]]))
    array([2.])
    """
    return _apply("mean_absolute_error", "mean_absolute_error", y, target, 1.0, backend)


@results_like_arguments
def mean_absolute_error_backward(y: Array, target: Array, *, backend: str | None = None) -> Array:
    """Gradient of the mean of :func:`mean_absolute_error`: the sign of ``y - target``, over N K.

    Parameters
    ----------
    y, target, backend
        As they were given to it.

    Returns
    -------
    ndarray
        (N, K).

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.mean_absolute_error_backward(np.array([[1.0, -3.0]]), np.array([[0.0, 0.0]]))
    array([[ 0.5, -0.5]])
    """
    owner = "mean_absolute_error_backward"
    return _apply(owner, "mean_absolute_error", y, target, 1.0, backend)
