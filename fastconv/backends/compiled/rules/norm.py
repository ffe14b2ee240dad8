"""Instructions of batch normalisation: sums of blocks of rows, and one more pass.

A sum over all rows is made of sums over blocks of a fixed number of rows, added in order: the
number of threads changes no bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.choices import STORE
from fastconv.backends.compiled.instructions.instruction import (
    WORKSPACE,
    Instruction,
    LoweredKernel,
    Pointer,
    Target,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.instructions.layouts.rows import ROWS_OF_A_BLOCK
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.plans.operation import NormSpec

_Types = tuple[str | None, ...]

_CHANNELS_OF_A_PIECE = 64
"""Channels that are summed at once, as in ``kernels/cpu/norm.h``."""


def _pieces(spec: NormSpec) -> int:
    return -(-spec.channels // _CHANNELS_OF_A_PIECE)


def _blocks(spec: NormSpec) -> int:
    return -(-spec.rows // ROWS_OF_A_BLOCK)


def _bytes_of_sums(spec: NormSpec) -> int:
    """Two float64 sums for each channel and block."""
    return 2 * 8 * spec.channels * _blocks(spec)


def _threads(spec: NormSpec) -> tuple[int, int, int]:
    """Threads worth using for the sums, for what follows from them, for a pass over the rows."""
    elements = spec.rows * spec.channels
    return (
        min(_blocks(spec) * _pieces(spec), threads_for_elements(elements, 2)),
        min(_pieces(spec), threads_for_elements(2 * spec.channels * _blocks(spec))),
        min(spec.rows, threads_for_elements(elements)),
    )


def batch_norm_forward_training(spec: NormSpec, types: _Types, target: Target) -> LoweredKernel:
    """Workspace: the sums of the blocks, then the factor of each channel."""
    dtype = str(types[0])
    x, gamma, beta, running_mean, running_variance, y, mean, inverse = map(Pointer, range(8))
    sums, factor = Pointer(WORKSPACE), Pointer(WORKSPACE, _bytes_of_sums(spec))
    size: dict[str, Any] = {"rows": spec.rows, "channels": spec.channels}
    threads = _threads(spec)
    instructions = (
        Instruction.of(Kernel.NORM_SUMS, dtype, x=x, sums=sums, **size, max_threads=threads[0]),
        Instruction.of(
            Kernel.NORM_STATISTICS, dtype, sums=sums, gamma=gamma, running_mean=running_mean,
            running_variance=running_variance, mean=mean, inverse_std=inverse, factor=factor,
            **size, epsilon=spec.epsilon, momentum=spec.momentum, max_threads=threads[1],
        ),
        Instruction.of(
            Kernel.NORM_APPLY, dtype, x=x, mean=mean, factor=factor, beta=beta, y=y, addend=None,
            **size, epilogue=STORE, slope=0.0, max_threads=threads[2],
        ),
    )  # fmt: skip
    return LoweredKernel(instructions, factor.offset + spec.channels * np.dtype(dtype).itemsize)


def batch_norm_forward_inference(spec: NormSpec, types: _Types, target: Target) -> LoweredKernel:
    """Workspace: the factor of each channel."""
    dtype = str(types[0])
    x, gamma, beta, running_mean, running_variance, y = map(Pointer, range(6))
    factor = Pointer(WORKSPACE)
    instructions = (
        Instruction.of(
            Kernel.NORM_FACTOR, dtype, gamma=gamma, variance=running_variance, factor=factor,
            channels=spec.channels, epsilon=spec.epsilon,
        ),
        Instruction.of(
            Kernel.NORM_APPLY, dtype, x=x, mean=running_mean, factor=factor, beta=beta, y=y,
            addend=None, rows=spec.rows, channels=spec.channels, epilogue=STORE, slope=0.0,
            max_threads=_threads(spec)[2],
        ),
    )  # fmt: skip
    return LoweredKernel(instructions, spec.channels * np.dtype(dtype).itemsize)


def batch_norm_backward(spec: NormSpec, types: _Types, target: Target) -> LoweredKernel:
    """Workspace: the sums of the blocks; then for each channel two means and the factor."""
    dtype = str(types[0])
    dy, x, gamma, mean, inverse, dx, dgamma, dbeta = map(Pointer, range(8))
    per_channel = spec.channels * np.dtype(dtype).itemsize
    sums, means = Pointer(WORKSPACE), Pointer(WORKSPACE, _bytes_of_sums(spec))
    factor = Pointer(WORKSPACE, means.offset + 2 * per_channel)
    size: dict[str, Any] = {"rows": spec.rows, "channels": spec.channels}
    threads = _threads(spec)
    instructions = (
        Instruction.of(
            Kernel.NORM_GRADIENT_SUMS, dtype, dy=dy, x=x, mean=mean, inverse_std=inverse,
            sums=sums, **size, max_threads=threads[0],
        ),
        Instruction.of(
            Kernel.NORM_GRADIENTS, dtype, sums=sums, gamma=gamma, inverse_std=inverse,
            dgamma=dgamma, dbeta=dbeta, means=means, factor=factor, **size,
            max_threads=threads[1],
        ),
        Instruction.of(
            Kernel.NORM_BACKWARD_DATA, dtype, dy=dy, x=x, mean=mean, inverse_std=inverse,
            means=means, factor=factor, dx=dx, **size, max_threads=threads[2],
        ),
    )  # fmt: skip
    return LoweredKernel(instructions, factor.offset + per_channel)
