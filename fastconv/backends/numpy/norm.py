"""Batch normalisation (Ioffe & Szegedy, arXiv:1502.03167).

The statistics are summed in float64: a float32 sum over every pixel of a batch loses digits that
the variance needs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.operation import NormSpec


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
    rows, out = x.reshape(-1, spec.channels), y.reshape(-1, spec.channels)
    if spec.rows == 0:
        mean.fill(0)
        inverse_deviation.fill(0)
        return
    squares = Carver(workspace).take(rows.shape, x.dtype)
    batch_mean = np.add.reduce(rows, axis=0, dtype=np.float64) / spec.rows
    np.copyto(mean, batch_mean)
    np.subtract(rows, mean, out=out)
    np.multiply(out, out, out=squares)
    variance = np.add.reduce(squares, axis=0, dtype=np.float64) / spec.rows
    np.copyto(inverse_deviation, 1.0 / np.sqrt(variance + spec.epsilon))
    np.multiply(out, gamma * inverse_deviation, out=out)
    np.add(out, beta, out=out)
    unbiased = variance * (spec.rows / max(1, spec.rows - 1))
    running_mean += spec.momentum * (batch_mean - running_mean)
    running_variance += spec.momentum * (unbiased - running_variance)


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
    rows, out = x.reshape(-1, spec.channels), y.reshape(-1, spec.channels)
    np.subtract(rows, running_mean, out=out)
    np.multiply(out, gamma / np.sqrt(running_variance + spec.epsilon), out=out)
    np.add(out, beta, out=out)


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
    """Gradients through the batch's own statistics.

    With n rows and the normalised input z:
    ``dx = gamma * inverse_deviation * (dy - (dbeta + z * dgamma) / n)``.
    """
    if spec.rows == 0:
        dgamma.fill(0)
        dbeta.fill(0)
        return
    rows, grad = x.reshape(-1, spec.channels), dy.reshape(-1, spec.channels)
    out = dx.reshape(-1, spec.channels)
    carver = Carver(workspace)
    z = carver.take(rows.shape, x.dtype)
    np.subtract(rows, mean, out=z)
    np.multiply(z, inverse_deviation, out=z)
    np.multiply(grad, z, out=out)
    np.copyto(dgamma, np.add.reduce(out, axis=0, dtype=np.float64))
    np.copyto(dbeta, np.add.reduce(grad, axis=0, dtype=np.float64))
    np.multiply(z, dgamma, out=z)
    np.add(z, dbeta, out=z)
    np.multiply(z, x.dtype.type(1.0 / spec.rows), out=z)
    np.subtract(grad, z, out=out)
    np.multiply(out, gamma * inverse_deviation, out=out)


def workspace_bytes(kernel: str, spec: NormSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    if kernel == "batch_norm_forward_inference":
        return 0
    return size_of((spec.rows, spec.channels), dtype)
