"""A network in training on one backend: its plans, its data, its step count."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.selection import choose_backend, load_module, require_training
from fastconv.data import DataError, Samples, epoch_order
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Augmentation, Preprocessing
from fastconv.schedules import Schedule

_EVALUATION_BATCH = 256


@dataclass(frozen=True, slots=True)
class Score:
    """Loss and accuracy over some samples.

    Parameters
    ----------
    loss_sum
        Sum of the losses (data terms, without any penalty).
    correct
        Samples whose largest score is at their label.
    samples
        Samples counted.
    is_classification
        Whether there is such a thing as correct.
    """

    loss_sum: float
    correct: float
    samples: float
    is_classification: bool = True

    def __add__(self, other: Score) -> Score:
        return Score(
            self.loss_sum + other.loss_sum,
            self.correct + other.correct,
            self.samples + other.samples,
            self.is_classification and other.is_classification,
        )

    @property
    def loss(self) -> float:
        """Mean loss; NaN over no samples."""
        return self.loss_sum / self.samples if self.samples else float("nan")

    @property
    def accuracy(self) -> float | None:
        """Fraction of 1 that is correct; None for a regression."""
        if not self.is_classification or not self.samples:
            return None
        return self.correct / self.samples


class Trainer:
    """Runs steps of a network's training plan, and evaluates it.

    Parameters
    ----------
    network
        The network; its parameters are updated in place.
    training
        Samples to train on.
    loss
        "softmax_cross_entropy", "nll" or "mean_squared_error".
    optimizer, schedule
        Update rule and learning rates.
    batch_size
        Samples in a step; a last short batch of an epoch is dropped.
    preprocessing, augmentation
        What happens to a batch before the first layer.
    seed
        Of shuffling, dropout and augmentation.
    backend
        As for :func:`fastconv.conv2d`.

    Attributes
    ----------
    step
        Updates made so far.
    steps_per_epoch
        Updates in an epoch.
    backend
        Name of the backend that was chosen; ``why`` says why.
    warmup_seconds, train_seconds
        Time spent on making the plan ready, and in training steps alone.

    Raises
    ------
    DataError
        If the samples do not fit the network, or the batch is larger than the data.
    BackendError
        If the backend cannot train here.
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
        preprocessing: Preprocessing | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        backend: str | None = None,
    ) -> None:
        choice = choose_backend(backend)
        require_training(choice)
        self.backend, self.why = choice.name, choice.why
        self.network = network
        self.training = training
        self.loss = loss
        self.schedule = schedule
        self.seed = seed
        self.step = 0
        self.train_seconds = 0.0
        self._preprocessing = preprocessing or Preprocessing()
        self._augmentation = augmentation or Augmentation()
        self._check(batch_size)
        self.batch_size = batch_size
        self.steps_per_epoch = len(training) // batch_size
        self._run = load_module(choice.name, "run")
        self._order_of_epoch: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))
        self._evaluators: dict[tuple[int, int], tuple[Samples, Any]] = {}
        started = time.perf_counter()
        dtype = network.dtype
        self._arrays: dict[str, Any] = {
            "parameters": self._run.to_device(network.parameters),
            "state": self._run.to_device(network.state),
        }
        self._arrays.update(self._constants())
        self.optimizer_arrays = {
            name: self._run.to_device(np.zeros(network.parameters.size, dtype))
            for name in ("first_moment", "second_moment")
        }
        purpose = Purpose(True, True, loss, optimizer.spec(network))
        gradients = self._run.to_device(np.zeros(network.parameters.size, dtype))
        self._runner = self._make_runner(
            training, batch_size, purpose, gradients=gradients, **self.optimizer_arrays
        )
        self.warmup_seconds = time.perf_counter() - started

    def _check(self, batch_size: int) -> None:
        samples, network = self.training, self.network
        if batch_size < 1:
            raise DataError(f"batch size is {batch_size}; expected 1 or more")
        if batch_size > len(samples):
            raise DataError(
                f"batch size is {batch_size} but there are {len(samples)} training samples; "
                f"expected 1 to {len(samples)}"
            )
        shape = samples.images.shape[1:]
        wanted = (
            network.input_shape if len(network.input_shape) == 3 else (1, 1, *network.input_shape)
        )
        if shape != wanted:
            raise DataError(
                f"the data set's images are {shape} (height, width, channels) but the network "
                f"takes {network.input_shape}"
            )
        regression = self.loss == "mean_squared_error"
        if regression is samples.has_classes:
            kind = "class numbers" if samples.has_classes else "targets"
            raise DataError(f"the loss is {self.loss} but the data set's labels are {kind}")
        if len(network.output_shape) != 1:
            raise DataError(
                f"the network's output is {network.output_shape}; expected a vector (end it with "
                f"flatten and dense)"
            )

    def _constants(self) -> dict[str, Any]:
        """Shared arrays that the preprocessing reads."""
        p = self._preprocessing
        to_device = self._run.to_device
        if p.kind == "scale":
            return {"factor": to_device(np.array([p.factor], np.float64))}
        if p.kind == "standardize":
            dtype = self.network.dtype
            return {
                "mean": to_device(np.asarray(p.mean, dtype).reshape(-1)),
                "deviation": to_device(np.asarray(p.deviation, dtype).reshape(-1)),
            }
        return {}

    def _make_runner(self, samples: Samples, batch: int, purpose: Purpose, **arrays: Any) -> Any:
        """Build a plan over these samples and make it ready to run."""
        images, labels = samples.images, samples.labels
        if images.dtype != np.uint8:
            images = images.astype(self.network.dtype, copy=False)
        source = Source(len(samples), images.dtype.name, self._preprocessing, self._augmentation)
        plan = build_plan(self.network, batch, purpose, source, self.seed)
        if samples.has_classes:
            arrays["labels"] = self._run.to_device(labels)
        else:
            arrays["targets"] = self._run.to_device(labels.astype(self.network.dtype, copy=False))
        arrays["images"] = self._run.to_device(images)
        return self._run.Runner(plan, {**self._arrays, **arrays})

    @property
    def epoch(self) -> int:
        """Number of the epoch that the next step belongs to, from 0."""
        return self.step // self.steps_per_epoch

    def steps_left_in_epoch(self) -> int:
        """Steps until the next epoch begins."""
        return self.steps_per_epoch - self.step % self.steps_per_epoch

    def train(self, steps: int) -> Score:
        """Make ``steps`` updates, all within the current epoch.

        Returns
        -------
        Score
            Over the samples of these steps, each batch counted before its update.
        """
        if not 1 <= steps <= self.steps_left_in_epoch():
            raise ValueError(
                f"steps is {steps}; expected 1 to {self.steps_left_in_epoch()}, "
                f"the rest of the epoch"
            )
        started = time.perf_counter()
        epoch, order = self._order_of_epoch
        if epoch != self.epoch:
            order = epoch_order(len(self.training), self.seed, self.epoch)
            self._order_of_epoch = self.epoch, order
        first = self.step % self.steps_per_epoch * self.batch_size
        batches = order[first : first + steps * self.batch_size].reshape(steps, self.batch_size)
        rates = self.schedule.rates(np.arange(self.step, self.step + steps))
        self._runner.buffer("step")[0] = self.step
        statistics = self._runner.buffer("statistics")
        statistics.fill(0)
        self._runner.run(batches, rates)
        self.step += steps
        score = self._score(self._run.to_host(statistics))
        self.train_seconds += time.perf_counter() - started
        return score

    def evaluate(self, samples: Samples) -> Score:
        """Score all samples with the network as it is (inference, a last short batch included)."""
        total = Score(0.0, 0.0, 0.0, samples.has_classes)
        order = np.arange(len(samples), dtype=np.int64)
        full = len(samples) // _EVALUATION_BATCH * _EVALUATION_BATCH
        for part, batch in ((order[:full], _EVALUATION_BATCH), (order[full:], len(samples) - full)):
            if len(part) == 0:
                continue
            runner = self._evaluator(samples, batch)
            statistics = runner.buffer("statistics")
            statistics.fill(0)
            runner.run(part.reshape(-1, batch))
            total += self._score(self._run.to_host(statistics))
        return total

    def _evaluator(self, samples: Samples, batch: int) -> Any:
        """Return the runner for these samples and this batch, made once."""
        key = id(samples), batch
        if key not in self._evaluators:
            purpose = Purpose(False, False, self.loss)
            self._evaluators[key] = samples, self._make_runner(samples, batch, purpose)
        return self._evaluators[key][1]

    def _score(self, statistics: NDArray[np.float64]) -> Score:
        loss_sum, correct, samples = (float(value) for value in statistics)
        return Score(loss_sum, correct, samples, self.training.has_classes)
