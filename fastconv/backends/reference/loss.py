"""Losses of each sample, their gradients, and the running statistics of an epoch.

``statistics`` is [sum of losses, correct samples, samples], float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.plans.operation import LossSpec


def _score_of(row: np.ndarray, label: int) -> float:
    """The score of a label; one that is none of the classes has NaN, and so has its loss."""
    return float(row[label]) if 0 <= label < len(row) else math.nan


@np.errstate(all="ignore")
def softmax_cross_entropy_forward(
    spec: LossSpec,
    scores: np.ndarray,
    labels: np.ndarray,
    losses: np.ndarray,
    probabilities: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``losses[n] = log(sum over k of e^scores[n, k]) - scores[n, label]``.

    Parameters
    ----------
    spec
        Batch and number of classes.
    scores, labels
        Scores (batch, outputs); int64 class numbers (batch,).
    losses, probabilities
        Losses (batch,) and the softmax of the scores (batch, outputs), written.
    workspace
        Not used.

    Examples
    --------
    >>> losses, probabilities = np.empty(1), np.empty((1, 2))
    >>> softmax_cross_entropy_forward(
    ...     LossSpec(1, 2), np.zeros((1, 2)), np.array([1]), losses, probabilities, None
    ... )
    >>> probabilities.tolist(), float(losses[0])
    ([[0.5, 0.5]], 0.6931471805599453)
    """
    for n in range(spec.batch):
        row = scores[n].astype(np.float64)
        # Shifting every score changes neither result; by the largest, no power overflows.
        shifted = row - np.max(row)
        powers = np.exp(shifted)
        losses[n] = np.log(np.sum(powers)) - _score_of(shifted, labels[n])
        probabilities[n] = powers / np.sum(powers)


@np.errstate(all="ignore")
def softmax_cross_entropy_backward(
    spec: LossSpec,
    probabilities: np.ndarray,
    labels: np.ndarray,
    dscores: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dscores[n, k] = (probabilities[n, k] - (1 if k is the label else 0)) / batch``.

    Parameters
    ----------
    spec
        Batch and number of classes.
    probabilities, labels
        What the forward kernel wrote (batch, outputs); int64 class numbers (batch,).
    dscores
        Gradient of the mean loss (batch, outputs), written.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        for k in range(spec.outputs):
            wanted = 1.0 if k == labels[n] else 0.0
            dscores[n, k] = (float(probabilities[n, k]) - wanted) / spec.batch


def nll_forward(
    spec: LossSpec,
    log_probabilities: np.ndarray,
    labels: np.ndarray,
    losses: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Negative log-likelihood: ``losses[n] = -log_probabilities[n, label]``.

    Parameters
    ----------
    spec
        Batch and number of classes.
    log_probabilities, labels
        Output of log-softmax (batch, outputs); int64 class numbers (batch,).
    losses
        Losses (batch,), written.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        losses[n] = -_score_of(log_probabilities[n], labels[n])


def nll_backward(
    spec: LossSpec,
    labels: np.ndarray,
    dlog_probabilities: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``-1 / batch`` at the labels, 0 elsewhere.

    Parameters
    ----------
    spec
        Batch and number of classes.
    labels
        int64 class numbers (batch,).
    dlog_probabilities
        Gradient of the mean loss (batch, outputs), written.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        for k in range(spec.outputs):
            dlog_probabilities[n, k] = -1.0 / spec.batch if k == labels[n] else 0.0


@np.errstate(all="ignore")
def mean_squared_error_forward(
    spec: LossSpec,
    y: np.ndarray,
    target: np.ndarray,
    losses: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``losses[n] = mean over k of (y[n, k] - target[n, k])^2``.

    Parameters
    ----------
    spec
        Batch and number of values.
    y, target
        Values and what they should be (batch, outputs).
    losses
        Losses (batch,), written.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        difference = y[n].astype(np.float64) - target[n].astype(np.float64)
        losses[n] = np.sum(difference**2) / spec.outputs


@np.errstate(all="ignore")
def mean_squared_error_backward(
    spec: LossSpec,
    y: np.ndarray,
    target: np.ndarray,
    dy: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dy[n, k] = 2 * (y[n, k] - target[n, k]) / (batch * outputs)``.

    Parameters
    ----------
    spec
        Batch and number of values.
    y, target
        Values and what they should be (batch, outputs).
    dy
        Gradient of the mean loss (batch, outputs), written.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        for k in range(spec.outputs):
            difference = float(y[n, k]) - float(target[n, k])
            dy[n, k] = 2 * difference / (spec.batch * spec.outputs)


@np.errstate(all="ignore")
def sum_losses(
    spec: LossSpec, losses: np.ndarray, statistics: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Add the sum of the losses to ``statistics[0]`` and the batch to ``statistics[2]``.

    Parameters
    ----------
    spec
        Batch.
    losses
        Losses (batch,).
    statistics
        float64, (3,), updated.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        statistics[0] += float(losses[n])
    statistics[2] += spec.batch


def count_correct(
    spec: LossSpec,
    scores: np.ndarray,
    labels: np.ndarray,
    statistics: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Add to ``statistics[1]`` the samples whose first largest score is at the label.

    Parameters
    ----------
    spec
        Batch and number of classes.
    scores, labels
        Scores (batch, outputs); int64 class numbers (batch,). As in max pooling, a NaN is the
        largest.
    statistics
        float64, (3,), updated.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        # argmax gives the first of equal scores, and takes a NaN for the largest.
        if np.argmax(scores[n]) == labels[n]:
            statistics[1] += 1


def workspace_bytes(kernel: str, spec: LossSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
