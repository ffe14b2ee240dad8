"""Losses and statistics in C (``kernels/cpu/loss.h``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.cython import engine
from fastconv.plans.operation import LossSpec


def softmax_cross_entropy_forward(
    spec: LossSpec,
    scores: np.ndarray,
    labels: np.ndarray,
    losses: np.ndarray,
    probabilities: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``losses = log(sum(e^scores)) - scores[label]``, and the softmax for the way back."""
    engine.execute(
        "loss.softmax_cross_entropy_forward", spec, scores, labels, losses, probabilities, workspace
    )


def softmax_cross_entropy_backward(
    spec: LossSpec,
    probabilities: np.ndarray,
    labels: np.ndarray,
    dscores: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``(softmax - one hot) / batch``."""
    engine.execute(
        "loss.softmax_cross_entropy_backward", spec, probabilities, labels, dscores, workspace
    )


def nll_forward(
    spec: LossSpec,
    log_probabilities: np.ndarray,
    labels: np.ndarray,
    losses: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Negative log-likelihood: ``losses = -log_probabilities[label]``."""
    engine.execute("loss.nll_forward", spec, log_probabilities, labels, losses, workspace)


def nll_backward(
    spec: LossSpec,
    labels: np.ndarray,
    dlog_probabilities: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``-1 / batch`` at the labels, 0 elsewhere."""
    engine.execute("loss.nll_backward", spec, labels, dlog_probabilities, workspace)


def mean_squared_error_forward(
    spec: LossSpec,
    y: np.ndarray,
    target: np.ndarray,
    losses: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Mean over the outputs of ``(y - target)^2``."""
    engine.execute("loss.mean_squared_error_forward", spec, y, target, losses, workspace)


def mean_squared_error_backward(
    spec: LossSpec,
    y: np.ndarray,
    target: np.ndarray,
    dy: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``2 (y - target) / (batch * outputs)``."""
    engine.execute("loss.mean_squared_error_backward", spec, y, target, dy, workspace)


def sum_losses(
    spec: LossSpec,
    losses: np.ndarray,
    statistics: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Add the batch's losses and its size to the running statistics."""
    engine.execute("loss.sum_losses", spec, losses, statistics, workspace)


def count_correct(
    spec: LossSpec,
    scores: np.ndarray,
    labels: np.ndarray,
    statistics: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Add the number of samples whose (first) largest score is at the label."""
    engine.execute("loss.count_correct", spec, scores, labels, statistics, workspace)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return engine.workspace_bytes(f"loss.{kernel}", spec, dtype)
