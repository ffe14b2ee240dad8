"""Layers: frozen descriptions with shapes, parameters and the kernel calls of a plan."""

from fastconv.layers.activation import (
    ACTIVATION_LAYERS,
    ELU,
    GELU,
    SELU,
    Elementwise,
    HardSigmoid,
    HardSwish,
    LeakyReLU,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from fastconv.layers.base import Layer, Node, Parameter
from fastconv.layers.convolution import Conv2D, ConvTranspose2D
from fastconv.layers.dense import Dense, Flatten
from fastconv.layers.normalization import BatchNorm, Dropout
from fastconv.layers.pooling import AvgPool2D, GlobalAvgPool2D, MaxPool2D

_PLAIN_LAYERS: tuple[type[Layer], ...] = (
    Conv2D,
    ConvTranspose2D,
    MaxPool2D,
    AvgPool2D,
    GlobalAvgPool2D,
    Flatten,
    Dense,
    BatchNorm,
    Dropout,
)

LAYERS: dict[str, type[Layer]] = {
    layer.kind: layer for layer in (*_PLAIN_LAYERS, *ACTIVATION_LAYERS)
}
"""By their names in a recipe."""

__all__ = [
    "ELU",
    "GELU",
    "LAYERS",
    "SELU",
    "AvgPool2D",
    "BatchNorm",
    "Conv2D",
    "ConvTranspose2D",
    "Dense",
    "Dropout",
    "Elementwise",
    "Flatten",
    "GlobalAvgPool2D",
    "HardSigmoid",
    "HardSwish",
    "Layer",
    "LeakyReLU",
    "LogSoftmax",
    "MaxPool2D",
    "Mish",
    "Node",
    "PReLU",
    "Parameter",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Tanh",
]
