"""Softmax over the channels of each pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fastconv.layers.base import Layer, Node
from fastconv.plans.operation import SoftmaxSpec
from fastconv.spec import Shape

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder


class _OverChannels(Layer):
    """Softmax or log-softmax over the last axis of a sample with several."""

    retains: ClassVar[tuple[str, ...]] = ("y",)
    in_place: ClassVar[bool] = True
    _of_vectors: ClassVar[str]

    def _spec(self, builder: PlanBuilder, shape: Shape) -> SoftmaxSpec:
        return SoftmaxSpec(builder.batch * math.prod(shape[:-1]), shape[-1])

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample: that of the input."""
        if len(input_shape) < 2:
            raise ValueError(
                f"{self.kind} takes pixels with channels but gets {input_shape}; use "
                f"{self._of_vectors} for vectors"
            )
        return input_shape

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call."""
        spec = self._spec(builder, node.input_shape)
        builder.call(f"activation.{self._of_vectors}_forward", spec, node.x, node.y)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the data gradient, where needed."""
        if dx is not None:
            spec = self._spec(builder, node.input_shape)
            builder.call(f"activation.{self._of_vectors}_backward", spec, dy, node.y, dx)


@dataclass(frozen=True)
class Softmax2D(_OverChannels):
    """Probabilities from scores, for each pixel by itself: the channels of a pixel add up to 1."""

    kind: ClassVar[str] = "softmax2d"
    _of_vectors: ClassVar[str] = "softmax"


@dataclass(frozen=True)
class LogSoftmax2D(_OverChannels):
    """Log-probabilities from scores, for each pixel by itself."""

    kind: ClassVar[str] = "log_softmax2d"
    _of_vectors: ClassVar[str] = "log_softmax"
