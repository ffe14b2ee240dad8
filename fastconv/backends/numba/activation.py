"""Activations, softmax and log-softmax."""

from __future__ import annotations

import math

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba.by_formula import chosen_derivative, chosen_value
from fastconv.backends.numba.compilation import KernelFunction, Real, kernel
from fastconv.backends.numba.exponential import (
    exponential_minus_one,
    hyperbolic_tangent,
    sigmoid,
    softplus,
)
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pointers import first_in_blocks, first_of, pointer
from fastconv.backends.numba.reductions import sum_of, sum_of_products
from fastconv.backends.numba.rows import divide_by_sum, exponentials, shift_rows
from fastconv.backends.numba.vector_memory import load, store
from fastconv.backends.numba.vectors import lanes_of, select, spread

# As in fastconv.plans.activations.ACTIVATIONS.
_RELU, _LEAKY_RELU, _ELU, _SELU, _SIGMOID, _TANH, _SOFTPLUS = range(7)


@kernel(Kernel.ACTIVATION_FORWARD)
def _activation_forward(real: Real) -> KernelFunction:
    def activation_forward(n: Fields, step: int, thread: int, threads: int) -> None:
        x, y = pointer(n.x, real), pointer(n.y, real)
        size, kind = n.size, n.kind
        alpha, scale = real(n.alpha), real(n.scale)
        lanes, end = lanes_of(real), first_in_blocks(size, thread + 1, threads)
        for i in range(first_in_blocks(size, thread, threads), end, lanes):
            count = min(lanes, end - i)
            v = load(x, i, count)
            # Comparisons are such that a NaN stays one.
            if kind == _RELU:
                v = select(v <= 0, 0, v)
            elif kind == _LEAKY_RELU:
                v = select(v > 0, v, v * alpha)
            elif kind in (_ELU, _SELU):
                v = select(v > 0, v * scale, exponential_minus_one(v) * alpha)
            elif kind == _SIGMOID:
                v = sigmoid(v)
            elif kind == _TANH:
                v = hyperbolic_tangent(v)
            else:
                v = softplus(v)
            store(y, i, v, count)

    return activation_forward


@kernel(Kernel.ACTIVATION_BACKWARD)
def _activation_backward(real: Real) -> KernelFunction:
    def activation_backward(n: Fields, step: int, thread: int, threads: int) -> None:
        dy, y = pointer(n.dy, real), pointer(n.y, real)
        dx = pointer(n.dx, real)
        size, kind = n.size, n.kind
        alpha, scale = real(n.alpha), real(n.scale)
        lanes, end = lanes_of(real), first_in_blocks(size, thread + 1, threads)
        one = spread(1, real)
        for i in range(first_in_blocks(size, thread, threads), end, lanes):
            count = min(lanes, end - i)
            v = load(y, i, count)
            # The slope, from the result.
            if kind == _RELU:
                v = select(v > 0, one, 0)
            elif kind == _LEAKY_RELU:
                v = select(v > 0, one, alpha)
            elif kind in (_ELU, _SELU):
                v = select(v > 0, scale, v + alpha)
            elif kind == _SIGMOID:
                v = v * (1 - v)
            elif kind == _TANH:
                v = 1 - v * v
            else:
                v = -exponential_minus_one(-v)
            # A product, so that an infinite dy at a slope of 0 gives NaN.
            store(dx, i, load(dy, i, count) * v, count)

    return activation_backward


@kernel(Kernel.FORMULA_FORWARD)
def _formula_forward(real: Real) -> KernelFunction:
    value = chosen_value()

    def formula_forward(n: Fields, step: int, thread: int, threads: int) -> None:
        x, y = pointer(n.x, real), pointer(n.y, real)
        size, kind = n.size, n.kind
        lanes, end = lanes_of(real), first_in_blocks(size, thread + 1, threads)
        one = spread(1, real)
        for i in range(first_in_blocks(size, thread, threads), end, lanes):
            count = min(lanes, end - i)
            store(y, i, value(kind, load(x, i, count), one), count)

    return formula_forward


@kernel(Kernel.FORMULA_BACKWARD)
def _formula_backward(real: Real) -> KernelFunction:
    derivative = chosen_derivative()

    def formula_backward(n: Fields, step: int, thread: int, threads: int) -> None:
        dy, kept, dx = pointer(n.dy, real), pointer(n.kept, real), pointer(n.dx, real)
        size, kind = n.size, n.kind
        lanes, end = lanes_of(real), first_in_blocks(size, thread + 1, threads)
        one = spread(1, real)
        for i in range(first_in_blocks(size, thread, threads), end, lanes):
            count = min(lanes, end - i)
            slope = derivative(kind, load(kept, i, count), one)
            store(dx, i, load(dy, i, count) * slope, count)

    return formula_backward


