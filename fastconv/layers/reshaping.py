"""Layers that compute nothing: other shapes, and other orders of axes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fastconv.layers.base import Layer, Node
from fastconv.plans.operation import InputSpec
from fastconv.spec import Shape, SpecError

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder


@dataclass(frozen=True)
class Reshape(Layer):
    """The same elements, in their order, with another shape; costs nothing.

    Parameters
    ----------
    shape
        Of an output sample; one size may be -1, for as many as there are.
    """

    kind: ClassVar[str] = "reshape"
    is_view: ClassVar[bool] = True

    shape: Any

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample."""
        given = tuple(self.shape) if isinstance(self.shape, (tuple, list)) else (self.shape,)
        elements = math.prod(input_shape)
        known = math.prod(size for size in given if size != -1)
        shape = tuple(elements // max(1, known) if size == -1 else size for size in given)
        if (
            not 1 <= len(shape) <= 3
            or given.count(-1) > 1
            or any(not isinstance(size, int) or size < 1 for size in shape)
            or math.prod(shape) != elements
        ):
            expected = f"one to three sizes of {elements} elements, as {input_shape} has"
            raise SpecError("reshape", "shape", self.shape, expected)
        return shape


_STEPS: dict[tuple[int, ...], tuple[tuple[int, ...], ...]] = {
    (0, 2, 1): ((0, 2, 1),),
    (1, 2, 0): ((1, 2, 0),),
    (2, 0, 1): ((2, 0, 1),),
    (1, 0, 2): ((1, 2, 0), (0, 2, 1)),
    (2, 1, 0): ((2, 0, 1), (0, 2, 1)),
}
"""Orders of three axes, each made of transpositions of matrices one after the other."""


@dataclass(frozen=True)
class Permute(Layer):
    """The axes of a sample in another order.

    Parameters
    ----------
    dims
        For each axis of the output, which one of the input it is, from 0 and without the batch:
        (2, 0, 1) makes (channels, height, width) of an image.
    """

    kind: ClassVar[str] = "permute"

    dims: Any

    def _dims(self, input_shape: Shape) -> tuple[int, ...]:
        given = tuple(self.dims) if isinstance(self.dims, (tuple, list)) else (self.dims,)
        axes = tuple(range(len(input_shape)))
        if tuple(sorted(given)) != axes or given == axes or len(axes) not in (2, 3):
            expected = f"another order of {axes}, the axes of {input_shape}"
            raise SpecError("permute", "dims", self.dims, expected)
        return given

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample."""
        return tuple(input_shape[axis] for axis in self._dims(input_shape))

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the transpositions."""
        dims = self._dims(node.input_shape)
        _permute(builder, node.name, node.input_shape, dims, node.x, node.y)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the transpositions back, where needed."""
        if dx is not None:
            dims = self._dims(node.input_shape)
            back = tuple(dims.index(axis) for axis in range(len(dims)))
            _permute(builder, f"{node.name}.back", node.output_shape, back, dy, dx)


def _permute(
    builder: PlanBuilder, name: str, shape: Shape, dims: tuple[int, ...], x: int, y: int
) -> None:
    """Add calls that write the samples of x to y with their axes in another order."""
    if len(shape) == 2:
        shape, dims = (1, *shape), (0, 2, 1)
    steps = _STEPS[dims]
    for number, step in enumerate(steps):
        after = tuple(shape[axis] for axis in step)
        last = number == len(steps) - 1
        out = y if last else builder.buffer(f"{name}.between", builder.batched(after))
        # Each is a transposition of the matrices (rows, columns) of every sample.
        if step == (0, 2, 1):
            matrices, rows, columns = shape
        elif step == (1, 2, 0):
            matrices, rows, columns = 1, shape[0], shape[1] * shape[2]
        else:
            matrices, rows, columns = 1, shape[0] * shape[1], shape[2]
        spec = InputSpec(builder.batch * matrices, rows, 1, columns)
        given = builder.view(f"{name}.{number}.in", x, spec.x_shape)
        turned = builder.view(f"{name}.{number}.out", out, (spec.batch, columns, rows, 1))
        builder.call("layout.nhwc_to_nchw", spec, given, turned)
        x, shape = out, after
