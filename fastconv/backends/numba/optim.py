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
from fastconv.backends.numba.reductions import sum_of_blocks
from fastconv.backends.numba.vector_functions import square_root
from fastconv.backends.numba.vector_memory import load, store
from fastconv.backends.numba.vectors import lanes_of, select, spread

_AVERAGED = 2
"""Of a scheduled momentum: the gradient counts by what it leaves of 1."""


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
        rate = pointer(n.rate, np.float64)[step] * n.rate_factor
        lanes = lanes_of(real)
        for number in range(3):
            first, end, penalty, kept = _stretch(n, number, rate, thread, threads)
            keep, scale = real(kept - rate * penalty), real(rate)
            for i in range(first, end, lanes):
                count = min(lanes, end - i)
                store(w, i, load(w, i, count) * keep - load(dw, i, count) * scale, count)

    return sgd_update


@inlined
def _rate_and_momentum(n: Fields, step: int, momentum: float) -> tuple[float, float]:
    """Learning rate and momentum of a step: where the latter is scheduled, both are in ``rate``."""
    rates = pointer(n.rate, np.float64)
    if n.scheduled:
        return rates[2 * step] * n.rate_factor, rates[2 * step + 1]
    return rates[step] * n.rate_factor, momentum


@kernel(Kernel.MOMENTUM_UPDATE)
def _momentum_update(real: Real) -> KernelFunction:
    def momentum_update(n: Fields, step: int, thread: int, threads: int) -> None:
        w, dw = pointer(n.w, real), pointer(n.dw, real)
        m = pointer(n.m, real)
        rate, own_momentum = _rate_and_momentum(n, step, n.momentum)
        nesterov = n.nesterov
        momentum, share = real(own_momentum), real(n.share)
        if n.scheduled == _AVERAGED:
            share = real(1 - own_momentum)
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
        rate, beta1 = _rate_and_momentum(n, step, n.beta1)
        t, beta2 = float(pointer(n.step, np.int64)[0] + step + 1), n.beta2
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


@kernel(Kernel.RMSPROP_UPDATE)
def _rmsprop_update(real: Real) -> KernelFunction:
    def rmsprop_update(n: Fields, step: int, thread: int, threads: int) -> None:
        w, dw, v = pointer(n.w, real), pointer(n.dw, real), pointer(n.v, real)
        mean, m = pointer(n.mean, real), pointer(n.m, real)
        centred, moves = n.mean != 0, n.m != 0
        rate = pointer(n.rate, np.float64)[step] * n.rate_factor
        alpha, share, epsilon = real(n.alpha), real(1 - n.alpha), real(n.epsilon)
        momentum, scale = real(n.momentum), real(rate)
        lanes = lanes_of(real)
        for number in range(3):
            first, end, wide_penalty, wide_keep = _stretch(n, number, rate, thread, threads)
            penalty, keep = real(wide_penalty), real(wide_keep)
            for i in range(first, end, lanes):
                count = min(lanes, end - i)
                old = load(w, i, count)
                g = load(dw, i, count) + old * penalty
                square = load(v, i, count) * alpha + g * g * share
                store(v, i, square, count)
                if centred:
                    centre = load(mean, i, count) * alpha + g * share
                    store(mean, i, centre, count)
                    square = square - centre * centre
                    # Below 0 by rounding alone.
                    square = select(square < 0, spread(0, real), square)
                u = g / (square_root(square) + epsilon)
                if moves:
                    u = load(m, i, count) * momentum + u
                    store(m, i, u, count)
                store(w, i, old * keep - u * scale, count)

    return rmsprop_update


@kernel(Kernel.ADAGRAD_UPDATE)
def _adagrad_update(real: Real) -> KernelFunction:
    def adagrad_update(n: Fields, step: int, thread: int, threads: int) -> None:
        w, dw, v = pointer(n.w, real), pointer(n.dw, real), pointer(n.v, real)
        rate = pointer(n.rate, np.float64)[step] * n.rate_factor
        epsilon, scale = real(n.epsilon), real(rate)
        lanes = lanes_of(real)
        for number in range(3):
            first, end, wide_penalty, wide_keep = _stretch(n, number, rate, thread, threads)
            penalty, keep = real(wide_penalty), real(wide_keep)
            for i in range(first, end, lanes):
                count = min(lanes, end - i)
                old = load(w, i, count)
                g = load(dw, i, count) + old * penalty
                square = load(v, i, count) + g * g
                store(v, i, square, count)
                store(w, i, old * keep - g * scale / (square_root(square) + epsilon), count)

    return adagrad_update


@inlined
def _nadam_shares(beta1: float, momentum_decay: float, t: float) -> tuple[float, float]:
    """Factors of g and of m in step t; ``OptimizerSpec.nadam_shares`` says how."""
    log_q = momentum_decay * math.log(0.96)
    mu = beta1 * (1 - 0.5 * math.exp(log_q * t))
    following = beta1 * (1 - 0.5 * math.exp(log_q * (t + 1)))
    log_product, power = -np.inf, 1.0
    if beta1 > 0:
        log_product = t * math.log(beta1)
    for k in range(1, 61):
        sums = t
        if log_q != 0:
            sums = math.exp(k * log_q) * math.expm1(k * log_q * t) / math.expm1(k * log_q)
        power /= 2
        log_product -= power / k * sums
    product = math.exp(log_product)
    return (1 - mu) / (1 - product), following / (1 - product * following)


