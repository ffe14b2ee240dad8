"""Losses and statistics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.kernels import contract_kernel, workspace_of_module
from fastconv.backends.numba import engine
from fastconv.backends.numba.compilation import KernelFunction, Real, inlined, kernel
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pointers import clear, first_in_blocks, first_of, pointer
from fastconv.backends.numba.reductions import sum_of_squares
from fastconv.backends.numba.rows import divide_by_sum, exponentials, shift_rows
from fastconv.backends.numba.vector_functions import sum_of_lanes
from fastconv.backends.numba.vector_memory import load, load_beside, store
from fastconv.backends.numba.vectors import as_dtype, lanes_of, spread


@inlined
def _label_of(labels: Any, row: int, classes: int) -> int:
    """A label, or -1 for one outside the classes, beside which nothing is read or written."""
    label = labels[row]
    return label if 0 <= label < classes else -1


@kernel(Kernel.SOFTMAX_CROSS_ENTROPY_FORWARD)
def _softmax_cross_entropy_forward(real: Real) -> KernelFunction:
    def softmax_cross_entropy_forward(n: Fields, step: int, thread: int, threads: int) -> None:
        scores, labels = pointer(n.scores, real), pointer(n.labels, np.int64)
        losses, y = pointer(n.losses, real), pointer(n.probabilities, real)
        rows, classes, together = n.batch, n.outputs, n.together
        chunks = (rows + together - 1) // together
        for chunk in range(
            first_of(chunks, thread, threads), first_of(chunks, thread + 1, threads)
        ):
            first_row, end_row = chunk * together, min(rows, (chunk + 1) * together)
            first, end = first_row * classes, end_row * classes
            shift_rows(scores, y, first, end, classes, real)
            for row in range(first_row, end_row):
                label = _label_of(labels, row, classes)
                losses[row] = real(np.nan) if label < 0 else -y[row * classes + label]
            exponentials(y, y, first, end, real)
            for row in range(first_row, end_row):
                total = divide_by_sum(y, row * classes, (row + 1) * classes, real)
                losses[row] = losses[row] + math.log(total)

    return softmax_cross_entropy_forward


@kernel(Kernel.SOFTMAX_CROSS_ENTROPY_BACKWARD)
def _softmax_cross_entropy_backward(real: Real) -> KernelFunction:
    def softmax_cross_entropy_backward(n: Fields, step: int, thread: int, threads: int) -> None:
        probabilities, labels = pointer(n.probabilities, real), pointer(n.labels, np.int64)
        dscores, lanes = pointer(n.dscores, real), lanes_of(real)
        rows, classes, together = n.batch, n.outputs, n.together
        chunks, share = (rows + together - 1) // together, real(1 / max(1, rows))
        for chunk in range(
            first_of(chunks, thread, threads), first_of(chunks, thread + 1, threads)
        ):
            first_row, end_row = chunk * together, min(rows, (chunk + 1) * together)
            end = end_row * classes
            for i in range(first_row * classes, end, lanes):
                count = min(lanes, end - i)
                store(dscores, i, load(probabilities, i, count) * share, count)
            for row in range(first_row, end_row):
                label = _label_of(labels, row, classes)
                if label >= 0:
                    i = row * classes + label
                    dscores[i] = (probabilities[i] - real(1)) * share

    return softmax_cross_entropy_backward


@kernel(Kernel.NLL_FORWARD)
def _nll_forward(real: Real) -> KernelFunction:
    def nll_forward(n: Fields, step: int, thread: int, threads: int) -> None:
        log_probabilities, labels = pointer(n.scores, real), pointer(n.labels, np.int64)
        losses, rows, classes = pointer(n.losses, real), n.batch, n.outputs
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            label = _label_of(labels, row, classes)
            losses[row] = real(np.nan) if label < 0 else -log_probabilities[row * classes + label]

    return nll_forward


@kernel(Kernel.NLL_BACKWARD)
def _nll_backward(real: Real) -> KernelFunction:
    def nll_backward(n: Fields, step: int, thread: int, threads: int) -> None:
        labels, gradient = pointer(n.labels, np.int64), pointer(n.dscores, real)
        rows, classes = n.batch, n.outputs
        first, end = first_of(rows, thread, threads), first_of(rows, thread + 1, threads)
        clear(gradient, first * classes, (end - first) * classes)
        for row in range(first, end):
            label = _label_of(labels, row, classes)
            if label >= 0:
                gradient[row * classes + label] = real(-1 / rows)

    return nll_backward


@kernel(Kernel.MEAN_SQUARED_ERROR_FORWARD)
def _mean_squared_error_forward(real: Real) -> KernelFunction:
    def mean_squared_error_forward(n: Fields, step: int, thread: int, threads: int) -> None:
        y, target = pointer(n.y, real), pointer(n.target, real)
        losses, rows, outputs = pointer(n.losses, real), n.batch, n.outputs
        for row in range(first_of(rows, thread, threads), first_of(rows, thread + 1, threads)):
            total = sum_of_squares(y, target, row * outputs, (row + 1) * outputs, real)
            losses[row] = total / real(outputs)

    return mean_squared_error_forward


@kernel(Kernel.MEAN_SQUARED_ERROR_BACKWARD)
def _mean_squared_error_backward(real: Real) -> KernelFunction:
    def mean_squared_error_backward(n: Fields, step: int, thread: int, threads: int) -> None:
        y, target = pointer(n.y, real), pointer(n.target, real)
        dy, size, lanes = pointer(n.dy, real), n.size, lanes_of(real)
        factor, end = real(2 / max(1, size)), first_in_blocks(size, thread + 1, threads)
        for i in range(first_in_blocks(size, thread, threads), end, lanes):
            count = min(lanes, end - i)
            store(dy, i, (load(y, i, count) - load(target, i, count)) * factor, count)

    return mean_squared_error_backward


@kernel(Kernel.SUM_LOSSES)
def _sum_losses(real: Real) -> KernelFunction:
    def sum_losses(n: Fields, step: int, thread: int, threads: int) -> None:
        losses, statistics = pointer(n.losses, real), pointer(n.statistics, np.float64)
        batch, lanes, total = n.batch, lanes_of(np.float64), spread(0, np.float64)
        for i in range(0, batch, lanes):
            some = load_beside(losses, i, min(lanes, batch - i), np.float64)
            total = total + as_dtype(some, np.float64)
        statistics[0] += sum_of_lanes(total)
        statistics[2] += batch

    return sum_losses


@kernel(Kernel.COUNT_CORRECT)
def _count_correct(real: Real) -> KernelFunction:
    def count_correct(n: Fields, step: int, thread: int, threads: int) -> None:
        scores, labels = pointer(n.scores, real), pointer(n.labels, np.int64)
        statistics, rows, classes = pointer(n.statistics, np.float64), n.batch, n.outputs
        correct = 0
        for row in range(rows):
            first, label = row * classes, _label_of(labels, row, classes)
            if label < 0:
                continue
            # Is there a score that would be chosen instead? A NaN is the largest.
            own, better = scores[first + label], 0
            for k in range(classes):
                other = scores[first + k]
                if own != own:
                    better += k < label and other != other
                elif k < label:
                    better += not other < own
                else:
                    better += k > label and not other <= own
            correct += better == 0
        statistics[1] += correct

    return count_correct


softmax_cross_entropy_forward = contract_kernel(
    engine, "loss.softmax_cross_entropy_forward", __name__
)
softmax_cross_entropy_backward = contract_kernel(
    engine, "loss.softmax_cross_entropy_backward", __name__
)
nll_forward = contract_kernel(engine, "loss.nll_forward", __name__)
nll_backward = contract_kernel(engine, "loss.nll_backward", __name__)
mean_squared_error_forward = contract_kernel(engine, "loss.mean_squared_error_forward", __name__)
mean_squared_error_backward = contract_kernel(engine, "loss.mean_squared_error_backward", __name__)
sum_losses = contract_kernel(engine, "loss.sum_losses", __name__)
count_correct = contract_kernel(engine, "loss.count_correct", __name__)
workspace_bytes = workspace_of_module(engine, "loss", __name__)
