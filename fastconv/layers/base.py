"""Base of all layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from fastconv.plans.node import Node as Node
from fastconv.spec import Shape, as_plain

if TYPE_CHECKING:
    from fastconv.plans.plan_builder import PlanBuilder

ParameterKind: TypeAlias = Literal["weight", "bias", "scale", "state"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One array of a layer.

    Parameters
    ----------
    name
        "weight", "bias", "gamma", ...
    shape
        Its shape, in the kernels' layout (HWIO for convolutions).
    kind
        "weight" (L2 and weight decay act on it), "bias", "scale" (of normalisation), or
        "state" (not trained: running statistics).
    fan_in, fan_out
        For the initialiser.
    start
        Initial value of what no initialiser draws.
    """

    name: str
    shape: Shape
    kind: ParameterKind
    fan_in: int = 1
    fan_out: int = 1
    start: float = 0.0

    @property
    def size(self) -> int:
        """Number of elements."""
        count = 1
        for n in self.shape:
            count *= n
        return count


@dataclass(frozen=True, slots=True)
class Branch:
    """Layers one after the other, within a layer of layers.

    Parameters
    ----------
    name
        What the names of its layers begin with, behind that of the whole; may be empty.
    layers
        The layers; none: the input itself.
    """

    name: str
    layers: tuple[Layer, ...]

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample."""
        for layer in self.layers:
            input_shape = layer.output_shape(input_shape)
        return input_shape

    def flops(self, input_shape: Shape) -> int:
        """Floating point operations of the forward pass on one sample."""
        total = 0
        for layer in self.layers:
            total += layer.flops(input_shape)
            input_shape = layer.output_shape(input_shape)
        return total


class Layer:
    """A layer: shapes, parameters, and the kernel calls that it contributes to a plan.

    Layers are frozen descriptions; arrays belong to the network.
    """

    kind: ClassVar[str]
    """Its name in a recipe."""
    retains: ClassVar[tuple[str, ...]] = ()
    """Those of "x" and "y" that the backward calls read; the other may be overwritten."""
    in_place: ClassVar[bool] = False
    """Whether y may be x's memory, unless the backward calls read x, and dx dy's."""
    is_view: ClassVar[bool] = False
    """Whether y is x with another shape: no call at all."""

    training_only: ClassVar[bool] = False
    """Whether the layer does nothing in inference."""

    def __post_init__(self) -> None:
        """Take numbers that NumPy computed, such as ``labels.max() + 1``, as Python's."""
        for field in fields(self):  # type: ignore[arg-type]  # every layer is a dataclass
            given = getattr(self, field.name)
            plain = as_plain(given)
            if plain is not given:
                object.__setattr__(self, field.name, plain)

    @property
    def branches(self) -> tuple[Branch, ...]:
        """What reads the input of a layer of layers; its own calls merge their outputs."""
        return ()

    @property
    def graph_steps(self) -> tuple[tuple[str, Layer, tuple[str, ...]], ...]:
        """What a graph of layers is made of: see :class:`fastconv.layers.Graph`."""
        return ()

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample.

        Raises
        ------
        ValueError
            If the layer does not accept such an input.
        """
        return input_shape

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Arrays that the layer needs."""
        return ()

    def flops(self, input_shape: Shape) -> int:
        """Floating point operations of the forward pass on one sample; 0 for elementwise layers."""
        return 0

    def forward(self, builder: PlanBuilder, node: Node) -> None:
        """Add the forward calls."""
        raise NotImplementedError

    def backward(self, builder: PlanBuilder, node: Node, dy: int, dx: int | None) -> None:
        """Add the backward calls; ``dx`` is None where the input needs no gradient."""
        raise NotImplementedError

    def with_branches(self, branches: Sequence[Sequence[Layer]]) -> Layer:
        """Return a layer of layers of the same kind with other layers in its branches."""
        raise NotImplementedError

    def merged_shape(self, shapes: Sequence[Shape]) -> Shape:
        """Shape of one output sample of a layer of layers, from those of its branches."""
        raise NotImplementedError

    def backward_of_branches(
        self, builder: PlanBuilder, node: Node, dy: int, needed: Sequence[bool]
    ) -> list[int | None]:
        """Add the backward calls of a layer of layers; return the gradients of its branches.

        ``needed`` says of each branch whether its output needs a gradient; others get None.
        """
        raise NotImplementedError


class LayerTable(Mapping[str, type[Layer]]):
    """Layers by their names in a recipe; a module is loaded when a layer of it is asked for.

    Parameters
    ----------
    loaded
        Layers that are there.
    places
        Where the others are: "module:Class" within this package, by the name in a recipe.
    """

    def __init__(self, loaded: Mapping[str, type[Layer]], places: Mapping[str, str]) -> None:
        self._loaded = dict(loaded)
        self._places = dict(places)

    def __getitem__(self, kind: str) -> type[Layer]:
        if kind not in self._loaded:
            module, _, name = self._places[kind].partition(":")
            found: type[Layer] = getattr(import_module(f"fastconv.layers.{module}"), name)
            self._loaded[kind] = found
        return self._loaded[kind]

    def add(self, layer: type[Layer]) -> None:
        """Add a layer by its kind."""
        self._loaded[layer.kind] = layer

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._loaded, *self._places)))

    def __len__(self) -> int:
        return len({*self._loaded, *self._places})


def image_shape(owner: str, shape: Shape) -> tuple[int, int, int]:
    """Check that a sample is an image (height, width, channels)."""
    if len(shape) != 3:
        raise ValueError(
            f"{owner} takes images (height, width, channels) but gets {shape}; "
            f"put it in front of flatten"
        )
    return shape[0], shape[1], shape[2]
