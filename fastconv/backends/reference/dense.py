"""The fully connected layer and its gradients: one sum of products for every element."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.spec import DenseSpec


@np.errstate(all="ignore")
def dense_forward(
    spec: DenseSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y[n, o] = b[o] + sum over i of x[n, i] * w[i, o]``.

    Parameters
    ----------
    spec
        The layer.
    x, w, b
        Input (batch, inputs), weights (inputs, outputs) and bias (outputs,) or None.
    y
        Output (batch, outputs), written.
    workspace
        Not used.

    Examples
    --------
    >>> y = np.empty((1, 1))
    >>> dense_forward(
    ...     DenseSpec(1, 2, 1), np.array([[1.0, 2]]), np.array([[10.0], [1]]), np.ones(1), y, None
    ... )
    >>> y.item()
    13.0
    """
    x64, w64 = x.astype(np.float64), w.astype(np.float64)
    for n in range(spec.batch):
        for o in range(spec.outputs):
            bias = 0.0 if b is None else float(b[o])
            y[n, o] = bias + np.sum(x64[n, :] * w64[:, o])


@np.errstate(all="ignore")
def dense_backward_data(
    spec: DenseSpec,
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx[n, i] = sum over o of dy[n, o] * w[i, o]``.

    Parameters
    ----------
    spec
        The layer.
    dy, w
        Gradient of the output (batch, outputs) and weights (inputs, outputs).
    dx
        Gradient of the input (batch, inputs), written.
    workspace
        Not used.
    """
    dy64, w64 = dy.astype(np.float64), w.astype(np.float64)
    for n in range(spec.batch):
        for i in range(spec.inputs):
            dx[n, i] = np.sum(dy64[n, :] * w64[i, :])


@np.errstate(all="ignore")
def dense_backward_weight(
    spec: DenseSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """``dw[i, o] = sum over n of x[n, i] * dy[n, o]``, ``db[o] = sum over n of dy[n, o]``.

    Parameters
    ----------
    spec
        The layer.
    dy, x
        Gradient of the output (batch, outputs) and input (batch, inputs).
    dw, db
        Gradients of the weights (inputs, outputs) and of the bias (outputs,) or None, written.
    workspace
        Not used.
    """
    dy64, x64 = dy.astype(np.float64), x.astype(np.float64)
    for i in range(spec.inputs):
        for o in range(spec.outputs):
            dw[i, o] = np.sum(x64[:, i] * dy64[:, o])
    if db is not None:
        for o in range(spec.outputs):
            db[o] = np.sum(dy64[:, o])


def workspace_bytes(kernel: str, spec: DenseSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
