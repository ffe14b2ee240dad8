"""Group, layer and instance normalisation in CUDA (``kernels/cuda/group_norm.cu``)."""

from __future__ import annotations

import math
from typing import Any

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import THREADS, check_size, launch, launch_rows
from fastconv.plans.norm_operation import GroupNormSpec

_LANES, _ROWS = 32, 8
"""Threads of a block: channels, and rows that are added up side by side."""


def _sizes(spec: GroupNormSpec) -> tuple[int, int, int, int]:
    check_size("group_norm", x=spec.batch * spec.pixels * spec.channels)
    return spec.batch, spec.pixels, spec.channels, spec.groups


def group_norm_forward(
    spec: GroupNormSpec,
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    y: Array,
    mean: Array,
    inverse_std: Array,
    workspace: Array | None,
) -> None:
    """Normalise each group of each sample by its own statistics."""
    launch_rows(
        "group_norm.group_norm_forward", spec.batch * spec.groups, *_sizes(spec),
        float(spec.epsilon), x, gamma, beta, y, mean, inverse_std, threads=THREADS, dtype=y.dtype,
    )  # fmt: skip


def group_norm_backward_data(
    spec: GroupNormSpec,
    dy: Array,
    x: Array,
    gamma: Array | None,
    mean: Array,
    inverse_std: Array,
    dx: Array,
    workspace: Array | None,
) -> None:
    """Gradient through the groups' own statistics."""
    launch_rows(
        "group_norm.group_norm_backward_data", spec.batch * spec.groups, *_sizes(spec), dy, x,
        gamma, mean, inverse_std, dx, threads=THREADS, dtype=dx.dtype,
    )  # fmt: skip


def group_norm_backward_parameters(
    spec: GroupNormSpec,
    dy: Array,
    x: Array,
    mean: Array,
    inverse_std: Array,
    dgamma: Array,
    dbeta: Array | None,
    workspace: Array | None,
) -> None:
    """Sums of each channel."""
    grid = (math.ceil(spec.channels / _LANES),)
    launch(
        "group_norm.group_norm_backward_parameters", grid, (_LANES, _ROWS), *_sizes(spec), dy, x,
        mean, inverse_std, dgamma, dbeta, dtype=dgamma.dtype,
    )  # fmt: skip


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
