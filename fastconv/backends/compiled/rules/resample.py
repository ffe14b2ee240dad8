"""Instructions of images of another size."""

from __future__ import annotations

import math

from fastconv.backends.compiled.instructions.instruction import (
    Instruction,
    LoweredKernel,
    Target,
    arrays,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.plans.resample_operation import RESAMPLE_KINDS, ResampleSpec

_Types = tuple[str | None, ...]

_CHANNELS_AT_ONCE = 16
"""Channels of a sample whose gradients are summed at once, as in ``kernels/cpu/resample.h``."""


def _lowered(
    kernel: Kernel, spec: ResampleSpec, types: _Types, names: tuple[str, str], tasks: int
) -> LoweredKernel:
    elements = max(math.prod(spec.x_shape), math.prod(spec.y_shape))
    instruction = Instruction.of(
        kernel, str(types[0]), **arrays(*names), batch=spec.batch, height=spec.height,
        width=spec.width, channels=spec.channels, out_height=spec.out_height,
        out_width=spec.out_width, top=spec.top, left=spec.left,
        kind=RESAMPLE_KINDS.index(spec.kind), align_corners=int(spec.align_corners),
        max_threads=max(1, min(tasks, threads_for_elements(elements, 2))),
    )  # fmt: skip
    return LoweredKernel((instruction,))


def resample_forward(spec: ResampleSpec, types: _Types, target: Target) -> LoweredKernel:
    """Split by rows of what is written."""
    tasks = spec.batch * spec.out_height
    return _lowered(Kernel.RESAMPLE_FORWARD, spec, types, ("x", "y"), tasks)


def resample_backward(spec: ResampleSpec, types: _Types, target: Target) -> LoweredKernel:
    """Split by samples, and by channels."""
    tasks = spec.batch * -(-spec.channels // _CHANNELS_AT_ONCE)
    return _lowered(Kernel.RESAMPLE_BACKWARD, spec, types, ("dy", "dx"), tasks)
