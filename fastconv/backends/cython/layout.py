"""Layouts in C (``kernels/cpu/layout.h``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.cython import engine
from fastconv.plans.operation import InputSpec


def nchw_to_nhwc(
    spec: InputSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Images from channels first to channels last."""
    engine.execute("layout.nchw_to_nhwc", spec, x, y, workspace)


def nhwc_to_nchw(
    spec: InputSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Images from channels last to channels first."""
    engine.execute("layout.nhwc_to_nchw", spec, x, y, workspace)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return engine.workspace_bytes(f"layout.{kernel}", spec, dtype)
