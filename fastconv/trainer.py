"""A network in training on one backend: its plans, its data, its step count."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.selection import choose_backend, load_module
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
    threads
        How many threads a step may use; None: FASTCONV_THREADS, else the cores of this process.
        The numpy backend has no threads of its own: see ``fastconv.backends.numpy.run``.

    Attributes
    ----------
    step
        Updates made so far.
    steps_per_epoch
        Updates in an epoch.
    backend
        Name of the backend that was chosen; ``why`` says why.
    runner
        What makes the training steps: the backend's ``Runner`` of the training plan.
    warmup_seconds, train_seconds
        Time spent on making the plan ready, and in training steps alone.
    plan_seconds
        The part of ``warmup_seconds`` that building plans took; the rest is the backend's.

    Raises
    ------
    DataError
        If the samples do not fit the network, or the batch is larger than the data.
    BackendError
        If the backend cannot work here.
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
        threads: int | None = None,
    ) -> None:
        choice = choose_backend(backend)
        self.backend, self.why = choice.name, choice.why
        self.network = network
        self.training = training
        self.loss = loss
        self.schedule = schedule
        self.seed = seed
        self.step = 0
        self.threads = threads
        self.plan_seconds = self.train_seconds = 0.0
        self._preprocessing = preprocessing or Preprocessing()
        self._augmentation = augmentation or Augmentation()
        self._check(batch_size)
        self.batch_size = batch_size
        self.steps_per_epoch = len(training) // batch_size
        self._run = load_module(choice.name, "run")
        self._order_of_epoch: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))
        self._evaluators: dict[tuple[int, int], Any] = {}
        self._uploaded: dict[int, tuple[Samples, dict[str, Any]]] = {}
        started = time.perf_counter()
        dtype = network.dtype
        self._arrays: dict[str, Any] = {
            "parameters": self._run.to_device(network.parameters),
            "state": self._run.to_device(network.state),
        }
        self._arrays.update(self._constants())
        flat = {
            name: self._run.to_device(np.zeros(network.parameters.size, dtype))
            for name in ("gradients", "first_moment", "second_moment")
        }
        purpose = Purpose(True, True, loss, optimizer.spec(network))
        self._runner = self._make_runner(
            training, batch_size, purpose, {**self._upload(training), **flat}
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
        if len(network.output_shape) != 1:
            raise DataError(
                f"the network's output is {network.output_shape}; expected a vector (end it with "
                f"flatten and dense)"
            )
        self._check_samples(samples)
        self._check_preprocessing()

    def _check_samples(self, samples: Samples) -> None:
        """Check samples against the network and the loss; kernels do not."""
        network, labels = self.network, samples.labels
        shape = samples.images.shape[1:]
        wanted = network.input_shape
        wanted = wanted if len(wanted) == 3 else (1, 1, *wanted)
        if shape != wanted:
            raise DataError(
                f"the data set's images are {shape} (height, width, channels) but the network "
                f"takes {network.input_shape}"
            )
        regression = self.loss == "mean_squared_error"
        if regression is samples.has_classes:
            kind, other = ("class numbers", "softmax_cross_entropy or nll")
            if not samples.has_classes:
                kind, other = ("targets of a regression", "mean_squared_error")
            raise DataError(
                f"the loss is {self.loss} but the data set's labels are {kind}; use {other}"
            )
        outputs = network.output_shape[0]
        if regression and labels.shape[1] != outputs:
            raise DataError(
                f"the targets have {labels.shape[1]} values but the network's output has {outputs}"
            )
        if not regression and labels.size and not 0 <= labels.min() <= labels.max() < outputs:
            raise DataError(
                f"the labels go from {labels.min()} to {labels.max()}; expected 0 to "
                f"{outputs - 1}, one for each of the network's outputs"
            )

    def _check_preprocessing(self) -> None:
        p = self._preprocessing
        if p.mean is None or p.deviation is None:
            return
        channels, features = self.network.input_shape[-1], math.prod(self.network.input_shape)
        for name, array in (("mean", p.mean), ("deviation", p.deviation)):
            if np.size(array) not in (channels, features) or np.size(p.mean) != np.size(array):
                raise DataError(
                    f"preprocessing {name} has {np.size(array)} values; expected {channels} (one "
                    f"for each channel) or {features} (one for each feature)"
                )
        if not np.all(np.asarray(p.deviation) > 0):
            raise DataError(
                "preprocessing deviation holds a value that is not above 0; use 1 there"
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

    def _make_runner(
        self, samples: Samples, batch: int, purpose: Purpose, arrays: dict[str, Any]
    ) -> Any:
        """Build a plan over these samples, which ``arrays`` holds, and make it ready to run."""
        started = time.perf_counter()
        dtype = "uint8" if samples.images.dtype == np.uint8 else self.network.dtype
        source = Source(len(samples), dtype, self._preprocessing, self._augmentation)
        plan = build_plan(self.network, batch, purpose, source, self.seed)
        self.plan_seconds += time.perf_counter() - started
        return self._run.Runner(plan, {**self._arrays, **arrays}, self.threads)

    def _on_device(self, samples: Samples) -> dict[str, Any]:
        """Bring samples to the backend."""
        images, labels, dtype = samples.images, samples.labels, self.network.dtype
        if images.dtype != np.uint8:
            images = images.astype(dtype, copy=False)
        name = "labels" if samples.has_classes else "targets"
        if not samples.has_classes:
            labels = labels.astype(dtype, copy=False)
        to_device = self._run.to_device
        return {"images": to_device(images), name: to_device(labels)}

    def _upload(self, samples: Samples) -> dict[str, Any]:
        """Bring samples to the backend once, and keep them there for the next time."""
        if id(samples) not in self._uploaded:
            # The samples are kept too, so that their id stays theirs.
            self._uploaded[id(samples)] = samples, self._on_device(samples)
        return self._uploaded[id(samples)][1]

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
        score = self._score(self._runner.run(batches, rates, self.step))
        self.step += steps
        self.train_seconds += time.perf_counter() - started
        return score

    def evaluate(self, samples: Samples) -> Score:
        """Score all samples with the network as it is (inference, a last short batch included)."""
        total = Score(0.0, 0.0, 0.0, samples.has_classes)
        for indices, batch in _evaluation_batches(len(samples)):
            total += self._score(self._evaluator(samples, batch).run(indices))
        return total

    def prepare_evaluation(self, samples: Samples) -> None:
        """Make the plans that :meth:`evaluate` needs now, as a part of the warm-up."""
        started = time.perf_counter()
        for _, batch in _evaluation_batches(len(samples)):
            self._evaluator(samples, batch)
        self.warmup_seconds += time.perf_counter() - started

    def predict(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the network's scores for images as they come from a data set.

        Parameters
        ----------
        images
            (N, height, width, channels), uint8 or the network's dtype; preprocessed as in training.

        Returns
        -------
        ndarray
            (N, outputs): scores before any softmax that the loss holds.
        """
        outputs = self.network.output_shape[0]
        scores = np.empty((len(images), outputs), self.network.dtype)
        labels = np.zeros(len(images), np.int64)
        if not self.training.has_classes:
            labels = np.zeros((len(images), outputs), self.network.dtype)
        samples = Samples(np.ascontiguousarray(images), labels)
        self._check_samples(samples)
        arrays = self._on_device(samples)  # not kept: the next call may bring other images
        for indices, batch in _evaluation_batches(len(images)):
            runner = self._make_runner(samples, batch, Purpose(False, False, None), arrays)
            for row in indices:
                runner.run(row[None])
                scores[row] = self._run.to_host(runner.buffer("scores"))
        return scores

    def update_network(self) -> None:
        """Bring parameters and state back into the network from where the backend has them."""
        for name in ("parameters", "state"):
            host, device = getattr(self.network, name), self._arrays[name]
            if device is not host:
                host[...] = self._run.to_host(device)

    def is_finite(self) -> bool:
        """Whether every parameter is a finite number."""
        self.update_network()
        return bool(np.isfinite(self.network.parameters).all())

    def _evaluator(self, samples: Samples, batch: int) -> Any:
        """Return the runner for these samples and this batch, made once."""
        key = id(samples), batch
        if key not in self._evaluators:
            self._check_samples(samples)
            purpose = Purpose(False, False, self.loss)
            arrays = self._upload(samples)
            self._evaluators[key] = self._make_runner(samples, batch, purpose, arrays)
        return self._evaluators[key]

    def _score(self, statistics: NDArray[np.float64]) -> Score:
        loss_sum, correct, samples = (float(value) for value in statistics)
        return Score(loss_sum, correct, samples, self.training.has_classes)


def _evaluation_batches(samples: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield (indices of shape (steps, batch), batch): all full batches, then a short one."""
    order = np.arange(samples, dtype=np.int64)
    full = samples // _EVALUATION_BATCH * _EVALUATION_BATCH
    for part, batch in ((order[:full], _EVALUATION_BATCH), (order[full:], samples - full)):
        if len(part):
            yield part.reshape(-1, batch), batch
