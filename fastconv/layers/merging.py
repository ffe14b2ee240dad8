"""Layers of layers: branches that read the same input, and what merges their outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fastconv.layers.base import Branch, Layer, Node
from fastconv.plans.merging import BroadcastSpec, ConcatenateSpec
from fastconv.spec import Shape

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder


def _spec(batch: int, shape: Shape, per_channel: bool = False) -> BroadcastSpec:
    return BroadcastSpec(batch, math.prod(shape[:-1]), shape[-1], per_channel)


class _Merging(Layer):
    """A layer whose output is made of those of its branches."""

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample."""
        return self.merged_shape([branch.output_shape(input_shape) for branch in self.branches])

    def flops(self, input_shape: Shape) -> int:
        """Floating point operations of the layers within, on one sample."""
        return sum(branch.flops(input_shape) for branch in self.branches)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Not used: :meth:`backward_of_branches` gives a gradient to each branch."""
        raise NotImplementedError


@dataclass(frozen=True)
class Residual(_Merging):
    """The sum of what some layers make of the input and of the input itself.

    He et al., "Deep Residual Learning for Image Recognition" (arXiv:1512.03385).

    Parameters
    ----------
    layers
        The layers.
    shortcut
        Layers on the way of the input to the sum, where the shapes would differ; none by default.

    Examples
    --------
    >>> from fastconv.layers import Conv2D, ReLU
    >>> from fastconv.network import Sequential
    >>> block = Residual([Conv2D(4, padding=1), ReLU(), Conv2D(4, padding=1)])
    >>> network = Sequential([Conv2D(4, padding=1), block, ReLU()], input_shape=(8, 8, 1))
    >>> network.output_shape, network.names[1]
    ((8, 8, 4), 'residual_1.conv2d_1')
    """

    kind: ClassVar[str] = "residual"
    in_place: ClassVar[bool] = True

    layers: Sequence[Layer]
    shortcut: Sequence[Layer] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "shortcut", tuple(self.shortcut))

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The layers, and the shortcut."""
        return Branch("", tuple(self.layers)), Branch("shortcut", tuple(self.shortcut))

    def with_branches(self, branches: Sequence[Sequence[Layer]]) -> Residual:
        """Return a residual block with other layers and another shortcut."""
        layers, shortcut = branches
        return Residual(layers, shortcut)

    def merged_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Shape of the sum of outputs of these shapes."""
        first, second = shapes
        if first != second:
            raise ValueError(
                f"residual adds {first} of its layers to {second} of its shortcut; give the "
                f"shortcut layers that make it {first}, such as a 1x1 convolution"
            )
        return first

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the sum."""
        spec = _spec(builder.batch, node.output_shape)
        builder.call("merge.add_forward", spec, *node.inputs, node.y)

    def backward_of_branches(
        self, builder: PlanBuilder, node: Node, dy: int, needed: Sequence[bool]
    ) -> list[int | None]:
        """Give the gradient of the sum to both, as it is."""
        return [
            builder.view(f"{node.name}.dx_{number}", dy, builder.batched(node.output_shape))
            if is_needed
            else None
            for number, is_needed in enumerate(needed, start=1)
        ]


