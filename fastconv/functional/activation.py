"""Activations on plain arrays of any shape.

A backward function takes the *output* ``y`` of the forward one, so that the input need not be kept;
or, where the output does not tell the derivative, the input ``x``.
"""

from __future__ import annotations

from typing import Literal

from fastconv.functional.array_results import results_like_arguments
from fastconv.functional.array_types import module_of
from fastconv.functional.arrays import (
    Array,
    check_number,
    check_shape,
    dense,
    launch,
    take_floats,
)
from fastconv.plans.activations import ActivationKind, activation_of
from fastconv.plans.operation import ActivationSpec
from fastconv.spec import SpecError, shown


def _forward(kind: ActivationKind, x: Array, alpha: float, backend: str | None) -> Array:
    owner = _function_of(kind)
    (x,) = take_floats(owner, x=x)
    spec = _activation_spec(owner, kind, x, alpha)
    xp = module_of(x)
    x_in = dense(x)
    y: Array = xp.empty_like(x_in)
    launch(backend, "activation.activation_forward", spec, x.dtype, x_in, y)
    return y.reshape(x.shape)


def _backward(
    kind: ActivationKind, dy: Array, kept: Array, alpha: float, backend: str | None
) -> Array:
    owner, keeps = f"{_function_of(kind)}_backward", activation_of(kind).keeps
    dy, kept = take_floats(owner, **{"dy": dy, keeps: kept})
    check_shape(owner, "dy", dy, kept.shape, f"the shape of {keeps}")
    spec = _activation_spec(owner, kind, kept, alpha)
    xp = module_of(kept)
    dy_in, kept_in = dense(dy), dense(kept)
    x, y = (kept_in, None) if keeps == "x" else (None, kept_in)
    dx: Array = xp.empty_like(kept_in)
    launch(backend, "activation.activation_backward", spec, kept.dtype, dy_in, x, y, dx)
    return dx.reshape(kept.shape)


def _function_of(kind: ActivationKind) -> str:
    return "gelu" if kind == "gelu_tanh" else kind


def _activation_spec(owner: str, kind: ActivationKind, x: Array, alpha: float) -> ActivationSpec:
    alpha = check_number(owner, "alpha", alpha)
    try:
        return ActivationSpec(kind, x.size, alpha)
    except SpecError as fault:
        raise fault.of(owner) from None


