"""Layers: frozen descriptions with shapes, parameters and the kernel calls of a plan.

Most are there at once; modules of the others are loaded when one of their layers is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

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
from fastconv.layers.base import Layer, LayerTable, Node, Parameter
from fastconv.layers.convolution import Conv2D, ConvTranspose2D
from fastconv.layers.dense import Dense, Flatten
from fastconv.layers.normalization import BatchNorm, Dropout
from fastconv.layers.pooling import AvgPool2D, GlobalAvgPool2D, GlobalMaxPool2D, MaxPool2D

if TYPE_CHECKING:
    from fastconv.layers.graph import Graph as Graph
    from fastconv.layers.merging import Concatenate as Concatenate
    from fastconv.layers.merging import Residual as Residual
    from fastconv.layers.merging import Scale as Scale
    from fastconv.layers.one_dimensional import AvgPool1D as AvgPool1D
    from fastconv.layers.one_dimensional import Conv1D as Conv1D
    from fastconv.layers.one_dimensional import MaxPool1D as MaxPool1D
    from fastconv.layers.pixel_softmax import LogSoftmax2D as LogSoftmax2D
    from fastconv.layers.pixel_softmax import Softmax2D as Softmax2D
    from fastconv.layers.resampling import Crop2D as Crop2D
    from fastconv.layers.resampling import ReflectPad2D as ReflectPad2D
    from fastconv.layers.resampling import Upsample2D as Upsample2D
    from fastconv.layers.resampling import ZeroPad2D as ZeroPad2D
    from fastconv.layers.reshaping import Permute as Permute
    from fastconv.layers.reshaping import Reshape as Reshape
    from fastconv.layers.sample_norm import GroupNorm as GroupNorm
    from fastconv.layers.sample_norm import InstanceNorm as InstanceNorm
    from fastconv.layers.sample_norm import LayerNorm as LayerNorm
    from fastconv.layers.scale_and_shift import ScaleAndShift as ScaleAndShift
    from fastconv.layers.separable import SeparableConv2D as SeparableConv2D
    from fastconv.layers.shared_dropout import SpatialDropout as SpatialDropout
    from fastconv.layers.shared_dropout import StochasticDepth as StochasticDepth

_Class = TypeVar("_Class", bound=type[Layer])

_PLACES = {
    "conv1d": "one_dimensional:Conv1D",
    "max_pool1d": "one_dimensional:MaxPool1D",
    "avg_pool1d": "one_dimensional:AvgPool1D",
    "separable_conv2d": "separable:SeparableConv2D",
    "zero_pad2d": "resampling:ZeroPad2D",
    "reflect_pad2d": "resampling:ReflectPad2D",
    "crop2d": "resampling:Crop2D",
    "upsample2d": "resampling:Upsample2D",
    "spatial_dropout": "shared_dropout:SpatialDropout",
    "stochastic_depth": "shared_dropout:StochasticDepth",
    "reshape": "reshaping:Reshape",
    "permute": "reshaping:Permute",
    "group_norm": "sample_norm:GroupNorm",
    "instance_norm": "sample_norm:InstanceNorm",
    "layer_norm": "sample_norm:LayerNorm",
    "residual": "merging:Residual",
    "concatenate": "merging:Concatenate",
    "scale": "merging:Scale",
    "graph": "graph:Graph",
    "softmax2d": "pixel_softmax:Softmax2D",
    "log_softmax2d": "pixel_softmax:LogSoftmax2D",
    "scale_and_shift": "scale_and_shift:ScaleAndShift",
}
"""Layers whose modules are loaded when they are used: by their names in a recipe."""

_PLAIN_LAYERS: tuple[type[Layer], ...] = (
    Conv2D,
    ConvTranspose2D,
    MaxPool2D,
    AvgPool2D,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    Flatten,
    Dense,
    BatchNorm,
    Dropout,
)

_LOADED: dict[str, type[Layer]] = {
    layer.kind: layer for layer in (*_PLAIN_LAYERS, *ACTIVATION_LAYERS)
}
LAYERS = LayerTable(_LOADED, _PLACES)
"""By their names in a recipe."""
NESTED = ("concatenate", "graph", "residual", "scale")
"""Kinds of layers of layers."""

OWN_KINDS = frozenset(LAYERS)
"""Of the layers that come with fastconv."""

_MODULE_OF = {
    name: module for module, _, name in (place.partition(":") for place in _PLACES.values())
}


def register(layer: _Class) -> _Class:
    """Add a layer of one's own, so that recipes and saved runs find it by its ``kind``.

    Parameters
    ----------
    layer
        A frozen dataclass derived from :class:`Layer`; it is returned, so that this is a decorator.

    Raises
    ------
    CustomLayerError
        If it is no such class, or another layer has its kind.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from typing import ClassVar
    >>> @register
    ... @dataclass(frozen=True)
    ... class TwoRows(Layer):
    ...     kind: ClassVar[str] = "two_rows"
    ...     is_view: ClassVar[bool] = True
    ...
    ...     def output_shape(self, input_shape):
    ...         return (2, input_shape[0] // 2, 1)
    >>> LAYERS["two_rows"] is TwoRows
    True
    """
    from fastconv.layers.custom import add_to

    return add_to(LAYERS, layer)


def allow_custom(allowed: bool = True) -> None:
    """Allow recipes to name layers as "package.module:Name", whose code is imported and run.

    Parameters
    ----------
    allowed
        False to forbid it again.
    """
    from fastconv.layers import custom

    custom.allow_custom(allowed)


def __getattr__(name: str) -> Any:
    """Import a layer whose module is not loaded yet."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'fastconv.layers' has no attribute {name!r}")
    return getattr(import_module(f"fastconv.layers.{_MODULE_OF[name]}"), name)


__all__ = [
    "ELU",
    "GELU",
    "LAYERS",
    "NESTED",
    "OWN_KINDS",
    "SELU",
    "AvgPool1D",
    "AvgPool2D",
    "BatchNorm",
    "Concatenate",
    "Conv1D",
    "Conv2D",
    "ConvTranspose2D",
    "Crop2D",
    "Dense",
    "Dropout",
    "Elementwise",
    "Flatten",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "Graph",
    "GroupNorm",
    "HardSigmoid",
    "HardSwish",
    "InstanceNorm",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "LogSoftmax",
    "LogSoftmax2D",
    "MaxPool1D",
    "MaxPool2D",
    "Mish",
    "Node",
    "PReLU",
    "Parameter",
    "Permute",
    "ReLU",
    "ReLU6",
    "ReflectPad2D",
    "Reshape",
    "Residual",
    "Scale",
    "ScaleAndShift",
    "SeparableConv2D",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2D",
    "Softplus",
    "Softsign",
    "SpatialDropout",
    "StochasticDepth",
    "Tanh",
    "Upsample2D",
    "ZeroPad2D",
    "allow_custom",
    "register",
]
