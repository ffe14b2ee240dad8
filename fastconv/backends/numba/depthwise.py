"""Depthwise convolutions: one input channel for each output channel, vectors over channels.

A few neighbouring output pixels keep one vector of sums each. Taps outside the image are passed
by, so no padded copy is needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pixel_sums import MOST_BIASES, sum_of_pixels
from fastconv.backends.numba.pointers import first_of, is_null, local, pointer
from fastconv.backends.numba.vector_memory import load, load_beside, store
from fastconv.backends.numba.vectors import as_dtype, lanes_of, spread, spread_beside

_PIXELS = 8


@inlined
def _inside(start: int, stride: int, size: int, count: int) -> tuple[int, int]:
    """Range of i in [0, count) with ``0 <= start + i * stride < size``."""
    first = 0 if start >= 0 else (stride - 1 - start) // stride
    end = 0 if start >= size else min(count, (size - start + stride - 1) // stride)
    return min(first, end), end


@inlined
def _add(
    total: Any, x: Any, at: int, value: Any, count: int, number: int, first: int, end: int
) -> Any:  # fmt: skip
    """Add a product to the sum of pixel ``number``, if that is one of those that have the tap."""
    if first <= number < end:
        return total + load(x, at, count) * value
    return total


@kernel(Kernel.DEPTHWISE_TILES)
def _depthwise_tiles(real: Real) -> KernelFunction:
    """``y[sample, row, column, c] = b[c] + sum over taps of x[..., c] w[tap, c]``."""

    def depthwise_tiles(n: Fields, step: int, thread: int, threads: int) -> None:
        x, w = pointer(n.x, real), pointer(n.w, real)
        bias, y = pointer(n.b, real), pointer(n.y, real)
        channels, lanes = n.channels, lanes_of(real)
        height, width = n.height, n.width
        rows, columns = n.rows, n.columns
        taps_across, dilation, step_w = n.taps_across, n.dilation_down, n.stride_across
        lines = n.samples * rows
        end = first_of(lines, thread + 1, threads)
        for line in range(first_of(lines, thread, threads), end):
            sample, row = line // rows, line % rows
            top = row * n.stride_down - n.top
            tap_first, tap_end = _inside(top, dilation, height, n.taps_down)
            out = sample * n.y_height + n.first_row
            out += row * n.row_step
            out = (out * n.y_width + n.first_column) * channels
            for c in range(0, channels, lanes):
                count = min(lanes, channels - c)
                start = spread(0, real)
                if not is_null(bias):
                    start = load(bias, c, count)
                for column in range(0, columns, _PIXELS):
                    pixels = min(_PIXELS, columns - column)
                    s0, s1, s2, s3, s4, s5, s6, s7 = (
                        start, start, start, start, start, start, start, start
                    )  # fmt: skip
                    for i in range(tap_first, tap_end):
                        image_row = (sample * height + top + i * dilation) * width
                        for j in range(taps_across):
                            tap = i * n.w_down + j * n.w_across
                            v = load(w, tap + c, count)
                            left = column * step_w - n.left
                            left += j * n.dilation_across
                            p, q = _inside(left, step_w, width, pixels)
                            at, to = (image_row + left) * channels + c, step_w * channels
                            s0 = _add(s0, x, at, v, count, 0, p, q)
                            s1 = _add(s1, x, at + to, v, count, 1, p, q)
                            s2 = _add(s2, x, at + 2 * to, v, count, 2, p, q)
                            s3 = _add(s3, x, at + 3 * to, v, count, 3, p, q)
                            s4 = _add(s4, x, at + 4 * to, v, count, 4, p, q)
                            s5 = _add(s5, x, at + 5 * to, v, count, 5, p, q)
                            s6 = _add(s6, x, at + 6 * to, v, count, 6, p, q)
                            s7 = _add(s7, x, at + 7 * to, v, count, 7, p, q)
                    for p in range(pixels):
                        low = s0 if p == 0 else s1 if p == 1 else s2 if p == 2 else s3
                        high = s4 if p == 4 else s5 if p == 5 else s6 if p == 6 else s7
                        place = out + (column + p) * n.column_step * channels + c
                        store(y, place, low if p < 4 else high, count)

    return depthwise_tiles


@kernel(Kernel.DEPTHWISE_WEIGHT_TILES)
def _depthwise_weight_tiles(real: Real) -> KernelFunction:
    """``dw[tap, c] = sum over samples and pixels of x[..., c] dy[pixel, c]``, and ``db``."""

    def depthwise_weight_tiles(n: Fields, step: int, thread: int, threads: int) -> None:
        x, dy = pointer(n.x, real), pointer(n.dy, real)
        dw, db = pointer(n.dw, real), pointer(n.db, real)
        channels, lanes, zero = n.channels, lanes_of(real), spread(0, real)
        height, width, columns = n.height, n.width, n.columns
        rows, down, across = n.rows, n.taps_down, n.taps_across
        vectors = (channels + lanes - 1) // lanes
        begin = first_of(vectors, thread, threads) * lanes
        end = min(channels, first_of(vectors, thread + 1, threads) * lanes)
        for tap in range(down * across):
            for c in range(begin, end):
                dw[tap * channels + c] = 0
        biases, zeros = local(MOST_BIASES, np.float64), spread_beside(0, np.float64, real)
        keeps_biases = not is_null(db) and end - begin <= MOST_BIASES
        if keeps_biases:
            for c in range(end - begin):
                biases[c] = 0.0
        for line in range(n.samples * rows):
            sample, row = line // rows, line % rows
            for i in range(down):
                taken = row * n.stride_down - n.top
                taken += i * n.dilation_down
                if taken < 0 or taken >= height:
                    continue
                for j in range(across):
                    left = j * n.dilation_across - n.left
                    first, stop = _inside(left, n.stride_across, width, columns)
                    rest = stop - (stop - first) % 4
                    to = n.stride_across * channels
                    start = ((sample * height + taken) * width + left) * channels
                    for c in range(begin, end, lanes):
                        count = min(lanes, end - c)
                        s0, s1, s2, s3 = zero, zero, zero, zero
                        for p in range(first, rest, 4):
                            a, b = start + p * to + c, (line * columns + p) * channels + c
                            s0 = s0 + load(x, a, count) * load(dy, b, count)
                            a, b = a + to, b + channels
                            s1 = s1 + load(x, a, count) * load(dy, b, count)
                            a, b = a + to, b + channels
                            s2 = s2 + load(x, a, count) * load(dy, b, count)
                            a, b = a + to, b + channels
                            s3 = s3 + load(x, a, count) * load(dy, b, count)
                        for p in range(rest, stop):
                            a, b = start + p * to + c, (line * columns + p) * channels + c
                            s0 = s0 + load(x, a, count) * load(dy, b, count)
                        at = (i * across + j) * channels + c
                        store(dw, at, load(dw, at, count) + ((s0 + s1) + (s2 + s3)), count)
            if keeps_biases:
                for c in range(begin, end, lanes):
                    count, at = min(lanes, end - c), line * columns * channels + c
                    total = load_beside(biases, c - begin, count, real)
                    total = sum_of_pixels(total, dy, at, columns, channels, count, real)
                    store(biases, c - begin, total, count)
        if not is_null(db):
            pixels = n.samples * rows * columns
            for c in range(begin, end, lanes):
                count = min(lanes, end - c)
                if keeps_biases:
                    total = load_beside(biases, c - begin, count, real)
                else:
                    total = sum_of_pixels(zeros, dy, c, pixels, channels, count, real)
                store(db, c, as_dtype(total, real), count)

    return depthwise_weight_tiles


@kernel(Kernel.SPREAD_CHANNELS)
def _spread_channels(real: Real) -> KernelFunction:
    """Repeat every channel some times, or add them up again."""

    def spread_channels(n: Fields, step: int, thread: int, threads: int) -> None:
        source, to = pointer(n.x, real), pointer(n.y, real)
        bias, channels, times = pointer(n.b, real), n.channels, n.times
        count = n.pixels * channels
        end = first_of(count, thread + 1, threads)
        for i in range(first_of(count, thread, threads), end):
            if n.adds:
                total = real(0)
                if not is_null(bias):
                    total = bias[i % channels]
                for j in range(times):
                    total += source[i * times + j]
                to[i] = total
            else:
                for j in range(times):
                    to[i * times + j] = source[i]

    return spread_channels
