"""Instructions of the ReLU with learned slopes: one pass each way, and the sums of the slopes.

A sum over all rows is made of sums over blocks of a fixed number of rows, added in order: the
number of threads changes no bit.
"""

from __future__ import annotations

from typing import Any

from fastconv.backends.compiled.instructions.instruction import (
    WORKSPACE,
    Instruction,
    LoweredKernel,
    Pointer,
    Target,
    arrays,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.instructions.layouts.rows import ROWS_OF_A_BLOCK
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.plans.operation import PReLUSpec

_Types = tuple[str | None, ...]


def _sizes(spec: PReLUSpec) -> dict[str, Any]:
    return {"rows": spec.rows, "channels": spec.channels, "slopes": spec.slopes}


def prelu_forward(spec: PReLUSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass."""
    threads = min(spec.rows, threads_for_elements(spec.rows * spec.channels))
    instruction = Instruction.of(
        Kernel.PRELU_FORWARD, str(types[0]), **arrays("x", "slope", "y"), **_sizes(spec),
        max_threads=threads,
    )  # fmt: skip
    return LoweredKernel((instruction,))


def prelu_backward(spec: PReLUSpec, types: _Types, target: Target) -> LoweredKernel:
    """Workspace: the sums of the blocks."""
    dtype, blocks = str(types[0]), -(-spec.rows // ROWS_OF_A_BLOCK)
    dy, x, slope, dx, dslope = map(Pointer, range(5))
    sums = Pointer(WORKSPACE)
    threads = min(blocks, threads_for_elements(spec.rows * spec.channels, 2))
    instructions = (
        Instruction.of(
            Kernel.PRELU_BACKWARD, dtype, dy=dy, x=x, slope=slope, dx=dx, sums=sums,
            **_sizes(spec), max_threads=threads,
        ),
        Instruction.of(Kernel.PRELU_SLOPES, dtype, sums=sums, dslope=dslope, **_sizes(spec)),
    )  # fmt: skip
    return LoweredKernel(instructions, 8 * blocks * spec.channels)
