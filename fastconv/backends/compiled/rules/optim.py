"""Records of the updates."""

from __future__ import annotations

from fastconv.backends.compiled.instructions.record import Launch, Pointer, Record, Target
from fastconv.backends.compiled.rules.split import parts_of
from fastconv.plans.operation import OptimizerSpec


def _update(
    kernel: str,
    spec: OptimizerSpec,
    types: tuple[str | None, ...],
    arrays: int,
    integers: tuple[int, ...] = (),
    reals: tuple[float, ...] = (),
    cost: int = 1,
) -> Launch:
    """One pass over the buffers: sizes and penalties, then what is the rule's own."""
    record = Record(
        kernel,
        str(types[0]),
        tuple(Pointer(number) for number in range(arrays)),
        (spec.size, spec.weights, spec.decayed, *integers),
        (spec.l2, spec.coupled_decay, spec.decoupled_decay, *reals),
        parts=parts_of(spec.size, cost),
    )
    return Launch((record,))


def sgd_update(spec: OptimizerSpec, types: tuple[str | None, ...], target: Target) -> Launch:
    """One pass over w and dw."""
    return _update("sgd_update", spec, types, 3)


def momentum_update(spec: OptimizerSpec, types: tuple[str | None, ...], target: Target) -> Launch:
    """One pass over w, dw and the velocity."""
    share = 1.0 - spec.momentum if spec.averaged else 1.0
    nesterov = int(spec.kind == "nesterov")
    return _update("momentum_update", spec, types, 4, (nesterov,), (spec.momentum, share))


def adam_update(spec: OptimizerSpec, types: tuple[str | None, ...], target: Target) -> Launch:
    """One pass over w, dw and both running means."""
    reals = spec.beta1, spec.beta2, spec.epsilon
    return _update("adam_update", spec, types, 6, (), reals, cost=2)
