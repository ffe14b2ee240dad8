"""Fully connected layers as register-tiled products in C (``kernels/cpu/dense.pyx``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.cython import missing
from fastconv.spec import DenseSpec

try:
    from fastconv.backends.cython import _dense
except ImportError as fault:
    raise missing("_dense") from fault


def dense_forward(
    spec: DenseSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y = x @ w + b``."""
    _dense.forward(x, w, b, y)


def dense_backward_data(
    spec: DenseSpec,
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx = dy @ w.T``."""
    _dense.backward_data(dy, w, dx)


def dense_backward_weight(
    spec: DenseSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """``dw = x.T @ dy`` and, unless None, ``db = sum of dy over the batch``."""
    _dense.backward_weight(dy, x, dw, db)


def workspace_bytes(kernel: str, spec: DenseSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
