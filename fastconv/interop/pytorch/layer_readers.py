"""One layer of PyTorch as layers of fastconv, with its weights in their order.

PyTorch's images are (channels, height, width), fastconv's (height, width, channels). A vector that
was an image holds its elements in the other order too: who flattened it says so, and the layers
behind it arrange their weights accordingly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fastconv import layers
from fastconv.interop.pytorch.network_modules import ImageFlatten
from fastconv.network import NetworkError
from fastconv.spec import Shape


@dataclass(frozen=True)
class WeightedLayer:
    """A layer and the arrays of its parameters by their names."""

    layer: layers.Layer
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """What surrounds a layer of PyTorch.

    Parameters
    ----------
    owner
        Its name, for error messages.
    shape
        Of its input without the batch, as PyTorch has it.
    image
        (channels, height, width) of the image that was flattened to this input, whose elements lie
        in fastconv's order; else None.
    """

    owner: str
    shape: Shape
    image: Shape | None = None


Reader = Callable[[Any, Place], list[WeightedLayer]]


def _fault(place: Place, told: str) -> NetworkError:
    return NetworkError(f"from_torch: {place.owner}: {told}")


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


def _vectors(place: Place, **tensors: torch.Tensor | None) -> dict[str, NDArray[Any]]:
    """Return one number for each channel or element, in fastconv's order."""
    found = {}
    for name, tensor in tensors.items():
        if tensor is not None:
            array = _array(tensor)
            if place.image is not None and array.size > 1:
                array = array.reshape(place.image).transpose(1, 2, 0).ravel()
            found[name] = array
    return found


def _padded(module: Any, place: Place) -> tuple[list[WeightedLayer], Any]:
    """Return layers in front of a convolution, and its padding."""
    padding = module.padding
    if isinstance(padding, str):
        padding = 0 if padding == "valid" else padding
    if module.padding_mode == "zeros" or padding in (0, (0, 0)):
        return [], padding
    if module.padding_mode == "reflect" and not isinstance(padding, str):
        return [WeightedLayer(layers.ReflectPad2D(tuple(padding)))], 0
    raise _fault(place, f"padding_mode is {module.padding_mode!r}; expected 'zeros' or 'reflect'")


def _convolution(module: nn.Conv2d, place: Place) -> list[WeightedLayer]:
    front, padding = _padded(module, place)
    weights = {"weight": _array(module.weight).transpose(2, 3, 1, 0)}
    if module.bias is not None:
        weights["bias"] = _array(module.bias)
    layer = layers.Conv2D(
        module.out_channels, module.kernel_size, module.stride, padding, module.dilation,
        module.groups, module.bias is not None,
    )  # fmt: skip
    return [*front, WeightedLayer(layer, weights)]


def _transposed(module: nn.ConvTranspose2d, place: Place) -> list[WeightedLayer]:
    weights = {"weight": _array(module.weight).transpose(2, 3, 1, 0)}
    if module.bias is not None:
        weights["bias"] = _array(module.bias)
    layer = layers.ConvTranspose2D(
        module.out_channels, module.kernel_size, module.stride, module.padding,
        module.output_padding, module.dilation, module.groups, module.bias is not None,
    )  # fmt: skip
    return [WeightedLayer(layer, weights)]


def _linear(module: nn.Linear, place: Place) -> list[WeightedLayer]:
    if len(place.shape) != 1:
        raise _fault(place, f"it gets samples of shape {place.shape}; expected vectors")
    weight = _array(module.weight).T
    if place.image is not None:
        units = weight.shape[1]
        weight = weight.reshape(*place.image, units).transpose(1, 2, 0, 3).reshape(-1, units)
    weights = {"weight": weight}
    if module.bias is not None:
        weights["bias"] = _array(module.bias)
    return [WeightedLayer(layers.Dense(module.out_features, module.bias is not None), weights)]


def _batch_norm(module: Any, place: Place) -> list[WeightedLayer]:
    if len(place.shape) not in (1, 3):
        raise _fault(place, f"it gets samples of shape {place.shape}; expected vectors or images")
    if module.running_mean is None:
        raise _fault(place, "track_running_stats is False; expected running statistics")
    if module.momentum is None:
        raise _fault(place, "momentum is None; expected a number")
    weights = _vectors(
        place, gamma=module.weight, beta=module.bias, running_mean=module.running_mean,
        running_variance=module.running_var,
    )  # fmt: skip
    layer = layers.BatchNorm(module.momentum, module.eps, module.affine, module.affine)
    return [WeightedLayer(layer, weights)]


