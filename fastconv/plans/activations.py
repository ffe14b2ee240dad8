"""The table of elementwise activations: all that backends, plans and layers know of each.

A new activation is a row of :data:`ACTIVATIONS`, a layer and two public functions. Its value and
its derivative stand in the row twice: as plain Python on one number, which is what the oracle
computes, and as formulas, of which every backend makes its own code.

A formula is what Python and C write alike: statements ``name = expression;`` and a last expression,
of ``x`` (of ``y`` in the derivative of what keeps y), numbers, ``one`` (1 in every lane) and

========================= =========================================
``where(c, a, b)``        a where c is true, else b
``at_most(a, m)``         m where a > m, else a: a NaN stays one
``at_least(a, m)``        m where a < m, else a
``absolute(a)``           the magnitude
``exponential(a)``        e^a
``sigmoid(a)``            1 / (1 + e^-a)
``error_function(a)``     2 / sqrt(pi) * integral of e^-t^2 from 0 to a
========================= =========================================
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

ActivationKind: TypeAlias = Literal[
    "relu", "leaky_relu", "elu", "selu", "sigmoid", "tanh", "softplus",
    "gelu", "gelu_tanh", "silu", "hard_sigmoid", "hard_swish", "relu6", "softsign",
    "mish",
]  # fmt: skip
"""The kinds, in the order of their numbers in native kernels."""

SELU_ALPHA = 1.6732632423543772848170429916717
"""Klambauer et al., "Self-Normalizing Neural Networks" (arXiv:1706.02515), equation 14."""
SELU_SCALE = 1.0507009873554804934193349852946
"""Klambauer et al., "Self-Normalizing Neural Networks" (arXiv:1706.02515), equation 14."""


@dataclass(frozen=True, slots=True)
class Formula:
    """Value and derivative as every backend computes them.

    Parameters
    ----------
    value
        Of ``x``.
    derivative
        Of what is kept: ``x`` or ``y``.
    """

    value: str
    derivative: str

    @property
    def is_expensive(self) -> bool:
        """Whether an exponential is part of it, or the error function."""
        both = self.value + self.derivative
        return any(name in both for name in ("exponential", "sigmoid", "error_function"))


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation: a row of the table.

    Parameters
    ----------
    value
        (x, alpha) -> y, of one number that is not NaN, in float64.
    derivative
        (what is kept, alpha) -> dy/dx.
    keeps
        What the derivative is computed from: "y", the result, which may then take the place of x;
        or "x", which must stay.
    alpha
        Default of the parameter; None: there is none.
    formula
        As above; None for those that every backend has code of its own for.
    """

    value: Callable[[float, float], float]
    derivative: Callable[[float, float], float]
    keeps: Literal["x", "y"] = "y"
    alpha: float | None = None
    formula: Formula | None = None


def _sigmoid(x: float) -> float:
    # The same number twice; the exponent is kept negative so that it cannot overflow.
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


def _softplus(x: float) -> float:
    # log(1 + e^x) = x + log(1 + e^-x)
    return x + math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x))


def _elu(x: float, alpha: float) -> float:
    return x if x > 0 else alpha * math.expm1(x)


def _times(x: float, factor: float) -> float:
    """``x * factor``; a factor of 0 wins over an infinity, which is where the activation goes."""
    return 0.0 if factor == 0 else x * factor


