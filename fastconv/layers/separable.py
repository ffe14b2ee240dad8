"""Depthwise-separable convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fastconv.layers.base import Layer, Node, Parameter, image_shape
from fastconv.layers.convolution import Conv2D
from fastconv.spec import ConvSpec, Shape, require_int

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder


@dataclass(frozen=True)
class SeparableConv2D(Layer):
    """A filter for each channel, then a 1x1 convolution (Chollet, arXiv:1610.02357).

    Parameters
    ----------
    filters
        Number of output channels.
    kernel, stride, dilation, padding
        Of the filters for each channel, as for :class:`fastconv.layers.Conv2D`.
    depth_multiplier
        Filters for each channel.
    bias
        Whether a bias is added at the end.
    """

    kind: ClassVar[str] = "separable_conv2d"
    retains: ClassVar[tuple[str, ...]] = ("x",)

    filters: int
    kernel: Any = 3
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    depth_multiplier: int = 1
    bias: bool = True

    def specs(self, batch: int, input_shape: Shape) -> tuple[ConvSpec, ConvSpec]:
        """Specs of the depthwise and of the 1x1 convolution of ``batch`` such samples."""
        channels = image_shape(self.kind, input_shape)[2]
        require_int(self.kind, "depth_multiplier", self.depth_multiplier, 1)
        depthwise = Conv2D(
            channels * self.depth_multiplier, self.kernel, self.stride, self.padding,
            self.dilation, channels,
        ).spec(batch, input_shape)  # fmt: skip
        return depthwise, Conv2D(self.filters, 1).spec(batch, depthwise.y_shape[1:])

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample."""
        return self.specs(1, input_shape)[1].y_shape[1:]

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """HWIO weights of both, and a bias."""
        depthwise, pointwise = self.specs(1, input_shape)
        taps = depthwise.kernel[0] * depthwise.kernel[1]
        channels = pointwise.in_channels
        found = (
            Parameter("depthwise_weight", depthwise.w_shape, "weight", taps, taps),
            Parameter("pointwise_weight", pointwise.w_shape, "weight", channels, self.filters),
        )
        return (*found, Parameter("bias", (self.filters,), "bias")) if self.bias else found

    def flops(self, input_shape: Shape) -> int:
        """Floating point operations of the forward pass on one sample."""
        return sum(spec.flops for spec in self.specs(1, input_shape))

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add both convolutions; what is between them is kept for the way back."""
        depthwise, pointwise = self.specs(builder.batch, node.input_shape)
        p = node.parameters
        between = builder.buffer(f"{node.name}.depthwise", depthwise.y_shape)
        node.saved["between"] = between
        weights = p["depthwise_weight"], p["pointwise_weight"]
        builder.call("conv.conv2d_forward", depthwise, node.x, weights[0], None, between)
        builder.call("conv.conv2d_forward", pointwise, between, weights[1], p.get("bias"), node.y)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the gradients of both, last to first."""
        depthwise, pointwise = self.specs(builder.batch, node.input_shape)
        p, g, between = node.parameters, node.gradients, node.saved["between"]
        data, weight = "conv.conv2d_backward_data", "conv.conv2d_backward_weight"
        trains_depthwise = "depthwise_weight" in g
        gradient = -1
        if dx is not None or trains_depthwise:
            gradient = builder.buffer(f"{node.name}.depthwise.gradient", depthwise.y_shape)
            builder.call(data, pointwise, dy, p["pointwise_weight"], gradient)
        if "pointwise_weight" in g or "bias" in g:
            builder.call(weight, pointwise, dy, between, g["pointwise_weight"], g.get("bias"))
        if dx is not None:
            builder.call(data, depthwise, gradient, p["depthwise_weight"], dx)
        if trains_depthwise:
            builder.call(weight, depthwise, gradient, node.x, g["depthwise_weight"], None)
