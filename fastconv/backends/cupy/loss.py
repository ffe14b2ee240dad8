"""Losses in CUDA (``kernels/cuda/loss.cu``)."""

from __future__ import annotations

from typing import Any

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import (
    THREADS,
    check_size,
    launch,
    launch_elements,
    launch_rows,
)
from fastconv.backends.cupy.loss_blocks import blocks_of_losses
from fastconv.plans.operation import LossSpec


def _sizes(spec: LossSpec) -> tuple[int, int]:
    check_size("loss", scores=spec.batch * spec.outputs)
    return spec.batch, spec.outputs


def softmax_cross_entropy_forward(
    spec: LossSpec,
    scores: Array,
    labels: Array,
    losses: Array,
    probabilities: Array,
    workspace: Array | None,
) -> None:
    """Losses and the softmax of the scores."""
    launch_rows(
        "loss.softmax_cross_entropy_forward", spec.batch, *_sizes(spec), scores, labels, losses,
        probabilities, dtype=losses.dtype,
    )  # fmt: skip


def softmax_cross_entropy_backward(
    spec: LossSpec,
    probabilities: Array,
    labels: Array,
    dscores: Array,
    workspace: Array | None,
) -> None:
    """Gradient of the mean loss."""
    launch_elements(
        "loss.softmax_cross_entropy_backward", spec.batch * spec.outputs, *_sizes(spec),
        probabilities, labels, dscores, dtype=dscores.dtype,
    )  # fmt: skip


def nll_forward(
    spec: LossSpec,
    log_probabilities: Array,
    labels: Array,
    losses: Array,
    workspace: Array | None,
) -> None:
    """Negative log-likelihood of the labels."""
    launch_elements(
        "loss.nll_forward", spec.batch, *_sizes(spec), log_probabilities, labels, losses,
        dtype=losses.dtype,
    )  # fmt: skip


def nll_backward(
    spec: LossSpec,
    labels: Array,
    dlog_probabilities: Array,
    workspace: Array | None,
) -> None:
    """Gradient of the mean loss."""
    launch_elements(
        "loss.nll_backward", spec.batch * spec.outputs, *_sizes(spec), labels, dlog_probabilities,
        dtype=dlog_probabilities.dtype,
    )  # fmt: skip


def mean_squared_error_forward(
    spec: LossSpec,
    y: Array,
    target: Array,
    losses: Array,
    workspace: Array | None,
) -> None:
    """Mean of the squared differences of each sample."""
    launch_rows(
        "loss.mean_squared_error_forward", spec.batch, *_sizes(spec), y, target, losses,
        dtype=losses.dtype,
    )  # fmt: skip


def mean_squared_error_backward(
    spec: LossSpec,
    y: Array,
    target: Array,
    dy: Array,
    workspace: Array | None,
) -> None:
    """Gradient of the mean loss."""
    launch_elements(
        "loss.mean_squared_error_backward", spec.batch * spec.outputs, *_sizes(spec), y, target, dy,
        dtype=dy.dtype,
    )  # fmt: skip


def sum_losses(
    spec: LossSpec,
    losses: Array,
    statistics: Array,
    workspace: Array | None,
) -> None:
    """Add the sum of the losses, and the number of samples."""
    launch("loss.sum_losses", (1,), (THREADS,), spec.batch, losses, statistics, dtype=losses.dtype)


def count_correct(
    spec: LossSpec,
    scores: Array,
    labels: Array,
    statistics: Array,
    workspace: Array | None,
) -> None:
    """Add the number of samples whose first largest score is at the label."""
    launch(
        "loss.count_correct", (1,), (THREADS,), *_sizes(spec), scores, labels, statistics,
        dtype=scores.dtype,
    )  # fmt: skip


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs.

    None; but what is fused has that of its first kernel, which counts, and leaves two sums of each
    block there.
    """
    if kernel != "count_correct":
        return 0
    blocks = blocks_of_losses(spec)
    return 0 if blocks == 1 else 2 * 8 * blocks
