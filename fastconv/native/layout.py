"""Records of layouts: every one of them is a transposition of matrices."""

from __future__ import annotations

from fastconv.native.record import Launch, Pointer, Record, Target
from fastconv.native.split import parts_of
from fastconv.operation import InputSpec
from fastconv.spec import ConvSpec

_Types = tuple[str | None, ...]

_SIDE = 64
"""Rows and columns of a tile: both of its copies stay in the first cache."""


def transposition(
    dtype: str, x: Pointer, y: Pointer, matrices: int, rows: int, columns: int,
    x_period: int = 1, y_period: int = 1,
) -> Record:  # fmt: skip
    """Matrices of so many rows and columns; ``kernels/cpu/layout.h`` says what the periods are."""
    if min(rows, columns) == 1 and x_period == y_period == 1:
        # The same order in memory: one row, which is copied.
        matrices, rows, columns = 1, 1, matrices * rows * columns
    # Thin matrices have long tiles.
    down = _SIDE * _SIDE // max(1, min(columns, _SIDE))
    across = _SIDE * _SIDE // min(rows, _SIDE)
    tiles = matrices * -(-rows // down) * -(-columns // across)
    return Record(
        "transpose",
        dtype,
        (x, y),
        (matrices, rows, columns, x_period, y_period, down, across),
        parts=max(1, min(tiles, parts_of(matrices * rows * columns))),
    )


def _transposition(
    types: _Types, matrices: int, rows: int, columns: int, x_period: int = 1, y_period: int = 1
) -> Launch:
    record = transposition(
        str(types[0]), Pointer(0), Pointer(1), matrices, rows, columns, x_period, y_period
    )
    return Launch((record,))


def nchw_to_nhwc(spec: InputSpec, types: _Types, target: Target) -> Launch:
    """Each image is a matrix of channels by pixels."""
    return _transposition(types, spec.batch, spec.channels, spec.height * spec.width)


def nhwc_to_nchw(spec: InputSpec, types: _Types, target: Target) -> Launch:
    """Each image is a matrix of pixels by channels."""
    return _transposition(types, spec.batch, spec.height * spec.width, spec.channels)


def oihw_to_hwio(spec: ConvSpec, types: _Types, target: Target) -> Launch:
    """A matrix of filters by (input, tap), whose columns become rows (tap, input)."""
    taps, inputs = spec.kernel[0] * spec.kernel[1], spec.in_channels // spec.groups
    period = taps if inputs > 1 else 1
    return _transposition(types, 1, spec.out_channels, inputs * taps, y_period=period)


def hwio_to_oihw(spec: ConvSpec, types: _Types, target: Target) -> Launch:
    """A matrix of (tap, input) by filters, whose rows become columns (input, tap)."""
    taps, inputs = spec.kernel[0] * spec.kernel[1], spec.in_channels // spec.groups
    period = taps if inputs > 1 else 1
    return _transposition(types, 1, inputs * taps, spec.out_channels, x_period=period)
