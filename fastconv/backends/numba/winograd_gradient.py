"""Weight gradients with fewer products; see ``kernels/cpu/winograd_gradient.h``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.choices import INIT_C, INIT_ZERO, STORE, UPDATE
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.numba import tile_instructions as tile
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pixel_sums import sum_of_pixels
from fastconv.backends.numba.pointers import address_at, first_of, is_null, local, pointer
from fastconv.backends.numba.tile_functions import run_tile
from fastconv.backends.numba.tile_instructions import TILE_WORDS
from fastconv.backends.numba.vector_memory import CACHE_LINE_BYTES, load, load_beside, store
from fastconv.backends.numba.vectors import lanes_of, spread
from fastconv.backends.numba.winograd_transforms import (
    POINT_A,
    POINT_B,
    ROOM,
    ask_for_pixels,
    load_seen,
    places_of_tiles,
    places_seen,
    seen_2,
    seen_4,
    six,
    spread_2,
    spread_4,
    store_four,
    store_six,
    taps_2,
    taps_4,
)

_ELEMENTS = 32768
"""Elements of the transformed pixels and outputs of a row of places."""
_MOST_TILES = 64


@inlined
def _places_of_outputs(n: Fields, first: int, tiles: int, places: Any, outside: Any) -> None:
    """Where the outputs begin whose gradients some tiles are, and what is none of the image."""
    places_of_tiles(
        first, tiles, n.tile_rows, n.tiles, n.dy_height, n.dy_width, 0, 0, n.dy_sample,
        n.dy_row, n.dy_column, n.side, n.side, places, outside,
    )  # fmt: skip


@inlined
def _odd_factor(r: int, real: Any) -> Any:
    """What the odd pixels of a row of places of tiles of 4x4 are multiplied by: its point."""
    point = POINT_A if r < 3 else POINT_B
    return spread(real(point if r & 1 else -point), real)


@inlined
def _seen_row(
    source: Any, start: int, outside: int, side: int, r: int, row: int, pixel: int, channels: int,
    to: Any, out: int, place: int, room: Any, lanes: int, real: Any,
) -> None:  # fmt: skip
    """Row r of ``B' d B`` for the pixels d that begin at ``start``.

    ``outside`` says what is no pixel of the image, as in :mod:`.winograd_transforms`. Of tiles of
    4x4, the outer rows are of three pixels, the others of four.
    """
    one = 0 if r == 0 else 2 if r == 2 else 1
    two = 1 if r == 2 else 3 if r == 3 else 2
    sign = spread(real(1 if r == 1 else -1), real)
    first = 1 if r > 0 else 0
    factor, odd = spread(real(2 if r < 3 else 0.5), real), _odd_factor(r, real)
    for k in range(0, channels, lanes):
        for column in range(side + 2):
            at = start + column * pixel + k
            if side == 2:
                upper = load_seen(source, at + one * row, outside, one, column, lanes)
                lower = load_seen(source, at + two * row, outside, two, column, lanes)
                value = upper + sign * lower
            elif r == 0 or r == 5:
                at += first * row
                upper = load_seen(source, at, outside, first, column, lanes)
                middle = load_seen(source, at + 2 * row, outside, first + 2, column, lanes)
                lower = load_seen(source, at + 4 * row, outside, first + 4, column, lanes)
                value = (upper + lower) - middle * 2.5
            else:
                d1 = load_seen(source, at + row, outside, 1, column, lanes)
                d2 = load_seen(source, at + 2 * row, outside, 2, column, lanes)
                d3 = load_seen(source, at + 3 * row, outside, 3, column, lanes)
                d4 = load_seen(source, at + 4 * row, outside, 4, column, lanes)
                value = (d4 - d2 * factor) + (d3 - d1 * factor) * odd
            store(room, column * lanes, value, lanes)
        if side == 2:
            d0, d1 = load(room, 0, lanes), load(room, lanes, lanes)
            d2, d3 = load(room, 2 * lanes, lanes), load(room, 3 * lanes, lanes)
            store_four(to, out + k, place, seen_2(d0, d1, d2, d3), lanes)
        else:
            d0, d1, d2, d3, d4, d5 = six(room, 0, lanes, lanes)
            store_six(to, out + k, place, seen_4(d0, d1, d2, d3, d4, d5), lanes)


@inlined
def _spread_row(
    dy: Any, start: int, beyond: int, side: int, r: int, row: int, pixel: int, channels: int,
    to: Any, out: int, place: int, room: Any, lanes: int, real: Any,
) -> None:  # fmt: skip
    """Row r of ``A dy A'``: the outer ones are of one row of dy, the others of all of a tile."""
    one = side - 1 if r > 0 else 0
    sign = spread(real(-1 if side == 2 and r > 1 else 1), real)
    factor, odd = spread(real(0.5 if r < 3 else 2), real), _odd_factor(r, real)
    for k in range(0, channels, lanes):
        for column in range(side):
            at = start + column * pixel + k
            if r == 0 or r == side + 1:
                value = sign * load_seen(dy, at + one * row, beyond, one, column, lanes)
            else:
                d0 = load_seen(dy, at, beyond, 0, column, lanes)
                d1 = load_seen(dy, at + row, beyond, 1, column, lanes)
                if side == 2:
                    value = d0 + sign * d1
                else:
                    d2 = load_seen(dy, at + 2 * row, beyond, 2, column, lanes)
                    d3 = load_seen(dy, at + 3 * row, beyond, 3, column, lanes)
                    value = (d0 + d2 * factor) + (d1 + d3 * factor) * odd
            store(room, column * lanes, value, lanes)
        d0, d1 = load(room, 0, lanes), load(room, lanes, lanes)
        if side == 2:
            store_four(to, out + k, place, spread_2(d0, d1), lanes)
        else:
            d2, d3 = load(room, 2 * lanes, lanes), load(room, 3 * lanes, lanes)
            store_six(to, out + k, place, spread_4(d0, d1, d2, d3), lanes)


