"""Pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pixel_sums import sum_of_pixels
from fastconv.backends.numba.pointers import clear, first_of, pointer
from fastconv.backends.numba.vector_memory import load, load_beside, store
from fastconv.backends.numba.vectors import as_dtype, lanes_of, select, spread, spread_beside

# Channels are innermost: a window is a few vectors of contiguous channels.

_CELLS_SUMMED_NARROW = 16
"""Cells of a window that are summed in the dtype of the pixels: more are summed in float64."""
_CHANNELS_AT_ONCE = 64
"""Channels summed at once, as in fastconv/backends/compiled/rules/pool.py."""


@inlined
def _window(
    number: int, stride: int, kernel: int, before: int, size: int, after: int, count_padding: int
) -> tuple[int, int, int]:
    """First and end of a window on the image along an axis, and the cells an average counts."""
    start = number * stride - before
    stop = start + kernel
    first, end = max(0, start), min(stop, size)
    cells = end - first
    if count_padding:
        cells = min(stop, size + after) - start
    return first, end, cells


@inlined
def _rows_of_window(n: Fields, number: int) -> tuple[int, int, int]:
    return _window(
        number, n.stride_height, n.kernel_height, n.top, n.height, n.bottom, n.count_padding
    )


@inlined
def _columns_of_window(n: Fields, number: int) -> tuple[int, int, int]:
    return _window(
        number, n.stride_width, n.kernel_width, n.left, n.width, n.right, n.count_padding
    )


@inlined
def _windows_with(n: Fields, row: int) -> tuple[int, int]:
    """First and end of the rows of windows that hold a row of the image."""
    place = row + n.top
    past = place - n.kernel_height  # windows that start here or earlier end too soon
    first = 0 if past < 0 else past // n.stride_height + 1
    return first, min(n.out_height, place // n.stride_height + 1)


@inlined
def _larger(v: Any, index: int, most: Any, place: Any) -> tuple[Any, Any]:
    """Take a pixel unless it is not larger; a NaN is taken, and kept."""
    take = ~(v <= most) & (most == most)
    return select(take, v, most), select(take, index, place)


@kernel(Kernel.MAX_POOL2D_FORWARD)
def _max_pool2d_forward(real: Real) -> KernelFunction:
    def max_pool2d_forward(n: Fields, step: int, thread: int, threads: int) -> None:
        x, y, argmax = pointer(n.x, real), pointer(n.y, real), pointer(n.argmax, np.int32)
        channels, lanes = n.channels, lanes_of(real)
        height, width = n.height, n.width
        out_height, out_width = n.out_height, n.out_width
        rows = n.batch * out_height
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            image = row // out_height * height * width
            top, bottom, _ = _rows_of_window(n, row % out_height)
            for column in range(out_width):
                left, right, _ = _columns_of_window(n, column)
                for k in range(0, channels, lanes):
                    count, index = min(lanes, channels - k), top * width + left
                    start = (image + index) * channels + k
                    most = load(x, start, count)
                    place = spread_beside(index, np.int32, real)
                    if bottom - top == 2 and right - left == 2:
                        # By far the commonest window, without loops.
                        below = start + width * channels
                        v = load(x, start + channels, count)
                        most, place = _larger(v, index + 1, most, place)
                        v = load(x, below, count)
                        most, place = _larger(v, index + width, most, place)
                        v = load(x, below + channels, count)
                        most, place = _larger(v, index + width + 1, most, place)
                    else:
                        for i in range(top, bottom):
                            for j in range(left, right):
                                index = i * width + j
                                v = load(x, (image + index) * channels + k, count)
                                most, place = _larger(v, index, most, place)
                    to = (row * out_width + column) * channels + k
                    store(y, to, most, count)
                    store(argmax, to, place, count)

    return max_pool2d_forward


@kernel(Kernel.MAX_POOL2D_BACKWARD)
def _max_pool2d_backward(real: Real) -> KernelFunction:
    """A row of dx is made by one thread, from the windows that reach it, in their order."""

    def max_pool2d_backward(n: Fields, step: int, thread: int, threads: int) -> None:
        dy, argmax, dx = pointer(n.dy, real), pointer(n.argmax, np.int32), pointer(n.dx, real)
        channels, lanes = n.channels, lanes_of(real)
        height, width = n.height, n.width
        out_height, out_width = n.out_height, n.out_width
        rows = n.batch * height
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            clear(dx, row * width * channels, width * channels)
            first, end = _windows_with(n, row % height)
            for window in range(first, end):
                for column in range(out_width):
                    left, right, _ = _columns_of_window(n, column)
                    start = ((row // height * out_height + window) * out_width + column) * channels
                    for k in range(0, channels, lanes):
                        count = min(lanes, channels - k)
                        gradient = load(dy, start + k, count)
                        taken = load_beside(argmax, start + k, count, real)
                        for j in range(left, right):
                            mine = select(taken == row % height * width + j, gradient, 0)
                            to = (row * width + j) * channels + k
                            store(dx, to, load(dx, to, count) + mine, count)

    return max_pool2d_backward


@kernel(Kernel.MAX_POOL2D_BACKWARD_PAIRS)
def _max_pool2d_backward_pairs(real: Real) -> KernelFunction:
    """For windows of 2 x 2 side by side: every pixel is in one or in none. Pairs of rows."""

    def max_pool2d_backward_pairs(n: Fields, step: int, thread: int, threads: int) -> None:
        dy, argmax, dx = pointer(n.dy, real), pointer(n.argmax, np.int32), pointer(n.dx, real)
        channels, lanes = n.channels, lanes_of(real)
        height, width = n.height, n.width
        out_height, out_width = n.out_height, n.out_width
        of_image = (height + 1) // 2
        pairs = n.batch * of_image
        for pair in range(first_of(pairs, thread, threads), first_of(pairs, thread + 1, threads)):
            image, window = pair // of_image, pair % of_image
            line = (image * height + 2 * window) * width
            if window == out_height:
                clear(dx, line * channels, width * channels)  # the last of an odd number of rows
                continue
            for column in range(out_width):
                start = ((image * out_height + window) * out_width + column) * channels
                index = 2 * window * width + 2 * column
                to = (line + 2 * column) * channels
                for k in range(0, channels, lanes):
                    count = min(lanes, channels - k)
                    gradient = load(dy, start + k, count)
                    taken = load_beside(argmax, start + k, count, real)
                    for i in range(2):
                        for j in range(2):
                            mine = select(taken == index + i * width + j, gradient, 0)
                            store(dx, to + (i * width + j) * channels + k, mine, count)
            if width % 2:
                clear(dx, (line + width - 1) * channels, channels)
                clear(dx, (line + 2 * width - 1) * channels, channels)

    return max_pool2d_backward_pairs


@kernel(Kernel.AVG_POOL2D_FORWARD)
def _avg_pool2d_forward(real: Real) -> KernelFunction:
    def avg_pool2d_forward(n: Fields, step: int, thread: int, threads: int) -> None:
        x, y = pointer(n.x, real), pointer(n.y, real)
        channels, lanes = n.channels, lanes_of(real)
        height, width = n.height, n.width
        out_height, out_width = n.out_height, n.out_width
        rows = n.batch * out_height
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            image = row // out_height * height * width
            top, bottom, cells_down = _rows_of_window(n, row % out_height)
            for column in range(out_width):
                left, right, cells_across = _columns_of_window(n, column)
                share = real(1 / (cells_down * cells_across))
                for k in range(0, channels, lanes):
                    count, total = min(lanes, channels - k), spread(0, real)
                    if (bottom - top) * (right - left) > _CELLS_SUMMED_NARROW:
                        wide = spread_beside(0, np.float64, real)
                        for i in range(top, bottom):
                            at = (image + i * width + left) * channels + k
                            wide = sum_of_pixels(wide, x, at, right - left, channels, count, real)
                        wide = wide * (1 / (cells_down * cells_across))
                        place = (row * out_width + column) * channels + k
                        store(y, place, as_dtype(wide, real), count)
                        continue
                    for i in range(top, bottom):
                        for j in range(left, right):
                            total = total + load(x, (image + i * width + j) * channels + k, count)
                    store(y, (row * out_width + column) * channels + k, total * share, count)

    return avg_pool2d_forward


@kernel(Kernel.AVG_POOL2D_BACKWARD)
def _avg_pool2d_backward(real: Real) -> KernelFunction:
    """A row of dx is made by one thread, from the windows that reach it, in their order."""

    def avg_pool2d_backward(n: Fields, step: int, thread: int, threads: int) -> None:
        dy, dx = pointer(n.dy, real), pointer(n.dx, real)
        channels, lanes = n.channels, lanes_of(real)
        height, width = n.height, n.width
        out_height, out_width = n.out_height, n.out_width
        rows = n.batch * height
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            clear(dx, row * width * channels, width * channels)
            first, end = _windows_with(n, row % height)
            for window in range(first, end):
                _, _, cells_down = _rows_of_window(n, window)
                for column in range(out_width):
                    left, right, cells_across = _columns_of_window(n, column)
                    share = real(1 / (cells_down * cells_across))
                    start = ((row // height * out_height + window) * out_width + column) * channels
                    for k in range(0, channels, lanes):
                        count = min(lanes, channels - k)
                        mine = load(dy, start + k, count) * share
                        for j in range(left, right):
                            to = (row * width + j) * channels + k
                            store(dx, to, load(dx, to, count) + mine, count)

    return avg_pool2d_backward


@kernel(Kernel.GLOBAL_AVG_POOL2D_FORWARD)
def _global_avg_pool2d_forward(real: Real) -> KernelFunction:
    """Summed in float64."""

    def global_avg_pool2d_forward(n: Fields, step: int, thread: int, threads: int) -> None:
        x, y = pointer(n.x, real), pointer(n.y, real)
        batch, pixels, channels = n.batch, n.pixels, n.channels
        pieces, lanes = (channels + _CHANNELS_AT_ONCE - 1) // _CHANNELS_AT_ONCE, lanes_of(real)
        first, end = (
            first_of(batch * pieces, thread, threads),
            first_of(batch * pieces, thread + 1, threads),
        )
        for piece in range(first, end):
            image, channel = piece // pieces, piece % pieces * _CHANNELS_AT_ONCE
            last = min(channels, channel + _CHANNELS_AT_ONCE)
            for k in range(channel, last, lanes):
                count, total = min(lanes, last - k), spread_beside(0, np.float64, real)
                for i in range(image * pixels, (image + 1) * pixels):
                    total = total + as_dtype(load(x, i * channels + k, count), np.float64)
                store(y, image * channels + k, as_dtype(total * (1 / pixels), real), count)

    return global_avg_pool2d_forward


@kernel(Kernel.GLOBAL_AVG_POOL2D_BACKWARD)
def _global_avg_pool2d_backward(real: Real) -> KernelFunction:
    def global_avg_pool2d_backward(n: Fields, step: int, thread: int, threads: int) -> None:
        dy, dx, lanes = pointer(n.dy, real), pointer(n.dx, real), lanes_of(real)
        height, width, channels = n.height, n.width, n.channels
        rows, share = n.batch * height, real(1 / (height * width))
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            for j in range(row * width, (row + 1) * width):
                for k in range(0, channels, lanes):
                    count = min(lanes, channels - k)
                    gradient = load(dy, row // height * channels + k, count)
                    store(dx, j * channels + k, gradient * share, count)

    return global_avg_pool2d_backward


max_pool2d_forward = contract_kernel(engine, "pool.max_pool2d_forward", __name__)
max_pool2d_backward = contract_kernel(engine, "pool.max_pool2d_backward", __name__)
avg_pool2d_forward = contract_kernel(engine, "pool.avg_pool2d_forward", __name__)
avg_pool2d_backward = contract_kernel(engine, "pool.avg_pool2d_backward", __name__)
global_avg_pool2d_forward = contract_kernel(engine, "pool.global_avg_pool2d_forward", __name__)
global_avg_pool2d_backward = contract_kernel(engine, "pool.global_avg_pool2d_backward", __name__)
workspace_bytes = workspace_of_module(engine, "pool", __name__)
