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


def _sum_channels(kernel: str, spec: NormSpec, *arguments: Any, dtype: Any) -> None:
    """Launch a kernel that adds up the rows of each channel."""
    check_size(kernel, x=spec.rows * spec.channels)
    grid = (math.ceil(spec.channels / _LANES),)
    launch(kernel, grid, (_LANES, _ROWS), spec.rows, spec.channels, *arguments, dtype=dtype)


def _normalize(
    spec: NormSpec, x: Array, gamma: Array, beta: Array, mean: Array, spread: Array, y: Array,
    is_variance: int,
) -> None:  # fmt: skip
    launch_elements(
        "norm.normalize", spec.rows * spec.channels, spec.rows, spec.channels,
        float(spec.epsilon),        is_variance, x, gamma, beta, mean, spread, y, dtype=y.dtype,
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
        "norm.batch_statistics", spec, float(spec.epsilon), float(spec.momentum), x, running_mean,
        running_variance, mean, inverse_std, dtype=y.dtype,
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
    means = memory_of(workspace)
    _sum_channels(
        "norm.batch_norm_sums", spec, dy, x, mean, inverse_std, dgamma, dbeta, means,
        dtype=dx.dtype,
    )  # fmt: skip
    launch_elements(
        "norm.batch_norm_data_gradient", spec.rows * spec.channels, spec.rows, spec.channels, dy, x,
        gamma, mean, inverse_std, means, dx, dtype=dx.dtype,
    )  # fmt: skip


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: two means of each channel."""
    if kernel != "batch_norm_backward":
        return 0
    return 2 * int(spec.channels) * int(np.dtype(dtype).itemsize)
