"""Layouts: transposed views that are copied."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.operation import InputSpec
from fastconv.spec import ConvSpec


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


def oihw_to_hwio(
    spec: ConvSpec, w: np.ndarray, packed: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Weights from filters first to filters last."""
    packed[...] = w.transpose(2, 3, 1, 0)


def hwio_to_oihw(
    spec: ConvSpec, w: np.ndarray, unpacked: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Weights from filters last to filters first."""
    unpacked[...] = w.transpose(3, 2, 0, 1)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
