"""Weights of samples in a loss, and the statistics of an epoch with weights.

A sample of factor 0 counts for nothing, whatever its loss is: it may be NaN.
``statistics`` is [sum of losses, correct samples, samples, sum of weights], float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.plans.loss_operation import LabelWeightSpec
from fastconv.plans.operation import LossSpec


@np.errstate(all="ignore")
def label_weights(
    spec: LabelWeightSpec,
    labels: np.ndarray,
    class_weights: np.ndarray | None,
    sample_weights: np.ndarray | None,
    counted: np.ndarray,
    factors: np.ndarray,
    weights: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Weight of each sample: its own, times that of its class; 0 where its label is to be ignored.

    Parameters
    ----------
    spec
        Batch, number of classes, and the label that is ignored.
    labels
        int64 class numbers (batch,).
    class_weights, sample_weights
        (outputs,) and (batch,), or None for 1.
    counted
        int64 (batch,), written: the labels, or -1 for samples of factor 0.
    factors, weights
        (batch,), written: the samples' own weights, 0 where ignored, and those times the weights of
        their classes; NaN for a label that is none of the classes, where classes have weights.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        label = int(labels[n])
        own = 1.0 if sample_weights is None else float(sample_weights[n])
        factor = 0.0 if label == spec.ignore_index else own
        of_class = 1.0
        if class_weights is not None:
            of_class = float(class_weights[label]) if 0 <= label < spec.outputs else math.nan
        counted[n] = -1 if factor == 0 else label
        factors[n] = factor
        weights[n] = 0.0 if factor == 0 else factor * of_class


@np.errstate(all="ignore")
def weigh_losses(
    spec: LossSpec, factors: np.ndarray, losses: np.ndarray, workspace: np.ndarray | None
) -> None:
    """``losses[n] = factors[n] * losses[n]``, 0 where the factor is 0.

    Parameters
    ----------
    spec
        Batch.
    factors, losses
        (batch,); the losses are updated.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        losses[n] = 0.0 if factors[n] == 0 else float(factors[n]) * float(losses[n])


@np.errstate(all="ignore")
def weigh_gradients(
    spec: LossSpec,
    factors: np.ndarray,
    weights: np.ndarray,
    dscores: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """From the gradient of a mean over the batch to that of a mean by weights.

    ``dscores[n] = dscores[n] * factors[n] * batch / sum(weights)``; 0 where the factor is 0, and
    all 0 where the weights add up to 0.

    Parameters
    ----------
    spec
        Batch and number of outputs.
    factors, weights
        (batch,).
    dscores
        Gradient (batch, outputs), updated.
    workspace
        Not used.
    """
    total = float(np.sum(weights.astype(np.float64)))
    for n in range(spec.batch):
        for k in range(spec.outputs):
            if factors[n] == 0 or total == 0:
                dscores[n, k] = 0.0
            else:
                dscores[n, k] = float(dscores[n, k]) * (float(factors[n]) * (spec.batch / total))


@np.errstate(all="ignore")
def sum_weighted_losses(
    spec: LossSpec,
    losses: np.ndarray,
    factors: np.ndarray,
    weights: np.ndarray,
    statistics: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Add losses, samples whose factor is not 0, and weights to statistics 0, 2 and 3.

    Parameters
    ----------
    spec
        Batch.
    losses, factors, weights
        (batch,).
    statistics
        float64, (4,), updated.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        statistics[0] += float(losses[n])
        statistics[2] += 0 if factors[n] == 0 else 1
        statistics[3] += float(weights[n])


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
