"""A layer of layers whose values have names: any graph without cycles."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from fastconv.layers.base import Layer
from fastconv.spec import Shape

INPUT = "input"
"""The name of what the graph itself reads."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Step: TypeAlias = tuple[str, Layer, tuple[str, ...]]
"""The name of a value, the layer that makes it, and the names of what the layer reads."""


@dataclass(frozen=True)
class Graph(Layer):
    """Layers whose outputs have names, each with the names of what it reads.

    For what :class:`Residual`, :class:`Concatenate` and :class:`Scale` cannot say by nesting. Such
    a layer with nothing in its branches merges the values that a step names: ``Residual([])`` adds
    two, ``Concatenate([], [])`` puts the channels of two side by side, ``Scale([])`` multiplies.

    Parameters
    ----------
    steps
        (name, layer, what it reads), in an order in which they can run. What a layer reads is a
        name, or several for a layer that merges; "input" is the graph's own. The last step gives
        the output, and every other one is read by a later one.

    Examples
    --------
    >>> from fastconv.layers import Conv2D, ReLU, Residual
    >>> graph = Graph([
    ...     ("narrow", Conv2D(4, 1), "input"),
    ...     ("wide", Conv2D(4, padding=1), "narrow"),
    ...     ("bent", ReLU(), "wide"),
    ...     ("first", Residual([]), ("narrow", "bent")),
    ...     ("sum", Residual([]), ("first", "wide")),
    ... ])
    >>> graph.output_shape((6, 6, 3))
    (6, 6, 4)
    """

    kind: ClassVar[str] = "graph"

    steps: Sequence[tuple[str, Layer, str | Sequence[str]]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(map(_step, self.steps)))
        _check(self.graph_steps)

    @property
    def graph_steps(self) -> tuple[Step, ...]:
        """The steps."""
        return self.steps  # type: ignore[return-value]  # made so above

    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample."""
        return self._walk(input_shape, lambda layer, shapes: None)

    def flops(self, input_shape: Shape) -> int:
        """Floating point operations of the layers within, on one sample."""
        found: list[int] = []
        # A layer that merges several values has none of its own.
        self._walk(
            input_shape,
            lambda layer, shapes: found.append(layer.flops(shapes[0]) if len(shapes) == 1 else 0),
        )
        return sum(found)

    def _walk(self, input_shape: Shape, see: Callable[[Layer, list[Shape]], None]) -> Shape:
        """Show each layer with the shapes that it reads; return the shape of the output."""
        shapes = {INPUT: input_shape}
        shape = input_shape
        for name, layer, inputs in self.graph_steps:
            read = [shapes[each] for each in inputs]
            shape = layer.output_shape(read[0]) if len(read) == 1 else layer.merged_shape(read)
            see(layer, read)
            shapes[name] = shape
        return shape


def _step(given: Any) -> Step:
    """Return a step with the names of what it reads as a tuple."""
    if not isinstance(given, (tuple, list)) or len(given) != 3:
        raise ValueError(
            f"graph: a step is {given!r}; expected (name, layer, what it reads), such as "
            f'("conv", Conv2D(8), "input")'
        )
    name, layer, inputs = given
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == INPUT:
        raise ValueError(
            f"graph: the name of a step is {name!r}; expected letters, digits and _, not first a "
            f"digit, and not {INPUT!r}, which the graph's own input is called"
        )
    if not isinstance(layer, Layer):
        raise ValueError(f"graph: the layer of {name!r} is {layer!r}; expected a layer")
    read = (inputs,) if isinstance(inputs, str) else tuple(inputs)
    if not read or not all(isinstance(each, str) for each in read):
        raise ValueError(f"graph: {name!r} reads {inputs!r}; expected names of earlier steps")
    return name, layer, read


def _check(steps: tuple[Step, ...]) -> None:
    """Check that names are known where they are read, and all values of use."""
    if not steps:
        raise ValueError("graph: it has no steps; give it at least one")
    readers = Counter({INPUT: 0})
    for name, layer, inputs in steps:
        for each in inputs:
            if each not in readers:
                raise ValueError(
                    f"graph: {name!r} reads {each!r}, which no earlier step makes; expected one "
                    f"of {', '.join(readers)}"
                )
            readers[each] += 1
        if name in readers:
            raise ValueError(f"graph: two steps are called {name!r}; rename one")
        readers[name] = 0
        if len(inputs) > 1:
            _check_merging(name, layer, len(inputs))
    unread = [name for name, _, _ in steps[:-1] if not readers[name]]
    if unread or not readers[INPUT]:
        name = unread[0] if unread else INPUT
        raise ValueError(
            f"graph: nobody reads {name!r}; leave its step out, or put that of the output last"
        )


def _check_merging(name: str, layer: Layer, count: int) -> None:
    """Check that a layer merges so many values and does nothing to them before."""
    branches = layer.branches
    if len(branches) == count and not any(branch.layers for branch in branches):
        return
    if not branches:
        told = f"a {layer.kind} reads one"
    elif any(branch.layers for branch in branches):
        told = f"its {layer.kind} has layers in its branches; make them steps of their own"
    else:
        told = f"its {layer.kind} merges {len(branches)}"
    raise ValueError(f"graph: {name!r} reads {count} values; {told}")
