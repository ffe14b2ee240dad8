"""Convolutions in C (``kernels/cpu/conv.h``, ``depthwise.h``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.cython import engine
from fastconv.spec import ConvSpec


def conv2d_forward(
    spec: ConvSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y = x * w + b``."""
    engine.execute("conv.conv2d_forward", spec, x, w, b, y, workspace)


def conv2d_backward_data(
    spec: ConvSpec,
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Gradient of x."""
    engine.execute("conv.conv2d_backward_data", spec, dy, w, dx, workspace)


def conv2d_backward_weight(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Gradients of w and, unless None, of b."""
    engine.execute("conv.conv2d_backward_weight", spec, dy, x, dw, db, workspace)


def conv_transpose2d_forward(
    spec: ConvSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """The data gradient of ``spec`` as a layer, plus b."""
    engine.execute("conv.conv_transpose2d_forward", spec, x, w, b, y, workspace)


def conv_transpose2d_backward_data(
    spec: ConvSpec,
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Gradient of x."""
    engine.execute("conv.conv_transpose2d_backward_data", spec, dy, w, dx, workspace)


def conv_transpose2d_backward_weight(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Gradients of w and, unless None, of b."""
    engine.execute("conv.conv_transpose2d_backward_weight", spec, dy, x, dw, db, workspace)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return engine.workspace_bytes(f"conv.{kernel}", spec, dtype)
