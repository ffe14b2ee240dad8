"""Convolutions by tiles (:mod:`fastconv.backends.numba.tiles`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.recorder import START_C, START_ROWS, START_ZERO, UPDATE
from fastconv.backends.numba import engine
from fastconv.backends.numba import tile_instructions as tile
from fastconv.backends.numba.compilation import Kernel, Real, inlined, kernel
from fastconv.backends.numba.pixel_sums import MOST_BIASES, sum_of_pixels
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
from fastconv.backends.numba.vector_memory import load_beside, store
from fastconv.backends.numba.vectors import lanes_of
from fastconv.spec import ConvSpec

# The integers of the records are described in kernels/cpu/conv.h.

_MOST_PIXELS_OF_A_SUM = 4096
"""Pixels of dy whose products are summed in registers; the sums of so many are added in memory."""


@kernel
def _conv_tiles(real: Real) -> Kernel:
    """``C[sample, row, column, n] = start + sum over taps and k of A[...] B[tap, k, n]``."""

    def conv_tiles(record: int, step: int, thread: int, threads: int) -> None:
        a, b, c = (
            pointer_of(record, 0, real), pointer_of(record, 1, real), pointer_of(record, 2, real)
        )  # fmt: skip
        bias, other = pointer_of(record, 3, real), pointer_of(record, 4, real)
        rows, columns, outputs = integer_of(record, 1), integer_of(record, 2), integer_of(record, 4)
        tile_rows, lanes = integer_of(record, 5), lanes_of(real)
        width = integer_of(record, 3) * lanes
        blocks = (outputs + width - 1) // width
        groups, samples = integer_of(record, 21), integer_of(record, 0)
        images, parts = samples * rows, groups * blocks
        t = local(TILE_WORDS, np.int64)
        t[tile.RUNS1], t[tile.A_RUN1] = integer_of(record, 12), integer_of(record, 13)
        t[tile.RUNS2], t[tile.A_RUN2] = integer_of(record, 15), integer_of(record, 16)
        t[tile.DEPTH], t[tile.A_STRIDE] = integer_of(record, 18), integer_of(record, 8)
        t[tile.C_ROW], t[tile.OTHER] = integer_of(record, 11), 0
        t[tile.FROM], t[tile.FINISH] = integer_of(record, 25), integer_of(record, 26)
        call = address_at(t, 0)
        pointer(call, np.float64)[tile.SLOPE] = real_of(record, 0)
        starts_rows = integer_of(record, 25) == START_ROWS
        blocks_outside = integer_of(record, 27) != 0
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
            start_b = group * integer_of(record, 23) + block * integer_of(record, 20)
            stride = integer_of(record, 19)
            # The last block is packed as narrow as it is.
            packed = 1 if stride else vectors * lanes
            t[tile.COLUMNS], t[tile.B] = wide, address_at(b, start_b)
            t[tile.B_STEP] = stride if stride else packed
            t[tile.B_RUN1] = integer_of(record, 14) * packed
            t[tile.B_RUN2] = integer_of(record, 17) * packed
            t[tile.START] = address_at(bias, group * outputs + first)
            start_a = sample * integer_of(record, 6) + row * integer_of(record, 7)
            start_a += group * integer_of(record, 22)
            start_c = sample * integer_of(record, 9) + row * integer_of(record, 10)
            start_c += group * integer_of(record, 24) + first
            pixels = integer_of(record, 28) if row == rows - 1 else columns
            for column in range(0, pixels, tile_rows):
                at = start_c + column * integer_of(record, 11)
                t[tile.A] = address_at(a, start_a + column * integer_of(record, 8))
                t[tile.C] = address_at(c, at)
                if not is_null(other):
                    t[tile.OTHER] = address_at(other, at)
                if starts_rows:
                    t[tile.START] = address_at(bias, column)
                run_tile(record, min(tile_rows, pixels - column), vectors, call)
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
    record: int, dy: Any, at: int, samples: int, rows: int, columns: int, outputs: int, total: Any,
    to: int, real: Real,
) -> None:  # fmt: skip
    """Add dy of some samples, rows and columns to float64 sums; without gaps, it is one run."""
    lanes, pixel = lanes_of(real), integer_of(record, 11)
    if rows > 1 and columns == integer_of(record, 2) and integer_of(record, 10) == columns * pixel:
        rows, columns = 1, rows * columns
    if samples > 1 and rows == 1 and integer_of(record, 9) == columns * pixel:
        samples, columns = 1, samples * columns
    for j in range(0, outputs, lanes):
        count = min(lanes, outputs - j)
        wide = load_beside(total, to + j, count, real)
        for sample in range(samples):
            for row in range(rows):
                place = at + sample * integer_of(record, 9) + row * integer_of(record, 10) + j
                wide = sum_of_pixels(wide, dy, place, columns, pixel, count, real)
        store(total, to + j, wide, count)


@kernel
def _conv_weight_tiles(real: Real) -> Kernel:
    """``dw[tap, k, n] = sum over samples and pixels of A[...] dy[pixel, n]``, and ``db``."""

    def conv_weight_tiles(record: int, step: int, thread: int, threads: int) -> None:
        a, dy, dw = (
            pointer_of(record, 0, real), pointer_of(record, 1, real), pointer_of(record, 2, real)
        )  # fmt: skip
        db, finish = pointer_of(record, 3, real), integer_of(record, 25)
        samples, outputs, tile_rows = (
            integer_of(record, 0), integer_of(record, 4), integer_of(record, 5)
        )  # fmt: skip
        taps1, taps2, depth = (
            integer_of(record, 12), integer_of(record, 15), integer_of(record, 18)
        )  # fmt: skip
        lanes, together = lanes_of(real), integer_of(record, 24)
        width = integer_of(record, 3) * lanes
        blocks = (outputs + width - 1) // width
        tiles = (depth + tile_rows - 1) // tile_rows
        pieces = integer_of(record, 20) * taps1 * taps2 * tiles * blocks
        t = local(TILE_WORDS, np.int64)
        t[tile.A_RUN1], t[tile.B_RUN1] = integer_of(record, 6), integer_of(record, 9)
        t[tile.RUNS2], t[tile.DEPTH] = integer_of(record, 1), integer_of(record, 2)
        t[tile.A_RUN2], t[tile.B_RUN2] = integer_of(record, 7), integer_of(record, 10)
        t[tile.A_STRIDE], t[tile.B_STEP] = integer_of(record, 8), integer_of(record, 11)
        t[tile.C_ROW], t[tile.FINISH] = integer_of(record, 19), finish
        call = address_at(t, 0)
        rate, keep_bias = 0.0, real(0)
        if finish == UPDATE:
            rate = pointer_of(record, 4, np.float64)[step]
            pointer(call, np.float64)[tile.RATE] = rate
            pointer(call, np.float64)[tile.KEEP] = 1 - rate * real_of(record, 0)
            keep_bias = real(1 - rate * real_of(record, 1))
        begin, end = first_of(pieces, thread, threads), first_of(pieces, thread + 1, threads)
        high, wide_row = integer_of(record, 1), integer_of(record, 2)
        if finish != UPDATE:  # which takes whole sums
            wide_row = min(_MOST_PIXELS_OF_A_SUM, wide_row)
            high = min(high, _MOST_PIXELS_OF_A_SUM // wide_row)
        down = (integer_of(record, 1) + high - 1) // high
        across = (integer_of(record, 2) + wide_row - 1) // wide_row
        all_outputs, biases = integer_of(record, 20) * outputs, local(MOST_BIASES, np.float64)
        keeps_biases = not is_null(db) and all_outputs <= MOST_BIASES
        if keeps_biases:
            for output in range(all_outputs):
                biases[output] = 0.0
        # A few samples through all tiles, so that they come from a near cache; of none, the sum
        # is 0.
        chunks = (samples + together - 1) // together * down * across
        for chunk in range(max(1, chunks)):
            sample = chunk // (down * across) * together
            row, column = chunk // across % down * high, chunk % across * wide_row
            t[tile.RUNS1] = min(together, samples - sample)
            t[tile.RUNS2] = min(high, integer_of(record, 1) - row)
            t[tile.DEPTH] = min(wide_row, integer_of(record, 2) - column)
            t[tile.FROM] = START_C if chunk else START_ZERO
            of_chunk_a = sample * integer_of(record, 6) + row * integer_of(record, 7)
            of_chunk_a += column * integer_of(record, 8)
            of_chunk = sample * integer_of(record, 9) + row * integer_of(record, 10)
            of_chunk += column * integer_of(record, 11)
            for piece in range(begin, end):
                block, number = piece % blocks, piece // blocks % tiles
                tap2 = piece // (blocks * tiles) % taps2
                tap1 = piece // (blocks * tiles * taps2) % taps1
                group = piece // (blocks * tiles * taps2 * taps1)
                first, k = block * width, number * tile_rows
                wide = min(width, outputs - first)
                start_a = of_chunk_a + group * integer_of(record, 21) + k
                start_a += tap1 * integer_of(record, 13) + tap2 * integer_of(record, 16)
                at = of_chunk + group * integer_of(record, 22) + first
                to = group * integer_of(record, 23) + k * integer_of(record, 19) + first
                to += tap1 * integer_of(record, 14) + tap2 * integer_of(record, 17)
                t[tile.COLUMNS], t[tile.A] = wide, address_at(a, start_a)
                t[tile.B], t[tile.C] = address_at(dy, at), address_at(dw, to)
                vectors = (wide + lanes - 1) // lanes
                run_tile(record, min(tile_rows, depth - k), vectors, call)
                if keeps_biases and number == 0 and tap1 == 0 and tap2 == 0:
                    _sum_biases(
                        record, dy, at, t[tile.RUNS1], t[tile.RUNS2], t[tile.DEPTH], wide, biases,
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
                    record, dy, group * integer_of(record, 22) + first, samples,
                    integer_of(record, 1), integer_of(record, 2), wide, biases, 0, real,
                )  # fmt: skip
            for j in range(wide):
                total, to = real(biases[place + j]), group * outputs + first + j
                if finish == UPDATE:
                    total = db[to] * keep_bias - total * real(rate)
                db[to] = total

    return conv_weight_tiles


def conv2d_forward(
    spec: ConvSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y = x * w + b``."""
    engine.execute("conv.conv2d_forward", spec, x, w, b, y, workspace)


def conv2d_backward_data(
    spec: ConvSpec,
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Gradient of x."""
    engine.execute("conv.conv2d_backward_data", spec, dy, w, dx, workspace)


def conv2d_backward_weight(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Gradients of w and, unless None, of b."""
    engine.execute("conv.conv2d_backward_weight", spec, dy, x, dw, db, workspace)


def conv_transpose2d_forward(
    spec: ConvSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """The data gradient of ``spec`` as a layer, plus b."""
    engine.execute("conv.conv_transpose2d_forward", spec, x, w, b, y, workspace)


def conv_transpose2d_backward_data(
    spec: ConvSpec,
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Gradient of x."""
    engine.execute("conv.conv_transpose2d_backward_data", spec, dy, w, dx, workspace)


def conv_transpose2d_backward_weight(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Gradients of w and, unless None, of b."""
    engine.execute("conv.conv_transpose2d_backward_weight", spec, dy, x, dw, db, workspace)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return engine.workspace_bytes(f"conv.{kernel}", spec, dtype)
