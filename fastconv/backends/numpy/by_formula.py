"""Activations by the formulas of their table, a piece of an array at a time.

What is in between is then small and stays in the cache, however large the arrays are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.plans.activations import compiled_formula
from fastconv.plans.error_function import ERF_FAR, ERF_IS_ONE, ERF_NEAR

_PIECE = 8192
"""Elements at a time."""


def _polynomial(coefficients: tuple[float, ...], t: np.ndarray) -> np.ndarray:
    result = np.full_like(t, coefficients[0])
    for each in coefficients[1:]:
        result *= t
        result += t.dtype.type(each)
    return result


def error_function(x: np.ndarray) -> np.ndarray:
    """Twice the integral of e^-t^2 from 0 to x, divided by the root of pi.

    Within 2 units in the last place in float32.

    Examples
    --------
    >>> error_function(np.array([0.5, -np.inf])).round(6)
    array([ 0.5205, -1.    ])
    """
    dtype = x.dtype.name
    a = np.minimum(np.abs(x), ERF_IS_ONE[dtype])
    near = a + a * _polynomial(ERF_NEAR[dtype], a * a)
    far = 1 - np.exp(-_polynomial(ERF_FAR[dtype], a - 1))
    result: np.ndarray = np.copysign(np.where(a > 1, far, near), x)
    return result


def _sigmoid(x: np.ndarray) -> np.ndarray:
    power = np.exp(-np.abs(x))
    result: np.ndarray = np.where(x > 0, 1, power) / (1 + power)
    return result


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "where": np.where,
    "at_most": np.minimum,
    "at_least": np.maximum,
    "absolute": np.abs,
    "exponential": np.exp,
    "sigmoid": _sigmoid,
    "error_function": error_function,
}


@functools.cache
def _function(formula: str, argument: str) -> Callable[..., Any]:
    return compiled_formula(formula, argument, _FUNCTIONS)


@np.errstate(all="ignore")
def store(
    formula: str,
    argument: str,
    given: np.ndarray | None,
    result: np.ndarray,
    factor: np.ndarray | None = None,
) -> None:
    """Compute a formula of every element.

    Parameters
    ----------
    formula
        As in the table.
    argument
        What it is a formula of: "x" or "y".
    given
        Those arguments.
    result
        Written; it may be ``given``, or ``factor``.
    factor
        What the results are multiplied by; None: nothing.

    Examples
    --------
    >>> x = np.array([-1.0, 2.0])
    >>> store("where(x > 0, x, 0)", "x", x, x)
    >>> x
    array([0., 2.])
    """
    assert given is not None
    function = _function(formula, argument)
    flat, out = given.reshape(-1), result.reshape(-1)
    factors = None if factor is None else factor.reshape(-1)
    one = flat.dtype.type(1)
    for start in range(0, flat.size, _PIECE):
        piece = slice(start, start + _PIECE)
        values = function(flat[piece], one)
        if factors is None:
            out[piece] = values
        else:
            np.multiply(factors[piece], values, out=out[piece])
