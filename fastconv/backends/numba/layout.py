"""Layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.instructions.layout import CONDITION_WORDS
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.instruction_set import target
from fastconv.backends.numba.pointers import (
    WORD,
    Instructions,
    compiled_as,
    copy,
    first_of,
    pointer,
)
from fastconv.backends.numba.vector_functions import sum_of_lanes
from fastconv.backends.numba.vector_memory import load, write_load, write_store
from fastconv.backends.numba.vectors import Vector, lanes_of, spread

_MOST_INTERLEAVED = 4
"""Rows or columns that are few."""


@inlined
def _in_order(j: int, count: int, period: int) -> tuple[int, int]:
    """Place of row ``j`` of the order in its period, and which row of the matrix it is."""
    if period == 1:
        return 0, j
    return j % period, j % period * (count // period) + j // period


def _starts(
    builder: Any, count: int, place: Any, row: Any, steps: Any, period: Any, pitch: Any
) -> list[Any]:
    """Write the offsets of ``count`` rows in order from one on."""
    back = builder.sub(WORD(1), builder.mul(builder.sub(period, WORD(1)), steps))
    starts = []
    for _ in range(count):
        starts.append(builder.mul(row, pitch))
        place = builder.add(place, WORD(1))
        turns = builder.icmp_signed("==", place, period)
        row = builder.add(row, builder.select(turns, back, steps))
        place = builder.select(turns, WORD(0), place)
    return starts


def _lanes_of_two(builder: Any, a: Any, b: Any, order: list[int]) -> Any:
    """Lane by lane of two vectors: those of b have the numbers behind those of a."""
    numbers = ir.VectorType(ir.IntType(32), len(order))
    return builder.shuffle_vector(a, b, ir.Constant(numbers, order))


def _picked(builder: Any, vectors: list[Any], lanes: int, picks: list[tuple[int, int]]) -> Any:
    """A vector of lanes of several: of each the number of its vector, and of the lane in it."""
    made = vectors[0]
    for number in range(1, len(vectors)):
        order = [
            lanes + lane if source == number else lane if number == 1 else place
            for place, (source, lane) in enumerate(picks)
        ]
        made = _lanes_of_two(builder, made, vectors[number], order)
    return made


def _transpose_block(
    _: Any, x: Any, x_first: Any, x_place: Any, row: Any, x_steps: Any, x_period: Any, columns: Any,
    y: Any, y_first: Any, y_place: Any, column: Any, y_steps: Any, y_period: Any, rows: Any,
) -> tuple[Any, Instructions]:  # fmt: skip
    lanes = target().lanes(x.dtype.name)
    vector, half = Vector(x.dtype, lanes), lanes // 2

    def zipped(builder: Any, a: Any, b: Any, first: int) -> Any:
        order = [place for lane in range(first, first + half) for place in (lane, lanes + lane)]
        return _lanes_of_two(builder, a, b, order)

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        x, x_first, *x_order = values[:7]
        y, y_first, *y_order = values[7:]
        v = [
            write_load(builder, builder.gep(x, [builder.add(x_first, start)]), vector)
            for start in _starts(builder, lanes, *x_order)
        ]
        # A perfect shuffle, once for each bit of a lane's number, is the transposition.
        for _bit in range(lanes.bit_length() - 1):
            v = [
                zipped(builder, v[i], v[i + half], first)
                for i in range(half)
                for first in (0, half)
            ]
        for each, start in zip(v, _starts(builder, lanes, *y_order), strict=True):
            write_store(builder, each, builder.gep(y, [builder.add(y_first, start)]), vector)
        return context.get_dummy_value()

    made = types.none(
        x, x_first, x_place, row, x_steps, x_period, columns,
        y, y_first, y_place, column, y_steps, y_period, rows,
    )  # fmt: skip
    return made, write


@compiled_as(_transpose_block)
def _block(
    x: Any, x_first: int, x_place: int, row: int, x_steps: int, x_period: int, columns: int,
    y: Any, y_first: int, y_place: int, column: int, y_steps: int, y_period: int, rows: int,
) -> None:  # fmt: skip
    """Transpose a block, a vector each way, from its row of x on, and to its row of y on.

    ``x_first`` is where the row 0 of x has the first column of the block, ``y_first`` the same of
    y. The other numbers are those of :func:`_in_order`, for either, and the length of a row.
    """
    for i in range(lanes_of(x.dtype)):
        to, to_place = column, y_place
        for j in range(lanes_of(x.dtype)):
            y[y_first + to * rows + i] = x[x_first + row * columns + j]
            to_place += 1
            to += y_steps if to_place < y_period else 1 - (y_period - 1) * y_steps
            to_place = to_place if to_place < y_period else 0
        x_place += 1
        row += x_steps if x_place < x_period else 1 - (x_period - 1) * x_steps
        x_place = x_place if x_place < x_period else 0


def _interleave(
    _: Any, x: Any, x_first: Any, pitch: Any, rows: Any, y: Any, y_first: Any
) -> tuple[Any, Instructions]:
    lanes, count = target().lanes(x.dtype.name), rows.literal_value
    vector = Vector(x.dtype, lanes)

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        x, x_first, pitch, _rows, y, y_first = values
        row = []
        for _row in range(count):
            row.append(write_load(builder, builder.gep(x, [x_first]), vector))
            x_first = builder.add(x_first, pitch)
        for v in range(count):
            picks = [(place % count, place // count) for place in range(v * lanes, (v + 1) * lanes)]
            made = _picked(builder, row, lanes, picks)
            to = builder.add(y_first, WORD(v * lanes))
            write_store(builder, made, builder.gep(y, [to]), vector)
        return context.get_dummy_value()

    return types.none(x, x_first, pitch, rows, y, y_first), write


@compiled_as(_interleave, prefer_literal=True)
def _interleaved(x: Any, x_first: int, pitch: int, rows: int, y: Any, y_first: int) -> None:
    """A vector of each of few rows of x, column by column, from y_first on."""
    for i in range(lanes_of(x.dtype)):
        for r in range(rows):
            y[y_first + i * rows + r] = x[x_first + r * pitch + i]


def _deinterleave(
    _: Any, x: Any, x_first: Any, columns: Any, y: Any, y_first: Any, pitch: Any
) -> tuple[Any, Instructions]:
    lanes, count = target().lanes(x.dtype.name), columns.literal_value
    vector = Vector(x.dtype, lanes)

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        x, x_first, _columns, y, y_first, pitch = values
        part = [
            write_load(builder, builder.gep(x, [builder.add(x_first, WORD(v * lanes))]), vector)
            for v in range(count)
        ]
        for r in range(count):
            picks = [divmod(place, lanes) for place in range(r, count * lanes, count)]
            made = _picked(builder, part, lanes, picks)
            write_store(builder, made, builder.gep(y, [y_first]), vector)
            y_first = builder.add(y_first, pitch)
        return context.get_dummy_value()

    return types.none(x, x_first, columns, y, y_first, pitch), write


@compiled_as(_deinterleave, prefer_literal=True)
def _deinterleaved(x: Any, x_first: int, columns: int, y: Any, y_first: int, pitch: int) -> None:
    """As many rows of few columns of x as fill a vector of each column, from y_first on."""
    for i in range(lanes_of(x.dtype)):
        for c in range(columns):
            y[y_first + c * pitch + i] = x[x_first + i * columns + c]


@inlined
def _transpose_thin(
    x: Any, y: Any, lanes: int, matrix: int, rows: int, columns: int, first: int, end: int
) -> int:
    """Matrices of two, three or four rows or columns, such as pixels of RGB.

    From row or column ``first`` on, as many as fill vectors before ``end``: how many they are.
    """
    count = (end - first) // lanes * lanes
    if lanes == 1 or min(rows, columns) == 1:
        return 0
    for at in range(first, first + count, lanes):
        from_row, to_column = matrix + at, matrix + at * rows
        from_pixel, to_plane = matrix + at * columns, matrix + at
        if rows == 2:
            _interleaved(x, from_row, columns, 2, y, to_column)
        elif rows == 3:
            _interleaved(x, from_row, columns, 3, y, to_column)
        elif rows == 4:
            _interleaved(x, from_row, columns, 4, y, to_column)
        elif columns == 2:
            _deinterleaved(x, from_pixel, 2, y, to_plane, rows)
        elif columns == 3:
            _deinterleaved(x, from_pixel, 3, y, to_plane, rows)
        else:
            _deinterleaved(x, from_pixel, 4, y, to_plane, rows)
    return count


@kernel(Kernel.TRANSPOSE)
def _transpose(real: Real) -> KernelFunction:
    """Transpose matrices as kernels/cpu/layout.h does."""

    def transpose(n: Fields, step: int, thread: int, threads: int) -> None:
        x, y, lanes = pointer(n.x, real), pointer(n.y, real), lanes_of(real)
        rows, columns = n.rows, n.columns
        x_period, y_period = n.x_period, n.y_period
        x_steps, y_steps = rows // x_period, columns // y_period
        tile_rows, tile_columns = n.tile_rows, n.tile_columns
        down = (rows + tile_rows - 1) // tile_rows
        across = (columns + tile_columns - 1) // tile_columns
        tiles = n.matrices * down * across
        for tile in range(first_of(tiles, thread, threads), first_of(tiles, thread + 1, threads)):
            matrix = tile // (down * across) * rows * columns
            top, left = tile // across % down * tile_rows, tile % across * tile_columns
            bottom, right = min(rows, top + tile_rows), min(columns, left + tile_columns)
            if rows == 1 and y_period == 1:
                copy(y, matrix + left, x, matrix + left, right - left)
                continue
            if x_period == 1 and y_period == 1:
                if bottom - top == rows and rows <= _MOST_INTERLEAVED:
                    left += _transpose_thin(x, y, lanes, matrix, rows, columns, left, right)
                elif right - left == columns and columns <= _MOST_INTERLEAVED:
                    top += _transpose_thin(x, y, lanes, matrix, rows, columns, top, bottom)
            whole_bottom = top + (bottom - top) // lanes * lanes
            whole_right = left + (right - left) // lanes * lanes
            for j in range(top, whole_bottom, lanes):
                x_place, row = _in_order(j, rows, x_period)
                for c in range(left, whole_right, lanes):
                    y_place, column = _in_order(c, columns, y_period)
                    _block(
                        x, matrix + c, x_place, row, x_steps, x_period, columns,
                        y, matrix + j, y_place, column, y_steps, y_period, rows,
                    )  # fmt: skip
            # What is left of the columns beside whole blocks, and of the rows below them.
            for c in range(left, right):
                _, column = _in_order(c, columns, y_period)
                to = matrix + column * rows
                first = whole_bottom if c < whole_right else top
                if x_period == 1:
                    for j in range(first, bottom):
                        y[to + j] = x[matrix + j * columns + c]
                else:
                    for j in range(first, bottom):
                        _, row = _in_order(j, rows, x_period)
                        y[to + j] = x[matrix + row * columns + c]

    return transpose


@kernel(Kernel.FIND_NOT_FINITE)
def _find_not_finite(real: Real) -> KernelFunction:
    """``found[part]``: whether a NaN or an infinity is in it; x - x is 0 for all else."""

    def find_not_finite(n: Fields, step: int, thread: int, threads: int) -> None:
        x, found, lanes = pointer(n.x, real), pointer(n.found, np.int64), lanes_of(real)
        for part in range(
            first_of(CONDITION_WORDS, thread, threads),
            first_of(CONDITION_WORDS, thread + 1, threads),
        ):
            first = first_of(n.size, part, CONDITION_WORDS)
            end = first_of(n.size, part + 1, CONDITION_WORDS)
            a, b = spread(0, real), spread(0, real)
            for i in range(first, end - 2 * lanes + 1, 2 * lanes):
                value, other = load(x, i, lanes), load(x, i + lanes, lanes)
                a, b = a + (value - value), b + (other - other)
            for i in range(first + (end - first) // (2 * lanes) * (2 * lanes), end, lanes):
                value = load(x, i, min(lanes, end - i))
                a = a + (value - value)
            found[part] = 0 if sum_of_lanes(a + b) == 0 else 1

    return find_not_finite


nchw_to_nhwc = contract_kernel(engine, "layout.nchw_to_nhwc", __name__)
nhwc_to_nchw = contract_kernel(engine, "layout.nhwc_to_nchw", __name__)
workspace_bytes = workspace_of_module(engine, "layout", __name__)
