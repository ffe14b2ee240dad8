"""Activations."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fastconv.interop.onnx.operation import Handler, Operation
from fastconv.interop.onnx.operators.functions import FUNCTIONS
from fastconv.interop.onnx.values import Value, plain_shape
from fastconv.layers import (
    ELU,
    GELU,
    SELU,
    HardSigmoid,
    HardSwish,
    Layer,
    LeakyReLU,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)

_SELU = 1.6732632423543772, 1.0507009873554805
"""Its alpha and gamma (arXiv:1706.02515)."""


def _plain(layer: Layer) -> Handler:
    def handle(op: Operation) -> Value:
        return op.assembly.elementwise(op.hint, layer, op.value())

    return handle


def _with_alpha(make: Callable[[float], Layer], default: float) -> Handler:
    def handle(op: Operation) -> Value:
        layer = make(float(op.attribute("alpha", default)))
        return op.assembly.elementwise(op.hint, layer, op.value())

    return handle


def _around(op: Operation, layer: Layer, before: float, after: float) -> Value:
    """Apply a layer to multiples, and multiply what it gives."""
    value = op.value()
    if before != 1:
        value = op.assembly.scaled(f"{op.hint}_before", value, before)
    value = op.assembly.elementwise(op.hint, layer, value)
    return op.assembly.scaled(f"{op.hint}_after", value, after) if after != 1 else value


def _celu(op: Operation) -> Value:
    alpha = float(op.attribute("alpha", 1.0))
    return _around(op, ELU(1.0), 1 / alpha, alpha)


def _swish(op: Operation) -> Value:
    alpha = float(op.attribute("alpha", 1.0))
    return _around(op, SiLU(), alpha, 1 / alpha)


def _selu(op: Operation) -> Value:
    given = float(op.attribute("alpha", _SELU[0])), float(op.attribute("gamma", _SELU[1]))
    if all(math.isclose(g, e, rel_tol=1e-4) for g, e in zip(given, _SELU, strict=True)):
        return op.assembly.elementwise(op.hint, SELU(), op.value())
    return _around(op, ELU(given[0]), 1.0, given[1])


def _gelu(op: Operation) -> Value:
    approximate = op.attribute("approximate", "none")
    if approximate not in ("none", "tanh"):
        op.refuse(f"attribute approximate is {approximate!r}; expected none or tanh")
    return op.assembly.elementwise(op.hint, GELU(approximate), op.value())


def _hard_sigmoid(op: Operation) -> Value:
    """ONNX has ``alpha x + beta`` between 0 and 1, fastconv ``x / 6 + 1/2``."""
    alpha, beta = float(op.attribute("alpha", 0.2)), float(op.attribute("beta", 0.5))
    value = op.value()
    if not (math.isclose(alpha, 1 / 6, rel_tol=1e-5) and beta == 0.5):
        value = op.assembly.scaled(f"{op.hint}_before", value, 6 * alpha, 6 * (beta - 0.5))
    return op.assembly.elementwise(op.hint, HardSigmoid(), value)


def _clip(op: Operation) -> Value:
    """Clip: made of activations that keep values within bounds."""
    bounds = []
    for place, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        given = op.attribute(name, default)
        bounds.append(float(op.constant(place, name).ravel()[0]) if op.has(place) else given)
    low, high = bounds
    return clipped(
        op, op.value(), low if low > -3e38 else -math.inf, high if high < 3e38 else math.inf
    )


def clipped(op: Operation, value: Value, low: float, high: float) -> Value:
    """Return a value kept between two numbers, either of which may be infinite.

    Parameters
    ----------
    op
        The node that wants it.
    value
        The value.
    low, high
        The numbers.
    """
    add = op.assembly
    if low == 0 and high == 6:
        return add.elementwise(op.hint, ReLU6(), value)
    if high == math.inf:
        if low == -math.inf:
            return value
        if low == 0:
            return add.elementwise(op.hint, ReLU(), value)
        above = add.elementwise(op.hint, ReLU(), add.scaled(f"{op.hint}_down", value, 1.0, -low))
        return add.scaled(f"{op.hint}_up", above, 1.0, low)
    if low == -math.inf:
        below = add.elementwise(op.hint, ReLU(), add.scaled(f"{op.hint}_under", value, -1.0, high))
        return add.scaled(f"{op.hint}_up", below, -1.0, high)
    if low >= high:
        op.refuse(f"keeps numbers between {low} and {high}; expected less and more")
    unit = 6 / (high - low)
    inside = add.elementwise(
        op.hint, ReLU6(), add.scaled(f"{op.hint}_down", value, unit, -low * unit)
    )
    return add.scaled(f"{op.hint}_up", inside, 1 / unit, low)


def _prelu(op: Operation) -> Value:
    value, slope = op.value(), op.constant(1, "slope")
    count = len(value.sizes)
    if op.version < 7 and slope.ndim == 1:  # of the channels, then
        slope = slope.reshape(-1, *(1,) * (count - 1))
    if slope.ndim == count + 1:
        if slope.shape[0] != 1:
            op.refuse(f"its slope has the sizes {slope.shape}; expected 1 for the batch")
        slope = slope[0]
    if slope.size == 1:
        arrays = {"slope": slope.reshape(1)}
        return op.assembly.elementwise(op.hint, PReLU(), value, arrays)
    slope = slope.reshape((1,) * (count - slope.ndim) + slope.shape)
    if any(s not in (1, n) for s, n in zip(slope.shape, value.sizes, strict=False)):
        op.refuse(f"its slope has the sizes {slope.shape}; expected those of {value.sizes}, or 1")
    return op.assembly.by_entries(op.hint, value, PReLU(per_channel=True), {"slope": slope})


def _over_axis(op: Operation, *, logarithm: bool) -> Value:
    """Softmax and log-softmax along an axis, in older files along all from an axis on."""
    from fastconv.layers import LogSoftmax2D, Softmax2D

    value = op.value()
    old = op.version < 13
    axis = op.sample_axis(op.attribute("axis", 1 if old else -1))
    sizes = value.sizes
    together = set(range(axis, len(sizes))) if old else {axis}
    vectors = all(a in together or sizes[a] == 1 for a in range(len(sizes)))
    assembly = op.assembly
    if vectors:
        step, shape = assembly.shaped(value, (value.elements,))
        layer: Layer = LogSoftmax() if logarithm else Softmax()
        step, shape = assembly.add(op.hint, layer, (step, shape))
        return Value(step, shape, value.factors, value.axes)
    usual = value.usual_order
    order = [a for a in usual if a not in together] + [a for a in usual if a in together]
    count = math.prod(sizes[a] for a in together)
    seen = plain_shape([sizes[a] for a in order])
    if seen[-1] != count:
        seen = value.elements // count, count
    layer = LogSoftmax2D() if logarithm else Softmax2D()
    step, shape = assembly.add(op.hint, layer, assembly.read(value, order, seen))
    return Value.of_axes(step, shape, [sizes[a] for a in order], order)


def _softmax(op: Operation) -> Value:
    return _over_axis(op, logarithm=False)


def _log_softmax(op: Operation) -> Value:
    return _over_axis(op, logarithm=True)


def _cast(op: Operation) -> Value:
    """Cast between kinds of real numbers: the network has one."""
    import onnx

    to, kinds = op.attribute("to", 0), onnx.TensorProto
    op.attribute("saturate")
    op.attribute("round_mode")
    if to not in (kinds.FLOAT, kinds.DOUBLE, kinds.FLOAT16):
        names = {number: name for name, number in kinds.DataType.items()}
        op.refuse(f"attribute to is {names.get(to, to)}; expected real numbers")
    return op.value()


def _dropout(op: Operation) -> Value:
    from fastconv.layers import Dropout

    ratio = float(op.attribute("ratio", 0.5))
    if op.has(1):
        ratio = float(op.constant(1, "ratio").ravel()[0])
    if op.has(2) and np.any(op.constant(2, "training_mode")):
        op.refuse("its training_mode is true; expected false: in fastconv, training says so")
    op.attribute("seed")
    op.attribute("is_test")
    if not 0 <= ratio < 1:
        op.refuse(f"its ratio is {ratio}; expected 0 or more, below 1")
    return op.assembly.elementwise(op.hint, Dropout(ratio), op.value()) if ratio else op.value()


HANDLERS: dict[str, Handler] = {
    "Relu": _plain(ReLU()),
    "Sigmoid": _plain(Sigmoid()),
    "Tanh": _plain(Tanh()),
    "Softplus": _plain(Softplus()),
    "Softsign": _plain(Softsign()),
    "Mish": _plain(Mish()),
    "HardSwish": _plain(HardSwish()),
    "Gelu": _gelu,
    "Swish": _swish,
    "Elu": _with_alpha(ELU, 1.0),
    "LeakyRelu": _with_alpha(LeakyReLU, 0.01),
    "Celu": _celu,
    "Selu": _selu,
    "HardSigmoid": _hard_sigmoid,
    "PRelu": _prelu,
    "Clip": _clip,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "Cast": _cast,
    "Dropout": _dropout,
    **{name: _plain(layer) for name, layer in FUNCTIONS.items()},
}
