"""Instructions of the losses and of the statistics."""

from __future__ import annotations

from collections.abc import Sequence

from fastconv.backends.compiled.instructions.instruction import (
    Instruction,
    LoweredKernel,
    Target,
    arrays,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.activation import COST_OF_EXPONENTIAL, rows_at_once
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.plans.operation import LossSpec

_Types = tuple[str | None, ...]


def _of_rows(
    kernel: Kernel, spec: LossSpec, dtype: str | None, names: Sequence[str], cost: int = 1
) -> LoweredKernel:
    """Split by samples, in chunks of as many as are done together."""
    together = rows_at_once(spec.outputs)
    instruction = Instruction.of(
        kernel,
        str(dtype),
        **arrays(*names),
        batch=spec.batch,
        outputs=spec.outputs,
        together=together,
        max_threads=min(
            -(-spec.batch // together), threads_for_elements(spec.batch * spec.outputs, cost)
        ),
    )
    return LoweredKernel((instruction,))


def softmax_cross_entropy_forward(spec: LossSpec, types: _Types, target: Target) -> LoweredKernel:
    """Chunks of samples."""
    return _of_rows(
        Kernel.SOFTMAX_CROSS_ENTROPY_FORWARD,
        spec,
        types[0],
        ("scores", "labels", "losses", "probabilities"),
        COST_OF_EXPONENTIAL,
    )


def softmax_cross_entropy_backward(spec: LossSpec, types: _Types, target: Target) -> LoweredKernel:
    """Chunks of samples."""
    return _of_rows(
        Kernel.SOFTMAX_CROSS_ENTROPY_BACKWARD,
        spec,
        types[0],
        ("probabilities", "labels", "dscores"),
    )


def nll_forward(spec: LossSpec, types: _Types, target: Target) -> LoweredKernel:
    """One number for each sample."""
    return _of_rows(Kernel.NLL_FORWARD, spec, types[0], ("scores", "labels", "losses"))


def nll_backward(spec: LossSpec, types: _Types, target: Target) -> LoweredKernel:
    """Zeros, and one number for each sample."""
    return _of_rows(Kernel.NLL_BACKWARD, spec, types[1], ("labels", "dscores"))


def mean_squared_error_forward(spec: LossSpec, types: _Types, target: Target) -> LoweredKernel:
    """One sum for each sample."""
    return _of_rows(Kernel.MEAN_SQUARED_ERROR_FORWARD, spec, types[0], ("y", "target", "losses"))


def mean_squared_error_backward(spec: LossSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass."""
    size = spec.batch * spec.outputs
    instruction = Instruction.of(
        Kernel.MEAN_SQUARED_ERROR_BACKWARD,
        str(types[0]),
        **arrays("y", "target", "dy"),
        size=size,
        max_threads=threads_for_elements(size),
    )
    return LoweredKernel((instruction,))


def sum_losses(spec: LossSpec, types: _Types, target: Target) -> LoweredKernel:
    """One thread: it is one sum."""
    instruction = Instruction.of(
        Kernel.SUM_LOSSES,
        str(types[0]),
        **arrays("losses", "statistics"),
        batch=spec.batch,
    )
    return LoweredKernel((instruction,))


def count_correct(spec: LossSpec, types: _Types, target: Target) -> LoweredKernel:
    """One thread: it is one sum."""
    instruction = Instruction.of(
        Kernel.COUNT_CORRECT,
        str(types[0]),
        **arrays("scores", "labels", "statistics"),
        batch=spec.batch,
        outputs=spec.outputs,
    )
    return LoweredKernel((instruction,))