def _layer_norm(module: nn.LayerNorm, place: Place) -> list[WeightedLayer]:
    if tuple(module.normalized_shape) != place.shape:
        raise _fault(
            place,
            f"normalized_shape is {tuple(module.normalized_shape)}; expected {place.shape}, the "
            f"whole sample",
        )
    has_bias = module.bias is not None
    layer = layers.LayerNorm(None, module.eps, module.elementwise_affine, has_bias)
    weights = _vectors(place, gamma=module.weight, beta=module.bias)
    if len(place.shape) == 3:
        weights = {name: array.transpose(1, 2, 0) for name, array in weights.items()}
    return [WeightedLayer(layer, weights)]


def _group_norm(module: nn.GroupNorm, place: Place) -> list[WeightedLayer]:
    layer = layers.GroupNorm(module.num_groups, module.eps, module.affine)
    return [WeightedLayer(layer, _vectors(place, gamma=module.weight, beta=module.bias))]


def _instance_norm(module: nn.InstanceNorm2d, place: Place) -> list[WeightedLayer]:
    if module.track_running_stats:
        raise _fault(place, "track_running_stats is True; expected False")
    layer = layers.InstanceNorm(module.eps, module.affine)
    return [WeightedLayer(layer, _vectors(place, gamma=module.weight, beta=module.bias))]


def _max_pool(module: nn.MaxPool2d, place: Place) -> list[WeightedLayer]:
    if module.dilation not in (1, (1, 1)) or module.return_indices:
        raise _fault(place, "it has a dilation or returns indices; expected neither")
    return [
        WeightedLayer(
            layers.MaxPool2D(module.kernel_size, module.stride, module.padding, module.ceil_mode)
        )
    ]


def _avg_pool(module: nn.AvgPool2d, place: Place) -> list[WeightedLayer]:
    if module.divisor_override is not None:
        raise _fault(place, "it has a divisor_override; expected None")
    layer = layers.AvgPool2D(
        module.kernel_size, module.stride, module.padding, module.ceil_mode,
        module.count_include_pad,
    )  # fmt: skip
    return [WeightedLayer(layer)]


def one_pixel(channels: int) -> WeightedLayer:
    """Return the layer that makes images of one pixel of vectors."""
    return WeightedLayer(layers.Reshape((1, 1, channels)))


