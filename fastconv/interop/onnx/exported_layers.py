"""What each layer becomes in an ONNX graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from fastconv.interop.onnx.errors import OnnxError
from fastconv.interop.onnx.graph_writer import GraphWriter, Tensor
from fastconv.interop.onnx.operators.functions import FUNCTIONS, is_power
from fastconv.network import Vertex
from fastconv.spec import ConvSpec, PoolSpec, Shape

Writer: TypeAlias = Callable[[GraphWriter, Vertex, list[Tensor]], Tensor]
"""Adds the nodes of a layer, and returns its output."""


def _row(shape: Shape) -> Shape:
    """Return the shape of a row as that of an image of height 1."""
    return (1, *shape) if len(shape) == 2 else shape


def _window(spec: ConvSpec | PoolSpec, x: Tensor) -> dict[str, Any]:
    """Return kernel, strides and pads: along both axes of an image, or the one of a row."""
    first = 3 - len(x.shape)
    found: dict[str, Any] = {
        "kernel_shape": list(spec.kernel[first:]),
        "strides": list(spec.stride[first:]),
        "pads": [n for sides in zip(*spec.padding[first:], strict=True) for n in sides],
    }
    if isinstance(spec, ConvSpec):
        found["dilations"] = list(spec.dilation[first:])
    return found


def _convolved(
    w: GraphWriter,
    vertex: Vertex,
    x: Tensor,
    spec: ConvSpec,
    shape: Shape,
    weight: str = "weight",
    bias: str | None = "bias",
) -> Tensor:
    """Write a convolution."""
    x = w.channels_first(x)
    oihw = w.parameter(vertex, weight).transpose(3, 2, 0, 1)
    if len(x.shape) == 2:
        oihw = oihw[:, :, 0]
    inputs = [x.name, w.array(f"{vertex.name}.{weight}", oihw)]
    if bias is not None:
        inputs.append(w.array(f"{vertex.name}.{bias}", w.parameter(vertex, bias)))
    name = w.node("Conv", inputs, vertex.name, group=spec.groups, **_window(spec, x))
    return Tensor(name, shape, channels_first=True)


def _conv(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    layer: Any = vertex.layer
    if layer.kind == "conv1d":
        layer = layer.on_rows()
    (x,) = inputs
    spec = layer.spec(1, _row(x.shape))
    bias = "bias" if layer.bias else None
    return _convolved(w, vertex, x, spec, vertex.output_shape, bias=bias)


def _separable(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    layer: Any = vertex.layer
    depthwise, pointwise = layer.specs(1, inputs[0].shape)
    between = depthwise.y_shape[1:]
    x = _convolved(w, vertex, inputs[0], depthwise, between, "depthwise_weight", None)
    bias = "bias" if layer.bias else None
    return _convolved(w, vertex, x, pointwise, vertex.output_shape, "pointwise_weight", bias)


def _conv_transpose(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    layer: Any = vertex.layer
    x = w.channels_first(inputs[0])
    spec = layer.spec(1, x.shape)
    weight = w.parameter(vertex, "weight").transpose(3, 2, 0, 1)
    names = [x.name, w.array(f"{vertex.name}.weight", weight)]
    if layer.bias:
        names.append(w.array(f"{vertex.name}.bias", w.parameter(vertex, "bias")))
    extra = []
    for axis in range(2):
        span = (spec.kernel[axis] - 1) * spec.dilation[axis] + 1
        least = (x.shape[axis] - 1) * spec.stride[axis] - sum(spec.padding[axis]) + span
        extra.append(vertex.output_shape[axis] - least)
    name = w.node(
        "ConvTranspose", names, vertex.name,
        group=spec.groups, output_padding=extra, **_window(spec, x),
    )  # fmt: skip
    return Tensor(name, vertex.output_shape, channels_first=True)


def _pool(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    """Pooling, whose windows beyond the end are those of padding there."""
    layer: Any = vertex.layer
    if layer.kind.endswith("1d"):
        layer = layer.on_rows()
    x = w.channels_first(inputs[0])
    spec = layer.spec(1, _row(x.shape))
    attributes = _window(spec, x)
    largest = layer.kind == "max_pool2d"
    counted = not largest and spec.count_include_pad and any(map(any, spec.padding))
    if spec.ceil_mode:
        if counted:
            attributes["ceil_mode"] = 1
        else:
            attributes["pads"] = _pads_with_ceil(spec, x)
    if not largest:
        attributes["count_include_pad"] = int(counted)
    name = w.node("MaxPool" if largest else "AveragePool", [x.name], vertex.name, **attributes)
    return Tensor(name, vertex.output_shape, channels_first=True)


def _pads_with_ceil(spec: PoolSpec, x: Tensor) -> list[int]:
    """Return pads with which as many windows fit as ceil_mode makes."""
    sides = []
    for axis, (size, out) in enumerate(
        ((spec.height, spec.out_height), (spec.width, spec.out_width))
    ):
        before, after = spec.padding[axis]
        reach = (out - 1) * spec.stride[axis] + spec.kernel[axis]
        sides.append((before, max(after, reach - size - before)))
    first = 3 - len(x.shape)
    return [n for each in zip(*sides[first:], strict=True) for n in each]


def _global_pool(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    x = w.channels_first(inputs[0])
    kind = "GlobalMaxPool" if vertex.layer.kind == "global_max_pool2d" else "GlobalAveragePool"
    name = w.node(kind, [x.name], vertex.name)
    return Tensor(w.node("Flatten", [name], f"{vertex.name}_flat", axis=1), vertex.output_shape)


def _flatten(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    return inputs[0] if len(inputs[0].shape) == 1 else w.flattened(inputs[0])


def _dense(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    """Gemm; the rows of the weights take the order of the features."""
    (x,) = inputs
    layer: Any = vertex.layer
    weight = w.parameter(vertex, "weight")
    if x.image is not None:
        rows = weight.reshape(*x.image, layer.units)
        weight = np.moveaxis(rows, len(x.image) - 1, 0).reshape(-1, layer.units)
    names = [x.name, w.array(f"{vertex.name}.weight", weight)]
    if layer.bias:
        names.append(w.array(f"{vertex.name}.bias", w.parameter(vertex, "bias")))
    return Tensor(w.node("Gemm", names, vertex.name), vertex.output_shape)


def _per_channel(x: Tensor, array: Any) -> Any:
    """Return numbers for each channel so that they are broadcast along a value."""
    return array.reshape(-1, *(1,) * (len(x.shape) - 1)) if x.channels_first else array.reshape(-1)


def _batch_norm(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    layer: Any = vertex.layer
    (x,) = inputs
    x = w.channels_first(x) if len(x.shape) > 1 else w.in_order(x)
    names = [
        w.array(f"{vertex.name}.{name}", w.parameter(vertex, name))
        for name in ("gamma", "beta", "running_mean", "running_variance")
    ]
    attributes = {"epsilon": layer.epsilon, "momentum": 1 - layer.momentum}
    return x.named(w.node("BatchNormalization", [x.name, *names], vertex.name, **attributes))


def _instance_norm(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    layer: Any = vertex.layer
    x = w.channels_first(inputs[0])
    channels = x.shape[-1]
    names = [
        w.array(f"{vertex.name}.{name}", w.parameter(vertex, name))
        if layer.affine
        else w.constant(np.full(channels, value))
        for name, value in (("gamma", 1.0), ("beta", 0.0))
    ]
    attributes = {"epsilon": layer.eps}
    return x.named(w.node("InstanceNormalization", [x.name, *names], vertex.name, **attributes))


def _group_norm(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    """GroupNormalization, before opset 21 an instance normalisation with groups as channels."""
    layer: Any = vertex.layer
    (x,) = inputs
    x = w.channels_first(x) if len(x.shape) > 1 else w.in_order(x)
    arrays = {
        name: w.parameter(vertex, name) if layer.affine else None for name in ("gamma", "beta")
    }
    channels, groups = x.shape[-1], layer.num_groups
    if w.opset >= 21 and len(x.shape) > 1:
        names = [
            w.constant(np.full(channels, start))
            if array is None
            else w.array(f"{vertex.name}.{name}", array)
            for (name, array), start in zip(arrays.items(), (1.0, 0.0), strict=True)
        ]
        attributes = {"epsilon": layer.eps, "num_groups": groups}
        return x.named(w.node("GroupNormalization", [x.name, *names], vertex.name, **attributes))
    seen = w.node("Reshape", [x.name, w.integers([0, groups, -1])], f"{vertex.name}_groups")
    ones, zeros = w.constant(np.ones(groups)), w.constant(np.zeros(groups))
    name = w.node(
        "InstanceNormalization", [seen, ones, zeros], f"{vertex.name}_norm", epsilon=layer.eps
    )
    y = w.node("Reshape", [name, w.integers([0, *x.stored])], f"{vertex.name}_channels")
    for (kind, parameter), array in zip(
        (("Mul", "gamma"), ("Add", "beta")), arrays.values(), strict=True
    ):
        if array is not None:
            numbers = w.array(f"{vertex.name}.{parameter}", _per_channel(x, array))
            y = w.node(kind, [y, numbers], f"{vertex.name}_{parameter}")
    return x.named(y)


def _layer_norm(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    layer: Any = vertex.layer
    (x,) = inputs
    given = layer.normalized_shape
    count = len(x.shape) if given is None else np.atleast_1d(given).size
    together = x.shape[len(x.shape) - count :]
    whole = count == len(x.shape)
    if not (whole and x.channels_first):
        x = w.in_order(x)

    def stored(array: Any) -> Any:
        return np.moveaxis(array, -1, 0) if x.channels_first else array

    names = []
    for name, start in (("gamma", 1.0), ("beta", 0.0)):
        if f"{vertex.name}.{name}" in w.network.places:
            names.append(w.array(f"{vertex.name}.{name}", stored(w.parameter(vertex, name))))
        elif name == "gamma":
            names.append(w.constant(stored(np.full(together, start))))
    attributes = {"epsilon": layer.eps, "axis": len(x.shape) + 1 - count}
    return x.named(w.node("LayerNormalization", [x.name, *names], vertex.name, **attributes))


def _same(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    return inputs[0]


def _plain(kind: str, *attributes: str, **fixed: float) -> Writer:
    """Return the writer of an activation that is an operator."""

    def write(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
        given: dict[str, Any] = {name: float(getattr(vertex.layer, name)) for name in attributes}
        given |= fixed
        return inputs[0].named(w.node(kind, [inputs[0].name], vertex.name, **given))

    return write


def _silu(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    x = inputs[0].name
    gate = w.node("Sigmoid", [x], f"{vertex.name}_sigmoid")
    return inputs[0].named(w.node("Mul", [x, gate], vertex.name))


def _relu6(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    bounds = [w.constant(0.0), w.constant(6.0)]
    return inputs[0].named(w.node("Clip", [inputs[0].name, *bounds], vertex.name))


def _gelu(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    """Gelu, before opset 20 its formula."""
    layer: Any = vertex.layer
    x = inputs[0].name
    if w.opset >= 20:
        attributes = {"approximate": layer.approximate}
        return inputs[0].named(w.node("Gelu", [x], vertex.name, **attributes))

    def node(kind: str, first: str, second: str | float) -> str:
        other = w.constant(second) if isinstance(second, float) else second
        return w.node(kind, [first, other], f"{vertex.name}_{kind.lower()}")

    if layer.approximate == "none":
        bent = w.node("Erf", [node("Mul", x, math.sqrt(0.5))], f"{vertex.name}_erf")
    else:
        cube = node("Mul", x, node("Mul", x, x))
        argument = node("Mul", node("Add", x, node("Mul", cube, 0.044715)), math.sqrt(2 / math.pi))
        bent = w.node("Tanh", [argument], f"{vertex.name}_tanh")
    half = node("Mul", x, 0.5)
    name = w.node("Mul", [half, node("Add", bent, 1.0)], vertex.name)
    return inputs[0].named(name)


def _prelu(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    layer: Any = vertex.layer
    x = w.in_order(inputs[0]) if layer.per_channel and inputs[0].image else inputs[0]
    slope = w.parameter(vertex, "slope")
    if layer.per_channel:
        slope = _per_channel(x, slope)
    name = w.node("PRelu", [x.name, w.array(f"{vertex.name}.slope", slope)], vertex.name)
    return x.named(name)


def _softmax(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    (x,) = inputs
    kind = "LogSoftmax" if vertex.layer.kind.startswith("log") else "Softmax"
    axis = 1 if x.channels_first else -1
    return x.named(w.node(kind, [x.name], vertex.name, axis=axis))


def _elementwise(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    """Functions that ONNX has; others are Python's alone."""
    layer: Any = vertex.layer
    x = inputs[0]
    for kind, known in FUNCTIONS.items():
        if layer == known:
            return x.named(w.node(kind, [x.name], vertex.name))
    if is_power(layer):
        exponent = w.constant(layer.constants[0])
        return x.named(w.node("Pow", [x.name, exponent], vertex.name))
    raise OnnxError(
        f"export: layer {vertex.name} is a Python function, for which ONNX has no operator; use "
        f"one of the activations that come with fastconv"
    )