@inlined
def _sum_of_tile(
    dy: Any, start: int, beyond: int, side: int, row: int, pixel: int, channels: int, to: Any,
    out: int, lanes: int, real: Any,
) -> None:  # fmt: skip
    """Add up the outputs' gradients of a tile."""
    for k in range(0, channels, lanes):
        total = spread(real(0), real)
        for column in range(side):
            at = start + column * pixel + k
            down = load_seen(dy, at, beyond, 0, column, lanes)
            down = down + load_seen(dy, at + row, beyond, 1, column, lanes)
            if side == 4:
                lower = load_seen(dy, at + 2 * row, beyond, 2, column, lanes)
                down = down + (lower + load_seen(dy, at + 3 * row, beyond, 3, column, lanes))
            total = total + down
        store(to, out + k, total, lanes)


@kernel(Kernel.WINOGRAD_WEIGHT_SUMS)
def _winograd_weight_sums(real: Real) -> KernelFunction:
    """``sums[part][place][k][n]``, of the tiles of a part, and the sums of dy."""
    line = CACHE_LINE_BYTES // np.dtype(real).itemsize

    def winograd_weight_sums(n: Fields, step: int, thread: int, threads: int) -> None:
        a, dy, sums = (
            pointer(n.a, real), pointer(n.dy, real), pointer(n.sums, real)
        )  # fmt: skip
        biases, lanes = pointer(n.bias_sums, np.float64), lanes_of(real)
        high, wide, vectors = n.tile_rows, n.tiles, n.vectors
        outputs, depth, width = n.outputs, n.inputs, vectors * lanes
        row_of_sums, place_of_sums = n.sums_row, n.sums_place
        across = (depth + n.tile_inputs - 1) // n.tile_inputs
        row_of_a, pixel_of_a = n.a_row, n.a_column
        row_of_dy, pixel_of_dy = n.dy_row, n.dy_column
        parts, together = n.parts, n.together
        made = local(_ELEMENTS, real)
        room = local(ROOM, real)
        source, at = local(_MOST_TILES, np.int64), local(_MOST_TILES, np.int64)
        next_source, next_at = local(_MOST_TILES, np.int64), local(_MOST_TILES, np.int64)
        outside, next_outside = local(_MOST_TILES, np.int64), local(_MOST_TILES, np.int64)
        beyond, next_beyond = local(_MOST_TILES, np.int64), local(_MOST_TILES, np.int64)
        t = local(TILE_WORDS, np.int64)
        t[tile.RUNS1], t[tile.RUNS2], t[tile.A_STRIDE], t[tile.B_STEP] = 1, 1, depth, outputs
        t[tile.A_RUN1], t[tile.B_RUN1], t[tile.A_RUN2], t[tile.B_RUN2] = 0, 0, 0, 0
        t[tile.C_ROW], t[tile.COLUMNS], t[tile.EPILOGUE] = row_of_sums, width, STORE
        t[tile.OTHER], t[tile.BIAS] = 0, 0
        call = address_at(t, 0)
        side = n.side
        rows = side + 2  # of places, and places in each
        piece, end = (
            first_of(parts * rows, thread, threads), first_of(parts * rows, thread + 1, threads)
        )  # fmt: skip
        while piece < end:
            # The rows of places of one part that are this thread's.
            part, row_begin = piece // rows, piece % rows
            row_end = min(rows, row_begin + end - piece)
            piece += row_end - row_begin
            begin = first_of(n.samples, part, parts) * high * wide
            last = first_of(n.samples, part + 1, parts) * high * wide
            keeps_biases = not is_null(biases) and row_begin == 0
            if keeps_biases:
                for output in range(outputs):
                    biases[part * row_of_sums + output] = 0.0
            for first in range(begin, last, together):
                tiles = min(together, last - first)
                places_seen(n, first, tiles, source, outside)
                _places_of_outputs(n, first, tiles, at, beyond)
                after, coming = first + tiles, min(together, last - first - tiles)
                places_seen(n, after, coming, next_source, next_outside)
                _places_of_outputs(n, after, coming, next_at, next_beyond)
                half = rows * tiles * depth
                of_tiles = half + rows * tiles * outputs
                t[tile.DEPTH] = tiles
                t[tile.INIT] = INIT_C if first > begin else INIT_ZERO
                if keeps_biases:
                    for each in range(tiles):
                        _sum_of_tile(
                            dy, at[each], beyond[each], side, row_of_dy, pixel_of_dy, outputs,
                            made, of_tiles + each * outputs, lanes, real,
                        )  # fmt: skip
                    for j in range(0, outputs, lanes):
                        total = load_beside(biases, part * row_of_sums + j, lanes, real)
                        total = sum_of_pixels(
                            total, made, of_tiles + j, tiles, outputs, lanes, real
                        )
                        store(biases, part * row_of_sums + j, total, lanes)
                for r in range(row_begin, row_end):
                    for each in range(tiles):
                        _seen_row(
                            a, source[each], outside[each], side, r, row_of_a, pixel_of_a, depth,
                            made, each * depth, tiles * depth, room, lanes, real,
                        )  # fmt: skip
                        _spread_row(
                            dy, at[each], beyond[each], side, r, row_of_dy, pixel_of_dy, outputs,
                            made, half + each * outputs, tiles * outputs, room, lanes, real,
                        )  # fmt: skip
                    for i in range(rows):
                        # Meanwhile, a share of what the next tiles are made of comes near.
                        done, to_do = (r - row_begin) * rows + i, (row_end - row_begin) * rows
                        for number in range(
                            first_of(coming, done, to_do), first_of(coming, done + 1, to_do)
                        ):
                            corner = next_source[number] + 2 * (row_of_a + pixel_of_a)
                            ask_for_pixels(a, corner, row_of_a, pixel_of_a, side, depth, line)
                            corner = next_at[number]
                            ask_for_pixels(dy, corner, row_of_dy, pixel_of_dy, side, outputs, line)
                        place = (part * rows + r) * rows + i
                        for j in range(0, outputs, width):
                            t[tile.B] = address_at(made, half + i * tiles * outputs + j)
                            for q in range(across):
                                k = first_of(depth, q, across)
                                t[tile.A] = address_at(made, i * tiles * depth + k)
                                t[tile.C] = address_at(
                                    sums, place * place_of_sums + k * row_of_sums + j
                                )
                                inputs = first_of(depth, q + 1, across) - k
                                run_tile(n, inputs, vectors, call)

    return winograd_weight_sums


