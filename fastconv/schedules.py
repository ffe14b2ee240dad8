"""Learning-rate schedules: functions of the step alone, so that a run can be resumed anywhere.

The one that goes by validations, :class:`Plateau`, is told of them as well.
Steps count from 0: ``rates([0])`` is the learning rate of the first update.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv.spec import SpecError, as_plain

Rates = NDArray[np.float64]


class Schedule(Protocol):
    """Gives the learning rate of any step."""

    def rates(self, steps: ArrayLike) -> Rates:
        """Return the learning rate of each of ``steps``, float64."""
        ...


def _positive(owner: str, **values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise SpecError(owner, name, value, "more than 0")


def as_schedule(owner: str, value: object) -> Schedule:
    """Return a schedule, or the constant one of a learning rate.

    Parameters
    ----------
    owner
        Who was given it, for the message.
    value
        A :class:`Schedule`, or a number.

    Raises
    ------
    SpecError
        If it is neither.

    Examples
    --------
    >>> as_schedule("Trainer", 0.1)
    Constant(lr=0.1)
    """
    plain = as_plain(value)
    if isinstance(plain, (int, float)) and not isinstance(plain, bool):
        return Constant(float(plain))
    if isinstance(value, type) or not hasattr(value, "rates"):
        raise SpecError(owner, "schedule", value, "a Schedule, such as Constant(0.1)")
    return cast("Schedule", value)


@dataclass(frozen=True)
class Constant:
    """The same learning rate throughout.

    Examples
    --------
    >>> Constant(0.1).rates([0, 1000])
    array([0.1, 0.1])
    """

    lr: float

    def __post_init__(self) -> None:
        _positive("constant schedule", lr=self.lr)

    def rates(self, steps: ArrayLike) -> Rates:
        """Return the learning rate of each of ``steps``."""
        return np.full(np.shape(steps), self.lr)


@dataclass(frozen=True)
class Step:
    """``lr * factor ** n``, n times ``every`` steps having passed.

    Examples
    --------
    >>> Step(0.1, every=10, factor=0.5).rates([0, 9, 10, 20])
    array([0.1  , 0.1  , 0.05 , 0.025])
    """

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _positive("step schedule", lr=self.lr, every=self.every, factor=self.factor)

    def rates(self, steps: ArrayLike) -> Rates:
        """Return the learning rate of each of ``steps``."""
        rates: Rates = self.lr * np.power(float(self.factor), np.asarray(steps) // self.every)
        return rates


@dataclass(frozen=True)
class Exponential:
    """``lr * factor ** (step / every)``: smooth decay by ``factor`` each ``every`` steps.

    Examples
    --------
    >>> Exponential(0.1, every=10, factor=0.25).rates([0, 5, 10])
    array([0.1  , 0.05 , 0.025])
    """

    lr: float
    every: int
    factor: float = 0.9

    def __post_init__(self) -> None:
        _positive("exponential schedule", lr=self.lr, every=self.every, factor=self.factor)

    def rates(self, steps: ArrayLike) -> Rates:
        """Return the learning rate of each of ``steps``."""
        rates: Rates = self.lr * np.power(float(self.factor), np.asarray(steps) / self.every)
        return rates


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from ``lr`` to ``final`` over ``total`` steps, ``final`` after them.

    Loshchilov & Hutter, "SGDR" (arXiv:1608.03983), equation 5, without restarts.

    Examples
    --------
    >>> Cosine(0.1, total=10).rates([0, 5, 10]).round(3)
    array([0.1 , 0.05, 0.  ])
    """

    lr: float
    total: int
    final: float = 0.0

    def __post_init__(self) -> None:
        _positive("cosine schedule", lr=self.lr, total=self.total)
        if not self.final >= 0:
            raise SpecError("cosine schedule", "final", self.final, "0 or more")

    def rates(self, steps: ArrayLike) -> Rates:
        """Return the learning rate of each of ``steps``."""
        return _half_cosine(self.lr, self.final, np.asarray(steps) / self.total)


