"""Instructions of the updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv.backends.compiled.instructions.instruction import (
    WORKSPACE,
    Instruction,
    LoweredKernel,
    Pointer,
    Target,
    arrays,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import blocks_of, threads_for_elements
from fastconv.plans.operation import OptimizerSpec

if TYPE_CHECKING:
    from fastconv.plans.lookahead import LookaheadSpec


def _update(
    kernel: Kernel,
    spec: OptimizerSpec,
    types: tuple[str | None, ...],
    names: Sequence[str],
    cost: int = 1,
    **own: Any,
) -> LoweredKernel:
    """One pass over the buffers: sizes and penalties, then what is the rule's own."""
    instruction = Instruction.of(
        kernel,
        str(types[0]),
        **arrays(*names),
        size=spec.size,
        weights=spec.weights,
        decayed=spec.decayed,
        l2=spec.l2,
        coupled_decay=spec.coupled_decay,
        decoupled_decay=spec.decoupled_decay,
        **own,
        rate_factor=spec.rate_factor,
        max_threads=threads_for_elements(spec.size, cost),
    )
    return LoweredKernel((instruction,))


def sgd_update(spec: OptimizerSpec, types: tuple[str | None, ...], target: Target) -> LoweredKernel:
    """One pass over w and dw."""
    return _update(Kernel.SGD_UPDATE, spec, types, ("w", "dw", "rate"))


def momentum_update(
    spec: OptimizerSpec, types: tuple[str | None, ...], target: Target
) -> LoweredKernel:
    """One pass over w, dw and the velocity."""
    return _update(
        Kernel.MOMENTUM_UPDATE,
        spec,
        types,
        ("w", "dw", "m", "rate"),
        nesterov=int(spec.kind == "nesterov"),
        scheduled=int(spec.scheduled_momentum) * (2 if spec.averaged else 1),
        momentum=spec.momentum,
        share=1.0 - spec.momentum if spec.averaged else 1.0,
    )


def adam_update(
    spec: OptimizerSpec, types: tuple[str | None, ...], target: Target
) -> LoweredKernel:
    """One pass over w, dw and both running means."""
    return _update(
        Kernel.ADAM_UPDATE,
        spec,
        types,
        ("w", "dw", "m", "v", "rate", "step"),
        cost=2,
        scheduled=int(spec.scheduled_momentum),
        beta1=spec.beta1,
        beta2=spec.beta2,
        epsilon=spec.epsilon,
    )


def rmsprop_update(
    spec: OptimizerSpec, types: tuple[str | None, ...], target: Target
) -> LoweredKernel:
    """One pass over w, dw, the running means and the velocity."""
    names = ("w", "dw", "v", "mean", "m", "rate")
    lowered = _update(
        Kernel.RMSPROP_UPDATE, spec, types, names, cost=2,
        alpha=spec.alpha, epsilon=spec.epsilon, momentum=spec.momentum,
    )  # fmt: skip
    null = {name for name, dtype in zip(names, types, strict=False) if dtype is None}
    instruction = lowered.instructions[0].with_fields(**dict.fromkeys(null))
    return LoweredKernel((instruction,))


def adagrad_update(
    spec: OptimizerSpec, types: tuple[str | None, ...], target: Target
) -> LoweredKernel:
    """One pass over w, dw and the sum."""
    names = ("w", "dw", "v", "rate")
    return _update(Kernel.ADAGRAD_UPDATE, spec, types, names, cost=2, epsilon=spec.epsilon)


def nadam_update(
    spec: OptimizerSpec, types: tuple[str | None, ...], target: Target
) -> LoweredKernel:
    """One pass over w, dw and both running means."""
    return _update(
        Kernel.NADAM_UPDATE, spec, types, ("w", "dw", "m", "v", "rate", "step"), cost=2,
        beta1=spec.beta1, beta2=spec.beta2, epsilon=spec.epsilon,
        momentum_decay=spec.momentum_decay,
    )  # fmt: skip


def lamb_update(
    spec: OptimizerSpec, types: tuple[str | None, ...], target: Target
) -> LoweredKernel:
    """Workspace: the direction, and the sums of squares of w and of it."""
    from fastconv.backends.compiled.rules.gradient import squared_sums

    dtype = str(types[0])
    w, dw, m, v, rate, step = map(Pointer, range(6))
    bytes_of_sums = 8 * blocks_of(spec.size)
    u, w_sums = Pointer(WORKSPACE, 2 * bytes_of_sums), Pointer(WORKSPACE)
    u_sums = Pointer(WORKSPACE, bytes_of_sums)
    instructions = (
        Instruction.of(
            Kernel.LAMB_DIRECTION, dtype, w=w, dw=dw, m=m, v=v, step=step, u=u, size=spec.size,
            weights=spec.weights, decayed=spec.decayed, l2=spec.l2,
            coupled_decay=spec.coupled_decay, decoupled_decay=spec.decoupled_decay,
            beta1=spec.beta1, beta2=spec.beta2, epsilon=spec.epsilon,
            max_threads=threads_for_elements(spec.size, 2),
        ),
        squared_sums(dtype, spec.size, w, w_sums),
        squared_sums(dtype, spec.size, u, u_sums),
        Instruction.of(
            Kernel.LAMB_APPLY, dtype, w=w, u=u, w_sums=w_sums, u_sums=u_sums, rate=rate,
            size=spec.size, rate_factor=spec.rate_factor,
            max_threads=threads_for_elements(spec.size),
        ),
    )  # fmt: skip
    return LoweredKernel(instructions, u.offset + spec.size * np.dtype(dtype).itemsize)


def lookahead_update(
    spec: LookaheadSpec, types: tuple[str | None, ...], target: Target
) -> LoweredKernel:
    """One pass over w and the slow weights, in one of ``steps`` steps."""
    instruction = Instruction.of(
        Kernel.LOOKAHEAD_UPDATE, str(types[0]), **arrays("w", "slow", "step"), size=spec.size,
        steps=spec.steps, alpha=spec.alpha, max_threads=threads_for_elements(spec.size),
    )  # fmt: skip
    return LoweredKernel((instruction,))
