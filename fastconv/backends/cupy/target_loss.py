"""Losses of targets that are numbers, in CUDA (``kernels/cuda/target_loss.cu``)."""

from __future__ import annotations

from typing import Any

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import check_size, launch_elements, launch_rows
from fastconv.plans.loss_operation import (
    ELEMENTWISE_LOSS_KINDS,
    ElementwiseLossSpec,
    SoftCrossEntropySpec,
)
from fastconv.plans.operation import LossSpec


def _sizes(spec: Any) -> tuple[int, int]:
    check_size("target_loss", scores=spec.batch * spec.outputs)
    return spec.batch, spec.outputs


def one_hot(spec: LossSpec, labels: Array, targets: Array, workspace: Array | None) -> None:
    """1 at the labels, 0 elsewhere; NaN for a label that is none of the classes."""
    launch_elements(
        "target_loss.one_hot", spec.batch * spec.outputs, *_sizes(spec), labels, targets,
        dtype=targets.dtype,
    )  # fmt: skip


def soft_cross_entropy_forward(
    spec: SoftCrossEntropySpec,
    scores: Array,
    targets: Array,
    class_weights: Array | None,
    losses: Array,
    probabilities: Array,
    workspace: Array | None,
) -> None:
    """Losses and the softmax of the scores."""
    launch_rows(
        "target_loss.soft_cross_entropy_forward", spec.batch, *_sizes(spec),
        float(spec.label_smoothing), scores, targets, class_weights, losses, probabilities,
        dtype=losses.dtype,
    )  # fmt: skip


def soft_cross_entropy_backward(
    spec: SoftCrossEntropySpec,
    probabilities: Array,
    targets: Array,
    class_weights: Array | None,
    dscores: Array,
    workspace: Array | None,
) -> None:
    """Gradient of the mean loss."""
    launch_rows(
        "target_loss.soft_cross_entropy_backward", spec.batch, *_sizes(spec),
        float(spec.label_smoothing), probabilities, targets, class_weights, dscores,
        dtype=dscores.dtype,
    )  # fmt: skip


def _choice(spec: ElementwiseLossSpec) -> tuple[int, float]:
    return ELEMENTWISE_LOSS_KINDS.index(spec.kind), float(spec.delta)


def elementwise_loss_forward(
    spec: ElementwiseLossSpec, y: Array, target: Array, losses: Array, workspace: Array | None
) -> None:
    """Mean over the outputs of each sample."""
    launch_rows(
        "target_loss.elementwise_loss_forward", spec.batch, *_sizes(spec), *_choice(spec), y,
        target, losses, dtype=losses.dtype,
    )  # fmt: skip


def elementwise_loss_backward(
    spec: ElementwiseLossSpec, y: Array, target: Array, dy: Array, workspace: Array | None
) -> None:
    """Gradient of the mean loss."""
    launch_elements(
        "target_loss.elementwise_loss_backward", spec.batch * spec.outputs, *_sizes(spec),
        *_choice(spec), y, target, dy, dtype=dy.dtype,
    )  # fmt: skip


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
