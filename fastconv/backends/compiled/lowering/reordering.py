"""Calls of a plan in an order that costs less, with the same results."""

from __future__ import annotations

from dataclasses import replace

from fastconv.plans.effects import argument_of
from fastconv.plans.operation import ActivationSpec
from fastconv.plans.plan import Plan
from fastconv.plans.rewriting import (
    Rewriting,
    Rewritten,
    activation_gradients_behind_data_gradients,
)
from fastconv.spec import PoolSpec

_SIGNED = ("relu", "leaky_relu")
"""Activations whose gradient is a factor that follows from the sign of their output."""


def reorder(plan: Plan) -> Rewritten:
    """Return the plan with the gradients of activations where they cost least."""
    order = Rewriting(plan)
    _activation_gradients_before_pools(order)
    activation_gradients_behind_data_gradients(order)
    return order.finish()


def _activation_gradients_before_pools(order: Rewriting) -> None:
    """Let the gradient of a (leaky) ReLU under a max pool come before that of the pool.

    The pool's output is the activation's output where its gradient goes, so that its signs choose
    the same factors, over a fraction of the elements; and the data gradient above may end with it.
    """
    for position in range(len(order.calls) - 1):
        pool, activation = order.calls[position : position + 2]
        found = _output_of_pool(order, position)
        if found is None:
            continue
        y, writer = found
        assert isinstance(pool.spec, PoolSpec)
        assert isinstance(activation.spec, ActivationSpec)
        batch, height, width, channels = pool.spec.y_shape
        dy = argument_of(pool, "dy")
        spec = replace(activation.spec, size=batch * height * width * channels)
        first = replace(activation, spec=spec, arguments=(dy, None, y, dy))
        order.replace(position, 2, (first, pool), holds={y: writer})


def _output_of_pool(order: Rewriting, position: int) -> tuple[int, int] | None:
    """The output of a max pool whose gradient is followed by one of an activation under it.

    Also the position of the call that wrote it last. None if it is not so, or if the signs of that
    output have been changed since.
    """
    plan, (pool, activation) = order.plan, order.calls[position : position + 2]
    spec = activation.spec
    if pool.kernel != "pool.max_pool2d_backward" or not isinstance(spec, ActivationSpec):
        return None
    _, argmax, dx = pool.arguments
    if activation.kernel != "activation.activation_backward" or spec.kind not in _SIGNED:
        return None
    in_place, _, below, result = (plan.memory_of(n) for n in activation.arguments)
    if not in_place == result == plan.memory_of(dx):
        return None
    return signed_output_of_pool(order, argmax, position, below)


def signed_output_of_pool(
    order: Rewriting, argmax: int | None, end: int, pooled: tuple[int, int] | None = None
) -> tuple[int, int] | None:
    """The output of the max pool that wrote ``argmax``, if its signs still stand there.

    Parameters
    ----------
    order
        The calls.
    argmax
        A buffer of flat indices.
    end
        Position up to which calls may have changed the output.
    pooled
        The memory that the pool must have taken its maxima of; None: any.

    Returns
    -------
    tuple or None
        Number of the output, and the position of the call that wrote it last: the pool, or a
        (leaky) ReLU in place. None if anything else has overwritten it since.
    """
    plan = order.plan
    y, writer = None, -1
    for number, call in enumerate(order.calls[:end]):
        if call.kernel == "pool.max_pool2d_forward" and argument_of(call, "argmax") == argmax:
            if pooled is not None and plan.memory_of(argument_of(call, "x")) != pooled:
                return None
            y, writer = argument_of(call, "y"), number
        elif y is not None and plan.memory_of(call.arguments[-1]) == plan.memory_of(y):
            is_signed = isinstance(call.spec, ActivationSpec) and call.spec.kind in _SIGNED
            if not (call.kernel == "activation.activation_forward" and is_signed):
                return None
            writer = number
    return None if y is None else (y, writer)
