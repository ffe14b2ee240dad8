"""What is done with gradients between the backward pass and the update."""

from __future__ import annotations

import math

import numpy as np

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import KernelFunction, Real, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pointers import first_in_blocks, first_of, pointer
from fastconv.backends.numba.reductions import ELEMENTS_OF_A_BLOCK, sum_of_blocks, sum_of_products
from fastconv.backends.numba.vector_memory import load, store
from fastconv.backends.numba.vectors import lanes_of, select, spread


@kernel(Kernel.SQUARED_SUMS)
def _squared_sums(real: Real) -> KernelFunction:
    def squared_sums(n: Fields, step: int, thread: int, threads: int) -> None:
        x, sums, size = pointer(n.x, real), pointer(n.sums, np.float64), n.size
        blocks = (size + ELEMENTS_OF_A_BLOCK - 1) // ELEMENTS_OF_A_BLOCK
        for block in range(
            first_of(blocks, thread, threads), first_of(blocks, thread + 1, threads)
        ):
            first = block * ELEMENTS_OF_A_BLOCK
            end = min(size, first + ELEMENTS_OF_A_BLOCK)
            sums[block] = sum_of_products(x, x, first, end, real)

    return squared_sums


@kernel(Kernel.SCALE_BY_NORM)
def _scale_by_norm(real: Real) -> KernelFunction:
    def scale_by_norm(n: Fields, step: int, thread: int, threads: int) -> None:
        x, limit, epsilon = pointer(n.x, real), n.limit, n.epsilon
        norm = math.sqrt(sum_of_blocks(pointer(n.sums, np.float64), n.size))
        if n.normalizes:
            divisor = norm
            if norm < epsilon:
                divisor = epsilon
            wide = limit / divisor
        else:
            wide = limit / (norm + epsilon)
            if wide > 1:
                wide = 1.0
        scale = real(wide)
        lanes, end = lanes_of(real), first_in_blocks(n.size, thread + 1, threads)
        for i in range(first_in_blocks(n.size, thread, threads), end, lanes):
            count = min(lanes, end - i)
            store(x, i, load(x, i, count) * scale, count)

    return scale_by_norm


@kernel(Kernel.CLIP_BY_VALUE)
def _clip_by_value(real: Real) -> KernelFunction:
    def clip_by_value(n: Fields, step: int, thread: int, threads: int) -> None:
        x, limit = pointer(n.x, real), real(n.limit)
        most, least = spread(limit, real), spread(-limit, real)
        lanes, end = lanes_of(real), first_in_blocks(n.size, thread + 1, threads)
        for i in range(first_in_blocks(n.size, thread, threads), end, lanes):
            count = min(lanes, end - i)
            each = load(x, i, count)
            low = select(each < least, least, each)
            store(x, i, select(low > most, most, low), count)

    return clip_by_value


@kernel(Kernel.ACCUMULATE)
def _accumulate(real: Real) -> KernelFunction:
    def accumulate(n: Fields, step: int, thread: int, threads: int) -> None:
        dw, total = pointer(n.dw, real), pointer(n.total, real)
        share, keep = real(n.share), real(n.keep)
        lanes, end = lanes_of(real), first_in_blocks(n.size, thread + 1, threads)
        for i in range(first_in_blocks(n.size, thread, threads), end, lanes):
            count = min(lanes, end - i)
            part = load(dw, i, count) * share
            if keep != 0:
                part = load(total, i, count) * keep + part
            store(total, i, part, count)

    return accumulate


@kernel(Kernel.MUON_DIRECTION)
def _muon_direction(real: Real) -> KernelFunction:
    def muon_direction(n: Fields, step: int, thread: int, threads: int) -> None:
        dw, m = pointer(n.dw, real), pointer(n.m, real)
        direction, nesterov = pointer(n.direction, real), n.nesterov
        momentum, share = real(n.momentum), real(1 - n.momentum)
        lanes, end = lanes_of(real), first_in_blocks(n.size, thread + 1, threads)
        for i in range(first_in_blocks(n.size, thread, threads), end, lanes):
            count = min(lanes, end - i)
            g = load(dw, i, count) * share
            mean = load(m, i, count) * momentum + g
            store(m, i, mean, count)
            if nesterov:
                mean = g + mean * momentum
            store(direction, i, mean, count)

    return muon_direction


@kernel(Kernel.NEWTON_SCHULZ_POLYNOMIAL)
def _newton_schulz_polynomial(real: Real) -> KernelFunction:
    def newton_schulz_polynomial(n: Fields, step: int, thread: int, threads: int) -> None:
        gram, square = pointer(n.gram, real), pointer(n.square, real)
        polynomial, rows = pointer(n.polynomial, real), n.rows
        a, b, c = real(n.a), real(n.b), real(n.c)
        lanes = lanes_of(real)
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            end = (row + 1) * rows
            for i in range(row * rows, end, lanes):
                count = min(lanes, end - i)
                both = load(gram, i, count) * b + load(square, i, count) * c
                store(polynomial, i, both, count)
            polynomial[row * rows + row] += a

    return newton_schulz_polynomial


clip_by_norm = contract_kernel(engine, "gradient.clip_by_norm", __name__)
clip_by_value = contract_kernel(engine, "gradient.clip_by_value", __name__)
accumulate = contract_kernel(engine, "gradient.accumulate", __name__)
muon_direction = contract_kernel(engine, "gradient.muon_direction", __name__)
newton_schulz_polynomial = contract_kernel(engine, "gradient.newton_schulz_polynomial", __name__)
workspace_bytes = workspace_of_module(engine, "gradient", __name__)
