"""Batch normalisation."""

from __future__ import annotations

import numpy as np

from fastconv.backends.compiled.instructions.choices import LEAKY_RELU
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pointers import first_of, pointer
from fastconv.backends.numba.vector_functions import square_root
from fastconv.backends.numba.vector_memory import load, load_beside, store
from fastconv.backends.numba.vectors import as_dtype, lanes_of, select, spread_beside

# A sum over all rows is made of the sums of blocks of rows, in float64, which are added in order:
# the size of a block is fixed, so that the number of threads changes nothing. A block and a piece
# of the channels are small enough for the second-level cache, so that they are read twice at the
# cost of once. Both numbers are those of fastconv/backends/compiled/rules/norm.py. Passes go
# upwards and downwards in turns, as in kernels/cpu/norm.h, which says why.
_ROWS_OF_A_BLOCK = 256
_CHANNELS_OF_A_PIECE = 64
_ELEMENTS_AT_ONCE = 2048
"""Elements of rows that elementwise passes do together, one vector of channels after the other: its
factors stay in registers meanwhile. More would not be read in the order of memory."""


@inlined
def _piece(number: int, rows: int, channels: int) -> tuple[int, int, int, int, int]:
    """Block, first row and end, first channel and end of a piece of a block."""
    pieces = (channels + _CHANNELS_OF_A_PIECE - 1) // _CHANNELS_OF_A_PIECE
    block, piece = number // pieces, number % pieces
    row, channel = block * _ROWS_OF_A_BLOCK, piece * _CHANNELS_OF_A_PIECE
    end = min(rows, row + _ROWS_OF_A_BLOCK)
    return block, row, end, channel, min(channels, channel + _CHANNELS_OF_A_PIECE)


@inlined
def _pieces_of_threads(rows: int, channels: int, thread: int, threads: int) -> tuple[int, int]:
    """The first piece of all blocks that a thread does, and the end."""
    blocks = (rows + _ROWS_OF_A_BLOCK - 1) // _ROWS_OF_A_BLOCK
    pieces = (channels + _CHANNELS_OF_A_PIECE - 1) // _CHANNELS_OF_A_PIECE
    count = blocks * pieces
    return first_of(count, thread, threads), first_of(count, thread + 1, threads)


@inlined
def _channels_of_threads(channels: int, thread: int, threads: int) -> tuple[int, int]:
    """The first channel that a thread does, and the end: whole pieces."""
    pieces = (channels + _CHANNELS_OF_A_PIECE - 1) // _CHANNELS_OF_A_PIECE
    first = first_of(pieces, thread, threads) * _CHANNELS_OF_A_PIECE
    return first, min(channels, first_of(pieces, thread + 1, threads) * _CHANNELS_OF_A_PIECE)


@kernel(Kernel.NORM_SUMS)
def _norm_sums(real: Real) -> KernelFunction:
    """Sums of each block: of x, and that of the squared distances from the block's own mean."""

    def norm_sums(n: Fields, step: int, thread: int, threads: int) -> None:
        x, sums = pointer(n.x, real), pointer(n.sums, np.float64)
        rows, channels, lanes = n.rows, n.channels, lanes_of(real)
        begin, finish = _pieces_of_threads(rows, channels, thread, threads)
        for number in range(finish - 1, begin - 1, -1):  # from what was written last
            block, first, end, channel, last = _piece(number, rows, channels)
            for k in range(channel, last, lanes):
                count = min(lanes, last - k)
                total = spread_beside(0, np.float64, real)
                for row in range(first, end):
                    total = total + as_dtype(load(x, row * channels + k, count), np.float64)
                mean = total / float(end - first)
                squares = spread_beside(0, np.float64, real)
                for row in range(first, end):
                    wide = as_dtype(load(x, row * channels + k, count), np.float64)
                    squares = squares + (wide - mean) * (wide - mean)
                store(sums, 2 * block * channels + k, total, count)
                store(sums, (2 * block + 1) * channels + k, squares, count)

    return norm_sums


