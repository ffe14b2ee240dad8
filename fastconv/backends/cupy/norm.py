"""Batch normalisation in CUDA (``kernels/cuda/norm.cu``)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import check_size, launch, launch_elements
from fastconv.backends.cupy.products import memory_of
from fastconv.plans.operation import NormSpec

_LANES, _ROWS = 32, 8
"""Threads of a block: channels, and rows that are added up side by side."""
_ENOUGH_BLOCKS = 256
"""Blocks that keep a large card busy. A constant, so that the sums do not depend on the card."""
_LEAST_ROWS = 64
"""Rows that are worth a block of their own."""


def _parts(spec: NormSpec) -> int:
    """Blocks that share the rows of some channels."""
    wanted = math.ceil(_ENOUGH_BLOCKS / math.ceil(spec.channels / _LANES))
    return max(1, min(wanted, spec.rows // _LEAST_ROWS))


def _bytes_of_parts(spec: NormSpec) -> int:
    """Bytes of two sums of each part and channel, in double."""
    parts = _parts(spec)
    return 0 if parts == 1 else 2 * 8 * parts * spec.channels


def _sum_channels(
    kernel: str,
    spec: NormSpec,
    reads: tuple[Any, ...],
    ends_with: tuple[Any, ...],
    partial: Array | None,
    dtype: Any,
) -> None:
    """Launch a kernel that adds up the rows of each channel, and the one that adds up its parts."""
    check_size(kernel, x=spec.rows * spec.channels)
    blocks, parts, threads = math.ceil(spec.channels / _LANES), _parts(spec), (_LANES, _ROWS)
    sizes = spec.rows, spec.channels
    launch(kernel, (blocks, parts), threads, *sizes, *reads, *ends_with, partial, dtype=dtype)
    if parts > 1:
        again = reads if kernel == "norm.batch_statistics" else ()
        launch(f"{kernel}_end", (blocks,), threads, *sizes, *again, *ends_with, parts, partial,
               dtype=dtype)  # fmt: skip


def _normalize(
    spec: NormSpec, x: Array, gamma: Array, beta: Array, mean: Array, spread: Array, y: Array,
    is_variance: int,
) -> None:  # fmt: skip
    launch_elements(
        "norm.normalize", spec.rows * spec.channels, spec.rows, spec.channels,
        float(spec.epsilon), is_variance, x, gamma, beta, mean, spread, y, dtype=y.dtype,
    )  # fmt: skip


def batch_norm_forward_training(
    spec: NormSpec,
    x: Array,
    gamma: Array,
    beta: Array,
    running_mean: Array,
    running_variance: Array,
    y: Array,
    mean: Array,
    inverse_std: Array,
    workspace: Array | None,
) -> None:
    """Normalise by the batch's statistics, and update the running ones."""
    _sum_channels(
        "norm.batch_statistics", spec, (float(spec.epsilon), float(spec.momentum), x),
        (running_mean, running_variance, mean, inverse_std), memory_of(workspace), y.dtype,
    )  # fmt: skip
    _normalize(spec, x, gamma, beta, mean, inverse_std, y, is_variance=0)


def batch_norm_forward_inference(
    spec: NormSpec,
    x: Array,
    gamma: Array,
    beta: Array,
    running_mean: Array,
    running_variance: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """Normalise by the running statistics."""
    _normalize(spec, x, gamma, beta, running_mean, running_variance, y, is_variance=1)


def batch_norm_backward(
    spec: NormSpec,
    dy: Array,
    x: Array,
    gamma: Array,
    mean: Array,
    inverse_std: Array,
    dx: Array,
    dgamma: Array,
    dbeta: Array,
    workspace: Array | None,
) -> None:
    """Gradients of the training kernel."""
    size = _bytes_of_parts(spec)
    partial, means = memory_of(workspace)[:size], memory_of(workspace)[size:]
    _sum_channels(
        "norm.batch_norm_sums", spec, (dy, x, mean, inverse_std), (dgamma, dbeta, means),
        partial if size else None, dx.dtype,
    )  # fmt: skip
    launch_elements(
        "norm.batch_norm_data_gradient", spec.rows * spec.channels, spec.rows, spec.channels, dy, x,
        gamma, mean, inverse_std, means, dx, dtype=dx.dtype,
    )  # fmt: skip


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs.

    Those of the parts of the sums, and of two means of each channel for the backward pass.
    """
    if kernel == "batch_norm_forward_inference":
        return 0
    means = 2 * int(spec.channels) * int(np.dtype(dtype).itemsize)
    return _bytes_of_parts(spec) + (means if kernel == "batch_norm_backward" else 0)
