"""A network as it is applied: without layers that differ in training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastconv.layers import BatchNorm, Layer
from fastconv.layers.scale_and_shift import ScaleAndShift
from fastconv.network import Sequential


def _applied(layers: Sequence[Layer]) -> list[Layer]:
    """Layers as they are applied, and those within them."""
    return [applied for layer in layers if (applied := _applied_layer(layer)) is not None]


def _applied_layer(layer: Layer) -> Layer | None:
    """A layer as it is applied; None if it does nothing then."""
    if layer.training_only:
        return None
    if isinstance(layer, BatchNorm):
        return ScaleAndShift()
    if layer.branches:
        return layer.with_branches([_applied(each.layers) for each in layer.branches])
    return _applied_graph(layer.graph_steps) if layer.graph_steps else layer


def _applied_graph(steps: tuple[tuple[str, Layer, tuple[str, ...]], ...]) -> Layer | None:
    """Return a graph whose steps read what steps that do nothing read."""
    # Only networks with graphs need it.
    from fastconv.layers.graph import Graph

    seen_as: dict[str, str] = {}
    kept: list[tuple[str, Layer, tuple[str, ...]]] = []
    for name, layer, inputs in steps:
        read = tuple(seen_as.get(each, each) for each in inputs)
        applied = _applied_layer(layer)
        if applied is None:
            seen_as[name] = read[0]
        else:
            kept.append((name, applied, read))
    return Graph(kept) if kept else None


def inference_network(network: Sequential) -> tuple[Sequential, dict[str, str]]:
    """Return a network with the same scores that has gradients in inference too.

    Batch normalisation with fixed statistics is a factor and a summand for each channel. Dropout
    does nothing.

    Parameters
    ----------
    network
        It is not changed.

    Returns
    -------
    Sequential
        The other network.
    dict
        From the names of the layers of ``network`` to those of the other; without dropout.

    Examples
    --------
    >>> from fastconv.layers import Dense, Dropout, Flatten
    >>> network = Sequential([BatchNorm(), Dropout(), Flatten(), Dense(2)], input_shape=(4, 4, 3))
    >>> inference_network(network)[1]
    {'batch_norm_1': 'scale_and_shift_1', 'flatten_1': 'flatten_1', 'dense_1': 'dense_1'}
    """
    other = Sequential(_applied(network.layers), network.input_shape, dtype=network.dtype)
    vertices = [vertex for vertex in network.vertices if not vertex.layer.training_only]
    names = {vertex.name: name for vertex, name in zip(vertices, other.names, strict=True)}
    for vertex in vertices:
        layer, old, name = vertex.layer, vertex.name, names[vertex.name]
        if isinstance(layer, BatchNorm):
            scale = network[f"{old}.gamma"] / np.sqrt(
                network[f"{old}.running_variance"] + layer.epsilon
            )
            shift = network[f"{old}.beta"] - network[f"{old}.running_mean"] * scale
            other[f"{name}.weight"][...] = scale
            other[f"{name}.bias"][...] = shift
            continue
        for parameter in vertex.parameters:
            other[f"{name}.{parameter.name}"][...] = network[f"{old}.{parameter.name}"]
    return other, names