def _normal_density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _normal_distribution(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


_GELU_SCALE, _GELU_CUBE = 2 * math.sqrt(2 / math.pi), 0.044715
"""Hendrycks & Gimpel's approximation: tanh(u) = 2 sigmoid(2 u) - 1."""


def _gelu_tanh_argument(x: float) -> float:
    return _GELU_SCALE * (x + _GELU_CUBE * x * x * x)


def _gelu_tanh_derivative(x: float, _: float) -> float:
    if abs(x) > 100:
        return float(x > 0)
    share = _sigmoid(_gelu_tanh_argument(x))
    return share + x * share * (1 - share) * (_GELU_SCALE * (1 + 3 * _GELU_CUBE * x * x))


def _mish_derivative(x: float, _: float) -> float:
    share = math.tanh(_softplus(x))
    return share + _times(x, (1 - share * share) * _sigmoid(x))


def _silu_derivative(x: float, _: float) -> float:
    share = _sigmoid(x)
    return share + _times(x, share * (1 - share))


ACTIVATIONS: dict[ActivationKind, Activation] = {
    "relu": Activation(
        lambda x, _: x if x > 0 else 0.0,
        lambda y, _: 1.0 if y > 0 else 0.0,
    ),
    "leaky_relu": Activation(
        lambda x, alpha: x if x > 0 else alpha * x,
        lambda y, alpha: 1.0 if y > 0 else alpha,
        alpha=0.01,
    ),
    "elu": Activation(
        _elu,
        lambda y, alpha: 1.0 if y > 0 else y + alpha,
        alpha=1.0,
    ),
    "selu": Activation(
        lambda x, _: SELU_SCALE * _elu(x, SELU_ALPHA),
        lambda y, _: SELU_SCALE if y > 0 else y + SELU_SCALE * SELU_ALPHA,
    ),
    "sigmoid": Activation(
        lambda x, _: _sigmoid(x),
        lambda y, _: y * (1 - y),
    ),
    "tanh": Activation(
        lambda x, _: math.tanh(x),
        lambda y, _: 1 - y * y,
    ),
    "softplus": Activation(
        lambda x, _: _softplus(x),
        lambda y, _: -math.expm1(-y),
    ),
    # Hendrycks & Gimpel, "Gaussian Error Linear Units" (arXiv:1606.08415). e^-800 is 0.
    "gelu": Activation(
        lambda x, _: _times(x, _normal_distribution(x)),
        lambda x, _: _normal_distribution(x) + _times(x, _normal_density(x)),
        keeps="x",
        formula=Formula(
            "where(x < -40, 0, x * (0.5 + 0.5 * error_function(x * 0.7071067811865476)))",
            "u = at_least(at_most(x, 40), -40);"
            "u * (0.3989422804014327 * exponential(-0.5 * u * u))"
            "+ (0.5 + 0.5 * error_function(u * 0.7071067811865476))",
        ),
    ),
    "gelu_tanh": Activation(
        lambda x, _: _times(x, _sigmoid(_gelu_tanh_argument(x))),
        _gelu_tanh_derivative,
        keeps="x",
        formula=Formula(
            "where(x < -40, 0, x * sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x)))",
            "u = at_least(at_most(x, 40), -40);"
            "s = sigmoid(1.5957691216057308 * (u + 0.044715 * u * u * u));"
            "s + u * s * (1 - s) * (1.5957691216057308 * (1 + 0.134145 * u * u))",
        ),
    ),
    # Elfwing et al., arXiv:1702.03118; Ramachandran et al., "Swish" (arXiv:1710.05941).
    "silu": Activation(
        lambda x, _: _times(x, _sigmoid(x)),
        _silu_derivative,
        keeps="x",
        formula=Formula(
            "where(x < -800, 0, x * sigmoid(x))",
            "u = at_least(at_most(x, 800), -800); s = sigmoid(u); s + u * s * (1 - s)",
        ),
    ),
    # Howard et al., "Searching for MobileNetV3" (arXiv:1905.02244), as the next one.
    "hard_sigmoid": Activation(
        lambda x, _: min(max(x / 6 + 0.5, 0.0), 1.0),
        lambda y, _: 1 / 6 if 0 < y < 1 else 0.0,
        formula=Formula(
            "at_least(at_most(x / 6 + 0.5, 1), 0)",
            "where(y > 0, where(y < 1, one / 6, 0), 0)",
        ),
    ),
    "hard_swish": Activation(
        lambda x, _: _times(x, min(max(x / 6 + 0.5, 0.0), 1.0)),
        lambda x, _: 0.0 if x <= -3 else 1.0 if x >= 3 else x / 3 + 0.5,
        keeps="x",
        formula=Formula(
            "where(x <= -3, 0, x * at_most(x / 6 + 0.5, 1))",
            "where(x <= -3, 0, where(x >= 3, one, x / 3 + 0.5))",
        ),
    ),
    # Howard et al., "MobileNets" (arXiv:1704.04861).
    "relu6": Activation(
        lambda x, _: min(max(x, 0.0), 6.0),
        lambda y, _: 1.0 if 0 < y < 6 else 0.0,
        formula=Formula(
            "where(x <= 0, 0, at_most(x, 6))",
            "where(y > 0, where(y < 6, one, 0), 0)",
        ),
    ),
    # Bergstra et al., "Quadratic Features and Deep Architectures" (2009). 1 and -1 at infinity.
    "softsign": Activation(
        lambda x, _: math.copysign(1.0, x) if math.isinf(x) else x / (1 + abs(x)),
        lambda y, _: (1 - abs(y)) ** 2,
        formula=Formula(
            "u = at_least(at_most(x, 1e30), -1e30); u / (1 + absolute(u))",
            "s = 1 - absolute(y); s * s",
        ),
    ),
    # Misra, "Mish" (arXiv:1908.08681): tanh(log(1 + e)) = n / (n + 2) with n = e (e + 2).
    "mish": Activation(
        lambda x, _: _times(x, math.tanh(_softplus(x))),
        _mish_derivative,
        keeps="x",
        formula=Formula(
            "e = exponential(at_most(x, 20)); n = e * (e + 2);"
            "where(x < -800, 0, x * (n / (n + 2)))",
            "u = at_least(at_most(x, 40), -800); e = exponential(u); n = e * (e + 2);"
            "(n + 4 * u * e * (1 + e) / (n + 2)) / (n + 2)",
        ),
    ),
}
"""By their kinds, in the order of their numbers."""

ACTIVATION_KINDS: tuple[ActivationKind, ...] = tuple(ACTIVATIONS)


def number_of(kind: str) -> int:
    """Return the number of an activation in native kernels.

    Raises
    ------
    ValueError
        If there is no such activation.

    Examples
    --------
    >>> number_of("relu"), number_of("softplus")
    (0, 6)
    """
    return list(ACTIVATIONS).index(_known(kind))


def activation_of(kind: str) -> Activation:
    """Return the row of an activation.

    Raises
    ------
    ValueError
        If there is no such activation.

    Examples
    --------
    >>> activation_of("tanh").value(0.0, 0.0), activation_of("gelu").keeps
    (0.0, 'x')
    """
    return ACTIVATIONS[_known(kind)]


def _known(kind: str) -> ActivationKind:
    for known in ACTIVATIONS:
        if known == kind:
            return known
    raise ValueError(f"activation is {kind!r}; expected one of {', '.join(ACTIVATIONS)}")


def compiled_formula(formula: str, argument: str, functions: dict[str, Any]) -> Callable[..., Any]:
    """Make a Python function of a formula: of arrays, or of whatever the functions take.

    Parameters
    ----------
    formula
        As in the table.
    argument
        What it is a formula of: "x" or "y".
    functions
        The functions that formulas use, by their names.

    Returns
    -------
    callable
        (argument, one) -> result.

    Examples
    --------
    >>> compiled_formula("a = x * x; a + one", "x", {})(3, 1)
    10
    """
    *steps, last = (statement.strip() for statement in formula.split(";"))
    body = "".join(f"    {step}\n" for step in steps)
    source = f"def formula({argument}, one):\n{body}    return {last}\n"
    namespace = dict(functions)
    exec(source, namespace)
    made: Callable[..., Any] = namespace["formula"]
    return made
