"""Sums over the pixels that a pool took, in registers, as LLVM instructions.

As in :mod:`fastconv.backends.numba.tile_instructions`: the tiles of ``kernels/cpu/pooled.h``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from fastconv.backends.numba.instruction_set import target
from fastconv.backends.numba.numba_internals import cgutils
from fastconv.backends.numba.pointers import WORD, Instructions, Pointer, compiled_as, offset
from fastconv.backends.numba.tile_instructions import Words, write_product
from fastconv.backends.numba.vector_memory import write_load, write_store
from fastconv.backends.numba.vectors import (
    Vector,
    lanes_of,
    llvm_element,
    llvm_type,
    write_spread,
)

X, GRADIENT, OFFSET, DW = range(4)
"""Addresses."""
ROW, PIXELS, CHANNELS, DW_ROW, ADD = range(4, 9)
"""Strides of rows of x and dw in elements; whether the sums begin with dw."""
POOLED_WORDS = 16

_INDEX = ir.IntType(32)


def _pooled_product(
    _: Any, tile: Any, rows: Any, vectors: Any, dtype: Any
) -> tuple[Any, Instructions]:
    number = dtype.instance_type
    vector = Vector(number, target().lanes(number.name))
    places = [(row, v) for row in range(rows.literal_value) for v in range(vectors.literal_value)]

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = llvm_type(vector)
        words = Words(builder, values[0], llvm_element(number))
        x, dw, gradient = words.place(X), words.place(DW), words.place(GRADIENT)
        offsets, channels = words.place(OFFSET, _INDEX), words.word(CHANNELS)
        row_stride, dw_stride = words.word(ROW), words.word(DW_ROW)

        def at(start: Any, stride: Any, row: int, v: int) -> Any:
            elements = builder.add(builder.mul(stride, WORD(row)), WORD(v * vector.lanes))
            return builder.gep(start, [elements])

        sums = {place: cgutils.alloca_once(builder, kind) for place in places}
        with builder.if_else(words.equals(ADD, 0)) as (then, otherwise):
            with then:
                for total in sums.values():
                    builder.store(ir.Constant(kind, None), total)
            with otherwise:
                for place, total in sums.items():
                    builder.store(write_load(builder, at(dw, dw_stride, *place), vector), total)
        with cgutils.for_range(builder, words.word(PIXELS)) as loop:
            place = builder.mul(loop.index, channels)
            skipped = builder.load(builder.gep(offsets, [place]))
            start = builder.gep(x, [builder.sext(skipped, WORD)])
            factor = write_spread(builder, kind, builder.load(builder.gep(gradient, [place])))
            for each, total in sums.items():
                value = write_load(builder, at(start, row_stride, *each), vector)
                write_product(builder, total, factor, value)
        for place, total in sums.items():
            write_store(builder, builder.load(total), at(dw, dw_stride, *place), vector)
        return context.get_dummy_value()

    return types.none(types.int64, rows, vectors, dtype), write


@compiled_as(_pooled_product, prefer_literal=True)
def pooled_product(tile: int, rows: int, vectors: int, dtype: Any) -> None:
    """``sums[row][v] += gradient[p] * x[offset[p] + ...]`` over the pixels p of one channel."""
    words, columns = Pointer(tile, np.int64), vectors * lanes_of(dtype)
    x, dw = Pointer(words[X], dtype), Pointer(words[DW], dtype)
    gradient, offsets = Pointer(words[GRADIENT], dtype), Pointer(words[OFFSET], np.int32)
    for row in range(rows):
        to = offset(dw, row * int(words[DW_ROW])).elements(columns)
        if not words[ADD]:
            to[:] = 0
        for p in range(0, words[PIXELS] * words[CHANNELS], words[CHANNELS]):
            start = int(offsets[p]) + row * int(words[ROW])
            to += gradient[p] * offset(x, start).elements(columns)


def _add_region(
    _: Any, gradient: Any, channel: Any, count: Any, weights: Any, region: Any, line: Any,
    inputs: Any, first: Any, stop: Any,
) -> tuple[Any, Instructions]:  # fmt: skip
    element = gradient.dtype
    vector = Vector(element, target().lanes(element.name))

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        gradient, channel, count, weights, region, line, inputs, first, stop = values
        kind = llvm_type(vector)
        zero = ir.Constant(kind, None)
        # All rows at once, or, where there are too few registers, those that a row of the window
        # reaches.
        tall = 4 if target().registers >= 32 else 3
        sums = [[cgutils.alloca_once(builder, kind) for _ in range(4)] for _ in range(tall)]
        done: Any = WORD(0)
        for upper in range(5 - tall):
            for row in sums:
                for total in row:
                    builder.store(zero, total)
            for down, across in [(i, j) for i in range(upper, upper + tall - 2) for j in range(2)]:
                size = builder.load(builder.gep(count, [WORD(2 * down + across)]))
                end = builder.add(done, builder.sext(size, WORD))
                with cgutils.for_range(builder, end, start=done) as loop:
                    some = builder.load(builder.gep(gradient, [loop.index]))
                    factor = write_spread(builder, kind, some)
                    output = builder.sext(builder.load(builder.gep(channel, [loop.index])), WORD)
                    start = builder.mul(output, WORD(9 * vector.lanes))
                    for tap in range(9):
                        at = builder.add(start, WORD(tap * vector.lanes))
                        value = write_load(builder, builder.gep(weights, [at]), vector)
                        total = sums[tap // 3 + down - upper][tap % 3 + across]
                        write_product(builder, total, factor, value)
                done = end
            for number, totals in enumerate(sums, upper):
                inside = builder.and_(
                    builder.icmp_signed("<=", first, WORD(number)),
                    builder.icmp_signed("<", WORD(number), stop),
                )
                with builder.if_then(inside):
                    for column, total in enumerate(totals):
                        skipped = builder.mul(line, WORD(number))
                        skipped = builder.add(skipped, builder.mul(inputs, WORD(column)))
                        to = builder.gep(region, [skipped])
                        before = write_load(builder, to, vector)
                        both = builder.fadd(before, builder.load(total))
                        write_store(builder, both, to, vector)
        return context.get_dummy_value()

    word = types.int64
    return types.none(
        gradient, channel, count, weights, region, word, word, word, word
    ), write  # fmt: skip


@compiled_as(_add_region)
def add_region(
    gradient: Any, channel: Any, count: Any, weights: Any, region: Any, line: int, inputs: int,
    first: int, stop: int,
) -> None:  # fmt: skip
    """Add what one pooled pixel gives to rows ``first`` to ``stop`` of its 4 x 4 pixels.

    Parameters
    ----------
    gradient, channel, count
        Its gradients and their channels, by place in the window; how many there are of each.
    weights
        9 vectors for each channel.
    region, line, inputs
        The first of the pixels, and the elements from row to row and from pixel to pixel.
    first, stop
        Rows.
    """
    lanes, done = lanes_of(gradient.dtype), 0
    sums = np.zeros((4, 4, lanes), gradient.dtype)
    for place in range(4):
        down, across = divmod(place, 2)
        for _ in range(count[place]):
            start = int(channel[done]) * 9 * lanes
            taps = offset(weights, start).elements(9 * lanes).reshape(3, 3, lanes)
            sums[down : down + 3, across : across + 3] += gradient[done] * taps
            done += 1
    for row in range(first, stop):
        for column in range(4):
            offset(region, row * line + column * inputs).elements(lanes)[:] += sums[row, column]
