"""Batch normalisation in C (``kernels/cpu/norm.h``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.cython import engine
from fastconv.plans.operation import NormSpec


def batch_norm_forward_training(
    spec: NormSpec,
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    running_mean: np.ndarray,
    running_variance: np.ndarray,
    y: np.ndarray,
    mean: np.ndarray,
    inverse_deviation: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Normalise by the batch's own statistics and fold them into the running ones."""
    engine.execute(
        "norm.batch_norm_forward_training",
        spec,
        x,
        gamma,
        beta,
        running_mean,
        running_variance,
        y,
        mean,
        inverse_deviation,
        workspace,
    )


def batch_norm_forward_inference(
    spec: NormSpec,
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    running_mean: np.ndarray,
    running_variance: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Normalise by the running statistics."""
    engine.execute(
        "norm.batch_norm_forward_inference",
        spec,
        x,
        gamma,
        beta,
        running_mean,
        running_variance,
        y,
        workspace,
    )


def batch_norm_backward(
    spec: NormSpec,
    dy: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    mean: np.ndarray,
    inverse_deviation: np.ndarray,
    dx: np.ndarray,
    dgamma: np.ndarray,
    dbeta: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Gradients through the batch's own statistics."""
    engine.execute(
        "norm.batch_norm_backward",
        spec,
        dy,
        x,
        gamma,
        mean,
        inverse_deviation,
        dx,
        dgamma,
        dbeta,
        workspace,
    )


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return engine.workspace_bytes(f"norm.{kernel}", spec, dtype)
