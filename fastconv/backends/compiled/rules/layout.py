"""Instructions of layouts: every one of them is a transposition of matrices."""

from __future__ import annotations

from fastconv.backends.compiled.instructions.instruction import (
    Instruction,
    LoweredKernel,
    Pointer,
    Target,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.plans.operation import InputSpec

_Types = tuple[str | None, ...]

_SIDE = 128
"""Rows and columns of a tile: runs of memory that are long enough for the prefetcher, in both of
its copies, and still little beside the second cache."""


def transposition(
    dtype: str, x: Pointer, y: Pointer, matrices: int, rows: int, columns: int,
    x_period: int = 1, y_period: int = 1,
) -> Instruction:  # fmt: skip
    """Matrices of so many rows and columns; the periods are those of ``transpose``."""
    if min(rows, columns) == 1 and x_period == y_period == 1:
        # The same order in memory: one row, which is copied.
        matrices, rows, columns = 1, 1, matrices * rows * columns
    # Thin matrices have long tiles.
    down = _SIDE * _SIDE // max(1, min(columns, _SIDE))
    across = _SIDE * _SIDE // min(rows, _SIDE)
    tiles = matrices * -(-rows // down) * -(-columns // across)
    return Instruction.of(
        Kernel.TRANSPOSE,
        dtype,
        x=x,
        y=y,
        matrices=matrices,
        rows=rows,
        columns=columns,
        x_period=x_period,
        y_period=y_period,
        tile_rows=down,
        tile_columns=across,
        max_threads=max(1, min(tiles, threads_for_elements(matrices * rows * columns))),
    )


def nchw_to_nhwc(spec: InputSpec, types: _Types, target: Target) -> LoweredKernel:
    """Each image is a matrix of channels by pixels."""
    pixels = spec.height * spec.width
    x, y = Pointer(0), Pointer(1)
    return LoweredKernel((transposition(str(types[0]), x, y, spec.batch, spec.channels, pixels),))


def nhwc_to_nchw(spec: InputSpec, types: _Types, target: Target) -> LoweredKernel:
    """Each image is a matrix of pixels by channels."""
    pixels = spec.height * spec.width
    x, y = Pointer(0), Pointer(1)
    return LoweredKernel((transposition(str(types[0]), x, y, spec.batch, pixels, spec.channels),))
