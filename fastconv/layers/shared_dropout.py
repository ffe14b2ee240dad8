"""Dropout of what belongs together: whole channels, whole samples of a branch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fastconv.layers.base import Layer, Node
from fastconv.plans.operation import DropoutSpec
from fastconv.plans.resample_operation import ChannelDropoutSpec
from fastconv.spec import Shape, SpecError

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder


class _SharedDropout(Layer):
    """Dropout by draws that several elements share; nothing in inference."""

    kind: ClassVar[str]
    in_place: ClassVar[bool] = True
    training_only: ClassVar[bool] = True

    probability: float

    def spec(self, batch: int, input_shape: Shape) -> ChannelDropoutSpec:
        """Spec of the layer on ``batch`` such samples."""
        raise NotImplementedError

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample: that of the input."""
        try:
            self.spec(1, input_shape)  # checks the probability
        except SpecError as fault:
            raise fault.of(self.kind) from None
        return input_shape

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the draw of the step's mask, and what it does to the values."""
        spec = self.spec(builder.batch, node.input_shape)
        drawn = (spec.batch * spec.channels,)
        mask = builder.buffer(f"{node.name}.mask", drawn, "uint8")
        node.saved["mask"] = mask
        # The mask is that of dropout on as many zeros, which stay zeros and nobody else reads.
        unused = builder.buffer(f"{node.name}.unused", drawn)
        of_mask = DropoutSpec(drawn[0], spec.probability, builder.new_random_stream())
        builder.call("dropout.dropout_forward", of_mask, unused, builder.step, mask, unused)
        builder.call("dropout.drop_channels", spec, node.x, mask, node.y)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the data gradient, where needed."""
        if dx is not None:
            spec = self.spec(builder.batch, node.input_shape)
            builder.call("dropout.drop_channels", spec, dy, node.saved["mask"], dx)


@dataclass(frozen=True)
class SpatialDropout(_SharedDropout):
    """Dropout of whole channels of a sample (Tompson et al., arXiv:1411.4280).

    Neighbouring pixels say nearly the same: to drop one of them alone hides little.

    Parameters
    ----------
    probability
        Share of the channels that are dropped; the others are scaled by 1 / (1 - probability).
    """

    kind: ClassVar[str] = "spatial_dropout"

    probability: float = 0.5

    def spec(self, batch: int, input_shape: Shape) -> ChannelDropoutSpec:
        """Spec of the layer on ``batch`` such samples."""
        pixels, channels = math.prod(input_shape[:-1]), input_shape[-1]
        return ChannelDropoutSpec(batch, pixels, channels, self.probability)


@dataclass(frozen=True)
class StochasticDepth(_SharedDropout):
    """Dropout of all values of a sample (Huang et al., arXiv:1603.09382), at the end of a branch.

    Parameters
    ----------
    probability
        Share of the samples whose branch is dropped; the others are scaled by
        1 / (1 - probability).
    """

    kind: ClassVar[str] = "stochastic_depth"

    probability: float = 0.5

    def spec(self, batch: int, input_shape: Shape) -> ChannelDropoutSpec:
        """Spec of the layer on ``batch`` such samples."""
        return ChannelDropoutSpec(batch, math.prod(input_shape), 1, self.probability)
