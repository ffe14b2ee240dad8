"""Schedules of the momentum: functions of the step alone, as those of the learning rate are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv.spec import SpecError

Momenta = NDArray[np.float64]


class MomentumSchedule(Protocol):
    """Gives the momentum of any step; of Adam, its beta1."""

    def momenta(self, steps: ArrayLike) -> Momenta:
        """Return the momentum of each of ``steps``, float64."""
        ...


def _check(owner: str, total: int, **momenta: float) -> None:
    if not total > 0:
        raise SpecError(owner, "total", total, "more than 0")
    for name, value in momenta.items():
        if not 0 <= value < 1:
            raise SpecError(owner, name, value, "0 or more, below 1")


@dataclass(frozen=True)
class OneCycleMomentum:
    """Down while the rate of a one-cycle schedule goes up, then up again; half cosines.

    Smith, "A disciplined approach to neural network hyper-parameters" (arXiv:1803.09820), section
    4.3.

    Parameters
    ----------
    total
        Steps of the cycle.
    rise
        Share of the steps in which the learning rate goes up.
    base_momentum, max_momentum
        The smallest momentum, and that of the first and of the last step.

    Examples
    --------
    >>> OneCycleMomentum(10, rise=0.5).momenta([0, 5, 10])
    array([0.95, 0.85, 0.95])
    """

    total: int
    rise: float = 0.3
    base_momentum: float = 0.85
    max_momentum: float = 0.95

    def __post_init__(self) -> None:
        owner = "one_cycle momentum"
        _check(owner, self.total, base_momentum=self.base_momentum, max_momentum=self.max_momentum)
        if not 0 < self.rise < 1:
            raise SpecError(owner, "rise", self.rise, "between 0 and 1")
        if self.base_momentum > self.max_momentum:
            expected = f"at most max_momentum ({self.max_momentum!r})"
            raise SpecError(owner, "base_momentum", self.base_momentum, expected)

    def momenta(self, steps: ArrayLike) -> Momenta:
        """Return the momentum of each of ``steps``."""
        share = np.asarray(steps) / self.total
        down = _half_cosine(self.max_momentum, self.base_momentum, share / self.rise)
        back = (share - self.rise) / (1 - self.rise)
        up = _half_cosine(self.base_momentum, self.max_momentum, back)
        return np.where(share < self.rise, down, up)


@dataclass(frozen=True)
class LinearMomentum:
    """A straight line from ``start`` to ``final`` over ``total`` steps, ``final`` after them.

    Examples
    --------
    >>> LinearMomentum(0.5, 0.9, total=4).momenta([0, 2, 4, 9])
    array([0.5, 0.7, 0.9, 0.9])
    """

    start: float
    final: float
    total: int

    def __post_init__(self) -> None:
        _check("linear momentum", self.total, start=self.start, final=self.final)

    def momenta(self, steps: ArrayLike) -> Momenta:
        """Return the momentum of each of ``steps``."""
        share = np.clip(np.asarray(steps) / self.total, 0, 1)
        momenta: Momenta = self.start + (self.final - self.start) * share
        return momenta


@dataclass(frozen=True)
class CosineMomentum:
    """Half a cosine from ``start`` to ``final`` over ``total`` steps, ``final`` after them.

    Examples
    --------
    >>> CosineMomentum(0.5, 0.9, total=4).momenta([0, 2, 4, 9])
    array([0.5, 0.7, 0.9, 0.9])
    """

    start: float
    final: float
    total: int

    def __post_init__(self) -> None:
        _check("cosine momentum", self.total, start=self.start, final=self.final)

    def momenta(self, steps: ArrayLike) -> Momenta:
        """Return the momentum of each of ``steps``."""
        return _half_cosine(self.start, self.final, np.asarray(steps) / self.total)


def _half_cosine(start: float, end: float, share: NDArray[np.float64]) -> Momenta:
    """From ``start`` at share 0 to ``end`` at share 1 and after."""
    momenta: Momenta = end + (start - end) * 0.5 * (1 + np.cos(np.pi * np.clip(share, 0, 1)))
    return momenta
