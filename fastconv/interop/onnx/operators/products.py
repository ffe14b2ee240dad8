"""Products with matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.interop.onnx.operation import Handler, Operation
from fastconv.interop.onnx.values import Value, plain_shape
from fastconv.layers import Conv2D, Dense


def _dense(op: Operation, weight: NDArray[Any], bias: NDArray[Any] | None) -> Value:
    """Multiply the last axis by a matrix (inputs, units): a dense layer, or a 1x1 convolution."""
    value, assembly = op.value(), op.assembly
    if weight.ndim != 2 or not value.axes or value.sizes[-1] != weight.shape[0]:
        op.refuse(
            f"multiplies {value.sizes[-1:]} features by a matrix {weight.shape}; expected "
            f"(features, units)"
        )
    units = weight.shape[1]
    arrays: dict[str, NDArray[Any]] = {} if bias is None else {"bias": bias}
    if len(value.sizes) == 1:
        # The rows of the matrix take the order that the features have in memory.
        (group,) = value.axes
        rows = weight.reshape(*(value.factors[f] for f in group), units)
        order = [group.index(f) for f in range(len(group))]
        arrays["weight"] = rows.transpose(*order, len(group)).reshape(-1, units)
        read = assembly.shaped(value, (weight.shape[0],))
        name, shape = assembly.add(op.hint, Dense(units, bias is not None), read, arrays=arrays)
        return Value.of_axes(name, shape, shape, (0,))
    last = len(value.sizes) - 1
    axes = (*(a for a in value.usual_order if a != last), last)
    sizes = [value.sizes[a] for a in axes]
    seen = plain_shape(sizes) if len(sizes) == 3 else (1, math.prod(sizes[:-1]), sizes[-1])
    arrays["weight"] = weight.reshape(1, 1, *weight.shape)
    layer = Conv2D(units, 1, bias=bias is not None)
    name, shape = assembly.add(op.hint, layer, assembly.read(value, axes, seen), arrays=arrays)
    return Value.of_axes(name, shape, [*sizes[:-1], units], axes)


def _gemm(op: Operation) -> Value:
    op.require_attribute("transA", 0)
    op.attribute("broadcast")  # of old files, whose C has fewer axes
    weight = op.constant(1, "B")
    if op.attribute("transB", 0):
        weight = weight.T
    weight = weight * weight.dtype.type(op.attribute("alpha", 1.0))
    beta = op.attribute("beta", 1.0)
    if not op.has(2):
        return _dense(op, weight, None)
    offset = op.constant(2, "C") * beta
    if offset.size not in (1, weight.shape[-1]) or (offset.ndim == 2 and offset.shape[0] != 1):
        op.refuse(f"its C has the sizes {offset.shape}; expected ({weight.shape[-1]},)")
    return _dense(op, weight, np.broadcast_to(offset.ravel(), weight.shape[-1:]))


def _matmul(op: Operation) -> Value:
    if op.is_constant(0):
        op.refuse("multiplies a constant by what the network computes; expected it behind that")
    return _dense(op, op.constant(1, "B"), None)


HANDLERS: dict[str, Handler] = {"Gemm": _gemm, "MatMul": _matmul}
