"""Learning rates tried out: a short training whose rate grows from step to step.

Smith, "Cyclical Learning Rates for Training Neural Networks" (arXiv:1506.01186), section 3.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastconv.schedules import Exponential
from fastconv.spec import SpecError
from fastconv.trainer import Trainer

_KEPT = 0.9
"""Of the moving average of the losses."""
_TOO_MUCH = 4.0
"""A smoothed loss of so many times the smallest one ends the trial."""
_FEWEST = 5


@dataclass(frozen=True)
class TriedRates:
    """Learning rates and what the loss was at each.

    Parameters
    ----------
    rates
        Of each step.
    losses
        Of the batch of each step, before its update.
    smoothed
        Moving average of the losses.
    suggested
        The rate at which the smoothed loss fell the fastest.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    suggested: float


def find_learning_rate(
    trainer: Trainer, *, steps: int = 100, least: float = 1e-6, most: float = 10.0
) -> TriedRates:
    """Train with growing rates until the loss explodes, and say at which it fell the fastest.

    Parameters
    ----------
    trainer
        Of a network that has made no step; it is of no use afterwards.
    steps
        To make at most.
    least, most
        The first and the last rate; between them they grow by the same factor each step.

    Raises
    ------
    SpecError
        If a number is out of range, or the loss explodes in the first steps.

    Examples
    --------
    >>> from fastconv.data import load_digits
    >>> from fastconv.layers import Dense, Flatten
    >>> from fastconv.network import Sequential
    >>> from fastconv.optimizers import Optimizer
    >>> from fastconv.schedules import Constant
    >>> digits = load_digits()
    >>> network = Sequential([Flatten(), Dense(10)], digits.image_shape)
    >>> trainer = Trainer(
    ...     network, digits.training, loss="softmax_cross_entropy", optimizer=Optimizer(),
    ...     schedule=Constant(1.0), batch_size=32, backend="numpy",
    ... )
    >>> 1e-6 < find_learning_rate(trainer).suggested < 10
    True
    """
    owner = "find_learning_rate"
    if steps < 2 * _FEWEST:
        raise SpecError(owner, "steps", steps, f"{2 * _FEWEST} or more")
    if not least > 0:
        raise SpecError(owner, "least", least, "more than 0")
    if not most > least:
        raise SpecError(owner, "most", most, f"more than least, {least:g}")
    trainer.schedule = Exponential(least, every=steps - 1, factor=most / least)
    first = trainer.step
    losses: list[float] = []
    smoothed: list[float] = []
    average = 0.0
    for number in range(1, steps + 1):
        loss = trainer.train(1).loss
        if not math.isfinite(loss):
            break
        average = _KEPT * average + (1 - _KEPT) * loss
        losses.append(loss)
        # Without the zero that the average begins with.
        smoothed.append(average / (1 - _KEPT**number))
        if smoothed[-1] > _TOO_MUCH * min(smoothed):
            break
    if len(losses) < _FEWEST:
        raise SpecError(owner, "least", least, f"less: the loss explodes in step {len(losses) + 1}")
    rates = trainer.schedule.rates(np.arange(first, first + len(losses)))
    course = np.array(smoothed)
    lowest = max(_FEWEST, int(course.argmin()) + 1)
    slope = np.gradient(course[:lowest], np.log(rates[:lowest]))
    return TriedRates(rates, np.array(losses), course, float(rates[int(slope.argmin())]))
