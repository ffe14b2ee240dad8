"""Scores of samples: how well a network does, and what it says of each image."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.data import DataError, Samples
from fastconv.data.dataset import require_samples
from fastconv.execution.config import ExecutionConfig, settle
from fastconv.execution.evaluator import Evaluator, RecentEvaluators
from fastconv.execution.interrupts import DeferredInterrupts
from fastconv.execution.network_on_backend import NetworkOnBackend
from fastconv.execution.outputs import check_output
from fastconv.network import Sequential
from fastconv.plans.loss import Loss
from fastconv.plans.plan_builder import Purpose
from fastconv.predictor import Predictor
from fastconv.preprocessing import Preprocessing


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
    weight
        Sum of the weights of the samples, where a loss has such; the mean loss is by it.
    """

    loss_sum: float
    correct: float
    samples: float
    is_classification: bool = True
    weight: float | None = None

    def __add__(self, other: Score) -> Score:
        return Score(
            self.loss_sum + other.loss_sum,
            self.correct + other.correct,
            self.samples + other.samples,
            self.is_classification and other.is_classification,
            None
            if self.weight is None and other.weight is None
            else self._divisor + other._divisor,
        )

    @property
    def sums(self) -> tuple[float, ...]:
        """What a runner adds up: loss, correct and samples, and the weight where there is one."""
        counted = self.loss_sum, self.correct, self.samples
        return counted if self.weight is None else (*counted, self.weight)

    @property
    def _divisor(self) -> float:
        return self.samples if self.weight is None else self.weight

    @property
    def loss(self) -> float:
        """Mean loss, by the weights where there are any; NaN over no samples."""
        return self.loss_sum / self._divisor if self._divisor else float("nan")

    @property
    def accuracy(self) -> float | None:
        """Fraction of 1 that is correct; None for a regression."""
        if not self.is_classification or not self.samples:
            return None
        return self.correct / self.samples


def _is_one_hot(labels: NDArray[Any]) -> bool:
    """Whether each row is 1 at one place and 0 elsewhere."""
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all())


