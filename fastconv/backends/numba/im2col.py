"""Convolutions of NCHW images by the im2col matrix; see ``kernels/cpu/im2col.h``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.choices import (
    INIT_C,
    INIT_ROW_BIAS,
    INIT_ZERO,
    STORE,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.numba import tile_instructions as tile
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pointers import address_at, first_of, is_null, local, pointer
from fastconv.backends.numba.tile_functions import run_tile
from fastconv.backends.numba.tile_instructions import TILE_WORDS
from fastconv.backends.numba.vector_functions import even_lanes
from fastconv.backends.numba.vector_memory import load, store
from fastconv.backends.numba.vectors import lanes_of, spread

_ELEMENTS = 16384 + 64
"""Elements of the matrix that are there at a time, and what a copy writes too far."""


@inlined
def _zeros(matrix: Any, first: int, end: int, lanes: int, real: Real) -> None:
    """Fill elements with zeros; a part of a vector is written too far."""
    at, zero = first, spread(0, real)
    while at < end:
        store(matrix, at, zero, lanes)
        at += lanes


@inlined
def _run(
    x: Any, row: int, width: int, first: int, stride: int, matrix: Any, to: int, count: int,
    lanes: int, real: Real,
) -> None:  # fmt: skip
    """``matrix[to + t] = row[first + t * stride]``, 0 where that is no column."""
    t = min((stride - 1 - first) // stride, count) if first < 0 else 0
    inside = (width - first + stride - 1) // stride if first < width else 0
    end = max(t, min(inside, count))
    _zeros(matrix, to, to + t, lanes, real)
    start = row + first
    if stride == 1:
        while t + lanes <= end:
            store(matrix, to + t, load(x, start + t, lanes), lanes)
            t += lanes
        if t < end:
            store(matrix, to + t, load(x, start + t, end - t), lanes)
    else:
        if stride == 2:
            while t + lanes <= end and first + 2 * (t + lanes) <= width:
                at = start + 2 * t
                both = even_lanes(load(x, at, lanes), load(x, at + lanes, lanes))
                store(matrix, to + t, both, lanes)
                t += lanes
        elif stride == 4:
            while t + lanes <= end and first + 4 * (t + lanes) <= width:
                at = start + 4 * t
                a = even_lanes(load(x, at, lanes), load(x, at + lanes, lanes))
                b = even_lanes(load(x, at + 2 * lanes, lanes), load(x, at + 3 * lanes, lanes))
                store(matrix, to + t, even_lanes(a, b), lanes)
                t += lanes
        while t < end:
            matrix[to + t] = x[start + t * stride]
            t += 1
    _zeros(matrix, to + end, to + count, lanes, real)


@inlined
def _block(
    n: Fields, x: Any, image: int, first: int, count: int, k: int, depth: int, matrix: Any,
    start: int, pitch: int, lanes: int, real: Real,
) -> None:  # fmt: skip
    """Rows k to k + depth of the matrix, for some pixels; filled up with zeros to ``pitch``."""
    width, height, columns = n.width, n.height, n.columns
    taps_down, taps_across = n.taps_down, n.taps_across
    stride_across = n.stride_across
    across, down = k % taps_across, k // taps_across % taps_down
    plane = image + k // (taps_across * taps_down) * height * width
    top, left = first // columns * n.stride_down - n.top, first % columns
    for number in range(depth):
        to = start + number * pitch
        row, column, done = top + down * n.dilation_down, left, 0
        while done < count:
            run = min(columns - column, count - done)
            if row < 0 or row >= height:
                _zeros(matrix, to + done, to + done + run, lanes, real)
            else:
                _run(
                    x, plane + row * width, width,
                    column * stride_across - n.left + across * n.dilation_across, stride_across,
                    matrix, to + done, run, lanes, real,
                )  # fmt: skip
            done += run
            column = 0
            row += n.stride_down
        _zeros(matrix, to + count, to + pitch, lanes, real)
        across += 1
        if across == taps_across:
            across, down = 0, down + 1
            if down == taps_down:
                down, plane = 0, plane + height * width


@kernel(Kernel.IM2COL_TILES)
def _im2col_tiles(real: Real) -> KernelFunction:
    """``y[sample][output][pixel] = bias + sum over k of w[output][k] matrix[k][pixel]``."""

    def im2col_tiles(n: Fields, step: int, thread: int, threads: int) -> None:
        x, w, y = pointer(n.x, real), pointer(n.w, real), pointer(n.y, real)
        bias, lanes = pointer(n.bias, real), lanes_of(real)
        pixels, outputs = n.rows * n.columns, n.outputs
        depth = n.channels * n.taps_down * n.taps_across
        width, image = n.vectors * lanes, n.channels * n.height * n.width
        together, of_a_piece = n.pixels_together, n.outputs_together
        shares = (pixels + together - 1) // together
        parts = (outputs + of_a_piece - 1) // of_a_piece
        matrix, t = local(_ELEMENTS, real), local(TILE_WORDS, np.int64)
        t[tile.RUNS1], t[tile.RUNS2], t[tile.A_STRIDE], t[tile.C_ROW] = 1, 1, depth, pixels
        t[tile.A_RUN1], t[tile.B_RUN1], t[tile.A_RUN2], t[tile.B_RUN2] = 0, 0, 0, 0
        t[tile.EPILOGUE], t[tile.OTHER], t[tile.BIAS] = STORE, 0, 0
        call = address_at(t, 0)
        pieces = n.samples * n.groups * shares * parts
        for piece in range(
            first_of(pieces, thread, threads), first_of(pieces, thread + 1, threads)
        ):
            part, share = piece % parts, piece // parts % shares
            images = piece // (parts * shares)
            of_group = images % n.groups * outputs
            first = share * together
            last = min(pixels, first + together)
            start = part * of_a_piece
            end = min(outputs, start + of_a_piece)
            for k in range(0, depth, n.depth_together):
                deep = min(depth - k, n.depth_together)
                for p in range(first, last, width):
                    count = min(width, last - p)
                    _block(
                        n, x, images * image, p, count, k, deep, matrix, (p - first) * deep,
                        (count + lanes - 1) // lanes * lanes, lanes, real,
                    )  # fmt: skip
                t[tile.DEPTH] = deep
                t[tile.INIT] = INIT_C if k > 0 else INIT_ZERO if is_null(bias) else INIT_ROW_BIAS
                for output in range(start, end, n.tile_rows):
                    rows = min(n.tile_rows, end - output)
                    t[tile.A] = address_at(w, (of_group + output) * depth + k)
                    if not is_null(bias):
                        t[tile.BIAS] = address_at(bias, of_group + output)
                    for p in range(first, last, width):
                        columns = min(width, last - p)
                        vectors = (columns + lanes - 1) // lanes
                        t[tile.COLUMNS], t[tile.B_STEP] = columns, vectors * lanes
                        t[tile.B] = address_at(matrix, (p - first) * deep)
                        t[tile.C] = address_at(y, (images * outputs + output) * pixels + p)
                        run_tile(n, rows, vectors, call)

    return im2col_tiles
