"""Pooling layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from fastconv.layers.base import Layer, Node, image_shape
from fastconv.plans.operation import InputSpec
from fastconv.spec import PoolSpec, Shape, as_pair, resolve_padding

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder


def _spec(
    owner: str,
    batch: int,
    shape: Shape,
    layer: MaxPool2D | AvgPool2D,
    count_include_pad: bool = True,
) -> PoolSpec:
    height, width, channels = image_shape(owner, shape)
    kernel = as_pair(owner, "kernel", layer.kernel)
    stride = kernel if layer.stride is None else as_pair(owner, "stride", layer.stride)
    sides = resolve_padding(owner, layer.padding, (height, width), kernel, stride)
    return PoolSpec(
        batch, channels, height, width, kernel, stride, sides, layer.ceil_mode, count_include_pad
    )


@dataclass(frozen=True)
class MaxPool2D(Layer):
    """Max pooling; parameters as for :func:`fastconv.max_pool2d`."""

    kind: ClassVar[str] = "max_pool2d"

    kernel: Any = 2
    stride: Any = None
    padding: Any = 0
    ceil_mode: bool = False

    def spec(self, batch: int, input_shape: Shape) -> PoolSpec:
        """Spec of the pooling of ``batch`` such samples."""
        return _spec("max_pool2d", batch, input_shape, self)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample."""
        return self.spec(1, input_shape).y_shape[1:]

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call, which also notes where each window's largest pixel is."""
        argmax = builder.buffer(f"{node.name}.argmax", builder.batched(node.output_shape), "int32")
        node.saved["argmax"] = argmax
        spec = self.spec(builder.batch, node.input_shape)
        builder.call("pool.max_pool2d_forward", spec, node.x, node.y, argmax)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the data gradient, where needed."""
        if dx is not None:
            spec = self.spec(builder.batch, node.input_shape)
            builder.call("pool.max_pool2d_backward", spec, dy, node.saved["argmax"], dx)


@dataclass(frozen=True)
class AvgPool2D(Layer):
    """Average pooling; parameters as for :func:`fastconv.avg_pool2d`."""

    kind: ClassVar[str] = "avg_pool2d"

    kernel: Any = 2
    stride: Any = None
    padding: Any = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def spec(self, batch: int, input_shape: Shape) -> PoolSpec:
        """Spec of the pooling of ``batch`` such samples."""
        return _spec("avg_pool2d", batch, input_shape, self, self.count_include_pad)

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample."""
        return self.spec(1, input_shape).y_shape[1:]

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call."""
        spec = self.spec(builder.batch, node.input_shape)
        builder.call("pool.avg_pool2d_forward", spec, node.x, node.y)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the data gradient, where needed."""
        if dx is not None:
            spec = self.spec(builder.batch, node.input_shape)
            builder.call("pool.avg_pool2d_backward", spec, dy, dx)


@dataclass(frozen=True)
class GlobalAvgPool2D(Layer):
    """Mean over all pixels of each channel: images to vectors."""

    kind: ClassVar[str] = "global_avg_pool2d"

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample: (channels,)."""
        return (image_shape("global_avg_pool2d", input_shape)[2],)

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call."""
        spec = InputSpec(builder.batch, *image_shape(self.kind, node.input_shape))
        builder.call("pool.global_avg_pool2d_forward", spec, node.x, node.y)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the data gradient, where needed."""
        if dx is not None:
            spec = InputSpec(builder.batch, *image_shape(self.kind, node.input_shape))
            builder.call("pool.global_avg_pool2d_backward", spec, dy, dx)


@dataclass(frozen=True)
class GlobalMaxPool2D(Layer):
    """Largest pixel of each channel: images to vectors."""

    kind: ClassVar[str] = "global_max_pool2d"

    def spec(self, batch: int, input_shape: Shape) -> PoolSpec:
        """Spec of the pooling: one window, the whole image."""
        return _spec(self.kind, batch, input_shape, MaxPool2D(input_shape[:2]))

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample: (channels,)."""
        return (image_shape(self.kind, input_shape)[2],)

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call, which also notes where each largest pixel is."""
        spec = self.spec(builder.batch, node.input_shape)
        argmax = builder.buffer(f"{node.name}.argmax", spec.y_shape, "int32")
        node.saved["argmax"] = argmax
        y = builder.view(f"{node.name}.pixels", node.y, spec.y_shape)
        builder.call("pool.max_pool2d_forward", spec, node.x, y, argmax)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the data gradient, where needed."""
        if dx is not None:
            spec = self.spec(builder.batch, node.input_shape)
            dy = builder.view(f"{node.name}.dpixels", dy, spec.y_shape)
            builder.call("pool.max_pool2d_backward", spec, dy, node.saved["argmax"], dx)
