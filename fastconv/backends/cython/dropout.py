"""Dropout in C (``kernels/cpu/dropout.h``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.cython import engine
from fastconv.plans.operation import DropoutSpec


def dropout_forward(
    spec: DropoutSpec,
    x: np.ndarray,
    step: np.ndarray,
    mask: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Draw the mask of this step; keep and scale, or zero."""
    engine.execute("dropout.dropout_forward", spec, x, step, mask, y, workspace)


def dropout_backward(
    spec: DropoutSpec,
    dy: np.ndarray,
    mask: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Send the gradient through the elements that were kept."""
    engine.execute("dropout.dropout_backward", spec, dy, mask, dx, workspace)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return engine.workspace_bytes(f"dropout.{kernel}", spec, dtype)
