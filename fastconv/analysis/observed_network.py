"""Observation of a network: outputs of its layers for an image, gradients of the pixels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv.analysis.inference_network import inference_network
from fastconv.analysis.stepwise_plan import StepwisePlan, host_backend
from fastconv.execution.uploads import image_dtype
from fastconv.network import Sequential
from fastconv.plans.plan import Plan
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Preprocessing

_LOSS = "mean_squared_error"
"""Any would do: only the gradient of the scores behind it is used, and replaced."""


class ObservedNetwork:
    """A network in inference whose layers can be looked at.

    Parameters
    ----------
    network
        The network as it is now; later changes are not seen.
    preprocessing
        What happens to images before the first layer.
    batch
        Images at a time: memory for all outputs of so many is kept.
    backend
        Whose kernels; for "cupy" those of the best backend on the host.

    Examples
    --------
    >>> from fastconv.layers import Conv2D, Dense, Flatten, ReLU
    >>> layers = [Conv2D(4), ReLU(), Flatten(), Dense(3)]
    >>> observed = ObservedNetwork(Sequential(layers, input_shape=(8, 8, 1)), batch=2)
    >>> images = np.zeros((5, 8, 8, 1), np.uint8)
    >>> {name: output.shape for name, output in observed.outputs(images).items()}
    {'relu_1': (5, 6, 6, 4), 'flatten_1': (5, 144), 'dense_1': (5, 3)}
    >>> observed.input_gradient(images, [0, 1, 2, 0, 1]).shape
    (5, 8, 8, 1)
    """

    def __init__(
        self,
        network: Sequential,
        preprocessing: Preprocessing | None = None,
        *,
        batch: int = 32,
        backend: str | None = None,
    ) -> None:
        self.network = network
        self._batch = batch
        self._preprocessing = preprocessing or Preprocessing()
        self._network, names = inference_network(network)
        self._backend = host_backend(backend)
        self._plans: dict[str, StepwisePlan] = {}
        self._names = names

    def outputs(
        self, images: NDArray[Any], layers: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return what layers give.

        Parameters
        ----------
        images
            (N, height, width, channels), as they come from a data set.
        layers
            Names of layers; None for all whose output there is: that of a layer followed by an
            activation is the activation's, which takes its place in memory.

        Returns
        -------
        dict
            (N, ...) for each layer, in the order of the network.

        Raises
        ------
        KeyError
            If the output of a layer is not there.
        ValueError
            If the images have another shape than the network takes.
        """
        wanted = self._wanted(self._stepwise(images), layers)
        found: dict[str, list[NDArray[Any]]] = {name: [] for name in wanted}
        for batch in self.batches_of_outputs(images, layers):
            for name, output in batch.items():
                found[name].append(output.copy())
        shapes = dict(zip(self._network.names, self._network.shapes[1:], strict=True))
        return {
            old: np.concatenate([np.empty((0, *shapes[wanted[old]]), self._network.dtype), *parts])
            for old, parts in found.items()
        }

    def batches_of_outputs(
        self, images: NDArray[Any], layers: Sequence[str] | None = None
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield what layers give for some images after the other, in the order of the images.

        Parameters
        ----------
        images, layers
            As for :meth:`outputs`.

        Yields
        ------
        dict
            (count, ...) for each layer: memory that the next batch takes.
        """
        stepwise = self._stepwise(images)
        wanted = self._wanted(stepwise, layers)
        for count in self._batches(stepwise, images):
            stepwise.run(0, self._forward_calls(stepwise.plan))
            yield {old: stepwise.buffer(new)[:count] for old, new in wanted.items()}

    def _wanted(self, stepwise: StepwisePlan, layers: Sequence[str] | None) -> dict[str, str]:
        """Return the names of layers in the plan, by their names in the network."""
        observable = observable_layers(self._network, stepwise.plan)
        there = {old: new for old, new in self._names.items() if new in observable}
        return {name: there[name] for name in (there if layers is None else layers)}

    def scores(self, images: NDArray[Any]) -> NDArray[Any]:
        """Return the scores of images: (N, outputs)."""
        last = next(reversed(self._names))
        return self.outputs(images, [last])[last]

    def input_gradient(self, images: NDArray[Any], outputs: ArrayLike) -> NDArray[Any]:
        """Return the gradients of scores with respect to the preprocessed pixels.

        Simonyan, Vedaldi & Zisserman, "Deep Inside Convolutional Networks" (arXiv:1312.6034),
        section 3, without the absolute value.

        Parameters
        ----------
        images
            (N, height, width, channels), as they come from a data set.
        outputs
            (N,): of which score, for each image.

        Returns
        -------
        ndarray
            The shape of ``images``.
        """
        stepwise = self._stepwise(images)
        columns = np.asarray(outputs, np.int64)
        parts = [np.empty((0, *images.shape[1:]), self._network.dtype)]
        calls = stepwise.plan.calls
        backward = next(n for n, call in enumerate(calls) if call.kernel == "loss.sum_losses") + 1
        starts = itertools.count(0, self._batch)
        for start, count in zip(starts, self._batches(stepwise, images), strict=False):
            stepwise.run(0, self._forward_calls(stepwise.plan))
            gradient = stepwise.buffer("scores.gradient")
            gradient[...] = 0
            gradient[np.arange(count), columns[start : start + count]] = 1
            stepwise.run(backward)
            dx = stepwise.buffer("input.gradient")[:count]
            parts.append(dx.reshape(count, *images.shape[1:]).copy())
        return np.concatenate(parts)

    def _stepwise(self, images: NDArray[Any]) -> StepwisePlan:
        """Return the plan for images of this dtype, made once."""
        dtype = image_dtype(images, self._network.dtype)
        shape = (1, 1, *self._network.input_shape)[-3:]
        if images.shape[1:] != shape:
            raise ValueError(
                f"ObservedNetwork: images has shape {images.shape}; expected (N, "
                f"{', '.join(map(str, shape))})"
            )
        if dtype not in self._plans:
            network, p = self._network, self._preprocessing
            source = Source(self._batch, dtype, p)
            purpose = Purpose(True, True, _LOSS, input_gradient=True)
            plan = build_plan(network, self._batch, purpose, source)
            outputs = network.output_shape[0]
            shared: dict[str, NDArray[Any]] = {
                "images": np.zeros((self._batch, *images.shape[1:]), dtype),
                "targets": np.zeros((self._batch, outputs), network.dtype),
                "parameters": network.parameters,
                "state": network.state,
                "gradients": np.zeros_like(network.parameters),
                **p.constants(network.dtype),
            }
            self._plans[dtype] = StepwisePlan(plan, shared, self._backend)
            self._plans[dtype].buffer("indices")[...] = np.arange(self._batch)
        return self._plans[dtype]

    def _batches(self, stepwise: StepwisePlan, images: NDArray[Any]) -> Iterator[int]:
        """Bring some images after the other to the plan, and yield how many."""
        room = stepwise.buffer("images")
        for start in range(0, len(images), self._batch):
            part = images[start : start + self._batch]
            room[: len(part)] = part
            room[len(part) :] = part[:1]
            yield len(part)

    @staticmethod
    def _forward_calls(plan: Plan) -> int:
        """Number of a plan's calls before the loss."""
        return next(n for n, call in enumerate(plan.calls) if call.kernel == "input.gather_rows")


def observable_layers(network: Sequential, plan: Plan) -> set[str]:
    """Names of the layers whose output is still there when a plan has run.

    The place of the others is taken by a layer that reads it.
    """
    vertices = network.vertices
    places = [plan.memory_of(plan.number_of(vertex.name)) for vertex in vertices]
    overwritten = {
        read
        for vertex, place in zip(vertices, places, strict=True)
        for read in vertex.inputs
        if read >= 0 and places[read] == place and not vertex.layer.is_view
    }
    return {vertex.name for n, vertex in enumerate(vertices) if n not in overwritten}
