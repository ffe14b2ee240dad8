"""A layer at its place in a plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastconv.spec import Shape

if TYPE_CHECKING:
    from fastconv.layers.base import Layer


@dataclass(slots=True)
class Node:
    """A layer at its place in a plan: the numbers of its buffers.

    Parameters
    ----------
    layer, name
        The layer, and its name in the network.
    input_shape, output_shape
        Of one sample, without the batch.
    x, y
        Input and output.
    parameters, gradients
        By parameter name.
    saved
        What forward leaves for backward.
    spec
        The spec of the forward call, where backward needs the same.
    """

    layer: Layer
    name: str
    input_shape: Shape
    output_shape: Shape
    x: int
    y: int = -1
    parameters: dict[str, int] = field(default_factory=dict)
    gradients: dict[str, int] = field(default_factory=dict)
    saved: dict[str, int] = field(default_factory=dict)
    spec: object = None