@dataclass(frozen=True, init=False)
class Concatenate(_Merging):
    """The outputs of several branches, their channels side by side.

    Szegedy et al., "Going Deeper with Convolutions" (arXiv:1409.4842).

    Parameters
    ----------
    branches
        Two or more, each a sequence of layers; without layers, the input itself.

    Examples
    --------
    >>> from fastconv.layers import Conv2D
    >>> Concatenate([Conv2D(4, 1)], [Conv2D(8, 3, padding=1)], []).output_shape((6, 6, 3))
    (6, 6, 15)
    """

    kind: ClassVar[str] = "concatenate"

    paths: tuple[tuple[Layer, ...], ...]

    def __init__(self, *branches: Sequence[Layer]) -> None:
        object.__setattr__(self, "paths", tuple(map(tuple, branches)))

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The branches."""
        numbered = enumerate(self.paths, start=1)
        return tuple(Branch(f"branch_{number}", layers) for number, layers in numbered)

    def with_branches(self, branches: Sequence[Sequence[Layer]]) -> Concatenate:
        """Return other branches side by side."""
        return Concatenate(*branches)

    def merged_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Shape of the outputs side by side."""
        if len(shapes) < 2:
            raise ValueError(f"concatenate has {len(shapes)} branches; give it two or more")
        for shape in shapes[1:]:
            if shape[:-1] != shapes[0][:-1]:
                raise ValueError(
                    f"concatenate puts the channels of {shapes[0]} and {shape} side by side; "
                    f"their other sizes must be the same: change a padding or a stride"
                )
        return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add one branch after the other to those before."""
        together = node.inputs[0]
        for number, (spec, shape) in enumerate(self._steps(builder, node), start=1):
            is_last = number == len(node.inputs) - 1
            y = node.y if is_last else builder.buffer(f"{node.name}.part_{number}", shape)
            builder.call("merge.concatenate_forward", spec, together, node.inputs[number], y)
            together = y

    def backward_of_branches(
        self, builder: PlanBuilder, node: Node, dy: int, needed: Sequence[bool]
    ) -> list[int | None]:
        """Give each branch the gradient of its channels, the last branch first."""
        gradients: list[int | None] = [None] * len(needed)
        steps = list(self._steps(builder, node))
        for number in range(len(needed) - 1, 0, -1):
            before: int | None = None
            if number > 1 and any(needed[:number]):
                shape = steps[number - 2][1]
                before = builder.take(f"{node.name}.dx_part_{number - 1}", shape)
            elif number == 1 and needed[0]:
                before = gradients[0] = self._gradient_of(builder, node, 0)
            if needed[number]:
                gradients[number] = self._gradient_of(builder, node, number)
            spec = steps[number - 1][0]
            builder.call("merge.concatenate_backward", spec, dy, before, gradients[number])
            if before is None:
                break
            dy = before
        return gradients

    def _gradient_of(self, builder: PlanBuilder, node: Node, number: int) -> int:
        shape = builder.batched(node.input_shapes[number])
        return builder.take(f"{node.name}.dx_{number + 1}", shape)

    def _steps(self, builder: PlanBuilder, node: Node) -> list[tuple[ConcatenateSpec, Shape]]:
        """For each branch behind the first, its call's spec and the shape of the result."""
        shape, made = builder.batched(node.input_shapes[0]), []
        for other in node.input_shapes[1:]:
            spec = ConcatenateSpec(math.prod(shape[:-1]), shape[-1], other[-1])
            shape = (*shape[:-1], spec.channels)
            made.append((spec, shape))
        return made


@dataclass(frozen=True)
class Scale(_Merging):
    """The input, multiplied by what some layers make of it.

    The layers give the shape of the input, or one number for each channel, which then all pixels
    meet: Hu et al., "Squeeze-and-Excitation Networks" (arXiv:1709.01507).

    Parameters
    ----------
    layers
        The layers.

    Examples
    --------
    >>> from fastconv.layers import Dense, GlobalAvgPool2D, ReLU, Sigmoid
    >>> excitation = [GlobalAvgPool2D(), Dense(2), ReLU(), Dense(8), Sigmoid()]
    >>> Scale(excitation).output_shape((6, 6, 8))
    (6, 6, 8)
    """

    kind: ClassVar[str] = "scale"
    retains: ClassVar[tuple[str, ...]] = ("x",)

    layers: Sequence[Layer]

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The input itself, and the layers."""
        return Branch("input", ()), Branch("", tuple(self.layers))

    def with_branches(self, branches: Sequence[Sequence[Layer]]) -> Scale:
        """Return the input multiplied by what the layers of the second branch make of it."""
        return Scale(branches[1])

    def merged_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Shape of the product of the input and of factors of these shapes."""
        first, factors = shapes
        if factors not in (first, first[-1:]):
            raise ValueError(
                f"scale multiplies {first} by {factors} of its layers; expected {first}, or "
                f"{first[-1:]}: one number for each channel"
            )
        return first

    def _spec(self, builder: PlanBuilder, node: Node) -> BroadcastSpec:
        first, factors = node.input_shapes
        return _spec(builder.batch, first, per_channel=factors != first)

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the product."""
        builder.call("merge.multiply_forward", self._spec(builder, node), *node.inputs, node.y)

    def backward_of_branches(
        self, builder: PlanBuilder, node: Node, dy: int, needed: Sequence[bool]
    ) -> list[int | None]:
        """Give each factor the gradient times the other one."""
        gradients = [
            builder.take(f"{node.name}.dx_{number}", builder.batched(shape)) if is_needed else None
            for number, (shape, is_needed) in enumerate(
                zip(node.input_shapes, needed, strict=True), start=1
            )
        ]
        spec = self._spec(builder, node)
        builder.call("merge.multiply_backward", spec, dy, *node.inputs, *gradients)
        return gradients
