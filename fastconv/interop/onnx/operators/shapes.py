"""Other shapes, other orders of axes, parts of values and values side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fastconv.interop.onnx.operation import Handler, Operation
from fastconv.interop.onnx.values import Value

_MOST_PARTS = 64
"""Pieces that a gather is made of, or copies of a tile."""


def reshaped(op: Operation, value: Value, sizes: Sequence[int]) -> Value:
    """Return a value with other axes.

    Parameters
    ----------
    op
        The node that wants it.
    value
        The value.
    sizes
        Of the axes, without the batch.
    """
    if math.prod(sizes) != value.elements:
        op.refuse(f"makes {tuple(sizes)} of {value.sizes}; expected as many elements")
    made = value.reshaped(sizes)
    if made is None:
        placed = op.assembly.arranged(value, range(len(value.axes)))
        made = replace(placed, factors=(value.elements,), axes=((0,),)).reshaped(sizes)
        assert made is not None  # any axes can be made of one
    return made


def _reshape(op: Operation) -> Value:
    value = op.value()
    given = op.numbers(1, "shape")
    known = op.shape_of(value)
    if not op.attribute("allowzero", 0):
        for place, n in enumerate(given):
            if n == 0 and place >= len(known):
                op.refuse(f"copies size {place} of {len(known)} sizes")
        given = [known[place] if n == 0 else n for place, n in enumerate(given)]
    total = math.prod(known)
    if given.count(-1) > 1 or any(n < -1 for n in given):
        op.refuse(f"its shape is {given}; expected sizes, one of them -1 at most")
    if -1 in given:
        others = math.prod(n for n in given if n != -1)
        if not others or total % others:
            op.refuse(f"makes {given} of {value.sizes} for each sample, which does not divide")
        given[given.index(-1)] = total // others
    if not given or given[0] != op.batch:
        op.refuse(
            f"makes the sizes {_told(given, op.batch)} of {_told(known, op.batch)}; expected the "
            f"batch to stay the first axis"
        )
    return reshaped(op, value, given[1:])


def _told(sizes: Sequence[int], batch: int) -> str:
    """Return sizes as a text, in which the batch has its letter."""
    named = ("N" if n == batch else str(n) for n in sizes)
    return f"({', '.join(named)})"


def _flatten(op: Operation) -> Value:
    value = op.value()
    axis = int(op.attribute("axis", 1))
    if axis + (len(value.sizes) + 1 if axis < 0 else 0) != 1:
        op.refuse(f"attribute axis is {axis}; expected 1, all but the batch")
    return reshaped(op, value, [value.elements])


def _transpose(op: Operation) -> Value:
    value = op.value()
    rank = len(value.sizes) + 1
    order = [int(a) % rank for a in op.attribute("perm", range(rank)[::-1])]
    if sorted(order) != list(range(rank)):
        op.refuse(f"attribute perm is {order}; expected another order of {rank} axes")
    if order[0] != 0:
        op.refuse(f"attribute perm is {order}; expected the batch to stay the first axis")
    return value.transposed([a - 1 for a in order[1:]])


def _squeeze(op: Operation) -> Value:
    value = op.value()
    axes = {op.sample_axis(a) for a in op.numbers(1, "axes")}
    axes = axes or {a for a, size in enumerate(value.sizes) if size == 1}
    if any(value.sizes[a] != 1 for a in axes):
        op.refuse(f"drops axes of {value.sizes} that have more than one element")
    return value.transposed([a for a in range(len(value.sizes)) if a not in axes])


def _unsqueeze(op: Operation) -> Value:
    value = op.value()
    given = op.numbers(1, "axes")
    rank = len(value.sizes) + 1 + len(given)
    new = {op.sample_axis(a, rank) for a in given}
    left = iter(value.axes)
    return replace(value, axes=tuple(() if a in new else next(left) for a in range(rank - 1)))


def _concat(op: Operation) -> Value:
    if len(op.inputs) == 1:
        return op.value()
    values = [op.value(place) for place in range(len(op.inputs))]
    axis = op.sample_axis(op.attribute("axis", 1))
    others = {tuple(n for a, n in enumerate(v.sizes) if a != axis) for v in values}
    if len(others) > 1 or len({len(v.sizes) for v in values}) > 1:
        op.refuse(f"puts sizes {[v.sizes for v in values]} side by side, which do not fit")
    return op.assembly.concatenated(op.hint, values, axis)


def _split(op: Operation) -> list[Value]:
    value = op.value()
    axis = op.sample_axis(op.attribute("axis", 0))
    size = value.sizes[axis]
    sizes = op.numbers(1, "split")
    if not sizes:
        count = int(op.attribute("num_outputs", len(op.node.output)))
        each = -(-size // max(1, count))
        sizes = [min(each, size - each * place) for place in range(count)]
    op.attribute("num_outputs")
    if sum(sizes) != size or min(sizes) < 1:
        op.refuse(f"makes parts of {sizes} of an axis of {size}")
    ends = np.cumsum(sizes).tolist()
    return [
        op.assembly.cropped(op.hint, value, axis, end - n, end)
        for n, end in zip(sizes, ends, strict=True)
    ]


def _slice(op: Operation) -> Value:
    value = op.value()
    starts, ends = op.numbers(1, "starts"), op.numbers(2, "ends")
    axes = op.numbers(3, "axes") or list(range(len(starts)))
    steps = op.numbers(4, "steps") or [1] * len(starts)
    rank = len(value.sizes) + 1
    for start, end, axis, stride in zip(starts, ends, axes, steps, strict=True):
        if stride != 1:
            op.refuse(f"its steps are {steps}; expected 1 along each axis")
        if axis % rank == 0 and start == 0 and end >= op.batch:
            continue  # the whole batch
        place = op.sample_axis(axis)
        size = value.sizes[place]
        first, last, _ = slice(start, end).indices(size)
        if first >= last:
            op.refuse(f"takes {start} to {end} of an axis of {size}, which is nothing")
        value = op.assembly.cropped(op.hint, value, place, first, last)
    return value


def _gather(op: Operation) -> Value:
    value = op.value()
    indices = op.constant(1, "indices")
    axis = op.sample_axis(op.attribute("axis", 0))
    size = value.sizes[axis]
    if indices.ndim > 1:
        op.refuse(f"its indices have {indices.ndim} axes; expected one at most")
    places = [int(i) + (size if i < 0 else 0) for i in indices.ravel()]
    if not places or not all(0 <= i < size for i in places):
        op.refuse(f"takes {indices.tolist()} of an axis of {size}")
    if places == list(range(places[0], places[0] + len(places))):
        found = op.assembly.cropped(op.hint, value, axis, places[0], places[-1] + 1)
    elif len(places) <= _MOST_PARTS:
        parts = [op.assembly.cropped(op.hint, value, axis, i, i + 1) for i in places]
        found = op.assembly.concatenated(op.hint, parts, axis)
    else:
        op.refuse(f"takes {len(places)} entries out of order; expected {_MOST_PARTS} at most")
    if indices.ndim == 1:
        return found
    return found.transposed([a for a in range(len(found.sizes)) if a != axis])


def _expand(op: Operation) -> Value:
    value = op.value()
    wanted = op.numbers(1, "shape")
    count = max(len(wanted), len(value.sizes) + 1) - 1
    wanted = [1] * (count + 1 - len(wanted)) + wanted
    if wanted[0] not in (1, op.batch) or count > len(value.sizes):
        op.refuse("makes more samples, or axes in front of the batch")
    return op.assembly.expanded(op.hint, value, np.broadcast_shapes(value.sizes, tuple(wanted[1:])))


def _tile(op: Operation) -> Value:
    value = op.value()
    repeats = op.numbers(1, "repeats")
    if len(repeats) != len(value.sizes) + 1 or min(repeats) < 1 or repeats[0] != 1:
        op.refuse(f"its repeats are {repeats}; expected 1 for the batch, and one for each axis")
    for axis, count in enumerate(repeats[1:]):
        if count > _MOST_PARTS:
            op.refuse(f"its repeats are {repeats}; expected {_MOST_PARTS} at most")
        if count > 1:
            value = op.assembly.concatenated(op.hint, [value] * count, axis)
    return value


def _depth_to_space(op: Operation) -> Value:
    value = op.value()
    size = int(op.attribute("blocksize", 1))
    mode = op.attribute("mode", "DCR")
    if len(value.sizes) != 3 or value.sizes[0] % (size * size):
        op.refuse(f"makes images of blocks of {size} from {value.sizes}")
    channels, height, width = value.sizes
    deep = channels // (size * size)
    if mode == "DCR":
        split = reshaped(op, value, (size, size, deep, height, width)).transposed((2, 3, 0, 4, 1))
    elif mode == "CRD":
        split = reshaped(op, value, (deep, size, size, height, width)).transposed((0, 3, 1, 4, 2))
    else:
        op.refuse(f"attribute mode is {mode!r}; expected DCR or CRD")
    return reshaped(op, split, (deep, height * size, width * size))


def _space_to_depth(op: Operation) -> Value:
    value = op.value()
    size = int(op.attribute("blocksize", 1))
    if len(value.sizes) != 3 or value.sizes[1] % size or value.sizes[2] % size:
        op.refuse(f"makes blocks of {size} from {value.sizes}")
    channels, height, width = value.sizes
    blocks = (channels, height // size, size, width // size, size)
    split = reshaped(op, value, blocks).transposed((2, 4, 0, 1, 3))
    return reshaped(op, split, (channels * size * size, height // size, width // size))


def _identity(op: Operation) -> Value:
    return op.value()


HANDLERS: dict[str, Handler] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Expand": _expand,
    "Tile": _tile,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Identity": _identity,
}
