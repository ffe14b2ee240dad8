"""Fully connected layers, and the change of shape in front of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fastconv.layers.base import Layer, Node, Parameter
from fastconv.spec import DenseSpec, Shape, require_int

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder


@dataclass(frozen=True)
class Flatten(Layer):
    """Images (height, width, channels) as vectors, in that order; costs nothing."""

    kind: ClassVar[str] = "flatten"
    is_view: ClassVar[bool] = True

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample: one number, all its elements."""
        return (math.prod(input_shape),)


@dataclass(frozen=True)
class Dense(Layer):
    """Fully connected layer.

    Parameters
    ----------
    units
        Number of outputs.
    bias
        Whether a bias is added.
    """

    kind: ClassVar[str] = "dense"
    retains: ClassVar[tuple[str, ...]] = ("x",)

    units: int
    bias: bool = True

    def spec(self, batch: int, input_shape: Shape) -> DenseSpec:
        """Spec of the layer on ``batch`` such samples."""
        require_int("dense", "units", self.units, 1)
        if len(input_shape) != 1:
            raise ValueError(f"dense takes vectors but gets {input_shape}; put flatten in front")
        return DenseSpec(batch, input_shape[0], self.units)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample."""
        return (self.spec(1, input_shape).outputs,)

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Weights (inputs, units), and a bias."""
        spec = self.spec(1, input_shape)
        shape = (spec.inputs, spec.outputs)
        weight = Parameter("weight", shape, "weight", spec.inputs, spec.outputs)
        return (weight, Parameter("bias", (self.units,), "bias")) if self.bias else (weight,)

    def flops(self, input_shape: Shape) -> int:
        """Floating point operations of the forward pass on one sample."""
        return self.spec(1, input_shape).flops

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call."""
        spec = self.spec(builder.batch, node.input_shape)
        weight, bias = node.parameters["weight"], node.parameters.get("bias")
        builder.call("dense.dense_forward", spec, node.x, weight, bias, node.y)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the data gradient, where needed, and the weight gradient."""
        spec = self.spec(builder.batch, node.input_shape)
        if dx is not None:
            builder.call("dense.dense_backward_data", spec, dy, node.parameters["weight"], dx)
        if node.gradients:
            dw, db = node.gradients["weight"], node.gradients.get("bias")
            builder.call("dense.dense_backward_weight", spec, dy, node.x, dw, db)
