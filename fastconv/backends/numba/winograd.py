"""3x3 convolutions with stride 1 by fewer products; see ``kernels/cpu/winograd.h``."""

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
from fastconv.backends.numba.vector_memory import CACHE_LINE_BYTES, load, store
from fastconv.backends.numba.vectors import lanes_of, spread
from fastconv.backends.numba.winograd_transforms import (
    ROOM,
    ask_for_pixels,
    outputs_of_tile,
    pixels_of_tile,
    places_of_tiles,
    places_seen,
    weights_of_tile,
)

_ELEMENTS = 36 * (1024 + 16)
"""Elements of the transformed pixels of some tiles."""
_MOST_WIDTH = 8 * 16
"""Outputs of a block, with the widest vectors."""
_MOST_TILES = 14
_RESULTS = 36 * _MOST_TILES * 2 * 16
"""Elements of the results that wait, with the widest vectors."""


@kernel(Kernel.WINOGRAD_WEIGHTS)
def _winograd_weights(real: Real) -> KernelFunction:
    """``to[place][block][k][n] = G g G'`` of the weights g of input k and output n."""

    def winograd_weights(n: Fields, step: int, thread: int, threads: int) -> None:
        source, to, lanes = pointer(n.w, real), pointer(n.transformed, real), lanes_of(real)
        outputs, depth, width = n.outputs, n.inputs, n.vectors * lanes
        room = local(ROOM, real)
        for k in range(first_of(depth, thread, threads), first_of(depth, thread + 1, threads)):
            for j in range(0, outputs, lanes):
                weights_of_tile(
                    source, k * n.w_input + j, n.w_down, n.w_across, n.side, to,
                    (j // width * depth + k) * width + j % width, n.place, room, lanes,
                )  # fmt: skip

    return winograd_weights


@inlined
def _places_written(n: Fields, first: int, tiles: int, places: Any, outside: Any) -> None:
    """Where the outputs of some tiles begin."""
    places_of_tiles(
        first, tiles, n.tile_rows, n.tiles, n.c_height, n.c_width, 0, 0, n.c_sample, n.c_row,
        n.c_column, n.side, n.side, places, outside,
    )  # fmt: skip


@kernel(Kernel.WINOGRAD_PIXELS)
def _winograd_pixels(real: Real) -> KernelFunction:
    """``transformed[place][tile][k] = (B' d B)[place][k]`` of the pixels d that a tile sees."""

    def winograd_pixels(n: Fields, step: int, thread: int, threads: int) -> None:
        a, to, lanes = pointer(n.a, real), pointer(n.transformed, real), lanes_of(real)
        inputs, count, room = n.inputs, n.count, local(ROOM, real)
        places, outside = local(_MOST_TILES, np.int64), local(_MOST_TILES, np.int64)
        begin, end = first_of(count, thread, threads), first_of(count, thread + 1, threads)
        for first in range(begin, end, _MOST_TILES):
            tiles = min(_MOST_TILES, end - first)
            places_seen(n, n.first + first, tiles, places, outside)
            for each in range(tiles):
                pixels_of_tile(
                    a, places[each], outside[each], n.a_row, n.a_column, inputs, n.side, to,
                    (first + each) * inputs, count * inputs, room, lanes,
                )  # fmt: skip

    return winograd_pixels


@inlined
def _add_parts(
    sums: Any, at: int, place: int, places: int, parts: int, added: Any, lanes: int
) -> None:  # fmt: skip
    """A vector of the sums of each place, of all parts."""
    for i in range(places):
        total = load(sums, at + i * place, lanes)
        for number in range(1, parts):
            total = total + load(sums, at + (number * places + i) * place, lanes)
        store(added, i * lanes, total, lanes)


@kernel(Kernel.WINOGRAD_OUTPUTS)
def _winograd_outputs(real: Real) -> KernelFunction:
    """``C = bias + A' m A`` of the sums m of each tile, whose parts are added in their order."""

    def winograd_outputs(n: Fields, step: int, thread: int, threads: int) -> None:
        sums, c, bias = pointer(n.sums, real), pointer(n.c, real), pointer(n.bias, real)
        outputs, count, lanes = n.outputs, n.count, lanes_of(real)
        places, left_out = local(_MOST_TILES, np.int64), local(_MOST_TILES, np.int64)
        room, added, slope = local(ROOM, real), local(ROOM, real), real(1)
        side, parts, place = n.side, n.parts, count * outputs
        seen = (side + 2) * (side + 2)
        begin, end = first_of(count, thread, threads), first_of(count, thread + 1, threads)
        for first in range(begin, end, _MOST_TILES):
            tiles = min(_MOST_TILES, end - first)
            _places_written(n, n.first + first, tiles, places, left_out)
            for each in range(tiles):
                for j in range(0, outputs, lanes):
                    base = spread(0, real)
                    if not is_null(bias):
                        base = load(bias, j, lanes)
                    source, at, step_of_place = sums, (first + each) * outputs + j, place
                    if parts > 1:
                        _add_parts(sums, at, place, seen, parts, added, lanes)
                        source, at, step_of_place = added, 0, lanes
                    outputs_of_tile(
                        source, at, step_of_place, base, side, c, places[each] + j, n.c_row,
                        n.c_column, c, False, slope, left_out[each], room, lanes,
                    )  # fmt: skip

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
        blocks, side = n.outputs // width, n.side
        together, epilogue = n.together, n.epilogue
        every = n.samples * n.tile_rows * n.tiles
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
        left_out, room = local(_MOST_TILES, np.int64), local(ROOM, real)
        row_of_c, pixel_of_c = n.c_row, n.c_column
        t[tile.RUNS1], t[tile.RUNS2], t[tile.DEPTH], t[tile.A_STRIDE] = 1, 1, depth, depth
        t[tile.A_RUN1], t[tile.B_RUN1], t[tile.A_RUN2], t[tile.B_RUN2] = 0, 0, 0, 0
        t[tile.B_STEP], t[tile.C_ROW], t[tile.COLUMNS] = width, width, width
        t[tile.INIT], t[tile.EPILOGUE], t[tile.OTHER], t[tile.BIAS] = INIT_ZERO, STORE, 0, 0
        call = address_at(t, 0)
        pieces = groups * blocks
        begin, end = first_of(pieces, thread, threads), first_of(pieces, thread + 1, threads)
        for piece in range(begin, end):
            block, group = piece % blocks, piece // blocks
            first = first_of(every, group, groups)
            tiles = first_of(every, group + 1, groups) - first
            place = tiles * depth + lanes  # no 2 KiB, for the sets of a cache
            if piece == begin or block == 0:
                places_seen(n, first, tiles, source, outside)
                _places_written(n, first, tiles, to, left_out)
                for each in range(tiles):
                    pixels_of_tile(
                        a, source[each], outside[each], row_of_a, pixel, depth, side, pixels,
                        each * depth, place, room, lanes,
                    )  # fmt: skip
                coming = 0
                if piece - block + blocks < end:
                    number = first + tiles
                    coming = first_of(every, group + 2, groups) - number
                    places_seen(n, number, coming, following, next_outside)
            k = first_of(depth, block, blocks)
            share = first_of(depth, block + 1, blocks) - k
            for i in range((side + 2) * (side + 2)):
                t[tile.A] = address_at(pixels, i * place)
                t[tile.B] = address_at(b, i * n.place + block * depth * width)
                t[tile.C] = address_at(results, i * tiles * width)
                run_tile(n, tiles, vectors, call)
                if i < tiles:
                    at = to[i] + block * width
                    ask_for_pixels(c, at, row_of_c, pixel_of_c, side, width, line)
                    if by_other:
                        ask_for_pixels(other, at, row_of_c, pixel_of_c, side, width, line)
                if i < coming:
                    at = following[i] + 2 * (row_of_a + pixel) + k
                    ask_for_pixels(a, at, row_of_a, pixel, side, share, line)
            next_place = tiles * width
            for v in range(0, width, lanes):
                base = spread(0, real)
                if not is_null(bias):
                    base = load(bias, block * width + v, lanes)
                store(bases, v, base, lanes)
            for each in range(tiles):
                for v in range(0, width, lanes):
                    outputs_of_tile(
                        results, each * width + v, next_place, load(bases, v, lanes), side, c,
                        to[each] + block * width + v, row_of_c, pixel_of_c, other, by_other, slope,
                        left_out[each], room, lanes,
                    )  # fmt: skip

    return winograd_tiles
