"""Depthwise convolutions of NCHW images in C (``kernels/cpu/planes.h``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.cython import engine
from fastconv.spec import ConvSpec


def depthwise_forward(
    spec: ConvSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Filter each channel of each sample: ``y = x * w + b``."""
    engine.execute("planes.depthwise_forward", spec, x, w, b, y, workspace)


def depthwise_backward_data(
    spec: ConvSpec,
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Gradient of the input."""
    engine.execute("planes.depthwise_backward_data", spec, dy, w, dx, workspace)


def depthwise_backward_weight(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Gradients of the weights and, unless None, the bias."""
    engine.execute("planes.depthwise_backward_weight", spec, dy, x, dw, db, workspace)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return engine.workspace_bytes(f"planes.{kernel}", spec, dtype)
