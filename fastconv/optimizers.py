"""Optimisers by the names and numbers that people use, and the spec that kernels take."""

from __future__ import annotations

import typing
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv.network import Place, Sequential
from fastconv.plans.operation import OptimizerKind, OptimizerSpec
from fastconv.schedules import Schedule, as_schedule, observations
from fastconv.spec import SpecError, require_int

if TYPE_CHECKING:
    from fastconv.plans.lookahead import LookaheadSpec
    from fastconv.plans.update import Stretch, UpdateSpec

DecayMode: TypeAlias = Literal["coupled", "decoupled"]
Kind: TypeAlias = Literal[
    "sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "adagrad", "nadam", "lamb", "muon"
]
KINDS: tuple[Kind, ...] = typing.get_args(Kind)

_MOMENTUM = {"rmsprop": 0.0, "muon": 0.95}
"""By default, where it is not 0.9."""
_EPSILON = {"adagrad": 1e-10, "lamb": 1e-6}
"""By default, where it is not 1e-8."""
SCHEDULABLE: dict[str, str] = {
    "momentum": "momentum", "nesterov": "momentum", "adam": "beta1", "adamw": "beta1",
}  # fmt: skip
"""Kinds whose momentum a schedule may change, and what it is called there."""
_DECOUPLED = ("adamw", "lamb", "muon")
"""Kinds whose decay is decoupled whatever ``decay_mode`` says."""
_WITH_MOMENTUM = ("momentum", "nesterov", "rmsprop", "muon")
"""Kinds that have a ``momentum``."""


