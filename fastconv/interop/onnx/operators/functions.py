"""Functions of one number that some graphs have between their layers, and their derivatives.

Numba compiles them for the compiled backends; each has its CUDA expressions beside it.
"""

from __future__ import annotations

import math

from fastconv.layers import Elementwise


def _exp(x: float) -> float:
    return math.exp(x)


# Beyond their domains they give what arrays of numbers have there, as compiled code does too.


def _log(x: float) -> float:
    if x > 0.0:
        return math.log(x)
    return -math.inf if x == 0.0 else math.nan


def _log_derivative(x: float) -> float:
    return 1.0 / x if x != 0.0 else math.inf


def _sqrt(x: float) -> float:
    return math.sqrt(x) if x >= 0.0 else math.nan


def _sqrt_derivative(x: float) -> float:
    if x > 0.0:
        return 0.5 / math.sqrt(x)
    return math.inf if x == 0.0 else math.nan


def _reciprocal(x: float) -> float:
    return 1.0 / x if x != 0.0 else math.copysign(math.inf, x)


def _reciprocal_derivative(x: float) -> float:
    return -1.0 / (x * x) if x * x != 0.0 else -math.inf


def _erf(x: float) -> float:
    return math.erf(x)


def _erf_derivative(x: float) -> float:
    return 1.1283791670955126 * math.exp(-x * x)


def _sin(x: float) -> float:
    return math.sin(x)


def _cos(x: float) -> float:
    return math.cos(x)


def _minus_sin(x: float) -> float:
    return -math.sin(x)


def _power(x: float, exponent: float) -> float:
    if x < 0.0 and exponent != math.floor(exponent):
        return math.nan
    if x == 0.0 and exponent < 0.0:
        return math.inf
    return math.pow(x, exponent)


def _power_derivative(x: float, exponent: float) -> float:
    if x < 0.0 and exponent != math.floor(exponent):
        return math.nan
    if x == 0.0 and exponent < 1.0:
        return exponent * math.inf
    return exponent * math.pow(x, exponent - 1.0)


FUNCTIONS = {
    "Exp": Elementwise(_exp, _exp, (), ("exp(x)", "exp(x)")),
    "Log": Elementwise(_log, _log_derivative, (), ("log(x)", "1 / x")),
    "Sqrt": Elementwise(_sqrt, _sqrt_derivative, (), ("sqrt(x)", "0.5 / sqrt(x)")),
    "Reciprocal": Elementwise(_reciprocal, _reciprocal_derivative, (), ("1 / x", "-1 / (x * x)")),
    "Erf": Elementwise(_erf, _erf_derivative, (), ("erf(x)", "1.1283791670955126 * exp(-x * x)")),
    "Sin": Elementwise(_sin, _cos, (), ("sin(x)", "cos(x)")),
    "Cos": Elementwise(_cos, _minus_sin, (), ("cos(x)", "-sin(x)")),
}
"""By the operators of ONNX."""


def power(exponent: float) -> Elementwise:
    """Return the layer that raises each element to a power.

    Parameters
    ----------
    exponent
        The power.

    Examples
    --------
    >>> layer = power(1.5)
    >>> layer.function(4.0, *layer.constants)
    8.0
    """
    cuda = "pow(x, constants[0])", "constants[0] * pow(x, constants[0] - 1)"
    return Elementwise(_power, _power_derivative, (float(exponent),), cuda)


def is_power(layer: Elementwise) -> bool:
    """Whether a layer is one that :func:`power` makes."""
    return layer.function is _power
