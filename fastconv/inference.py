"""A network on a backend: plans made ready to run, and scores of samples."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.selection import (
    choose_backend,
    load_module,
    require_precision,
)
from fastconv.data import DataError, Samples
from fastconv.network import Sequential
from fastconv.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Augmentation, Preprocessing

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


class Inference:
    """Applies a network as it is to samples, and makes runners of plans for others.

    Parameters
    ----------
    network
        The network; its output is a vector.
    loss
        "softmax_cross_entropy", "nll" or "mean_squared_error".
    preprocessing
        What happens to a batch before the first layer.
    backend, threads, precision
        As for :class:`fastconv.Trainer`.

    Attributes
    ----------
    backend
        Name of the backend that was chosen; ``why`` says why.
    plan_seconds
        Time that building plans took.

    Raises
    ------
    DataError
        If the network or the preprocessing do not fit.
    BackendError
        If the backend cannot run plans here.

    Examples
    --------
    >>> from fastconv.layers import Dense
    >>> network = Sequential([Dense(3)], input_shape=(5,))
    >>> Inference(network, backend="numpy").predict(np.zeros((2, 1, 1, 5), np.uint8)).shape
    (2, 3)
    """

    def __init__(
        self,
        network: Sequential,
        *,
        loss: str = "softmax_cross_entropy",
        preprocessing: Preprocessing | None = None,
        backend: str | None = None,
        threads: int | None = None,
        precision: str = "float32",
    ) -> None:
        choice = choose_backend(backend)
        require_precision(choice, precision, str(network.dtype))
        self.backend, self.why = choice.name, choice.why
        self.network = network
        self.loss = loss
        self.preprocessing = preprocessing or Preprocessing()
        self.threads = threads
        self.precision = precision
        self.plan_seconds = 0.0
        if len(network.output_shape) != 1:
            raise DataError(
                f"the network's output is {network.output_shape}; expected a vector (end it with "
                f"flatten and dense)"
            )
        self._check_preprocessing()
        self._run = load_module(choice.name, "run")
        self._evaluators: dict[tuple[int, int], Any] = {}
        self._uploaded: dict[int, tuple[Samples, dict[str, Any]]] = {}
        arrays = {
            "parameters": network.parameters,
            "state": network.state,
            **self.preprocessing.constants(network.dtype),
        }
        self._arrays = {name: self.to_device(array) for name, array in arrays.items()}

    def to_device(self, array: NDArray[Any]) -> Any:
        """Return an array where the backend computes: itself, or a copy."""
        return self._run.to_device(array)

    @property
    def _is_regression(self) -> bool:
        return self.loss == "mean_squared_error"

    def _check_preprocessing(self) -> None:
        p = self.preprocessing
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

    def check_samples(self, samples: Samples) -> None:
        """Check samples against the network and the loss; kernels do not.

        Raises
        ------
        DataError
            If they do not fit.
        """
        network, labels = self.network, samples.labels
        shape = samples.images.shape[1:]
        wanted = network.input_shape
        wanted = wanted if len(wanted) == 3 else (1, 1, *wanted)
        if shape != wanted:
            raise DataError(
                f"the data set's images are {shape} (height, width, channels) but the network "
                f"takes {network.input_shape}"
            )
        regression = self._is_regression
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

    def make_runner(
        self,
        samples: Samples,
        batch: int,
        purpose: Purpose,
        arrays: dict[str, Any],
        *,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> Any:
        """Build a plan over samples, and make it ready to run.

        Parameters
        ----------
        samples
            What the plan gathers from; ``arrays`` holds them.
        batch
            Samples in a step.
        purpose
            What the plan is for.
        arrays
            As :meth:`upload` returns them, and what else the plan shares.
        augmentation, seed
            Of training.

        Returns
        -------
        Runner
            The backend's.
        """
        started = time.perf_counter()
        dtype = image_dtype(samples.images, self.network.dtype)
        source = Source(len(samples), dtype, self.preprocessing, augmentation or Augmentation())
        plan = build_plan(self.network, batch, purpose, source, seed)
        self.plan_seconds += time.perf_counter() - started
        # Only the cupy backend has more than one precision.
        more = {} if self.precision == "float32" else {"precision": self.precision}
        return self._run.Runner(plan, {**self._arrays, **arrays}, self.threads, **more)

    def _on_device(self, samples: Samples) -> dict[str, Any]:
        """Bring samples to the backend."""
        arrays = arrays_of(samples, self.network.dtype)
        return {name: self.to_device(array) for name, array in arrays.items()}

    def upload(self, samples: Samples) -> dict[str, Any]:
        """Bring samples to the backend once, and keep them there for the next time."""
        if id(samples) not in self._uploaded:
            # The samples are kept too, so that their id stays theirs.
            self._uploaded[id(samples)] = samples, self._on_device(samples)
        return self._uploaded[id(samples)][1]

    def evaluate(self, samples: Samples) -> Score:
        """Score all samples with the network as it is (inference, a last short batch included)."""
        total = Score(0.0, 0.0, 0.0, samples.has_classes)
        for indices, batch in _evaluation_batches(len(samples)):
            total += self.score_of(self._evaluator(samples, batch).run(indices))
        return total

    def prepare(self, samples: Samples) -> None:
        """Make the plans that :meth:`evaluate` needs now."""
        for _, batch in _evaluation_batches(len(samples)):
            self._evaluator(samples, batch)

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
        if self._is_regression:
            labels = np.zeros((len(images), outputs), self.network.dtype)
        samples = Samples(np.ascontiguousarray(images), labels)
        self.check_samples(samples)
        arrays = self._on_device(samples)  # not kept: the next call may bring other images
        for indices, batch in _evaluation_batches(len(images)):
            runner = self.make_runner(samples, batch, Purpose(False, False, None), arrays)
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

    def _evaluator(self, samples: Samples, batch: int) -> Any:
        """Return the runner for these samples and this batch, made once."""
        key = id(samples), batch
        if key not in self._evaluators:
            self.check_samples(samples)
            purpose = Purpose(False, False, self.loss)
            arrays = self.upload(samples)
            self._evaluators[key] = self.make_runner(samples, batch, purpose, arrays)
        return self._evaluators[key]

    def score_of(self, statistics: NDArray[np.float64]) -> Score:
        """Return what a runner's statistics say."""
        loss_sum, correct, samples = (float(value) for value in statistics)
        return Score(loss_sum, correct, samples, not self._is_regression)


