"""Findings about a run: the network applied to the data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv import metrics
from fastconv.analysis.observed_network import ObservedNetwork
from fastconv.backends.selection import choose_backend
from fastconv.data import Dataset, Samples
from fastconv.execution.config import ExecutionConfig
from fastconv.network import Sequential
from fastconv.runs.saved_run import SavedRun

_COMPILED = ("cython", "numba")


@dataclass(frozen=True, eq=False)
class Findings:
    """A run, its data, and what the trained network says about them.

    Parameters
    ----------
    run
        The run.
    dataset
        What it was trained on, in the same parts.
    backend
        Whose kernels apply the network; for "numpy" and "cupy" the best on the host.
    remark
        What there is to say of the data: that they are others, or were not compared.
    test_scores
        The network's scores of the test part, where they are known already.
    """

    run: SavedRun
    dataset: Dataset
    backend: str | None = None
    remark: str = ""
    test_scores: NDArray[Any] | None = None

    @cached_property
    def network(self) -> Sequential:
        """The trained network."""
        return self.run.network()

    @cached_property
    def initial(self) -> Sequential:
        """The network before the first step."""
        return self.run.initial_network(self.dataset.training.images)

    @cached_property
    def is_finite(self) -> bool:
        """Whether every parameter and score is a finite number: False after it diverged."""
        arrays = self.network.parameters, self.network.state, self.scores
        return all(bool(np.isfinite(array).all()) for array in arrays)

    @cached_property
    def part(self) -> str:
        """Name of the part that is looked at: the test part, or the first that has samples."""
        for name in ("test", "validation"):
            if len(self.dataset.parts.get(name, ())):
                return name
        return "training"

    @property
    def samples(self) -> Samples:
        """The samples of that part."""
        return self.dataset.parts[self.part]

    @property
    def is_classification(self) -> bool:
        """Whether labels are classes."""
        return self.samples.has_classes

    @cached_property
    def _backend(self) -> str:
        name = choose_backend(self.backend).name
        return name if name in _COMPILED else choose_backend("auto").name

    @cached_property
    def observed(self) -> ObservedNetwork:
        """The network, layer by layer."""
        preprocessing = self.run.preprocessing
        return ObservedNetwork(self.network, preprocessing, backend=self._backend)

    @cached_property
    def scores(self) -> NDArray[Any]:
        """The network's scores of all samples."""
        if self.test_scores is not None and self.part == "test":
            return self.test_scores
        inference = self.run.inference_of(self.network, ExecutionConfig(self._backend))
        scores = inference.empty_scores(self.samples)
        # As at the end of a training: the same plan gives the same bits.
        inference.evaluate(self.samples, scores=scores)
        return scores

    @cached_property
    def probabilities(self) -> NDArray[Any]:
        """(N, classes) float64."""
        # The scores of a network that ends with log-softmax have the softmax of what they are the
        # logarithms of.
        return metrics.probabilities_of(self.scores)

    @cached_property
    def predictions(self) -> NDArray[np.int64]:
        """The most probable class of each sample."""
        chosen: NDArray[np.int64] = self.scores.argmax(axis=1)
        return chosen

    @cached_property
    def confusion(self) -> NDArray[Any]:
        """(classes, classes): true classes in rows."""
        names = self.dataset.class_names
        return metrics.confusion_matrix(self.samples.labels, self.predictions, len(names))

    @cached_property
    def mistakes(self) -> NDArray[Any]:
        """The most confident mistakes, at most 24."""
        return metrics.most_confident_mistakes(self.probabilities, self.samples.labels, 24)

    @cached_property
    def correct(self) -> NDArray[Any]:
        """The most confident correct one of each class in turn, at most 12: some of each kind."""
        return self._of_each_class(12)

    def _of_each_class(self, count: int) -> NDArray[Any]:
        labels = self.samples.labels
        order = metrics.most_confident_correct(self.probabilities, labels, len(labels))
        queues = [list(order[labels[order] == c]) for c in range(len(self.dataset.class_names))]
        chosen: list[int] = []
        while len(chosen) < count and any(queues):
            chosen.extend(queue.pop(0) for queue in queues if queue)
        return np.array(chosen[:count], np.int64)

    def title_of(self, index: int) -> str:
        """Two lines: what a sample was taken for, and if that is wrong, what it is."""
        names, guess = self.dataset.class_names, int(self.predictions[index])
        label = int(self.samples.labels[index])
        first = f"{names[guess]} ({_rounded(self.probabilities[index, guess])} %)"
        return first if guess == label else f"{first}\nis {names[label]}"

    @cached_property
    def looks_at_images(self) -> bool:
        """Whether samples are pictures rather than vectors of features."""
        height, width, channels = self.dataset.image_shape
        images = self.samples.images
        # Of float images nobody knows what is white, unless they go from 0 to 1.
        drawable = images.dtype == np.uint8 or bool((images.min() >= 0) & (images.max() <= 1))
        return height * width > 1 and channels in (1, 3) and drawable


def _rounded(probability: float) -> str:
    """Percent without decimals; what is not certain is not 100."""
    shown = f"{100 * probability:.0f}"
    return ">99" if shown == "100" and probability < 1 else shown
