"""A ReLU with a learned slope below 0: one, or one for each channel."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numpy.sums import sum_rows
from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.plans.operation import PReLUSpec


def prelu_forward(
    spec: PReLUSpec, x: np.ndarray, slope: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """``x`` where positive, else slope * x."""
    rows, carver = x.reshape(spec.rows, spec.channels), Carver(workspace)
    below = carver.take(rows.shape, x.dtype)
    above = carver.take(rows.shape, np.bool_)
    np.greater(rows, 0, out=above)
    np.multiply(rows, slope, out=below)
    np.copyto(below, rows, where=above)
    np.copyto(y.reshape(rows.shape), below)


def prelu_backward(
    spec: PReLUSpec,
    dy: np.ndarray,
    x: np.ndarray,
    slope: np.ndarray,
    dx: np.ndarray,
    dslope: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx = dy`` where x is positive, else slope * dy; ``dslope`` sums ``dy * x`` there."""
    shape, carver = (spec.rows, spec.channels), Carver(workspace)
    rows, gradients = x.reshape(shape), dy.reshape(shape)
    below = carver.take(shape, x.dtype)
    above = carver.take(shape, np.bool_)
    np.greater(rows, 0, out=above)
    np.multiply(gradients, rows, out=below)
    np.copyto(below, 0, where=above)
    totals = sum_rows(below)
    dslope[...] = totals.sum() if spec.slopes == 1 else totals
    np.multiply(gradients, slope, out=below)
    np.copyto(below, gradients, where=above)
    np.copyto(dx.reshape(shape), below)


def workspace_bytes(kernel: str, spec: PReLUSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    shape = spec.rows, spec.channels
    return size_of(shape, dtype) + size_of(shape, np.bool_)
