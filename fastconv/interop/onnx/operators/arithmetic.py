"""Sums, products and the like, of values and of constants."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.interop.onnx.operation import Handler, Operation
from fastconv.interop.onnx.operators.activations import clipped
from fastconv.interop.onnx.operators.functions import FUNCTIONS, power
from fastconv.interop.onnx.values import Value
from fastconv.layers import Conv2D, ConvTranspose2D, Dense, ReLU
from fastconv.layers.graph import INPUT


def _for_samples(op: Operation, constant: NDArray[Any], value: Value) -> NDArray[Any]:
    """Return a constant without the axis of the batch."""
    count = len(value.sizes)
    if constant.ndim > count + 1:
        op.refuse(f"combines {count + 1} axes with a constant of {constant.ndim}")
    if constant.ndim == count + 1:
        if constant.shape[0] != 1:
            op.refuse(
                f"has a constant of the sizes {constant.shape}, with one for each sample of a "
                f"batch; expected 1 in their place"
            )
        constant = constant[0]
    if not constant.size:
        op.refuse("has a constant without elements")
    # One number for all, written out along several axes.
    is_uniform = sum(n > 1 for n in constant.shape) > 1 and np.all(constant == constant.flat[0])
    if is_uniform and constant.shape == value.sizes[count - constant.ndim :]:
        return constant.reshape(-1)[:1].reshape(())
    return constant


def _is_learned(constant: NDArray[Any], value: Value) -> bool:
    """Whether training changes a constant: numbers for each channel, behind some layer."""
    return constant.size > 1 and value.step != INPUT


def _scaled(op: Operation, value: Value, scale: Any, shift: Any) -> Value:
    numbers = np.asarray(scale) if np.ndim(scale) else np.asarray(shift)
    train = _is_learned(numbers, value)
    return op.assembly.scaled(op.hint, value, scale, shift, train=train)


def _parts(op: Operation) -> tuple[Value, NDArray[Any], bool] | None:
    """Return value and constant of a node that has one of each, and whether the value is first."""
    if op.is_constant(0) == op.is_constant(1):
        return None
    place = 1 if op.is_constant(0) else 0
    value = op.value(place)
    constant = op.constant(1 - place, "constant")
    op.attribute("broadcast")  # of old files, which say that a constant has fewer axes
    if op.version < 7 and op.attribute("axis") is not None:
        # And from which axis on they are; now they are the last ones.
        behind = len(value.sizes) + 1 - op.attribute("axis") - constant.ndim
        constant = constant.reshape(*constant.shape, *(1,) * behind)
    return value, _for_samples(op, constant, value), place == 0


def _add(op: Operation) -> Value:
    parts = _parts(op)
    if parts is None:
        return op.assembly.merged(op.hint, op.value(0), op.value(1))
    value, constant, _ = parts
    return _as_bias(op, value, constant) or _scaled(op, value, 1.0, constant)


def _as_bias(op: Operation, value: Value, constant: NDArray[Any]) -> Value | None:
    """Add a constant as the bias of the layer whose output it is added to, if it is one."""
    step = op.assembly.step(value.step)
    if step is None or value.is_shared or op.assembly.is_read(value.step):
        return None
    layer = step.layer
    if not isinstance(layer, (Dense, Conv2D, ConvTranspose2D)) or layer.bias:
        return None
    full = constant.reshape((1,) * (len(value.sizes) - constant.ndim) + constant.shape)
    # Where the channels are, among the axes: last in memory.
    last = len(value.factors) - 1
    channel = next((a for a, axis in enumerate(value.axes) if axis[-1:] == (last,)), -1)
    if channel < 0 or value.sizes[channel] != step.shape[-1]:
        return None
    if full.size != full.shape[channel] or full.size != step.shape[-1]:
        return None
    step.layer = replace(layer, bias=True)
    step.arrays["bias"] = full.reshape(-1)
    return value


def _subtract(op: Operation) -> Value:
    parts = _parts(op)
    if parts is None:
        negative = op.assembly.scaled(f"{op.hint}_negative", op.value(1), -1.0)
        return op.assembly.merged(op.hint, op.value(0), negative)
    value, constant, is_first = parts
    if is_first:
        return _as_bias(op, value, -constant) or _scaled(op, value, 1.0, -constant)
    return _scaled(op, value, -1.0, constant)


def _multiply(op: Operation) -> Value:
    parts = _parts(op)
    if parts is None:
        return op.assembly.merged(op.hint, op.value(0), op.value(1), multiply=True)
    value, constant, _ = parts
    return _scaled(op, value, constant, 0.0)


def _divide(op: Operation) -> Value:
    parts = _parts(op)
    if parts is not None and parts[2]:
        value, constant, _ = parts
        if not np.all(constant):
            op.refuse("divides by 0")
        return _scaled(op, value, 1.0 / constant.astype(np.float64), 0.0)
    divisor = parts[0] if parts is not None else op.value(1)
    inverse = op.assembly.elementwise(f"{op.hint}_inverse", FUNCTIONS["Reciprocal"], divisor)
    if parts is not None:
        return _scaled(op, inverse, parts[1], 0.0)
    return op.assembly.merged(op.hint, op.value(0), inverse, multiply=True)


def _negative(op: Operation) -> Value:
    return op.assembly.scaled(op.hint, op.value(), -1.0)


def _absolute(op: Operation) -> Value:
    """|x| as relu(x) + relu(-x)."""
    value, add = op.value(), op.assembly
    negative = add.scaled(f"{op.hint}_negative", value, -1.0)
    return add.merged(
        op.hint,
        add.elementwise(f"{op.hint}_above", ReLU(), value),
        add.elementwise(f"{op.hint}_below", ReLU(), negative),
    )


def _power(op: Operation) -> Value:
    value, exponents = op.value(), op.constant(1, "exponent")
    if exponents.size != 1:
        op.refuse(f"its exponent has {exponents.size} elements; expected one number")
    exponent = float(exponents.ravel()[0])
    add = op.assembly
    if exponent == 1:
        return value
    if exponent in (2, 3):
        square = add.merged(op.hint, value, value, multiply=True)
        return square if exponent == 2 else add.merged(op.hint, square, value, multiply=True)
    if exponent in (0.5, -1):
        layer = FUNCTIONS["Sqrt" if exponent == 0.5 else "Reciprocal"]
        return add.elementwise(op.hint, layer, value)
    return add.elementwise(op.hint, power(exponent), value)


def _sum(op: Operation) -> Value:
    return _folded(op, _add)


def _mean(op: Operation) -> Value:
    count = len(op.inputs)
    return op.assembly.scaled(f"{op.hint}_mean", _sum(op), 1 / count)


def _largest(op: Operation) -> Value:
    return _folded(op, lambda pair: _extreme(pair, sign=1.0))


def _smallest(op: Operation) -> Value:
    return _folded(op, lambda pair: _extreme(pair, sign=-1.0))


def _extreme(op: Operation, sign: float) -> Value:
    """The larger or the smaller of two: x + relu(y - x), x - relu(x - y)."""
    parts, add = _parts(op), op.assembly
    if parts is not None:
        value, constant, _ = parts
        if constant.size != 1:
            op.refuse(f"compares with {constant.size} numbers; expected one")
        number = float(constant.ravel()[0])
        low, high = (number, math.inf) if sign > 0 else (-math.inf, number)
        return clipped(op, value, low, high)
    first, second = op.value(0), op.value(1)
    up = add.scaled(f"{op.hint}_to", second, sign)
    down = add.scaled(f"{op.hint}_from", first, -sign)
    step = add.elementwise(f"{op.hint}_step", ReLU(), add.merged(f"{op.hint}_difference", up, down))
    return add.merged(op.hint, first, step if sign > 0 else add.scaled(op.hint, step, -1.0))


def _folded(op: Operation, combine: Callable[[Operation], Value]) -> Value:
    """Combine all inputs of a node, two at a time."""
    if len(op.inputs) == 1:
        return op.value()
    # Values first, so that there is one in every pair.
    ordered = sorted(op.inputs, key=lambda each: isinstance(each, np.ndarray))
    total = ordered[0]
    for other in ordered[1:]:
        total = combine(replace(op, inputs=[total, other]))
    op.inputs[0] = total
    return op.value()


HANDLERS: dict[str, Handler] = {
    "Add": _add,
    "Sub": _subtract,
    "Mul": _multiply,
    "Div": _divide,
    "Neg": _negative,
    "Abs": _absolute,
    "Pow": _power,
    "Sum": _sum,
    "Mean": _mean,
    "Max": _largest,
    "Min": _smallest,
}
