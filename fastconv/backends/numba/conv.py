"""Convolutions by tiles (:mod:`fastconv.backends.numba.tiles`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.choices import INIT_C, INIT_ROW_BIAS, INIT_ZERO, UPDATE
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba import tile_instructions as tile
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pixel_sums import MOST_BIASES, sum_of_pixels
from fastconv.backends.numba.pointers import address_at, first_of, is_null, local, pointer
from fastconv.backends.numba.tile_functions import run_tile
from fastconv.backends.numba.tile_instructions import TILE_WORDS
from fastconv.backends.numba.vector_memory import load_beside, store
from fastconv.backends.numba.vectors import lanes_of

_MOST_PIXELS_OF_A_SUM = 4096
"""Pixels of dy whose products are summed in registers; the sums of so many are added in memory."""


@kernel(Kernel.CONV_TILES)
def _conv_tiles(real: Real) -> KernelFunction:
    """``C[sample, row, column, n] = start + sum over taps and k of A[...] B[tap, k, n]``."""

    def conv_tiles(n: Fields, step: int, thread: int, threads: int) -> None:
        a, b, c = pointer(n.a, real), pointer(n.b, real), pointer(n.c, real)
        bias, other = pointer(n.bias, real), pointer(n.other, real)
        rows, columns, outputs = n.rows, n.columns, n.outputs
        tile_rows, lanes = n.tile_rows, lanes_of(real)
        width = n.vectors * lanes
        blocks = (outputs + width - 1) // width
        groups, samples = n.groups, n.samples
        images, parts = samples * rows, groups * blocks
        t = local(TILE_WORDS, np.int64)
        t[tile.RUNS1], t[tile.A_RUN1] = n.taps_down, n.a_down
        t[tile.RUNS2], t[tile.A_RUN2] = n.taps_across, n.a_across
        t[tile.DEPTH], t[tile.A_STRIDE] = n.depth, n.a_column
        t[tile.C_ROW], t[tile.OTHER] = n.c_column, 0
        t[tile.INIT], t[tile.EPILOGUE] = n.accumulator_init, n.epilogue
        call = address_at(t, 0)
        pointer(call, np.float64)[tile.SLOPE] = n.slope
        starts_rows = n.accumulator_init == INIT_ROW_BIAS
        blocks_outside = n.blocks_outside != 0
        piece = first_of(images * parts, thread, threads)
        # Where the first piece is; from one to the next, it takes no division.
        if blocks_outside:
            image, part = piece % max(1, images), piece // max(1, images)
        else:
            image, part = piece // parts, piece % parts
        sample, row, group, block = image // rows, image % rows, part // blocks, part % blocks
        for _ in range(piece, first_of(images * parts, thread + 1, threads)):
            first = block * width
            wide = min(width, outputs - first)
            vectors = (wide + lanes - 1) // lanes
            start_b = group * n.b_group + block * n.b_block
            stride = n.b_depth
            # The last block is packed as narrow as it is.
            packed = 1 if stride else vectors * lanes
            t[tile.COLUMNS], t[tile.B] = wide, address_at(b, start_b)
            t[tile.B_STEP] = stride if stride else packed
            t[tile.B_RUN1] = n.b_down * packed
            t[tile.B_RUN2] = n.b_across * packed
            t[tile.BIAS] = address_at(bias, group * outputs + first)
            start_a = sample * n.a_sample + row * n.a_row
            start_a += group * n.a_group
            start_c = sample * n.c_sample + row * n.c_row
            start_c += group * n.c_group + first
            pixels = n.last_columns if row == rows - 1 else columns
            for column in range(0, pixels, tile_rows):
                at = start_c + column * n.c_column
                t[tile.A] = address_at(a, start_a + column * n.a_column)
                t[tile.C] = address_at(c, at)
                if not is_null(other):
                    t[tile.OTHER] = address_at(other, at)
                if starts_rows:
                    t[tile.BIAS] = address_at(bias, column)
                run_tile(n, min(tile_rows, pixels - column), vectors, call)
            if blocks_outside:
                row += 1
                if row == rows:
                    row, sample = 0, sample + 1
                if sample == samples:
                    sample, block = 0, block + 1
                if block == blocks:
                    block, group = 0, group + 1
            else:
                block += 1
                if block == blocks:
                    block, group = 0, group + 1
                if group == groups:
                    group, row = 0, row + 1
                if row == rows:
                    row, sample = 0, sample + 1

    return conv_tiles


@inlined
def _sum_biases(
    n: Fields, dy: Any, at: int, samples: int, rows: int, columns: int, outputs: int, total: Any,
    to: int, real: Real,
) -> None:  # fmt: skip
    """Add dy of some samples, rows and columns to float64 sums; without gaps, it is one run."""
    lanes, pixel = lanes_of(real), n.dy_column
    if rows > 1 and columns == n.columns and n.dy_row == columns * pixel:
        rows, columns = 1, rows * columns
    if samples > 1 and rows == 1 and n.dy_sample == columns * pixel:
        samples, columns = 1, samples * columns
    for j in range(0, outputs, lanes):
        count = min(lanes, outputs - j)
        wide = load_beside(total, to + j, count, real)
        for sample in range(samples):
            for row in range(rows):
                place = at + sample * n.dy_sample + row * n.dy_row + j
                wide = sum_of_pixels(wide, dy, place, columns, pixel, count, real)
        store(total, to + j, wide, count)


@kernel(Kernel.CONV_WEIGHT_TILES)
def _conv_weight_tiles(real: Real) -> KernelFunction:
    """``dw[tap, k, n] = sum over samples and pixels of A[...] dy[pixel, n]``, and ``db``."""

    def conv_weight_tiles(n: Fields, step: int, thread: int, threads: int) -> None:
        a, dy, dw = pointer(n.a, real), pointer(n.dy, real), pointer(n.dw, real)
        db, epilogue = pointer(n.db, real), n.epilogue
        samples, outputs, tile_rows = n.samples, n.outputs, n.tile_rows
        taps1, taps2, depth = n.taps_down, n.taps_across, n.depth
        lanes, together = lanes_of(real), n.together
        width = n.vectors * lanes
        blocks = (outputs + width - 1) // width
        tiles = (depth + tile_rows - 1) // tile_rows
        pieces = n.groups * taps1 * taps2 * tiles * blocks
        t = local(TILE_WORDS, np.int64)
        t[tile.A_RUN1], t[tile.B_RUN1] = n.a_sample, n.dy_sample
        t[tile.RUNS2], t[tile.DEPTH] = n.rows, n.columns
        t[tile.A_RUN2], t[tile.B_RUN2] = n.a_row, n.dy_row
        t[tile.A_STRIDE], t[tile.B_STEP] = n.a_column, n.dy_column
        t[tile.C_ROW], t[tile.EPILOGUE] = n.dw_depth, epilogue
        call = address_at(t, 0)
        rate, keep_bias = 0.0, real(0)
        if epilogue == UPDATE:
            rate = pointer(n.rate, np.float64)[step]
            pointer(call, np.float64)[tile.RATE] = rate
            pointer(call, np.float64)[tile.KEEP] = 1 - rate * n.decay
            keep_bias = real(1 - rate * n.bias_decay)
        begin, end = first_of(pieces, thread, threads), first_of(pieces, thread + 1, threads)
        high, wide_row = n.rows, n.columns
        if epilogue != UPDATE:  # which takes whole sums
            wide_row = min(_MOST_PIXELS_OF_A_SUM, wide_row)
            high = min(high, _MOST_PIXELS_OF_A_SUM // wide_row)
        down = (n.rows + high - 1) // high
        across = (n.columns + wide_row - 1) // wide_row
        all_outputs, biases = n.groups * outputs, local(MOST_BIASES, np.float64)
        keeps_biases = not is_null(db) and all_outputs <= MOST_BIASES
        if keeps_biases:
            for output in range(all_outputs):
                biases[output] = 0.0
        # A few samples through all tiles, so that they come from L2; of none, the sum
        # is 0.
        chunks = (samples + together - 1) // together * down * across
        for chunk in range(max(1, chunks)):
            sample = chunk // (down * across) * together
            row, column = chunk // across % down * high, chunk % across * wide_row
            t[tile.RUNS1] = min(together, samples - sample)
            t[tile.RUNS2] = min(high, n.rows - row)
            t[tile.DEPTH] = min(wide_row, n.columns - column)
            t[tile.INIT] = INIT_C if chunk else INIT_ZERO
            of_chunk_a = sample * n.a_sample + row * n.a_row
            of_chunk_a += column * n.a_column
            of_chunk = sample * n.dy_sample + row * n.dy_row
            of_chunk += column * n.dy_column
            for piece in range(begin, end):
                block, number = piece % blocks, piece // blocks % tiles
                tap2 = piece // (blocks * tiles) % taps2
                tap1 = piece // (blocks * tiles * taps2) % taps1
                group = piece // (blocks * tiles * taps2 * taps1)
                first, k = block * width, number * tile_rows
                wide = min(width, outputs - first)
                start_a = of_chunk_a + group * n.a_group + k
                start_a += tap1 * n.a_down + tap2 * n.a_across
                at = of_chunk + group * n.dy_group + first
                to = group * n.dw_group + k * n.dw_depth + first
                to += tap1 * n.dw_down + tap2 * n.dw_across
                t[tile.COLUMNS], t[tile.A] = wide, address_at(a, start_a)
                t[tile.B], t[tile.C] = address_at(dy, at), address_at(dw, to)
                vectors = (wide + lanes - 1) // lanes
                run_tile(n, min(tile_rows, depth - k), vectors, call)
                if keeps_biases and number == 0 and tap1 == 0 and tap2 == 0:
                    _sum_biases(
                        n, dy, at, t[tile.RUNS1], t[tile.RUNS2], t[tile.DEPTH], wide, biases,
                        group * outputs + first, real,
                    )  # fmt: skip
        if is_null(db):
            return
        for piece in range(begin, end):
            if piece // blocks % (tiles * taps1 * taps2):
                continue  # not the first tile
            block, group = piece % blocks, piece // (blocks * tiles * taps2 * taps1)
            first = block * width
            wide, place = min(width, outputs - first), group * outputs + first
            if not keeps_biases:
                place = 0
                for output in range(wide):
                    biases[output] = 0.0
                _sum_biases(
                    n, dy, group * n.dy_group + first, samples,
                    n.rows, n.columns, wide, biases, 0, real,
                )  # fmt: skip
            for j in range(wide):
                total, to = real(biases[place + j]), group * outputs + first + j
                if epilogue == UPDATE:
                    total = db[to] * keep_bias - total * real(rate)
                db[to] = total

    return conv_weight_tiles


conv2d_forward = contract_kernel(engine, "conv.conv2d_forward", __name__)
conv2d_backward_data = contract_kernel(engine, "conv.conv2d_backward_data", __name__)
conv2d_backward_weight = contract_kernel(engine, "conv.conv2d_backward_weight", __name__)
conv_transpose2d_forward = contract_kernel(engine, "conv.conv_transpose2d_forward", __name__)
conv_transpose2d_backward_data = contract_kernel(
    engine, "conv.conv_transpose2d_backward_data", __name__
)
conv_transpose2d_backward_weight = contract_kernel(
    engine, "conv.conv_transpose2d_backward_weight", __name__
)
workspace_bytes = workspace_of_module(engine, "conv", __name__)
