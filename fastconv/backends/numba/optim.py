"""Updates of the parameters."""

from __future__ import annotations

import math

import numpy as np

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pointers import first_in_blocks, pointer
from fastconv.backends.numba.vector_functions import square_root
from fastconv.backends.numba.vector_memory import load, store
from fastconv.backends.numba.vectors import lanes_of


@inlined
def _stretch(
    n: Fields, number: int, rate: float, thread: int, threads: int
) -> tuple[int, int, float, float]:
    """The share of a thread in stretch 0, 1 or 2: with both penalties, with one of them, with none.

    Returns its first element and its end, what times w belongs to the gradient, and what is kept of
    w beside the step.
    """
    size, weights, decayed = n.size, n.weights, n.decayed
    start, end = 0, min(weights, decayed)
    if number > 0:
        start, end = end, max(weights, decayed)
    if number > 1:
        start, end = end, size
    penalty = 2 * n.l2 if start < weights else 0.0
    keep = 1.0
    if start < decayed:
        penalty += n.coupled_decay
        keep -= rate * n.decoupled_decay
    first = start + first_in_blocks(end - start, thread, threads)
    return first, start + first_in_blocks(end - start, thread + 1, threads), penalty, keep


@kernel(Kernel.SGD_UPDATE)
def _sgd_update(real: Real) -> KernelFunction:
    def sgd_update(n: Fields, step: int, thread: int, threads: int) -> None:
        w, dw = pointer(n.w, real), pointer(n.dw, real)
        rate = pointer(n.rate, np.float64)[step]
        lanes = lanes_of(real)
        for number in range(3):
            first, end, penalty, kept = _stretch(n, number, rate, thread, threads)
            keep, scale = real(kept - rate * penalty), real(rate)
            for i in range(first, end, lanes):
                count = min(lanes, end - i)
                store(w, i, load(w, i, count) * keep - load(dw, i, count) * scale, count)

    return sgd_update


@kernel(Kernel.MOMENTUM_UPDATE)
def _momentum_update(real: Real) -> KernelFunction:
    def momentum_update(n: Fields, step: int, thread: int, threads: int) -> None:
        w, dw = pointer(n.w, real), pointer(n.dw, real)
        m = pointer(n.m, real)
        rate = pointer(n.rate, np.float64)[step]
        nesterov = n.nesterov
        momentum, share = real(n.momentum), real(n.share)
        scale = real(rate)
        lanes = lanes_of(real)
        for number in range(3):
            first, end, wide_penalty, wide_keep = _stretch(n, number, rate, thread, threads)
            penalty, keep = real(wide_penalty), real(wide_keep)
            for i in range(first, end, lanes):
                count = min(lanes, end - i)
                old = load(w, i, count)
                g = (load(dw, i, count) + old * penalty) * share
                velocity = load(m, i, count) * momentum + g
                store(m, i, velocity, count)
                if nesterov:
                    velocity = g + velocity * momentum
                store(w, i, old * keep - velocity * scale, count)

    return momentum_update


@kernel(Kernel.ADAM_UPDATE)
def _adam_update(real: Real) -> KernelFunction:
    def adam_update(n: Fields, step: int, thread: int, threads: int) -> None:
        w, dw = pointer(n.w, real), pointer(n.dw, real)
        m, v = pointer(n.m, real), pointer(n.v, real)
        rate = pointer(n.rate, np.float64)[step]
        t = float(pointer(n.step, np.int64)[0] + step + 1)
        beta1, beta2 = n.beta1, n.beta2
        b1, b2, c1, c2 = real(beta1), real(beta2), real(1 - beta1), real(1 - beta2)
        epsilon = real(n.epsilon)
        # The corrections of the first steps; they multiply what would else be divided.
        scale = real(rate / (1 - math.pow(beta1, t)))
        correction = real(1 / (1 - math.pow(beta2, t)))
        lanes = lanes_of(real)
        for number in range(3):
            first, end, wide_penalty, wide_keep = _stretch(n, number, rate, thread, threads)
            penalty, keep = real(wide_penalty), real(wide_keep)
            for i in range(first, end, lanes):
                count = min(lanes, end - i)
                old = load(w, i, count)
                g = load(dw, i, count) + old * penalty
                mean = load(m, i, count) * b1 + g * c1
                square = load(v, i, count) * b2 + g * g * c2
                store(m, i, mean, count)
                store(v, i, square, count)
                root = square_root(square * correction)
                store(w, i, old * keep - mean * scale / (root + epsilon), count)

    return adam_update


sgd_update = contract_kernel(engine, "optim.sgd_update", __name__)
momentum_update = contract_kernel(engine, "optim.momentum_update", __name__)
adam_update = contract_kernel(engine, "optim.adam_update", __name__)
workspace_bytes = workspace_of_module(engine, "optim", __name__)
