"""Instructions of the weights of samples in a loss."""

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
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.plans.loss_operation import LabelWeightSpec
from fastconv.plans.operation import LossSpec

_Types = tuple[str | None, ...]


def label_weights(spec: LabelWeightSpec, types: _Types, target: Target) -> LoweredKernel:
    """Three numbers for each sample."""
    names = ("labels", "class_weights", "sample_weights", "counted", "factors", "weights")
    pointers: dict[str, Any] = {
        name: None if types[number] is None else Pointer(number)
        for number, name in enumerate(names)
    }
    instruction = Instruction.of(
        Kernel.LABEL_WEIGHTS, str(types[4]), **pointers, batch=spec.batch, outputs=spec.outputs,
        has_ignore_index=int(spec.ignore_index is not None), ignore_index=spec.ignore_index or 0,
        max_threads=threads_for_elements(spec.batch),
    )  # fmt: skip
    return LoweredKernel((instruction,))


def weigh_losses(spec: LossSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass."""
    instruction = Instruction.of(
        Kernel.WEIGH_LOSSES, str(types[0]), **arrays("factors", "losses"), batch=spec.batch,
        max_threads=threads_for_elements(spec.batch),
    )  # fmt: skip
    return LoweredKernel((instruction,))


def weigh_gradients(spec: LossSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass over the gradient; every thread sums the weights."""
    threads = min(spec.batch, threads_for_elements(spec.batch * spec.outputs))
    instruction = Instruction.of(
        Kernel.WEIGH_GRADIENTS, str(types[0]), **arrays("factors", "weights", "dscores"),
        batch=spec.batch, outputs=spec.outputs, max_threads=max(1, threads),
    )  # fmt: skip
    return LoweredKernel((instruction,))


def sum_weighted_losses(spec: LossSpec, types: _Types, target: Target) -> LoweredKernel:
    """One thread: each is one sum."""
    instruction = Instruction.of(
        Kernel.SUM_WEIGHTED_LOSSES, str(types[0]),
        **arrays("losses", "factors", "weights", "statistics"), batch=spec.batch,
    )  # fmt: skip
    return LoweredKernel((instruction,))
