"""The nodes and the constants of an ONNX graph that comes to be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import helper, numpy_helper

from fastconv.network import Sequential, Vertex
from fastconv.spec import Shape


@dataclass(frozen=True)
class Tensor:
    """A value of the graph.

    Parameters
    ----------
    name
        Its name there.
    shape
        Of a sample, as the network has it.
    channels_first
        Whether an image lies there as (channels, height, width).
    image
        Of a vector that is an image flattened channels first: the image's shape, as the network
        has it.
    """

    name: str
    shape: Shape
    channels_first: bool = False
    image: Shape | None = None

    @property
    def stored(self) -> Shape:
        """Sizes of a sample as they are in the graph."""
        return (self.shape[-1], *self.shape[:-1]) if self.channels_first else self.shape

    def named(self, name: str) -> Tensor:
        """Return a tensor like it with another name."""
        return replace(self, name=name)


class GraphWriter:
    """Collects nodes and constants.

    Parameters
    ----------
    network
        Whose parameters are written.
    opset
        Version of the operators.
    """

    def __init__(self, network: Sequential, opset: int) -> None:
        self.network, self.opset = network, opset
        self.initializers: list[onnx.TensorProto] = []
        self._nodes: list[onnx.NodeProto] = []
        self._names: set[str] = set()
        self._constants: dict[tuple[Any, ...], str] = {}

    def _free_name(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self._names or name in ("input", "output"):
            number += 1
            name = f"{wanted}_{number}"
        self._names.add(name)
        return name

    def node(
        self, kind: str, inputs: Sequence[str], name: str, *, rename: bool = True, **attributes: Any
    ) -> str:
        """Add a node, and return the name of its output.

        Parameters
        ----------
        kind
            The operator.
        inputs
            Names of what it reads.
        name
            Of the node and its output, if nothing is called so.
        rename
            Whether another one may be taken.
        **attributes
            Of the operator.
        """
        output = self._free_name(name) if rename else name
        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def array(self, name: str, array: NDArray[Any]) -> str:
        """Add an array by a name that nothing else has, and return it."""
        name = self._free_name(name)
        plain = np.ascontiguousarray(array)
        self.initializers.append(numpy_helper.from_array(plain, name))
        return name

    def parameter(self, vertex: Vertex, name: str) -> NDArray[Any]:
        """Return a parameter of a layer."""
        return self.network[f"{vertex.name}.{name}"]

    def constant(self, value: ArrayLike) -> str:
        """Return the name of a constant of the network's dtype."""
        return self._known(np.asarray(value, self.network.dtype))

    def integers(self, values: Iterable[int]) -> str:
        """Return the name of a constant of integers."""
        return self._known(np.array(list(values), np.int64))

    def _known(self, array: NDArray[Any]) -> str:
        key = array.dtype.name, array.shape, array.tobytes()
        if key not in self._constants:
            self._constants[key] = self.array("constant", array)
        return self._constants[key]

    def finished(self) -> list[onnx.NodeProto]:
        """Return the nodes; the last one names the output, and is left out where it can be."""
        *nodes, last = self._nodes
        (source,) = last.input
        readers = sum(source in node.input for node in nodes)
        if nodes and nodes[-1].output[0] == source and not readers:
            nodes[-1].output[0] = last.output[0]
            return nodes
        return self._nodes

    def in_order(self, x: Tensor) -> Tensor:
        """Return a value with its elements in the order that the network has them in."""
        if x.image is not None:
            image = Tensor("", x.image, channels_first=True)
            sizes = self.integers([0, *image.stored])
            name = self.node("Reshape", [x.name, sizes], f"{x.name}_image")
            return self.reshaped(self.in_order(image.named(name)), x.shape)
        if not x.channels_first:
            return x
        perm = [0, *range(2, len(x.shape) + 1), 1]
        name = self.node("Transpose", [x.name], f"{x.name}_channels_last", perm=perm)
        return Tensor(name, x.shape)

    def channels_first(self, x: Tensor) -> Tensor:
        """Return an image, or a row, as (channels, ...)."""
        if x.channels_first:
            return x
        count = len(x.shape)
        perm = [0, count, *range(1, count)]
        name = self.node("Transpose", [x.name], f"{x.name}_channels_first", perm=perm)
        return Tensor(name, x.shape, channels_first=True)

    def reshaped(self, x: Tensor, shape: Shape) -> Tensor:
        """Return a value whose elements are in order as one of another shape."""
        if x.shape == shape:
            return x
        name = self.node("Reshape", [x.name, self.integers([0, *shape])], f"{x.name}_shape")
        return Tensor(name, shape)

    def flattened(self, x: Tensor) -> Tensor:
        """Return a value as a vector; an image channels first stays in that order."""
        name = self.node("Flatten", [x.name], f"{x.name}_flat", axis=1)
        return Tensor(name, (math.prod(x.shape),), image=x.shape if x.channels_first else None)
