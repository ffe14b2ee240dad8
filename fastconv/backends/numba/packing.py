"""Copies for convolutions: padded images, and weights in blocks; and sums over pixels."""

from __future__ import annotations

import numpy as np

from fastconv.backends.numba.compilation import Kernel, Real, kernel
from fastconv.backends.numba.pixel_sums import sum_of_pixels
from fastconv.backends.numba.pointers import (
    clear,
    copy,
    first_of,
    integer_of,
    offset,
    pointer_of,
)
from fastconv.backends.numba.vector_memory import load, store
from fastconv.backends.numba.vectors import as_dtype, lanes_of, spread_beside

# The integers of the records are described in kernels/cpu/conv.h.


@kernel
def _pad_images(real: Real) -> Kernel:
    """Copy images into zeros: padding around them, or a crop where it is negative; channels."""

    def pad_images(record: int, step: int, thread: int, threads: int) -> None:
        source, to = pointer_of(record, 0, real), pointer_of(record, 1, real)
        height, width, channels = (
            integer_of(record, 1), integer_of(record, 2), integer_of(record, 3)
        )  # fmt: skip
        tall, columns, wide = integer_of(record, 4), integer_of(record, 5), integer_of(record, 6)
        down, across = integer_of(record, 7), integer_of(record, 8)
        lines = integer_of(record, 0) * tall
        # Columns of ``to`` that have a pixel of ``source``.
        left, right = max(0, across), min(columns, width + across)
        end = first_of(lines, thread + 1, threads)
        for line in range(first_of(lines, thread, threads), end):
            sample, row = line // tall, line % tall - down
            start = line * columns * wide
            if row < 0 or row >= height or right <= left:
                clear(to, start, columns * wide)
                continue
            clear(to, start, left * wide)
            first = ((sample * height + row) * width + left - across) * channels
            if channels == wide:
                copy(to, start + left * wide, source, first, (right - left) * wide)
            else:
                for pixel in range(right - left):
                    place = start + (left + pixel) * wide
                    copy(to, place, source, first + pixel * channels, channels)
                    clear(to, place + channels, wide - channels)
            clear(to, start + right * wide, (columns - right) * wide)

    return pad_images


@kernel
def _pack_weights(real: Real) -> Kernel:
    """Pack weights into blocks of some vectors of outputs, filled up with zeros."""

    def pack_weights(record: int, step: int, thread: int, threads: int) -> None:
        source, to = pointer_of(record, 0, real), pointer_of(record, 1, real)
        outputs, taps2, depth = integer_of(record, 2), integer_of(record, 4), integer_of(record, 5)
        taps, lanes = integer_of(record, 3) * taps2, lanes_of(real)
        from_output, from_depth = integer_of(record, 7), integer_of(record, 10)
        width = integer_of(record, 1) * lanes
        blocks = (outputs + width - 1) // width
        pieces = integer_of(record, 0) * blocks * taps
        end = first_of(pieces, thread + 1, threads)
        for piece in range(first_of(pieces, thread, threads), end):
            tap, block = piece % taps, piece // taps % blocks
            group, first = piece // (taps * blocks), block * width
            count = min(width, outputs - first)
            wide = (count + lanes - 1) // lanes * lanes
            start = group * integer_of(record, 6) + first * from_output
            start += tap // taps2 * integer_of(record, 8) + tap % taps2 * integer_of(record, 9)
            place = group * integer_of(record, 11) + block * integer_of(record, 12)
            place += tap * depth * wide
            if from_output == 1:
                for k in range(depth):
                    for lane in range(0, count, lanes):
                        some = load(source, start + k * from_depth + lane, min(lanes, count - lane))
                        store(to, place + k * wide + lane, some, lanes)
            else:
                for k in range(depth):
                    out, taken = (
                        offset(to, place + k * wide),
                        offset(source, start + k * from_depth),
                    )
                    for lane in range(count):
                        out[lane] = taken[lane * from_output]
                    for lane in range(count, wide):
                        out[lane] = real(0)

    return pack_weights


@kernel
def _pack_phases(real: Real) -> Kernel:
    """Pack weights of some column phases of a strided data gradient side by side."""

    def pack_phases(record: int, step: int, thread: int, threads: int) -> None:
        source, to, lanes = pointer_of(record, 0, real), pointer_of(record, 1, real), lanes_of(real)
        inputs, taps2, depth = integer_of(record, 2), integer_of(record, 4), integer_of(record, 5)
        outputs, taps = integer_of(record, 1) * inputs, integer_of(record, 3) * taps2
        width, from_column = integer_of(record, 0) * lanes, integer_of(record, 7)
        for tap in range(first_of(taps, thread, threads), first_of(taps, thread + 1, threads)):
            column = integer_of(record, 9) + tap % taps2 * integer_of(record, 10)
            start = tap // taps2 * integer_of(record, 6) + column * from_column
            for first in range(0, outputs, width):
                count = min(width, outputs - first)
                wide = (count + lanes - 1) // lanes * lanes
                place = first // width * integer_of(record, 11) + tap * depth * wide
                for lane in range(count):
                    phase, channel = (first + lane) // inputs, (first + lane) % inputs
                    line = offset(
                        source, start + phase * from_column + channel * integer_of(record, 8)
                    )
                    out = offset(to, place + lane)
                    for k in range(depth):
                        out[k * wide] = line[k]
                for k in range(depth):
                    clear(to, place + k * wide + count, wide - count)

    return pack_phases


@kernel
def _sum_pixels(real: Real) -> Kernel:
    """``to[channel] = sum over pixels``."""

    def sum_pixels(record: int, step: int, thread: int, threads: int) -> None:
        source, to = pointer_of(record, 0, real), pointer_of(record, 1, real)
        pixels, channels, lanes = integer_of(record, 0), integer_of(record, 1), lanes_of(real)
        vectors = (channels + lanes - 1) // lanes
        end = first_of(vectors, thread + 1, threads)
        for piece in range(first_of(vectors, thread, threads), end):
            c = piece * lanes
            count = min(lanes, channels - c)
            total = spread_beside(0, np.float64, real)
            total = sum_of_pixels(total, source, c, pixels, channels, count, real)
            store(to, c, as_dtype(total, real), count)

    return sum_pixels
