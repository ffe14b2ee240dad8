"""3x3 convolutions with stride 1 by Winograd's F(2x2, 3x3); see ``kernels/cpu/winograd.h``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.choices import INIT_ZERO, LEAKY_GRADIENT, STORE
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.numba import tile_instructions as tile
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pointers import address_at, first_of, is_null, local, pointer
from fastconv.backends.numba.tile_functions import run_tile
from fastconv.backends.numba.tile_instructions import TILE_WORDS
from fastconv.backends.numba.vector_memory import CACHE_LINE_BYTES, ask_for, load, store
from fastconv.backends.numba.vectors import lanes_of, select, spread

_ELEMENTS = 16384
"""Elements of the transformed pixels of some tiles."""
_MOST_WIDTH = 8 * 16
"""Outputs of a block, with the widest vectors."""
_MOST_TILES = 14
_RESULTS = 16 * _MOST_TILES * 2 * 16
"""Elements of the results that wait, with the widest vectors."""


@inlined
def _filtered(g0: Any, g1: Any, g2: Any, half: Any) -> Any:
    """``G g``, along one axis."""
    outer = (g0 + g2) * half
    return g0, outer + g1 * half, outer - g1 * half, g2


@kernel(Kernel.WINOGRAD_WEIGHTS)
def _winograd_weights(real: Real) -> KernelFunction:
    """``to[place][block][k][n] = G g G'`` of the weights g of input k and output n."""

    def winograd_weights(n: Fields, step: int, thread: int, threads: int) -> None:
        source, to, lanes = pointer(n.w, real), pointer(n.transformed, real), lanes_of(real)
        outputs, depth = n.outputs, n.inputs
        width, half, row = n.vectors * lanes, spread(0.5, real), n.w_down
        place = n.place
        for k in range(first_of(depth, thread, threads), first_of(depth, thread + 1, threads)):
            for j in range(0, outputs, lanes):
                at, column = k * n.w_input + j, n.w_across
                a0, a1, a2, a3 = _filtered(
                    load(source, at, lanes), load(source, at + row, lanes),
                    load(source, at + 2 * row, lanes), half,
                )  # fmt: skip
                at += column
                b0, b1, b2, b3 = _filtered(
                    load(source, at, lanes), load(source, at + row, lanes),
                    load(source, at + 2 * row, lanes), half,
                )  # fmt: skip
                at += column
                c0, c1, c2, c3 = _filtered(
                    load(source, at, lanes), load(source, at + row, lanes),
                    load(source, at + 2 * row, lanes), half,
                )  # fmt: skip
                out = (j // width * depth + k) * width + j % width
                store_four(to, out, place, _filtered(a0, b0, c0, half), lanes)
                store_four(to, out + 4 * place, place, _filtered(a1, b1, c1, half), lanes)
                store_four(to, out + 8 * place, place, _filtered(a2, b2, c2, half), lanes)
                store_four(to, out + 12 * place, place, _filtered(a3, b3, c3, half), lanes)

    return winograd_weights


@inlined
def store_four(to: Any, at: int, place: int, values: Any, lanes: int) -> None:
    """Store vectors into four places, one behind the other."""
    store(to, at, values[0], lanes)
    store(to, at + place, values[1], lanes)
    store(to, at + 2 * place, values[2], lanes)
    store(to, at + 3 * place, values[3], lanes)


@inlined
def _seen(d0: Any, d1: Any, d2: Any, d3: Any) -> Any:
    """``B' d``, along one axis."""
    return d0 - d2, d1 + d2, d2 - d1, d1 - d3


@inlined
def load_seen(source: Any, at: int, outside: int, row: int, column: int, lanes: int) -> Any:
    """A vector of the pixel at ``at``, or 0 where its row or its column is outside of the image."""
    is_outside = (outside >> row | outside >> (4 + column)) & 1
    return load(source, at, 0 if is_outside != 0 else lanes)


@inlined
def _column(source: Any, at: int, row: int, outside: int, column: int, lanes: int) -> Any:
    """``B' d`` of four pixels one below the other."""
    return _seen(
        load_seen(source, at, outside, 0, column, lanes),
        load_seen(source, at + row, outside, 1, column, lanes),
        load_seen(source, at + 2 * row, outside, 2, column, lanes),
        load_seen(source, at + 3 * row, outside, 3, column, lanes),
    )


@inlined
def _pixels(
    source: Any, start: int, outside: int, row: int, pixel: int, channels: int, to: Any,
    first: int, place: int, lanes: int,
) -> None:  # fmt: skip
    """``to[place][k] = B' d B`` for the 4x4 pixels d that begin somewhere, for all channels.

    Pixels outside of the image are 0: bit i of ``outside`` says it of row i, bit 4 + i of column i.
    """
    for k in range(0, channels, lanes):
        at = start + k
        a0, a1, a2, a3 = _column(source, at, row, outside, 0, lanes)
        b0, b1, b2, b3 = _column(source, at + pixel, row, outside, 1, lanes)
        c0, c1, c2, c3 = _column(source, at + 2 * pixel, row, outside, 2, lanes)
        d0, d1, d2, d3 = _column(source, at + 3 * pixel, row, outside, 3, lanes)
        out = first + k
        store_four(to, out, place, _seen(a0, b0, c0, d0), lanes)
        store_four(to, out + 4 * place, place, _seen(a1, b1, c1, d1), lanes)
        store_four(to, out + 8 * place, place, _seen(a2, b2, c2, d2), lanes)
        store_four(to, out + 12 * place, place, _seen(a3, b3, c3, d3), lanes)


@inlined
def _pixels_of_tile(
    source: Any, start: int, outside: int, row: int, pixel: int, channels: int, to: Any,
    first: int, place: int, lanes: int,
) -> None:  # fmt: skip
    """:func:`_pixels`; tiles within the image have no conditions."""
    if outside == 0:
        _pixels(source, start, 0, row, pixel, channels, to, first, place, lanes)
    else:
        _pixels(source, start, outside, row, pixel, channels, to, first, place, lanes)


@inlined
def _down(results: Any, at: int, next_place: int, lanes: int) -> Any:
    """``A' m`` of the results of four places one below the other."""
    m1 = load(results, at + 4 * next_place, lanes)
    m2 = load(results, at + 8 * next_place, lanes)
    first = load(results, at, lanes) + (m1 + m2)
    return first, (m1 - m2) - load(results, at + 12 * next_place, lanes)


@inlined
def places_of_tiles(
    first: int, tiles: int, high: int, wide: int, sample: int, row: int, pixel: int, places: Any
) -> None:
    """Addresses of some tiles, from the first of them on, which are counted through the samples."""
    line, column = first // wide, first % wide
    start, down = line // high * sample, line % high
    for number in range(tiles):
        places[number] = start + 2 * (down * row + column * pixel)
        column += 1
        if column == wide:
            column, down = 0, down + 1
            if down == high:
                down, start = 0, start + sample


@inlined
def _outside(first: int, size: int) -> int:
    """Bits of those of four rows or columns from one on that are outside of so many."""
    bits = 0
    for number in range(4):
        if first + number < 0 or first + number >= size:
            bits |= 1 << number
    return bits


@inlined
def seen_places(n: Fields, first: int, tiles: int, places: Any, outside: Any) -> None:
    """Where the 4x4 pixels begin that some tiles see, and which of them are outside of the image.

    The tiles are counted through the samples; the first begins ``top`` rows above its image and
    ``left`` pixels beside it, so that a place may be in front of the image.
    """
    high, wide, row, pixel = n.tile_rows, n.tiles, n.a_row, n.a_column
    line, column = first // wide, first % wide
    start, down = line // high * n.a_sample, line % high
    rows = _outside(2 * down - n.top, n.height)
    for number in range(tiles):
        y, x = 2 * down - n.top, 2 * column - n.left
        places[number] = start + y * row + x * pixel
        outside[number] = rows | _outside(x, n.width) << 4
        column += 1
        if column == wide:
            column, down = 0, down + 1
            if down == high:
                down, start = 0, start + n.a_sample
            rows = _outside(2 * down - n.top, n.height)


@inlined
def ask_for_pixels(
    images: Any, at: int, row: int, column: int, elements: int, line: int
) -> None:  # fmt: skip
    """Ask for some elements of 2 x 2 pixels to come into the caches."""
    for k in range(at, at + elements, line):
        ask_for(images, k)
        ask_for(images, k + column)
        ask_for(images, k + row)
        ask_for(images, k + row + column)


@inlined
def _finish(
    c: Any, at: int, value: Any, other: Any, by_other: bool, slope: Any, lanes: int
) -> None:  # fmt: skip
    """Store a value, times the slope where it, or the other, is not positive."""
    test = load(other, at, lanes) if by_other else value
    store(c, at, select(test > 0, value, value * slope), lanes)


@kernel(Kernel.WINOGRAD_PIXELS)
def _winograd_pixels(real: Real) -> KernelFunction:
    """``transformed[place][tile][k] = (B' d B)[place][k]`` of the pixels d that a tile sees."""

    def winograd_pixels(n: Fields, step: int, thread: int, threads: int) -> None:
        a, to, lanes = pointer(n.a, real), pointer(n.transformed, real), lanes_of(real)
        inputs, count = n.inputs, n.count
        places, outside = local(_MOST_TILES, np.int64), local(_MOST_TILES, np.int64)
        begin, end = first_of(count, thread, threads), first_of(count, thread + 1, threads)
        for first in range(begin, end, _MOST_TILES):
            tiles = min(_MOST_TILES, end - first)
            seen_places(n, n.first + first, tiles, places, outside)
            for each in range(tiles):
                _pixels_of_tile(
                    a, places[each], outside[each], n.a_row, n.a_column, inputs, to,
                    (first + each) * inputs, count * inputs, lanes,
                )  # fmt: skip

    return winograd_pixels


@kernel(Kernel.WINOGRAD_OUTPUTS)
def _winograd_outputs(real: Real) -> KernelFunction:
    """``C = bias + A' m A`` of the sums m of each tile."""

    def winograd_outputs(n: Fields, step: int, thread: int, threads: int) -> None:
        sums, c, bias = pointer(n.sums, real), pointer(n.c, real), pointer(n.bias, real)
        outputs, count, lanes = n.outputs, n.count, lanes_of(real)
        row, pixel, next_place = n.c_row, n.c_column, count * outputs
        places = local(_MOST_TILES, np.int64)
        begin, end = first_of(count, thread, threads), first_of(count, thread + 1, threads)
        for first in range(begin, end, _MOST_TILES):
            tiles = min(_MOST_TILES, end - first)
            places_of_tiles(
                n.first + first, tiles, n.tile_rows, n.tiles, n.c_sample, row, pixel, places
            )
            for each in range(tiles):
                for j in range(0, outputs, lanes):
                    at = (first + each) * outputs + j
                    a0, a1 = _down(sums, at, next_place, lanes)
                    b0, b1 = _down(sums, at + next_place, next_place, lanes)
                    c0, c1 = _down(sums, at + 2 * next_place, next_place, lanes)
                    d0, d1 = _down(sums, at + 3 * next_place, next_place, lanes)
                    base = spread(0, real)
                    if not is_null(bias):
                        base = load(bias, j, lanes)
                    at = places[each] + j
                    store(c, at, base + (a0 + (b0 + c0)), lanes)
                    store(c, at + pixel, base + ((b0 - c0) - d0), lanes)
                    store(c, at + row, base + (a1 + (b1 + c1)), lanes)
                    store(c, at + row + pixel, base + ((b1 - c1) - d1), lanes)

    return winograd_outputs


@kernel(Kernel.WINOGRAD_TILES)
def _winograd_tiles(real: Real) -> KernelFunction:
    """``C[sample, row, column, n] = bias + sum over 3x3 taps and k of A[...] w[tap, k, n]``."""
    line = CACHE_LINE_BYTES // np.dtype(real).itemsize

    def winograd_tiles(n: Fields, step: int, thread: int, threads: int) -> None:
        a, b, c = (
            pointer(n.a, real), pointer(n.b, real), pointer(n.c, real)
        )  # fmt: skip
        bias, other = pointer(n.bias, real), pointer(n.other, real)
        lanes, vectors, depth = lanes_of(real), n.vectors, n.inputs
        width = vectors * lanes
        blocks, across = n.outputs // width, n.tiles
        together, epilogue = n.together, n.epilogue
        high = n.tile_rows
        every = high * across
        groups = (every + together - 1) // together
        # One condition in the loops: LLVM makes a copy of them for each combination.
        by_other = epilogue == LEAKY_GRADIENT
        row_of_a, pixel, slope = (
            n.a_row,
            n.a_column,
            real(1) if epilogue == STORE else real(n.slope),
        )
        pixels, results = local(_ELEMENTS, real), local(_RESULTS, real)
        bases, t = local(_MOST_WIDTH, real), local(TILE_WORDS, np.int64)
        source, to = local(_MOST_TILES, np.int64), local(_MOST_TILES, np.int64)
        following, coming = local(_MOST_TILES, np.int64), 0
        outside, next_outside = local(_MOST_TILES, np.int64), local(_MOST_TILES, np.int64)
        row_of_c, pixel_of_c = n.c_row, n.c_column
        t[tile.RUNS1], t[tile.RUNS2], t[tile.DEPTH], t[tile.A_STRIDE] = 1, 1, depth, depth
        t[tile.A_RUN1], t[tile.B_RUN1], t[tile.A_RUN2], t[tile.B_RUN2] = 0, 0, 0, 0
        t[tile.B_STEP], t[tile.C_ROW], t[tile.COLUMNS] = width, width, width
        t[tile.INIT], t[tile.EPILOGUE], t[tile.OTHER], t[tile.BIAS] = INIT_ZERO, STORE, 0, 0
        call = address_at(t, 0)
        pieces = n.samples * groups * blocks
        begin, end = first_of(pieces, thread, threads), first_of(pieces, thread + 1, threads)
        for piece in range(begin, end):
            block, group = piece % blocks, piece // blocks % groups
            sample, first = piece // (blocks * groups), first_of(every, group, groups)
            tiles = first_of(every, group + 1, groups) - first
            place = tiles * depth
            if piece == begin or block == 0:
                number = sample * every + first
                seen_places(n, number, tiles, source, outside)
                places_of_tiles(number, tiles, high, across, n.c_sample, row_of_c, pixel_of_c, to)
                for each in range(tiles):
                    _pixels_of_tile(
                        a, source[each], outside[each], row_of_a, pixel, depth, pixels,
                        each * depth, place, lanes,
                    )  # fmt: skip
                beyond, coming = piece - block + blocks, 0
                if beyond < end:
                    after = beyond // blocks % groups
                    number = first_of(every, after, groups)
                    coming = first_of(every, after + 1, groups) - number
                    number += beyond // (blocks * groups) * every
                    seen_places(n, number, coming, following, next_outside)
            k = first_of(depth, block, blocks)
            share = first_of(depth, block + 1, blocks) - k
            for i in range(16):
                t[tile.A] = address_at(pixels, i * place)
                t[tile.B] = address_at(b, i * n.place + block * depth * width)
                t[tile.C] = address_at(results, i * tiles * width)
                run_tile(n, tiles, vectors, call)
                if i < tiles:
                    at = to[i] + block * width
                    ask_for_pixels(c, at, row_of_c, pixel_of_c, width, line)
                    if by_other:
                        ask_for_pixels(other, at, row_of_c, pixel_of_c, width, line)
                if i < coming:
                    at = following[i] + 2 * (row_of_a + pixel) + k
                    ask_for_pixels(a, at, row_of_a, pixel, share, line)
            next_place = tiles * width
            for v in range(0, width, lanes):
                base = spread(0, real)
                if not is_null(bias):
                    base = load(bias, block * width + v, lanes)
                store(bases, v, base, lanes)
            for each in range(tiles):
                for v in range(0, width, lanes):
                    at = each * width + v
                    a0, a1 = _down(results, at, next_place, lanes)
                    b0, b1 = _down(results, at + next_place, next_place, lanes)
                    c0, c1 = _down(results, at + 2 * next_place, next_place, lanes)
                    d0, d1 = _down(results, at + 3 * next_place, next_place, lanes)
                    base = load(bases, v, lanes)
                    at = to[each] + block * width + v
                    _finish(c, at, base + (a0 + (b0 + c0)), other, by_other, slope, lanes)
                    _finish(
                        c, at + pixel_of_c, base + ((b0 - c0) - d0), other, by_other, slope, lanes
                    )
                    at += row_of_c
                    _finish(c, at, base + (a1 + (b1 + c1)), other, by_other, slope, lanes)
                    _finish(
                        c, at + pixel_of_c, base + ((b1 - c1) - d1), other, by_other, slope, lanes
                    )

    return winograd_tiles
