"""Batch normalisation (Ioffe & Szegedy, arXiv:1502.03167).

Sums are made in float64, and so are the squares and products that go into them: those of float32
numbers need not fit into float32. They are made block by block, which stay in a near cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv.backends.numpy.sums import sum_rows
from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.plans.operation import NormSpec

_ELEMENTS_OF_A_BLOCK = 1 << 15


def _block_rows(spec: NormSpec) -> int:
    return min(spec.rows, max(1, _ELEMENTS_OF_A_BLOCK // spec.channels))


def _sum_products(spec: NormSpec, a: np.ndarray, b: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Sum ``a * b`` over the rows, in float64."""
    total = np.zeros(spec.channels)
    for rows in _blocks(spec):
        products = block[: len(a[rows])]
        np.multiply(a[rows], b[rows], out=products, dtype=np.float64)
        total += sum_rows(products)
    return total


def _blocks(spec: NormSpec) -> Iterator[slice]:
    step = _block_rows(spec)
    for first in range(0, spec.rows, step):
        yield slice(first, first + step)


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
    """Normalise by the batch's own statistics and fold them into the running ones."""
    rows, out = x.reshape(-1, spec.channels), y.reshape(-1, spec.channels)
    if spec.rows == 0:
        mean.fill(0)
        inverse_std.fill(0)
        return
    block = Carver(workspace).take((_block_rows(spec), spec.channels), np.float64)
    batch_mean = sum_rows(rows) / spec.rows
    np.copyto(mean, batch_mean)
    np.subtract(rows, mean, out=out)
    # The distances are those from the rounded mean.
    variance = _sum_products(spec, out, out, block) / spec.rows - (batch_mean - mean) ** 2
    inverse = 1.0 / np.sqrt(variance + spec.epsilon)
    np.copyto(inverse_std, inverse)
    np.multiply(out, (gamma * inverse).astype(x.dtype), out=out)
    np.add(out, beta, out=out)
    unbiased = variance * (spec.rows / max(1, spec.rows - 1))
    for running, batch in ((running_mean, batch_mean), (running_variance, unbiased)):
        # Not by what is missing, which is not a number where both are infinite.
        np.copyto(running, (1 - spec.momentum) * running.astype(np.float64) + spec.momentum * batch)


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
    factor = gamma / np.sqrt(running_variance.astype(np.float64) + spec.epsilon)
    np.multiply(out, factor.astype(x.dtype), out=out)
    np.add(out, beta, out=out)


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
    """Gradients through the batch's own statistics.

    With n rows and the normalised input z:
    ``dx = gamma * inverse_std * (dy - (dbeta + z * dgamma) / n)``.
    """
    if spec.rows == 0:
        dgamma.fill(0)
        dbeta.fill(0)
        return
    rows, grad = x.reshape(-1, spec.channels), dy.reshape(-1, spec.channels)
    out = dx.reshape(-1, spec.channels)
    carver = Carver(workspace)
    z = carver.take(rows.shape, x.dtype)
    block = carver.take((_block_rows(spec), spec.channels), np.float64)
    np.subtract(rows, mean, out=z)
    np.multiply(z, inverse_std, out=z)
    products, total = _sum_products(spec, grad, z, block), sum_rows(grad)
    np.copyto(dgamma, products)
    np.copyto(dbeta, total)
    # Of the means, which fit where the sums may not.
    np.multiply(z, (products / spec.rows).astype(x.dtype), out=z)
    np.add(z, (total / spec.rows).astype(x.dtype), out=z)
    np.subtract(grad, z, out=out)
    np.multiply(out, gamma * inverse_std, out=out)


def workspace_bytes(kernel: str, spec: NormSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    if kernel == "batch_norm_forward_inference":
        return 0
    size = size_of((_block_rows(spec), spec.channels), np.float64)
    if kernel == "batch_norm_backward":
        size += size_of((spec.rows, spec.channels), dtype)
    return size
