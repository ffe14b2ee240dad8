"""Activations, softmax and log-softmax in C (``kernels/cpu/activation.h``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.cython import engine
from fastconv.plans.operation import ActivationSpec, SoftmaxSpec


def activation_forward(
    spec: ActivationSpec,
    x: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Apply the activation to every element."""
    engine.execute("activation.activation_forward", spec, x, y, workspace)


def activation_backward(
    spec: ActivationSpec,
    dy: np.ndarray,
    y: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx = dy * derivative``, the derivative computed from ``y``."""
    engine.execute("activation.activation_backward", spec, dy, y, dx, workspace)


def softmax_forward(
    spec: SoftmaxSpec,
    x: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``e^x / sum(e^x)`` in each row."""
    engine.execute("activation.softmax_forward", spec, x, y, workspace)


def softmax_backward(
    spec: SoftmaxSpec,
    dy: np.ndarray,
    y: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx = y * (dy - sum(dy * y))`` in each row."""
    engine.execute("activation.softmax_backward", spec, dy, y, dx, workspace)


def log_softmax_forward(
    spec: SoftmaxSpec,
    x: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``x - log(sum(e^x))`` in each row."""
    engine.execute("activation.log_softmax_forward", spec, x, y, workspace)


def log_softmax_backward(
    spec: SoftmaxSpec,
    dy: np.ndarray,
    y: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx = dy - e^y * sum(dy)`` in each row."""
    engine.execute("activation.log_softmax_backward", spec, dy, y, dx, workspace)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return engine.workspace_bytes(f"activation.{kernel}", spec, dtype)
