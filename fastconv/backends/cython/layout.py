"""Layouts in C (``kernels/cpu/layout.h``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.cython import engine
from fastconv.operation import InputSpec
from fastconv.spec import ConvSpec


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


def oihw_to_hwio(
    spec: ConvSpec, w: np.ndarray, packed: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Weights from filters first to filters last."""
    engine.execute("layout.oihw_to_hwio", spec, w, packed, workspace)


def hwio_to_oihw(
    spec: ConvSpec, w: np.ndarray, unpacked: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Weights from filters last to filters first."""
    engine.execute("layout.hwio_to_oihw", spec, w, unpacked, workspace)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return engine.workspace_bytes(f"layout.{kernel}", spec, dtype)