@dataclass(frozen=True)
class OneCycle:
    """Up from ``lr / start_divisor`` to ``lr``, then down to ``lr / final_divisor``; half cosines.

    Smith & Topin, "Super-Convergence" (arXiv:1708.07120).

    Parameters
    ----------
    lr
        The largest rate.
    total
        Steps of the cycle.
    rise
        Share of the steps that go up.
    start_divisor, final_divisor
        See above.

    Examples
    --------
    >>> OneCycle(1.0, total=10, rise=0.5).rates([0, 5, 10]).round(4)
    array([4.e-02, 1.e+00, 1.e-04])
    """

    lr: float
    total: int
    rise: float = 0.3
    start_divisor: float = 25.0
    final_divisor: float = 1e4

    def __post_init__(self) -> None:
        _positive(
            "one_cycle schedule", lr=self.lr, total=self.total, start_divisor=self.start_divisor,
            final_divisor=self.final_divisor,
        )  # fmt: skip
        if not 0 < self.rise < 1:
            raise SpecError("one_cycle schedule", "rise", self.rise, "between 0 and 1")

    def rates(self, steps: ArrayLike) -> Rates:
        """Return the learning rate of each of ``steps``."""
        share = np.asarray(steps) / self.total
        up = _half_cosine(self.lr / self.start_divisor, self.lr, share / self.rise)
        fall = (share - self.rise) / (1 - self.rise)
        down = _half_cosine(self.lr, self.lr / self.final_divisor, fall)
        return np.where(share < self.rise, up, down)


@dataclass(frozen=True)
class Cyclic:
    """Triangles between ``eta_min`` and ``eta_max``: ``n_s`` steps up, ``n_s`` steps down.

    Smith, "Cyclical Learning Rates for Training Neural Networks" (arXiv:1506.01186).

    Examples
    --------
    >>> Cyclic(0.0, 1.0, n_s=4).rates([0, 2, 4, 6, 8])
    array([0. , 0.5, 1. , 0.5, 0. ])
    """

    eta_min: float
    eta_max: float
    n_s: int

    def __post_init__(self) -> None:
        _positive("cyclic schedule", eta_max=self.eta_max, n_s=self.n_s)
        if not 0 <= self.eta_min <= self.eta_max:
            raise SpecError(
                "cyclic schedule", "eta_min", self.eta_min, f"0 to eta_max ({self.eta_max!r})"
            )

    def rates(self, steps: ArrayLike) -> Rates:
        """Return the learning rate of each of ``steps``."""
        position = np.asarray(steps) % (2 * self.n_s)
        height = 1 - np.abs(position / self.n_s - 1)
        rates: Rates = self.eta_min + (self.eta_max - self.eta_min) * height
        return rates


@dataclass(frozen=True)
class Polynomial:
    """``final + (lr - final) * (1 - step / total) ** power``, ``final`` after ``total`` steps.

    Examples
    --------
    >>> Polynomial(0.4, total=10, power=2.0).rates([0, 5, 10])
    array([0.4, 0.1, 0. ])
    """

    lr: float
    total: int
    power: float = 1.0
    final: float = 0.0

    def __post_init__(self) -> None:
        _positive("polynomial schedule", lr=self.lr, total=self.total, power=self.power)
        if not self.final >= 0:
            raise SpecError("polynomial schedule", "final", self.final, "0 or more")

    def rates(self, steps: ArrayLike) -> Rates:
        """Return the learning rate of each of ``steps``."""
        left = 1 - np.clip(np.asarray(steps) / self.total, 0, 1)
        rates: Rates = self.final + (self.lr - self.final) * left**self.power
        return rates


