"""Updates of the flat parameter buffer, one element at a time.

The formulas are those of :class:`fastconv.plans.operation.OptimizerSpec`. Sources: Sutskever et
al., "On the importance of initialization and momentum in deep learning" (ICML 2013); Kingma & Ba
(arXiv:1412.6980); Loshchilov & Hutter (arXiv:1711.05101); those of the others stand there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv.plans.operation import OptimizerSpec

if TYPE_CHECKING:
    from fastconv.plans.lookahead import LookaheadSpec


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
    old, rate = float(w[i]), rate * spec.rate_factor
    new = old - rate * u
    if i < spec.decayed:
        new -= rate * spec.decoupled_decay * old
    w[i] = new


def _momentum(spec: OptimizerSpec, rate: np.ndarray) -> float:
    """The momentum of the step, or its beta1."""
    if spec.scheduled_momentum:
        return float(rate[1])
    return spec.beta1 if spec.kind == "adam" else spec.momentum


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
        float64, (1,): the learning rate; (2,) with the momentum behind it where that is scheduled.
    workspace
        Not used.
    """
    momentum = _momentum(spec, rate)
    for i in range(spec.size):
        g = _gradient(spec, i, w, dw)
        if spec.averaged:
            g = (1 - momentum) * g
        velocity = momentum * float(m[i]) + g
        u = g + momentum * velocity if spec.kind == "nesterov" else velocity
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
        float64, (1,): the learning rate; (2,) with beta1 behind it where that is scheduled.
    step
        int64, (1,): updates made before this one.
    workspace
        Not used.
    """
    t, beta1 = int(step[0]) + 1, _momentum(spec, rate)
    for i in range(spec.size):
        g = _gradient(spec, i, w, dw)
        first = beta1 * float(m[i]) + (1 - beta1) * g
        second = spec.beta2 * float(v[i]) + (1 - spec.beta2) * g * g
        m[i], v[i] = first, second
        root = math.sqrt(second / (1 - spec.beta2**t))
        u = first / (1 - beta1**t) / (root + spec.epsilon)
        _step(spec, i, w, u, float(rate[0]))


@np.errstate(all="ignore")
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
    """``u = g / (sqrt(v) + epsilon)``, or its velocity where there is ``m``.

    Parameters
    ----------
    spec
        Of kind rmsprop.
    w, dw
        Parameters (size,), updated, and their gradient (size,).
    v
        Running mean of g^2 (size,), updated.
    mean
        Running mean of g (size,), updated, whose square is subtracted from v; None if not centred.
    m
        Velocity (size,), updated; None without momentum.
    rate
        float64, (1,): the learning rate.
    workspace
        Not used.
    """
    for i in range(spec.size):
        g = _gradient(spec, i, w, dw)
        square = spec.alpha * float(v[i]) + (1 - spec.alpha) * g * g
        v[i] = square
        if mean is not None:
            centre = spec.alpha * float(mean[i]) + (1 - spec.alpha) * g
            mean[i] = centre
            square -= centre * centre
            square = 0.0 if square < 0 else square  # by rounding alone
        u = g / (math.sqrt(square) + spec.epsilon)
        if m is not None:
            u += spec.momentum * float(m[i])
            m[i] = u
        _step(spec, i, w, u, float(rate[0]))


@np.errstate(all="ignore")
def adagrad_update(
    spec: OptimizerSpec,
    w: np.ndarray,
    dw: np.ndarray,
    v: np.ndarray,
    rate: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``u = g / (sqrt(v) + epsilon)`` with the sum v of all g^2 so far.

    Parameters
    ----------
    spec
        Of kind adagrad.
    w, dw, v
        Parameters (size,), updated, their gradient (size,), and the sum (size,), updated.
    rate
        float64, (1,): the learning rate.
    workspace
        Not used.
    """
    for i in range(spec.size):
        g = _gradient(spec, i, w, dw)
        square = float(v[i]) + g * g
        v[i] = square
        _step(spec, i, w, g / (math.sqrt(square) + spec.epsilon), float(rate[0]))


@np.errstate(all="ignore")
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
    """Adam with the momentum of the next step, as Nesterov's.

    Parameters
    ----------
    spec
        Of kind nadam.
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

    def momentum(step: int) -> float:
        return float(spec.beta1 * (1 - 0.5 * 0.96 ** (step * spec.momentum_decay)))

    product = math.prod(momentum(each) for each in range(1, t + 1))
    now, following = momentum(t), momentum(t + 1)
    for i in range(spec.size):
        g = _gradient(spec, i, w, dw)
        first = spec.beta1 * float(m[i]) + (1 - spec.beta1) * g
        second = spec.beta2 * float(v[i]) + (1 - spec.beta2) * g * g
        m[i], v[i] = first, second
        root = math.sqrt(second / (1 - spec.beta2**t)) + spec.epsilon
        ahead = (1 - now) / (1 - product) * g + following / (1 - product * following) * first
        _step(spec, i, w, ahead / root, float(rate[0]))


@np.errstate(all="ignore")
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
    """Adam's update, made as long as a share of the parameters themselves.

    Parameters
    ----------
    spec
        Of kind lamb.
    w, dw
        Parameters of one layer (size,), updated, and their gradient (size,).
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
    u = np.zeros(spec.size)
    for i in range(spec.size):
        g = _gradient(spec, i, w, dw)
        first = spec.beta1 * float(m[i]) + (1 - spec.beta1) * g
        second = spec.beta2 * float(v[i]) + (1 - spec.beta2) * g * g
        m[i], v[i] = first, second
        root = math.sqrt(second / (1 - spec.beta2**t))
        u[i] = first / (1 - spec.beta1**t) / (root + spec.epsilon)
        if i < spec.decayed:
            u[i] += spec.decoupled_decay * float(w[i])
    lengths = [math.sqrt(sum(float(each) ** 2 for each in array)) for array in (w, u)]
    ratio = lengths[0] / lengths[1] if all(lengths) else 1.0
    for i in range(spec.size):
        w[i] = float(w[i]) - float(rate[0]) * spec.rate_factor * ratio * u[i]


@np.errstate(all="ignore")
def lookahead_update(
    spec: LookaheadSpec,
    w: np.ndarray,
    slow: np.ndarray,
    step: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``slow = slow + alpha * (w - slow)`` and ``w = slow``, once in so many steps.

    Parameters
    ----------
    spec
        How often, and how far.
    w, slow
        Parameters and slow weights (size,), both updated.
    step
        int64, (1,): updates made before this one.
    workspace
        Not used.

    Examples
    --------
    >>> from fastconv.plans.lookahead import LookaheadSpec
    >>> w, slow = np.array([3.0]), np.array([1.0])
    >>> lookahead_update(LookaheadSpec(1, steps=2), w, slow, np.array([1]), None)
    >>> w.item(), slow.item()
    (2.0, 2.0)
    """
    if (int(step[0]) + 1) % spec.steps == 0:
        for i in range(spec.size):
            slow[i] = float(slow[i]) + spec.alpha * (float(w[i]) - float(slow[i]))
            w[i] = slow[i]


def workspace_bytes(kernel: str, spec: OptimizerSpec | LookaheadSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
