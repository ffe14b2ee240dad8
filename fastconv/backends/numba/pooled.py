"""Backward passes of a convolution behind a 2x2 max pool, over the pixels that the pool took."""

from __future__ import annotations

import numpy as np

from fastconv.backends.compiled.instructions.choices import LEAKY_GRADIENT, UPDATE
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.numba import pooled_instructions as tile
from fastconv.backends.numba.compilation import KernelFunction, Real, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pointers import (
    address_at,
    clear,
    first_of,
    is_null,
    local,
    offset,
    pointer,
)
from fastconv.backends.numba.pooled_instructions import POOLED_WORDS, add_region
from fastconv.backends.numba.tile_functions import run_tile
from fastconv.backends.numba.vector_functions import sum_of_lanes
from fastconv.backends.numba.vector_memory import load, load_beside, store
from fastconv.backends.numba.vectors import lanes_of, select, spread, spread_beside

_MOST_VECTORS = 12
_SIDE, _ROOM = 16, 256


@kernel(Kernel.POOLED_WEIGHT_TILES)
def _pooled_weight_tiles(real: Real) -> KernelFunction:
    """``dw[n][i][j]``: the sum of gradient * x over samples and pooled pixels, by channel n."""

    def pooled_weight_tiles(n: Fields, step: int, thread: int, threads: int) -> None:
        x, gradients = pointer(n.x, real), pointer(n.gradient, real)
        offsets, dw, db = (
            pointer(n.offset, np.int32), pointer(n.dw, real),
            pointer(n.db, real),
        )  # fmt: skip
        samples, pixels, channels = (
            n.samples, n.pixels, n.channels
        )  # fmt: skip
        row, down, vectors, rows = (
            n.x_row, n.taps_down, n.vectors,
            n.tile_rows,
        )  # fmt: skip
        lanes = lanes_of(real)
        wide = vectors * lanes
        t = local(POOLED_WORDS, np.int64)
        t[tile.ROW], t[tile.CHANNELS], t[tile.DW_ROW] = row, channels, wide
        call, band = address_at(t, 0), n.band
        bands = (pixels + band - 1) // band
        begin, end = first_of(channels, thread, threads), first_of(channels, thread + 1, threads)
        for number in range(samples * bands):
            sample, pixel = number // bands, number % bands * band
            t[tile.PIXELS], t[tile.ADD] = min(band, pixels - pixel), 1 if number > 0 else 0
            for c in range(begin, end):
                first = (sample * pixels + pixel) * channels + c
                t[tile.GRADIENT] = address_at(gradients, first)
                t[tile.OFFSET] = address_at(offsets, first)
                for i in range(0, down, rows):
                    for v in range(0, vectors, _MOST_VECTORS):
                        start = sample * n.x_sample + i * row + v * lanes
                        t[tile.X] = address_at(x, start)
                        t[tile.DW] = address_at(dw, (c * down + i) * wide + v * lanes)
                        some = min(_MOST_VECTORS, vectors - v)
                        run_tile(n, min(rows, down - i), some, call)
                if pixel == 0 and not is_null(db):
                    total = real(0)
                    for p in range(pixels):
                        total += gradients[first + p * channels]
                    db[c] = db[c] + total if sample else total

    return pooled_weight_tiles


@kernel(Kernel.TRANSPOSE_WEIGHTS)
def _transpose_weights(real: Real) -> KernelFunction:
    """Bring a weight gradient from [n][k] to [k][n], as a gradient or as an update."""

    def transpose_weights(n: Fields, step: int, thread: int, threads: int) -> None:
        source, db = pointer(n.sums, real), pointer(n.bias_sums, real)
        w, b = pointer(n.dw, real), pointer(n.db, real)
        depth, outputs, lanes = n.depth, n.outputs, lanes_of(real)
        update = n.epilogue == UPDATE
        factor, keep, keep_bias = real(0), real(0), real(0)
        if update:
            rate = pointer(n.rate, np.float64)[step]
            factor = real(rate)
            keep = real(1 - rate * n.decay)
            keep_bias = real(1 - rate * n.bias_decay)
        block = local(_ROOM, real)
        end = first_of(depth, thread + 1, threads)
        for k in range(first_of(depth, thread, threads), end, _SIDE):
            tall = min(_SIDE, end - k)
            for o in range(0, outputs, _SIDE):
                wide = min(_SIDE, outputs - o)
                for j in range(wide):
                    for i in range(tall):
                        block[i * _SIDE + j] = source[(o + j) * depth + k + i]
                for i in range(tall):
                    to = (k + i) * outputs + o
                    for j in range(0, wide, lanes):
                        count = min(lanes, wide - j)
                        value = load(block, i * _SIDE + j, count)
                        if update:
                            value = load(w, to + j, count) * keep - value * factor
                        store(w, to + j, value, count)
        if thread == 0 and not is_null(db):
            for o in range(outputs):
                b[o] = keep_bias * b[o] - factor * db[o] if update else db[o]

    return transpose_weights


