"""Weights of samples in a loss, and the statistics of an epoch with weights.

A sample of factor 0 counts for nothing, whatever its loss is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.plans.loss_operation import LabelWeightSpec
from fastconv.plans.operation import LossSpec


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
    """Weight of each sample: its own, times that of its class; 0 where its label is ignored."""
    np.copyto(counted, labels)
    np.copyto(factors, 1 if sample_weights is None else sample_weights)
    if spec.ignore_index is not None:
        factors[counted == spec.ignore_index] = 0
    np.copyto(weights, factors)
    if class_weights is not None:
        inside = (counted >= 0) & (counted < spec.outputs)
        of_class = np.where(inside, class_weights[np.where(inside, counted, 0)], np.nan)
        np.multiply(weights, of_class, out=weights)
    nothing = factors == 0
    weights[nothing] = 0
    counted[nothing] = -1


def weigh_losses(
    spec: LossSpec, factors: np.ndarray, losses: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Losses times factors; 0 where the factor is 0."""
    np.multiply(losses, factors, out=losses)
    losses[factors == 0] = 0


def weigh_gradients(
    spec: LossSpec,
    factors: np.ndarray,
    weights: np.ndarray,
    dscores: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """From the gradient of a mean over the batch to that of a mean by weights."""
    total = np.add.reduce(weights, dtype=np.float64)
    if total == 0:
        dscores.fill(0)
        return
    share = factors.astype(np.float64) * (spec.batch / total)
    np.multiply(dscores, share.astype(dscores.dtype)[:, None], out=dscores)
    dscores[factors == 0] = 0


def sum_weighted_losses(
    spec: LossSpec,
    losses: np.ndarray,
    factors: np.ndarray,
    weights: np.ndarray,
    statistics: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Add losses, samples whose factor is not 0, and weights to the statistics."""
    statistics[0] += np.add.reduce(losses, dtype=np.float64)
    statistics[2] += np.count_nonzero(factors)
    statistics[3] += np.add.reduce(weights, dtype=np.float64)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
