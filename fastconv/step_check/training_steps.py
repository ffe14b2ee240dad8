"""A few training steps that any runner of plans can make, and what the reference makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.reference.run import Runner
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.loss import Loss
from fastconv.plans.plan import Plan
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Augmentation, Preprocessing
from fastconv.step_check.rounding import RoundedRunner

Snapshot: TypeAlias = dict[str, NDArray[np.float64]]
"""State of a training: its flat buffers, "loss" and "correct", as float64."""

_MOMENTS = ("first_moment", "second_moment", "gradient_mean")


@dataclass(frozen=True, eq=False)
class TrainingSteps:
    """Steps of a network's training, from the network as it is.

    Parameters
    ----------
    network
        The network; it is not changed.
    images
        (N, height, width, channels), uint8 or the network's dtype; feature vectors are images of
        height 1 and width 1.
    labels
        int64 (N,) class numbers, or (N, outputs) targets in the network's dtype.
    loss, optimizer
        As for :class:`fastconv.Trainer`.
    batch_size
        Samples in a step: the first ones in the first step, and so on, in turn.
    rates
        float64 (steps,): learning rates; (steps, 2) with the momenta behind them; or all that
        :meth:`fastconv.optimizers.Optimizer.rates_of_steps` makes of these.
    preprocessing, augmentation
        What happens to a batch before the first layer.
    seed
        Of dropout and augmentation.
    first_step
        Updates made before.
    """

    network: Sequential
    images: NDArray[Any]
    labels: NDArray[Any]
    loss: str | Loss
    optimizer: Optimizer
    batch_size: int
    rates: NDArray[np.float64]
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    first_step: int = 0

    @property
    def order(self) -> NDArray[np.int64]:
        """Samples of each step, int64 (steps, batch)."""
        count = len(self.rates) * self.batch_size
        in_turn = np.arange(count, dtype=np.int64) % len(self.images)
        return in_turn.reshape(-1, self.batch_size)

    def plan(self, dtype: str) -> Plan:
        """Return the plan of a step in a dtype.

        Raises
        ------
        ValueError
            If the loss is unknown, or the batch size below 1.
        """
        network = self.network
        if dtype != network.dtype:
            network = Sequential(network.layers, network.input_shape, dtype=dtype)
        scheduled = self.rates.ndim > 1 and self.rates.shape[-1] == 2
        update = self.optimizer.update(network, scheduled_momentum=scheduled)
        untrained = getattr(update, "frozen", ())
        purpose = Purpose(True, True, self.loss, update, untrained=untrained)
        image_dtype = "uint8" if self.images.dtype == np.uint8 else dtype
        source = Source(len(self.images), image_dtype, self.preprocessing, self.augmentation)
        return build_plan(network, self.batch_size, purpose, source, self.seed)

    def arrays(self, dtype: str) -> dict[str, NDArray[Any]]:
        """Return new arrays for all buffers that a plan shares, with the same numbers."""
        network, loss = self.network, Loss.of(self.loss)
        moments = {name: np.zeros(network.parameters.size) for name in _MOMENTS}
        found: dict[str, NDArray[Any]] = {
            "images": self.images,
            "labels" if loss.takes_labels else "targets": self.labels,
            "parameters": network.parameters,
            "state": network.state,
            "gradients": np.zeros(network.parameters.size),
            **moments,
            "slow_weights": network.parameters,
            # As the network's dtype has them: the same numbers for all.
            **self.preprocessing.constants(network.dtype),
            **loss.constants(network.dtype),
        }
        kept = ("labels", "factor")
        return {
            name: array.copy()
            if name in kept or array.dtype == np.uint8
            else array.astype(dtype)
            for name, array in found.items()
        }  # fmt: skip

    @property
    def start(self) -> Snapshot:
        """State that the training begins with."""
        return _snapshot(self.arrays("float64"), np.zeros(3))

    def made_by(
        self,
        make_runner: Callable[[Plan, Mapping[str, Any]], Any],
        dtype: str | None = None,
        *,
        to_device: Callable[[NDArray[Any]], Any] = np.asarray,
        to_host: Callable[[Any], NDArray[Any]] = np.asarray,
        at_once: bool = False,
    ) -> list[Snapshot]:
        """Make the steps one by one, or all in one call.

        Parameters
        ----------
        make_runner
            Makes the runner of a plan with its shared arrays.
        dtype
            Of the plan; None for the network's.
        to_device, to_host
            Bring arrays to where the runner computes, and back.
        at_once
            All steps in one call.

        Returns
        -------
        list of dict
            What there is after each step, or after the call; the loss and the correct samples are
            those of the step, or of all.
        """
        dtype = dtype or self.network.dtype
        arrays = {name: to_device(array) for name, array in self.arrays(dtype).items()}
        runner = make_runner(self.plan(dtype), arrays)
        order, size = self.order, len(self.rates) if at_once else 1
        rates = self.rates
        if rates.ndim < 3:
            numbers = np.arange(self.first_step, self.first_step + len(rates))
            rates = self.optimizer.rates_of_steps(rates, numbers)
        snapshots = []
        for first in range(0, len(self.rates), size):
            step = slice(first, first + size)
            statistics = runner.run(order[step], rates[step], self.first_step + first)
            hosted = {name: to_host(array) for name, array in arrays.items()}
            snapshots.append(_snapshot(hosted, statistics))
        return snapshots


def _snapshot(arrays: Mapping[str, NDArray[Any]], statistics: NDArray[np.float64]) -> Snapshot:
    names = ("parameters", "state", *_MOMENTS)
    found = {name: arrays[name].astype(np.float64) for name in names}
    return {**found, "loss": statistics[:1].copy(), "correct": statistics[1:2].copy()}


class ReferenceSteps:
    """Steps as the reference makes them in float64, and how far rounding may carry a backend's.

    Parameters
    ----------
    steps
        The steps.
    epsilon_of_products
        What the factors of convolutions and dense layers are rounded to, if not to the network's
        dtype.
    runner, rounded_runner
        What makes them.

    Attributes
    ----------
    exact
        What there is after each step.
    spread
        The largest difference from it that drawn errors have made so far, for each element.
    """

    def __init__(
        self,
        steps: TrainingSteps,
        epsilon_of_products: float | None = None,
        runner: type[Runner] = Runner,
        rounded_runner: type[RoundedRunner] = RoundedRunner,
    ) -> None:
        self.steps = steps
        self._epsilon_of_products = epsilon_of_products
        self._rounded_runner = rounded_runner
        self._pairs = 0
        self.exact = steps.made_by(runner, "float64")
        self.spread: list[Snapshot] = [
            {name: np.zeros(array.shape) for name, array in after.items()} for after in self.exact
        ]

    def draw(self, pairs: int) -> None:
        """Make the steps again with drawn errors, until so many pairs have been made."""
        epsilon = float(np.finfo(self.steps.network.dtype).eps)
        while self._pairs < pairs:
            for sign in (1, -1):

                def rounded(plan: Plan, shared: Mapping[str, Any], sign: int = sign) -> Runner:
                    return self._rounded_runner(
                        plan, shared, seed=self._pairs, sign=sign, epsilon=epsilon,
                        epsilon_of_products=self._epsilon_of_products,
                    )  # fmt: skip

                self._take(self.steps.made_by(rounded, "float64"))
            self._pairs += 1

    def _take(self, made: Iterable[Snapshot]) -> None:
        for spread, exact, rounded in zip(self.spread, self.exact, made, strict=True):
            for name, array in rounded.items():
                with np.errstate(invalid="ignore"):
                    difference = np.abs(array - exact[name])
                # What is no number in either says nothing of how close another must be.
                difference[np.isnan(difference)] = np.inf
                np.maximum(spread[name], difference, out=spread[name])
