"""Fully connected layers as matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numpy.sums import sum_rows
from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.spec import DenseSpec

_SAMPLES_OF_A_SUM = 4096
"""Samples whose products BLAS may sum in float32; its products of a matrix with a vector keep few
digits of longer sums."""


def dense_forward(
    spec: DenseSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y = x @ w + b``."""
    np.matmul(x, w, out=y)
    if b is not None:
        np.add(y, b, out=y)


def dense_backward_data(
    spec: DenseSpec,
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx = dy @ w.T``."""
    np.matmul(dy, w.T, out=dx)


def dense_backward_weight(
    spec: DenseSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """``dw = x.T @ dy`` and, unless None, ``db = sum of dy over the batch``."""
    if spec.batch == 1:
        np.multiply(x.T, dy, out=dw)  # an outer product: BLAS is 5 times slower at it
    elif spec.batch <= _SAMPLES_OF_A_SUM:
        np.matmul(x.T, dy, out=dw)
    else:
        carver = Carver(workspace)
        part, total = carver.take(dw.shape, dw.dtype), carver.take(dw.shape, np.float64)
        total.fill(0)
        for first in range(0, spec.batch, _SAMPLES_OF_A_SUM):
            samples = slice(first, first + _SAMPLES_OF_A_SUM)
            np.matmul(x[samples].T, dy[samples], out=part)
            np.add(total, part, out=total)
        np.copyto(dw, total, casting="same_kind")
    if db is not None:
        np.copyto(db, sum_rows(dy))


def workspace_bytes(kernel: str, spec: DenseSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    if kernel != "dense_backward_weight" or spec.batch <= _SAMPLES_OF_A_SUM:
        return 0
    shape = spec.inputs, spec.outputs
    return size_of(shape, dtype) + size_of(shape, np.float64)
