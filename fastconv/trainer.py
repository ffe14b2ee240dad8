"""A network in training on one backend: its plans, its data, its step count."""

from __future__ import annotations

import math
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv.data import DataError, Samples, epoch_order
from fastconv.execution.config import ExecutionConfig, settle
from fastconv.execution.interrupts import DeferredInterrupts
from fastconv.execution.network_on_backend import NetworkOnBackend
from fastconv.execution.pace import Pace
from fastconv.inference import Inference, Score
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.loss import Loss
from fastconv.plans.plan_builder import Purpose
from fastconv.predictor import Predictor
from fastconv.preprocessing import Augmentation, Preprocessing
from fastconv.schedules import Schedule


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
        The name of a loss, or a :class:`fastconv.Loss` with options.
    optimizer, schedule
        Update rule and learning rates.
    batch_size
        Samples in a step; a last short batch of an epoch is dropped.
    preprocessing, augmentation
        What happens to a batch before the first layer.
    seed
        Of shuffling, dropout and augmentation.
    sample_weights
        (N,), 0 or more: what each training sample counts in the mean of its batch; one of weight 0
        counts for nothing.
    backend, threads, precision, device
        Where and how it computes: the fields of :class:`fastconv.ExecutionConfig`.
    config
        An :class:`fastconv.ExecutionConfig` in their place.

    Attributes
    ----------
    config
        Where and how it computes, as it was settled.
    step
        Updates made so far.
    steps_per_epoch
        Updates in an epoch.
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
        loss: str | Loss,
        optimizer: Optimizer,
        schedule: Schedule,
        batch_size: int,
        preprocessing: Preprocessing | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        sample_weights: ArrayLike | None = None,
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
        self._inference = Inference.of(self._placed, loss)
        self.network = network
        self.training = training
        self.loss = loss
        self.schedule = schedule
        self.seed = seed
        self.step = 0
        self.train_seconds = 0.0
        self._check(batch_size)
        self.batch_size = batch_size
        self.steps_per_epoch = len(training) // batch_size
        self._order_of_epoch: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))
        self._turns = threading.Lock()
        self._pace = Pace(self._placed.steps_together)
        started = time.perf_counter()
        self._uploaded = self._placed.upload(training)
        flat = {
            name: self._placed.to_device(np.zeros(network.parameters.size, network.dtype))
            for name in ("gradients", "first_moment", "second_moment")
        }
        weights = {}
        if sample_weights is not None:
            taken = _take_weights(sample_weights, len(training), network.dtype)
            weights["sample_weights"] = self._placed.to_device(taken)
        purpose = Purpose(
            True, True, loss, optimizer.spec(network), sample_weights=sample_weights is not None
        )
        self._runner = self._placed.make_runner(
            batch_size,
            purpose,
            {**self._uploaded, **flat, **weights},
            augmentation=augmentation,
            seed=seed,
        )
        self.warmup_seconds = time.perf_counter() - started

    def _check(self, batch_size: int) -> None:
        samples = self.training
        if batch_size < 1:
            raise DataError(f"batch size is {batch_size}; expected 1 or more")
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
        first = self.step % self.steps_per_epoch * self.batch_size
        batches = order[first : first + steps * self.batch_size].reshape(steps, self.batch_size)
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

    def is_finite(self) -> bool:
        """Whether every parameter is a finite number."""
        self.update_network()
        return bool(np.isfinite(self.network.parameters).all())


def _take_weights(weights: ArrayLike, samples: int, dtype: str) -> NDArray[np.floating]:
    """Return the weights of samples in the dtype of a network: a copy."""
    array = np.array(weights, dtype)
    if array.shape != (samples,):
        raise DataError(
            f"sample_weights has shape {array.shape}; expected {(samples,)}, one for each training "
            f"sample"
        )
    if not (np.isfinite(array) & (array >= 0)).all():
        raise DataError("sample_weights holds a number below 0 or not finite; expected 0 or more")
    return array
