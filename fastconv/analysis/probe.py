"""Measuring a network in training, on one fixed batch and outside the training steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.analysis.observed_network import observable_layers
from fastconv.analysis.stepwise_plan import StepwisePlan, host_backend
from fastconv.data import Samples
from fastconv.execution.uploads import arrays_of, image_dtype
from fastconv.network import Sequential
from fastconv.plans.activations import ACTIVATION_KINDS
from fastconv.plans.loss import Loss
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Preprocessing

PROBE_SAMPLES = 50
"""Samples of the fixed batch."""
_SATURATING = ("sigmoid", "tanh", "softplus", "hard_sigmoid", "softsign")
_FLAT = 1e-3
"""A unit whose outputs differ by less, of those that saturate, is dead."""


@dataclass(frozen=True, slots=True)
class LayerState:
    """One layer at one moment of the training.

    Parameters
    ----------
    layer
        Its name.
    gradient_norm, weight_norm
        Euclidean norms over all its parameters, of the gradient of the mean loss without penalty;
        None for a layer without parameters.
    mean, std
        Of its outputs; None where these are not to be seen, because the next layer's takes their
        place.
    dead
        Share of an activation's units (channels of images) that no sample of the batch excites:
        never above 0, or where the activation saturates, all outputs within 0.001. None for other
        layers.
    """

    layer: str
    gradient_norm: float | None
    weight_norm: float | None
    mean: float | None
    std: float | None
    dead: float | None


class Probe:
    """A fixed batch that a network in training is looked at with.

    Its layers behave as in training, without augmentation; nothing of the network is changed, not
    its running statistics either.

    Parameters
    ----------
    network
        The network in training; looked at as it is when :meth:`measure` is called.
    samples
        The batch: up to :data:`PROBE_SAMPLES` of these, evenly spaced.
    loss
        As in a recipe.
    preprocessing
        What happens to a batch before the first layer.
    seed
        Of dropout: the masks are the same each time.
    backend
        As for :class:`fastconv.analysis.observed_network.ObservedNetwork`.
    """

    def __init__(
        self,
        network: Sequential,
        samples: Samples,
        *,
        loss: str | Loss = "softmax_cross_entropy",
        preprocessing: Preprocessing | None = None,
        seed: int = 0,
        backend: str | None = None,
    ) -> None:
        self._network = network
        count = min(PROBE_SAMPLES, len(samples))
        batch = samples.take(np.linspace(0, len(samples) - 1, count).astype(np.int64))
        p = preprocessing or Preprocessing()
        self._state = network.state.copy()
        self._gradients = np.zeros_like(network.parameters)
        shared: dict[str, NDArray[Any]] = {
            **arrays_of(batch, network.dtype),
            "parameters": network.parameters,
            "state": self._state,
            "gradients": self._gradients,
            **p.constants(network.dtype),
            **Loss.of(loss).constants(network.dtype),
        }
        source = Source(count, image_dtype(batch.images, network.dtype), p)
        plan = build_plan(network, count, Purpose(True, True, loss), source, seed)
        self._stepwise = StepwisePlan(plan, shared, host_backend(backend))
        self._stepwise.buffer("indices")[...] = np.arange(count)
        self._observable = observable_layers(network, plan)

    def measure(self) -> list[LayerState]:
        """Return the state of every layer that has parameters or is an activation."""
        self._state[...] = self._network.state
        self._stepwise.run()
        norms = {
            name: (_norm(self._gradients, places), _norm(self._network.parameters, places))
            for name, places in self._places().items()
        }
        states = []
        for vertex in self._network.vertices:
            layer, name = vertex.layer, vertex.name
            is_activation = layer.kind in ACTIVATION_KINDS
            if name not in norms and not is_activation:
                continue
            mean = std = dead = None
            if name in self._observable:
                y = self._stepwise.buffer(name)
                mean, std = float(y.mean(dtype=np.float64)), float(y.std(dtype=np.float64))
                dead = dead_share(layer.kind, y) if is_activation else None
            gradient, weight = norms.get(name, (None, None))
            states.append(LayerState(name, gradient, weight, mean, std, dead))
        return states

    def _places(self) -> dict[str, list[slice]]:
        """Places of the parameters of each layer."""
        places: dict[str, list[slice]] = {}
        for place in self._network.places.values():
            if place.buffer == "parameters":
                name = self._network.names[place.layer]
                places.setdefault(name, []).append(slice(place.offset, place.end))
        return places


def _norm(flat: NDArray[Any], places: list[slice]) -> float:
    return float(np.sqrt(sum(float(np.square(flat[p], dtype=np.float64).sum()) for p in places)))


def dead_share(kind: str, outputs: NDArray[Any]) -> float:
    """Share of an activation's units that nothing excites.

    Parameters
    ----------
    kind
        The activation, as in a recipe.
    outputs
        (N, ..., units).

    Examples
    --------
    >>> dead_share("relu", np.array([[0.0, 0.0, 1.0], [0.0, 2.0, 0.0]])) == 1 / 3
    True
    """
    units = outputs.reshape(-1, outputs.shape[-1])
    highest = units.max(axis=0)
    if kind in _SATURATING:
        return float(np.mean(highest - units.min(axis=0) < _FLAT))
    return float(np.mean(highest <= 0))
