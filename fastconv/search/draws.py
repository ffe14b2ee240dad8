"""Draws of trials: Optuna's distributions, and a sampler whose draws can be repeated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from fastconv.search.space import Dimension, Settings

INDEX, AGAIN = "index", "again"
"""Attributes that Optuna keeps of a trial: the number of its draw, whether it is made again."""


def suggest(trial: optuna.Trial, key: str, dimension: Dimension) -> Any:
    """Have a trial draw a value for a key."""
    found = distribution(dimension)
    if isinstance(found, CategoricalDistribution):
        return trial.suggest_categorical(key, found.choices)
    if isinstance(found, IntDistribution):
        return trial.suggest_int(key, found.low, found.high)
    assert isinstance(found, FloatDistribution)
    return trial.suggest_float(key, found.low, found.high, log=found.log)


def distribution(dimension: Dimension) -> BaseDistribution:
    """Return a dimension as Optuna knows it."""
    ends = dimension.ends()
    if dimension.kind == "choice":
        return CategoricalDistribution(ends)
    low, high = float(ends[0]), float(ends[1])
    if dimension.kind == "int":
        return IntDistribution(int(low), int(high))
    return FloatDistribution(low, high, log=dimension.kind == "log_uniform")


class Draws(optuna.samplers.BaseSampler):
    """Points that depend on the seed and the number of the draw alone.

    So a study that is interrupted, or shared by machines, has the points of one that is not.

    Parameters
    ----------
    seed, stage
        Of the search, and of its stage.
    points
        Those of a grid, in their order; of a random search none.
    """

    def __init__(self, seed: int, stage: int, points: Sequence[Settings]) -> None:
        self._seed, self._stage, self._points = seed, stage, points

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return no keys: none depends on others."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return no values."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw the value of a key."""
        index = draw_index(study, trial)
        if self._points:
            return self._points[index][param_name]
        key = int.from_bytes(param_name.encode(), "little")
        seed = derived_seed(self._seed, self._stage, index, key)
        sampler = optuna.samplers.RandomSampler(seed=seed)
        return sampler.sample_independent(study, trial, param_name, param_distribution)


def derived_seed(*numbers: int) -> int:
    """Return a seed made from several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def draw_index(study: optuna.Study, trial: FrozenTrial) -> int:
    """Return the number of a trial's draw: repetitions do not count.

    It depends on nothing that another machine may change later, so no draw is made twice.
    """
    if INDEX in trial.user_attrs:
        return int(trial.user_attrs[INDEX])
    repeated = sum(
        other.number < trial.number and AGAIN in other.user_attrs
        for other in study.get_trials(deepcopy=False)
    )
    return trial.number - repeated
