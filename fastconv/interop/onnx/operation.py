"""A node of an ONNX graph as those see it who make layers of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from fastconv.interop.onnx.assembly import Assembly
from fastconv.interop.onnx.errors import OnnxError
from fastconv.interop.onnx.values import Value
from fastconv.spec import Shape

Argument: TypeAlias = Value | NDArray[Any] | None
"""What a node reads: a value, a constant, or nothing where an input is left out."""
BATCH = 1_000_003
"""Stands for the batch where its size is open: a prime that no other size is made of."""


@dataclass
class Operation:
    """A node with what it reads.

    Parameters
    ----------
    path
        Of the file, for error messages.
    node
        The node.
    version
        Of the operator set.
    inputs
        What it reads.
    attributes
        By name.
    assembly
        The network that comes to be.
    batch
        Size of the batch, or :data:`BATCH`.
    """

    path: str
    node: onnx.NodeProto
    version: int
    inputs: list[Argument]
    attributes: dict[str, Any]
    assembly: Assembly
    batch: int
    hint: str = "step"
    _looked_at: set[str] = field(default_factory=set)

    @property
    def kind(self) -> str:
        """Name of the operator."""
        return str(self.node.op_type)

    def refuse(self, reason: str) -> NoReturn:
        """Raise the error that names the node and the operator."""
        raise OnnxError(f"{self.path}: node {name_of(self.node)!r} ({self.kind}): {reason}")

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute; one that nobody asks for is refused by :meth:`check_attributes`."""
        self._looked_at.add(name)
        return self.attributes.get(name, default)

    def require_attribute(self, name: str, expected: Any, default: Any = None) -> None:
        """Refuse an attribute that is not as it must be."""
        given = self.attribute(name, expected if default is None else default)
        if given != expected:
            self.refuse(f"attribute {name} is {given!r}; expected {expected!r}")

    def check_attributes(self) -> None:
        """Refuse the node if an attribute has had no influence."""
        for name, value in self.attributes.items():
            if name not in self._looked_at:
                self.refuse(f"attribute {name} is {value!r}; fastconv does not know it")

    def has(self, place: int) -> bool:
        """Whether an input is there."""
        return place < len(self.inputs) and self.inputs[place] is not None

    def is_constant(self, place: int) -> bool:
        """Whether an input is a constant."""
        return isinstance(self.inputs[place], np.ndarray)

    def value(self, place: int = 0) -> Value:
        """Return an input that other nodes compute from the network's input."""
        given = self.inputs[place] if place < len(self.inputs) else None
        if not isinstance(given, Value):
            self.refuse(
                f"input {place + 1} is {'a constant' if self.has(place) else 'left out'}; expected "
                f"what other nodes make of the network's input"
            )
        return given

    def constant(self, place: int, name: str) -> NDArray[Any]:
        """Return an input that does not depend on the network's input."""
        given = self.inputs[place] if place < len(self.inputs) else None
        if not isinstance(given, np.ndarray):
            self.refuse(
                f"its {name} {'is computed from the input' if self.has(place) else 'is left out'}; "
                f"expected a constant"
            )
        return given

    def numbers(self, place: int, name: str) -> list[int]:
        """Return integers that are an input, or in older files an attribute."""
        if self.has(place):
            return [int(n) for n in self.constant(place, name).ravel()]
        return [int(n) for n in self.attribute(name, [])]

    def sample_axis(self, axis: int, rank: int | None = None) -> int:
        """Return an axis as a value counts them, without the batch."""
        rank = len(self.value().sizes) + 1 if rank is None else rank
        axis = int(axis)
        if not -rank <= axis < rank:
            self.refuse(f"axis is {axis}; expected {-rank} to {rank - 1}")
        axis %= rank
        if axis == 0:
            self.refuse("acts along axis 0, the batch, whose samples fastconv keeps apart")
        return axis - 1

    def image(self, place: int = 0) -> tuple[str, Shape, int]:
        """Return a step with images, its shape, and the axes behind the batch: 3, or 2 for rows."""
        value = self.value(place)
        step, shape = self.assembly.image(value)
        return step, shape, len(value.sizes)

    def shape_of(self, value: Value) -> tuple[int, ...]:
        """Return the sizes of a value with that of the batch."""
        return (self.batch, *value.sizes)


Handler: TypeAlias = Callable[[Operation], Sequence[Value] | Value]
"""Adds the layers of a node, and returns its outputs."""


def name_of(node: onnx.NodeProto) -> str:
    """Return what a node is called: by its name, or by its first output."""
    return str(node.name or next(iter(node.output), "") or node.op_type)
