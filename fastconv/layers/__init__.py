"""Layers: frozen descriptions with shapes, parameters and the kernel calls of a plan.

Most are there at once; modules of the others are loaded when one of their layers is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastconv.layers.activation import (
    ELU,
    SELU,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    Softmax,
    Softplus,
    Tanh,
)
from fastconv.layers.base import Layer, LayerTable, Node, Parameter
from fastconv.layers.convolution import Conv2D, ConvTranspose2D
from fastconv.layers.dense import Dense, Flatten
from fastconv.layers.normalization import BatchNorm, Dropout
from fastconv.layers.pooling import AvgPool2D, GlobalAvgPool2D, MaxPool2D

if TYPE_CHECKING:
    from fastconv.layers.sample_norm import GroupNorm as GroupNorm
    from fastconv.layers.sample_norm import InstanceNorm as InstanceNorm
    from fastconv.layers.sample_norm import LayerNorm as LayerNorm

_PLACES = {
    "group_norm": "sample_norm:GroupNorm",
    "instance_norm": "sample_norm:InstanceNorm",
    "layer_norm": "sample_norm:LayerNorm",
}
"""Layers whose modules are loaded when they are used: by their names in a recipe."""

_LOADED: dict[str, type[Layer]] = {
    layer.kind: layer
    for layer in (
        Conv2D,
        ConvTranspose2D,
        MaxPool2D,
        AvgPool2D,
        GlobalAvgPool2D,
        Flatten,
        Dense,
        BatchNorm,
        Dropout,
        ReLU,
        LeakyReLU,
        ELU,
        SELU,
        Sigmoid,
        Tanh,
        Softplus,
        Softmax,
        LogSoftmax,
    )
}
LAYERS = LayerTable(_LOADED, _PLACES)
"""By their names in a recipe."""

_MODULE_OF = {
    name: module for module, _, name in (place.partition(":") for place in _PLACES.values())
}


def __getattr__(name: str) -> Any:
    """Import a layer whose module is not loaded yet."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'fastconv.layers' has no attribute {name!r}")
    return getattr(import_module(f"fastconv.layers.{_MODULE_OF[name]}"), name)


__all__ = [
    "ELU",
    "LAYERS",
    "SELU",
    "AvgPool2D",
    "BatchNorm",
    "Conv2D",
    "ConvTranspose2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2D",
    "GroupNorm",
    "InstanceNorm",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "LogSoftmax",
    "MaxPool2D",
    "Node",
    "Parameter",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]
