"""Layouts: transposed views that are copied."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.plans.operation import InputSpec


def nchw_to_nhwc(
    spec: InputSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Images from channels first to channels last."""
    y[...] = x.transpose(0, 2, 3, 1)


def nhwc_to_nchw(
    spec: InputSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Images from channels last to channels first."""
    y[...] = x.transpose(0, 3, 1, 2)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
