"""Weight gradients of 3x3 convolutions by F(3x3, 2x2); see ``kernels/cpu/winograd_gradient.h``."""

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
    ask_for_pixels,
    load_seen,
    places_of_tiles,
    store_four,
)

_ELEMENTS = 16384
"""Elements of the transformed pixels and outputs of a row of places."""
_MOST_TILES = 64
_ROWS = 4
"""Rows of places, and places in each."""


@inlined
def _places_seen(n: Fields, first: int, tiles: int, places: Any, outside: Any) -> None:
    """Where the pixels begin that some tiles see, and what is no pixel of the image."""
    places_of_tiles(
        first, tiles, n.tile_rows, n.tiles, n.height, n.width, n.top, n.left, n.a_sample, n.a_row,
        n.a_column, 2, 4, places, outside,
    )  # fmt: skip


@inlined
def _places_of_outputs(n: Fields, first: int, tiles: int, places: Any, outside: Any) -> None:
    """Where the outputs begin whose gradients some tiles are; none is outside of its image."""
    places_of_tiles(
        first, tiles, n.tile_rows, n.tiles, 2 * n.tile_rows, 2 * n.tiles, 0, 0, n.dy_sample,
        n.dy_row, n.dy_column, 2, 2, places, outside,
    )  # fmt: skip


@inlined
def _seen_row(
    source: Any, start: int, outside: int, row: int, one: int, two: int, sign: Any, pixel: int,
    channels: int, to: Any, out: int, place: int, lanes: int,
) -> None:  # fmt: skip
    """A row of ``B' d B``: of row ``one`` of pixels, and row ``two``, which is added or not.

    ``outside`` says what is no pixel of the image, as in :mod:`.winograd_transforms`.
    """
    for k in range(0, channels, lanes):
        at, end = start + one * row + k, start + two * row + k
        d0 = load_seen(source, at, outside, one, 0, lanes)
        d0 = d0 + sign * load_seen(source, end, outside, two, 0, lanes)
        at, end = at + pixel, end + pixel
        d1 = load_seen(source, at, outside, one, 1, lanes)
        d1 = d1 + sign * load_seen(source, end, outside, two, 1, lanes)
        at, end = at + pixel, end + pixel
        d2 = load_seen(source, at, outside, one, 2, lanes)
        d2 = d2 + sign * load_seen(source, end, outside, two, 2, lanes)
        at, end = at + pixel, end + pixel
        d3 = load_seen(source, at, outside, one, 3, lanes)
        d3 = d3 + sign * load_seen(source, end, outside, two, 3, lanes)
        store_four(to, out + k, place, (d0 - d2, d1 + d2, d2 - d1, d1 - d3), lanes)


