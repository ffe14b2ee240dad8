"""Dense layers in C (``kernels/cpu/conv.h``, ``dense.h``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.cython import engine
from fastconv.spec import DenseSpec


def dense_forward(
    spec: DenseSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y = x @ w + b``."""
    engine.execute("dense.dense_forward", spec, x, w, b, y, workspace)


def dense_backward_data(
    spec: DenseSpec,
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx = dy @ w.T``."""
    engine.execute("dense.dense_backward_data", spec, dy, w, dx, workspace)


def dense_backward_weight(
    spec: DenseSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """``dw = x.T @ dy`` and, unless None, ``db = sum of dy over the batch``."""
    engine.execute("dense.dense_backward_weight", spec, dy, x, dw, db, workspace)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return engine.workspace_bytes(f"dense.{kernel}", spec, dtype)
