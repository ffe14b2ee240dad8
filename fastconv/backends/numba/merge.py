"""Two arrays that become one."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.choices import LEAKY_GRADIENT, LEAKY_RELU
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pointers import first_in_blocks, first_of, pointer
from fastconv.backends.numba.vector_memory import load, store
from fastconv.backends.numba.vectors import as_dtype, lanes_of, select, spread, spread_beside

_ADD, _MULTIPLY = range(2)
"""Operations, in the order of fastconv/backends/compiled/rules/merge.py."""
_ELEMENTS_AT_ONCE = 1024
"""Whole vectors of the elements of a thread, of any instruction set."""
_CHANNELS_AT_ONCE = 64
"""Channels that are summed at once, as in fastconv/backends/compiled/rules/merge.py."""


@inlined
def _merge_run(n: Fields, x2: Any, first: int, end: int, behind: int, real: Real) -> None:
    """Elements ``first`` to ``end`` of the result; those of x2 are ``behind`` elements before."""
    x1, y = pointer(n.x1, real), pointer(n.y, real)
    other, slope, lanes = pointer(n.other, real), real(n.slope), lanes_of(real)
    operation, epilogue = n.operation, n.epilogue
    one = spread(1, real)
    for i in range(first, end, lanes):
        count = min(lanes, end - i)
        v, factor = load(x1, i, count), load(x2, i - behind, count)
        v = v * factor if operation == _MULTIPLY else v + factor
        if epilogue == LEAKY_RELU:
            v = select(v > 0, v, v * slope)
        elif epilogue == LEAKY_GRADIENT:
            v = v * select(load(other, i, count) > 0, one, slope)
        store(y, i, v, count)


@kernel(Kernel.MERGE_ELEMENTS)
def _merge_elements(real: Real) -> KernelFunction:
    def merge_elements(n: Fields, step: int, thread: int, threads: int) -> None:
        x2 = pointer(n.x2, real)
        rows, channels, pixels = n.rows, n.channels, n.pixels
        if pixels == 0:
            size = rows * channels
            first, end = (
                first_in_blocks(size, thread, threads), first_in_blocks(size, thread + 1, threads)
            )  # fmt: skip
            # Downwards, from what was written last: see kernels/cpu/norm.h.
            for number in range((end - first - 1) // _ELEMENTS_AT_ONCE, -1, -1):
                start = first + number * _ELEMENTS_AT_ONCE
                _merge_run(n, x2, start, min(end, start + _ELEMENTS_AT_ONCE), 0, real)
        else:
            for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
                start = row * channels
                behind = start - row // pixels * channels
                _merge_run(n, x2, start, start + channels, behind, real)

    return merge_elements


@kernel(Kernel.SUM_OF_EACH_IMAGE)
def _sum_of_each_image(real: Real) -> KernelFunction:
    """Summed in float64."""

    def sum_of_each_image(n: Fields, step: int, thread: int, threads: int) -> None:
        dy, x1, total = pointer(n.dy, real), pointer(n.x1, real), pointer(n.total, real)
        batch, pixels, channels, lanes = n.batch, n.pixels, n.channels, lanes_of(real)
        has_factor = n.x1 != 0
        pieces = (channels + _CHANNELS_AT_ONCE - 1) // _CHANNELS_AT_ONCE
        first, end = (
            first_of(batch * pieces, thread, threads),
            first_of(batch * pieces, thread + 1, threads),
        )
        for piece in range(first, end):
            image, channel = piece // pieces, piece % pieces * _CHANNELS_AT_ONCE
            last = min(channels, channel + _CHANNELS_AT_ONCE)
            for k in range(channel, last, lanes):
                count, sums = min(lanes, last - k), spread_beside(0, np.float64, real)
                for i in range(image * pixels, (image + 1) * pixels):
                    wide = as_dtype(load(dy, i * channels + k, count), np.float64)
                    if has_factor:
                        factor = as_dtype(load(x1, i * channels + k, count), np.float64)
                        wide = wide * factor
                    sums = sums + wide
                store(total, image * channels + k, as_dtype(sums, real), count)

    return sum_of_each_image


@kernel(Kernel.COPY_ROWS)
def _copy_rows(real: Real) -> KernelFunction:
    def copy_rows(n: Fields, step: int, thread: int, threads: int) -> None:
        x, y, lanes = pointer(n.x, real), pointer(n.y, real), lanes_of(real)
        rows, columns, x_row, y_row = n.rows, n.columns, n.x_row, n.y_row
        first, end = first_of(rows, thread, threads), first_of(rows, thread + 1, threads)
        left, right = 0, columns
        if rows == 1:
            first, end = 0, 1
            left = first_in_blocks(columns, thread, threads)
            right = first_in_blocks(columns, thread + 1, threads)
        for row in range(first, end):
            for k in range(left, right, lanes):
                count = min(lanes, right - k)
                store(y, row * y_row + k, load(x, row * x_row + k, count), count)

    return copy_rows


add_forward = contract_kernel(engine, "merge.add_forward", __name__)
add_backward = contract_kernel(engine, "merge.add_backward", __name__)
multiply_forward = contract_kernel(engine, "merge.multiply_forward", __name__)
multiply_backward = contract_kernel(engine, "merge.multiply_backward", __name__)
concatenate_forward = contract_kernel(engine, "merge.concatenate_forward", __name__)
concatenate_backward = contract_kernel(engine, "merge.concatenate_backward", __name__)
workspace_bytes = workspace_of_module(engine, "merge", __name__)