@inlined
def _sum_of_parts(sums: Any, at: int, part: int, parts: int, lanes: int) -> Any:
    """A place of the sums of all parts, which are ``part`` from each other."""
    total = load(sums, at, lanes)
    for number in range(1, parts):
        total = total + load(sums, at + number * part, lanes)
    return total


@inlined
def _column_2(sums: Any, at: int, place: int, parts: int, lanes: int) -> Any:
    """``G' u`` of four places one below the other."""
    part = 16 * place
    return taps_2(
        _sum_of_parts(sums, at, part, parts, lanes),
        _sum_of_parts(sums, at + 4 * place, part, parts, lanes),
        _sum_of_parts(sums, at + 8 * place, part, parts, lanes),
        _sum_of_parts(sums, at + 12 * place, part, parts, lanes),
    )


@inlined
def _column_4(sums: Any, at: int, place: int, parts: int, lanes: int) -> Any:
    """``G' u`` of six places one below the other."""
    part = 36 * place
    return taps_4(
        _sum_of_parts(sums, at, part, parts, lanes),
        _sum_of_parts(sums, at + 6 * place, part, parts, lanes),
        _sum_of_parts(sums, at + 12 * place, part, parts, lanes),
        _sum_of_parts(sums, at + 18 * place, part, parts, lanes),
        _sum_of_parts(sums, at + 24 * place, part, parts, lanes),
        _sum_of_parts(sums, at + 30 * place, part, parts, lanes),
    )