@kernel(Kernel.NORM_STATISTICS)
def _norm_statistics(real: Real) -> KernelFunction:
    """Mean and inverse std of all rows, the running statistics, and gamma / std."""

    def norm_statistics(n: Fields, step: int, thread: int, threads: int) -> None:
        sums, gamma = pointer(n.sums, np.float64), pointer(n.gamma, real)
        running_mean, running_variance = (
            pointer(n.running_mean, real),
            pointer(n.running_variance, real),
        )
        mean, inverse_std = pointer(n.mean, real), pointer(n.inverse_std, real)
        factor, rows, channels = pointer(n.factor, real), n.rows, n.channels
        epsilon, momentum, lanes = n.epsilon, n.momentum, lanes_of(real)
        blocks = (rows + _ROWS_OF_A_BLOCK - 1) // _ROWS_OF_A_BLOCK
        first, end = _channels_of_threads(channels, thread, threads)
        for k in range(first, end, lanes):
            count = min(lanes, end - k)
            centre = spread_beside(0, np.float64, real)
            squares = centre
            inverse = centre
            if rows > 0:
                for block in range(blocks):
                    centre = centre + load_beside(sums, 2 * block * channels + k, count, real)
                centre = centre / float(rows)
                # Squares around the mean of all: those around a block's mean, and that mean's
                # distance for each row (Chan, Golub & LeVeque, The American Statistician 37, 1983).
                for block in range(blocks):
                    size = float(min(_ROWS_OF_A_BLOCK, rows - block * _ROWS_OF_A_BLOCK))
                    own = load_beside(sums, 2 * block * channels + k, count, real)
                    inner = load_beside(sums, (2 * block + 1) * channels + k, count, real)
                    distance = own / size - centre
                    squares = squares + (inner + distance * distance * size)
                inverse = 1 / square_root(squares / float(rows) + epsilon)
                old_mean = as_dtype(load(running_mean, k, count), np.float64)
                old_variance = as_dtype(load(running_variance, k, count), np.float64)
                # The unbiased variance, if there is one.
                variance = squares / float(max(1, rows - 1))
                new_mean = old_mean * (1 - momentum) + centre * momentum
                new_variance = old_variance * (1 - momentum) + variance * momentum
                store(running_mean, k, as_dtype(new_mean, real), count)
                store(running_variance, k, as_dtype(new_variance, real), count)
            store(mean, k, as_dtype(centre, real), count)
            store(inverse_std, k, as_dtype(inverse, real), count)
            wide = as_dtype(load(gamma, k, count), np.float64) * inverse
            if rows == 0:
                wide = inverse
            store(factor, k, as_dtype(wide, real), count)

    return norm_statistics


@kernel(Kernel.NORM_FACTOR)
def _norm_factor(real: Real) -> KernelFunction:
    """``gamma / sqrt(variance + epsilon)``."""

    def norm_factor(n: Fields, step: int, thread: int, threads: int) -> None:
        gamma, variance = pointer(n.gamma, real), pointer(n.variance, real)
        factor, channels, lanes = pointer(n.factor, real), n.channels, lanes_of(real)
        for k in range(0, channels, lanes):
            count = min(lanes, channels - k)
            wide = as_dtype(load(gamma, k, count), np.float64)
            std = square_root(as_dtype(load(variance, k, count), np.float64) + n.epsilon)
            store(factor, k, as_dtype(wide / std, real), count)

    return norm_factor