@kernel(Kernel.SOFTMAX_FORWARD)
def _softmax_forward(real: Real) -> KernelFunction:
    def softmax_forward(n: Fields, step: int, thread: int, threads: int) -> None:
        x, y = pointer(n.x, real), pointer(n.y, real)
        rows, classes, together = n.rows, n.classes, n.together
        chunks = (rows + together - 1) // together
        for chunk in range(
            first_of(chunks, thread, threads), first_of(chunks, thread + 1, threads)
        ):
            first, end = chunk * together * classes, min(rows, (chunk + 1) * together) * classes
            shift_rows(x, y, first, end, classes, real)
            exponentials(y, y, first, end, real)
            for start in range(first, end, classes):
                divide_by_sum(y, start, start + classes, real)

    return softmax_forward


@kernel(Kernel.SOFTMAX_BACKWARD)
def _softmax_backward(real: Real) -> KernelFunction:
    def softmax_backward(n: Fields, step: int, thread: int, threads: int) -> None:
        dy, y = pointer(n.dy, real), pointer(n.y, real)
        dx = pointer(n.dx, real)
        rows, classes, lanes = n.rows, n.classes, lanes_of(real)
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            start, stop = row * classes, (row + 1) * classes
            total = sum_of_products(dy, y, start, stop, real)
            for i in range(start, stop, lanes):
                count = min(lanes, stop - i)
                store(dx, i, load(y, i, count) * (load(dy, i, count) - total), count)

    return softmax_backward


@kernel(Kernel.LOG_SOFTMAX_FORWARD)
def _log_softmax_forward(real: Real) -> KernelFunction:
    def log_softmax_forward(n: Fields, step: int, thread: int, threads: int) -> None:
        x, y = pointer(n.x, real), pointer(n.y, real)
        powers = pointer(n.powers, real)
        rows, classes, together = n.rows, n.classes, n.together
        chunks, lanes = (rows + together - 1) // together, lanes_of(real)
        for chunk in range(
            first_of(chunks, thread, threads), first_of(chunks, thread + 1, threads)
        ):
            first, end = chunk * together * classes, min(rows, (chunk + 1) * together) * classes
            shift_rows(x, y, first, end, classes, real)
            exponentials(y, powers, first, end, real)
            for start in range(first, end, classes):
                stop = start + classes
                total = math.log(sum_of(powers, start, stop, real))
                for i in range(start, stop, lanes):
                    count = min(lanes, stop - i)
                    store(y, i, load(y, i, count) - total, count)

    return log_softmax_forward


@kernel(Kernel.LOG_SOFTMAX_BACKWARD)
def _log_softmax_backward(real: Real) -> KernelFunction:
    def log_softmax_backward(n: Fields, step: int, thread: int, threads: int) -> None:
        dy, y = pointer(n.dy, real), pointer(n.y, real)
        dx, powers = pointer(n.dx, real), pointer(n.powers, real)
        rows, classes, together = n.rows, n.classes, n.together
        chunks, lanes = (rows + together - 1) // together, lanes_of(real)
        for chunk in range(
            first_of(chunks, thread, threads), first_of(chunks, thread + 1, threads)
        ):
            first, end = chunk * together * classes, min(rows, (chunk + 1) * together) * classes
            exponentials(y, powers, first, end, real)
            for start in range(first, end, classes):
                stop = start + classes
                total = sum_of(dy, start, stop, real)
                for i in range(start, stop, lanes):
                    count = min(lanes, stop - i)
                    store(dx, i, load(dy, i, count) - load(powers, i, count) * total, count)

    return log_softmax_backward


activation_forward = contract_kernel(engine, "activation.activation_forward", __name__)
activation_backward = contract_kernel(engine, "activation.activation_backward", __name__)
softmax_forward = contract_kernel(engine, "activation.softmax_forward", __name__)
softmax_backward = contract_kernel(engine, "activation.softmax_backward", __name__)
log_softmax_forward = contract_kernel(engine, "activation.log_softmax_forward", __name__)
log_softmax_backward = contract_kernel(engine, "activation.log_softmax_backward", __name__)
workspace_bytes = workspace_of_module(engine, "activation", __name__)
