"""Elementwise activations, and softmax and log-softmax over the last axis.

``y`` may be the same array as ``x``, and ``dx`` as ``dy``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.plans.activations import activation_of
from fastconv.plans.operation import ActivationSpec, SoftmaxSpec


@np.errstate(all="ignore")
def activation_forward(
    spec: ActivationSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Apply the activation to every element; a NaN stays one.

    Parameters
    ----------
    spec
        Kind and alpha; :data:`fastconv.plans.activations.ACTIVATIONS` has the formulas.
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
    value = activation_of(spec.kind).value
    for i in range(x.size):
        number = float(x.flat[i])
        y.flat[i] = number if math.isnan(number) else value(number, spec.alpha)


@np.errstate(all="ignore")
def activation_backward(
    spec: ActivationSpec,
    dy: np.ndarray,
    x: np.ndarray | None,
    y: np.ndarray | None,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx = dy * derivative``, the derivative computed from ``x`` or ``y``.

    Parameters
    ----------
    spec
        Kind and alpha.
    dy
        Gradient of the output.
    x, y
        Input and output; the one that the activation does not keep may be None.
    dx
        Gradient of the input, written.
    workspace
        Not used.
    """
    activation = activation_of(spec.kind)
    kept = x if activation.keeps == "x" else y
    assert kept is not None
    for i in range(dx.size):
        dx.flat[i] = float(dy.flat[i]) * activation.derivative(float(kept.flat[i]), spec.alpha)


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
