"""Where a training diverged: the step whose loss is not finite, and the layer that began it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastconv.analysis.stepwise_plan import StepwisePlan, host_backend
from fastconv.data import epoch_order
from fastconv.data.finite import first_not_finite
from fastconv.execution.checkpoint import Checkpoint
from fastconv.execution.uploads import arrays_of, image_dtype
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.trainer import Trainer


@dataclass(frozen=True)
class Divergence:
    """First step of a training whose loss is not finite, or whose update ruins the network.

    Parameters
    ----------
    step
        Number of the step, from 1.
    layer
        The first layer whose output in that step is not finite, or whose parameters were not
        before it; None where the loss alone is not.
    cause
        That in words.
    """

    step: int
    layer: str | None
    cause: str


def find_divergence(trainer: Trainer, good: Checkpoint) -> Divergence:
    """Make the steps again from where all was well, and look where it begins not to be.

    Parameters
    ----------
    trainer
        Behind the divergence; it is left as it was.
    good
        A state before it.
    """
    end = trainer.checkpoint()
    try:
        trainer.restore(good)
        trainer.rate_factor = end.state["trainer"]["rate_factor"]
        return _find(trainer, end.state["trainer"]["step"])
    finally:
        trainer.restore(end)


def _find(trainer: Trainer, end: int) -> Divergence:
    before, count = trainer.checkpoint(), 0
    while trainer.step < end:
        before = trainer.checkpoint()
        count = min(trainer.steps_at_a_time, trainer.steps_left_in_epoch(), end - trainer.step)
        if not math.isfinite(trainer.train(count).loss_sum):
            break
    else:
        name = _ruined_parameter(trainer)
        return Divergence(end, _layer_of(name), f"the update makes {name} infinite or NaN")
    while count > 1:
        trainer.restore(before)
        half = count // 2
        if math.isfinite(trainer.train(half).loss_sum):
            before, count = trainer.checkpoint(), count - half
        else:
            count = half
    trainer.restore(before)
    return _look(trainer)


def _look(trainer: Trainer) -> Divergence:
    """Say what the next step of a trainer is the first to have."""
    step = trainer.step + 1
    name = _ruined_parameter(trainer)
    if name is not None:
        return Divergence(
            step, _layer_of(name), f"{name} is infinite or NaN since the update of step {step - 1}"
        )
    network, batch = trainer.network, trainer.samples_of(1, trainer.step)
    order = epoch_order(len(trainer.training), trainer.seed, trainer.epoch)
    first = trainer.step % trainer.steps_per_epoch * trainer.samples_per_step
    chosen = order[first : first + batch]
    samples = trainer.training.take(chosen)
    for what, array in (("image", samples.images), ("targets", samples.labels)):
        place = first_not_finite(array)
        if place is not None:
            return Divergence(
                step, None, f"sample {chosen[place[0]]} of the training data holds "
                f"{array[place]} in its {what}",
            )  # fmt: skip
    p = trainer.inference.preprocessing
    source = Source(batch, image_dtype(samples.images, network.dtype), p, trainer.augmentation)
    passes = max(1, batch // trainer.batch_size)
    purpose = Purpose(True, True, trainer.loss, accumulate=passes)
    plan = build_plan(network, min(batch, trainer.batch_size), purpose, source, trainer.seed)
    stepwise = StepwisePlan(
        plan,
        {
            **arrays_of(samples, network.dtype),
            "parameters": network.parameters,
            "state": network.state.copy(),
            "gradients": np.zeros_like(network.parameters),
            **p.constants(network.dtype),
        },
        host_backend(trainer.config.backend),
    )
    stepwise.buffer("indices")[...] = np.arange(batch)
    stepwise.buffer("step")[...] = trainer.step
    names = {plan.number_of(name): name for name in network.names}
    for number, call in enumerate(plan.calls):
        stepwise.run(number, number + 1)
        for argument in call.arguments:
            name = None if argument is None else names.get(argument)
            if name is not None and first_not_finite(stepwise.buffer(name)) is not None:
                return Divergence(step, name, f"the output of {name} is infinite or NaN")
    return Divergence(step, None, "the loss is infinite or NaN, and no layer's output is")


def _ruined_parameter(trainer: Trainer) -> str | None:
    """Return the first parameter or state that is not finite, in the order of the layers."""
    trainer.update_network()
    arrays = trainer.network.named_arrays().items()
    return next((name for name, array in arrays if not np.isfinite(array).all()), None)


def _layer_of(parameter: str | None) -> str | None:
    return None if parameter is None else parameter.rpartition(".")[0]
