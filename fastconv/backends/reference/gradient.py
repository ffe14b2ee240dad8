"""What is done with gradients between the backward pass and the update, element by element.

The formulas are those of the specs in :mod:`fastconv.plans.gradient`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.plans.gradient import AccumulateSpec, ClipSpec, MuonSpec, PolynomialSpec


@np.errstate(all="ignore")
def clip_by_norm(spec: ClipSpec, x: np.ndarray, workspace: np.ndarray | None) -> None:
    """Scale a buffer to a norm, or to one that is no larger.

    Parameters
    ----------
    spec
        The limit.
    x
        (size,), updated.
    workspace
        Not used.

    Examples
    --------
    >>> x = np.array([3.0, 4.0])
    >>> clip_by_norm(ClipSpec(2, limit=1.0), x, None)
    >>> x.round(4)
    array([0.6, 0.8])
    """
    norm = np.float64(math.sqrt(sum(float(each) ** 2 for each in x)))
    if spec.normalizes:
        scale = spec.limit / (spec.epsilon if norm < spec.epsilon else norm)
    else:
        scale = spec.limit / (norm + spec.epsilon)
        scale = 1.0 if scale > 1 else scale
    for i in range(spec.size):
        x[i] = float(x[i]) * scale


def clip_by_value(spec: ClipSpec, x: np.ndarray, workspace: np.ndarray | None) -> None:
    """Bring each element into a range around 0; NaN stays.

    Parameters
    ----------
    spec
        The limit.
    x
        (size,), updated.
    workspace
        Not used.
    """
    for i in range(spec.size):
        if x[i] > spec.limit:
            x[i] = spec.limit
        elif x[i] < -spec.limit:
            x[i] = -spec.limit


@np.errstate(all="ignore")
def accumulate(
    spec: AccumulateSpec, dw: np.ndarray, total: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Add a share of a gradient to a total.

    Parameters
    ----------
    spec
        The factors.
    dw, total
        (size,); the total is updated.
    workspace
        Not used.
    """
    for i in range(spec.size):
        before = spec.keep * float(total[i]) if spec.keep else 0.0
        total[i] = before + spec.share * float(dw[i])


@np.errstate(all="ignore")
def muon_direction(
    spec: MuonSpec,
    dw: np.ndarray,
    m: np.ndarray,
    direction: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Momentum as a mean, and the direction of a step.

    Parameters
    ----------
    spec
        The momentum.
    dw, m
        Gradient (size,) and running mean (size,), updated.
    direction
        (size,), written.
    workspace
        Not used.
    """
    for i in range(spec.size):
        g = (1 - spec.momentum) * float(dw[i])
        mean = spec.momentum * float(m[i]) + g
        m[i] = mean
        direction[i] = g + spec.momentum * mean if spec.nesterov else mean


@np.errstate(all="ignore")
def newton_schulz_polynomial(
    spec: PolynomialSpec,
    gram: np.ndarray,
    square: np.ndarray,
    polynomial: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``a*I + b*gram + c*square``.

    Parameters
    ----------
    spec
        The coefficients.
    gram, square
        (rows, rows).
    polynomial
        (rows, rows), written.
    workspace
        Not used.
    """
    for i in range(spec.rows):
        for j in range(spec.rows):
            sum_of_both = spec.b * float(gram[i, j]) + spec.c * float(square[i, j])
            polynomial[i, j] = sum_of_both + (spec.a if i == j else 0.0)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
