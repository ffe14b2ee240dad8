"""Calls of a plan that one launch makes: a batch, a kernel, its activation and pooling, a loss."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastconv.backends.cupy import fused_kernels
from fastconv.plans.activations import activation_of
from fastconv.plans.effects import argument_of, effects_of, span_of
from fastconv.plans.operation import ActivationSpec
from fastconv.plans.plan import Call, Plan
from fastconv.plans.plan_check import Access, Step, check_steps
from fastconv.plans.rewriting import together
from fastconv.spec import ConvSpec, PoolSpec

_FORWARD: dict[str, Callable[..., None]] = {
    "conv.conv2d_forward": fused_kernels.conv2d_forward,
    "dense.dense_forward": fused_kernels.dense_forward,
}
"""Kernels that activate their result before they store it."""
_BACKWARD: dict[str, Callable[..., None]] = {
    "conv.conv2d_backward_data": fused_kernels.conv2d_backward_data,
    "dense.dense_backward_data": fused_kernels.dense_backward_data,
    "pool.max_pool2d_backward": fused_kernels.max_pool2d_backward,
    "pool.avg_pool2d_backward": fused_kernels.avg_pool2d_backward,
}
"""Kernels that multiply their result by the derivative of an activation before they store it."""


_INPUT = ("input.gather_images", "input.min_max_images")
_LOSS = (
    "loss.count_correct",
    "loss.softmax_cross_entropy_forward",
    "loss.softmax_cross_entropy_backward",
    "loss.sum_losses",
)
_POOLED = ("conv.conv2d_forward", "activation.activation_forward", "pool.max_pool2d_forward")
_OVERWRITE = ("conv.conv2d_forward", "dense.dense_forward")
"""Kernels that only write their last argument."""


@dataclass(frozen=True, slots=True)
class FusedCall:
    """Calls of a plan that are made as one.

    Parameters
    ----------
    call
        The first of them; the workspace is that of its kernel.
    origins
        Numbers of the plan's calls.
    function
        Makes the launches, from the spec, the activation where there is one, the arrays and the
        workspace; None: the call's own kernel.
    arguments
        Numbers of the buffers that it takes.
    activation
        That of the second call is part of it; or None.
    """

    call: Call
    origins: tuple[int, ...]
    function: Callable[..., None] | None
    arguments: tuple[int | None, ...]
    activation: ActivationSpec | None = None

    def bind(self, kernel: Callable[..., None], arrays: list[Any], workspace: Any) -> Any:
        """Return a function without arguments that makes the launches.

        Parameters
        ----------
        kernel
            Of the first call.
        arrays
            Of all buffers of the plan.
        workspace
            Of the kernel.
        """
        given = [None if n is None else arrays[n] for n in self.arguments]
        with_it = [] if self.activation is None else [self.activation]
        made = self.function or kernel
        return functools.partial(made, self.call.spec, *with_it, *given, workspace)


def fuse(plan: Plan) -> list[FusedCall]:
    """Join the input of a step, kernels with activations and pooling, a loss and its gradient.

    Examples
    --------
    >>> fuse(Plan(1, "float32", (), ()))
    []
    """
    return _fuse(plan, _JOINS)


def fuse_in_a_block(plan: Plan) -> list[FusedCall]:
    """Join what an instruction of :mod:`fastconv.backends.cupy.block_plan` makes at once.

    Convolutions and dense layers with activations, and a loss and its gradient.

    Examples
    --------
    >>> fuse_in_a_block(Plan(1, "float32", (), ()))
    []
    """
    return _fuse(plan, (_join_loss, _join_activation_of_product))


def _fuse(plan: Plan, joins: Sequence[Callable[[Plan, int], FusedCall | None]]) -> list[FusedCall]:
    fused: list[FusedCall] = []
    number = 0
    while number < len(plan.calls):
        first = plan.calls[number]
        alone = FusedCall(first, (number,), None, first.arguments)
        joined = (join(plan, number) for join in joins)
        fused.append(next(filter(None, joined), alone))
        number += len(fused[-1].origins)
    return fused


def check_fused(plan: Plan, fused: list[FusedCall]) -> None:
    """Check that fused calls do what a plan does.

    What a launch is not given it cannot write: an intermediate result that only its own calls read.

    Raises
    ------
    PlanError
        If one of them finds another value than the plan's order gives it.
    """
    steps = []
    for each in fused:
        effects = together([effects_of(plan, plan.calls[number]) for number in each.origins])
        given = [span_of(plan, number) for number in each.arguments if number is not None]
        writes = [span for span in effects.writes if any(a.covers(span) for a in given)]
        steps.append(
            Step(
                each.call.kernel, each.origins, tuple(map(Access.run, effects.reads)),
                tuple(map(Access.run, writes)),
            )
        )  # fmt: skip
    check_steps(plan, steps)


def _join_input(plan: Plan, number: int) -> FusedCall | None:
    calls = plan.calls[number : number + 2]
    if tuple(call.kernel for call in calls) != _INPUT:
        return None
    gather, scale = calls
    images, _, x = gather.arguments
    if scale.arguments != (x, x) or images is None or plan.buffers[images].dtype != "uint8":
        return None
    function = fused_kernels.gather_min_max
    return FusedCall(gather, (number, number + 1), function, gather.arguments)


def _join_loss(plan: Plan, number: int) -> FusedCall | None:
    calls = plan.calls[number : number + len(_LOSS)]
    if tuple(call.kernel for call in calls) != _LOSS:
        return None
    count, forward, backward, total = calls
    arguments = (*forward.arguments, backward.arguments[-1], total.arguments[-1])
    origins = tuple(range(number, number + len(_LOSS)))
    return FusedCall(count, origins, fused_kernels.softmax_cross_entropy, arguments)


def _join_activation(plan: Plan, number: int) -> FusedCall | None:
    if number + 1 == len(plan.calls):
        return None
    first, second = plan.calls[number : number + 2]
    spec, result = second.spec, first.arguments[-1]
    if not isinstance(spec, ActivationSpec) or result is None:
        return None
    is_forward = second.kernel == "activation.activation_forward"
    function = (_FORWARD if is_forward else _BACKWARD).get(first.kernel)
    if function is None or spec.size != math.prod(plan.buffers[result].shape):
        return None
    # The activation takes the result, and puts its own in the same place.
    places = {plan.memory_of(n) for n in (second.arguments[0], second.arguments[-1])}
    if places != {plan.memory_of(result)}:
        return None
    kept = () if is_forward else (argument_of(second, activation_of(spec.kind).keeps),)
    arguments = (*kept, *first.arguments)
    return FusedCall(first, (number, number + 1), function, arguments, spec)


def _join_activation_of_product(plan: Plan, number: int) -> FusedCall | None:
    is_product = plan.calls[number].kernel.startswith(("conv.", "dense."))
    return _join_activation(plan, number) if is_product else None


def _join_pooling(plan: Plan, number: int) -> FusedCall | None:
    calls = plan.calls[number : number + len(_POOLED)]
    activated = _join_activation(plan, number)
    if tuple(call.kernel for call in calls) != _POOLED or activated is None:
        return None
    first, _, last = calls
    spec, pool = first.spec, last.spec
    if not isinstance(spec, ConvSpec) or not isinstance(pool, PoolSpec):
        return None
    *inputs, y = first.arguments
    x, *results = last.arguments
    if plan.memory_of(x) != plan.memory_of(y) or not fused_kernels.can_pool(spec, pool):
        return None
    # All is read and written at once.
    if {_owner(plan, n) for n in results} & {_owner(plan, n) for n in first.arguments}:
        return None
    end = number + len(_POOLED)
    arguments = (*inputs, y if _is_read(plan, y, end) else None, *results)
    origins = tuple(range(number, end))
    return FusedCall(
        first, origins, fused_kernels.pooled_conv2d_forward, arguments, activated.activation
    )


def _is_read(plan: Plan, buffer: int | None, start: int) -> bool:
    """Whether calls from ``start`` on may read a buffer's memory before it is overwritten."""
    owner = _owner(plan, buffer)
    for call in plan.calls[start:]:
        *others, last = (_owner(plan, n) for n in call.arguments)
        if owner in others or (owner == last and call.kernel not in _OVERWRITE):
            return True
        if owner == last:
            return False
    return False


def _owner(plan: Plan, number: int | None) -> int | None:
    memory = plan.memory_of(number)
    return None if memory is None else memory[0]


_JOINS = (_join_input, _join_loss, _join_pooling, _join_activation)
"""Fused forms, those that join more calls first."""
