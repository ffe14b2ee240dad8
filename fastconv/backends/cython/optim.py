"""Updates of the parameters in C (``kernels/cpu/optim.h``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.cython import engine
from fastconv.plans.operation import OptimizerSpec


def sgd_update(
    spec: OptimizerSpec,
    w: np.ndarray,
    dw: np.ndarray,
    rate: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Plain gradient descent."""
    engine.execute("optim.sgd_update", spec, w, dw, rate, workspace)


def momentum_update(
    spec: OptimizerSpec,
    w: np.ndarray,
    dw: np.ndarray,
    m: np.ndarray,
    rate: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Momentum or Nesterov momentum, classic or averaged."""
    engine.execute("optim.momentum_update", spec, w, dw, m, rate, workspace)


def adam_update(
    spec: OptimizerSpec,
    w: np.ndarray,
    dw: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    rate: np.ndarray,
    step: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Adam (Kingma & Ba, arXiv:1412.6980, algorithm 1)."""
    engine.execute("optim.adam_update", spec, w, dw, m, v, rate, step, workspace)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return engine.workspace_bytes(f"optim.{kernel}", spec, dtype)
