"""Convolutions of interleaved samples: vectors over samples, tiles of outputs and pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.recorder import START_C, START_ZERO
from fastconv.backends.numba import tile_instructions as tile
from fastconv.backends.numba.compilation import Kernel, Real, inlined, kernel
from fastconv.backends.numba.interleaved_instructions import sums_of_lanes
from fastconv.backends.numba.pixel_sums import sum_of_pixels
from fastconv.backends.numba.pointers import (
    address_at,
    first_of,
    integer_of,
    is_null,
    local,
    pointer,
    pointer_of,
    real_of,
)
from fastconv.backends.numba.tile_functions import run_tile
from fastconv.backends.numba.tile_instructions import TILE_WORDS
from fastconv.backends.numba.vector_functions import sum_of_lanes
from fastconv.backends.numba.vectors import lanes_of, spread_beside

# The integers of the records are described in kernels/cpu/interleaved.h.

_ROOM = 48
"""The sums of a tile, and as many more as there are lanes."""


@inlined
def _numbers_inside(first: int, last: int, step: int, size: int, count: int) -> tuple[int, int]:
    """Begin and end of the numbers i of 0 to ``count`` with which some place is inside the image.

    The places are those from ``first + i * step`` to ``last + i * step``; inside are those that are
    not below 0, and below ``size``.
    """
    begin, end = 0, count
    while begin < end and last + begin * step < 0:
        begin += 1
    while end > begin and first + (end - 1) * step >= size:
        end -= 1
    return begin, end


@kernel
def _interleaved_tiles(real: Real) -> Kernel:
    """``C[sample, row, column, n] = bias + sum over taps and k of A[...] B[tap, k, n]``."""

    def interleaved_tiles(record: int, step: int, thread: int, threads: int) -> None:
        a, b, c = (
            pointer_of(record, 0, real), pointer_of(record, 1, real), pointer_of(record, 2, real)
        )  # fmt: skip
        bias, other = pointer_of(record, 3, real), pointer_of(record, 4, real)
        rows, columns, outputs = integer_of(record, 1), integer_of(record, 2), integer_of(record, 4)
        wide, pixels, lanes = integer_of(record, 3), integer_of(record, 5), lanes_of(real)
        a_column, c_column = integer_of(record, 8), integer_of(record, 11)
        a_tap1, b_tap1 = integer_of(record, 13), integer_of(record, 14)
        taps2, a_tap2, b_tap2 = (
            integer_of(record, 15), integer_of(record, 16), integer_of(record, 17)
        )  # fmt: skip
        depth, b_step = integer_of(record, 18), integer_of(record, 19)
        merged = a_tap2 == depth * lanes and b_tap2 == depth * b_step
        t = local(TILE_WORDS, np.int64)
        t[tile.A_RUN1], t[tile.B_RUN1] = a_tap1, b_tap1
        t[tile.A_RUN2], t[tile.B_RUN2] = a_tap2, b_tap2
        t[tile.A_STRIDE], t[tile.B_STEP], t[tile.C_ROW] = a_column, b_step, c_column
        t[tile.START], t[tile.OTHER], t[tile.FINISH] = 0, 0, integer_of(record, 24)
        call = address_at(t, 0)
        pointer(call, np.float64)[tile.SLOPE] = real_of(record, 0)
        pieces = integer_of(record, 0) * rows
        begin, end = first_of(pieces, thread, threads), first_of(pieces, thread + 1, threads)
        for piece in range(begin, end):
            sample, row = piece // rows, piece % rows
            place = integer_of(record, 25) + row * integer_of(record, 7)
            tap, tap_end = _numbers_inside(
                place, place, a_tap1, integer_of(record, 26), integer_of(record, 12)
            )
            t[tile.RUNS1] = tap_end - tap
            for group in range(integer_of(record, 20)):
                start_a = sample * integer_of(record, 6) + place
                start_a += tap * a_tap1 + group * integer_of(record, 21)
                start_b = group * integer_of(record, 22) + tap * b_tap1
                start_c = sample * integer_of(record, 9) + row * integer_of(record, 10)
                start_c += group * integer_of(record, 23)
                for q in range(0, outputs, wide):
                    if not is_null(bias):
                        t[tile.START] = address_at(bias, group * outputs + q)
                    for column in range(0, columns, pixels):
                        here, left = min(pixels, columns - column), column * a_column
                        edge = integer_of(record, 27) + left
                        side, side_end = _numbers_inside(
                            edge, edge + (here - 1) * a_column, a_tap2, integer_of(record, 28),
                            taps2,
                        )  # fmt: skip
                        taps = side_end - side
                        t[tile.RUNS2] = 1 if merged else taps
                        t[tile.DEPTH] = taps * depth if merged else depth
                        t[tile.A] = address_at(a, start_a + left + side * a_tap2)
                        t[tile.B] = address_at(b, start_b + side * b_tap2 + q)
                        at = start_c + column * c_column + q * lanes
                        t[tile.C] = address_at(c, at)
                        if not is_null(other):
                            t[tile.OTHER] = address_at(other, at)
                        run_tile(record, here, min(wide, outputs - q), call)

    return interleaved_tiles


@inlined
def _store_sums(
    to: Any, at: int, row: int, sums: Any, first: int, outputs: int, inputs: int, total: Any,
    lanes: int,
) -> None:  # fmt: skip
    """Store the sum over the lanes of each of ``outputs`` times ``inputs`` vectors."""
    for i in range(0, outputs * inputs, lanes):
        sums_of_lanes(sums, first + i * lanes, total, i)
    for q in range(outputs):
        for p in range(inputs):
            to[at + p * row + q] = total[q * inputs + p]


@inlined
def _sum_biases(
    record: int, dy: Any, at: int, begin: int, end: int, outputs: int, db: Any, to: int, real: Real
) -> None:
    """The sum of dy over some samples and all pixels, for outputs side by side."""
    lanes, pixel = lanes_of(real), integer_of(record, 11)
    rows, columns = integer_of(record, 1), integer_of(record, 2)
    if integer_of(record, 10) == columns * pixel:  # no gaps
        rows, columns = 1, rows * columns
    for output in range(outputs):
        total = spread_beside(0, np.float64, real)
        for sample in range(begin, end):
            for row in range(rows):
                place = at + sample * integer_of(record, 9) + row * integer_of(record, 10)
                total = sum_of_pixels(
                    total, dy, place + output * lanes, columns, pixel, lanes, real
                )
        db[to + output] = real(sum_of_lanes(total))


@kernel
def _interleaved_weight_tiles(real: Real) -> Kernel:
    """``dw[part][tap, k, n] = sum over samples and pixels of A[...] dy[pixel, n]``, and ``db``."""

    def interleaved_weight_tiles(record: int, step: int, thread: int, threads: int) -> None:
        a, dy, dw = (
            pointer_of(record, 0, real), pointer_of(record, 1, real), pointer_of(record, 2, real)
        )  # fmt: skip
        db, sums, lanes = pointer_of(record, 3, real), pointer_of(record, 4, real), lanes_of(real)
        samples, rows, outputs, depth = (
            integer_of(record, 0), integer_of(record, 1), integer_of(record, 4),
            integer_of(record, 18),
        )  # fmt: skip
        width, high = integer_of(record, 3), integer_of(record, 5)
        taps1, taps2, groups = (
            integer_of(record, 12), integer_of(record, 15), integer_of(record, 20)
        )  # fmt: skip
        parts, near = integer_of(record, 24), integer_of(record, 27)
        across, down = (outputs + width - 1) // width, (depth + high - 1) // high
        # By group, block of outputs, tap1, tap2, inputs; the bias comes last.
        of_weights = groups * taps1 * taps2 * down * across
        tiles = of_weights if is_null(db) else of_weights + groups * across
        size = width * high * lanes
        total = local(_ROOM, real)
        t = local(TILE_WORDS, np.int64)
        t[tile.A_RUN2], t[tile.B_RUN1], t[tile.B_RUN2] = 0, integer_of(record, 10), 0
        t[tile.RUNS2], t[tile.DEPTH], t[tile.B_STEP] = (
            1, integer_of(record, 2), integer_of(record, 11)
        )  # fmt: skip
        t[tile.A_RUN1], t[tile.A_STRIDE] = integer_of(record, 7), integer_of(record, 8)
        call = address_at(t, 0)
        piece, end = (
            first_of(parts * tiles, thread, threads), first_of(parts * tiles, thread + 1, threads)
        )  # fmt: skip
        while piece < end:
            part, first = piece // tiles, piece % tiles
            is_weight = first < of_weights
            begin, finish = first_of(samples, part, parts), first_of(samples, part + 1, parts)
            # Tiles that are taken through the same rows: those of one tap1.
            of_tap1 = taps2 * down if is_weight else 1
            of_block = taps1 if is_weight else 1
            line = first // of_tap1 if is_weight else first - of_weights
            tap1, block, group = (
                line % of_block, line // of_block % across, line // of_block // across
            )  # fmt: skip
            q = block * width
            wide = min(width, outputs - q)
            if not is_weight:
                place = group * integer_of(record, 22) + q * lanes
                _sum_biases(
                    record, dy, place, begin, finish, wide, db,
                    (part * groups + group) * outputs + q, real,
                )  # fmt: skip
                piece += 1
                continue
            count = min(end - piece, of_tap1 - first % of_tap1)
            for sample in range(begin, finish):
                for chunk in range(0, rows, near):
                    stride = integer_of(record, 7)
                    top = integer_of(record, 25) + tap1 * integer_of(record, 13) + chunk * stride
                    row, row_end = _numbers_inside(
                        top, top, stride, integer_of(record, 26), min(near, rows - chunk)
                    )
                    t[tile.RUNS1] = row_end - row
                    t[tile.FROM] = START_ZERO if chunk == 0 and sample == begin else START_C
                    start = sample * integer_of(record, 6) + top + row * stride
                    start += group * integer_of(record, 21)
                    start_b = sample * integer_of(record, 9) + (chunk + row) * integer_of(
                        record, 10
                    )
                    start_b += group * integer_of(record, 22) + q * lanes
                    t[tile.B] = address_at(dy, start_b)
                    for i in range(first, first + count):
                        k, tap2 = i % down * high, i // down % taps2
                        place = start + tap2 * integer_of(record, 16) + k * lanes
                        t[tile.A] = address_at(a, place)
                        t[tile.C] = address_at(sums, (part * tiles + i) * size)
                        run_tile(record, min(high, depth - k), wide, call)
            at = part * integer_of(record, 28) + group * integer_of(record, 23) + q
            at += tap1 * integer_of(record, 14)
            step_of_k = integer_of(record, 19)
            for i in range(first, first + count):
                k, tap2 = i % down * high, i // down % taps2
                skipped = tap2 * integer_of(record, 17) + k * step_of_k
                _store_sums(
                    dw, at + skipped, step_of_k, sums, (part * tiles + i) * size, wide,
                    min(high, depth - k), total, lanes,
                )  # fmt: skip
            piece += count

    return interleaved_weight_tiles
