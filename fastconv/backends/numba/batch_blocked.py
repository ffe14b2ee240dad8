"""Convolutions of batch-blocked images: vectors over samples, tiles of outputs and pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.choices import INIT_C, INIT_ZERO
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.numba import tile_instructions as tile
from fastconv.backends.numba.batch_blocked_instructions import sums_of_lanes
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pixel_sums import sum_of_pixels
from fastconv.backends.numba.pointers import address_at, first_of, is_null, local, pointer
from fastconv.backends.numba.tile_functions import run_tile
from fastconv.backends.numba.tile_instructions import TILE_WORDS
from fastconv.backends.numba.vector_functions import sum_of_lanes
from fastconv.backends.numba.vectors import lanes_of, spread_beside

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


@kernel(Kernel.BATCH_BLOCKED_TILES)
def _batch_blocked_tiles(real: Real) -> KernelFunction:
    """``C[sample, row, column, n] = bias + sum over taps and k of A[...] B[tap, k, n]``."""

    def batch_blocked_tiles(n: Fields, step: int, thread: int, threads: int) -> None:
        a, b, c = pointer(n.a, real), pointer(n.b, real), pointer(n.c, real)
        bias, other = pointer(n.bias, real), pointer(n.other, real)
        rows, columns, outputs = n.rows, n.columns, n.outputs
        wide, pixels, lanes = n.tile_outputs, n.tile_pixels, lanes_of(real)
        a_column, c_column = n.a_column, n.c_column
        a_tap1, b_tap1 = n.a_down, n.b_down
        taps2, a_tap2, b_tap2 = n.taps_across, n.a_across, n.b_across
        depth, b_step = n.depth, n.b_depth
        merged = a_tap2 == depth * lanes and b_tap2 == depth * b_step
        t = local(TILE_WORDS, np.int64)
        t[tile.A_RUN1], t[tile.B_RUN1] = a_tap1, b_tap1
        t[tile.A_RUN2], t[tile.B_RUN2] = a_tap2, b_tap2
        t[tile.A_STRIDE], t[tile.B_STEP], t[tile.C_ROW] = a_column, b_step, c_column
        t[tile.BIAS], t[tile.OTHER], t[tile.EPILOGUE] = 0, 0, n.epilogue
        call = address_at(t, 0)
        pointer(call, np.float64)[tile.SLOPE] = n.slope
        pieces = n.samples * rows
        begin, end = first_of(pieces, thread, threads), first_of(pieces, thread + 1, threads)
        for piece in range(begin, end):
            sample, row = piece // rows, piece % rows
            place = n.first_row + row * n.a_row
            tap, tap_end = _numbers_inside(place, place, a_tap1, n.image, n.taps_down)
            t[tile.RUNS1] = tap_end - tap
            for group in range(n.groups):
                start_a = sample * n.a_sample + place
                start_a += tap * a_tap1 + group * n.a_group
                start_b = group * n.b_group + tap * b_tap1
                start_c = sample * n.c_sample + row * n.c_row
                start_c += group * n.c_group
                for q in range(0, outputs, wide):
                    if not is_null(bias):
                        t[tile.BIAS] = address_at(bias, group * outputs + q)
                    for column in range(0, columns, pixels):
                        here, left = min(pixels, columns - column), column * a_column
                        edge = n.first_column + left
                        side, side_end = _numbers_inside(
                            edge, edge + (here - 1) * a_column, a_tap2, n.image_row,
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
                        run_tile(n, here, min(wide, outputs - q), call)

    return batch_blocked_tiles


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
    n: Fields, dy: Any, at: int, begin: int, end: int, outputs: int, db: Any, to: int, real: Real
) -> None:
    """The sum of dy over some samples and all pixels, for outputs side by side."""
    lanes, pixel = lanes_of(real), n.dy_column
    rows, columns = n.rows, n.columns
    if n.dy_row == columns * pixel:  # no gaps
        rows, columns = 1, rows * columns
    for output in range(outputs):
        total = spread_beside(0, np.float64, real)
        for sample in range(begin, end):
            for row in range(rows):
                place = at + sample * n.dy_sample + row * n.dy_row
                total = sum_of_pixels(
                    total, dy, place + output * lanes, columns, pixel, lanes, real
                )
        db[to + output] = real(sum_of_lanes(total))


@kernel(Kernel.BATCH_BLOCKED_WEIGHT_TILES)
def _batch_blocked_weight_tiles(real: Real) -> KernelFunction:
    """``dw[part][tap, k, n] = sum over samples and pixels of A[...] dy[pixel, n]``, and ``db``."""

    def batch_blocked_weight_tiles(n: Fields, step: int, thread: int, threads: int) -> None:
        a, dy, dw = pointer(n.a, real), pointer(n.dy, real), pointer(n.dw, real)
        db, sums, lanes = pointer(n.db, real), pointer(n.sums, real), lanes_of(real)
        samples, rows, outputs, depth = n.samples, n.rows, n.outputs, n.depth
        width, high = n.tile_outputs, n.tile_inputs
        taps1, taps2, groups = n.taps_down, n.taps_across, n.groups
        parts, together = n.parts, n.rows_together
        across, down = (outputs + width - 1) // width, (depth + high - 1) // high
        # By group, block of outputs, tap1, tap2, inputs; the bias comes last.
        of_weights = groups * taps1 * taps2 * down * across
        tiles = of_weights if is_null(db) else of_weights + groups * across
        size = width * high * lanes
        total = local(_ROOM, real)
        t = local(TILE_WORDS, np.int64)
        t[tile.A_RUN2], t[tile.B_RUN1], t[tile.B_RUN2] = 0, n.dy_row, 0
        t[tile.RUNS2], t[tile.DEPTH], t[tile.B_STEP] = (
            1, n.columns, n.dy_column
        )  # fmt: skip
        t[tile.A_RUN1], t[tile.A_STRIDE] = n.a_row, n.a_column
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
                place = group * n.dy_group + q * lanes
                _sum_biases(
                    n, dy, place, begin, finish, wide, db,
                    (part * groups + group) * outputs + q, real,
                )  # fmt: skip
                piece += 1
                continue
            count = min(end - piece, of_tap1 - first % of_tap1)
            for sample in range(begin, finish):
                for chunk in range(0, rows, together):
                    stride = n.a_row
                    top = n.first_row + tap1 * n.a_down + chunk * stride
                    row, row_end = _numbers_inside(
                        top, top, stride, n.image, min(together, rows - chunk)
                    )
                    t[tile.RUNS1] = row_end - row
                    t[tile.INIT] = INIT_ZERO if chunk == 0 and sample == begin else INIT_C
                    start = sample * n.a_sample + top + row * stride
                    start += group * n.a_group
                    start_b = sample * n.dy_sample + (chunk + row) * n.dy_row
                    start_b += group * n.dy_group + q * lanes
                    t[tile.B] = address_at(dy, start_b)
                    for i in range(first, first + count):
                        k, tap2 = i % down * high, i // down % taps2
                        place = start + tap2 * n.a_across + k * lanes
                        t[tile.A] = address_at(a, place)
                        t[tile.C] = address_at(sums, (part * tiles + i) * size)
                        run_tile(n, min(high, depth - k), wide, call)
            at = part * n.dw_part + group * n.dw_group + q
            at += tap1 * n.dw_down
            step_of_k = n.dw_depth
            for i in range(first, first + count):
                k, tap2 = i % down * high, i // down % taps2
                skipped = tap2 * n.dw_across + k * step_of_k
                _store_sums(
                    dw, at + skipped, step_of_k, sums, (part * tiles + i) * size, wide,
                    min(high, depth - k), total, lanes,
                )  # fmt: skip
            piece += count

    return batch_blocked_weight_tiles
