"""Pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import Kernel, Real, inlined, kernel
from fastconv.backends.numba.pixel_sums import sum_of_pixels
from fastconv.backends.numba.pointers import clear, first_of, integer_of, pointer_of
from fastconv.backends.numba.vector_memory import load, load_beside, store
from fastconv.backends.numba.vectors import as_dtype, lanes_of, select, spread, spread_beside
from fastconv.plans.operation import InputSpec
from fastconv.spec import PoolSpec

# Channels are innermost: a window is a few vectors of contiguous channels. The record of a kernel
# over windows has these integers.
_BATCH, _CHANNELS, _HEIGHT, _WIDTH, _OUT_HEIGHT, _OUT_WIDTH = range(6)
_KERNEL, _STRIDE, _BEFORE, _AFTER, _COUNT_PADDING = 6, 8, 10, 12, 14
"""From _KERNEL to _AFTER two numbers each, for the rows and for the columns."""

_CELLS_SUMMED_NARROW = 16
"""Of a window, in the dtype of the pixels: more are summed in float64."""
_CHANNELS_AT_ONCE = 64
"""As in fastconv/backends/compiled/rules/pool.py."""


@inlined
def _window(record: int, axis: int, number: int) -> tuple[int, int, int]:
    """First and end of a window on the image along an axis, and the cells an average counts."""
    size = integer_of(record, _HEIGHT + axis)
    start = number * integer_of(record, _STRIDE + axis) - integer_of(record, _BEFORE + axis)
    stop = start + integer_of(record, _KERNEL + axis)
    first, end = max(0, start), min(stop, size)
    cells = end - first
    if integer_of(record, _COUNT_PADDING):
        cells = min(stop, size + integer_of(record, _AFTER + axis)) - start
    return first, end, cells


@inlined
def _windows_with(record: int, row: int) -> tuple[int, int]:
    """First and end of the rows of windows that hold a row of the image."""
    stride, place = integer_of(record, _STRIDE), row + integer_of(record, _BEFORE)
    past = place - integer_of(record, _KERNEL)  # windows that start here or earlier end too soon
    first = 0 if past < 0 else past // stride + 1
    return first, min(integer_of(record, _OUT_HEIGHT), place // stride + 1)


@inlined
def _larger(v: Any, index: int, most: Any, place: Any) -> tuple[Any, Any]:
    """Take a pixel unless it is not larger; a NaN is taken, and kept."""
    take = ~(v <= most) & (most == most)
    return select(take, v, most), select(take, index, place)


@kernel
def _max_pool2d_forward(real: Real) -> Kernel:
    def max_pool2d_forward(record: int, step: int, thread: int, threads: int) -> None:
        x, y, where = (
            pointer_of(record, 0, real),
            pointer_of(record, 1, real),
            pointer_of(record, 2, np.int32),
        )
        channels, lanes = integer_of(record, _CHANNELS), lanes_of(real)
        height, width = integer_of(record, _HEIGHT), integer_of(record, _WIDTH)
        out_height, out_width = integer_of(record, _OUT_HEIGHT), integer_of(record, _OUT_WIDTH)
        rows = integer_of(record, _BATCH) * out_height
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            image = row // out_height * height * width
            top, bottom, _ = _window(record, 0, row % out_height)
            for column in range(out_width):
                left, right, _ = _window(record, 1, column)
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
                    store(where, to, place, count)

    return max_pool2d_forward


@kernel
def _max_pool2d_backward(real: Real) -> Kernel:
    """A row of dx is made by one thread, from the windows that reach it, in their order."""

    def max_pool2d_backward(record: int, step: int, thread: int, threads: int) -> None:
        dy, where, dx = (
            pointer_of(record, 0, real),
            pointer_of(record, 1, np.int32),
            pointer_of(record, 2, real),
        )
        channels, lanes = integer_of(record, _CHANNELS), lanes_of(real)
        height, width = integer_of(record, _HEIGHT), integer_of(record, _WIDTH)
        out_height, out_width = integer_of(record, _OUT_HEIGHT), integer_of(record, _OUT_WIDTH)
        rows = integer_of(record, _BATCH) * height
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            clear(dx, row * width * channels, width * channels)
            first, end = _windows_with(record, row % height)
            for window in range(first, end):
                for column in range(out_width):
                    left, right, _ = _window(record, 1, column)
                    start = ((row // height * out_height + window) * out_width + column) * channels
                    for k in range(0, channels, lanes):
                        count = min(lanes, channels - k)
                        gradient = load(dy, start + k, count)
                        taken = load_beside(where, start + k, count, real)
                        for j in range(left, right):
                            mine = select(taken == row % height * width + j, gradient, 0)
                            to = (row * width + j) * channels + k
                            store(dx, to, load(dx, to, count) + mine, count)

    return max_pool2d_backward


@kernel
def _max_pool2d_backward_pairs(real: Real) -> Kernel:
    """For windows of 2 x 2 side by side: every pixel is in one or in none. Pairs of rows."""

    def max_pool2d_backward_pairs(record: int, step: int, thread: int, threads: int) -> None:
        dy, where, dx = (
            pointer_of(record, 0, real),
            pointer_of(record, 1, np.int32),
            pointer_of(record, 2, real),
        )
        channels, lanes = integer_of(record, _CHANNELS), lanes_of(real)
        height, width = integer_of(record, _HEIGHT), integer_of(record, _WIDTH)
        out_height, out_width = integer_of(record, _OUT_HEIGHT), integer_of(record, _OUT_WIDTH)
        of_image = (height + 1) // 2
        pairs = integer_of(record, _BATCH) * of_image
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
                    taken = load_beside(where, start + k, count, real)
                    for i in range(2):
                        for j in range(2):
                            mine = select(taken == index + i * width + j, gradient, 0)
                            store(dx, to + (i * width + j) * channels + k, mine, count)
            if width % 2:
                clear(dx, (line + width - 1) * channels, channels)
                clear(dx, (line + 2 * width - 1) * channels, channels)

    return max_pool2d_backward_pairs


@kernel
def _avg_pool2d_forward(real: Real) -> Kernel:
    def avg_pool2d_forward(record: int, step: int, thread: int, threads: int) -> None:
        x, y = pointer_of(record, 0, real), pointer_of(record, 1, real)
        channels, lanes = integer_of(record, _CHANNELS), lanes_of(real)
        height, width = integer_of(record, _HEIGHT), integer_of(record, _WIDTH)
        out_height, out_width = integer_of(record, _OUT_HEIGHT), integer_of(record, _OUT_WIDTH)
        rows = integer_of(record, _BATCH) * out_height
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            image = row // out_height * height * width
            top, bottom, cells_down = _window(record, 0, row % out_height)
            for column in range(out_width):
                left, right, cells_across = _window(record, 1, column)
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


@kernel
def _avg_pool2d_backward(real: Real) -> Kernel:
    """A row of dx is made by one thread, from the windows that reach it, in their order."""

    def avg_pool2d_backward(record: int, step: int, thread: int, threads: int) -> None:
        dy, dx = pointer_of(record, 0, real), pointer_of(record, 1, real)
        channels, lanes = integer_of(record, _CHANNELS), lanes_of(real)
        height, width = integer_of(record, _HEIGHT), integer_of(record, _WIDTH)
        out_height, out_width = integer_of(record, _OUT_HEIGHT), integer_of(record, _OUT_WIDTH)
        rows = integer_of(record, _BATCH) * height
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            clear(dx, row * width * channels, width * channels)
            first, end = _windows_with(record, row % height)
            for window in range(first, end):
                _, _, cells_down = _window(record, 0, window)
                for column in range(out_width):
                    left, right, cells_across = _window(record, 1, column)
                    share = real(1 / (cells_down * cells_across))
                    start = ((row // height * out_height + window) * out_width + column) * channels
                    for k in range(0, channels, lanes):
                        count = min(lanes, channels - k)
                        mine = load(dy, start + k, count) * share
                        for j in range(left, right):
                            to = (row * width + j) * channels + k
                            store(dx, to, load(dx, to, count) + mine, count)

    return avg_pool2d_backward


@kernel
def _global_avg_pool2d_forward(real: Real) -> Kernel:
    """Summed in float64."""

    def global_avg_pool2d_forward(record: int, step: int, thread: int, threads: int) -> None:
        x, y = pointer_of(record, 0, real), pointer_of(record, 1, real)
        batch, pixels, channels = (
            integer_of(record, 0),
            integer_of(record, 1),
            integer_of(record, 2),
        )
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


@kernel
def _global_avg_pool2d_backward(real: Real) -> Kernel:
    def global_avg_pool2d_backward(record: int, step: int, thread: int, threads: int) -> None:
        dy, dx, lanes = pointer_of(record, 0, real), pointer_of(record, 1, real), lanes_of(real)
        height, width, channels = (
            integer_of(record, 1),
            integer_of(record, 2),
            integer_of(record, 3),
        )
        rows, share = integer_of(record, 0) * height, real(1 / (height * width))
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            for j in range(row * width, (row + 1) * width):
                for k in range(0, channels, lanes):
                    count = min(lanes, channels - k)
                    gradient = load(dy, row // height * channels + k, count)
                    store(dx, j * channels + k, gradient * share, count)

    return global_avg_pool2d_backward


def max_pool2d_forward(
    spec: PoolSpec,
    x: np.ndarray,
    y: np.ndarray,
    where: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Largest pixel of each window, and its flat index in the unpadded H*W plane."""
    engine.execute("pool.max_pool2d_forward", spec, x, y, where, workspace)


def max_pool2d_backward(
    spec: PoolSpec,
    dy: np.ndarray,
    where: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Send each window's gradient to the pixel it took."""
    engine.execute("pool.max_pool2d_backward", spec, dy, where, dx, workspace)


def avg_pool2d_forward(
    spec: PoolSpec,
    x: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Mean of each window."""
    engine.execute("pool.avg_pool2d_forward", spec, x, y, workspace)


def avg_pool2d_backward(
    spec: PoolSpec,
    dy: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Spread each window's gradient evenly over its pixels."""
    engine.execute("pool.avg_pool2d_backward", spec, dy, dx, workspace)


def global_avg_pool2d_forward(
    spec: InputSpec,
    x: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Mean over all pixels: (batch, height, width, channels) to (batch, channels)."""
    engine.execute("pool.global_avg_pool2d_forward", spec, x, y, workspace)


def global_avg_pool2d_backward(
    spec: InputSpec,
    dy: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Spread the gradient evenly over all pixels."""
    engine.execute("pool.global_avg_pool2d_backward", spec, dy, dx, workspace)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return engine.workspace_bytes(f"pool.{kernel}", spec, dtype)
