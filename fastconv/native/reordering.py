"""Calls of a plan in an order that costs less, with the same results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fastconv.operation import ActivationSpec
from fastconv.plan import Call, Plan
from fastconv.spec import PoolSpec

_SIGNED = ("relu", "leaky_relu")
"""Activations whose gradient is a factor that follows from the sign of their output."""


def activation_gradients_before_pools(plan: Plan) -> Plan:
    """Let the gradient of a (leaky) ReLU under a max pool come before that of the pool.

    The pool's output is the activation's output where its gradient goes, so that its signs choose
    the same factors, over a fraction of the elements; and the data gradient above may end with it.
    """
    calls = list(plan.calls)
    for number in range(len(calls) - 1):
        pool, activation = calls[number : number + 2]
        y = _output_of_pool(plan, pool, activation)
        if y is None or not _is_read_last(plan, pool.arguments[0], calls[number + 2 :]):
            continue
        assert isinstance(pool.spec, PoolSpec)
        assert isinstance(activation.spec, ActivationSpec)
        batch, height, width, channels = pool.spec.y_shape
        dy = pool.arguments[0]
        spec = replace(activation.spec, size=batch * height * width * channels)
        calls[number] = replace(activation, spec=spec, arguments=(dy, y, dy))
        calls[number + 1] = pool
    return replace(plan, calls=tuple(calls))


def _output_of_pool(plan: Plan, pool: Call, activation: Call) -> int | None:
    """The output of a max pool whose gradient is followed by one of an activation under it.

    None if it is not so, or if the signs of that output have been changed since.
    """
    spec = activation.spec
    if pool.kernel != "pool.max_pool2d_backward" or not isinstance(spec, ActivationSpec):
        return None
    _, where, dx = pool.arguments
    in_place, below, result = (plan.memory_of(n) for n in activation.arguments)
    if activation.kernel != "activation.activation_backward" or spec.kind not in _SIGNED:
        return None
    if not in_place == result == plan.memory_of(dx):
        return None
    y = None
    for call in plan.calls:
        if call is pool:
            break
        if call.kernel == "pool.max_pool2d_forward" and call.arguments[2] == where:
            if plan.memory_of(call.arguments[0]) != below:
                return None
            y = call.arguments[1]
        elif y is not None and plan.memory_of(call.arguments[-1]) == plan.memory_of(y):
            is_signed = isinstance(call.spec, ActivationSpec) and call.spec.kind in _SIGNED
            if not (call.kernel == "activation.activation_forward" and is_signed):
                return None
    return y


def _is_read_last(plan: Plan, number: int | None, after: Sequence[Call]) -> bool:
    """Whether no later call reads a buffer before another writes it."""
    owner = plan.memory_of(number)
    for call in after:
        if owner in [plan.memory_of(n) for n in call.arguments[:-1]]:
            return False
        if plan.memory_of(call.arguments[-1]) == owner:
            return True
    return True