@results_like_arguments
def relu(x: Array, *, backend: str | None = None) -> Array:
    """``max(x, 0)``, elementwise.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return _forward("relu", x, 0.0, backend)


@results_like_arguments
def relu_backward(dy: Array, y: Array, *, backend: str | None = None) -> Array:
    """Gradient of :func:`relu` from its output ``y``; 0 at 0.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.relu_backward(np.array([5.0, 5.0]), np.array([0.0, 2.0]))
    array([0., 5.])
    """
    return _backward("relu", dy, y, 0.0, backend)


@results_like_arguments
def leaky_relu(x: Array, alpha: float = 0.01, *, backend: str | None = None) -> Array:
    """``x`` where positive, else ``alpha * x``; alpha is 0 or more.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.leaky_relu(np.array([-1.0, 2.0]), 0.1)
    array([-0.1,  2. ])
    """
    return _forward("leaky_relu", x, alpha, backend)


@results_like_arguments
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


@results_like_arguments
def elu(x: Array, alpha: float = 1.0, *, backend: str | None = None) -> Array:
    """``x`` where positive, else ``alpha * (e^x - 1)`` (Clevert et al., arXiv:1511.07289).

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.elu(np.array([-1.0, 2.0])).round(4)
    array([-0.6321,  2.    ])
    """
    return _forward("elu", x, alpha, backend)


@results_like_arguments
def elu_backward(dy: Array, y: Array, alpha: float = 1.0, *, backend: str | None = None) -> Array:
    """Gradient of :func:`elu` from its output ``y``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.elu_backward(np.ones(2), np.array([-0.5, 2.0]))
    array([0.5, 1. ])
    """
    return _backward("elu", dy, y, alpha, backend)


@results_like_arguments
def selu(x: Array, *, backend: str | None = None) -> Array:
    """Scaled ELU with the constants of Klambauer et al. (arXiv:1706.02515).

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.selu(np.array([-1.0, 2.0])).round(4)
    array([-1.1113,  2.1014])
    """
    return _forward("selu", x, 0.0, backend)


@results_like_arguments
def selu_backward(dy: Array, y: Array, *, backend: str | None = None) -> Array:
    """Gradient of :func:`selu` from its output ``y``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.selu_backward(np.ones(1), np.array([2.0])).round(4)
    array([1.0507])
    """
    return _backward("selu", dy, y, 0.0, backend)


@results_like_arguments
def sigmoid(x: Array, *, backend: str | None = None) -> Array:
    """``1 / (1 + e^-x)``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.sigmoid(np.array([0.0, 1000.0]))
    array([0.5, 1. ])
    """
    return _forward("sigmoid", x, 0.0, backend)


@results_like_arguments
def sigmoid_backward(dy: Array, y: Array, *, backend: str | None = None) -> Array:
    """Gradient of :func:`sigmoid` from its output ``y``: ``dy * y * (1 - y)``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.sigmoid_backward(np.ones(1), np.array([0.5]))
    array([0.25])
    """
    return _backward("sigmoid", dy, y, 0.0, backend)


@results_like_arguments
def tanh(x: Array, *, backend: str | None = None) -> Array:
    """Hyperbolic tangent.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.tanh(np.array([0.0]))
    array([0.])
    """
    return _forward("tanh", x, 0.0, backend)


@results_like_arguments
def tanh_backward(dy: Array, y: Array, *, backend: str | None = None) -> Array:
    """Gradient of :func:`tanh` from its output ``y``: ``dy * (1 - y^2)``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.tanh_backward(np.ones(1), np.array([0.5]))
    array([0.75])
    """
    return _backward("tanh", dy, y, 0.0, backend)


@results_like_arguments
def softplus(x: Array, *, backend: str | None = None) -> Array:
    """``log(1 + e^x)``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.softplus(np.array([0.0, 100.0])).round(4)
    array([  0.6931, 100.    ])
    """
    return _forward("softplus", x, 0.0, backend)


@results_like_arguments
def softplus_backward(dy: Array, y: Array, *, backend: str | None = None) -> Array:
    """Gradient of :func:`softplus` from its output ``y``: ``dy * (1 - e^-y)``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.softplus_backward(np.ones(1), np.array([np.log(2.0)]))
    array([0.5])
    """
    return _backward("softplus", dy, y, 0.0, backend)


def _kind_of_gelu(owner: str, approximate: str) -> ActivationKind:
    if not isinstance(approximate, str) or approximate not in ("none", "tanh"):
        raise ValueError(f"{owner}: approximate is {shown(approximate)}; expected 'none' or 'tanh'")
    return "gelu" if approximate == "none" else "gelu_tanh"


@results_like_arguments
def gelu(
    x: Array, approximate: Literal["none", "tanh"] = "none", *, backend: str | None = None
) -> Array:
    """``x`` times the normal distribution function of x (Hendrycks & Gimpel, arXiv:1606.08415).

    Parameters
    ----------
    x
        Any shape, float32 or float64; minus infinity gives 0.
    approximate
        "none": by the error function; "tanh": ``x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))``.
    backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        In the shape of x.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.gelu(np.array([-1.0, 2.0])).round(4)
    array([-0.1587,  1.9545])
    """
    return _forward(_kind_of_gelu("gelu", approximate), x, 0.0, backend)


@results_like_arguments
def gelu_backward(
    dy: Array,
    x: Array,
    approximate: Literal["none", "tanh"] = "none",
    *,
    backend: str | None = None,
) -> Array:
    """Gradient of :func:`gelu` from its input ``x``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.gelu_backward(np.ones(2), np.array([0.0, 2.0])).round(4)
    array([0.5   , 1.0852])
    """
    return _backward(_kind_of_gelu("gelu_backward", approximate), dy, x, 0.0, backend)


@results_like_arguments
def silu(x: Array, *, backend: str | None = None) -> Array:
    """``x * sigmoid(x)``, also called swish (arXiv:1702.03118); minus infinity gives 0.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.silu(np.array([-1.0, 2.0])).round(4)
    array([-0.2689,  1.7616])
    """
    return _forward("silu", x, 0.0, backend)


@results_like_arguments
def silu_backward(dy: Array, x: Array, *, backend: str | None = None) -> Array:
    """Gradient of :func:`silu` from its input ``x``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.silu_backward(np.ones(2), np.array([0.0, 2.0])).round(4)
    array([0.5   , 1.0908])
    """
    return _backward("silu", dy, x, 0.0, backend)


@results_like_arguments
def hard_sigmoid(x: Array, *, backend: str | None = None) -> Array:
    """``x / 6 + 1/2``, kept between 0 and 1 (arXiv:1905.02244).

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.hard_sigmoid(np.array([-4.0, 0.0, 1.5]))
    array([0.  , 0.5 , 0.75])
    """
    return _forward("hard_sigmoid", x, 0.0, backend)


@results_like_arguments
def hard_sigmoid_backward(dy: Array, y: Array, *, backend: str | None = None) -> Array:
    """Gradient of :func:`hard_sigmoid` from its output ``y``; 0 at 0 and 1.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.hard_sigmoid_backward(np.array([6.0, 6.0]), np.array([0.0, 0.5]))
    array([0., 1.])
    """
    return _backward("hard_sigmoid", dy, y, 0.0, backend)


@results_like_arguments
def hard_swish(x: Array, *, backend: str | None = None) -> Array:
    """``x * hard_sigmoid(x)`` (arXiv:1905.02244); minus infinity gives 0.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.hard_swish(np.array([-4.0, 1.5, 5.0]))
    array([0.   , 1.125, 5.   ])
    """
    return _forward("hard_swish", x, 0.0, backend)


@results_like_arguments
def hard_swish_backward(dy: Array, x: Array, *, backend: str | None = None) -> Array:
    """Gradient of :func:`hard_swish` from its input ``x``; 0 up to -3, 1 from 3 on.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.hard_swish_backward(np.ones(3), np.array([-3.0, 1.5, 3.0]))
    array([0., 1., 1.])
    """
    return _backward("hard_swish", dy, x, 0.0, backend)


@results_like_arguments
def relu6(x: Array, *, backend: str | None = None) -> Array:
    """``max(x, 0)``, at most 6 (arXiv:1704.04861).

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.relu6(np.array([-1.0, 2.0, 7.0]))
    array([0., 2., 6.])
    """
    return _forward("relu6", x, 0.0, backend)


@results_like_arguments
def relu6_backward(dy: Array, y: Array, *, backend: str | None = None) -> Array:
    """Gradient of :func:`relu6` from its output ``y``; 0 at 0 and 6.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.relu6_backward(np.array([5.0, 5.0, 5.0]), np.array([0.0, 2.0, 6.0]))
    array([0., 5., 0.])
    """
    return _backward("relu6", dy, y, 0.0, backend)


@results_like_arguments
def softsign(x: Array, *, backend: str | None = None) -> Array:
    """``x / (1 + abs(x))``; an infinity gives 1 of its sign.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.softsign(np.array([-1.0, 3.0]))
    array([-0.5 ,  0.75])
    """
    return _forward("softsign", x, 0.0, backend)


@results_like_arguments
def softsign_backward(dy: Array, y: Array, *, backend: str | None = None) -> Array:
    """Gradient of :func:`softsign` from its output ``y``: ``dy * (1 - abs(y))^2``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.softsign_backward(np.ones(1), np.array([0.5]))
    array([0.25])
    """
    return _backward("softsign", dy, y, 0.0, backend)


@results_like_arguments
def mish(x: Array, *, backend: str | None = None) -> Array:
    """``x * tanh(softplus(x))`` (Misra, arXiv:1908.08681); minus infinity gives 0.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.mish(np.array([-1.0, 2.0])).round(4)
    array([-0.3034,  1.944 ])
    """
    return _forward("mish", x, 0.0, backend)


@results_like_arguments
def mish_backward(dy: Array, x: Array, *, backend: str | None = None) -> Array:
    """Gradient of :func:`mish` from its input ``x``.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.mish_backward(np.ones(2), np.array([0.0, 2.0])).round(4)
    array([0.6   , 1.0693])
    """
    return _backward("mish", dy, x, 0.0, backend)
