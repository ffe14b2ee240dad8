"""Losses and the running statistics of an epoch; what a label outside the classes does is one rule.

Its loss is NaN, and nothing is taken from its sample's gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.plans.operation import LossSpec


def _labelled(labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples whose label is one of the classes, and their labels.

    The labels are copied before they are looked at: another thread may write to the caller's.
    """
    labels = labels.copy()
    unsigned = labels.view(np.uint64)  # a negative label is a large one
    if np.maximum.reduce(unsigned, initial=0) < classes:
        return np.arange(len(labels)), labels
    samples = np.flatnonzero(unsigned < classes)
    return samples, labels[samples]


def softmax_cross_entropy_forward(
    spec: LossSpec,
    scores: np.ndarray,
    labels: np.ndarray,
    losses: np.ndarray,
    probabilities: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``losses = log(sum(e^scores)) - scores[label]``, and the softmax for the way back."""
    row = Carver(workspace).take((spec.batch, 1), scores.dtype)
    samples, chosen = _labelled(labels, spec.outputs)
    np.maximum.reduce(scores, axis=1, keepdims=True, out=row)
    np.subtract(scores, row, out=probabilities)
    losses.fill(np.nan)
    losses[samples] = -probabilities[samples, chosen]
    np.exp(probabilities, out=probabilities)
    np.add.reduce(probabilities, axis=1, keepdims=True, out=row)
    np.divide(probabilities, row, out=probabilities)
    np.log(row, out=row)
    np.add(losses, row[:, 0], out=losses)


def softmax_cross_entropy_backward(
    spec: LossSpec,
    probabilities: np.ndarray,
    labels: np.ndarray,
    dscores: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``(softmax - one hot) / batch``."""
    share = dscores.dtype.type(1.0 / max(1, spec.batch))
    np.multiply(probabilities, share, out=dscores)
    samples, chosen = _labelled(labels, spec.outputs)
    dscores[samples, chosen] -= share


def nll_forward(
    spec: LossSpec,
    log_probabilities: np.ndarray,
    labels: np.ndarray,
    losses: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Negative log-likelihood: ``losses = -log_probabilities[label]``."""
    samples, chosen = _labelled(labels, spec.outputs)
    losses.fill(np.nan)
    losses[samples] = -log_probabilities[samples, chosen]


def nll_backward(
    spec: LossSpec,
    labels: np.ndarray,
    dlog_probabilities: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``-1 / batch`` at the labels, 0 elsewhere."""
    dlog_probabilities.fill(0)
    samples, chosen = _labelled(labels, spec.outputs)
    dlog_probabilities[samples, chosen] = -1.0 / max(1, spec.batch)


def mean_squared_error_forward(
    spec: LossSpec,
    y: np.ndarray,
    target: np.ndarray,
    losses: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Mean over the outputs of ``(y - target)^2``."""
    difference = Carver(workspace).take(y.shape, y.dtype)
    np.subtract(y, target, out=difference)
    np.multiply(difference, difference, out=difference)
    np.mean(difference, axis=1, out=losses)


def mean_squared_error_backward(
    spec: LossSpec,
    y: np.ndarray,
    target: np.ndarray,
    dy: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``2 (y - target) / (batch * outputs)``."""
    np.subtract(y, target, out=dy)
    np.multiply(dy, dy.dtype.type(2.0 / max(1, spec.batch * spec.outputs)), out=dy)


def sum_losses(
    spec: LossSpec, losses: np.ndarray, statistics: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Add the batch's losses and its size to the running statistics."""
    statistics[0] += np.add.reduce(losses, dtype=np.float64)
    statistics[2] += spec.batch


def count_correct(
    spec: LossSpec,
    scores: np.ndarray,
    labels: np.ndarray,
    statistics: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Add the number of samples whose (first) largest score is at the label."""
    statistics[1] += np.count_nonzero(np.argmax(scores, axis=1) == labels)


def workspace_bytes(kernel: str, spec: LossSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    if kernel == "softmax_cross_entropy_forward":
        return size_of((spec.batch, 1), dtype)
    if kernel == "mean_squared_error_forward":
        return size_of((spec.batch, spec.outputs), dtype)
    return 0
