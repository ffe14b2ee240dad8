"""Instructions of what is done with gradients before the update.

A norm is made of the sums of blocks of a fixed size, added in order: the number of threads changes
no bit.
"""

from __future__ import annotations

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
from fastconv.plans.gradient import AccumulateSpec, ClipSpec, MuonSpec, PolynomialSpec

_Types = tuple[str | None, ...]


def squared_sums(dtype: str, size: int, x: Pointer, sums: Pointer) -> Instruction:
    """Return the instruction that sums the squares of each block.

    Parameters
    ----------
    dtype, size, x
        Of the elements.
    sums
        Where the float64 sums go.
    """
    threads = min(max(1, blocks_of(size)), threads_for_elements(size))
    return Instruction.of(
        Kernel.SQUARED_SUMS, dtype, x=x, sums=sums, size=size, max_threads=threads
    )


def clip_by_norm(spec: ClipSpec, types: _Types, target: Target) -> LoweredKernel:
    """Workspace: the sums of the blocks."""
    dtype, x, sums = str(types[0]), Pointer(0), Pointer(WORKSPACE)
    scale = Instruction.of(
        Kernel.SCALE_BY_NORM, dtype, x=x, sums=sums, size=spec.size,
        normalizes=int(spec.normalizes), limit=spec.limit, epsilon=spec.epsilon,
        max_threads=threads_for_elements(spec.size),
    )  # fmt: skip
    return LoweredKernel((squared_sums(dtype, spec.size, x, sums), scale), 8 * blocks_of(spec.size))


def clip_by_value(spec: ClipSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass over the buffer."""
    instruction = Instruction.of(
        Kernel.CLIP_BY_VALUE, str(types[0]), **arrays("x"), size=spec.size, limit=spec.limit,
        max_threads=threads_for_elements(spec.size),
    )  # fmt: skip
    return LoweredKernel((instruction,))


def accumulate(spec: AccumulateSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass over both buffers."""
    instruction = Instruction.of(
        Kernel.ACCUMULATE, str(types[0]), **arrays("dw", "total"), size=spec.size,
        share=spec.share, keep=spec.keep, max_threads=threads_for_elements(spec.size),
    )  # fmt: skip
    return LoweredKernel((instruction,))


def muon_direction(spec: MuonSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass over all three buffers."""
    instruction = Instruction.of(
        Kernel.MUON_DIRECTION, str(types[0]), **arrays("dw", "m", "direction"), size=spec.size,
        nesterov=int(spec.nesterov), momentum=spec.momentum,
        max_threads=threads_for_elements(spec.size),
    )  # fmt: skip
    return LoweredKernel((instruction,))


def newton_schulz_polynomial(spec: PolynomialSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass over all three matrices."""
    threads = min(max(1, spec.rows), threads_for_elements(spec.rows**2))
    instruction = Instruction.of(
        Kernel.NEWTON_SCHULZ_POLYNOMIAL, str(types[0]), **arrays("gram", "square", "polynomial"),
        rows=spec.rows, a=spec.a, b=spec.b, c=spec.c, max_threads=threads,
    )  # fmt: skip
    return LoweredKernel((instruction,))