def _default_of(name: str, kind: Kind) -> float:
    """The momentum or epsilon of a kind where none is given."""
    return _MOMENTUM.get(kind, 0.9) if name == "momentum" else _EPSILON.get(kind, 1e-8)


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are updated in another way than the rest.

    Parameters
    ----------
    names
        Pattern of their names, such as ``conv2d_1.weight``, ``dense_*`` or ``*.bias``.
    rate_factor
        Times the learning rate is theirs.
    weight_decay
        In place of the optimiser's; for biases too.
    kind
        Their update rule, in place of the optimiser's.
    momentum
        Of momentum, nesterov, rmsprop and muon, in place of the optimiser's, or of what is usual
        for ``kind``.
    frozen
        Whether they stay as they are: training steps leave out what only they need.
    schedule
        Their learning rates, in place of the trainer's: a schedule of :mod:`fastconv.schedules`, or
        a number. One that goes by validations, such as ``Plateau``, is for the trainer alone.

    Raises
    ------
    SpecError
        If a value is out of range, or one does nothing beside ``frozen``.

    Examples
    --------
    Muon for weights, stochastic gradient descent for all else:

    >>> biases = ParameterGroup("*.bias", kind="nesterov", momentum=0.85)
    >>> Optimizer("muon", groups=(biases,)).moments
    ('first_moment', 'second_moment')
    """

    names: str
    rate_factor: float = 1.0
    weight_decay: float | None = None
    frozen: bool = False
    kind: Kind | None = None
    momentum: float | None = None
    schedule: Schedule | float | None = None

    def __post_init__(self) -> None:
        owner = "ParameterGroup"
        self._check_schedule()
        if not self.names:
            raise SpecError(owner, "names", self.names, "a pattern such as '*.bias'")
        if not self.rate_factor > 0:
            fix = "more than 0; frozen = true keeps parameters as they are"
            raise SpecError(owner, "rate_factor", self.rate_factor, fix)
        if self.weight_decay is not None and not self.weight_decay >= 0:
            raise SpecError(owner, "weight_decay", self.weight_decay, "0 or more")
        if self.kind is not None and self.kind not in KINDS:
            raise SpecError(owner, "kind", self.kind, f"one of {', '.join(KINDS)}")
        unused = [
            name
            for name in ("schedule", "momentum", "kind", "weight_decay", "rate_factor")
            if getattr(self, name) != (1 if name == "rate_factor" else None)
        ]
        if self.frozen and unused:
            fix = "nothing beside frozen = true, which updates nothing; leave it out"
            raise SpecError(owner, unused[-1], getattr(self, unused[-1]), fix)

    def _check_schedule(self) -> None:
        if self.schedule is None:
            return
        schedule = as_schedule("ParameterGroup", self.schedule)
        if observations(schedule) is not None:
            fix = "one that is a function of the step; a plateau is for the trainer's own schedule"
            raise SpecError("ParameterGroup", "schedule", schedule, fix)
        object.__setattr__(self, "schedule", schedule)


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
        "sgd", "momentum", "nesterov", "adam", "adamw" (adam with decoupled decay), "rmsprop",
        "adagrad", "nadam", "lamb", or "muon" (Newton-Schulz on the weights, each a matrix of its
        last axis and the rest; adamw on biases and scales).
    momentum
        Of momentum, nesterov, rmsprop and muon; left out, 0.9, of rmsprop 0, of muon 0.95.
    averaged
        Momentum as a mean, ``m = mu*m + (1-mu)*g``, instead of the classic ``m = mu*m + g``.
    nesterov
        Of muon: whether its momentum looks ahead.
    newton_schulz_steps
        Of muon: steps of the iteration that makes a direction orthogonal.
    normalize_weights
        Of muon: whether each matrix is brought to the norm sqrt(outputs) before it is updated, so
        that the learning rate alone says how far it turns (Jordan, airbench94_muon, 2024,
        https://github.com/KellerJordan/cifar10-airbench).
    beta1, beta2
        Of adam, adamw, nadam, lamb, and muon's biases and scales.
    epsilon
        Of what divides by a root; left out, 1e-8, of adagrad 1e-10, of lamb 1e-6.
    alpha, centered
        Of rmsprop: what is kept of the running means, and whether that of the gradient is
        subtracted.
    momentum_decay
        Of nadam: how fast the momentum of a step comes up to beta1.
    l2
        lambda of the penalty lambda * ||W||^2 in the loss: its gradient is 2 * lambda * W; weights
        only.
    weight_decay
        Factor of w, apart from the loss.
    decay_mode
        "coupled": decay * w is added to the gradient; "decoupled": lr * decay * w is
        subtracted beside the step. Always decoupled in adamw, lamb and muon.
    decay_biases
        Whether weight decay acts on biases and normalisation parameters too.
    clip_norm, clip_value
        Limits of the gradients before the update: of the Euclidean norm of all together, of the
        magnitude of each; None for none. By value comes first.
    groups
        Parameters that are updated in another way: the first group that has a name counts.
    lookahead_steps, lookahead_alpha
        Slow weights (Zhang et al., arXiv:1907.08610): after so many steps they go this share of the
        way to the weights, which are set to them; no steps for none. The share left out, 0.5.

    Raises
    ------
    SpecError
        If a value is out of range.

    Examples
    --------
    >>> Optimizer("rmsprop").momentum, Optimizer("adagrad").epsilon
    (0.0, 1e-10)
    """

    kind: Kind = "sgd"
    momentum: float | None = None
    averaged: bool = False
    nesterov: bool = True
    newton_schulz_steps: int = 5
    normalize_weights: bool = False
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float | None = None
    alpha: float = 0.99
    centered: bool = False
    momentum_decay: float = 0.004
    l2: float = 0.0
    weight_decay: float = 0.0
    decay_mode: DecayMode = "coupled"
    decay_biases: bool = False
    clip_norm: float | None = None
    clip_value: float | None = None
    groups: tuple[ParameterGroup, ...] = ()
    lookahead_steps: int | None = None
    lookahead_alpha: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SpecError("Optimizer", "kind", self.kind, f"one of {', '.join(KINDS)}")
        if self.decay_mode not in ("coupled", "decoupled"):
            raise SpecError("Optimizer", "decay_mode", self.decay_mode, "'coupled' or 'decoupled'")
        for name in ("momentum", "epsilon"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, _default_of(name, self.kind))
        for name in ("clip_norm", "clip_value"):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise SpecError("Optimizer", name, limit, "more than 0; leave it out for no limit")
        if "muon" in self._kinds and self.l2:
            raise SpecError("Optimizer", "l2", self.l2, "0 under muon; use weight_decay")
        require_int("Optimizer", "newton_schulz_steps", self.newton_schulz_steps, 1)
        if self.lookahead_steps is not None:
            require_int("Optimizer", "lookahead_steps", self.lookahead_steps, 1)
        if self.lookahead_alpha is not None:
            if self.lookahead_steps is None:
                fix = "nothing without lookahead_steps; leave it out, or say how many, such as 5"
                raise SpecError("Optimizer", "lookahead_alpha", self.lookahead_alpha, fix)
            if not 0 < self.lookahead_alpha <= 1:
                fix = "more than 0, at most 1"
                raise SpecError("Optimizer", "lookahead_alpha", self.lookahead_alpha, fix)
        self._spec(0, 0, 0)  # checks the numbers
        for group in self.groups:
            self._rule_of(group)._spec(0, 0, 0)

    @property
    def _kinds(self) -> set[Kind]:
        """The kinds of update rule that it uses."""
        return {self.kind, *(group.kind for group in self.groups if group.kind is not None)}

    @property
    def moments(self) -> tuple[str, ...]:
        """Names of the flat buffers that the rules keep from step to step."""
        rules = (self, *(self._rule_of(group) for group in self.groups if group.kind))
        return tuple(dict.fromkeys(name for rule in rules for name in rule._own_moments))

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """Schedules that groups have of their own, in the order of the groups."""
        found = (group.schedule for group in self.groups if group.schedule is not None)
        return tuple(typing.cast("Schedule", each) for each in found)

    def rates_of_steps(
        self, rates: NDArray[np.float64], steps: ArrayLike, factor: float = 1.0
    ) -> NDArray[np.float64]:
        """Return what an update takes for each step, with the rates of groups that have their own.

        Parameters
        ----------
        rates
            float64 (steps,), of all others; (steps, 2) with the momenta behind them.
        steps
            Their numbers.
        factor
            Times the schedules' are the rates of the groups.

        Returns
        -------
        ndarray
            ``rates``; where groups have schedules, (steps, 1 + schedules, 1 or 2): those first.
        """
        if not self.schedules:
            return rates
        own = rates.reshape(len(rates), 1, -1)
        found = np.repeat(own, 1 + len(self.schedules), axis=1)
        for number, schedule in enumerate(self.schedules, start=1):
            found[:, number, 0] = schedule.rates(steps) * factor
        return found

    @property
    def _own_moments(self) -> tuple[str, ...]:
        """Those of its own rule, without its groups."""
        if self.kind == "rmsprop":
            more = (("first_moment", self.momentum), ("gradient_mean", self.centered))
            return ("second_moment", *(name for name, there in more if there))
        kept = {"sgd": (), "momentum": ("first_moment",), "nesterov": ("first_moment",)}
        kept["adagrad"] = ("second_moment",)
        return kept.get(self.kind, ("first_moment", "second_moment"))

    def spec(self, network: Sequential) -> OptimizerSpec:
        """Return the spec of this rule on the network's flat parameter buffer."""
        size, weights = network.parameters.size, network.weights_end
        return self._spec(size, weights, size if self.decay_biases else weights)

    def update(
        self,
        network: Sequential,
        average: float | None = None,
        *,
        scheduled_momentum: bool = False,
    ) -> OptimizerSpec | UpdateSpec:
        """Return the updates of the network's flat parameter buffer.

        Parameters
        ----------
        network
            The network.
        average
            What is kept of the average of the weights in each step; None for no average.
        scheduled_momentum
            Whether each step has a momentum of its own.

        Returns
        -------
        OptimizerSpec or UpdateSpec
            One rule for the whole buffer where that is all.

        Raises
        ------
        SpecError
            If a group has no parameters, or this rule has no momentum that can be scheduled.
        """
        if scheduled_momentum and self.kind not in SCHEDULABLE:
            expected = f"one of {', '.join(SCHEDULABLE)} under a schedule of the momentum"
            raise SpecError("Optimizer", "kind", self.kind, expected)
        by_layer = not self._kinds.isdisjoint(("lamb", "muon"))
        clips = self.clip_norm is not None or self.clip_value is not None
        plain = replace(self.spec(network), scheduled_momentum=scheduled_momentum)
        more = average is not None or self.lookahead_steps is not None
        if not (by_layer or clips or self.groups or more):
            return plain
        # Only where it is used: most trainings have one rule for all.
        from fastconv.plans.update import Stretch, UpdateSpec

        limits = self.clip_norm, self.clip_value, average, self._lookahead(network)
        if not (by_layer or self.groups):
            return UpdateSpec((Stretch(0, plain),), (), *limits)
        stretches, frozen = [], []
        groups = self._groups_of(network)
        for name, place in network.places.items():
            if place.buffer != "parameters":
                continue
            group = groups[name]
            if group is not None and group.frozen:
                frozen.append((place.offset, place.end - place.offset))
            else:
                if scheduled_momentum and group is not None:
                    _check_scheduled(group)
                stretch = self._stretch(place, group)
                spec = replace(stretch.spec, scheduled_momentum=scheduled_momentum)
                stretches.append(replace(stretch, spec=spec))
        starts = [start for start, _ in frozen]
        return UpdateSpec(
            tuple(_merged(stretches, starts)), tuple(frozen), *limits, len(self.schedules)
        )

    def _lookahead(self, network: Sequential) -> LookaheadSpec | None:
        if self.lookahead_steps is None:
            return None
        from fastconv.plans.lookahead import LookaheadSpec

        alpha = 0.5 if self.lookahead_alpha is None else self.lookahead_alpha
        return LookaheadSpec(network.parameters.size, self.lookahead_steps, alpha)

    def _groups_of(self, network: Sequential) -> dict[str, ParameterGroup | None]:
        """The group of each parameter."""
        names = [name for name, place in network.places.items() if place.buffer == "parameters"]
        for group in self.groups:
            if not any(fnmatchcase(name, group.names) for name in names):
                known = f"a pattern of some of {', '.join(names)}"
                raise SpecError("ParameterGroup", "names", group.names, known)
        return {
            name: next((g for g in self.groups if fnmatchcase(name, g.names)), None)
            for name in names
        }

    def _stretch(self, place: Place, group: ParameterGroup | None) -> Stretch:
        from fastconv.plans.gradient import MuonSpec
        from fastconv.plans.update import Stretch

        size, is_weight = place.end - place.offset, place.parameter.kind == "weight"
        rule, decays = self, is_weight or self.decay_biases
        if group is not None:
            rule = self._rule_of(group)
            decays = decays or group.weight_decay is not None
        weights, decayed = size if is_weight else 0, size if decays else 0
        spec = replace(
            rule._spec(size, weights, decayed),
            rate_factor=1.0 if group is None else group.rate_factor,
        )
        schedule = 0
        if group is not None and group.schedule is not None:
            own = [each for each in self.groups if each.schedule is not None]
            schedule = 1 + own.index(group)
        if rule.kind != "muon" or not is_weight:
            return Stretch(place.offset, spec, schedule=schedule)
        # Wide layers step further, as their orthogonal matrices have smaller elements.
        columns = place.parameter.shape[-1]
        rows = size // max(1, columns)
        factor = spec.rate_factor * max(1.0, columns / max(1, rows)) ** 0.5
        plain = OptimizerSpec(
            "sgd", size, weights, decayed,
            decoupled_decay=spec.decoupled_decay * spec.rate_factor / factor, rate_factor=factor,
        )  # fmt: skip
        muon = MuonSpec(size, typing.cast(float, rule.momentum), self.nesterov)
        norm = columns**0.5 if self.normalize_weights else None
        return Stretch(place.offset, plain, muon, rows, self.newton_schulz_steps, norm, schedule)

    def _rule_of(self, group: ParameterGroup) -> Optimizer:
        """The rule of a group: this one, with what the group has in its place."""
        kind = group.kind or self.kind
        if group.momentum is not None and kind not in _WITH_MOMENTUM:
            fix = f"nothing under kind {kind!r}; leave it out, or use {', '.join(_WITH_MOMENTUM)}"
            raise SpecError("ParameterGroup", "momentum", group.momentum, fix)
        changes: dict[str, typing.Any] = {"groups": (), "kind": kind}
        if kind != self.kind:
            changes |= {name: _default_of(name, kind) for name in ("momentum", "epsilon")}
        given = {name: getattr(group, name) for name in ("momentum", "weight_decay")}
        changes |= {name: value for name, value in given.items() if value is not None}
        return replace(self, **changes)

    def _spec(self, size: int, weights: int, decayed: int) -> OptimizerSpec:
        kind = "adam" if self.kind in ("adamw", "muon") else self.kind
        decoupled = self.kind in _DECOUPLED or self.decay_mode == "decoupled"
        try:
            return OptimizerSpec(
                typing.cast(OptimizerKind, kind),
                size,
                weights,
                decayed,
                l2=self.l2,
                coupled_decay=0.0 if decoupled else self.weight_decay,
                decoupled_decay=self.weight_decay if decoupled else 0.0,
                momentum=typing.cast(float, self.momentum),
                averaged=self.averaged,
                beta1=self.beta1,
                beta2=self.beta2,
                epsilon=typing.cast(float, self.epsilon),
                alpha=self.alpha,
                centered=self.centered,
                momentum_decay=self.momentum_decay,
            )
        except SpecError as fault:
            decay = "weight_decay"  # which of the two it is, decay_mode says
            raise fault.of("Optimizer", coupled_decay=decay, decoupled_decay=decay) from None


