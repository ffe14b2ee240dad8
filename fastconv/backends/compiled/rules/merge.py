"""Instructions of what makes one array of two."""

from __future__ import annotations

import numpy as np

from fastconv.backends.compiled.instructions.choices import STORE
from fastconv.backends.compiled.instructions.instruction import (
    Instruction,
    LoweredKernel,
    Pointer,
    Target,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.plans.merging import BroadcastSpec, ConcatenateSpec

_Types = tuple[str | None, ...]

_OPERATIONS = ("add", "multiply")
"""In the order of their numbers, as in ``kernels/cpu/merge.h`` and the numba backend."""
_CHANNELS_AT_ONCE = 64
"""Channels that are summed at once, as in ``kernels/cpu/pool.h``."""


def _elementwise(
    operation: str, spec: BroadcastSpec, dtype: str, x1: int, x2: int, y: int
) -> Instruction:
    """One pass; rows of an image, or where shapes are the same, blocks of elements."""
    rows = spec.batch * spec.pixels
    return Instruction.of(
        Kernel.MERGE_ELEMENTS, dtype, x1=Pointer(x1), x2=Pointer(x2), y=Pointer(y), other=None,
        rows=rows, channels=spec.channels, pixels=spec.pixels if spec.per_channel else 0,
        operation=_OPERATIONS.index(operation), epilogue=STORE, slope=0.0,
        max_threads=threads_for_elements(spec.size),
    )  # fmt: skip


def _sum_of_pixels(
    spec: BroadcastSpec, dtype: str, dy: int, total: int, x1: int | None = None
) -> Instruction:
    """Images, and pieces of their channels."""
    pieces = spec.batch * -(-spec.channels // _CHANNELS_AT_ONCE)
    return Instruction.of(
        Kernel.SUM_OF_EACH_IMAGE, dtype, dy=Pointer(dy), x1=None if x1 is None else Pointer(x1),
        total=Pointer(total), batch=spec.batch, pixels=spec.pixels, channels=spec.channels,
        max_threads=max(1, min(pieces, threads_for_elements(spec.size, 2))),
    )  # fmt: skip


def _copy(
    dtype: str, rows: int, columns: int, x: Pointer, x_row: int, y: Pointer, y_row: int
) -> Instruction:
    return Instruction.of(
        Kernel.COPY_ROWS, dtype, x=x, y=y, rows=rows, columns=columns, x_row=x_row, y_row=y_row,
        max_threads=max(1, min(rows, threads_for_elements(rows * columns))),
    )  # fmt: skip


def add_forward(spec: BroadcastSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass."""
    return LoweredKernel((_elementwise("add", spec, str(types[0]), 0, 1, 2),))


def add_backward(spec: BroadcastSpec, types: _Types, target: Target) -> LoweredKernel:
    """A copy, or a sum over pixels, for each gradient that is needed."""
    dtype, made = str(types[0]), []
    if types[1] is not None:
        made.append(_copy(dtype, 1, spec.size, Pointer(0), spec.size, Pointer(1), spec.size))
    if types[2] is not None and spec.per_channel:
        made.append(_sum_of_pixels(spec, dtype, 0, 2))
    elif types[2] is not None:
        made.append(_copy(dtype, 1, spec.size, Pointer(0), spec.size, Pointer(2), spec.size))
    return LoweredKernel(tuple(made))


def multiply_forward(spec: BroadcastSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass."""
    return LoweredKernel((_elementwise("multiply", spec, str(types[0]), 0, 1, 2),))


def multiply_backward(spec: BroadcastSpec, types: _Types, target: Target) -> LoweredKernel:
    """A pass for each gradient that is needed; that of ``x1``, which may be dy, at last."""
    dtype, made = str(types[0]), []
    if types[4] is not None and spec.per_channel:
        made.append(_sum_of_pixels(spec, dtype, 0, 4, x1=1))
    elif types[4] is not None:
        made.append(_elementwise("multiply", spec, dtype, 0, 1, 4))
    if types[3] is not None:
        made.append(_elementwise("multiply", spec, dtype, 0, 2, 3))
    return LoweredKernel(tuple(made))


def concatenate_forward(spec: ConcatenateSpec, types: _Types, target: Target) -> LoweredKernel:
    """A copy for each array."""
    dtype, rows, wide = str(types[0]), spec.rows, spec.channels
    behind = Pointer(2, spec.channels1 * np.dtype(dtype).itemsize)
    first = _copy(dtype, rows, spec.channels1, Pointer(0), spec.channels1, Pointer(2), wide)
    second = _copy(dtype, rows, spec.channels2, Pointer(1), spec.channels2, behind, wide)
    return LoweredKernel((first, second))


def concatenate_backward(spec: ConcatenateSpec, types: _Types, target: Target) -> LoweredKernel:
    """A copy for each gradient that is needed."""
    dtype, rows, wide, made = str(types[0]), spec.rows, spec.channels, []
    if types[1] is not None:
        made.append(
            _copy(dtype, rows, spec.channels1, Pointer(0), wide, Pointer(1), spec.channels1)
        )
    if types[2] is not None:
        behind = Pointer(0, spec.channels1 * np.dtype(dtype).itemsize)
        made.append(_copy(dtype, rows, spec.channels2, behind, wide, Pointer(2), spec.channels2))
    return LoweredKernel(tuple(made))
