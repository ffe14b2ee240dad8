"""Layers: frozen descriptions with shapes, parameters and the kernel calls of a plan."""

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

LAYERS: dict[str, type[Layer]] = {
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
"""By their names in a recipe."""

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
    "Layer",
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
