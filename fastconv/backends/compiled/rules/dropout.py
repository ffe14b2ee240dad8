"""Instructions of dropout."""

from __future__ import annotations

from fastconv.backends.compiled.instructions.instruction import (
    Instruction,
    LoweredKernel,
    Target,
    arrays,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.random import COST_OF_WORD, random_key
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.plans.operation import DropoutSpec
from fastconv.plans.resample_operation import ChannelDropoutSpec

_Types = tuple[str | None, ...]


def dropout_forward(spec: DropoutSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass that draws its words as it goes."""
    instruction = Instruction.of(
        Kernel.DROPOUT_FORWARD,
        str(types[0]),
        **arrays("x", "step", "mask", "y"),
        size=spec.size,
        threshold=spec.threshold,
        **random_key(spec.random),
        scale=spec.scale,
        max_threads=threads_for_elements(spec.size, COST_OF_WORD),
    )
    return LoweredKernel((instruction,))


def dropout_backward(spec: DropoutSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass."""
    instruction = Instruction.of(
        Kernel.DROPOUT_BACKWARD,
        str(types[0]),
        **arrays("dy", "mask", "dx"),
        size=spec.size,
        scale=spec.scale,
        max_threads=threads_for_elements(spec.size),
    )
    return LoweredKernel((instruction,))


def drop_channels(spec: ChannelDropoutSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass, split by pixels."""
    rows = spec.batch * spec.pixels
    instruction = Instruction.of(
        Kernel.DROP_CHANNELS, str(types[0]), **arrays("x", "mask", "y"), batch=spec.batch,
        pixels=spec.pixels, channels=spec.channels, scale=spec.scale,
        max_threads=max(1, min(rows, threads_for_elements(rows * spec.channels))),
    )  # fmt: skip
    return LoweredKernel((instruction,))
