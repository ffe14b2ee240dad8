"""A network as it is applied, out of convolutions and dense layers alone."""

from __future__ import annotations

import numpy as np

from fastconv.layers import BatchNorm, Conv2D, Dense, Layer
from fastconv.network import Sequential


def inference_network(network: Sequential) -> tuple[Sequential, dict[str, str]]:
    """Return a network with the same scores that has gradients in inference too.

    Batch normalisation with fixed statistics is a scale and a shift for each channel: a 1x1
    convolution of one channel to a group, or for vectors a diagonal dense layer. Dropout does
    nothing.

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
    >>> from fastconv.layers import Dropout, Flatten
    >>> network = Sequential([BatchNorm(), Dropout(), Flatten(), Dense(2)], input_shape=(4, 4, 3))
    >>> inference_network(network)[1]
    {'batch_norm_1': 'conv2d_1', 'flatten_1': 'flatten_1', 'dense_1': 'dense_1'}
    """
    layers: list[Layer] = []
    origins: list[int] = []
    for number, layer in enumerate(network.layers):
        if layer.training_only:
            continue
        shape = network.shapes[number]
        if isinstance(layer, BatchNorm):
            channels = shape[-1]
            layer = Conv2D(channels, 1, groups=channels) if len(shape) == 3 else Dense(channels)
        layers.append(layer)
        origins.append(number)
    other = Sequential(layers, network.input_shape, dtype=network.dtype)
    names = {network.names[o]: name for o, name in zip(origins, other.names, strict=True)}
    for origin, name in zip(origins, other.names, strict=True):
        layer, old = network.layers[origin], network.names[origin]
        if isinstance(layer, BatchNorm):
            scale = network[f"{old}.gamma"] / np.sqrt(
                network[f"{old}.running_variance"] + layer.epsilon
            )
            shift = network[f"{old}.beta"] - network[f"{old}.running_mean"] * scale
            weight = other[f"{name}.weight"]
            weight[...] = scale if weight.ndim == 4 else np.diag(scale)
            other[f"{name}.bias"][...] = shift
            continue
        for parameter in layer.parameters(network.shapes[origin]):
            other[f"{name}.{parameter.name}"][...] = network[f"{old}.{parameter.name}"]
    return other, names
