"""Pooling in C (``kernels/cpu/pool.h``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.cython import engine
from fastconv.plans.operation import InputSpec
from fastconv.spec import PoolSpec


def max_pool2d_forward(
    spec: PoolSpec,
    x: np.ndarray,
    y: np.ndarray,
    where: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Largest pixel of each window, and its flat index in the unpadded H*W plane."""
    engine.execute("pool.max_pool2d_forward", spec, x, y, where, workspace)


def max_pool2d_backward(
    spec: PoolSpec,
    dy: np.ndarray,
    where: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Send each window's gradient to the pixel it took."""
    engine.execute("pool.max_pool2d_backward", spec, dy, where, dx, workspace)


def avg_pool2d_forward(
    spec: PoolSpec,
    x: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Mean of each window."""
    engine.execute("pool.avg_pool2d_forward", spec, x, y, workspace)


def avg_pool2d_backward(
    spec: PoolSpec,
    dy: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Spread each window's gradient evenly over its pixels."""
    engine.execute("pool.avg_pool2d_backward", spec, dy, dx, workspace)


def global_avg_pool2d_forward(
    spec: InputSpec,
    x: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Mean over all pixels: (batch, height, width, channels) to (batch, channels)."""
    engine.execute("pool.global_avg_pool2d_forward", spec, x, y, workspace)


def global_avg_pool2d_backward(
    spec: InputSpec,
    dy: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Spread the gradient evenly over all pixels."""
    engine.execute("pool.global_avg_pool2d_backward", spec, dy, dx, workspace)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return engine.workspace_bytes(f"pool.{kernel}", spec, dtype)
