"""Losses of targets that are numbers: a distribution over classes, or a value of each output."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.plans.loss_operation import ElementwiseLossSpec, SoftCrossEntropySpec
from fastconv.plans.operation import LossSpec


def one_hot(
    spec: LossSpec, labels: np.ndarray, targets: np.ndarray, workspace: np.ndarray | None
) -> None:
    """1 at the labels, 0 elsewhere; NaN for a label that is none of the classes."""
    labels = labels.copy()  # another thread may write to the caller's
    inside = (labels >= 0) & (labels < spec.outputs)
    targets.fill(0)
    targets[~inside] = np.nan
    samples = np.flatnonzero(inside)
    targets[samples, labels[samples]] = 1


def _smooth(
    spec: SoftCrossEntropySpec,
    targets: np.ndarray,
    class_weights: np.ndarray | None,
    out: np.ndarray,
) -> None:
    """Write the targets as they count: smoothed, and times the weights of the classes."""
    np.multiply(targets, 1 - spec.label_smoothing, out=out)
    if spec.label_smoothing:
        np.add(out, spec.label_smoothing / spec.outputs, out=out)
    if class_weights is not None:
        np.multiply(out, class_weights, out=out)


def soft_cross_entropy_forward(
    spec: SoftCrossEntropySpec,
    scores: np.ndarray,
    targets: np.ndarray,
    class_weights: np.ndarray | None,
    losses: np.ndarray,
    probabilities: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Cross entropy between distributions and the softmax, and the softmax for the way back."""
    carver = Carver(workspace)
    row = carver.take((spec.batch, 1), scores.dtype)
    q = carver.take(scores.shape, scores.dtype)
    _smooth(spec, targets, class_weights, q)
    whole = np.add.reduce(q, axis=1)
    np.maximum.reduce(scores, axis=1, keepdims=True, out=row)
    np.subtract(scores, row, out=probabilities)
    np.multiply(q, probabilities, out=q)
    np.add.reduce(q, axis=1, out=losses)
    np.exp(probabilities, out=probabilities)
    np.add.reduce(probabilities, axis=1, keepdims=True, out=row)
    np.divide(probabilities, row, out=probabilities)
    np.log(row, out=row)
    np.subtract(whole * row[:, 0], losses, out=losses)


def soft_cross_entropy_backward(
    spec: SoftCrossEntropySpec,
    probabilities: np.ndarray,
    targets: np.ndarray,
    class_weights: np.ndarray | None,
    dscores: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``(softmax * sum(q) - q) / batch`` with the smoothed and weighted targets q."""
    q = Carver(workspace).take(targets.shape, targets.dtype)
    _smooth(spec, targets, class_weights, q)
    np.multiply(probabilities, np.add.reduce(q, axis=1, keepdims=True), out=dscores)
    np.subtract(dscores, q, out=dscores)
    np.multiply(dscores, dscores.dtype.type(1.0 / max(1, spec.batch)), out=dscores)


def elementwise_loss_forward(
    spec: ElementwiseLossSpec,
    y: np.ndarray,
    target: np.ndarray,
    losses: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Mean over the outputs of each sample of what the spec's kind says."""
    carver = Carver(workspace)
    each, other = carver.take(y.shape, y.dtype), carver.take(y.shape, y.dtype)
    if spec.kind == "binary_cross_entropy_with_logits":
        np.multiply(y, target, out=other)
        np.maximum(y, 0, out=each)
        np.subtract(each, other, out=each)
        np.abs(y, out=other)
        np.negative(other, out=other)
        np.exp(other, out=other)
        np.log1p(other, out=other)
        np.add(each, other, out=each)
    else:
        np.subtract(y, target, out=each)
        np.abs(each, out=each)
        if spec.kind == "huber":
            # Of the part within delta the square, and of what is beyond it the distance.
            np.minimum(each, spec.delta, out=other)
            np.subtract(each, other, out=each)
            np.multiply(each, spec.delta, out=each)
            np.multiply(other, other, out=other)
            np.multiply(other, 0.5, out=other)
            np.add(each, other, out=each)
    np.mean(each, axis=1, out=losses)


def elementwise_loss_backward(
    spec: ElementwiseLossSpec,
    y: np.ndarray,
    target: np.ndarray,
    dy: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Gradient of the mean loss."""
    if spec.kind == "binary_cross_entropy_with_logits":
        np.negative(y, out=dy)
        np.exp(dy, out=dy)
        np.add(dy, 1, out=dy)
        np.reciprocal(dy, out=dy)
        np.subtract(dy, target, out=dy)
    else:
        np.subtract(y, target, out=dy)
        if spec.kind == "huber":
            np.clip(dy, -spec.delta, spec.delta, out=dy)
        else:
            np.sign(dy, out=dy)
    np.multiply(dy, dy.dtype.type(1.0 / max(1, spec.batch * spec.outputs)), out=dy)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    whole = size_of((spec.batch, spec.outputs), dtype)
    if kernel == "soft_cross_entropy_forward":
        return size_of((spec.batch, 1), dtype) + whole
    return {"soft_cross_entropy_backward": whole, "elementwise_loss_forward": 2 * whole}.get(
        kernel, 0
    )
