"""Convolutions of NCHW images, by the rules of :mod:`fastconv.backends.compiled.rules.planes`."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numba import engine
from fastconv.spec import ConvSpec


def conv2d_forward(
    spec: ConvSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Convolve with a bias."""
    engine.execute("planes.conv2d_forward", spec, x, w, b, y, workspace)


def conv2d_backward(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray | None,
    dw: np.ndarray | None,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Gradients of the input, the weights and the bias: those that are not None."""
    engine.execute("planes.conv2d_backward", spec, dy, x, w, dx, dw, db, workspace)


def conv_transpose2d_forward(
    spec: ConvSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Add up what each pixel of x spreads over the output, and a bias."""
    engine.execute("planes.conv_transpose2d_forward", spec, x, w, b, y, workspace)


def conv_transpose2d_backward(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray | None,
    dw: np.ndarray | None,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Gradients of the input, the weights and the bias: those that are not None."""
    engine.execute("planes.conv_transpose2d_backward", spec, dy, x, w, dx, dw, db, workspace)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return engine.workspace_bytes(f"planes.{kernel}", spec, dtype)
