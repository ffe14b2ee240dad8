"""Optimisers by the names and numbers that people use, and the spec that kernels take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from fastconv.network import Sequential
from fastconv.plans.operation import OptimizerKind, OptimizerSpec
from fastconv.spec import SpecError

DecayMode: TypeAlias = Literal["coupled", "decoupled"]


def as_optimizer(owner: str, value: object) -> Optimizer:
    """Return an optimiser, or the one that a name such as "adam" stands for.

    Parameters
    ----------
    owner
        Who was given it, for the message.
    value
        An :class:`Optimizer`, or its kind.

    Raises
    ------
    SpecError
        If it is neither.

    Examples
    --------
    >>> as_optimizer("Trainer", "adam").beta1
    0.9
    """
    if isinstance(value, str):
        value = Optimizer(value)  # type: ignore[arg-type]  # which names there are, it checks
    if not isinstance(value, Optimizer):
        raise SpecError(owner, "optimizer", value, 'an Optimizer, such as Optimizer("adam")')
    return value


@dataclass(frozen=True)
class Optimizer:
    """An update rule with its regularisation.

    Parameters
    ----------
    kind
        "sgd", "momentum", "nesterov", "adam", or "adamw" (adam with decoupled decay).
    momentum
        Of momentum and nesterov.
    averaged
        Momentum as a mean, ``m = mu*m + (1-mu)*g``, instead of the classic ``m = mu*m + g``.
    beta1, beta2, epsilon
        Of adam.
    l2
        lambda of the penalty lambda * ||W||^2 in the loss: its gradient is 2 * lambda * W; weights
        only.
    weight_decay
        Factor of w, apart from the loss.
    decay_mode
        "coupled": decay * w is added to the gradient; "decoupled": lr * decay * w is
        subtracted beside the step.
    decay_biases
        Whether weight decay acts on biases and normalisation parameters too.

    Raises
    ------
    SpecError
        If a value is out of range.
    """

    kind: Literal["sgd", "momentum", "nesterov", "adam", "adamw"] = "sgd"
    momentum: float = 0.9
    averaged: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    l2: float = 0.0
    weight_decay: float = 0.0
    decay_mode: DecayMode = "coupled"
    decay_biases: bool = False

    def __post_init__(self) -> None:
        kinds = ("sgd", "momentum", "nesterov", "adam", "adamw")
        if self.kind not in kinds:
            raise SpecError("Optimizer", "kind", self.kind, f"one of {', '.join(kinds)}")
        if self.decay_mode not in ("coupled", "decoupled"):
            raise SpecError("Optimizer", "decay_mode", self.decay_mode, "'coupled' or 'decoupled'")
        self._spec(0, 0, 0)  # checks the numbers

    def spec(self, network: Sequential) -> OptimizerSpec:
        """Return the spec of this rule on the network's flat parameter buffer."""
        size, weights = network.parameters.size, network.weights_end
        return self._spec(size, weights, size if self.decay_biases else weights)

    def _spec(self, size: int, weights: int, decayed: int) -> OptimizerSpec:
        kind: OptimizerKind = "adam" if self.kind == "adamw" else self.kind
        decoupled = self.kind == "adamw" or self.decay_mode == "decoupled"
        try:
            return OptimizerSpec(
                kind,
                size,
                weights,
                decayed,
                l2=self.l2,
                coupled_decay=0.0 if decoupled else self.weight_decay,
                decoupled_decay=self.weight_decay if decoupled else 0.0,
                momentum=self.momentum,
                averaged=self.averaged,
                beta1=self.beta1,
                beta2=self.beta2,
                epsilon=self.epsilon,
            )
        except SpecError as fault:
            decay = "weight_decay"  # which of the two it is, decay_mode says
            raise fault.of("Optimizer", coupled_decay=decay, decoupled_decay=decay) from None
