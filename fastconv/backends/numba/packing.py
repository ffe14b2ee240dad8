"""Copies for convolutions: padded images, and weights in blocks; and sums over pixels."""

from __future__ import annotations

import numpy as np

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.numba.compilation import KernelFunction, Real, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pixel_sums import sum_of_pixels
from fastconv.backends.numba.pointers import clear, copy, first_of, offset, pointer
from fastconv.backends.numba.vector_memory import load, store
from fastconv.backends.numba.vectors import as_dtype, lanes_of, spread_beside


@kernel(Kernel.PAD_IMAGES)
def _pad_images(real: Real) -> KernelFunction:
    """Copy images into zeros: padding around them, or a crop where it is negative; channels."""

    def pad_images(n: Fields, step: int, thread: int, threads: int) -> None:
        source, to = pointer(n.x, real), pointer(n.y, real)
        height, width, channels = n.height, n.width, n.channels
        tall, columns, wide = n.out_height, n.out_width, n.out_channels
        down, across = n.top, n.left
        lines = n.samples * tall
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


@kernel(Kernel.PACK_WEIGHTS)
def _pack_weights(real: Real) -> KernelFunction:
    """Pack weights into blocks of some vectors of outputs, filled up with zeros."""

    def pack_weights(n: Fields, step: int, thread: int, threads: int) -> None:
        source, to = pointer(n.w, real), pointer(n.packed, real)
        outputs, taps2, depth = n.outputs, n.taps_across, n.depth
        taps, lanes = n.taps_down * taps2, lanes_of(real)
        from_output, from_depth = n.w_output, n.w_depth
        width = n.vectors * lanes
        blocks = (outputs + width - 1) // width
        pieces = n.groups * blocks * taps
        end = first_of(pieces, thread + 1, threads)
        for piece in range(first_of(pieces, thread, threads), end):
            tap, block = piece % taps, piece // taps % blocks
            group, first = piece // (taps * blocks), block * width
            count = min(width, outputs - first)
            wide = (count + lanes - 1) // lanes * lanes
            start = group * n.w_group + first * from_output
            start += tap // taps2 * n.w_down + tap % taps2 * n.w_across
            place = group * n.packed_group + block * n.packed_block
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


@kernel(Kernel.PACK_SUBPIXEL_PHASES)
def _pack_subpixel_phases(real: Real) -> KernelFunction:
    """Pack weights of some column phases of a strided data gradient side by side."""

    def pack_subpixel_phases(n: Fields, step: int, thread: int, threads: int) -> None:
        source, to, lanes = pointer(n.w, real), pointer(n.packed, real), lanes_of(real)
        inputs, taps2, depth = n.inputs, n.taps_across, n.depth
        outputs, taps = n.phases * inputs, n.taps_down * taps2
        width, from_column = n.vectors * lanes, n.w_across
        for tap in range(first_of(taps, thread, threads), first_of(taps, thread + 1, threads)):
            column = n.first + tap % taps2 * n.step
            start = tap // taps2 * n.w_down + column * from_column
            for first in range(0, outputs, width):
                count = min(width, outputs - first)
                wide = (count + lanes - 1) // lanes * lanes
                place = first // width * n.packed_block + tap * depth * wide
                for lane in range(count):
                    phase, channel = (first + lane) // inputs, (first + lane) % inputs
                    line = offset(source, start + phase * from_column + channel * n.w_input)
                    out = offset(to, place + lane)
                    for k in range(depth):
                        out[k * wide] = line[k]
                for k in range(depth):
                    clear(to, place + k * wide + count, wide - count)

    return pack_subpixel_phases


@kernel(Kernel.SUM_PIXELS)
def _sum_pixels(real: Real) -> KernelFunction:
    """``to[channel] = sum over pixels``."""

    def sum_pixels(n: Fields, step: int, thread: int, threads: int) -> None:
        source, to = pointer(n.x, real), pointer(n.total, real)
        pixels, channels, lanes = n.pixels, n.channels, lanes_of(real)
        vectors = (channels + lanes - 1) // lanes
        end = first_of(vectors, thread + 1, threads)
        for piece in range(first_of(vectors, thread, threads), end):
            c = piece * lanes
            count = min(lanes, channels - c)
            total = spread_beside(0, np.float64, real)
            total = sum_of_pixels(total, source, c, pixels, channels, count, real)
            store(to, c, as_dtype(total, real), count)

    return sum_pixels
