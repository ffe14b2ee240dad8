"""Checks of whole training steps of a recipe, and the problems that its layers are."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.execution.config import ExecutionConfig
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.profiling.step_profile import synthetic_dataset
from fastconv.recipe import Recipe
from fastconv.runs.experiment import Experiment, prepare
from fastconv.spec import ConvSpec, DenseSpec, PoolSpec
from fastconv.step_check.check import check_step
from fastconv.step_check.training_steps import TrainingSteps
from fastconv.verify.check import Failure, Subject, Tally
from fastconv.verify.problems import Problem

_STEPS = 2
_LANES = 16
"""Most samples that a backend takes together."""


def _batch_size(recipe: Recipe) -> int:
    """Samples of a step that is checked: a large batch in part, as ``check_step`` does."""
    batch = recipe.batch_size
    return batch if batch <= 2 * _LANES else _LANES + batch % _LANES


def _experiment(recipe: Recipe, config: ExecutionConfig) -> Experiment:
    batch = _batch_size(recipe)
    plain = dataclasses.replace(
        recipe, batch_size=batch, accumulate=1, shards=None, sync_batch_norm=False
    )
    return prepare(plain, config=config, dataset=synthetic_dataset(plain, 2 * batch))


def problems_of(recipe: Recipe) -> tuple[Problem, ...]:
    """Return the convolutions, poolings and dense layers of a recipe, each once.

    Parameters
    ----------
    recipe
        The recipe.

    Examples
    --------
    >>> from fastconv.recipe import load_recipe
    >>> [problem.spec for problem in problems_of(load_recipe("digits"))][-1]
    DenseSpec(batch=32, inputs=512, outputs=10)
    """
    network = _experiment(recipe, ExecutionConfig("numpy")).trainer.network
    plan = build_plan(network, _batch_size(recipe), Purpose(False, False, None), Source(1))
    found: dict[Any, Problem] = {}
    for call in plan.calls:
        if isinstance(call.spec, (ConvSpec, DenseSpec, PoolSpec)):
            found.setdefault(call.spec, Problem(call.spec, f"of {recipe.name}"))
    return tuple(found.values())


def check_recipe(subject: Subject, recipe: Recipe, name: str) -> Tally:
    """Check the first steps of a recipe's training, in this process.

    They must be those of the reference but for rounding, and the same in every bit on any number of
    threads, one by one and in one call.

    Parameters
    ----------
    subject
        The backend.
    recipe, name
        What is trained, and how it was named.
    """
    tally = Tally()
    first: dict[str, NDArray[Any]] | None = None

    def fail(threads: int, what: str) -> None:
        where = subject.backend, subject.isa, threads
        tally.failures.append(Failure(*where, name, "", "", what))

    for threads in subject.threads:
        config = ExecutionConfig(subject.backend, threads)
        experiment = _experiment(recipe, config)
        trainer, training = experiment.trainer, experiment.dataset.training
        augmentation = trainer.augmentation
        rates = trainer.rates_and_momenta(np.arange(_STEPS))
        tally.calls += _STEPS
        if first is None:
            check = check_step(
                trainer.network, training.images, trainer.optimizer, training.labels,
                loss=trainer.loss, rate=rates, steps=_STEPS, batch_size=trainer.batch_size,
                preprocessing=trainer.inference.preprocessing,
                augmentation=augmentation, seed=trainer.seed, config=config, verbose=False,
            )  # fmt: skip
            if check.differs:
                fail(threads, check.summary)
        steps = TrainingSteps(
            trainer.network, training.images, training.labels, trainer.loss, trainer.optimizer,
            trainer.batch_size, rates, trainer.inference.preprocessing, augmentation, trainer.seed,
        )  # fmt: skip
        run = config.run_module
        for at_once in (False, True):
            last = steps.made_by(
                config.make_runner, to_device=run.to_device, to_host=run.to_host, at_once=at_once
            )[-1]
            for array in ("parameters", "state", "first_moment", "second_moment"):
                if first is not None and last[array].tobytes() != first[array].tobytes():
                    ways = "in one call" if at_once else "on another number of threads"
                    fail(threads, f"{array.replace('_', ' ')}: other bits {ways}")
            first = first or last
    return tally
