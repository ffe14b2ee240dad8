"""Weights of samples in a loss, in CUDA (``kernels/cuda/loss_weights.cu``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import THREADS, launch, launch_elements
from fastconv.plans.loss_operation import LabelWeightSpec
from fastconv.plans.operation import LossSpec


def label_weights(
    spec: LabelWeightSpec,
    labels: Array,
    class_weights: Array | None,
    sample_weights: Array | None,
    counted: Array,
    factors: Array,
    weights: Array,
    workspace: Array | None,
) -> None:
    """Weight of each sample: its own, times that of its class; 0 where its label is ignored."""
    launch_elements(
        "loss_weights.label_weights", spec.batch, spec.batch, spec.outputs,
        int(spec.ignore_index is not None), np.uint64((spec.ignore_index or 0) % 2**64), labels,
        class_weights, sample_weights, counted, factors, weights, dtype=factors.dtype,
    )  # fmt: skip


def weigh_losses(spec: LossSpec, factors: Array, losses: Array, workspace: Array | None) -> None:
    """Losses times factors; 0 where the factor is 0."""
    launch_elements(
        "loss_weights.weigh_losses", spec.batch, spec.batch, factors, losses, dtype=losses.dtype
    )


def weigh_gradients(
    spec: LossSpec, factors: Array, weights: Array, dscores: Array, workspace: Array | None
) -> None:
    """From the gradient of a mean over the batch to that of a mean by weights."""
    launch_elements(
        "loss_weights.weigh_gradients", spec.batch * spec.outputs, spec.batch, spec.outputs,
        factors, weights, dscores, dtype=dscores.dtype,
    )  # fmt: skip


def sum_weighted_losses(
    spec: LossSpec,
    losses: Array,
    factors: Array,
    weights: Array,
    statistics: Array,
    workspace: Array | None,
) -> None:
    """Add losses, samples whose factor is not 0, and weights to the statistics."""
    launch(
        "loss_weights.sum_weighted_losses", (1,), (THREADS,), spec.batch, losses, factors, weights,
        statistics, dtype=losses.dtype,
    )  # fmt: skip


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
