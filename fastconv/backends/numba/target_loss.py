"""Losses of targets that are numbers: a distribution over classes, or a value of each output."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.exponential import sigmoid, softplus
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pointers import first_in_blocks, first_of, is_null, pointer
from fastconv.backends.numba.reductions import sum_of
from fastconv.backends.numba.rows import exponentials, shift_rows
from fastconv.backends.numba.vector_functions import sum_of_lanes
from fastconv.backends.numba.vector_memory import load, load_or, store
from fastconv.backends.numba.vectors import as_dtype, lanes_of, select, spread, spread_beside

# In the order of fastconv.plans.loss_operation.ELEMENTWISE_LOSS_KINDS.
_BINARY_CROSS_ENTROPY_WITH_LOGITS, _HUBER, _MEAN_ABSOLUTE_ERROR = range(3)
_SURE = -1e4
"""A score whose probability is 0 in either dtype: its loss for the target 0 is exactly 0."""


@kernel(Kernel.ONE_HOT)
def _one_hot(real: Real) -> KernelFunction:
    def one_hot(n: Fields, step: int, thread: int, threads: int) -> None:
        labels, targets = pointer(n.labels, np.int64), pointer(n.targets, real)
        rows, classes = n.batch, n.outputs
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            label = labels[row]
            is_class = 0 <= label < classes
            for k in range(classes):
                targets[row * classes + k] = real(0) if is_class else real(np.nan)
            if is_class:
                targets[row * classes + label] = real(1)

    return one_hot


@inlined
def _smoothed(targets: Any, class_weights: Any, i: int, k: int, kept: float, share: float) -> float:
    """A target as it counts: smoothed, and times the weight of its class."""
    value = kept * float(targets[i]) + share
    return value if is_null(class_weights) else value * float(class_weights[k])


@kernel(Kernel.SOFT_CROSS_ENTROPY_FORWARD)
def _soft_cross_entropy_forward(real: Real) -> KernelFunction:
    def soft_cross_entropy_forward(n: Fields, step: int, thread: int, threads: int) -> None:
        scores, targets = pointer(n.scores, real), pointer(n.targets, real)
        class_weights = pointer(n.class_weights, real)
        losses, y = pointer(n.losses, real), pointer(n.probabilities, real)
        rows, classes, lanes = n.batch, n.outputs, lanes_of(real)
        kept, share = 1 - n.label_smoothing, n.label_smoothing / float(classes)
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            first, end = row * classes, (row + 1) * classes
            shift_rows(scores, y, first, end, classes, real)
            whole, product = 0.0, 0.0
            for i in range(first, end):
                q = _smoothed(targets, class_weights, i, i - first, kept, share)
                whole += q
                product += q * float(y[i])
            exponentials(y, y, first, end, real)
            total = sum_of(y, first, end, real)
            losses[row] = real(whole * math.log(total) - product)
            inverse = real(1) / total
            for i in range(first, end, lanes):
                count = min(lanes, end - i)
                store(y, i, load(y, i, count) * inverse, count)

    return soft_cross_entropy_forward


@kernel(Kernel.SOFT_CROSS_ENTROPY_BACKWARD)
def _soft_cross_entropy_backward(real: Real) -> KernelFunction:
    def soft_cross_entropy_backward(n: Fields, step: int, thread: int, threads: int) -> None:
        probabilities, targets = pointer(n.probabilities, real), pointer(n.targets, real)
        class_weights, dscores = pointer(n.class_weights, real), pointer(n.dscores, real)
        rows, classes = n.batch, n.outputs
        kept, share = 1 - n.label_smoothing, n.label_smoothing / float(classes)
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            first, whole = row * classes, 0.0
            for k in range(classes):
                whole += _smoothed(targets, class_weights, first + k, k, kept, share)
            for k in range(classes):
                q = _smoothed(targets, class_weights, first + k, k, kept, share)
                gradient = (float(probabilities[first + k]) * whole - q) / float(rows)
                dscores[first + k] = real(gradient)

    return soft_cross_entropy_backward


@inlined
def _magnitude(x: Any) -> Any:
    return select(x < 0, -x, x)


@kernel(Kernel.ELEMENTWISE_LOSS_FORWARD)
def _elementwise_loss_forward(real: Real) -> KernelFunction:
    def elementwise_loss_forward(n: Fields, step: int, thread: int, threads: int) -> None:
        y, target = pointer(n.y, real), pointer(n.target, real)
        losses, rows, outputs = pointer(n.losses, real), n.batch, n.outputs
        kind, delta, lanes = n.kind, real(n.delta), lanes_of(real)
        # What stands in for the elements behind the last has no loss.
        rest = real(_SURE) if kind == _BINARY_CROSS_ENTROPY_WITH_LOGITS else real(0)
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            wide = spread_beside(0, np.float64, real)
            for i in range(row * outputs, (row + 1) * outputs, lanes):
                count = min(lanes, (row + 1) * outputs - i)
                v, t = load_or(y, i, count, rest), load(target, i, count)
                if kind == _HUBER:
                    distance = _magnitude(v - t)
                    inner = distance * distance * real(0.5)
                    outer = (distance - delta * real(0.5)) * delta
                    v = select(distance <= delta, inner, outer)
                elif kind == _MEAN_ABSOLUTE_ERROR:
                    v = _magnitude(v - t)
                else:
                    # max(v, 0) - v t is exactly 0 where a sure output is right.
                    v = (select(v <= 0, 0, v) - v * t) + softplus(select(v > 0, -v, v))
                wide = wide + as_dtype(v, np.float64)
            losses[row] = real(sum_of_lanes(wide) / float(outputs))

    return elementwise_loss_forward


@kernel(Kernel.ELEMENTWISE_LOSS_BACKWARD)
def _elementwise_loss_backward(real: Real) -> KernelFunction:
    def elementwise_loss_backward(n: Fields, step: int, thread: int, threads: int) -> None:
        y, target = pointer(n.y, real), pointer(n.target, real)
        dy, size, lanes = pointer(n.dy, real), n.size, lanes_of(real)
        kind, delta, one = n.kind, real(n.delta), spread(1, real)
        share, end = real(1 / max(1, size)), first_in_blocks(size, thread + 1, threads)
        for i in range(first_in_blocks(size, thread, threads), end, lanes):
            count = min(lanes, end - i)
            v, t = load(y, i, count), load(target, i, count)
            # Compared so that a NaN stays one.
            if kind == _HUBER:
                v = v - t
                v = select(v > delta, delta, v)
                v = select(v < -delta, -delta, v)
            elif kind == _MEAN_ABSOLUTE_ERROR:
                v = v - t
                v = select(v > 0, one, select(v < 0, -one, v))
            else:
                v = sigmoid(v) - t
            store(dy, i, v * share, count)

    return elementwise_loss_backward


one_hot = contract_kernel(engine, "target_loss.one_hot", __name__)
soft_cross_entropy_forward = contract_kernel(
    engine, "target_loss.soft_cross_entropy_forward", __name__
)
soft_cross_entropy_backward = contract_kernel(
    engine, "target_loss.soft_cross_entropy_backward", __name__
)
elementwise_loss_forward = contract_kernel(engine, "target_loss.elementwise_loss_forward", __name__)
elementwise_loss_backward = contract_kernel(
    engine, "target_loss.elementwise_loss_backward", __name__
)
workspace_bytes = workspace_of_module(engine, "target_loss", __name__)
