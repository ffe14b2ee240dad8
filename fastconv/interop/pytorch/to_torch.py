"""A model of PyTorch of a fastconv network, with its weights."""

from __future__ import annotations

import itertools
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fastconv import layers
from fastconv.interop.pytorch.network_modules import (
    Concatenate,
    ImageFlatten,
    Residual,
    Scale,
    VectorAsPixel,
)
from fastconv.network import NetworkError, Sequential
from fastconv.spec import Shape, as_pair, resolve_padding


def to_torch(network: Sequential) -> nn.Sequential:
    """Return the model of PyTorch that computes what a fastconv network does.

    It is made of ``torch.nn``'s own layers, by the names of the network's: the weights of its
    "conv2d_1" are ``conv2d_1.weight`` of the state dict, in PyTorch's order. Where the network is
    flattened in front of a dense layer, the model flattens as PyTorch does.

    Parameters
    ----------
    network
        The network; its weights are copied.

    Returns
    -------
    torch.nn.Sequential
        In evaluation mode. It takes (N, C, H, W).

    Raises
    ------
    NetworkError
        If PyTorch has no such layer; the message says which.

    Examples
    --------
    >>> from fastconv.layers import Conv2D, Dense, Flatten, ReLU
    >>> network = Sequential([Conv2D(4), ReLU(), Flatten(), Dense(10)], (8, 8, 1))
    >>> model = to_torch(network)
    >>> model(torch.zeros(2, 1, 8, 8)).shape, list(model.state_dict())[:2]
    (torch.Size([2, 10]), ['conv2d_1.weight', 'conv2d_1.bias'])
    """
    if not isinstance(network, Sequential):
        raise NetworkError(
            f"to_torch: network is a {type(network).__name__}; expected a fastconv.Sequential"
        )
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, and written over
        return _Writer(network).sequence(network.layers, "", network.input_shape).eval()


@dataclass(frozen=True)
class _Place:
    """What surrounds a layer: its name, its input's shape, and the image that a vector was."""

    name: str
    shape: Shape
    image: Shape | None = None


def _fault(place: _Place, told: str) -> NetworkError:
    return NetworkError(f"to_torch: {place.name}: {told}")


_PLAIN: dict[type[layers.Layer], Callable[[Any], nn.Module]] = {
    layers.ReLU: lambda own: nn.ReLU(),
    layers.ReLU6: lambda own: nn.ReLU6(),
    layers.LeakyReLU: lambda own: nn.LeakyReLU(own.alpha),
    layers.ELU: lambda own: nn.ELU(own.alpha),
    layers.SELU: lambda own: nn.SELU(),
    layers.Sigmoid: lambda own: nn.Sigmoid(),
    layers.Tanh: lambda own: nn.Tanh(),
    layers.Softplus: lambda own: nn.Softplus(),
    layers.Softsign: lambda own: nn.Softsign(),
    layers.GELU: lambda own: nn.GELU(own.approximate),
    layers.SiLU: lambda own: nn.SiLU(),
    layers.Mish: lambda own: nn.Mish(),
    layers.HardSigmoid: lambda own: nn.Hardsigmoid(),
    layers.HardSwish: lambda own: nn.Hardswish(),
    layers.Softmax: lambda own: nn.Softmax(1),
    layers.LogSoftmax: lambda own: nn.LogSoftmax(1),
    layers.Dropout: lambda own: nn.Dropout(own.probability),
    layers.GlobalAvgPool2D: lambda own: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    layers.GlobalMaxPool2D: lambda own: nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
}
"""Layers without weights, whatever they get."""

_PASSING = (
    layers.Dropout, layers.BatchNorm, layers.PReLU, layers.ReLU, layers.ReLU6, layers.LeakyReLU,
    layers.ELU, layers.SELU, layers.Sigmoid, layers.Tanh, layers.Softplus, layers.Softsign,
    layers.GELU, layers.SiLU, layers.Mish, layers.HardSigmoid, layers.HardSwish, layers.Flatten,
)  # fmt: skip
"""Layers whose output vectors lie in the order of their input's, whatever it is."""


