"""Instructions of the losses of targets."""

from __future__ import annotations

from typing import Any

from fastconv.backends.compiled.instructions.instruction import (
    Instruction,
    LoweredKernel,
    Pointer,
    Target,
    arrays,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.activation import COST_OF_EXPONENTIAL
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.plans.loss_operation import (
    ELEMENTWISE_LOSS_KINDS,
    ElementwiseLossSpec,
    SoftCrossEntropySpec,
)
from fastconv.plans.operation import LossSpec

_Types = tuple[str | None, ...]


def _of_samples(
    kernel: Kernel, spec: Any, dtype: str | None, cost: int = 1, **fields: Any
) -> LoweredKernel:
    """Split by samples."""
    threads = min(spec.batch, threads_for_elements(spec.batch * spec.outputs, cost))
    instruction = Instruction.of(
        kernel, str(dtype), batch=spec.batch, outputs=spec.outputs, max_threads=max(1, threads),
        **fields,
    )  # fmt: skip
    return LoweredKernel((instruction,))


def one_hot(spec: LossSpec, types: _Types, target: Target) -> LoweredKernel:
    """Zeros, and one number for each sample."""
    return _of_samples(Kernel.ONE_HOT, spec, types[1], **arrays("labels", "targets"))


def _given(types: _Types, number: int) -> Pointer | None:
    """Return the pointer to an argument, or None for one that is None."""
    return None if types[number] is None else Pointer(number)


def soft_cross_entropy_forward(
    spec: SoftCrossEntropySpec, types: _Types, target: Target
) -> LoweredKernel:
    """One softmax for each sample."""
    fields = arrays("scores", "targets", "class_weights", "losses", "probabilities")
    return _of_samples(
        Kernel.SOFT_CROSS_ENTROPY_FORWARD, spec, types[0], COST_OF_EXPONENTIAL,
        **{**fields, "class_weights": _given(types, 2)}, label_smoothing=spec.label_smoothing,
    )  # fmt: skip


def soft_cross_entropy_backward(
    spec: SoftCrossEntropySpec, types: _Types, target: Target
) -> LoweredKernel:
    """One pass."""
    fields = arrays("probabilities", "targets", "class_weights", "dscores")
    return _of_samples(
        Kernel.SOFT_CROSS_ENTROPY_BACKWARD, spec, types[0],
        **{**fields, "class_weights": _given(types, 2)}, label_smoothing=spec.label_smoothing,
    )  # fmt: skip


def _choice(spec: ElementwiseLossSpec) -> dict[str, Any]:
    return {"kind": ELEMENTWISE_LOSS_KINDS.index(spec.kind), "delta": spec.delta}


def elementwise_loss_forward(
    spec: ElementwiseLossSpec, types: _Types, target: Target
) -> LoweredKernel:
    """One sum for each sample."""
    return _of_samples(
        Kernel.ELEMENTWISE_LOSS_FORWARD, spec, types[0], COST_OF_EXPONENTIAL,
        **arrays("y", "target", "losses"), **_choice(spec),
    )  # fmt: skip


def elementwise_loss_backward(
    spec: ElementwiseLossSpec, types: _Types, target: Target
) -> LoweredKernel:
    """One pass."""
    size = spec.batch * spec.outputs
    instruction = Instruction.of(
        Kernel.ELEMENTWISE_LOSS_BACKWARD, str(types[0]), **arrays("y", "target", "dy"),
        **_choice(spec), size=size, max_threads=threads_for_elements(size, COST_OF_EXPONENTIAL),
    )  # fmt: skip
    return LoweredKernel((instruction,))