class Inference:
    """Scores samples with a network as it is, and says what it makes of images.

    Several threads may use one: evaluations take turns, predictions run side by side, and neither
    sees a network in the middle of a step of training.

    Parameters
    ----------
    network
        The network; its output is a vector.
    loss
        The name of a loss, or a :class:`fastconv.Loss` with options.
    preprocessing
        What happens to a batch before the first layer.
    backend, threads, precision, device
        Where and how it computes: the fields of :class:`fastconv.ExecutionConfig`.
    config
        An :class:`fastconv.ExecutionConfig` in their place.

    Attributes
    ----------
    predictor
        What makes predictions of the same network.

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
        loss: str | Loss = "softmax_cross_entropy",
        preprocessing: Preprocessing | None = None,
        backend: str | None = None,
        threads: int | None = None,
        precision: str | None = None,
        device: int | None = None,
        config: ExecutionConfig | None = None,
    ) -> None:
        settled = settle(
            "Inference", config,
            backend=backend, threads=threads, precision=precision, device=device,
        )  # fmt: skip
        self._use(NetworkOnBackend(network, preprocessing, settled), loss)

    @classmethod
    def of(cls, placed: NetworkOnBackend, loss: str | Loss) -> Inference:
        """Return the inference of a network that others use too, such as one in training.

        Parameters
        ----------
        placed
            The network where a backend computes.
        loss
            As for the class.
        """
        made = cls.__new__(cls)
        made._use(placed, loss)
        return made

    def _use(self, placed: NetworkOnBackend, loss: str | Loss) -> None:
        if len(placed.network.output_shape) != 1:
            raise DataError(
                f"the network's output is {placed.network.output_shape}; expected a vector (end it "
                f"with flatten and dense)"
            )
        check_output(placed.network, loss)
        self._placed = placed
        self.config = placed.config
        self.network = placed.network
        self.preprocessing = placed.preprocessing
        self.loss = loss
        self._loss = Loss.of(loss)
        self.predictor = Predictor.of(placed)
        self._evaluations = threading.Lock()
        self._evaluators = RecentEvaluators()

    def check_samples(self, samples: Samples) -> None:
        """Check samples against the network and the loss; kernels do not.

        Raises
        ------
        DataError
            If they do not fit.
        """
        require_samples("evaluate", "samples", samples)
        network, labels = self.network, samples.labels
        shape = samples.images.shape[1:]
        wanted = network.input_shape
        wanted = wanted if len(wanted) == 3 else (1, 1, *wanted)
        if shape != wanted:
            raise DataError(
                f"the data set's images are {shape} (height, width, channels) but the network "
                f"takes {network.input_shape}"
            )
        loss = self._loss
        if loss.takes_labels is not samples.has_classes:
            kind, other = ("class numbers", "softmax_cross_entropy or nll")
            if not samples.has_classes:
                kind, other = ("targets of a regression", "mean_squared_error")
                if _is_one_hot(labels):
                    kind = f"{labels.dtype.name} one-hot rows"
                    other = "int64 class numbers: labels.argmax(axis=1)"
            if loss.soft_targets:
                other = "it without soft_targets"
            raise DataError(
                f"the loss is {loss.kind} but the data set's labels are {kind}; use {other}"
            )
        outputs = network.output_shape[0]
        if not loss.takes_labels and labels.shape[1] != outputs:
            raise DataError(
                f"the targets have {labels.shape[1]} values but the network's output has {outputs}"
            )
        self._check_labels(samples)

    def _check_labels(self, samples: Samples) -> None:
        if not self._loss.takes_labels:
            return
        labels, outputs = self._loss.counted(samples.labels), self.network.output_shape[0]
        if not labels.size:
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
        if self._placed.run_module.IS_ON_HOST:
            self._check_labels(samples)

    def evaluate(self, samples: Samples, *, scores: NDArray[Any] | None = None) -> Score:
        """Score all samples with the network as it is (inference, a last short batch included).

        The plans are kept for the next time, until the samples are gone or those of others were
        used since. The arrays are read again each time: what was written to them in between counts.
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
            self.config.select_device()
            evaluator = self._evaluators.find(samples, self._make_evaluator)
            with self._placed.access.reading():
                score = self.score_of(evaluator.run(interrupts, self._reader(scores)))
        if not math.isfinite(score.loss_sum):
            self.check_labels_again(samples)
        return score

    def _reader(self, scores: NDArray[Any] | None) -> Callable[[Any, Any], None] | None:
        """Return what copies the scores of a batch to where they are wanted."""
        if scores is None:
            return None

        def read(row: Any, runner: Any) -> None:
            scores[row] = self._placed.run_module.to_host(runner.buffer("scores"))

        return read

    def empty_scores(self, samples: Samples) -> NDArray[Any]:
        """Return an array for the scores that :meth:`evaluate` fills."""
        return np.empty((len(samples), self.network.output_shape[0]), self.network.dtype)

    def prepare(self, samples: Samples) -> None:
        """Make the plans that :meth:`evaluate` needs now."""
        with self._evaluations:
            self._evaluators.find(samples, self._make_evaluator)

    def predict(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the network's scores for images; see :class:`fastconv.Predictor`.

        Parameters
        ----------
        images
            (N, height, width, channels), uint8, float32 or float64; preprocessed as in training.

        Returns
        -------
        ndarray
            (N, outputs): scores before any softmax that the loss holds.
        """
        return self.predictor(images)

    def _make_evaluator(self, samples: Samples) -> Evaluator:
        self.check_samples(samples)
        placed, purpose = self._placed, Purpose(False, False, self.loss)
        arrays = placed.upload(samples)
        return Evaluator(
            len(samples),
            arrays,
            lambda batch: placed.make_runner(batch, purpose, arrays),
            placed.steps_together,
        )

    def score_of(self, statistics: NDArray[np.float64]) -> Score:
        """Return what a runner's statistics say."""
        loss_sum, correct, samples, *weight = statistics.tolist()
        return Score(loss_sum, correct, samples, self._loss.takes_labels, *weight)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it is made of: in another process it makes plans of its own."""
        self._placed.update_network()
        make = functools.partial(
            Inference, loss=self.loss, preprocessing=self.preprocessing, config=self.config
        )
        return make, (self.network,)
