"""Elementwise activations, and softmax and log-softmax over the last axis.

``y`` may be the same array as ``x``, and ``dx`` as ``dy``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.plans.operation import SELU_ALPHA, SELU_SCALE, ActivationSpec, SoftmaxSpec


def _value(spec: ActivationSpec, x: float) -> float:
    """The activation of one number."""
    if math.isnan(x):
        return x
    if spec.kind == "relu":
        return x if x > 0 else 0.0
    if spec.kind == "leaky_relu":
        return x if x > 0 else spec.alpha * x
    if spec.kind == "elu":
        return x if x > 0 else spec.alpha * math.expm1(x)
    if spec.kind == "selu":
        return SELU_SCALE * (x if x > 0 else SELU_ALPHA * math.expm1(x))
    if spec.kind == "sigmoid":
        # The same number twice; the exponent is kept negative so that it cannot overflow.
        return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))
    if spec.kind == "tanh":
        return math.tanh(x)
    # softplus: log(1 + e^x) = x + log(1 + e^-x)
    return x + math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x))


def _slope(spec: ActivationSpec, y: float) -> float:
    """The derivative where the activation has the value ``y``."""
    if spec.kind == "relu":
        return 1.0 if y > 0 else 0.0
    if spec.kind == "leaky_relu":
        return 1.0 if y > 0 else spec.alpha
    if spec.kind == "elu":
        return 1.0 if y > 0 else y + spec.alpha
    if spec.kind == "selu":
        return SELU_SCALE if y > 0 else y + SELU_SCALE * SELU_ALPHA
    if spec.kind == "sigmoid":
        return y * (1 - y)
    if spec.kind == "tanh":
        return 1 - y * y
    # softplus: 1 - e^-y
    return -math.expm1(-y)


@np.errstate(all="ignore")
def activation_forward(
    spec: ActivationSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Apply the activation to every element; a NaN stays one.

    Parameters
    ----------
    spec
        Kind and alpha; :class:`fastconv.plans.operation.ActivationSpec` has the formulas.
    x
        Input, any shape.
    y
        Output, the same shape, written.
    workspace
        Not used.

    Examples
    --------
    >>> x = np.array([-1.0, 2.0])
    >>> activation_forward(ActivationSpec("leaky_relu", 2, alpha=0.1), x, x, None)
    >>> x.tolist()
    [-0.1, 2.0]
    """
    for i in range(x.size):
        y.flat[i] = _value(spec, float(x.flat[i]))


@np.errstate(all="ignore")
def activation_backward(
    spec: ActivationSpec,
    dy: np.ndarray,
    y: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx = dy * derivative``, the derivative computed from ``y``.

    Parameters
    ----------
    spec
        Kind and alpha.
    dy, y
        Gradient of the output, and the output.
    dx
        Gradient of the input, written.
    workspace
        Not used.
    """
    for i in range(y.size):
        dx.flat[i] = float(dy.flat[i]) * _slope(spec, float(y.flat[i]))


@np.errstate(all="ignore")
def softmax_forward(
    spec: SoftmaxSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """``y[k] = e^x[k] / sum over j of e^x[j]`` in each row.

    Parameters
    ----------
    spec
        Rows and classes.
    x
        Scores (rows, classes).
    y
        Probabilities (rows, classes), written.
    workspace
        Not used.
    """
    for row in range(spec.rows):
        # e^(x - largest) on both sides of the fraction: the same number, and no overflow.
        powers = np.exp(_below_largest(x[row]))
        y[row] = powers / np.sum(powers)


@np.errstate(all="ignore")
def softmax_backward(
    spec: SoftmaxSpec,
    dy: np.ndarray,
    y: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx[k] = y[k] * (dy[k] - sum over j of dy[j] * y[j])`` in each row.

    Parameters
    ----------
    spec
        Rows and classes.
    dy, y
        Gradient of the probabilities, and the probabilities (rows, classes).
    dx
        Gradient of the scores (rows, classes), written.
    workspace
        Not used.
    """
    for row in range(spec.rows):
        gradient, probabilities = dy[row].astype(np.float64), y[row].astype(np.float64)
        dx[row] = probabilities * (gradient - np.sum(gradient * probabilities))


@np.errstate(all="ignore")
def log_softmax_forward(
    spec: SoftmaxSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """``y[k] = x[k] - log(sum over j of e^x[j])`` in each row.

    Parameters
    ----------
    spec
        Rows and classes.
    x
        Scores (rows, classes).
    y
        Logarithms of the probabilities (rows, classes), written.
    workspace
        Not used.
    """
    for row in range(spec.rows):
        shifted = _below_largest(x[row])
        y[row] = shifted - np.log(np.sum(np.exp(shifted)))


@np.errstate(all="ignore")
def log_softmax_backward(
    spec: SoftmaxSpec,
    dy: np.ndarray,
    y: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx[k] = dy[k] - e^y[k] * sum over j of dy[j]`` in each row.

    Parameters
    ----------
    spec
        Rows and classes.
    dy, y
        Gradient of the log-probabilities, and the log-probabilities (rows, classes).
    dx
        Gradient of the scores (rows, classes), written.
    workspace
        Not used.
    """
    for row in range(spec.rows):
        gradient = dy[row].astype(np.float64)
        dx[row] = gradient - np.exp(y[row].astype(np.float64)) * np.sum(gradient)


def _below_largest(scores: np.ndarray) -> np.ndarray:
    """A row of scores minus its largest, in float64."""
    row = scores.astype(np.float64)
    return row - np.max(row)


def workspace_bytes(kernel: str, spec: ActivationSpec | SoftmaxSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