@kernel(Kernel.NORM_APPLY)
def _norm_apply(real: Real) -> KernelFunction:
    """``y = (x - mean) * factor + beta``, plus what is added, and the epilogue."""

    def norm_apply(n: Fields, step: int, thread: int, threads: int) -> None:
        x, mean, factor = pointer(n.x, real), pointer(n.mean, real), pointer(n.factor, real)
        beta, y, addend = pointer(n.beta, real), pointer(n.y, real), pointer(n.addend, real)
        rows, channels, lanes = n.rows, n.channels, lanes_of(real)
        adds, ends, slope = n.addend != 0, n.epilogue == LEAKY_RELU, real(n.slope)
        end, together = first_of(rows, thread + 1, threads), max(1, _ELEMENTS_AT_ONCE // channels)
        for block in range(first_of(rows, thread, threads), end, together):
            for k in range(0, channels, lanes):
                count = min(lanes, channels - k)
                centre, scale = load(mean, k, count), load(factor, k, count)
                shift = load(beta, k, count)
                for row in range(block, min(end, block + together)):
                    i = row * channels + k
                    v = (load(x, i, count) - centre) * scale + shift
                    if adds:
                        v = v + load(addend, i, count)
                    if ends:
                        v = select(v > 0, v, v * slope)
                    store(y, i, v, count)

    return norm_apply


@kernel(Kernel.NORM_GRADIENT_SUMS)
def _norm_gradient_sums(real: Real) -> KernelFunction:
    """Sums of each block: of dy, and of dy * z with z = (x - mean) * inverse_std."""

    def norm_gradient_sums(n: Fields, step: int, thread: int, threads: int) -> None:
        dy, x = pointer(n.dy, real), pointer(n.x, real)
        mean, inverse_std = pointer(n.mean, real), pointer(n.inverse_std, real)
        sums, lanes = pointer(n.sums, np.float64), lanes_of(real)
        rows, channels = n.rows, n.channels
        begin, finish = _pieces_of_threads(rows, channels, thread, threads)
        for number in range(begin, finish):
            block, first, end, channel, last = _piece(number, rows, channels)
            for k in range(channel, last, lanes):
                count = min(lanes, last - k)
                centre, inverse = load(mean, k, count), load(inverse_std, k, count)
                total = spread_beside(0, np.float64, real)
                products = total
                for row in range(first, end):
                    i = row * channels + k
                    gradient = as_dtype(load(dy, i, count), np.float64)
                    z = as_dtype((load(x, i, count) - centre) * inverse, np.float64)
                    total, products = total + gradient, products + gradient * z
                store(sums, 2 * block * channels + k, total, count)
                store(sums, (2 * block + 1) * channels + k, products, count)

    return norm_gradient_sums


@kernel(Kernel.NORM_GRADIENTS)
def _norm_gradients(real: Real) -> KernelFunction:
    """Sums of dy and of dy * z; their means and gamma * inverse_std for dx."""

    def norm_gradients(n: Fields, step: int, thread: int, threads: int) -> None:
        sums, gamma = pointer(n.sums, np.float64), pointer(n.gamma, real)
        inverse_std, dgamma = pointer(n.inverse_std, real), pointer(n.dgamma, real)
        dbeta, means, factor = (
            pointer(n.dbeta, real),
            pointer(n.means, real),
            pointer(n.factor, real),
        )
        rows, channels, lanes = n.rows, n.channels, lanes_of(real)
        blocks = (rows + _ROWS_OF_A_BLOCK - 1) // _ROWS_OF_A_BLOCK
        first, end = _channels_of_threads(channels, thread, threads)
        share = 1 / float(max(1, rows))
        for k in range(first, end, lanes):
            count = min(lanes, end - k)
            total = spread_beside(0, np.float64, real)
            products = total
            for block in range(blocks):
                total = total + load_beside(sums, 2 * block * channels + k, count, real)
                products = products + load_beside(sums, (2 * block + 1) * channels + k, count, real)
            store(dbeta, k, as_dtype(total, real), count)
            store(dgamma, k, as_dtype(products, real), count)
            store(means, k, as_dtype(total * share, real), count)
            store(means, channels + k, as_dtype(products * share, real), count)
            store(factor, k, load(gamma, k, count) * load(inverse_std, k, count), count)

    return norm_gradients


@kernel(Kernel.NORM_BACKWARD_DATA)
def _norm_backward_data(real: Real) -> KernelFunction:
    """``dx = factor * (dy - mean of dy - z * mean of dy * z)``."""

    def norm_backward_data(n: Fields, step: int, thread: int, threads: int) -> None:
        dy, x, mean = pointer(n.dy, real), pointer(n.x, real), pointer(n.mean, real)
        inverse_std, means = pointer(n.inverse_std, real), pointer(n.means, real)
        factor, dx = pointer(n.factor, real), pointer(n.dx, real)
        rows, channels, lanes = n.rows, n.channels, lanes_of(real)
        end, together = first_of(rows, thread + 1, threads), max(1, _ELEMENTS_AT_ONCE // channels)
        begin = first_of(rows, thread, threads)
        for number in range((end - begin - 1) // together, -1, -1):  # from what was read last
            block = begin + number * together
            for k in range(0, channels, lanes):
                count = min(lanes, channels - k)
                centre, inverse = load(mean, k, count), load(inverse_std, k, count)
                of_dy, of_products = load(means, k, count), load(means, channels + k, count)
                scale = load(factor, k, count)
                for row in range(block, min(end, block + together)):
                    i = row * channels + k
                    z = (load(x, i, count) - centre) * inverse
                    rest = load(dy, i, count) - of_dy - z * of_products
                    store(dx, i, rest * scale, count)

    return norm_backward_data


batch_norm_forward_training = contract_kernel(engine, "norm.batch_norm_forward_training", __name__)
batch_norm_forward_inference = contract_kernel(
    engine, "norm.batch_norm_forward_inference", __name__
)
batch_norm_backward = contract_kernel(engine, "norm.batch_norm_backward", __name__)
workspace_bytes = workspace_of_module(engine, "norm", __name__)
