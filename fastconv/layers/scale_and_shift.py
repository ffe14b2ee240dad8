"""A factor and a summand for each channel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fastconv.layers.base import Layer, Node, Parameter
from fastconv.spec import ConvSpec, Shape

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder


@dataclass(frozen=True)
class ScaleAndShift(Layer):
    """Each channel times a factor of its own, plus a summand of its own.

    What a batch normalisation with fixed statistics is: a 1x1 convolution of one channel to a
    group.

    Parameters
    ----------
    scale, shift
        What all factors and all summands begin with.
    train
        Whether both are learned; else they stay as they are.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> network = fastconv.Sequential([ScaleAndShift(2.0, -1.0)], input_shape=(2,))
    >>> fastconv.Predictor(network, backend="numpy")(np.ones((1, 1, 1, 2), np.float32)).tolist()
    [[1.0, 1.0]]
    """

    kind: ClassVar[str] = "scale_and_shift"
    retains: ClassVar[tuple[str, ...]] = ("x",)

    scale: float = 1.0
    shift: float = 0.0
    train: bool = True

    def _spec(self, batch: int, shape: Shape) -> ConvSpec:
        rows, channels = math.prod(shape[:-1]), shape[-1]
        return ConvSpec(batch, channels, 1, rows, channels, (1, 1), groups=channels)

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Factors and summands; no weight decay shrinks them unless it shrinks biases too."""
        channels = input_shape[-1]
        return (
            Parameter(
                "weight", (1, 1, 1, channels), "scale" if self.train else "state", start=self.scale
            ),
            Parameter("bias", (channels,), "bias" if self.train else "state", start=self.shift),
        )

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call."""
        spec = self._spec(builder.batch, node.input_shape)
        x = builder.view(f"{node.name}.x", node.x, spec.x_shape)
        y = builder.view(f"{node.name}.y", node.y, spec.y_shape)
        node.saved["x"] = x
        weight, bias = node.parameters["weight"], node.parameters["bias"]
        builder.call("conv.conv2d_forward", spec, x, weight, bias, y)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the data gradient, where needed, and the gradients of what is learned."""
        spec = self._spec(builder.batch, node.input_shape)
        dy = builder.view(f"{node.name}.dy", dy, spec.y_shape)
        if dx is not None:
            dx = builder.view(f"{node.name}.pixels_dx", dx, spec.x_shape)
            builder.call("conv.conv2d_backward_data", spec, dy, node.parameters["weight"], dx)
        g = node.gradients
        if g:
            x = node.saved["x"]
            builder.call("conv.conv2d_backward_weight", spec, dy, x, g["weight"], g["bias"])
