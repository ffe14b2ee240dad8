"""Updates of the flat parameter buffer: the rules are in :mod:`fastconv.plans.operation`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.plans.operation import OptimizerSpec

if TYPE_CHECKING:
    from fastconv.plans.lookahead import LookaheadSpec


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


def _rate(spec: OptimizerSpec, rate: np.ndarray) -> float:
    """The learning rate of these parameters."""
    return float(rate[0]) * spec.rate_factor


def _momentum(spec: OptimizerSpec, rate: np.ndarray) -> float:
    """The momentum of the step, or its beta1."""
    if spec.scheduled_momentum:
        return float(rate[1])
    return spec.beta1 if spec.kind == "adam" else spec.momentum


def _decay(spec: OptimizerSpec, w: np.ndarray, rate: float) -> None:
    """Decoupled weight decay: ``w -= rate * decay * w``."""
    if spec.decoupled_decay:
        decayed = w[: spec.decayed]
        np.multiply(decayed, 1.0 - rate * spec.decoupled_decay, out=decayed)


def _take_step(spec: OptimizerSpec, w: np.ndarray, step: np.ndarray, rate: np.ndarray) -> None:
    """``w -= step``, which has the rate in it, behind the decoupled decay."""
    _decay(spec, w, _rate(spec, rate))
    np.subtract(w, step, out=w)


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
    np.multiply(gradient, _rate(spec, rate), out=scratch)
    _take_step(spec, w, scratch, rate)


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
    momentum = _momentum(spec, rate)
    share = 1.0 - momentum if spec.averaged else 1.0
    np.multiply(gradient, share, out=g)
    np.multiply(m, momentum, out=m)
    np.add(m, g, out=m)
    if spec.kind == "nesterov":
        np.multiply(m, momentum, out=scratch)
        np.add(scratch, g, out=scratch)
        np.multiply(scratch, _rate(spec, rate), out=scratch)
    else:
        np.multiply(m, _rate(spec, rate), out=scratch)
    _take_step(spec, w, scratch, rate)


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
    t, beta1 = int(step[0]) + 1, _momentum(spec, rate)
    _update_means(spec, beta1, gradient, m, v, scratch)
    _root(spec, v, t, scratch)
    np.divide(m, scratch, out=scratch)
    np.multiply(scratch, _rate(spec, rate) / (1.0 - beta1**t), out=scratch)
    _take_step(spec, w, scratch, rate)


def rmsprop_update(
    spec: OptimizerSpec,
    w: np.ndarray,
    dw: np.ndarray,
    v: np.ndarray,
    mean: np.ndarray | None,
    m: np.ndarray | None,
    rate: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """RMSprop (Tieleman & Hinton 2012), centred (Graves, arXiv:1308.0850), with momentum."""
    carver = Carver(workspace)
    g, scratch = carver.take(w.shape, w.dtype), carver.take(w.shape, w.dtype)
    gradient = _effective_gradient(spec, w, dw, g, scratch)
    _add_square(spec.alpha, 1.0 - spec.alpha, gradient, v, scratch)
    if mean is None:
        np.sqrt(v, out=scratch)
    else:
        np.multiply(gradient, 1.0 - spec.alpha, out=scratch)
        np.multiply(mean, spec.alpha, out=mean)
        np.add(mean, scratch, out=mean)
        np.multiply(mean, mean, out=scratch)
        np.subtract(v, scratch, out=scratch)
        np.maximum(scratch, 0.0, out=scratch)
        np.sqrt(scratch, out=scratch)
    np.add(scratch, spec.epsilon, out=scratch)
    np.divide(gradient, scratch, out=scratch)
    if m is not None:
        np.multiply(m, spec.momentum, out=m)
        np.add(m, scratch, out=m)
        np.copyto(scratch, m)
    np.multiply(scratch, _rate(spec, rate), out=scratch)
    _take_step(spec, w, scratch, rate)


def adagrad_update(
    spec: OptimizerSpec,
    w: np.ndarray,
    dw: np.ndarray,
    v: np.ndarray,
    rate: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Adagrad (Duchi, Hazan & Singer 2011)."""
    carver = Carver(workspace)
    g, scratch = carver.take(w.shape, w.dtype), carver.take(w.shape, w.dtype)
    gradient = _effective_gradient(spec, w, dw, g, scratch)
    _add_square(1.0, 1.0, gradient, v, scratch)
    np.sqrt(v, out=scratch)
    np.add(scratch, spec.epsilon, out=scratch)
    np.divide(gradient, scratch, out=scratch)
    np.multiply(scratch, _rate(spec, rate), out=scratch)
    _take_step(spec, w, scratch, rate)