@kernel(Kernel.POOLED_DATA_TILES)
def _pooled_data_tiles(real: Real) -> KernelFunction:
    """``dx`` of a 3 x 3 convolution: every pooled pixel adds to a region of 4 x 4 pixels."""

    def pooled_data_tiles(n: Fields, step: int, thread: int, threads: int) -> None:
        gradients, order = pointer(n.gradient, real), pointer(n.channel, np.int32)
        counts, packed = pointer(n.count, np.int32), pointer(n.w, real)
        dx, other, slope = (
            pointer(n.dx, real), pointer(n.other, real), real(n.slope)
        )  # fmt: skip
        rows, columns, channels = (
            n.rows, n.columns, n.channels
        )  # fmt: skip
        height, inputs, tall = n.height, n.inputs, n.strip
        line, lanes = n.width * inputs, lanes_of(real)
        strips = (height + tall - 1) // tall
        pieces = n.samples * strips
        for piece in range(
            first_of(pieces, thread, threads), first_of(pieces, thread + 1, threads)
        ):
            sample, top = piece // strips, piece % strips * tall
            bottom = min(height, top + tall)
            image = sample * height * line
            clear(dx, image + top * line, (bottom - top) * line)
            # A strip is written from every pooled pixel that reaches it, in their order.
            start = (top - 2) // 2 if top > 3 else 0
            for c in range(0, inputs, lanes):
                weights = offset(packed, c * channels * 9)
                for row in range(start, min(rows, (bottom + 1) // 2)):
                    first, stop = max(0, top - 2 * row), min(4, bottom - 2 * row)
                    for column in range(columns):
                        at = (sample * rows + row) * columns + column
                        region = image + 2 * row * line + 2 * column * inputs + c
                        add_region(
                            offset(gradients, at * channels), offset(order, at * channels),
                            offset(counts, at * 4), weights, offset(dx, region), line, inputs,
                            first, stop,
                        )  # fmt: skip
            if n.epilogue == LEAKY_GRADIENT:
                for i in range(image + top * line, image + bottom * line, lanes):
                    v = load(dx, i, lanes)
                    store(dx, i, select(load(other, i, lanes) > 0, v, v * slope), lanes)

    return pooled_data_tiles


@kernel(Kernel.POOLED_LISTS)
def _pooled_lists(real: Real) -> KernelFunction:
    """Gradients behind the activation with the places they belong to, plain and sorted by place."""

    def pooled_lists(n: Fields, step: int, thread: int, threads: int) -> None:
        dys, wheres, ys = (
            pointer(n.dy, real), pointer(n.argmax, np.int32),
            pointer(n.y, real),
        )  # fmt: skip
        gradients, offsets = pointer(n.gradient, real), pointer(n.offset, np.int32)
        sorted_gradients, sorted_channels, counts = (
            pointer(n.sorted_gradient, real), pointer(n.channel, np.int32),
            pointer(n.count, np.int32),
        )  # fmt: skip
        slope = real(n.slope)
        rows, columns, channels = (
            n.rows, n.columns, n.channels
        )  # fmt: skip
        width, x_row, x_pixel = n.plane_width, n.x_row, n.x_pixel
        lines, lanes = n.samples * rows, lanes_of(real)
        next_of = local(4, np.int64)
        end = first_of(lines, thread + 1, threads)
        for line in range(first_of(lines, thread, threads), end):
            row = 2 * (line % rows)
            for p in range(line * columns, (line + 1) * columns):
                column, at = 2 * (p - line * columns), p * channels
                corner, start = row * width + column, row * x_row + column * x_pixel
                more = spread_beside(x_row - width * x_pixel, np.int32, real)
                one, n1 = spread(1, real), spread(0, real)
                n2, n3 = n1, n1
                for c in range(0, channels, lanes):
                    count = min(lanes, channels - c)
                    g = load(dys, at + c, count)
                    if not is_null(ys):
                        g = select(load(ys, at + c, count) > 0, g, g * slope)
                    store(gradients, at + c, g, count)
                    # Lanes behind the last channel are 0, and not behind the corner.
                    taken = load_beside(wheres, at + c, count, real) - corner
                    shifted = taken * x_pixel + select(taken >= width, more, 0) + start
                    store(offsets, at + c, shifted, count)
                    n1 = n1 + select(taken == 1, one, 0)
                    n2 = n2 + select(taken == width, one, 0)
                    n3 = n3 + select(taken == width + 1, one, 0)
                if is_null(counts):
                    continue
                next_of[1], next_of[2] = int(sum_of_lanes(n1)), int(sum_of_lanes(n2))
                next_of[3] = int(sum_of_lanes(n3))
                next_of[0] = channels - next_of[1] - next_of[2] - next_of[3]
                done = 0
                for place in range(4):
                    number = next_of[place]
                    counts[4 * p + place] = np.int32(number)
                    next_of[place] = done
                    done += number
                for c in range(channels):
                    taken = wheres[at + c] - corner
                    down = 1 if taken >= width else 0
                    place = 2 * down + taken - down * width
                    to = at + next_of[place]
                    next_of[place] += 1
                    sorted_gradients[to] = gradients[at + c]
                    sorted_channels[to] = np.int32(c)

    return pooled_lists
