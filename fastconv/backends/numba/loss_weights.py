"""Weights of samples in a loss, and the statistics of an epoch with weights."""

from __future__ import annotations

import numpy as np

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import KernelFunction, Real, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pointers import clear, first_in_blocks, first_of, is_null, pointer
from fastconv.backends.numba.vector_memory import load, store
from fastconv.backends.numba.vectors import lanes_of


@kernel(Kernel.LABEL_WEIGHTS)
def _label_weights(real: Real) -> KernelFunction:
    def label_weights(n: Fields, step: int, thread: int, threads: int) -> None:
        labels, counted = pointer(n.labels, np.int64), pointer(n.counted, np.int64)
        class_weights, sample_weights = (
            pointer(n.class_weights, real),
            pointer(n.sample_weights, real),
        )
        factors, weights = pointer(n.factors, real), pointer(n.weights, real)
        rows, classes = n.batch, n.outputs
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            label = labels[row]
            factor = real(1) if is_null(sample_weights) else sample_weights[row]
            if n.has_ignore_index != 0 and label == n.ignore_index:
                factor = real(0)
            of_class = real(1)
            if not is_null(class_weights):
                of_class = class_weights[label] if 0 <= label < classes else real(np.nan)
            counted[row] = -1 if factor == 0 else label
            factors[row] = factor
            weights[row] = real(0) if factor == 0 else factor * of_class

    return label_weights


@kernel(Kernel.WEIGH_LOSSES)
def _weigh_losses(real: Real) -> KernelFunction:
    def weigh_losses(n: Fields, step: int, thread: int, threads: int) -> None:
        factors, losses = pointer(n.factors, real), pointer(n.losses, real)
        first, end = (
            first_in_blocks(n.batch, thread, threads),
            first_in_blocks(n.batch, thread + 1, threads),
        )
        for i in range(first, end):
            losses[i] = real(0) if factors[i] == 0 else factors[i] * losses[i]

    return weigh_losses


@kernel(Kernel.WEIGH_GRADIENTS)
def _weigh_gradients(real: Real) -> KernelFunction:
    def weigh_gradients(n: Fields, step: int, thread: int, threads: int) -> None:
        factors, weights = pointer(n.factors, real), pointer(n.weights, real)
        dscores, rows, outputs = pointer(n.dscores, real), n.batch, n.outputs
        total, lanes = 0.0, lanes_of(real)
        # Each thread makes this sum: they are few, and in one order.
        for i in range(rows):
            total += float(weights[i])
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            nothing = factors[row] == 0 or total == 0
            if nothing:
                clear(dscores, row * outputs, outputs)
                continue
            share = real(float(factors[row]) * (float(rows) / total))
            for i in range(row * outputs, (row + 1) * outputs, lanes):
                count = min(lanes, (row + 1) * outputs - i)
                store(dscores, i, load(dscores, i, count) * share, count)

    return weigh_gradients


@kernel(Kernel.SUM_WEIGHTED_LOSSES)
def _sum_weighted_losses(real: Real) -> KernelFunction:
    def sum_weighted_losses(n: Fields, step: int, thread: int, threads: int) -> None:
        losses, factors = pointer(n.losses, real), pointer(n.factors, real)
        weights, statistics = pointer(n.weights, real), pointer(n.statistics, np.float64)
        loss, weight, samples = 0.0, 0.0, 0
        for i in range(n.batch):
            loss += float(losses[i])
            weight += float(weights[i])
            samples += factors[i] != 0
        statistics[0] += loss
        statistics[2] += samples
        statistics[3] += weight

    return sum_weighted_losses


label_weights = contract_kernel(engine, "loss_weights.label_weights", __name__)
weigh_losses = contract_kernel(engine, "loss_weights.weigh_losses", __name__)
weigh_gradients = contract_kernel(engine, "loss_weights.weigh_gradients", __name__)
sum_weighted_losses = contract_kernel(engine, "loss_weights.sum_weighted_losses", __name__)
workspace_bytes = workspace_of_module(engine, "loss_weights", __name__)
