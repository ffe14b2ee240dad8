"""Instructions of the updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastconv.backends.compiled.instructions.instruction import (
    Instruction,
    LoweredKernel,
    Target,
    arrays,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.plans.operation import OptimizerSpec


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
        beta1=spec.beta1,
        beta2=spec.beta2,
        epsilon=spec.epsilon,
    )
