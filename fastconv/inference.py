"""A network on a backend: plans made ready to run, and scores of samples."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
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
from fastconv.execution.evaluator import Evaluator, RecentEvaluators, evaluation_batches
from fastconv.execution.interrupts import DeferredInterrupts
from fastconv.execution.network_access import NetworkAccess
from fastconv.execution.outputs import check_output
from fastconv.execution.uploads import Arrays, Uploads
from fastconv.network import Sequential
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Augmentation, Preprocessing


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

    Several threads may use one: evaluations take turns, predictions run side by side, and neither
    sees a network in the middle of a step of training.

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
    access
        To the network's arrays, for whoever trains it meanwhile.

    Raises
    ------
    DataError
        If the network or the preprocessing do not fit.
    NetworkError
        If the network ends with what the loss does not take: see
        :func:`fastconv.execution.outputs.check_output`.
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
        check_output(network, loss)
        self._check_preprocessing()
        self._run = load_module(choice.name, "run")
        self._uploads = Uploads(self._run, str(network.dtype))
        self.access = NetworkAccess()
        self._evaluations = threading.Lock()
        self._evaluators = RecentEvaluators()
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
    def steps_together(self) -> int:
        """Steps that the backend runs faster together: those of a graph on a CUDA device, or 1."""
        return int(getattr(self._run, "STEPS_OF_A_GRAPH", 1))

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
        self._check_labels(samples)

    def _check_labels(self, samples: Samples) -> None:
        labels, outputs = samples.labels, self.network.output_shape[0]
        if self._is_regression or not labels.size:
            return
        low, high = int(labels.min()), int(labels.max())
        if not 0 <= low <= high < outputs:
            raise DataError(
                f"the labels go from {low} to {high}; expected 0 to {outputs - 1}, one for each of "
                f"the network's outputs"
            )

    def check_labels_again(self, samples: Samples) -> None:
        """Check labels that may have been changed in place since :meth:`check_samples`.

        Raises
        ------
        DataError
            If one is none of the network's outputs. Never where the backend has a copy of them.
        """
        if self._run.IS_ON_HOST:
            self._check_labels(samples)

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
        targets = arrays.get("targets")
        source = Source(
            len(samples),
            arrays["images"].dtype.name,
            self.preprocessing,
            augmentation or Augmentation(),
            None if targets is None else targets.dtype.name,
        )
        plan = build_plan(self.network, batch, purpose, source, seed)
        self.plan_seconds += time.perf_counter() - started
        # Only the cupy backend has more than one precision.
        more = {} if self.precision == "float32" else {"precision": self.precision}
        return self._run.Runner(plan, {**self._arrays, **arrays}, self.threads, **more)

    def upload(self, samples: Samples) -> Arrays:
        """Bring samples to the backend, or return what is there of them already.

        On the CPU these are the samples' own arrays, and what is written to them later is seen.
        On a CUDA device they are copies; for other images, make other samples.

        Parameters
        ----------
        samples
            The samples.

        Returns
        -------
        Arrays
            To be kept by whoever will want it again.
        """
        return self._uploads.arrays_of(samples)

    def evaluate(self, samples: Samples, *, scores: NDArray[Any] | None = None) -> Score:
        """Score all samples with the network as it is (inference, a last short batch included).

        The plans are kept for the next time, until the samples are gone or those of others were
        used since. The arrays are read anew each time: what was written to them in between counts.
        On a CUDA device a copy from the first time is used instead.

        Training in another thread waits, between two steps, until the score is there: it is that
        of the network behind some step.

        Parameters
        ----------
        samples
            What to score.
        scores
            (N, outputs): filled with the network's scores of each sample, as from :meth:`predict`.

        Raises
        ------
        DataError
            If they do not fit the network or the loss.
        """
        with self._evaluations, DeferredInterrupts() as interrupts:
            evaluator = self._evaluators.find(samples, self._make_evaluator)
            with self.access.reading():
                score = self.score_of(evaluator.run(interrupts, self._reader(scores)))
        if not math.isfinite(score.loss_sum):
            self.check_labels_again(samples)
        return score

    def _reader(self, scores: NDArray[Any] | None) -> Callable[[Any, Any], None] | None:
        """Return what copies the scores of a batch to where they are wanted."""
        if scores is None:
            return None

        def read(row: Any, runner: Any) -> None:
            scores[row] = self._run.to_host(runner.buffer("scores"))

        return read

    def empty_scores(self, samples: Samples) -> NDArray[Any]:
        """Return an array for the scores that :meth:`evaluate` fills."""
        return np.empty((len(samples), self.network.output_shape[0]), self.network.dtype)

    def prepare(self, samples: Samples) -> None:
        """Make the plans that :meth:`evaluate` needs now."""
        with self._evaluations:
            self._evaluators.find(samples, self._make_evaluator)

    def predict(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the network's scores for images as they come from a data set.

        Parameters
        ----------
        images
            (N, height, width, channels), uint8, float32 or float64; preprocessed as in training.

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
        arrays = self._uploads.bring(samples)  # not kept: the next call may bring other images
        for indices, batch in evaluation_batches(len(images)):
            runner = self.make_runner(samples, batch, Purpose(False, False, None), arrays)
            with DeferredInterrupts() as interrupts, self.access.reading():
                for row in indices:
                    runner.run(row[None])
                    scores[row] = self._run.to_host(runner.buffer("scores"))
                    interrupts.let_through()
        return scores

    def update_network(self) -> None:
        """Bring parameters and state back into the network from where the backend has them."""
        for name in ("parameters", "state"):
            host, device = getattr(self.network, name), self._arrays[name]
            if device is not host:
                host[...] = self._run.to_host(device)

    def _make_evaluator(self, samples: Samples) -> Evaluator:
        self.check_samples(samples)
        arrays, purpose = self.upload(samples), Purpose(False, False, self.loss)
        return Evaluator(
            len(samples),
            arrays,
            lambda batch: self.make_runner(samples, batch, purpose, arrays),
            self.steps_together,
        )

    def score_of(self, statistics: NDArray[np.float64]) -> Score:
        """Return what a runner's statistics say."""
        loss_sum, correct, samples = statistics.tolist()
        return Score(loss_sum, correct, samples, not self._is_regression)
