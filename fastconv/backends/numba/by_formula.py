"""Activations of each lane of a vector, by the formulas of their table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastconv.backends.numba.compilation import inlined
from fastconv.backends.numba.exponential import exponential, sigmoid
from fastconv.backends.numba.vector_functions import of_its_dtype, polynomial_of
from fastconv.backends.numba.vectors import select
from fastconv.plans.activations import ACTIVATIONS, compiled_formula
from fastconv.plans.error_function import ERF_FAR, ERF_IS_ONE, ERF_NEAR

_near = polynomial_of(ERF_NEAR["float32"], ERF_NEAR["float64"])
_far = polynomial_of(ERF_FAR["float32"], ERF_FAR["float64"])
_limit = of_its_dtype(ERF_IS_ONE["float32"], ERF_IS_ONE["float64"])


# Comparisons are such that a NaN stays one.


@inlined
def _at_most(x: Any, most: Any) -> Any:
    return select(x > most, most, x)


@inlined
def _at_least(x: Any, least: Any) -> Any:
    return select(x < least, least, x)


@inlined
def _absolute(x: Any) -> Any:
    return select(x < 0, -x, x)


@inlined
def error_function(x: Any) -> Any:
    """Twice the integral of e^-t^2 from 0 to x, divided by the root of pi."""
    a = _at_most(_absolute(x), _limit(x))
    near = a + a * _near(a * a)
    far = 1 - exponential(-_far(a - 1))
    y = select(a > 1, far, near)
    return select(x < 0, -y, y)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "where": select,
    "at_most": _at_most,
    "at_least": _at_least,
    "absolute": _absolute,
    "exponential": exponential,
    "sigmoid": sigmoid,
    "error_function": error_function,
}


def _chosen(functions: dict[int, Callable[..., Any]]) -> Callable[..., Any]:
    """Make a function (kind, argument, one) that chooses among functions by their numbers."""
    lines = ["def chosen(kind, argument, one):\n"]
    lines += [
        f"    if kind == {number}:\n        return function_{number}(argument, one)\n"
        for number in functions
    ]
    namespace: dict[str, Any] = {f"function_{n}": made for n, made in functions.items()}
    exec("".join([*lines, "    return argument * 0\n"]), namespace)
    made: Callable[..., Any] = inlined(namespace["chosen"])
    return made


def chosen_value() -> Callable[..., Any]:
    """Make a function (kind, x, one) that gives the value of any activation by formula."""
    return _chosen(
        {
            number: inlined(compiled_formula(activation.formula.value, "x", _FUNCTIONS))
            for number, activation in enumerate(ACTIVATIONS.values())
            if activation.formula is not None
        }
    )


def chosen_derivative() -> Callable[..., Any]:
    """Make a function (kind, what is kept, one) that gives the derivative of any of them."""
    return _chosen(
        {
            number: inlined(
                compiled_formula(activation.formula.derivative, activation.keeps, _FUNCTIONS)
            )
            for number, activation in enumerate(ACTIVATIONS.values())
            if activation.formula is not None
        }
    )