def image_dtype(images: NDArray[Any], dtype: str) -> str:
    """Return the dtype in which a plan of a network of ``dtype`` takes images: bytes stay bytes."""
    return "uint8" if images.dtype == np.uint8 else dtype


def arrays_of(samples: Samples, dtype: str) -> dict[str, NDArray[Any]]:
    """Return samples by the names and in the dtypes that a plan takes them.

    Parameters
    ----------
    samples
        The samples; nothing is copied that is right already.
    dtype
        Of the network.

    Examples
    --------
    >>> samples = Samples(np.zeros((2, 4, 4, 1)), np.ones((2, 1)))
    >>> {name: array.dtype.name for name, array in arrays_of(samples, "float32").items()}
    {'images': 'float32', 'targets': 'float32'}
    """
    images = samples.images.astype(image_dtype(samples.images, dtype), copy=False)
    if samples.has_classes:
        return {"images": images, "labels": samples.labels}
    return {"images": images, "targets": samples.labels.astype(dtype, copy=False)}


def _evaluation_batches(samples: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield (indices of shape (steps, batch), batch): all full batches, then a short one."""
    order = np.arange(samples, dtype=np.int64)
    full = samples // _EVALUATION_BATCH * _EVALUATION_BATCH
    for part, batch in ((order[:full], _EVALUATION_BATCH), (order[full:], samples - full)):
        if len(part):
            yield part.reshape(-1, batch), batch
