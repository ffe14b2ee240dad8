"""Losses of targets that are numbers: a distribution over classes, or a value of each output."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.plans.loss_operation import ElementwiseLossSpec, SoftCrossEntropySpec
from fastconv.plans.operation import LossSpec


def one_hot(
    spec: LossSpec, labels: np.ndarray, targets: np.ndarray, workspace: np.ndarray | None
) -> None:
    """``targets[n, k] = 1 if k is the label else 0``; NaN for a label that is none of the classes.

    Parameters
    ----------
    spec
        Batch and number of classes.
    labels
        int64 class numbers (batch,).
    targets
        Distributions (batch, outputs), written.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        is_class = 0 <= labels[n] < spec.outputs
        for k in range(spec.outputs):
            targets[n, k] = (1.0 if k == labels[n] else 0.0) if is_class else math.nan


def _smoothed(
    spec: SoftCrossEntropySpec, target: np.ndarray, class_weights: np.ndarray | None
) -> np.ndarray:
    """The target of one sample as it counts: smoothed, and times the weights of the classes."""
    smoothed = (1 - spec.label_smoothing) * target.astype(np.float64)
    smoothed += spec.label_smoothing / spec.outputs
    return smoothed if class_weights is None else smoothed * class_weights.astype(np.float64)


@np.errstate(all="ignore")
def soft_cross_entropy_forward(
    spec: SoftCrossEntropySpec,
    scores: np.ndarray,
    targets: np.ndarray,
    class_weights: np.ndarray | None,
    losses: np.ndarray,
    probabilities: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``losses[n] = sum over k of q[k] * (log(sum of e^scores[n]) - scores[n, k])``.

    q is the target, smoothed and times the weights of the classes.

    Parameters
    ----------
    spec
        Batch, number of classes and label smoothing.
    scores, targets
        Scores and distributions (batch, outputs).
    class_weights
        (outputs,), or None for 1.
    losses, probabilities
        Losses (batch,) and the softmax of the scores (batch, outputs), written.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        row = scores[n].astype(np.float64)
        shifted = row - np.max(row)
        powers = np.exp(shifted)
        q = _smoothed(spec, targets[n], class_weights)
        losses[n] = np.sum(q) * np.log(np.sum(powers)) - np.sum(q * shifted)
        probabilities[n] = powers / np.sum(powers)


@np.errstate(all="ignore")
def soft_cross_entropy_backward(
    spec: SoftCrossEntropySpec,
    probabilities: np.ndarray,
    targets: np.ndarray,
    class_weights: np.ndarray | None,
    dscores: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dscores[n, k] = (probabilities[n, k] * sum(q) - q[k]) / batch``.

    Parameters
    ----------
    spec
        Batch, number of classes and label smoothing.
    probabilities, targets, class_weights
        What the forward kernel wrote, and what it was given.
    dscores
        Gradient of the mean loss (batch, outputs), written.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        q = _smoothed(spec, targets[n], class_weights)
        dscores[n] = (probabilities[n].astype(np.float64) * np.sum(q) - q) / spec.batch


def _loss_of(spec: ElementwiseLossSpec, y: float, target: float) -> float:
    difference = y - target
    if spec.kind == "huber":
        if abs(difference) <= spec.delta:
            return difference * difference / 2
        return spec.delta * (abs(difference) - spec.delta / 2)
    if spec.kind == "mean_absolute_error":
        return abs(difference)
    # Shifted like the softmax, so that no power overflows; a NaN stays one.
    largest = y if y > 0 or math.isnan(y) else 0.0
    return float(largest - y * target + np.log1p(np.exp(-abs(y))))


def _derivative_of(spec: ElementwiseLossSpec, y: float, target: float) -> float:
    difference = y - target
    if spec.kind == "huber":
        return float(np.clip(difference, -spec.delta, spec.delta))
    if spec.kind == "mean_absolute_error":
        return float(np.sign(difference))
    return float(1 / (1 + np.exp(-y)) - target)


@np.errstate(all="ignore")
def elementwise_loss_forward(
    spec: ElementwiseLossSpec,
    y: np.ndarray,
    target: np.ndarray,
    losses: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Mean over the outputs of each sample of what the spec's kind says.

    Parameters
    ----------
    spec
        Kind, batch and number of outputs.
    y, target
        Outputs and what they should be (batch, outputs).
    losses
        Losses (batch,), written.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        each = [_loss_of(spec, *map(float, pair)) for pair in zip(y[n], target[n], strict=True)]
        losses[n] = np.sum(each) / spec.outputs


@np.errstate(all="ignore")
def elementwise_loss_backward(
    spec: ElementwiseLossSpec,
    y: np.ndarray,
    target: np.ndarray,
    dy: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Gradient of the mean loss: the derivative over batch * outputs.

    Parameters
    ----------
    spec
        Kind, batch and number of outputs.
    y, target
        Outputs and what they should be (batch, outputs).
    dy
        Gradient (batch, outputs), written.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        for k in range(spec.outputs):
            derivative = _derivative_of(spec, float(y[n, k]), float(target[n, k]))
            dy[n, k] = derivative / (spec.batch * spec.outputs)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
