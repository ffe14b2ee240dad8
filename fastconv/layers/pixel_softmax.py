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

    def _call(self, builder: PlanBuilder, node: Node, way: str, values: dict[str, int]) -> None:
        """Add a call on the rows of channels of all pixels."""
        shape = builder.batch * math.prod(node.input_shape[:-1]), node.input_shape[-1]
        rows = [builder.view(f"{node.name}.{name}", n, shape) for name, n in values.items()]
        builder.call(f"activation.{self._of_vectors}_{way}", SoftmaxSpec(*shape), *rows)

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
        self._call(builder, node, "forward", {"rows_x": node.x, "rows_y": node.y})

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the data gradient, where needed."""
        if dx is not None:
            rows = {"rows_dy": dy, "rows_of_y": node.y, "rows_dx": dx}
            self._call(builder, node, "backward", rows)


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