def _adaptive(whole: layers.Layer, windows: Callable[[Any], layers.Layer]) -> Reader:
    """Make the reader of an adaptive pooling: of the whole image, or by windows of one size."""

    def read(module: Any, place: Place) -> list[WeightedLayer]:
        channels, *image = place.shape
        size = module.output_size
        pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
        wanted = tuple(n if w is None else w for n, w in zip(image, pair, strict=True))
        if wanted == tuple(image):
            return []
        if wanted == (1, 1):
            return [WeightedLayer(whole), one_pixel(channels)]
        if any(n % w for n, w in zip(image, wanted, strict=True)):
            raise _fault(
                place, f"output_size is {wanted}; expected sizes that divide those of {place.shape}"
            )
        return [WeightedLayer(windows(tuple(n // w for n, w in zip(image, wanted, strict=True))))]

    return read


def _plain(make: Callable[[Any], layers.Layer]) -> Reader:
    """Make the reader of a layer without weights."""
    return lambda module, place: [WeightedLayer(make(module))]


def _prelu(module: nn.PReLU, place: Place) -> list[WeightedLayer]:
    slope = _vectors(place, slope=module.weight)
    return [WeightedLayer(layers.PReLU(per_channel=module.num_parameters > 1), slope)]


def _softplus(module: nn.Softplus, place: Place) -> list[WeightedLayer]:
    if module.beta != 1:
        raise _fault(place, f"beta is {module.beta}; expected 1")
    return [WeightedLayer(layers.Softplus())]


def _over_classes(make: Callable[[], layers.Layer]) -> Reader:
    def read(module: Any, place: Place) -> list[WeightedLayer]:
        if len(place.shape) != 1 or module.dim not in (1, -1):
            raise _fault(
                place, f"dim is {module.dim} of samples {place.shape}; expected 1, of vectors"
            )
        return [WeightedLayer(make())]

    return read


def _flatten(module: nn.Flatten, place: Place) -> list[WeightedLayer]:
    return [] if len(place.shape) == 1 else [WeightedLayer(layers.Flatten())]


def _upsample(module: nn.Upsample, place: Place) -> list[WeightedLayer]:
    factor = module.scale_factor
    pair = factor if isinstance(factor, (tuple, list)) else (factor, factor)
    if any(each is None or int(each) != each for each in pair):
        raise _fault(place, f"scale_factor is {factor}; expected integers")
    if module.mode not in ("nearest", "bilinear"):
        raise _fault(place, f"mode is {module.mode!r}; expected 'nearest' or 'bilinear'")
    corners = bool(module.align_corners)
    scale = int(pair[0]), int(pair[1])
    return [WeightedLayer(layers.Upsample2D(scale, module.mode, corners))]


def _sides(module: Any) -> Any:
    left, right, top, bottom = module.padding
    return (top, bottom), (left, right)


def _zeros_around(module: Any, place: Place) -> list[WeightedLayer]:
    sides = _sides(module)
    if module.value != 0:
        raise _fault(place, f"value is {module.value}; expected 0")
    if max(map(max, sides)) <= 0:
        cut = tuple(tuple(-n for n in side) for side in sides)
        return [WeightedLayer(layers.Crop2D(cut))]
    return [WeightedLayer(layers.ZeroPad2D(sides))]


READERS: dict[type[nn.Module], Reader] = {
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _transposed,
    nn.Linear: _linear,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.InstanceNorm2d: _instance_norm,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.AdaptiveAvgPool2d: _adaptive(layers.GlobalAvgPool2D(), layers.AvgPool2D),
    nn.AdaptiveMaxPool2d: _adaptive(layers.GlobalMaxPool2D(), layers.MaxPool2D),
    nn.Flatten: _flatten,
    ImageFlatten: _plain(lambda m: layers.Flatten()),
    nn.Identity: lambda module, place: [],
    nn.Dropout: _plain(lambda m: layers.Dropout(m.p)),
    nn.Dropout2d: _plain(lambda m: layers.SpatialDropout(m.p)),
    nn.ConstantPad2d: _zeros_around,
    nn.ZeroPad2d: _zeros_around,
    nn.ReflectionPad2d: _plain(lambda m: layers.ReflectPad2D(_sides(m))),
    nn.Upsample: _upsample,
    nn.ReLU: _plain(lambda m: layers.ReLU()),
    nn.ReLU6: _plain(lambda m: layers.ReLU6()),
    nn.LeakyReLU: _plain(lambda m: layers.LeakyReLU(m.negative_slope)),
    nn.PReLU: _prelu,
    nn.ELU: _plain(lambda m: layers.ELU(m.alpha)),
    nn.SELU: _plain(lambda m: layers.SELU()),
    nn.Sigmoid: _plain(lambda m: layers.Sigmoid()),
    nn.Tanh: _plain(lambda m: layers.Tanh()),
    nn.Softplus: _softplus,
    nn.Softsign: _plain(lambda m: layers.Softsign()),
    nn.GELU: _plain(lambda m: layers.GELU(m.approximate)),
    nn.SiLU: _plain(lambda m: layers.SiLU()),
    nn.Mish: _plain(lambda m: layers.Mish()),
    nn.Hardsigmoid: _plain(lambda m: layers.HardSigmoid()),
    nn.Hardswish: _plain(lambda m: layers.HardSwish()),
    nn.Softmax: _over_classes(layers.Softmax),
    nn.LogSoftmax: _over_classes(layers.LogSoftmax),
}
"""By PyTorch's classes."""

PASSING = (
    nn.Identity, nn.Dropout, nn.BatchNorm1d, nn.LayerNorm, nn.ReLU, nn.ReLU6, nn.LeakyReLU,
    nn.PReLU, nn.ELU, nn.SELU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softsign, nn.GELU, nn.SiLU,
    nn.Mish, nn.Hardsigmoid, nn.Hardswish, nn.Flatten,
)  # fmt: skip
"""Layers whose output vectors lie in the order of their input's, whatever it is."""


def _reader_class(module: nn.Module) -> type[nn.Module] | None:
    """Return the class in :data:`READERS` that a layer is of: fastconv's own are PyTorch's."""
    for kind in type(module).__mro__:
        if kind in READERS:
            # A class that somebody else derived may do anything.
            is_own = type(module) is kind or type(module).__module__.startswith("fastconv.")
            return kind if is_own else None
    return None


def can_read(module: nn.Module) -> bool:
    """Whether there is a reader for a layer."""
    return _reader_class(module) is not None


def read_layer(module: nn.Module, place: Place) -> list[WeightedLayer]:
    """Return what a layer of PyTorch is in fastconv, first to last.

    Parameters
    ----------
    module
        The layer.
    place
        What surrounds it.

    Raises
    ------
    NetworkError
        If there is no such layer in fastconv.

    Examples
    --------
    >>> (found,) = read_layer(nn.Linear(4, 2), Place("head", (4,)))
    >>> found.layer, found.weights["weight"].shape
    (Dense(units=2, bias=True), (4, 2))
    """
    kind = _reader_class(module)
    if kind is None:
        name = type(module).__name__
        raise _fault(place, f"a {name} has no counterpart in fastconv; replace it by other layers")
    return READERS[kind](module, place)


def assign(view: NDArray[Any], array: NDArray[Any]) -> None:
    """Write weights over those of a network."""
    view[...] = np.asarray(array).reshape(view.shape)
