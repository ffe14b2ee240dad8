"""Activations that exporters write as several nodes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

from fastconv.layers import (
    GELU,
    HardSigmoid,
    HardSwish,
    Layer,
    Mish,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
)

_OF_TWO = ("Add", "Mul", "Div", "Pow")
_MOST_FACTORS = 8
"""Constants that one after the other multiply a value."""
Found = tuple[Layer, str]
"""An activation, and the name of what it is of."""


class Patterns:
    """Finds activations in a graph.

    Parameters
    ----------
    makers
        Nodes by the names of their outputs.
    constants
        Constants by name.
    attributes
        Those of a node.
    """

    def __init__(
        self,
        makers: Mapping[str, onnx.NodeProto],
        constants: Mapping[str, NDArray[Any]],
        attributes: Any,
    ) -> None:
        self._makers, self._constants, self._attributes = makers, constants, attributes

    def find(self, name: str) -> Found | None:
        """Return the activation that the nodes behind a value are; None if they are none."""
        for pattern in (
            self._hard_sigmoid, self._gated, self._gelu, self._softplus, self._softsign,
            self._sigmoid,
        ):  # fmt: skip
            found = pattern(name)
            if found is not None:
                return found
        return None

    def _number(self, name: str) -> float | None:
        """Return a constant of one element."""
        array = self._constants.get(name)
        return float(array.ravel()[0]) if array is not None and array.size == 1 else None

    def _inputs(self, name: str, *kinds: str) -> list[str] | None:
        """Return what the node of one of some kinds reads that makes a value."""
        node = self._makers.get(name)
        if node is None or node.op_type not in kinds or node.domain not in ("", "ai.onnx"):
            return None
        read = list(node.input)
        # A damaged file may have fewer.
        return read if len(read) >= (2 if node.op_type in _OF_TWO else 1) else None

    def _one(self, name: str, *kinds: str) -> str | None:
        read = self._inputs(name, *kinds)
        return read[0] if read else None

    def _with_number(self, name: str, kind: str) -> tuple[str, float] | None:
        """Return the value and the number of a sum or a product."""
        read = self._inputs(name, kind)
        if read is None or len(read) != 2:
            return None
        for value, other in (read, read[::-1]):
            number = self._number(other)
            if number is not None:
                return value, number
        return None

    def _scaled(self, name: str) -> tuple[float, str]:
        """Return factor and value of products with constants, and quotients by them."""
        factor = 1.0
        for _ in range(_MOST_FACTORS):
            product = self._with_number(name, "Mul")
            if product is not None:
                name, number = product
                factor *= number
                continue
            quotient = self._inputs(name, "Div")
            number_ = self._number(quotient[1]) if quotient else None
            if quotient is None or not number_:
                return factor, name
            name, factor = quotient[0], factor / number_
        return factor, name

    def _products(self, name: str) -> list[tuple[float, str, str]]:
        """Return factor and both values of a product of two values, as it may be understood.

        Constants may be part of either value, or of the factor.
        """
        factor, product = self._scaled(name)
        read = self._inputs(product, "Mul")
        if read is None or len(read) != 2:
            return []
        seen = [dict.fromkeys([(1.0, each), self._scaled(each)]) for each in read]
        return [(factor * f * g, x, y) for f, x in seen[0] for g, y in seen[1]]

    def _plus(self, name: str, number: float) -> str | None:
        """Return a value to which a number is added."""
        total = self._with_number(name, "Add")
        return total[0] if total and _is(total[1], number) else None

    def _relu6_of_shifted(self, name: str) -> str | None:
        """Return x of ``clip(x + 3, 0, 6)``."""
        read = self._inputs(name, "Clip")
        if read is None:
            return None
        node = self._makers[name]
        given = self._attributes(node)
        bounds = [given.get("min"), given.get("max")]
        for place in (1, 2):
            if len(read) > place and read[place]:
                bounds[place - 1] = self._number(read[place])
        return self._plus(read[0], 3.0) if bounds == [0, 6] else None

    def _hard_sigmoid(self, name: str) -> Found | None:
        factor, value = self._scaled(name)
        inner = self._relu6_of_shifted(value)
        return (HardSigmoid(), inner) if inner is not None and _is(factor, 1 / 6) else None

    def _gated(self, name: str) -> Found | None:
        """X times a sigmoid, a hard sigmoid or tanh(softplus) of x."""
        for factor, x, gate in _either_way(self._products(name)):
            inner = self._one(gate, "Sigmoid")
            if inner == x and _is(factor, 1):
                return SiLU(), x
            if self._relu6_of_shifted(gate) == x and _is(factor, 1 / 6):
                return HardSwish(), x
            if self._one(gate, "HardSigmoid") == x and _is(factor, 1):
                given = self._attributes(self._makers[gate])
                if _is(given.get("alpha", 0.2), 1 / 6) and _is(given.get("beta", 0.5), 0.5):
                    return HardSwish(), x
            inner = self._one(gate, "Tanh")
            if inner is not None and _is(factor, 1) and self._one(inner, "Softplus") == x:
                return Mish(), x
        return None

    def _gelu(self, name: str) -> Found | None:
        """x/2 times 1 + erf(x / sqrt(2)), or 1 + tanh of a cubic."""
        for share, x, gate in _either_way(self._products(name)):
            bent = self._with_number(gate, "Add")
            if bent is None or not _is(bent[1], 1) or not _is(share, 0.5):
                continue
            inner = self._one(bent[0], "Erf")
            if inner is not None:
                factor, value = self._scaled(inner)
                if value == x and _is(factor, math.sqrt(0.5)):
                    return GELU(), x
            inner = self._one(bent[0], "Tanh")
            if inner is not None and self._is_cubic(inner, x):
                return GELU("tanh"), x
        return None

    def _is_cubic(self, name: str, x: str) -> bool:
        """Whether a value is ``sqrt(2 / pi) * (x + 0.044715 * x**3)``."""
        factor, total = self._scaled(name)
        read = self._inputs(total, "Add")
        if read is None or not _is(factor, math.sqrt(2 / math.pi)):
            return False
        for first, second in (read, read[::-1]):
            share, cube = self._scaled(second)
            if first == x and _is(share, 0.044715) and self._is_cube(cube, x):
                return True
        return False

    def _is_cube(self, name: str, x: str) -> bool:
        raised = self._inputs(name, "Pow")
        if raised is not None:
            return raised[0] == x and self._number(raised[1]) == 3
        read = self._inputs(name, "Mul")
        if read is None:
            return False
        return any(
            first == x and self._inputs(second, "Mul") == [x, x]
            for first, second in (read, read[::-1])
        )

    def _softplus(self, name: str) -> Found | None:
        """log(1 + exp(x))."""
        inner = self._one(name, "Log")
        if inner is None:
            return None
        exponential = self._plus(inner, 1.0)
        x = self._one(exponential, "Exp") if exponential is not None else None
        return (Softplus(), x) if x is not None else None

    def _softsign(self, name: str) -> Found | None:
        read = self._inputs(name, "Div")
        if read is None:
            return None
        size = self._plus(read[1], 1.0)
        is_it = size is not None and self._one(size, "Abs") == read[0]
        return (Softsign(), read[0]) if is_it else None

    def _sigmoid(self, name: str) -> Found | None:
        """1 / (1 + exp(-x))."""
        read = self._inputs(name, "Div")
        inverse = self._one(name, "Reciprocal")
        if read is not None and self._number(read[0]) == 1:
            inverse = read[1]
        exponential = self._plus(inverse, 1.0) if inverse is not None else None
        power = self._one(exponential, "Exp") if exponential is not None else None
        x = self._one(power, "Neg") if power is not None else None
        return (Sigmoid(), x) if x is not None else None


def _either_way(
    products: Iterable[tuple[float, str, str]],
) -> Iterator[tuple[float, str, str]]:
    """Go through products with their values in both orders."""
    for factor, first, second in products:
        yield factor, first, second
        yield factor, second, first


def _is(given: float, expected: float) -> bool:
    """Whether a number is another one, up to the digits that exporters write."""
    return math.isclose(given, expected, rel_tol=1e-4)
