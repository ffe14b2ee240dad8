"""A layer at its place in a plan, and the memory of what layers make."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastconv.spec import Shape

if TYPE_CHECKING:
    from fastconv.layers.base import Layer
    from fastconv.plans.plan_builder import PlanBuilder


class ParameterGradients(dict[str, int]):
    """Buffers of the gradients of a layer's parameters, by name: of those that are trained.

    A kernel may compute a gradient that is not wanted beside others that are: asked for by its
    name, it gets memory of its own that nobody reads.

    Parameters
    ----------
    builder
        Of the plan.
    node
        The layer at its place in the plan.
    """

    def __init__(self, builder: PlanBuilder, node: Node) -> None:
        super().__init__()
        self._builder, self._node = builder, node

    def __missing__(self, name: str) -> int:
        shape = self._builder.shape_of(self._node.parameters[name])
        return self._builder.take(f"{self._node.name}.{name}.unused", shape)


@dataclass(slots=True)
class Node:
    """A layer at its place in a plan: the numbers of its buffers.

    Parameters
    ----------
    layer, name
        The layer, and its name in the network.
    input_shape, output_shape
        Of one sample, without the batch.
    x, y
        Input and output.
    inputs, input_shapes
        Of a layer of layers, the outputs of its branches and their shapes; else ``x`` alone.
    parameters, gradients
        By parameter name; gradients as ``ParameterGradients`` says.
    saved
        What forward leaves for backward.
    spec
        The spec of the forward call, where backward needs the same.
    """

    layer: Layer
    name: str
    input_shape: Shape
    output_shape: Shape
    x: int
    y: int = -1
    parameters: dict[str, int] = field(default_factory=dict)
    gradients: dict[str, int] = field(default_factory=dict)
    saved: dict[str, int] = field(default_factory=dict)
    spec: object = None
    inputs: tuple[int, ...] = ()
    input_shapes: tuple[Shape, ...] = ()


class ReusedMemory:
    """Memory that values take until their last reader has been added to a plan.

    A value is known by a number of its caller's. Blocks of memory are taken by :meth:`take`, and
    again when no value is in them.

    Parameters
    ----------
    builder
        Of the plan.
    """

    def __init__(self, builder: PlanBuilder) -> None:
        self._builder = builder
        self._sizes: dict[int, int] = {}
        self._values: dict[int, set[int]] = {}
        self._just_taken: set[int] = set()

    def _values_in(self, number: int) -> set[int]:
        return self._values.setdefault(self._builder.root(number), set())

    def hold(self, number: int, value: int) -> None:
        """Keep a buffer's memory for a value."""
        self._values_in(number).add(value)

    def release(self, number: int, value: int) -> None:
        """Keep it for this value no longer."""
        self._values_in(number).discard(value)

    def holds_only(self, number: int, value: int) -> bool:
        """Whether no other value is in the memory of a buffer: it may be overwritten."""
        return self._values_in(number) <= {value}

    def take(self, name: str, shape: Shape) -> int:
        """Return a view of a free block: the smallest that is large enough, else the largest.

        It is free again behind the next :meth:`settle`, unless it holds a value then.
        """
        size = math.prod(shape)
        free = [n for n in self._sizes if not self._values_in(n) and n not in self._just_taken]
        if free:
            block = min(free, key=lambda n: (self._sizes[n] < size, abs(self._sizes[n] - size)))
        else:
            block = self._builder.buffer(f"{name}.memory", (0,))
        self._sizes[block] = max(self._sizes.get(block, 0), size)
        self._just_taken.add(block)
        return self._builder.view(name, block, shape)

    def settle(self) -> None:
        """Go on to the next layer."""
        self._just_taken.clear()

    def finish(self) -> None:
        """Give each block the size of its largest view."""
        for number, size in self._sizes.items():
            self._builder.resize(number, size)