def _check_scheduled(group: ParameterGroup) -> None:
    """Raise where a group has a momentum of its own that a schedule cannot give, or gives."""
    if group.kind is not None and group.kind not in SCHEDULABLE:
        fix = f"one of {', '.join(SCHEDULABLE)} under a schedule of the momentum"
        raise SpecError("ParameterGroup", "kind", group.kind, fix)
    if group.momentum is not None:
        fix = "nothing beside a schedule of the momentum, which gives that of each step"
        raise SpecError("ParameterGroup", "momentum", group.momentum, fix)


def _merged(stretches: list[Stretch], frozen: list[int]) -> list[Stretch]:
    """Join neighbours with the same rule: what aligns parameters lies between them, and is 0.

    What LAMB and Muon do follows from a parameter as a whole. Frozen parameters, which begin at
    ``frozen``, keep those before and behind them apart.
    """
    joined: list[Stretch] = []
    for stretch in sorted(stretches, key=lambda each: each.start):
        before = joined[-1] if joined else None
        by_layer = stretch.spec.kind == "lamb" or any(
            each is not None and each.muon is not None for each in (before, stretch)
        )
        if (
            before is None
            or by_layer
            or _rule_of(before.spec) != _rule_of(stretch.spec)
            or before.schedule != stretch.schedule
            or any(before.start < each < stretch.start for each in frozen)
        ):
            joined.append(stretch)
            continue
        end = stretch.start + stretch.spec.size
        size, spec = end - before.start, before.spec
        is_weight, decays = spec.weights > 0, spec.decayed > 0
        whole = replace(
            spec, size=size, weights=size if is_weight else 0, decayed=size if decays else 0
        )
        joined[-1] = replace(before, spec=whole)
    return joined


def _rule_of(spec: OptimizerSpec) -> OptimizerSpec:
    """A spec without its size."""
    return replace(
        spec, size=1, weights=int(spec.weights == spec.size), decayed=int(spec.decayed == spec.size)
    )
