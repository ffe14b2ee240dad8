"""A network put together layer by layer, from values with names."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.interop.onnx.errors import OnnxError
from fastconv.interop.onnx.values import Value, plain_shape, transpositions
from fastconv.layers import (
    Concatenate,
    Crop2D,
    Flatten,
    Layer,
    Permute,
    Reshape,
    Residual,
    Scale,
    ScaleAndShift,
    Upsample2D,
)
from fastconv.layers.graph import INPUT, Graph
from fastconv.network import NetworkError, Sequential
from fastconv.spec import Shape, SpecError

_MOST_ELEMENTS = 2**26
"""Of a value of one sample: a file of few bytes cannot ask for more memory."""
Arrays = Mapping[str, NDArray[Any]]


@dataclass
class Step:
    """A layer of the network that comes to be.

    Parameters
    ----------
    name
        Of its output.
    layer
        The layer.
    inputs
        Names of what it reads.
    shapes
        Of what it reads.
    shape
        Of its output.
    arrays
        Its parameters, by their names.
    """

    name: str
    layer: Layer
    inputs: tuple[str, ...]
    shapes: tuple[Shape, ...]
    shape: Shape
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


class Assembly:
    """Collects steps.

    Parameters
    ----------
    input_shape
        Of a sample of the network.
    """

    def __init__(self, input_shape: Shape) -> None:
        self.input_shape = input_shape
        self._steps: dict[str, Step] = {}
        self._readers: Counter[str] = Counter()
        self._known: dict[tuple[str, Layer], str] = {}

    def step(self, name: str) -> Step | None:
        """Return the step of this name; None for the network's input."""
        return self._steps.get(name)

    def is_read(self, name: str) -> bool:
        """Whether another step reads a step already."""
        return self._readers[name] > 0

    def add(
        self, hint: str, layer: Layer, *read: tuple[str, Shape], arrays: Arrays | None = None
    ) -> tuple[str, Shape]:
        """Add a layer.

        Parameters
        ----------
        hint
            What to call it, if nothing is called so.
        layer
            The layer.
        *read
            Names and shapes of what it reads.
        arrays
            Its parameters by name; it begins with others as any layer does.

        Returns
        -------
        str, tuple of int
            Name and shape of its output.

        Raises
        ------
        ValueError
            If the layer does not take such inputs, or such parameters.
        """
        shapes = tuple(shape for _, shape in read)
        shape = layer.output_shape(shapes[0]) if len(read) == 1 else layer.merged_shape(shapes)
        if math.prod(shape) > _MOST_ELEMENTS:
            raise ValueError(
                f"makes samples of {' x '.join(map(str, shape))} elements; fastconv reads networks "
                f"of {_MOST_ELEMENTS:,} at most"
            )
        made = {name: np.asarray(array) for name, array in (arrays or {}).items()}
        if made:
            expected = {p.name: p.shape for p in layer.parameters(shapes[0])}
            for name, array in made.items():
                if array.shape != expected.get(name):
                    raise ValueError(
                        f"its {name} has the sizes {array.shape}; expected {expected.get(name)}"
                    )
        name = self._free_name(hint)
        inputs = tuple(each for each, _ in read)
        self._steps[name] = Step(name, layer, inputs, shapes, shape, made)
        self._readers.update(inputs)
        return name, shape

    def _free_name(self, hint: str) -> str:
        plain = re.sub(r"\W+", "_", hint, flags=re.ASCII).strip("_") or "step"
        plain = f"_{plain}" if plain[0].isdigit() else plain
        name, number = plain, 1
        while name in self._steps or name == INPUT:
            number += 1
            name = f"{plain}_{number}"
        return name

    def _view(self, hint: str, layer: Layer, step: str, shape: Shape) -> tuple[str, Shape]:
        """Add a layer that many may ask for, once."""
        key = step, layer
        if key not in self._known:
            self._known[key] = self.add(hint, layer, (step, shape))[0]
        name = self._known[key]
        return name, self._steps[name].shape

    def shaped(self, value: Value, shape: Shape) -> tuple[str, Shape]:
        """Return the name of a step with a value in its order in memory, seen as this shape."""
        if value.shape == shape:
            return value.step, shape
        source, known = value.step, value.shape
        # A shape of a shape is one of what is below.
        below = self._steps.get(source)
        while below is not None and isinstance(below.layer, (Reshape, Flatten)):
            source, known = below.inputs[0], below.shapes[0]
            if known == shape:
                return source, shape
            below = self._steps.get(source)
        layer = Flatten() if len(shape) == 1 else Reshape(shape)
        return self._view(f"{source}_shape", layer, source, known)

    def arranged(self, value: Value, axis_order: Sequence[int]) -> Value:
        """Return a value whose axes lie in memory in this order."""
        order = value.memory_order(axis_order)
        sizes = value.sizes
        step, shape = value.step, value.shape
        moved = value
        for seen, dims in transpositions(value.factors, order):
            step, shape = self.shaped(replace(moved, step=step, shape=shape), seen)
            step, shape = self._view(f"{value.step}_order", Permute(dims), step, shape)
        made = Value.of_axes(step, shape, [sizes[axis] for axis in axis_order], axis_order)
        return replace(made, is_shared=value.is_shared)

    def read(
        self, value: Value, axis_order: Sequence[int], shape: Shape | None = None
    ) -> tuple[str, Shape]:
        """Return name and shape of a step with a value's axes in this order in memory."""
        placed = self.arranged(value, axis_order)
        sizes = value.sizes
        return self.shaped(
            placed, plain_shape([sizes[a] for a in axis_order]) if shape is None else shape
        )

    def image(self, value: Value) -> tuple[str, Shape]:
        """Return name and shape (height, width, channels) of a value of (channels, ...)."""
        sizes = value.sizes
        if len(sizes) not in (2, 3):
            raise ValueError(
                f"its input has {len(sizes) + 1} axes; expected (batch, channels, height, width), "
                f"or (batch, channels, length)"
            )
        if len(sizes) == 2:  # (channels, length): an image of one row
            return self.read(value, (1, 0), (1, sizes[1], sizes[0]))
        return self.read(value, (1, 2, 0))

    def of_image(self, step: str, shape: Shape, axes: int = 3) -> Value:
        """Return the value that an image (height, width, channels) is."""
        height, width, channels = shape
        if axes == 2:
            return Value.of_axes(step, shape, (width, channels), (1, 0))
        return Value.of_axes(step, shape, (height, width, channels), (1, 2, 0))

    def channels_last(self, value: Value) -> tuple[str, Shape, tuple[int, ...]]:
        """Return a step whose last axis are channels, its shape, and the order of its axes."""
        if not value.axes:
            raise ValueError("its input has no axis but the batch; expected channels")
        order = (*(a for a in value.usual_order if a), 0)
        return *self.read(value, order), order

    def elementwise(
        self, hint: str, layer: Layer, value: Value, arrays: Arrays | None = None
    ) -> Value:
        """Add a layer that treats each element, or each channel, by itself."""
        step, shape = self.add(hint, layer, (value.step, value.shape), arrays=arrays)
        return replace(value, step=step, shape=shape, is_shared=False)

    def along(self, value: Value, axis: int) -> tuple[str, Shape, tuple[int, ...]]:
        """See a value as (what is before, an axis, what is behind) in memory.

        Returns
        -------
        str, tuple of int, tuple of int
            Name and shape of the step, and the order of the axes, for :meth:`resized`.
        """
        order = value.usual_order
        sizes = [value.sizes[a] for a in order]
        place = order.index(axis)
        seen = math.prod(sizes[:place]), sizes[place], math.prod(sizes[place + 1 :])
        step, _ = self.shaped(self.arranged(value, order), seen)
        return step, seen, order

    def resized(
        self, value: Value, axis: int, layer: Layer, hint: str, *, keeps_axis: bool = True
    ) -> Value:
        """Return what a layer makes of (what is before, an axis, what is behind)."""
        step, seen, order = self.along(value, axis)
        name, shape = self.add(hint, layer, (step, seen))
        sizes = list(value.sizes)
        sizes[axis] = shape[1]
        made = Value.of_axes(name, shape, [sizes[a] for a in order], order)
        if keeps_axis:
            return made
        return replace(made, axes=made.axes[:axis] + made.axes[axis + 1 :])

    def cropped(self, hint: str, value: Value, axis: int, start: int, end: int) -> Value:
        """Return the entries of an axis from ``start`` to before ``end``."""
        size = value.sizes[axis]
        if (start, end) == (0, size):
            return value
        if not 0 <= start < end <= size:
            raise ValueError(f"{start} to {end} of an axis of {size} is nothing")
        return self.resized(value, axis, Crop2D(((0, 0), (start, size - end))), hint)

    def expanded(self, hint: str, value: Value, sizes: Sequence[int]) -> Value:
        """Return a value whose axes of size 1 are repeated to other sizes."""
        for axis, wanted in enumerate(sizes):
            if value.sizes[axis] == wanted:
                continue
            if value.sizes[axis] != 1:
                raise ValueError(
                    f"sizes {value.sizes} and {tuple(sizes)} do not fit; expected equal ones, or 1"
                )
            value = self.resized(value, axis, Upsample2D((1, wanted)), hint)
        return value

    def merged(self, hint: str, first: Value, second: Value, *, multiply: bool = False) -> Value:
        """Return the sum of two values, or their product, whose axes of size 1 are repeated."""
        count = max(len(first.sizes), len(second.sizes))
        first, second = (_with_axes(each, count) for each in (first, second))
        sizes = np.broadcast_shapes(first.sizes, second.sizes)
        if second.elements > first.elements:
            first, second = second, first
        first = self.expanded(f"{hint}_expanded", first, sizes)
        order = first.usual_order
        read = self.read(first, order)
        channels = read[1][-1]
        # Only images have more than one number for each channel.
        per_channel = (
            multiply and len(read[1]) > 1 and second.elements == channels == second.sizes[order[-1]]
        )
        if per_channel:
            other = self.read(second, order, (channels,))
        else:
            second = self.expanded(f"{hint}_expanded", second, sizes)
            other = self.read(second, order)
        layer: Layer = Scale([]) if multiply else Residual([])
        name, shape = self.add(hint, layer, read, other)
        return Value.of_axes(name, shape, [sizes[a] for a in order], order)

    def concatenated(self, hint: str, values: Sequence[Value], axis: int) -> Value:
        """Return values one behind the other along an axis."""
        if len(values) == 1:
            return values[0]
        order = max(values, key=lambda v: v.elements).usual_order
        place = order.index(axis)
        read = []
        for value in values:
            sizes = [value.sizes[a] for a in order]
            before, behind = sizes[:place], math.prod(sizes[place:])
            shape: Shape = (math.prod(before), behind) if math.prod(before) > 1 else (behind,)
            if place == len(sizes) - 1 == 2:
                shape = (sizes[0], sizes[1], sizes[2])
            read.append(self.read(value, order, shape))
        name, made = self.add(hint, Concatenate(*([] for _ in values)), *read)
        sizes = list(values[0].sizes)
        sizes[axis] = sum(value.sizes[axis] for value in values)
        return Value.of_axes(name, made, [sizes[a] for a in order], order)

    def scaled(
        self, hint: str, value: Value, scale: Any = 1.0, shift: Any = 0.0, *, train: bool = False
    ) -> Value:
        """Return a value times numbers plus numbers, one for all or one for each entry of axes.

        Parameters
        ----------
        hint
            What to call the step.
        value
            The value.
        scale, shift
            Numbers, or arrays that are broadcast along the value's axes.
        train
            Whether training changes them.
        """
        scale, shift = (np.asarray(each, np.float64) for each in (scale, shift))
        count = max(len(value.sizes), scale.ndim, shift.ndim)
        value = _with_axes(value, count)
        scale, shift = (
            each.reshape((1,) * (count - each.ndim) + each.shape) for each in (scale, shift)
        )
        common = np.broadcast_shapes(scale.shape, shift.shape)
        value = self.expanded(f"{hint}_expanded", value, np.broadcast_shapes(value.sizes, common))
        if math.prod(common) == 1:
            layer = ScaleAndShift(float(scale.ravel()[0]), float(shift.ravel()[0]), train=False)
            return self.elementwise(hint, layer, value)
        arrays = {
            "weight": np.broadcast_to(scale, common),
            "bias": np.broadcast_to(shift, common),
        }
        return self.by_entries(hint, value, ScaleAndShift(train=train), arrays)

    def by_entries(
        self, hint: str, value: Value, layer: Layer, arrays: Mapping[str, NDArray[Any]]
    ) -> Value:
        """Add a layer with numbers for each channel that treats entries of axes as channels.

        Parameters
        ----------
        hint
            What to call the step.
        value
            The value.
        layer
            The layer.
        arrays
            Its parameters by name, of one shape with as many axes as the value, each of the
            value's size or 1.
        """
        common = next(iter(arrays.values())).shape
        varying = [axis for axis, size in enumerate(common) if size > 1]
        usual, sizes = value.usual_order, value.sizes
        placed = [a for a in usual if a in varying]
        order = [a for a in usual if a not in varying] + placed
        channels = math.prod(sizes[a] for a in placed)
        rest = value.elements // channels
        shape: Shape = (rest, channels) if rest > 1 else (channels,)
        if len(order) == 3 and len(placed) == 1:
            shape = plain_shape([sizes[a] for a in order])
        read = self.read(value, order, shape)
        expected = {p.name: p.shape for p in layer.parameters(read[1])}
        others = [a for a in range(len(common)) if a not in placed]
        made = {
            name: array.transpose(others + placed).reshape(expected[name])
            for name, array in arrays.items()
        }
        name, shape = self.add(hint, layer, read, arrays=made)
        return Value.of_axes(name, shape, [sizes[a] for a in order], order)

    def network(self, output: str, dtype: str, path: str) -> Sequential:
        """Return the network that ends with a step.

        Parameters
        ----------
        output
            Name of the step.
        dtype
            Of the network.
        path
            Of the file, for error messages.

        Raises
        ------
        OnnxError
            If there is none.
        """
        steps = self._needed(output)
        try:
            network = Sequential(
                _as_layers(steps), self.input_shape, initializer=_Zeros(), dtype=dtype
            )
        except NetworkError as fault:
            raise OnnxError(f"{path}: {fault}") from None
        for step, name in zip(steps, network.names, strict=True):
            for parameter, array in step.arrays.items():
                network[f"{name}.{parameter}"][...] = array
        return network

    def _needed(self, output: str) -> list[Step]:
        """Return the steps that the output is made of, in an order in which they can run."""
        needed = {output}
        for step in reversed(self._steps.values()):
            if step.name in needed:
                needed.update(step.inputs)
        steps = [step for step in self._steps.values() if step.name in needed]
        if not steps:  # the network's input itself
            steps = [
                Step("same", Reshape(self.input_shape), (INPUT,), (self.input_shape,),
                     self.input_shape)
            ]  # fmt: skip
        return steps