@inlined
def _spread_row(
    dy: Any, start: int, row: int, pixel: int, upper: Any, lower: Any, channels: int,
    to: Any, out: int, place: int, lanes: int,
) -> None:  # fmt: skip
    """A row of ``A dy A'``: of the upper and the lower row of outputs, each times 1, 0 or -1."""
    for k in range(0, channels, lanes):
        at = start + k
        d0 = upper * load(dy, at, lanes) + lower * load(dy, at + row, lanes)
        at += pixel
        d1 = upper * load(dy, at, lanes) + lower * load(dy, at + row, lanes)
        store_four(to, out + k, place, (d0, d0 + d1, d0 - d1, -d1), lanes)


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
        source, at = local(_MOST_TILES, np.int64), local(_MOST_TILES, np.int64)
        next_source, next_at = local(_MOST_TILES, np.int64), local(_MOST_TILES, np.int64)
        outside, next_outside = local(_MOST_TILES, np.int64), local(_MOST_TILES, np.int64)
        none = local(_MOST_TILES, np.int64)
        t = local(TILE_WORDS, np.int64)
        t[tile.RUNS1], t[tile.RUNS2], t[tile.A_STRIDE], t[tile.B_STEP] = 1, 1, depth, outputs
        t[tile.A_RUN1], t[tile.B_RUN1], t[tile.A_RUN2], t[tile.B_RUN2] = 0, 0, 0, 0
        t[tile.C_ROW], t[tile.COLUMNS], t[tile.EPILOGUE] = row_of_sums, width, STORE
        t[tile.OTHER], t[tile.BIAS] = 0, 0
        call = address_at(t, 0)
        piece, end = (
            first_of(parts * _ROWS, thread, threads), first_of(parts * _ROWS, thread + 1, threads)
        )  # fmt: skip
        while piece < end:
            # The rows of places of one part that are this thread's.
            part, row_begin = piece // _ROWS, piece % _ROWS
            row_end = min(_ROWS, row_begin + end - piece)
            piece += row_end - row_begin
            begin = first_of(n.samples, part, parts) * high * wide
            last = first_of(n.samples, part + 1, parts) * high * wide
            keeps_biases = not is_null(biases) and row_begin <= 1 and row_end > 1
            if keeps_biases:
                for output in range(outputs):
                    biases[part * row_of_sums + output] = 0.0
            for first in range(begin, last, together):
                tiles = min(together, last - first)
                _places_seen(n, first, tiles, source, outside)
                _places_of_outputs(n, first, tiles, at, none)
                after, coming = first + tiles, min(together, last - first - tiles)
                _places_seen(n, after, coming, next_source, next_outside)
                _places_of_outputs(n, after, coming, next_at, none)
                half = _ROWS * tiles * depth
                t[tile.DEPTH] = tiles
                t[tile.INIT] = INIT_C if first > begin else INIT_ZERO
                for r in range(row_begin, row_end):
                    one = 0 if r == 0 else 2 if r == 2 else 1
                    two = 1 if r == 2 else 3 if r == 3 else 2
                    sign = spread(real(1 if r == 1 else -1), real)
                    upper = spread(real(0 if r == 3 else 1), real)
                    lower = spread(real(0 if r == 0 else 1 if r == 1 else -1), real)
                    for each in range(tiles):
                        if outside[each] == 0:  # without conditions
                            _seen_row(
                                a, source[each], 0, row_of_a, one, two, sign, pixel_of_a, depth,
                                made, each * depth, tiles * depth, lanes,
                            )  # fmt: skip
                        else:
                            _seen_row(
                                a, source[each], outside[each], row_of_a, one, two, sign,
                                pixel_of_a, depth, made, each * depth, tiles * depth, lanes,
                            )  # fmt: skip
                        _spread_row(
                            dy, at[each], row_of_dy, pixel_of_dy, upper, lower, outputs, made,
                            half + each * outputs, tiles * outputs, lanes,
                        )  # fmt: skip
                    if keeps_biases and r == 1:  # whose second place holds the sums of the tiles
                        for j in range(0, outputs, lanes):
                            total = load_beside(biases, part * row_of_sums + j, lanes, real)
                            total = sum_of_pixels(
                                total, made, half + tiles * outputs + j, tiles, outputs, lanes,
                                real,
                            )  # fmt: skip
                            store(biases, part * row_of_sums + j, total, lanes)
                    for i in range(_ROWS):
                        # Meanwhile, a share of what the next tiles are made of comes near.
                        done, to_do = (r - row_begin) * _ROWS + i, (row_end - row_begin) * _ROWS
                        for number in range(
                            first_of(coming, done, to_do), first_of(coming, done + 1, to_do)
                        ):
                            corner = next_source[number] + 2 * (row_of_a + pixel_of_a)
                            ask_for_pixels(a, corner, row_of_a, pixel_of_a, 2, depth, line)
                            corner = next_at[number]
                            ask_for_pixels(dy, corner, row_of_dy, pixel_of_dy, 2, outputs, line)
                        place = (part * _ROWS + r) * _ROWS + i
                        for j in range(0, outputs, width):
                            t[tile.B] = address_at(made, half + i * tiles * outputs + j)
                            for q in range(across):
                                k = first_of(depth, q, across)
                                t[tile.A] = address_at(made, i * tiles * depth + k)
                                t[tile.C] = address_at(
                                    sums, place * place_of_sums + k * row_of_sums + j
                                )
                                rows = first_of(depth, q + 1, across) - k
                                run_tile(n, rows, vectors, call)

    return winograd_weight_sums


@inlined
def _gathered(u0: Any, u1: Any, u2: Any, u3: Any, half: Any) -> Any:
    """``G' u``, along one axis."""
    both = (u1 + u2) * half
    return u0 + both, (u1 - u2) * half, both + u3


@inlined
def _column(sums: Any, at: int, place: int, parts: int, half: Any, lanes: int) -> Any:
    """``G' u`` of four places one below the other, whose sums of all parts are added."""
    below = 4 * place
    u0, u1 = load(sums, at, lanes), load(sums, at + below, lanes)
    u2, u3 = load(sums, at + 2 * below, lanes), load(sums, at + 3 * below, lanes)
    for _ in range(1, parts):
        at += 4 * below
        u0, u1 = u0 + load(sums, at, lanes), u1 + load(sums, at + below, lanes)
        u2, u3 = u2 + load(sums, at + 2 * below, lanes), u3 + load(sums, at + 3 * below, lanes)
    return _gathered(u0, u1, u2, u3, half)


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
        half, vectors = spread(0.5, real), place // lanes
        for number in range(
            first_of(vectors, thread, threads), first_of(vectors, thread + 1, threads)
        ):
            at = number * lanes
            a0, a1, a2 = _column(sums, at, place, parts, half, lanes)
            b0, b1, b2 = _column(sums, at + place, place, parts, half, lanes)
            c0, c1, c2 = _column(sums, at + 2 * place, place, parts, half, lanes)
            d0, d1, d2 = _column(sums, at + 3 * place, place, parts, half, lanes)
            first, second, third = _gathered(a0, b0, c0, d0, half)
            _store_tap(w, at, first, updates, keep, factor, lanes)
            _store_tap(w, at + place, second, updates, keep, factor, lanes)
            _store_tap(w, at + 2 * place, third, updates, keep, factor, lanes)
            first, second, third = _gathered(a1, b1, c1, d1, half)
            _store_tap(w, at + 3 * place, first, updates, keep, factor, lanes)
            _store_tap(w, at + 4 * place, second, updates, keep, factor, lanes)
            _store_tap(w, at + 5 * place, third, updates, keep, factor, lanes)
            first, second, third = _gathered(a2, b2, c2, d2, half)
            _store_tap(w, at + 6 * place, first, updates, keep, factor, lanes)
            _store_tap(w, at + 7 * place, second, updates, keep, factor, lanes)
            _store_tap(w, at + 8 * place, third, updates, keep, factor, lanes)
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
