"""Layers: frozen descriptions with shapes, parameters and the kernel calls of a plan."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
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
from fastconv.layers.base import Layer, Node, Parameter
from fastconv.layers.convolution import Conv2D, ConvTranspose2D
from fastconv.layers.dense import Dense, Flatten
from fastconv.layers.normalization import BatchNorm, Dropout
from fastconv.layers.pooling import AvgPool2D, GlobalAvgPool2D, MaxPool2D

if TYPE_CHECKING:
    from fastconv.layers.merging import Concatenate, Residual, Scale

_MODULE_OF = dict.fromkeys(("Concatenate", "Residual", "Scale"), "merging")
"""Layers that are imported when they are first used."""


class _Kinds(Mapping[str, type[Layer]]):
    """Layers by their kinds; some are imported when they are asked for."""

    def __init__(self, *layers: type[Layer]) -> None:
        self._layers = {layer.kind: layer for layer in layers}
        self._elsewhere = {name.lower(): name for name in _MODULE_OF}

    def __getitem__(self, kind: str) -> type[Layer]:
        if kind in self._elsewhere:
            layer: type[Layer] = __getattr__(self._elsewhere[kind])
            return layer
        return self._layers[kind]

    def __iter__(self) -> Iterator[str]:
        return iter((*self._layers, *self._elsewhere))

    def __len__(self) -> int:
        return len(self._layers) + len(self._elsewhere)


def __getattr__(name: str) -> Any:
    """Import a layer when it is first used."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


LAYERS: Mapping[str, type[Layer]] = _Kinds(
    *(
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
)
"""By their names in a recipe."""
NESTED = ("concatenate", "residual", "scale")
"""Kinds of layers of layers."""

__all__ = [
    "ELU",
    "LAYERS",
    "NESTED",
    "SELU",
    "AvgPool2D",
    "BatchNorm",
    "Concatenate",
    "Conv2D",
    "ConvTranspose2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2D",
    "Layer",
    "LeakyReLU",
    "LogSoftmax",
    "MaxPool2D",
    "Node",
    "Parameter",
    "ReLU",
    "Residual",
    "Scale",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]