def _add_square(
    keep: float, share: float, gradient: np.ndarray, v: np.ndarray, scratch: np.ndarray
) -> None:
    """``v = keep * v + share * gradient ** 2``."""
    np.multiply(gradient, gradient, out=scratch)
    np.multiply(scratch, share, out=scratch)
    np.multiply(v, keep, out=v)
    np.add(v, scratch, out=v)


def _update_means(
    spec: OptimizerSpec,
    beta1: float,
    gradient: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    scratch: np.ndarray,
) -> None:
    """Adam's running means of a gradient and of its square."""
    np.multiply(gradient, 1.0 - beta1, out=scratch)
    np.multiply(m, beta1, out=m)
    np.add(m, scratch, out=m)
    _add_square(spec.beta2, 1.0 - spec.beta2, gradient, v, scratch)


def _root(spec: OptimizerSpec, v: np.ndarray, t: int, out: np.ndarray) -> None:
    """What Adam divides by."""
    np.divide(v, 1.0 - spec.beta2**t, out=out)
    np.sqrt(out, out=out)
    np.add(out, spec.epsilon, out=out)


def nadam_update(
    spec: OptimizerSpec,
    w: np.ndarray,
    dw: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    rate: np.ndarray,
    step: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """NAdam (Dozat 2016)."""
    carver = Carver(workspace)
    g, scratch = carver.take(w.shape, w.dtype), carver.take(w.shape, w.dtype)
    gradient = _effective_gradient(spec, w, dw, g, scratch)
    t = int(step[0]) + 1
    _update_means(spec, spec.beta1, gradient, m, v, scratch)
    of_gradient, of_mean = spec.nadam_shares(t)
    np.multiply(gradient, of_gradient, out=g)
    np.multiply(m, of_mean, out=scratch)
    np.add(g, scratch, out=g)
    _root(spec, v, t, scratch)
    np.divide(g, scratch, out=scratch)
    np.multiply(scratch, _rate(spec, rate), out=scratch)
    _take_step(spec, w, scratch, rate)


def lamb_update(
    spec: OptimizerSpec,
    w: np.ndarray,
    dw: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    rate: np.ndarray,
    step: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """LAMB (You et al., arXiv:1904.00962, algorithm 2)."""
    carver = Carver(workspace)
    g, scratch = carver.take(w.shape, w.dtype), carver.take(w.shape, w.dtype)
    gradient = _effective_gradient(spec, w, dw, g, scratch)
    t = int(step[0]) + 1
    _update_means(spec, spec.beta1, gradient, m, v, scratch)
    _root(spec, v, t, scratch)
    np.divide(m, scratch, out=g)
    np.multiply(g, 1.0 / (1.0 - spec.beta1**t), out=g)
    if spec.decoupled_decay:
        decayed = slice(spec.decayed)
        np.multiply(w[decayed], spec.decoupled_decay, out=scratch[decayed])
        np.add(g[decayed], scratch[decayed], out=g[decayed])
    squares = []
    for each in (w, g):
        np.multiply(each, each, out=scratch)
        squares.append(float(np.add.reduce(scratch, dtype=np.float64)))
    ratio = math.sqrt(squares[0]) / math.sqrt(squares[1]) if all(squares) else 1.0
    np.multiply(g, _rate(spec, rate) * ratio, out=g)
    np.subtract(w, g, out=w)


def lookahead_update(
    spec: LookaheadSpec,
    w: np.ndarray,
    slow: np.ndarray,
    step: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Lookahead (Zhang et al., arXiv:1907.08610): bring slow weights on, and the fast ones back."""
    if (int(step[0]) + 1) % spec.steps:
        return
    way = Carver(workspace).take(w.shape, w.dtype)
    np.subtract(w, slow, out=way)
    np.multiply(way, spec.alpha, out=way)
    np.add(slow, way, out=slow)
    np.copyto(w, slow)


def workspace_bytes(kernel: str, spec: OptimizerSpec | LookaheadSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return 2 * size_of((spec.size,), dtype)
