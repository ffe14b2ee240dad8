"""Updates of the flat parameter buffer; :class:`fastconv.plans.operation.OptimizerSpec` has the rules."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.plans.operation import OptimizerSpec


def _effective_gradient(
    spec: OptimizerSpec, w: np.ndarray, dw: np.ndarray, g: np.ndarray, scratch: np.ndarray
) -> np.ndarray:
    """``dw + 2*l2*w + coupled_decay*w``, each over its own front part of the buffer."""
    if spec.l2 == 0 and spec.coupled_decay == 0:
        return dw
    np.copyto(g, dw)
    for end, factor in ((spec.weights, 2 * spec.l2), (spec.decayed, spec.coupled_decay)):
        if factor and end:
            np.multiply(w[:end], factor, out=scratch[:end])
            np.add(g[:end], scratch[:end], out=g[:end])
    return g


def _decay(spec: OptimizerSpec, w: np.ndarray, rate: float) -> None:
    """Decoupled weight decay: ``w -= rate * decay * w``."""
    if spec.decoupled_decay:
        decayed = w[: spec.decayed]
        np.multiply(decayed, 1.0 - rate * spec.decoupled_decay, out=decayed)


def sgd_update(
    spec: OptimizerSpec,
    w: np.ndarray,
    dw: np.ndarray,
    rate: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``w -= rate * g``."""
    carver = Carver(workspace)
    g, scratch = carver.take(w.shape, w.dtype), carver.take(w.shape, w.dtype)
    gradient = _effective_gradient(spec, w, dw, g, scratch)
    np.multiply(gradient, float(rate[0]), out=scratch)
    _decay(spec, w, float(rate[0]))
    np.subtract(w, scratch, out=w)


def momentum_update(
    spec: OptimizerSpec,
    w: np.ndarray,
    dw: np.ndarray,
    m: np.ndarray,
    rate: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Momentum (Polyak 1964) or Nesterov momentum, classic or averaged."""
    carver = Carver(workspace)
    g, scratch = carver.take(w.shape, w.dtype), carver.take(w.shape, w.dtype)
    gradient = _effective_gradient(spec, w, dw, g, scratch)
    share = 1.0 - spec.momentum if spec.averaged else 1.0
    np.multiply(gradient, share, out=g)
    np.multiply(m, spec.momentum, out=m)
    np.add(m, g, out=m)
    if spec.kind == "nesterov":
        np.multiply(m, spec.momentum, out=scratch)
        np.add(scratch, g, out=scratch)
        np.multiply(scratch, float(rate[0]), out=scratch)
    else:
        np.multiply(m, float(rate[0]), out=scratch)
    _decay(spec, w, float(rate[0]))
    np.subtract(w, scratch, out=w)


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
    """Adam (Kingma & Ba, arXiv:1412.6980, algorithm 1)."""
    carver = Carver(workspace)
    g, scratch = carver.take(w.shape, w.dtype), carver.take(w.shape, w.dtype)
    gradient = _effective_gradient(spec, w, dw, g, scratch)
    t = int(step[0]) + 1
    np.multiply(gradient, 1.0 - spec.beta1, out=scratch)
    np.multiply(m, spec.beta1, out=m)
    np.add(m, scratch, out=m)
    np.multiply(gradient, gradient, out=scratch)
    np.multiply(scratch, 1.0 - spec.beta2, out=scratch)
    np.multiply(v, spec.beta2, out=v)
    np.add(v, scratch, out=v)
    np.divide(v, 1.0 - spec.beta2**t, out=scratch)
    np.sqrt(scratch, out=scratch)
    np.add(scratch, spec.epsilon, out=scratch)
    np.divide(m, scratch, out=scratch)
    np.multiply(scratch, float(rate[0]) / (1.0 - spec.beta1**t), out=scratch)
    _decay(spec, w, float(rate[0]))
    np.subtract(w, scratch, out=w)


def workspace_bytes(kernel: str, spec: OptimizerSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return 2 * size_of((spec.size,), dtype)