@dataclass(frozen=True)
class Warmup:
    """A linear rise in front of another schedule, from a share of its first rate.

    Goyal et al., "Accurate, Large Minibatch SGD" (arXiv:1706.02677).

    Parameters
    ----------
    schedule
        Its first step comes after the rise.
    steps
        Of the rise.
    start
        Share of the schedule's first rate that the first step has.

    Examples
    --------
    >>> Warmup(Step(0.1, every=2, factor=0.5), steps=4, start=0.2).rates([0, 2, 4, 6])
    array([0.02, 0.06, 0.1 , 0.05])
    """

    schedule: Schedule
    steps: int
    start: float = 0.01

    def __post_init__(self) -> None:
        _positive("warm-up", steps=self.steps)
        if not 0 <= self.start <= 1:
            raise SpecError("warm-up", "warmup_start", self.start, "0 to 1")

    def rates(self, steps: ArrayLike) -> Rates:
        """Return the learning rate of each of ``steps``."""
        steps = np.asarray(steps)
        share = self.start + (1 - self.start) * np.minimum(1, steps / self.steps)
        return share * self.schedule.rates(np.maximum(0, steps - self.steps))

    def observe(self, loss: float) -> None:
        """Tell the schedule a validation's loss."""
        observe_validation(self.schedule, loss)


@dataclass
class Plateau:
    """A rate that is multiplied by ``factor`` when validations do not improve any more.

    What it has seen, it knows: the rate is no function of the step alone.

    Parameters
    ----------
    lr
        The first rate.
    factor
        Below 1.
    patience
        Validations in turn without an improvement that are waited for; the one after reduces.
    threshold
        Share of the smallest loss by which another must be below it to count as an improvement.
    least
        The rate is never below it.

    Attributes
    ----------
    best, waited, reductions
        The smallest loss, validations since it, and how often the rate was multiplied.

    Examples
    --------
    >>> schedule = Plateau(0.1, factor=0.5, patience=1)
    >>> for loss in (1.0, 1.0, 1.0):
    ...     schedule.observe(loss)
    >>> schedule.rates([7])
    array([0.05])
    """

    lr: float
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    least: float = 0.0
    best: float = field(default=math.inf, init=False, repr=False)
    waited: int = field(default=0, init=False, repr=False)
    reductions: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        owner = "plateau schedule"
        _positive(owner, lr=self.lr)
        if not 0 < self.factor < 1:
            raise SpecError(owner, "factor", self.factor, "between 0 and 1")
        for name in ("patience", "threshold", "least"):
            value = getattr(self, name)
            if not value >= 0:
                raise SpecError(owner, name, value, "0 or more")

    def rates(self, steps: ArrayLike) -> Rates:
        """Return the learning rate of each of ``steps``: that of now."""
        rate = max(self.least, self.lr * self.factor**self.reductions)
        return np.full(np.shape(steps), rate)

    def observe(self, loss: float) -> None:
        """Take a validation's loss into account."""
        if loss < self.best * (1 - self.threshold):
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.reductions, self.waited = self.reductions + 1, 0


def observe_validation(schedule: Schedule, loss: float) -> None:
    """Tell a schedule a validation's loss, if it goes by that.

    Parameters
    ----------
    schedule
        Any.
    loss
        Mean over the validation part.
    """
    observe = getattr(schedule, "observe", None)
    if observe is not None:
        observe(loss)


def observations(schedule: Schedule) -> dict[str, float] | None:
    """Return what a schedule knows of validations, for a checkpoint; None for one of steps alone.

    Parameters
    ----------
    schedule
        Any.
    """
    if isinstance(schedule, Warmup):
        return observations(schedule.schedule)
    if not isinstance(schedule, Plateau):
        return None
    known: dict[str, float] = {"waited": schedule.waited, "reductions": schedule.reductions}
    return known | ({"best": schedule.best} if schedule.best < math.inf else {})


def restore_observations(schedule: Schedule, known: Mapping[str, Any] | None) -> None:
    """Let a schedule know what :func:`observations` returned.

    Parameters
    ----------
    schedule
        One like that.
    known
        What it knew.
    """
    if isinstance(schedule, Warmup):
        restore_observations(schedule.schedule, known)
    elif isinstance(schedule, Plateau) and known is not None:
        schedule.best = known.get("best", math.inf)
        schedule.waited, schedule.reductions = known["waited"], known["reductions"]


def _half_cosine(start: float, end: float, share: NDArray[np.float64]) -> Rates:
    """From ``start`` at share 0 to ``end`` at share 1 and after."""
    rates: Rates = end + (start - end) * 0.5 * (1 + np.cos(np.pi * np.clip(share, 0, 1)))
    return rates
