"""A loss with its gradient and the statistics in one launch, for batches of few samples."""

from __future__ import annotations

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import THREADS, launch
from fastconv.plans.operation import LossSpec


def softmax_cross_entropy(
    spec: LossSpec,
    scores: Array,
    labels: Array,
    losses: Array,
    probabilities: Array,
    dscores: Array,
    statistics: Array,
    workspace: Array | None,
) -> None:
    """Launch what the kernels of the contract do one after the other; parameters as theirs."""
    launch(
        "loss.softmax_cross_entropy", (1,), (THREADS,), spec.batch, spec.outputs, scores, labels,
        losses, probabilities, dscores, statistics, dtype=losses.dtype,
    )  # fmt: skip
