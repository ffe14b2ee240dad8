"""Records of batch normalisation: sums of blocks of rows, what follows from them, one more pass.

A sum over all rows is made of sums over blocks of a fixed number of rows, added in order: the
number of threads changes no bit.
"""

from __future__ import annotations

import numpy as np

from fastconv.backends.compiled.instructions.record import (
    WORKSPACE,
    Launch,
    Pointer,
    Record,
    Target,
)
from fastconv.backends.compiled.rules.split import parts_of
from fastconv.plans.operation import NormSpec

_Types = tuple[str | None, ...]

ROWS_OF_A_BLOCK = 256
_CHANNELS_OF_A_PIECE = 64
"""As in ``kernels/cpu/norm.h``."""


def _pieces(spec: NormSpec) -> int:
    return -(-spec.channels // _CHANNELS_OF_A_PIECE)


def _blocks(spec: NormSpec) -> int:
    return -(-spec.rows // ROWS_OF_A_BLOCK)


def _bytes_of_sums(spec: NormSpec) -> int:
    """Two float64 sums for each channel and block."""
    return 2 * 8 * spec.channels * _blocks(spec)


def _parts(spec: NormSpec) -> tuple[int, int, int]:
    """Threads worth using for the sums, for what follows from them, for a pass over the rows."""
    elements = spec.rows * spec.channels
    return (
        min(_blocks(spec) * _pieces(spec), parts_of(elements, 2)),
        min(_pieces(spec), parts_of(2 * spec.channels * _blocks(spec))),
        min(spec.rows, parts_of(elements)),
    )


def batch_norm_forward_training(spec: NormSpec, types: _Types, target: Target) -> Launch:
    """Workspace: the sums of the blocks, then the factor of each channel."""
    dtype = str(types[0])
    x, gamma, beta, running_mean, running_variance, y, mean, inverse = map(Pointer, range(8))
    sums, factor = Pointer(WORKSPACE), Pointer(WORKSPACE, _bytes_of_sums(spec))
    size = spec.rows, spec.channels
    parts = _parts(spec)
    records = (
        Record("norm_sums", dtype, (x, sums), size, parts=parts[0]),
        Record(
            "norm_statistics",
            dtype,
            (sums, gamma, running_mean, running_variance, mean, inverse, factor),
            size,
            (spec.epsilon, spec.momentum),
            parts=parts[1],
        ),
        Record("norm_apply", dtype, (x, mean, factor, beta, y), size, parts=parts[2]),
    )
    return Launch(records, factor.offset + spec.channels * np.dtype(dtype).itemsize)


def batch_norm_forward_inference(spec: NormSpec, types: _Types, target: Target) -> Launch:
    """Workspace: the factor of each channel."""
    dtype = str(types[0])
    x, gamma, beta, running_mean, running_variance, y = map(Pointer, range(6))
    factor = Pointer(WORKSPACE)
    pointers = gamma, running_variance, factor
    records = (
        Record("norm_factor", dtype, pointers, (spec.channels,), (spec.epsilon,)),
        Record(
            "norm_apply",
            dtype,
            (x, running_mean, factor, beta, y),
            (spec.rows, spec.channels),
            parts=_parts(spec)[2],
        ),
    )
    return Launch(records, spec.channels * np.dtype(dtype).itemsize)


def batch_norm_backward(spec: NormSpec, types: _Types, target: Target) -> Launch:
    """Workspace: the sums of the blocks; then for each channel two means and the factor."""
    dtype = str(types[0])
    dy, x, gamma, mean, inverse, dx, dgamma, dbeta = map(Pointer, range(8))
    per_channel = spec.channels * np.dtype(dtype).itemsize
    sums, means = Pointer(WORKSPACE), Pointer(WORKSPACE, _bytes_of_sums(spec))
    factor = Pointer(WORKSPACE, means.offset + 2 * per_channel)
    size = spec.rows, spec.channels
    parts = _parts(spec)
    records = (
        Record("norm_gradient_sums", dtype, (dy, x, mean, inverse, sums), size, parts=parts[0]),
        Record(
            "norm_gradients",
            dtype,
            (sums, gamma, inverse, dgamma, dbeta, means, factor),
            size,
            parts=parts[1],
        ),
        Record(
            "norm_backward_data", dtype, (dy, x, mean, inverse, means, factor, dx), size,
            parts=parts[2],
        ),
    )  # fmt: skip
    return Launch(records, factor.offset + per_channel)
