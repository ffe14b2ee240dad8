"""A network in training on one backend: its plans, its data, its step count."""

from __future__ import annotations

import copy
import math
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.data import DataError, Samples, epoch_order
from fastconv.execution.config import ExecutionConfig, settle
from fastconv.execution.interrupts import DeferredInterrupts
from fastconv.execution.network_on_backend import NetworkOnBackend
from fastconv.execution.pace import Pace
from fastconv.inference import Inference, Score
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.plan_builder import Purpose
from fastconv.predictor import Predictor
from fastconv.preprocessing import Augmentation, Preprocessing
from fastconv.schedules import Schedule
from fastconv.spec import SpecError

_MOMENTS = ("first_moment", "second_moment")


class Trainer:
    """Runs steps of a network's training plan, and evaluates it.

    Other threads may evaluate and predict while one trains: they have their turn between steps,
    and training waits for them.

    Parameters
    ----------
    network
        The network; its parameters are updated in place.
    training
        Samples to train on. On the CPU each batch is read from their arrays when its step is made:
        what is written to them in between is learned. A CUDA device has a copy of its own.
    loss
        "softmax_cross_entropy", "nll" or "mean_squared_error".
    optimizer, schedule
        Update rule and learning rates.
    batch_size
        Samples in a pass; a last short batch of an epoch is dropped.
    accumulate
        Passes whose gradients are averaged for one step: 4 of 32 samples have the mean gradient of
        128, in the memory of 32. Batch normalisation takes each by itself.
    average
        What is kept of an exponential moving average of the weights, and of running statistics, in
        each step, such as 0.999; it begins with the first weights. Then the averaged network is
        what is evaluated and predicts. None for none.
    preprocessing, augmentation
        What happens to a batch before the first layer.
    seed
        Of shuffling, dropout and augmentation.
    backend, threads, precision, device
        Where and how it computes: the fields of :class:`fastconv.ExecutionConfig`.
    config
        An :class:`fastconv.ExecutionConfig` in their place.

    Attributes
    ----------
    config
        Where and how it computes, as it was settled.
    trained_network
        The network of averaged weights, or the network itself where there is no average.
    step
        Updates made so far.
    samples_per_step, steps_per_epoch
        Samples that a step learns from, and updates in an epoch.
    runner
        What makes the training steps: the backend's ``Runner`` of the training plan.
    warmup_seconds, train_seconds
        Time spent on making the plan ready, and in training steps alone.

    Raises
    ------
    DataError
        If the samples do not fit the network, or the batch is larger than the data.
    NetworkError
        If the network ends with what the loss does not take.
    BackendError
        If the backend cannot work here, or not in this precision.
    """

    def __init__(
        self,
        network: Sequential,
        training: Samples,
        *,
        loss: str,
        optimizer: Optimizer,
        schedule: Schedule,
        batch_size: int,
        accumulate: int = 1,
        average: float | None = None,
        preprocessing: Preprocessing | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        backend: str | None = None,
        threads: int | None = None,
        precision: str | None = None,
        device: int | None = None,
        config: ExecutionConfig | None = None,
    ) -> None:
        self.config = settle(
            "Trainer", config, backend=backend, threads=threads, precision=precision, device=device
        )
        self._placed = NetworkOnBackend(network, preprocessing, self.config)
        self.network = self.trained_network = network
        averages = self._place_average(average)
        self._inference = Inference.of(self._averaged or self._placed, loss)
        self.training = training
        self.loss = loss
        self.schedule = schedule
        self.seed = seed
        self.step = 0
        self.train_seconds = 0.0
        self._check(batch_size, accumulate)
        self.batch_size = batch_size
        self.samples_per_step = batch_size * accumulate
        self.steps_per_epoch = len(training) // self.samples_per_step
        self._order_of_epoch: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))
        self._turns = threading.Lock()
        self._pace = Pace(self._placed.steps_together)
        started = time.perf_counter()
        self._uploaded = self._placed.upload(training)
        flat = {
            name: self._placed.to_device(np.zeros(network.parameters.size, network.dtype))
            for name in ("gradients", *dict.fromkeys((*_MOMENTS, *optimizer.moments)))
        }
        self._runner = self._placed.make_runner(
            batch_size,
            Purpose(True, True, loss, optimizer.update(network, average), accumulate=accumulate),
            {**self._uploaded, **flat, **averages},
            augmentation=augmentation,
            seed=seed,
        )
        self.warmup_seconds = time.perf_counter() - started

    def _place_average(self, average: float | None) -> dict[str, Any]:
        """Place a copy of the network that averages are kept in; return its arrays for the plan."""
        self._averaged: NetworkOnBackend | None = None
        if average is None:
            return {}
        if not 0 < average < 1:
            raise SpecError("Trainer", "average", average, "between 0 and 1, such as 0.999")
        self.trained_network = copied = copy.copy(self.network)
        copied.parameters, copied.state = self.network.parameters.copy(), self.network.state.copy()
        placed = NetworkOnBackend(copied, self._placed.preprocessing, self.config)
        # Who evaluates the one must not see the other in the middle of a step.
        placed.access = self._placed.access
        self._averaged = placed
        return {f"average_{name}": array for name, array in placed.flat_arrays.items()}

    def _check(self, batch_size: int, accumulate: int) -> None:
        samples = self.training
        if batch_size < 1:
            raise DataError(f"batch size is {batch_size}; expected 1 or more")
        if accumulate < 1:
            raise DataError(f"accumulate is {accumulate}; expected 1 or more")
        if accumulate > 1 and batch_size * accumulate > len(samples):
            raise DataError(
                f"batch size {batch_size} times accumulate {accumulate} is "
                f"{batch_size * accumulate} but there are {len(samples)} training samples; "
                f"expected no more than these"
            )
        if batch_size > len(samples):
            raise DataError(
                f"batch size is {batch_size} but there are {len(samples)} training samples; "
                f"expected 1 to {len(samples)}"
            )
        self._inference.check_samples(samples)

    @property
    def plan_seconds(self) -> float:
        """The part of ``warmup_seconds`` that building plans took; the rest is the backend's."""
        return self._placed.plan_seconds

    @property
    def inference(self) -> Inference:
        """Scores samples with the network as it is."""
        return self._inference

    @property
    def predictor(self) -> Predictor:
        """Says what the network, as it is, makes of images."""
        return self._inference.predictor

    @property
    def runner(self) -> Any:
        """The backend's runner of the training plan."""
        return self._runner

    @property
    def epoch(self) -> int:
        """Number of the epoch that the next step belongs to, from 0."""
        return self.step // self.steps_per_epoch

    def steps_left_in_epoch(self) -> int:
        """Steps until the next epoch begins."""
        return self.steps_per_epoch - self.step % self.steps_per_epoch

    @property
    def steps_at_a_time(self) -> int:
        """Steps that take some hundredths of a second, by those made so far.

        :meth:`train` looks for Ctrl-C after so many.
        """
        return self._pace.steps

    def train(self, steps: int) -> Score:
        """Make ``steps`` updates, all within the current epoch.

        Ctrl-C is heard some hundredths of a second later, between steps: one that takes longer is
        finished, or on the numpy backend left as if it had not begun. Then ``step`` counts those
        that were made, and training may go on from there.

        Returns
        -------
        Score
            Over the samples of these steps, each batch counted before its update.

        Raises
        ------
        ValueError
            If the epoch has not so many steps left.
        DataError
            If labels were written to that are none of the network's outputs. They are looked at
            when an epoch begins, and when a loss is not finite: theirs is NaN.
        """
        with self._turns, DeferredInterrupts() as interrupts:
            self.config.select_device()
            if not 1 <= steps <= self.steps_left_in_epoch():
                raise ValueError(
                    f"steps is {steps}; expected 1 to {self.steps_left_in_epoch()}, "
                    f"the rest of the epoch"
                )
            started = time.perf_counter()
            try:
                score = self._train(steps, interrupts)
            finally:
                self.train_seconds += time.perf_counter() - started
        if not math.isfinite(score.loss_sum):
            self._inference.check_labels_again(self.training)
        return score

    def _train(self, steps: int, interrupts: DeferredInterrupts) -> Score:
        epoch, order = self._order_of_epoch
        if epoch != self.epoch:
            self._inference.check_labels_again(self.training)
            order = epoch_order(len(self.training), self.seed, self.epoch)
            self._order_of_epoch = self.epoch, order
        size = self.samples_per_step
        first = self.step % self.steps_per_epoch * size
        batches = order[first : first + steps * size].reshape(steps, size)
        rates = self.schedule.rates(np.arange(self.step, self.step + steps))
        access, pace = self._placed.access, self._pace
        made = 0
        while True:
            end = min(steps, made + pace.steps)
            access.begin_writing(interrupts.let_through)
            began = time.perf_counter()
            try:
                statistics = self._runner.run(
                    batches[made:end], rates[made:end], self.step, continues=made > 0,
                    # Only a slow step is worth being left in its midst.
                    meanwhile=interrupts.let_through if pace.steps == 1 else None,
                )  # fmt: skip
            finally:
                access.end_writing()
            pace.measure(end - made, time.perf_counter() - began)
            self.step += end - made
            made = end
            if made == steps:
                return self._inference.score_of(statistics)
            interrupts.let_through()

    def evaluate(self, samples: Samples, *, scores: NDArray[Any] | None = None) -> Score:
        """Score all samples with the network as it is; see :meth:`Inference.evaluate`.

        While another thread trains, as it is after some step.
        """
        return self._inference.evaluate(samples, scores=scores)

    def prepare_evaluation(self, samples: Samples) -> None:
        """Make the plans that :meth:`evaluate` needs now, as a part of the warm-up."""
        started = time.perf_counter()
        self._inference.prepare(samples)
        self.warmup_seconds += time.perf_counter() - started

    def predict(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the network's scores for images; see :class:`fastconv.Predictor`."""
        return self.predictor(images)

    def update_network(self) -> None:
        """Bring parameters and state back into the network from where the backend has them."""
        self._placed.update_network()
        if self._averaged is not None:
            self._averaged.update_network()

    def is_finite(self) -> bool:
        """Whether every parameter is a finite number."""
        self.update_network()
        return bool(np.isfinite(self.network.parameters).all())
