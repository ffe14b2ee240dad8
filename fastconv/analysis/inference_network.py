"""A network as it is applied: without layers that differ in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fastconv.layers import BatchNorm, Layer, Node, Parameter
from fastconv.network import Sequential
from fastconv.spec import ConvSpec, Shape

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder


@dataclass(frozen=True)
class _ScaleAndShift(Layer):
    """A factor and a summand for each channel: a 1x1 convolution of one channel to a group."""

    kind: ClassVar[str] = "scale_and_shift"
    retains: ClassVar[tuple[str, ...]] = ("x",)

    def _spec(self, batch: int, shape: Shape) -> ConvSpec:
        height, width, channels = (1, 1, *shape)[-3:]
        return ConvSpec(batch, channels, height, width, channels, (1, 1), groups=channels)

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Factors and summands."""
        channels = input_shape[-1]
        shape = (1, 1, 1, channels)
        return Parameter("weight", shape, "weight"), Parameter("bias", (channels,), "bias")

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward call; vectors are images of one pixel."""
        spec = self._spec(builder.batch, node.input_shape)
        x = builder.view(f"{node.name}.x", node.x, spec.x_shape)
        y = builder.view(f"{node.name}.y", node.y, spec.y_shape)
        weight, bias = node.parameters["weight"], node.parameters["bias"]
        builder.call("conv.conv2d_forward", spec, x, weight, bias, y)

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the data gradient, where needed; nobody asks for the others."""
        if dx is None:
            return
        spec = self._spec(builder.batch, node.input_shape)
        dy = builder.view(f"{node.name}.dy", dy, spec.y_shape)
        dx = builder.view(f"{node.name}.gradient", dx, spec.x_shape)
        builder.call("conv.conv2d_backward_data", spec, dy, node.parameters["weight"], dx)


def _applied(layers: Sequence[Layer]) -> list[Layer]:
    """Layers as they are applied, and those within them."""
    found: list[Layer] = []
    for layer in layers:
        if isinstance(layer, BatchNorm):
            found.append(_ScaleAndShift())
        elif layer.branches:
            found.append(layer.with_branches([_applied(each.layers) for each in layer.branches]))
        elif not layer.training_only:
            found.append(layer)
    return found


def inference_network(network: Sequential) -> tuple[Sequential, dict[str, str]]:
    """Return a network with the same scores that has gradients in inference too.

    Batch normalisation with fixed statistics is a factor and a summand for each channel. Dropout
    does nothing.

    Parameters
    ----------
    network
        It is not changed.

    Returns
    -------
    Sequential
        The other network.
    dict
        From the names of the layers of ``network`` to those of the other; without dropout.

    Examples
    --------
    >>> from fastconv.layers import Dense, Dropout, Flatten
    >>> network = Sequential([BatchNorm(), Dropout(), Flatten(), Dense(2)], input_shape=(4, 4, 3))
    >>> inference_network(network)[1]
    {'batch_norm_1': 'scale_and_shift_1', 'flatten_1': 'flatten_1', 'dense_1': 'dense_1'}
    """
    other = Sequential(_applied(network.layers), network.input_shape, dtype=network.dtype)
    vertices = [vertex for vertex in network.vertices if not vertex.layer.training_only]
    names = {vertex.name: name for vertex, name in zip(vertices, other.names, strict=True)}
    for vertex in vertices:
        layer, old, name = vertex.layer, vertex.name, names[vertex.name]
        if isinstance(layer, BatchNorm):
            scale = network[f"{old}.gamma"] / np.sqrt(
                network[f"{old}.running_variance"] + layer.epsilon
            )
            shift = network[f"{old}.beta"] - network[f"{old}.running_mean"] * scale
            other[f"{name}.weight"][...] = scale
            other[f"{name}.bias"][...] = shift
            continue
        for parameter in vertex.parameters:
            other[f"{name}.{parameter.name}"][...] = network[f"{old}.{parameter.name}"]
    return other, names
