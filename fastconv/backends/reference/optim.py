"""Updates of the flat parameter buffer, one element at a time.

The formulas are those of :class:`fastconv.plans.operation.OptimizerSpec`. Sources: Sutskever et al., "On
the importance of initialization and momentum in deep learning" (ICML 2013); Kingma & Ba
(arXiv:1412.6980); Loshchilov & Hutter (arXiv:1711.05101).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.plans.operation import OptimizerSpec


def _gradient(spec: OptimizerSpec, i: int, w: np.ndarray, dw: np.ndarray) -> float:
    """The effective gradient ``g`` of element ``i``."""
    g = float(dw[i])
    if i < spec.weights:
        g += 2 * spec.l2 * float(w[i])
    if i < spec.decayed:
        g += spec.coupled_decay * float(w[i])
    return g


def _step(spec: OptimizerSpec, i: int, w: np.ndarray, u: float, rate: float) -> None:
    """Move element ``i`` of ``w`` by the update ``u`` and the decoupled decay."""
    old = float(w[i])
    new = old - rate * u
    if i < spec.decayed:
        new -= rate * spec.decoupled_decay * old
    w[i] = new


@np.errstate(all="ignore")
def sgd_update(
    spec: OptimizerSpec,
    w: np.ndarray,
    dw: np.ndarray,
    rate: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``u = g``.

    Parameters
    ----------
    spec
        Of kind sgd.
    w, dw
        Parameters (size,), updated, and their gradient (size,).
    rate
        float64, (1,): the learning rate.
    workspace
        Not used.

    Examples
    --------
    >>> w = np.array([1.0])
    >>> sgd_update(OptimizerSpec("sgd", 1, 1, 1), w, np.array([2.0]), np.array([0.25]), None)
    >>> w.item()
    0.5
    """
    for i in range(spec.size):
        _step(spec, i, w, _gradient(spec, i, w, dw), float(rate[0]))


@np.errstate(all="ignore")
def momentum_update(
    spec: OptimizerSpec,
    w: np.ndarray,
    dw: np.ndarray,
    m: np.ndarray,
    rate: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``m = momentum * m + g``; ``u = m``, or ``g + momentum * m`` for nesterov.

    Parameters
    ----------
    spec
        Of kind momentum or nesterov; where ``averaged``, g counts (1 - momentum) times.
    w, dw, m
        Parameters (size,), updated, their gradient (size,), and the velocity (size,), updated.
    rate
        float64, (1,): the learning rate.
    workspace
        Not used.
    """
    for i in range(spec.size):
        g = _gradient(spec, i, w, dw)
        if spec.averaged:
            g = (1 - spec.momentum) * g
        velocity = spec.momentum * float(m[i]) + g
        u = g + spec.momentum * velocity if spec.kind == "nesterov" else velocity
        m[i] = velocity
        _step(spec, i, w, u, float(rate[0]))


@np.errstate(all="ignore")
def adam_update(
    spec: OptimizerSpec,
    w: np.ndarray,
    dw: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    rate: np.ndarray,
    step: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``u = (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)`` with t = step + 1.

    Parameters
    ----------
    spec
        Of kind adam.
    w, dw
        Parameters (size,), updated, and their gradient (size,).
    m, v
        Running means of g and g^2 (size,), updated.
    rate
        float64, (1,): the learning rate.
    step
        int64, (1,): updates made before this one.
    workspace
        Not used.
    """
    t = int(step[0]) + 1
    for i in range(spec.size):
        g = _gradient(spec, i, w, dw)
        first = spec.beta1 * float(m[i]) + (1 - spec.beta1) * g
        second = spec.beta2 * float(v[i]) + (1 - spec.beta2) * g * g
        m[i], v[i] = first, second
        root = math.sqrt(second / (1 - spec.beta2**t))
        u = first / (1 - spec.beta1**t) / (root + spec.epsilon)
        _step(spec, i, w, u, float(rate[0]))


def workspace_bytes(kernel: str, spec: OptimizerSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