def _meets_dense(behind: Sequence[layers.Layer]) -> bool:
    """Whether the order of a vector matters to nobody but the dense layer that takes it."""
    rest = itertools.dropwhile(lambda layer: isinstance(layer, _PASSING), behind)
    return isinstance(next(rest, None), layers.Dense)


class _Writer:
    """Makes the modules of a network."""

    def __init__(self, network: Sequential) -> None:
        self.arrays = network.named_arrays()
        self.dtype = torch.float64 if network.dtype == "float64" else torch.float32

    def sequence(self, given: Sequence[layers.Layer], of: str, shape: Shape) -> nn.Sequential:
        """Return layers one after the other, whose names in the network begin with ``of``."""
        counts: Counter[str] = Counter()
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        image: Shape | None = None
        for number, layer in enumerate(given):
            counts[layer.kind] += 1
            own_name = f"{layer.kind}_{counts[layer.kind]}"
            place = _Place(f"{of}{own_name}", shape, image)
            if isinstance(layer, layers.Flatten) and len(shape) == 3:
                is_mixed = shape[2] > 1 and shape[0] * shape[1] > 1
                meets_dense = _meets_dense(given[number + 1 :])
                image = shape if is_mixed and meets_dense else None
                modules[own_name] = ImageFlatten() if is_mixed and not meets_dense else nn.Flatten()
            else:
                modules[own_name] = self._module(layer, place)
                if isinstance(layer, layers.Dense):
                    image = None
            shape = layer.output_shape(shape)
        return nn.Sequential(modules)

    def _module(self, layer: layers.Layer, place: _Place) -> nn.Module:
        kind = type(layer)
        if kind in _PLAIN:
            return _PLAIN[kind](layer)
        writer = getattr(self, f"_{layer.kind}", None)
        if writer is None or kind.__module__.partition(".")[0] != "fastconv":
            raise _fault(place, f"a {kind.__name__} has no counterpart in PyTorch")
        return writer(layer, place)

    def _array(self, place: _Place, name: str) -> NDArray[Any] | None:
        return self.arrays.get(f"{place.name}.{name}")

    def _fill(self, module: nn.Module, **arrays: NDArray[Any] | None) -> nn.Module:
        module = module.to(self.dtype)
        with torch.no_grad():
            for name, array in arrays.items():
                if array is not None:
                    getattr(module, name).copy_(torch.from_numpy(np.ascontiguousarray(array)))
        return module

    def _vector(self, place: _Place, name: str) -> NDArray[Any] | None:
        """Return one number for each channel or element, in PyTorch's order."""
        array = self._array(place, name)
        if array is None or place.image is None or array.size == 1:
            return array
        return array.reshape(place.image).transpose(2, 0, 1).ravel()

    # Convolutions and dense layers.

    def _conv2d(self, layer: layers.Conv2D, place: _Place) -> nn.Module:
        kernel, stride, dilation = (
            as_pair("to_torch", name, getattr(layer, name))
            for name in ("kernel", "stride", "dilation")
        )
        height, width, channels = place.shape
        sides = resolve_padding(
            "to_torch", layer.padding, (height, width), kernel, stride, dilation
        )
        front, padding = _padding(sides, 0.0)
        module = nn.Conv2d(
            channels, layer.filters, kernel, stride, padding, dilation, layer.groups, layer.bias
        )
        weight = self.arrays[f"{place.name}.weight"].transpose(3, 2, 0, 1)
        return _behind(front, self._fill(module, weight=weight, bias=self._array(place, "bias")))

    def _conv_transpose2d(self, layer: layers.ConvTranspose2D, place: _Place) -> nn.Module:
        kernel, stride, dilation = (
            as_pair("to_torch", name, getattr(layer, name))
            for name in ("kernel", "stride", "dilation")
        )
        extra = as_pair("to_torch", "output_padding", layer.output_padding, least=0)
        sides = resolve_padding("to_torch", layer.padding, (1, 1), kernel, stride, dilation)
        (top, bottom), (left, right) = sides
        if top != bottom or left != right:
            raise _fault(place, f"padding is {sides}; PyTorch takes as much from both sides")
        module = nn.ConvTranspose2d(
            place.shape[2], layer.filters, kernel, stride, (top, left), extra, layer.groups,
            layer.bias, dilation,
        )  # fmt: skip
        weight = self.arrays[f"{place.name}.weight"].transpose(3, 2, 0, 1)
        return self._fill(module, weight=weight, bias=self._array(place, "bias"))

    def _separable_conv2d(self, layer: layers.SeparableConv2D, place: _Place) -> nn.Module:
        channels = place.shape[2]
        depthwise = layers.Conv2D(
            channels * layer.depth_multiplier, layer.kernel, layer.stride, layer.padding,
            layer.dilation, channels, bias=False,
        )  # fmt: skip
        height, width, between = depthwise.output_shape(place.shape)
        for name in ("depthwise", "pointwise"):
            self.arrays[f"{place.name}.{name}.weight"] = self.arrays[f"{place.name}.{name}_weight"]
        if layer.bias:
            self.arrays[f"{place.name}.pointwise.bias"] = self.arrays[f"{place.name}.bias"]
        pointwise = layers.Conv2D(layer.filters, 1, bias=layer.bias)
        return nn.Sequential(
            OrderedDict(
                depthwise=self._conv2d(depthwise, _Place(f"{place.name}.depthwise", place.shape)),
                pointwise=self._conv2d(
                    pointwise, _Place(f"{place.name}.pointwise", (height, width, between))
                ),
            )
        )

    def _dense(self, layer: layers.Dense, place: _Place) -> nn.Module:
        weight = self.arrays[f"{place.name}.weight"]
        inputs, units = weight.shape
        if place.image is not None:
            weight = weight.reshape(*place.image, units).transpose(2, 0, 1, 3)
            weight = weight.reshape(inputs, units)
        module = nn.Linear(inputs, units, layer.bias)
        return self._fill(module, weight=weight.T, bias=self._array(place, "bias"))

    # Normalisation and activations with weights.

    def _batch_norm(self, layer: layers.BatchNorm, place: _Place) -> nn.Module:
        kind = nn.BatchNorm1d if len(place.shape) == 1 else nn.BatchNorm2d
        module = kind(place.shape[-1], layer.epsilon, layer.momentum)
        return self._fill(
            module, weight=self._vector(place, "gamma"), bias=self._vector(place, "beta"),
            running_mean=self._vector(place, "running_mean"),
            running_var=self._vector(place, "running_variance"),
        )  # fmt: skip

    def _layer_norm(self, layer: layers.LayerNorm, place: _Place) -> nn.Module:
        shape = place.shape
        given = layer.normalized_shape
        sizes = tuple(given) if isinstance(given, (tuple, list)) else (given,)
        if given is not None and sizes != shape:
            raise _fault(place, f"normalized_shape is {given}; expected {shape}, the whole sample")
        axes = (2, 0, 1) if len(shape) == 3 else (0,)
        arrays = {
            theirs: None if array is None else array.transpose(axes)
            for theirs, array in (
                ("weight", self._array(place, "gamma")), ("bias", self._array(place, "beta"))
            )
        }  # fmt: skip
        module = nn.LayerNorm(
            [shape[axis] for axis in axes], layer.eps, layer.elementwise_affine, layer.bias
        )
        return self._fill(module, **arrays)

    def _group_norm(self, layer: layers.GroupNorm, place: _Place) -> nn.Module:
        module = nn.GroupNorm(layer.num_groups, place.shape[-1], layer.eps, layer.affine)
        arrays = {"weight": self._array(place, "gamma"), "bias": self._array(place, "beta")}
        return self._fill(module, **arrays)

    def _instance_norm(self, layer: layers.InstanceNorm, place: _Place) -> nn.Module:
        module = nn.InstanceNorm2d(place.shape[-1], layer.eps, affine=layer.affine)
        arrays = {"weight": self._array(place, "gamma"), "bias": self._array(place, "beta")}
        return self._fill(module, **arrays)

    def _prelu(self, layer: layers.PReLU, place: _Place) -> nn.Module:
        slope = self._vector(place, "slope")
        assert slope is not None
        return self._fill(nn.PReLU(slope.size), weight=slope)

    # Images of other sizes.

    def _max_pool2d(self, layer: layers.MaxPool2D, place: _Place) -> nn.Module:
        spec = layer.spec(1, place.shape)
        front, padding = _padding(spec.padding, -np.inf, spec.kernel)
        pool = nn.MaxPool2d(spec.kernel, spec.stride, padding, ceil_mode=layer.ceil_mode)
        return _behind(front, pool)

    def _avg_pool2d(self, layer: layers.AvgPool2D, place: _Place) -> nn.Module:
        spec = layer.spec(1, place.shape)
        front, padding = _padding(spec.padding, 0.0, spec.kernel)
        if front is not None and (not layer.count_include_pad or layer.ceil_mode):
            raise _fault(place, f"padding is {spec.padding}; PyTorch pads both sides alike")
        pool = nn.AvgPool2d(
            spec.kernel, spec.stride, padding, layer.ceil_mode, layer.count_include_pad
        )
        return _behind(front, pool)

    def _zero_pad2d(self, layer: layers.ZeroPad2D, place: _Place) -> nn.Module:
        return nn.ZeroPad2d(_sides_of(layer, place))

    def _crop2d(self, layer: layers.Crop2D, place: _Place) -> nn.Module:
        return nn.ZeroPad2d(_sides_of(layer, place))

    def _reflect_pad2d(self, layer: layers.ReflectPad2D, place: _Place) -> nn.Module:
        return nn.ReflectionPad2d(_sides_of(layer, place))

    def _upsample2d(self, layer: layers.Upsample2D, place: _Place) -> nn.Module:
        scale = as_pair("to_torch", "scale_factor", layer.scale_factor)
        corners = layer.align_corners if layer.mode == "bilinear" else None
        return nn.Upsample(scale_factor=scale, mode=layer.mode, align_corners=corners)

    def _spatial_dropout(self, layer: layers.SpatialDropout, place: _Place) -> nn.Module:
        return nn.Dropout2d(layer.probability)

    def _flatten(self, layer: layers.Flatten, place: _Place) -> nn.Module:
        return nn.Flatten()

    def _reshape(self, layer: layers.Reshape, place: _Place) -> nn.Module:
        after = layer.output_shape(place.shape)
        if len(place.shape) == 1 and after == (1, 1, *place.shape):
            return VectorAsPixel()
        raise _fault(place, f"it makes {after} of {place.shape}, in another order than PyTorch's")

    # Branches.

    def _residual(self, layer: layers.Residual, place: _Place) -> nn.Module:
        return Residual(*self._branches(layer, place))

    def _concatenate(self, layer: layers.Concatenate, place: _Place) -> nn.Module:
        return Concatenate(self._branches(layer, place))

    def _scale(self, layer: layers.Scale, place: _Place) -> nn.Module:
        factors = layer.branches[1].output_shape(place.shape)
        return Scale(self._branches(layer, place)[1], len(factors) < len(place.shape))

    def _branches(self, layer: layers.Layer, place: _Place) -> list[nn.Module]:
        return [
            self.sequence(
                branch.layers, f"{place.name}.{branch.name}{'.' if branch.name else ''}",
                place.shape,
            )
            for branch in layer.branches
        ]  # fmt: skip


def _padding(
    sides: Any, value: float, kernel: tuple[int, int] | None = None
) -> tuple[nn.Module | None, tuple[int, int]]:
    """Return a layer that pads, where a layer of PyTorch cannot, and else its padding."""
    (top, bottom), (left, right) = sides
    is_even = top == bottom and left == right
    fits = kernel is None or (2 * top <= kernel[0] and 2 * left <= kernel[1])
    if is_even and fits:
        return None, (top, left)
    return nn.ConstantPad2d((left, right, top, bottom), value), (0, 0)


def _behind(front: nn.Module | None, module: nn.Module) -> nn.Module:
    if front is None:
        return module
    return nn.Sequential(OrderedDict(padding=front, layer=module))


def _sides_of(layer: Any, place: _Place) -> tuple[int, int, int, int]:
    """Return (left, right, top, bottom) as PyTorch takes them; below 0 they are cut off."""
    spec = layer.spec(1, place.shape)
    top, left = spec.top, spec.left
    height, width, _ = place.shape
    _, out_height, out_width, _ = spec.y_shape
    return left, out_width - width - left, top, out_height - height - top
