"""Batch normalisation (Ioffe & Szegedy, arXiv:1502.03167), one channel at a time.

Without any rows there are no statistics: the mean and the inverse std are then 0, the running
statistics stay as they are, and the gradients of gamma and beta are 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.plans.operation import NormSpec


def _channel(spec: NormSpec, x: np.ndarray, c: int) -> np.ndarray:
    """All values of one channel, in float64."""
    return x.reshape(spec.rows, spec.channels)[:, c].astype(np.float64)


@np.errstate(all="ignore")
def batch_norm_forward_training(
    spec: NormSpec,
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    running_mean: np.ndarray,
    running_variance: np.ndarray,
    y: np.ndarray,
    mean: np.ndarray,
    inverse_std: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta``, by the batch's statistics.

    Parameters
    ----------
    spec
        Rows, channels, epsilon and momentum.
    x, gamma, beta
        Input (rows * channels elements, channels last); scale and offset (channels,).
    running_mean, running_variance
        Running statistics (channels,), updated; the variance that enters them is the unbiased one
        (over rows - 1), or the biased one where there is a single row.
    y, mean, inverse_std
        Output (like ``x``), the batch's mean and ``1 / sqrt(biased variance + epsilon)``
        (channels,); written.
    workspace
        Not used.
    """
    if spec.rows == 0:
        mean[...] = 0
        inverse_std[...] = 0
        return
    for c in range(spec.channels):
        values = _channel(spec, x, c)
        batch_mean = np.sum(values) / spec.rows
        squares = np.sum((values - batch_mean) ** 2)
        variance = squares / spec.rows
        unbiased = squares / (spec.rows - 1) if spec.rows > 1 else variance
        inverse = 1.0 / np.sqrt(variance + spec.epsilon)
        scaled = float(gamma[c]) * (values - batch_mean) * inverse + float(beta[c])
        y.reshape(spec.rows, spec.channels)[:, c] = scaled
        mean[c] = batch_mean
        inverse_std[c] = inverse
        for running, batch in ((running_mean, batch_mean), (running_variance, unbiased)):
            running[c] = (1 - spec.momentum) * float(running[c]) + spec.momentum * batch


@np.errstate(all="ignore")
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
    """``y = gamma * (x - running_mean) / sqrt(running_variance + epsilon) + beta``.

    Parameters
    ----------
    spec
        Rows, channels and epsilon.
    x, gamma, beta
        Input (rows * channels elements, channels last); scale and offset (channels,).
    running_mean, running_variance
        Statistics (channels,), read.
    y
        Output (like ``x``), written.
    workspace
        Not used.
    """
    for c in range(spec.channels):
        centred = _channel(spec, x, c) - float(running_mean[c])
        std = np.sqrt(float(running_variance[c]) + spec.epsilon)
        scaled = float(gamma[c]) * centred / std + float(beta[c])
        y.reshape(spec.rows, spec.channels)[:, c] = scaled


@np.errstate(all="ignore")
def batch_norm_backward(
    spec: NormSpec,
    dy: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    mean: np.ndarray,
    inverse_std: np.ndarray,
    dx: np.ndarray,
    dgamma: np.ndarray,
    dbeta: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Gradients of the training kernel, through the batch's own statistics.

    With ``z = (x - mean) * inverse_std``: ``dbeta = sum(dy)``, ``dgamma = sum(dy * z)``,
    ``dx = gamma * inverse_std * (dy - dbeta / rows - z * dgamma / rows)``.

    Parameters
    ----------
    spec
        Rows and channels.
    dy, x, gamma
        Gradient of the output and input (rows * channels elements), scale (channels,).
    mean, inverse_std
        What the training kernel wrote (channels,).
    dx, dgamma, dbeta
        Gradients of the input, the scale and the offset, written.
    workspace
        Not used.
    """
    for c in range(spec.channels):
        gradient = _channel(spec, dy, c)
        inverse = float(inverse_std[c])
        z = (_channel(spec, x, c) - float(mean[c])) * inverse
        sum_gradient, sum_product = np.sum(gradient), np.sum(gradient * z)
        # With no rows these two means are 0 / 0 and go nowhere.
        centred = gradient - sum_gradient / spec.rows - z * sum_product / spec.rows
        dx.reshape(spec.rows, spec.channels)[:, c] = float(gamma[c]) * inverse * centred
        dgamma[c] = sum_product
        dbeta[c] = sum_gradient


def workspace_bytes(kernel: str, spec: NormSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
