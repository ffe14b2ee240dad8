"""Normalisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.interop.onnx.operation import Handler, Operation
from fastconv.interop.onnx.operators.functions import power
from fastconv.interop.onnx.values import Value, plain_shape
from fastconv.layers import AvgPool2D, BatchNorm, GroupNorm, InstanceNorm, LayerNorm
from fastconv.spec import Shape


def _batch_norm(op: Operation) -> Value:
    """BatchNormalization: momentum is the share of the running statistics, ours of the batch's."""
    op.require_attribute("training_mode", 0)
    op.require_attribute("spatial", 1)
    op.attribute("is_test")
    epsilon, momentum = op.attribute("epsilon", 1e-5), op.attribute("momentum", 0.9)
    names = (("gamma", "scale"), ("beta", "B"), ("running_mean", "mean"))
    arrays = {
        own: op.constant(place, name)
        for place, (own, name) in enumerate((*names, ("running_variance", "var")), start=1)
    }
    step, shape, order = op.assembly.channels_last(op.value())
    sizes = [op.value().sizes[a] for a in order]
    layer = BatchNorm(round(1 - float(momentum), 9), float(epsilon))
    name, after = op.assembly.add(op.hint, layer, (step, shape), arrays=arrays)
    return Value.of_axes(name, after, sizes, order)


def _layer_norm(op: Operation) -> Value:
    value, add = op.value(), op.assembly
    rank = len(value.sizes) + 1
    first = op.sample_axis(op.attribute("axis", -1), rank)
    epsilon = float(op.attribute("epsilon", 1e-5))
    op.attribute("stash_type")
    sizes = value.sizes
    together = range(first, rank - 1)
    usual = value.usual_order
    order = [a for a in usual if a not in together] + [a for a in usual if a in together]
    inner = [a for a in order if a in together]
    count = math.prod(sizes[a] for a in inner)
    shape = plain_shape([sizes[a] for a in order])
    if len(inner) > 1 and len(order) > 3:
        shape = value.elements // count, count
    normalized = shape if math.prod(shape) == count else shape[len(shape) - len(inner) :]
    if math.prod(normalized) != count:
        shape, normalized = (value.elements // count, count), (count,)
    arrays: dict[str, NDArray[Any]] = {}
    for place, own, name in ((1, "gamma", "scale"), (2, "beta", "bias")):
        if op.has(place):
            given = op.constant(place, name)
            full = np.broadcast_to(given, [sizes[a] for a in together])
            arrays[own] = full.transpose([a - first for a in inner]).reshape(normalized)
    layer = LayerNorm(normalized, epsilon, "gamma" in arrays, "beta" in arrays)
    step, after = add.add(op.hint, layer, add.read(value, order, shape), arrays=arrays)
    return Value.of_axes(step, after, [sizes[a] for a in order], order)


def _group_norm(op: Operation) -> Value:
    groups = int(op.attribute("num_groups", 1))
    epsilon = float(op.attribute("epsilon", 1e-5))
    op.attribute("stash_type")
    value = op.value()
    channels = value.sizes[0] if value.sizes else 0
    arrays = {}
    for place, own, name in ((1, "gamma", "scale"), (2, "beta", "bias")):
        given = op.constant(place, name)
        if op.version < 21 and given.size == groups:  # one for each group then
            given = np.repeat(given, channels // max(1, groups))
        arrays[own] = given
    step, shape, order = op.assembly.channels_last(value)
    layer = GroupNorm(groups, epsilon)
    name, after = op.assembly.add(op.hint, layer, (step, shape), arrays=arrays)
    return Value.of_axes(name, after, [value.sizes[a] for a in order], order)


def _instance_norm(op: Operation) -> Value:
    """InstanceNormalization, of images, or of groups of channels that exporters make axes."""
    value, add = op.value(), op.assembly
    epsilon = float(op.attribute("epsilon", 1e-5))
    scale, shift = op.constant(1, "scale"), op.constant(2, "B")
    groups = _as_groups(value)
    if groups is not None:
        # What exporters make of group normalisation: groups are an axis of their own.
        channels = math.prod(value.factors[value.axes[0][0] :])
        rows = value.elements // channels
        seen: Shape = (channels,) if rows == 1 else (rows, channels)
        repeat = channels // value.sizes[0]
        arrays = {"gamma": np.repeat(scale, repeat), "beta": np.repeat(shift, repeat)}
        plain = bool(np.all(scale == 1) and np.all(shift == 0))
        layer = GroupNorm(groups, epsilon, affine=not plain)
        # Images stay images, and all else becomes rows of channels.
        read = add.shaped(value, value.shape if value.shape[-1] == channels else seen)
        step, shape = add.add(op.hint, layer, read, arrays=None if plain else arrays)
        return Value(step, shape, value.factors, value.axes)
    step, shape, order = add.channels_last(value)
    if len(shape) == 2:
        step, shape = add.read(value, order, (1, *shape))
    layer_ = InstanceNorm(epsilon, affine=True)
    name, after = add.add(op.hint, layer_, (step, shape), arrays={"gamma": scale, "beta": shift})
    return Value.of_axes(name, after, [value.sizes[a] for a in order], order)


def _as_groups(value: Value) -> int | None:
    """Return the groups if the first axis is the front part of channels that lie last."""
    if len(value.axes) < 2 or len(value.axes[0]) != 1:
        return None
    front = value.axes[0][0]
    return value.sizes[0] if front < len(value.factors) - 1 else None


def _local_response_norm(op: Operation) -> Value:
    """LRN (Krizhevsky et al., 2012): x times a power of the mean square of channels nearby."""
    value, add = op.value(), op.assembly
    size = int(op.attribute("size", 1))
    alpha, beta = float(op.attribute("alpha", 1e-4)), float(op.attribute("beta", 0.75))
    bias = float(op.attribute("bias", 1.0))
    square = add.merged(f"{op.hint}_square", value, value, multiply=True)
    sides = ((0, 0), ((size - 1) // 2, size // 2))
    window = AvgPool2D((1, size), 1, sides)
    mean = add.resized(square, 0, window, f"{op.hint}_mean")
    base = add.scaled(f"{op.hint}_base", mean, alpha, bias)
    factor = add.elementwise(f"{op.hint}_factor", power(-beta), base)
    return add.merged(op.hint, value, factor, multiply=True)


HANDLERS: dict[str, Handler] = {
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _local_response_norm,
}
