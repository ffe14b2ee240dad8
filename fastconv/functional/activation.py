"""Activations on plain arrays of any shape, and softmax along one axis.

Each backward function takes the *output* ``y`` of the forward one, so that the input need not be
kept.
"""

from __future__ import annotations

from fastconv.functional.array_types import module_of
from fastconv.functional.arrays import (
    Array,
    check_number,
    check_shape,
    dense,
    launch,
    take_floats,
)
from fastconv.plans.operation import ActivationKind, ActivationSpec, SoftmaxSpec
from fastconv.spec import SpecError


def _forward(kind: ActivationKind, x: Array, alpha: float, backend: str | None) -> Array:
    (x,) = take_floats(kind, x=x)
    spec = _activation_spec(kind, kind, x, alpha)
    xp = module_of(x)
    x_in = dense(x)
    y: Array = xp.empty_like(x_in)
    launch(backend, "activation.activation_forward", spec, x.dtype, x_in, y)
    return y.reshape(x.shape)


def _backward(
    kind: ActivationKind, dy: Array, y: Array, alpha: float, backend: str | None
) -> Array:
    owner = f"{kind}_backward"
    dy, y = take_floats(owner, dy=dy, y=y)
    check_shape(owner, "dy", dy, y.shape, "the shape of y")
    spec = _activation_spec(owner, kind, y, alpha)
    xp = module_of(y)
    dy_in, y_in = dense(dy), dense(y)
    dx: Array = xp.empty_like(y_in)
    launch(backend, "activation.activation_backward", spec, y.dtype, dy_in, y_in, dx)
    return dx.reshape(y.shape)


def _activation_spec(owner: str, kind: ActivationKind, x: Array, alpha: float) -> ActivationSpec:
    alpha = check_number(owner, "alpha", alpha)
    try:
        return ActivationSpec(kind, x.size, alpha)
    except SpecError as fault:
        raise fault.of(owner) from None


def relu(x: Array, *, backend: str | None = None) -> Array:
    """``max(x, 0)``, elementwise.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return _forward("relu", x, 0.0, backend)


def relu_backward(dy: Array, y: Array, *, backend: str | None = None) -> Array:
    """Gradient of :func:`relu` from its output ``y``; 0 at 0.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.relu_backward(np.array([5.0, 5.0]), np.array([0.0, 2.0]))
    array([0., 5.])
    """
    return _backward("relu", dy, y, 0.0, backend)


def leaky_relu(x: Array, alpha: float = 0.01, *, backend: str | None = None) -> Array:
    """``x`` where positive, else ``alpha * x``; alpha is 0 or more.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.leaky_relu(np.array([-1.0, 2.0]), 0.1)
    array([-0.1,  2. ])
    """
    return _forward("leaky_relu", x, alpha, backend)


def leaky_relu_backward(
    dy: Array, y: Array, alpha: float = 0.01, *, backend: str | None = None
) -> Array:
    """Gradient of :func:`leaky_relu` from its output ``y``; alpha at 0.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.leaky_relu_backward(np.array([5.0, 5.0]), np.array([-0.1, 2.0]), 0.1)
    array([0.5, 5. ])
    """
    return _backward("leaky_relu", dy, y, alpha, backend)


def elu(x: Array, alpha: float = 1.0, *, backend: str | None = None) -> Array:
    """``x`` where positive, else ``alpha * (e^x - 1)`` (Clevert et al., arXiv:1511.07289).

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.elu(np.array([-1.0, 2.0])).round(4)
    array([-0.6321,  2.    ])
    """
    return _forward("elu", x, alpha, backend)


def elu_backward(dy: Array, y: Array, alpha: float = 1.0, *, backend: str | None = None) -> Array:
    """Gradient of :func:`elu` from its output ``y``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.elu_backward(np.ones(2), np.array([-0.5, 2.0]))
    array([0.5, 1. ])
    """
    return _backward("elu", dy, y, alpha, backend)


def selu(x: Array, *, backend: str | None = None) -> Array:
    """Scaled ELU with the constants of Klambauer et al. (arXiv:1706.02515).

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.selu(np.array([-1.0, 2.0])).round(4)
    array([-1.1113,  2.1014])
    """
    return _forward("selu", x, 0.0, backend)


def selu_backward(dy: Array, y: Array, *, backend: str | None = None) -> Array:
    """Gradient of :func:`selu` from its output ``y``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.selu_backward(np.ones(1), np.array([2.0])).round(4)
    array([1.0507])
    """
    return _backward("selu", dy, y, 0.0, backend)


def sigmoid(x: Array, *, backend: str | None = None) -> Array:
    """``1 / (1 + e^-x)``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.sigmoid(np.array([0.0, 1000.0]))
    array([0.5, 1. ])
    """
    return _forward("sigmoid", x, 0.0, backend)


def sigmoid_backward(dy: Array, y: Array, *, backend: str | None = None) -> Array:
    """Gradient of :func:`sigmoid` from its output ``y``: ``dy * y * (1 - y)``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.sigmoid_backward(np.ones(1), np.array([0.5]))
    array([0.25])
    """
    return _backward("sigmoid", dy, y, 0.0, backend)


def tanh(x: Array, *, backend: str | None = None) -> Array:
    """Hyperbolic tangent.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.tanh(np.array([0.0]))
    array([0.])
    """
    return _forward("tanh", x, 0.0, backend)


def tanh_backward(dy: Array, y: Array, *, backend: str | None = None) -> Array:
    """Gradient of :func:`tanh` from its output ``y``: ``dy * (1 - y^2)``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.tanh_backward(np.ones(1), np.array([0.5]))
    array([0.75])
    """
    return _backward("tanh", dy, y, 0.0, backend)


def softplus(x: Array, *, backend: str | None = None) -> Array:
    """``log(1 + e^x)``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.softplus(np.array([0.0, 100.0])).round(4)
    array([  0.6931, 100.    ])
    """
    return _forward("softplus", x, 0.0, backend)


def softplus_backward(dy: Array, y: Array, *, backend: str | None = None) -> Array:
    """Gradient of :func:`softplus` from its output ``y``: ``dy * (1 - e^-y)``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.softplus_backward(np.ones(1), np.array([np.log(2.0)]))
    array([0.5])
    """
    return _backward("softplus", dy, y, 0.0, backend)


def _rows(owner: str, x: Array, axis: int) -> Array:
    """Bring ``axis`` to the end and flatten the others."""
    if isinstance(axis, bool) or not hasattr(axis, "__index__") or not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"{owner}: axis is {axis!r}; expected {-x.ndim} to {x.ndim - 1} for shape {x.shape}"
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


def log_softmax(x: Array, *, axis: int = -1, backend: str | None = None) -> Array:
    """``x - log(sum(e^x))`` along one axis; parameters as for :func:`softmax`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.log_softmax(np.array([[0.0, 0.0]])).round(4)
    array([[-0.6931, -0.6931]])
    """
    return _along_axis("log_softmax_forward", {"x": x}, axis, backend, "log_softmax")


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