@kernel(Kernel.NADAM_UPDATE)
def _nadam_update(real: Real) -> KernelFunction:
    def nadam_update(n: Fields, step: int, thread: int, threads: int) -> None:
        w, dw = pointer(n.w, real), pointer(n.dw, real)
        m, v = pointer(n.m, real), pointer(n.v, real)
        rate = pointer(n.rate, np.float64)[step] * n.rate_factor
        t = float(pointer(n.step, np.int64)[0] + step + 1)
        b1, b2, c1, c2 = real(n.beta1), real(n.beta2), real(1 - n.beta1), real(1 - n.beta2)
        epsilon = real(n.epsilon)
        correction = real(1 / (1 - math.pow(n.beta2, t)))
        gradient_share, mean_share = _nadam_shares(n.beta1, n.momentum_decay, t)
        of_gradient, of_mean = real(rate * gradient_share), real(rate * mean_share)
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
                ahead = g * of_gradient + mean * of_mean
                store(w, i, old * keep - ahead / (root + epsilon), count)

    return nadam_update


@kernel(Kernel.LAMB_DIRECTION)
def _lamb_direction(real: Real) -> KernelFunction:
    def lamb_direction(n: Fields, step: int, thread: int, threads: int) -> None:
        w, dw, u = pointer(n.w, real), pointer(n.dw, real), pointer(n.u, real)
        m, v = pointer(n.m, real), pointer(n.v, real)
        t = float(pointer(n.step, np.int64)[0] + step + 1)
        b1, b2, c1, c2 = real(n.beta1), real(n.beta2), real(1 - n.beta1), real(1 - n.beta2)
        epsilon = real(n.epsilon)
        scale = real(1 / (1 - math.pow(n.beta1, t)))
        correction = real(1 / (1 - math.pow(n.beta2, t)))
        lanes = lanes_of(real)
        for number in range(3):
            first, end, wide_penalty, _ = _stretch(n, number, 1.0, thread, threads)
            penalty, decay = real(wide_penalty), real(0)
            if first < n.decayed:
                decay = real(n.decoupled_decay)
            for i in range(first, end, lanes):
                count = min(lanes, end - i)
                old = load(w, i, count)
                g = load(dw, i, count) + old * penalty
                mean = load(m, i, count) * b1 + g * c1
                square = load(v, i, count) * b2 + g * g * c2
                store(m, i, mean, count)
                store(v, i, square, count)
                root = square_root(square * correction)
                store(u, i, mean * scale / (root + epsilon) + old * decay, count)

    return lamb_direction


@kernel(Kernel.LAMB_APPLY)
def _lamb_apply(real: Real) -> KernelFunction:
    def lamb_apply(n: Fields, step: int, thread: int, threads: int) -> None:
        w, u = pointer(n.w, real), pointer(n.u, real)
        length = math.sqrt(sum_of_blocks(pointer(n.w_sums, np.float64), n.size))
        step_length = math.sqrt(sum_of_blocks(pointer(n.u_sums, np.float64), n.size))
        ratio = 1.0
        if length != 0 and step_length != 0:
            ratio = length / step_length
        scale = real(pointer(n.rate, np.float64)[step] * n.rate_factor * ratio)
        lanes, end = lanes_of(real), first_in_blocks(n.size, thread + 1, threads)
        for i in range(first_in_blocks(n.size, thread, threads), end, lanes):
            count = min(lanes, end - i)
            store(w, i, load(w, i, count) - load(u, i, count) * scale, count)

    return lamb_apply


@kernel(Kernel.LOOKAHEAD_UPDATE)
def _lookahead_update(real: Real) -> KernelFunction:
    def lookahead_update(n: Fields, step: int, thread: int, threads: int) -> None:
        w, slow = pointer(n.w, real), pointer(n.slow, real)
        t, alpha = pointer(n.step, np.int64)[0] + step + 1, real(n.alpha)
        lanes, end = lanes_of(real), first_in_blocks(n.size, thread + 1, threads)
        if t % n.steps == 0:
            for i in range(first_in_blocks(n.size, thread, threads), end, lanes):
                count = min(lanes, end - i)
                old = load(slow, i, count)
                new = old + (load(w, i, count) - old) * alpha
                store(slow, i, new, count)
                store(w, i, new, count)

    return lookahead_update


sgd_update = contract_kernel(engine, "optim.sgd_update", __name__)
momentum_update = contract_kernel(engine, "optim.momentum_update", __name__)
adam_update = contract_kernel(engine, "optim.adam_update", __name__)
rmsprop_update = contract_kernel(engine, "optim.rmsprop_update", __name__)
adagrad_update = contract_kernel(engine, "optim.adagrad_update", __name__)
nadam_update = contract_kernel(engine, "optim.nadam_update", __name__)
lamb_update = contract_kernel(engine, "optim.lamb_update", __name__)
lookahead_update = contract_kernel(engine, "optim.lookahead_update", __name__)
workspace_bytes = workspace_of_module(engine, "optim", __name__)
