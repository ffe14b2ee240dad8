"""Depthwise convolutions over planes: vectors along the rows.

So that no tap meets an edge, the rows that some output rows read are first copied to lines on the
stack, with zeros for the padding; the columns of a stride lie apart there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pixel_sums import ADDS_OF_A_BLOCK, MOST_BIASES
from fastconv.backends.numba.pointers import clear, first_of, is_null, local, pointer
from fastconv.backends.numba.vector_functions import sum_of_lanes
from fastconv.backends.numba.vector_memory import ask_for, load, store
from fastconv.backends.numba.vectors import as_dtype, lanes_of, spread, spread_beside

_LINES = 6144
"""Elements of the lines, of either type."""
_SUMS = 128 * 16
"""Elements of the sums of a weight gradient, and of the widest vector."""
_MOST_ACROSS = 32
"""Taps across of a group."""
_AHEAD = 1024
"""Elements from what is read to what is asked for."""
_STEP = 8
"""Elements of a cache line, of the larger type."""


@inlined
def _fetch(start: Any, at: int, rows: int, columns: int, row: int) -> None:
    """Ask for rows of a plane."""
    for r in range(rows):
        for k in range(0, columns, _STEP):
            ask_for(start, at + r * row + k)


@inlined
def _fill_dense_line(
    lines: Any, at: int, length: int, x: Any, row: int, first: int, end: int, lanes: int, zero: Any
) -> None:
    """Copy neighbours to elements ``first`` to ``end`` of a line, and zeros around them.

    In whole vectors: what is written too far is overwritten by what follows, or by the next line.
    """
    k = 0
    while k < first:
        store(lines, at + k, zero, lanes)
        k += lanes
    k = first
    while k + lanes <= end:
        store(lines, at + k, load(x, row + k, lanes), lanes)
        k += lanes
    if k < end:
        store(lines, at + k, load(x, row + k, end - k), lanes)
        k += lanes
    while k < length:
        store(lines, at + k, zero, lanes)
        k += lanes


@inlined
def _fill_line(
    lines: Any, at: int, length: int, x: Any, row: int, width: int, start: int, step: int,
    spacing: int,
) -> None:  # fmt: skip
    """``line[k] = row[(start + k * step) / spacing]``, 0 where that is no column."""
    clear(lines, at, length)
    # Numbers of columns, and the first of them.
    column = max(0, -(-start // spacing)) if spacing > 1 else max(0, start)
    if step > 1 and start < 0:
        column = start + -(start // step) * step
    k = column * spacing - start if spacing > 1 else (column - start) // step
    while k < length and column < width:
        lines[at + k] = x[row + column]
        k += spacing
        column += step


@inlined
def _fill_lines(
    n: Fields, lines: Any, x: Any, plane: int, count: int, top: int, left: int, real: Real
) -> None:  # fmt: skip
    """Copy what a block of rows and columns and a group of taps read."""
    height, width = n.height, n.width
    step, spacing = n.stride_across, n.spacing
    phases, length, down = n.phases, n.length, n.line_step
    lanes, zero, dense = lanes_of(real), spread(0, real), step == 1 and spacing == 1
    first, end = max(0, top), min(height, top + (count - 1) * down + 1)
    _fetch(x, plane + first * width + _AHEAD, 1, (end - first) * width, 0)
    first = min(length, max(0, -left))
    end = max(first, min(length, width - left))
    for q in range(count):
        row = top + q * down
        at = q * phases * length
        if row < 0 or row >= height:
            for k in range(0, phases * length, lanes):
                store(lines, at + k, zero, lanes)
        elif dense:
            begin = plane + row * width + left
            _fill_dense_line(lines, at, length, x, begin, first, end, lanes, zero)
        else:
            for phase in range(phases):
                _fill_line(
                    lines, at + phase * length, length, x, plane + row * width, width,
                    left + phase, step, spacing,
                )  # fmt: skip


@inlined
def _find_taps(n: Fields, offsets: Any) -> None:
    """Note where each tap across of a group is in a line: no division in the loops."""
    stride = max(1, n.stride_across)
    for tap in range(n.tile_across):
        place = tap * n.dilation_across
        offsets[tap] = place % stride * n.length + place // stride


@kernel(Kernel.PLANE_PRODUCTS)
def _plane_products(real: Real) -> KernelFunction:
    """``y[row, column] = b + sum over taps of the filter times the plane``."""

    def plane_products(n: Fields, step: int, thread: int, threads: int) -> None:
        x, w = pointer(n.x, real), pointer(n.w, real)
        bias, y = pointer(n.b, real), pointer(n.y, real)
        lines, lanes = local(_LINES, real), lanes_of(real)
        offsets = local(_MOST_ACROSS, np.int64)
        _find_taps(n, offsets)
        rows, columns = n.rows, n.columns
        taps, taps_across = n.taps_down, n.taps_across
        w_down, w_across = n.w_down, n.w_across
        to = n.other_row
        line = n.phases * n.length
        row_step = n.stride_down // n.line_step * line
        tap_step = n.dilation_down // n.line_step * line
        bands = (rows + n.tile_rows - 1) // n.tile_rows
        pieces = n.samples * n.channels * bands
        end = first_of(pieces, thread + 1, threads)
        for piece in range(first_of(pieces, thread, threads), end):
            plane, row = piece // bands, piece % bands * n.tile_rows
            channel = plane % n.channels
            high = min(n.tile_rows, rows - row)
            start = spread(0, real)
            if not is_null(bias):
                start = spread(bias[channel], real)
            for column in range(0, columns, n.tile_columns):
                wide = min(n.tile_columns, columns - column)
                out = plane * n.other_plane + row * to + column
                _fetch(y, out, high, wide, to)
                # At least once, also where there are no taps.
                for i in range(0, max(1, taps), max(1, n.tile_down)):
                    for j in range(0, max(1, taps_across), max(1, n.tile_across)):
                        down = min(n.tile_down, taps - i)
                        across = min(n.tile_across, taps_across - j)
                        if down > 0 and across > 0:
                            _fill_lines(
                                n, lines, x,
                                plane * n.height * n.width,
                                ((high - 1) * row_step + (down - 1) * tap_step) // line + 1,
                                row * n.stride_down - n.top
                                + i * n.dilation_down,
                                column * n.stride_across - n.left
                                + j * n.dilation_across,
                                real,
                            )  # fmt: skip
                        weights = channel * n.w_channel + i * w_down + j * w_across
                        is_first = i == 0 and j == 0
                        r = 0
                        while r < high:
                            # The last tile ends at the last row, which gets the same bits again.
                            if r + 4 > high and high >= 4 and is_first:
                                r = high - 4
                            four = r + 4 <= high and is_first
                            for vector in range(0, wide, lanes):
                                c = vector
                                # So does the last vector of a row: masked stores are slow.
                                if is_first and wide >= lanes:
                                    c = min(c, wide - lanes)
                                count, at = min(lanes, wide - c), r * row_step + c
                                place = out + r * to + c
                                s0, s1, s2, s3 = start, start, start, start
                                if not is_first:
                                    s0 = load(y, place, count)
                                if four and down == 3 and row_step == line and tap_step == line:
                                    for tap in range(across):
                                        k = weights + tap * w_across
                                        a = spread(w[k], real)
                                        b = spread(w[k + w_down], real)
                                        d = spread(w[k + 2 * w_down], real)
                                        k = at + offsets[tap]
                                        v0 = load(lines, k, lanes)
                                        v1 = load(lines, k + line, lanes)
                                        v2 = load(lines, k + 2 * line, lanes)
                                        v3 = load(lines, k + 3 * line, lanes)
                                        v4 = load(lines, k + 4 * line, lanes)
                                        v5 = load(lines, k + 5 * line, lanes)
                                        s0 = s0 + v0 * a + v1 * b + v2 * d
                                        s1 = s1 + v1 * a + v2 * b + v3 * d
                                        s2 = s2 + v2 * a + v3 * b + v4 * d
                                        s3 = s3 + v3 * a + v4 * b + v5 * d
                                elif four:
                                    p, q = 0, 0
                                    for _ in range(down * across):
                                        v = spread(w[weights + p * w_down + q * w_across], real)
                                        k = at + p * tap_step + offsets[q]
                                        s0 = s0 + load(lines, k, lanes) * v
                                        s1 = s1 + load(lines, k + row_step, lanes) * v
                                        s2 = s2 + load(lines, k + 2 * row_step, lanes) * v
                                        s3 = s3 + load(lines, k + 3 * row_step, lanes) * v
                                        p, q = (p, q + 1) if q + 1 < across else (p + 1, 0)
                                else:
                                    p, q = 0, 0
                                    for _ in range(down * across):
                                        v = spread(w[weights + p * w_down + q * w_across], real)
                                        k = at + p * tap_step + offsets[q]
                                        s0 = s0 + load(lines, k, lanes) * v
                                        p, q = (p, q + 1) if q + 1 < across else (p + 1, 0)
                                store(y, place, s0, count)
                                if four:
                                    store(y, place + to, s1, count)
                                    store(y, place + 2 * to, s2, count)
                                    store(y, place + 3 * to, s3, count)
                            r += 4 if four else 1

    return plane_products


@kernel(Kernel.PLANE_WEIGHT_PRODUCTS)
def _plane_weight_products(real: Real) -> KernelFunction:
    """``dw[part][channel, tap] = sum over samples and pixels of x dy``, and ``db``."""

    def plane_weight_products(n: Fields, step: int, thread: int, threads: int) -> None:
        x, dy = pointer(n.x, real), pointer(n.dy, real)
        dw, db = pointer(n.dw, real), pointer(n.db, real)
        lines, sums, lanes = local(_LINES, real), local(_SUMS, real), lanes_of(real)
        channels, rows, columns = n.channels, n.rows, n.columns
        offsets, biases = local(_MOST_ACROSS, np.int64), local(MOST_BIASES, np.float64)
        _find_taps(n, offsets)
        w_down, w_across = n.w_down, n.w_across
        row_dy, together = n.other_row, n.together
        line = n.phases * n.length
        row_step = n.stride_down // n.line_step * line
        tap_step = n.dilation_down // n.line_step * line
        down_groups = (n.taps_down + n.tile_down - 1) // n.tile_down
        groups = (n.taps_across + n.tile_across - 1) // n.tile_across
        blocks = (channels + together - 1) // together
        pieces = n.parts * blocks * down_groups * groups
        end = first_of(pieces, thread + 1, threads)
        for piece in range(first_of(pieces, thread, threads), end):
            j = piece % groups * n.tile_across
            i = piece // groups % down_groups * n.tile_down
            block = piece // (groups * down_groups) % blocks * together
            block_end = min(channels, block + together)
            part = piece // (groups * down_groups * blocks)
            down = min(n.tile_down, n.taps_down - i)
            across = min(n.tile_across, n.taps_across - j)
            taps = down * across
            has_bias = not is_null(db) and i == 0 and j == 0
            clear(sums, 0, (block_end - block) * taps * lanes)
            for channel in range(block_end - block):
                biases[channel] = 0.0
            sample_end = first_of(n.samples, part + 1, n.parts)
            first = first_of(n.samples, part, n.parts)
            for turn in range((sample_end - first) * (block_end - block)):
                sample = first + turn // (block_end - block)
                number = turn % (block_end - block)
                plane, own = sample * channels + block + number, number * taps * lanes
                for row in range(0, rows, n.tile_rows):
                    high = min(n.tile_rows, rows - row)
                    for column in range(0, columns, n.tile_columns):
                        wide = min(n.tile_columns, columns - column)
                        out = plane * n.other_plane + row * row_dy + column
                        _fetch(dy, out + _AHEAD, high, wide, row_dy)
                        _fill_lines(
                            n, lines, x,
                            plane * n.height * n.width,
                            ((high - 1) * row_step + (down - 1) * tap_step) // line + 1,
                            row * n.stride_down - n.top
                            + i * n.dilation_down,
                            column * n.stride_across - n.left
                            + j * n.dilation_across,
                            real,
                        )  # fmt: skip
                        tap, p, q = 0, 0, 0
                        if down == 3 and across == 3:
                            # All of a 3x3 kernel: dy is read once.
                            at0, at1, at2 = offsets[0], offsets[1], offsets[2]
                            one, two = tap_step, 2 * tap_step
                            place = own
                            s00, s01 = load(sums, own, lanes), load(sums, own + lanes, lanes)
                            s02 = load(sums, own + 2 * lanes, lanes)
                            s10 = load(sums, own + 3 * lanes, lanes)
                            s11 = load(sums, own + 4 * lanes, lanes)
                            s12 = load(sums, own + 5 * lanes, lanes)
                            s20 = load(sums, own + 6 * lanes, lanes)
                            s21 = load(sums, own + 7 * lanes, lanes)
                            s22 = load(sums, own + 8 * lanes, lanes)
                            for r in range(high):
                                for c in range(0, wide, lanes):
                                    count, k = min(lanes, wide - c), r * row_step + c
                                    v = load(dy, out + r * row_dy + c, count)
                                    k0, k1, k2 = at0 + k, at1 + k, at2 + k
                                    s00 = s00 + load(lines, k0, count) * v
                                    s01 = s01 + load(lines, k1, count) * v
                                    s02 = s02 + load(lines, k2, count) * v
                                    s10 = s10 + load(lines, k0 + one, count) * v
                                    s11 = s11 + load(lines, k1 + one, count) * v
                                    s12 = s12 + load(lines, k2 + one, count) * v
                                    s20 = s20 + load(lines, k0 + two, count) * v
                                    s21 = s21 + load(lines, k1 + two, count) * v
                                    s22 = s22 + load(lines, k2 + two, count) * v
                            store(sums, own, s00, lanes)
                            store(sums, own + lanes, s01, lanes)
                            store(sums, own + 2 * lanes, s02, lanes)
                            store(sums, own + 3 * lanes, s10, lanes)
                            store(sums, own + 4 * lanes, s11, lanes)
                            store(sums, own + 5 * lanes, s12, lanes)
                            store(sums, own + 6 * lanes, s20, lanes)
                            store(sums, own + 7 * lanes, s21, lanes)
                            store(sums, own + 8 * lanes, s22, lanes)
                            tap = taps
                        while tap < taps:
                            # Three neighbours at once, or one.
                            three = across - q >= 3
                            second, third = min(q + 1, across - 1), min(q + 2, across - 1)
                            begin = p * tap_step
                            at0 = begin + offsets[q]
                            at1 = begin + offsets[second]
                            at2 = begin + offsets[third]
                            place = own + tap * lanes
                            s0 = load(sums, place, lanes)
                            s1, s2 = s0, s0
                            if three:
                                s1 = load(sums, place + lanes, lanes)
                                s2 = load(sums, place + 2 * lanes, lanes)
                            for r in range(high):
                                k = r * row_step
                                for c in range(0, wide, lanes):
                                    # In the lines, columns behind the last one may be infinite.
                                    count = min(lanes, wide - c)
                                    v = load(dy, out + r * row_dy + c, count)
                                    s0 = s0 + load(lines, at0 + k + c, count) * v
                                    if three:
                                        s1 = s1 + load(lines, at1 + k + c, count) * v
                                        s2 = s2 + load(lines, at2 + k + c, count) * v
                            store(sums, place, s0, lanes)
                            if three:
                                store(sums, place + lanes, s1, lanes)
                                store(sums, place + 2 * lanes, s2, lanes)
                            tap += 3 if three else 1
                            q += 3 if three else 1
                            if q == across:
                                p, q = p + 1, 0
                        if has_bias:
                            s0, adds = spread(0, real), 0
                            total = spread_beside(0, np.float64, real)
                            for r in range(high):
                                for c in range(0, wide, lanes):
                                    count = min(lanes, wide - c)
                                    s0 = s0 + load(dy, out + r * row_dy + c, count)
                                    adds += 1
                                    if adds == ADDS_OF_A_BLOCK:
                                        total = total + as_dtype(s0, np.float64)
                                        s0, adds = spread(0, real), 0
                            total = total + as_dtype(s0, np.float64)
                            biases[number] += sum_of_lanes(total)
            for channel in range(block, block_end):
                own = (channel - block) * taps * lanes
                to = (part * channels + channel) * n.w_channel
                to += i * w_down + j * w_across
                for tap in range(taps):
                    place = to + tap // across * w_down + tap % across * w_across
                    dw[place] = sum_of_lanes(load(sums, own + tap * lanes, lanes))
                if has_bias:
                    db[part * channels + channel] = real(biases[channel - block])

    return plane_weight_products