@inlined
def _store_tap(
    w: Any, at: int, value: Any, updates: bool, keep: Any, factor: Any, lanes: int
) -> None:  # fmt: skip
    if updates:
        value = keep * load(w, at, lanes) - factor * value
    store(w, at, value, lanes)


@kernel(Kernel.WINOGRAD_WEIGHT_GRADIENT)
def _winograd_weight_gradient(real: Real) -> KernelFunction:
    """``dw[tap][k][n] = G' u G`` of the sums u of all parts, or the update of w by it."""

    def winograd_weight_gradient(n: Fields, step: int, thread: int, threads: int) -> None:
        sums, biases = pointer(n.sums, real), pointer(n.bias_sums, np.float64)
        w, b, lanes = pointer(n.dw, real), pointer(n.db, real), lanes_of(real)
        outputs, parts = n.outputs, n.parts
        place, updates = n.inputs * outputs, n.epilogue == UPDATE
        rate = 0.0
        if updates:
            rate = pointer(n.rate, np.float64)[step]
        keep, factor = spread(real(1 - rate * n.decay), real), spread(real(rate), real)
        vectors, room = place // lanes, local(ROOM, real)
        for number in range(
            first_of(vectors, thread, threads), first_of(vectors, thread + 1, threads)
        ):
            at = number * lanes
            for column in range(n.side + 2):
                if n.side == 2:
                    t0, t1, t2 = _column_2(sums, at + column * place, place, parts, lanes)
                else:
                    t0, t1, t2 = _column_4(sums, at + column * place, place, parts, lanes)
                store(room, column * lanes, t0, lanes)
                store(room, (6 + column) * lanes, t1, lanes)
                store(room, (12 + column) * lanes, t2, lanes)
            for row in range(3):
                u0, u1, u2, u3, u4, u5 = six(room, 6 * row * lanes, lanes, lanes)
                if n.side == 2:
                    first, second, third = taps_2(u0, u1, u2, u3)
                else:
                    first, second, third = taps_4(u0, u1, u2, u3, u4, u5)
                to = at + 3 * row * place
                _store_tap(w, to, first, updates, keep, factor, lanes)
                _store_tap(w, to + place, second, updates, keep, factor, lanes)
                _store_tap(w, to + 2 * place, third, updates, keep, factor, lanes)
        if thread > 0 or is_null(biases) or is_null(b):
            return
        keep_bias = real(1 - rate * n.bias_decay)
        for output in range(outputs):
            total = 0.0
            for part in range(parts):
                total += biases[part * outputs + output]
            gradient = real(total)
            b[output] = keep_bias * b[output] - real(rate) * gradient if updates else gradient

    return winograd_weight_gradient
