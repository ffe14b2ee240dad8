"""Convolution and pooling along one axis: those of images with a single row.

A sample is (length, channels), or (1, length, channels) as a data set has it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from fastconv.layers.base import Layer, Node, Parameter
from fastconv.layers.convolution import Conv2D
from fastconv.layers.pooling import AvgPool2D, MaxPool2D
from fastconv.spec import Shape

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder


def _row(owner: str, shape: Shape) -> Shape:
    """See a sample as an image of one row."""
    if len(shape) == 2:
        return (1, *shape)
    if len(shape) == 3 and shape[0] == 1:
        return shape
    raise ValueError(
        f"{owner} takes (length, channels) or (1, length, channels) but gets {shape}; use reshape, "
        f"or the layer for images"
    )


def _across(padding: Any) -> Any:
    """Return padding of one axis as that of images: a word stays one."""
    if isinstance(padding, str):
        return padding
    return ((0, 0), tuple(padding) if isinstance(padding, (tuple, list)) else (padding, padding))


class _OneDimensional(Layer):
    """A layer that is another one on images of one row."""

    def on_rows(self) -> Layer:
        """Return the layer for images."""
        raise NotImplementedError

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample, with as many axes as the input's."""
        row = self.on_rows().output_shape(_row(self.kind, input_shape))
        return row[3 - len(input_shape) :]

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Arrays of the layer for images."""
        return self.on_rows().parameters(_row(self.kind, input_shape))

    def flops(self, input_shape: Shape) -> int:
        """Floating point operations of the forward pass on one sample."""
        return self.on_rows().flops(_row(self.kind, input_shape))

    def _as_rows(self, builder: PlanBuilder, node: Node) -> Node:
        """Return the place of the layer for images: views of the same memory."""
        if len(node.input_shape) == 3:
            return node
        shapes = [_row(self.kind, shape) for shape in (node.input_shape, node.output_shape)]
        x, y = (
            builder.view(f"{node.name}.{name}", number, builder.batched(shape))
            for name, number, shape in zip(
                ("rows_in", "rows_out"), (node.x, node.y), shapes, strict=True
            )
        )
        # `saved` is shared: what forward leaves there backward finds.
        return replace(node, input_shape=shapes[0], output_shape=shapes[1], x=x, y=y)

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call."""
        rows = self._as_rows(builder, node)
        node.saved = rows.saved
        self.on_rows().forward(builder, rows)
        node.saved["rows_in"] = rows.x

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the backward calls."""
        rows = node
        if len(node.input_shape) == 2:
            shapes = [_row(self.kind, shape) for shape in (node.input_shape, node.output_shape)]
            rows = replace(
                node, input_shape=shapes[0], output_shape=shapes[1], x=node.saved["rows_in"]
            )
            dy = builder.view(f"{node.name}.rows_dy", dy, builder.batched(shapes[1]))
            if dx is not None:
                dx = builder.view(f"{node.name}.rows_dx", dx, builder.batched(shapes[0]))
        self.on_rows().backward(builder, rows, dy, dx)


@dataclass(frozen=True)
class Conv1D(_OneDimensional):
    """1-D convolution.

    Parameters
    ----------
    filters
        Number of output channels.
    kernel, stride, dilation
        Integers.
    padding
        An integer for both ends, (before, after), or a word as for :func:`fastconv.conv2d`.
    groups
        Independent groups of channels.
    bias
        Whether a bias is added.
    """

    kind: ClassVar[str] = "conv1d"
    retains: ClassVar[tuple[str, ...]] = ("x",)

    filters: int
    kernel: int = 3
    stride: int = 1
    padding: Any = 0
    dilation: int = 1
    groups: int = 1
    bias: bool = True

    def on_rows(self) -> Layer:
        """Return the layer for images."""
        return Conv2D(
            self.filters, (1, self.kernel), (1, self.stride), _across(self.padding),
            (1, self.dilation), self.groups, self.bias,
        )  # fmt: skip


@dataclass(frozen=True)
class MaxPool1D(_OneDimensional):
    """1-D max pooling.

    Parameters
    ----------
    kernel, stride
        Integers; without a stride, windows lie side by side.
    padding
        As for :class:`Conv1D`.
    ceil_mode
        Whether a last window may go beyond the end.
    """

    kind: ClassVar[str] = "max_pool1d"

    kernel: int = 2
    stride: int | None = None
    padding: Any = 0
    ceil_mode: bool = False

    def on_rows(self) -> Layer:
        """Return the layer for images."""
        stride = None if self.stride is None else (1, self.stride)
        return MaxPool2D((1, self.kernel), stride, _across(self.padding), self.ceil_mode)


@dataclass(frozen=True)
class AvgPool1D(_OneDimensional):
    """1-D average pooling.

    Parameters
    ----------
    kernel, stride, padding, ceil_mode
        As for :class:`MaxPool1D`.
    count_include_pad
        Whether averages count the cells of the padding.
    """

    kind: ClassVar[str] = "avg_pool1d"

    kernel: int = 2
    stride: int | None = None
    padding: Any = 0
    ceil_mode: bool = False
    count_include_pad: bool = True

    def on_rows(self) -> Layer:
        """Return the layer for images."""
        stride = None if self.stride is None else (1, self.stride)
        return AvgPool2D(
            (1, self.kernel), stride, _across(self.padding), self.ceil_mode, self.count_include_pad
        )