def _scale_and_shift(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    x = w.in_order(inputs[0]) if inputs[0].image else inputs[0]
    y = x.name
    for kind, name in (("Mul", "weight"), ("Add", "bias")):
        numbers = w.array(f"{vertex.name}.{name}", _per_channel(x, w.parameter(vertex, name)))
        y = w.node(kind, [y, numbers], f"{vertex.name}_{name}")
    return x.named(y)


def _pad(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    layer: Any = vertex.layer
    x = w.channels_first(inputs[0])
    spec = layer.spec(1, x.shape)
    (height, width, _), (out_height, out_width, _) = x.shape, vertex.output_shape
    bottom, right = out_height - height - spec.top, out_width - width - spec.left
    pads = w.integers([0, 0, spec.top, spec.left, 0, 0, bottom, right])
    mode = "reflect" if layer.kind == "reflect_pad2d" else "constant"
    return Tensor(w.node("Pad", [x.name, pads], vertex.name, mode=mode), vertex.output_shape, True)


def _crop(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    layer: Any = vertex.layer
    x = w.channels_first(inputs[0])
    spec = layer.spec(1, x.shape)
    starts = -spec.top, -spec.left
    ends = [start + n for start, n in zip(starts, vertex.output_shape[:2], strict=True)]
    bounds = [w.integers(starts), w.integers(ends), w.integers((2, 3))]
    return Tensor(w.node("Slice", [x.name, *bounds], vertex.name), vertex.output_shape, True)


def _upsample(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    layer: Any = vertex.layer
    x = w.channels_first(inputs[0])
    factors = [b / a for a, b in zip(x.shape[:2], vertex.output_shape[:2], strict=True)]
    scales = w.array(f"{vertex.name}.scales", np.array([1, 1, *factors], np.float32))
    attributes: dict[str, Any]
    if layer.mode == "nearest":
        attributes = {
            "mode": "nearest", "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }  # fmt: skip
    else:
        places = "align_corners" if layer.align_corners else "half_pixel"
        attributes = {"mode": "linear", "coordinate_transformation_mode": places}
    name = w.node("Resize", [x.name, "", scales], vertex.name, **attributes)
    return Tensor(name, vertex.output_shape, channels_first=True)


def _reshape(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    return w.reshaped(w.in_order(inputs[0]), vertex.output_shape)


def _permute(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    layer: Any = vertex.layer
    x = w.in_order(inputs[0])
    perm = [0, *(axis + 1 for axis in layer.dims)]
    return Tensor(w.node("Transpose", [x.name], vertex.name, perm=perm), vertex.output_shape)


def _alike(w: GraphWriter, inputs: list[Tensor]) -> list[Tensor]:
    """Return values with their axes in one order."""
    if len({(x.channels_first, x.image) for x in inputs}) == 1:
        return inputs
    if all(len(x.shape) == 3 for x in inputs):
        return [w.channels_first(x) for x in inputs]
    return [w.in_order(x) for x in inputs]


def _residual(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    first, second = _alike(w, inputs)
    return first.named(w.node("Add", [first.name, second.name], vertex.name))


def _concatenate(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    if len(inputs[0].shape) == 1:
        inputs = [w.in_order(x) for x in inputs]
    inputs = _alike(w, inputs)
    axis = 1 if inputs[0].channels_first else len(inputs[0].shape)
    name = w.node("Concat", [x.name for x in inputs], vertex.name, axis=axis)
    return Tensor(name, vertex.output_shape, inputs[0].channels_first)


def _scale(w: GraphWriter, vertex: Vertex, inputs: list[Tensor]) -> Tensor:
    x, factors = inputs
    if x.shape == factors.shape:
        x, factors = _alike(w, inputs)
    else:
        factors = w.in_order(factors)
        channels, ones = x.shape[-1], (1,) * (len(x.shape) - 1)
        sizes = (channels, *ones) if x.channels_first else (*ones, channels)
        name = w.node("Reshape", [factors.name, w.integers([0, *sizes])], f"{vertex.name}_factors")
        factors = factors.named(name)
    return x.named(w.node("Mul", [x.name, factors.name], vertex.name))


WRITERS: dict[str, Writer] = {
    "conv2d": _conv,
    "conv1d": _conv,
    "separable_conv2d": _separable,
    "conv_transpose2d": _conv_transpose,
    "max_pool2d": _pool,
    "avg_pool2d": _pool,
    "max_pool1d": _pool,
    "avg_pool1d": _pool,
    "global_avg_pool2d": _global_pool,
    "global_max_pool2d": _global_pool,
    "flatten": _flatten,
    "dense": _dense,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "dropout": _same,
    "spatial_dropout": _same,
    "stochastic_depth": _same,
    "relu": _plain("Relu"),
    "leaky_relu": _plain("LeakyRelu", "alpha"),
    "elu": _plain("Elu", "alpha"),
    "selu": _plain("Selu"),
    "sigmoid": _plain("Sigmoid"),
    "tanh": _plain("Tanh"),
    "softplus": _plain("Softplus"),
    "softsign": _plain("Softsign"),
    "mish": _plain("Mish"),
    "hard_sigmoid": _plain("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hard_swish": _plain("HardSwish"),
    "silu": _silu,
    "relu6": _relu6,
    "gelu": _gelu,
    "prelu": _prelu,
    "softmax": _softmax,
    "log_softmax": _softmax,
    "softmax2d": _softmax,
    "log_softmax2d": _softmax,
    "elementwise": _elementwise,
    "scale_and_shift": _scale_and_shift,
    "zero_pad2d": _pad,
    "reflect_pad2d": _pad,
    "crop2d": _crop,
    "upsample2d": _upsample,
    "reshape": _reshape,
    "permute": _permute,
    "residual": _residual,
    "concatenate": _concatenate,
    "scale": _scale,
}
"""By the kinds of layers."""
