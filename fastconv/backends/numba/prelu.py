"""A ReLU with a learned slope below 0: one, or one for each channel."""

from __future__ import annotations

import numpy as np

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import KernelFunction, Real, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pointers import first_of, pointer
from fastconv.backends.numba.vector_memory import load, store
from fastconv.backends.numba.vectors import as_dtype, lanes_of, select, spread, spread_beside

# As in fastconv/backends/compiled/instructions/layouts/rows.py.
_ROWS_OF_A_BLOCK = 256


@kernel(Kernel.PRELU_FORWARD)
def _prelu_forward(real: Real) -> KernelFunction:
    """``x`` where positive, else slope * x."""

    def prelu_forward(n: Fields, step: int, thread: int, threads: int) -> None:
        x, slope, y = pointer(n.x, real), pointer(n.slope, real), pointer(n.y, real)
        rows, channels, lanes = n.rows, n.channels, lanes_of(real)
        first, end = first_of(rows, thread, threads), first_of(rows, thread + 1, threads)
        if n.slopes == 1:
            only = spread(slope[0], real)
            for i in range(first * channels, end * channels, lanes):
                count = min(lanes, end * channels - i)
                v = load(x, i, count)
                store(y, i, select(v > 0, v, v * only), count)
            return
        for k in range(0, channels, lanes):
            count = min(lanes, channels - k)
            own = load(slope, k, count)
            for row in range(first, end):
                v = load(x, row * channels + k, count)
                store(y, row * channels + k, select(v > 0, v, v * own), count)

    return prelu_forward


@kernel(Kernel.PRELU_BACKWARD)
def _prelu_backward(real: Real) -> KernelFunction:
    """The gradient of x, and for each block of rows the sums of the gradients of the slopes."""

    def prelu_backward(n: Fields, step: int, thread: int, threads: int) -> None:
        dy, x, slope = pointer(n.dy, real), pointer(n.x, real), pointer(n.slope, real)
        dx, sums = pointer(n.dx, real), pointer(n.sums, np.float64)
        rows, channels, lanes = n.rows, n.channels, lanes_of(real)
        blocks = (rows + _ROWS_OF_A_BLOCK - 1) // _ROWS_OF_A_BLOCK
        one = spread(1, real)
        for block in range(
            first_of(blocks, thread, threads), first_of(blocks, thread + 1, threads)
        ):
            end = min(rows, (block + 1) * _ROWS_OF_A_BLOCK)
            for k in range(0, channels, lanes):
                count = min(lanes, channels - k)
                own = spread(slope[0], real)
                if n.slopes > 1:
                    own = load(slope, k, count)
                total = spread_beside(0, np.float64, real)
                for row in range(block * _ROWS_OF_A_BLOCK, end):
                    i = row * channels + k
                    gradient, v = load(dy, i, count), load(x, i, count)
                    product = as_dtype(gradient, np.float64) * as_dtype(v, np.float64)
                    total = total + select(v > 0, 0, product)
                    store(dx, i, gradient * select(v > 0, one, own), count)
                store(sums, block * channels + k, total, count)

    return prelu_backward


@kernel(Kernel.PRELU_SLOPES)
def _prelu_slopes(real: Real) -> KernelFunction:
    """The sums of all blocks; with one slope, of all channels too."""

    def prelu_slopes(n: Fields, step: int, thread: int, threads: int) -> None:
        sums, dslope = pointer(n.sums, np.float64), pointer(n.dslope, real)
        channels = n.channels
        blocks = (n.rows + _ROWS_OF_A_BLOCK - 1) // _ROWS_OF_A_BLOCK
        if thread != 0:
            return
        together = 0.0
        for k in range(channels):
            total = 0.0
            for block in range(blocks):
                total += sums[block * channels + k]
            if n.slopes > 1:
                dslope[k] = real(total)
            together += total
        if n.slopes == 1:
            dslope[0] = real(together)

    return prelu_slopes


prelu_forward = contract_kernel(engine, "prelu.prelu_forward", __name__)
prelu_backward = contract_kernel(engine, "prelu.prelu_backward", __name__)
workspace_bytes = workspace_of_module(engine, "prelu", __name__)