class _Zeros:
    """Draws nothing: the weights come from the file."""

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
    ) -> NDArray[np.float64]:
        return np.broadcast_to(0.0, shape)


def _with_axes(value: Value, count: int) -> Value:
    """Return a value with axes of size 1 in front."""
    return replace(value, axes=((),) * (count - len(value.axes)) + value.axes)


def _as_layers(steps: Sequence[Step]) -> list[Layer]:
    """Return layers one after the other, with a graph for what lies between."""
    readers: Counter[str] = Counter(name for step in steps for name in step.inputs)
    before = [INPUT, *(step.name for step in steps)]

    def is_plain(number: int) -> bool:
        """Whether a step alone reads the one before it, and nothing else."""
        return steps[number].inputs == (before[number],) and readers[before[number]] == 1

    first, end = 0, len(steps)
    while first < end and is_plain(first):
        first += 1
    while end > first and is_plain(end - 1):
        end -= 1
    layers = [step.layer for step in steps[:first]]
    if first < end:
        source = before[first]
        layers.append(Graph(_renamed(steps[first:end], source)))
    return [*layers, *(step.layer for step in steps[end:])]


def _renamed(steps: Iterable[Step], source: str) -> list[tuple[str, Layer, tuple[str, ...]]]:
    """Return the steps of a graph whose input is what a step before it gives."""
    return [
        (step.name, step.layer, tuple(INPUT if n == source else n for n in step.inputs))
        for step in steps
    ]


def told(fault: ValueError) -> str:
    """Return what a layer has to say, without its own name in front."""
    return fault.said if isinstance(fault, SpecError) else str(fault)
