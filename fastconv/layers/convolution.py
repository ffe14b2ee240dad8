"""Convolution layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fastconv.layers.base import Layer, Node, Parameter, image_shape
from fastconv.spec import ConvSpec, Shape, SpecError, as_pair, require_int, resolve_padding

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder


@dataclass(frozen=True)
class Conv2D(Layer):
    """2-D convolution.

    Parameters
    ----------
    filters
        Number of output channels.
    kernel, stride, dilation
        An int or (height, width).
    padding
        As for :func:`fastconv.conv2d`.
    groups
        Independent groups of channels.
    bias
        Whether a bias is added.
    """

    kind: ClassVar[str] = "conv2d"
    retains: ClassVar[tuple[str, ...]] = ("x",)

    filters: int
    kernel: Any = 3
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1
    bias: bool = True

    def spec(self, batch: int, input_shape: Shape) -> ConvSpec:
        """Spec of the convolution of ``batch`` such samples."""
        height, width, channels = image_shape("conv2d", input_shape)
        require_int("conv2d", "filters", self.filters, 1)
        require_int("conv2d", "groups", self.groups, 1)
        kernel = as_pair("conv2d", "kernel", self.kernel)
        stride = as_pair("conv2d", "stride", self.stride)
        dilation = as_pair("conv2d", "dilation", self.dilation)
        sides = resolve_padding("conv2d", self.padding, (height, width), kernel, stride, dilation)
        return ConvSpec(
            batch, channels, height, width, self.filters, kernel, stride, sides, dilation,
            self.groups,
        )  # fmt: skip

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample."""
        return self.spec(1, input_shape).y_shape[1:]

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """HWIO weights, and a bias."""
        shape = self.spec(1, input_shape).w_shape
        taps = shape[0] * shape[1]
        fan_in, fan_out = taps * shape[2], taps * shape[3] // self.groups
        weight = Parameter("weight", shape, "weight", fan_in, fan_out)
        return (weight, Parameter("bias", (self.filters,), "bias")) if self.bias else (weight,)

    def flops(self, input_shape: Shape) -> int:
        """Floating point operations of the forward pass on one sample."""
        return self.spec(1, input_shape).flops

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call."""
        spec = self.spec(builder.batch, node.input_shape)
        weight, bias = node.parameters["weight"], node.parameters.get("bias")
        builder.call("conv.conv2d_forward", spec, node.x, weight, bias, node.y)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the data gradient, where needed, and the weight gradient."""
        spec = self.spec(builder.batch, node.input_shape)
        if dx is not None:
            builder.call("conv.conv2d_backward_data", spec, dy, node.parameters["weight"], dx)
        if node.gradients:
            dw, db = node.gradients["weight"], node.gradients.get("bias")
            builder.call("conv.conv2d_backward_weight", spec, dy, node.x, dw, db)


@dataclass(frozen=True)
class ConvTranspose2D(Layer):
    """Transposed 2-D convolution.

    Parameters
    ----------
    filters
        Number of output channels.
    kernel, stride, padding, output_padding, dilation, groups
        As for :func:`fastconv.conv_transpose2d`.
    bias
        Whether a bias is added.
    """

    kind: ClassVar[str] = "conv_transpose2d"
    retains: ClassVar[tuple[str, ...]] = ("x",)

    filters: int
    kernel: Any = 3
    stride: Any = 1
    padding: Any = 0
    output_padding: Any = 0
    dilation: Any = 1
    groups: int = 1
    bias: bool = True

    def spec(self, batch: int, input_shape: Shape) -> ConvSpec:
        """Spec of the convolution that is transposed."""
        owner = "conv_transpose2d"
        height, width, channels = image_shape(owner, input_shape)
        require_int(owner, "filters", self.filters, 1)
        require_int(owner, "groups", self.groups, 1)
        if isinstance(self.padding, str):
            raise SpecError(owner, "padding", self.padding, "numbers")
        kernel = as_pair(owner, "kernel", self.kernel)
        stride = as_pair(owner, "stride", self.stride)
        dilation = as_pair(owner, "dilation", self.dilation)
        extra = as_pair(owner, "output_padding", self.output_padding, least=0)
        sides = resolve_padding(owner, self.padding, (height, width), kernel, stride, dilation)
        return ConvSpec.of_transposed(
            batch, channels, height, width, self.filters, kernel, stride, sides, extra, dilation,
            self.groups,
        )  # fmt: skip

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample."""
        return self.spec(1, input_shape).x_shape[1:]

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Weights (KH, KW, filters / groups, channels), and a bias."""
        shape = self.spec(1, input_shape).w_shape
        taps = shape[0] * shape[1]
        fan_in, fan_out = taps * shape[3] // self.groups, taps * shape[2]
        weight = Parameter("weight", shape, "weight", fan_in, fan_out)
        return (weight, Parameter("bias", (self.filters,), "bias")) if self.bias else (weight,)

    def flops(self, input_shape: Shape) -> int:
        """Floating point operations of the forward pass on one sample."""
        return self.spec(1, input_shape).flops

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call."""
        spec = self.spec(builder.batch, node.input_shape)
        weight, bias = node.parameters["weight"], node.parameters.get("bias")
        builder.call("conv.conv_transpose2d_forward", spec, node.x, weight, bias, node.y)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the data gradient, where needed, and the weight gradient."""
        spec = self.spec(builder.batch, node.input_shape)
        if dx is not None:
            weight = node.parameters["weight"]
            builder.call("conv.conv_transpose2d_backward_data", spec, dy, weight, dx)
        if node.gradients:
            dw, db = node.gradients["weight"], node.gradients.get("bias")
            builder.call("conv.conv_transpose2d_backward_weight", spec, dy, node.x, dw, db)
