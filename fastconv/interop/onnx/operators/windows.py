"""Convolutions, and pooling over windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.interop.onnx.operation import Handler, Operation
from fastconv.interop.onnx.values import Value
from fastconv.layers import (
    AvgPool2D,
    Conv2D,
    ConvTranspose2D,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    Layer,
    MaxPool2D,
    ZeroPad2D,
)
from fastconv.spec import Padding, Pair, Shape


def _pair(op: Operation, name: str, axes: int, default: int = 1) -> Pair:
    """Return an attribute with a number for each axis of an image, that of a row for height 1."""
    given = [int(n) for n in op.attribute(name, [default] * axes)]
    if len(given) != axes or min(given) < 1:
        op.refuse(f"attribute {name} is {given}; expected {axes} numbers of 1 or more")
    return (given[0], given[1]) if axes == 2 else (1, given[0])


def _pads(
    op: Operation, axes: int, size: Pair, kernel: Pair, stride: Pair, dilation: Pair
) -> Padding:
    """Return the padding that pads or auto_pad say."""
    auto = op.attribute("auto_pad", "NOTSET")
    given = [int(n) for n in op.attribute("pads", [0] * (2 * axes))]
    if auto == "VALID":
        return (0, 0), (0, 0)
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        sides = []
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
            total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
            less, more = total // 2, total - total // 2
            sides.append((less, more) if auto == "SAME_UPPER" else (more, less))
        return sides[0], sides[1]
    if auto != "NOTSET":
        op.refuse(f"attribute auto_pad is {auto!r}; expected NOTSET, VALID or SAME_...")
    if len(given) != 2 * axes or min(given) < 0:
        op.refuse(f"attribute pads is {given}; expected {2 * axes} numbers of 0 or more")
    if axes == 1:
        return (0, 0), (given[0], given[1])
    return (given[0], given[2]), (given[1], given[3])


def _kernel_of_weights(op: Operation, shape: Shape, axes: int) -> Pair:
    """Return the kernel, which the attribute kernel_shape repeats."""
    if len(shape) != axes + 2:
        op.refuse(f"its weights have {len(shape)} axes; expected {axes + 2}")
    kernel = shape[2:]
    op.require_attribute("kernel_shape", list(kernel))
    return (kernel[0], kernel[1]) if axes == 2 else (1, kernel[0])


def _conv(op: Operation) -> Value:
    """Conv: a Conv2D; on (batch, channels, length) along rows."""
    step, shape, axes = op.image()
    weight = op.constant(1, "W")
    kernel = _kernel_of_weights(op, weight.shape, axes - 1)
    stride, dilation = _pair(op, "strides", axes - 1), _pair(op, "dilations", axes - 1)
    padding = _pads(op, axes - 1, shape[:2], kernel, stride, dilation)  # type: ignore[arg-type]
    groups = int(op.attribute("group", 1))
    filters = weight.shape[0]
    arrays = {"weight": weight.reshape(*weight.shape[:2], *kernel).transpose(2, 3, 1, 0)}
    if op.has(2):
        arrays["bias"] = op.constant(2, "B")
    layer = Conv2D(filters, kernel, stride, padding, dilation, groups, op.has(2))
    name, after = op.assembly.add(op.hint, layer, (step, shape), arrays=arrays)
    return op.assembly.of_image(name, after, axes)


def _conv_transpose(op: Operation) -> Value:
    """ConvTranspose: a ConvTranspose2D; on (batch, channels, length) along rows."""
    step, shape, axes = op.image()
    weight = op.constant(1, "W")
    kernel = _kernel_of_weights(op, weight.shape, axes - 1)
    stride, dilation = _pair(op, "strides", axes - 1), _pair(op, "dilations", axes - 1)
    extra = [int(n) for n in op.attribute("output_padding", [0] * (axes - 1))]
    more = (extra[0], extra[1]) if axes == 3 else (0, extra[0])
    wanted = [int(n) for n in op.attribute("output_shape", [])]
    size = (shape[0], shape[1])
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if wanted or op.attributes.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER"):
        wanted = wanted[-(axes - 1) :] if wanted else []
        targets = wanted if axes == 3 else [1, *wanted]
        if not wanted:
            targets = [n * s for n, s in zip(size, stride, strict=True)]
        sides = []
        for place, (n, s, span) in enumerate(zip(size, stride, spans, strict=True)):
            total = s * (n - 1) + more[place] + span - targets[place]
            if total < 0:
                op.refuse(f"attribute output_shape is {wanted}; expected less padding than 0")
            less, upper = total // 2, op.attributes.get("auto_pad") == "SAME_UPPER"
            sides.append((less, total - less) if upper else (total - less, less))
        op.attribute("auto_pad")
        op.attribute("pads")
        padding: Padding = sides[0], sides[1]
    else:
        padding = _pads(op, axes - 1, size, kernel, stride, dilation)
    groups = int(op.attribute("group", 1))
    filters = weight.shape[1] * groups
    arrays = {"weight": weight.reshape(*weight.shape[:2], *kernel).transpose(2, 3, 1, 0)}
    if op.has(2):
        arrays["bias"] = op.constant(2, "B")
    layer = ConvTranspose2D(filters, kernel, stride, padding, more, dilation, groups, op.has(2))
    name, after = op.assembly.add(op.hint, layer, (step, shape), arrays=arrays)
    return op.assembly.of_image(name, after, axes)


def _pool(op: Operation, *, largest: bool) -> Value:
    """MaxPool and AveragePool."""
    step, shape, axes = op.image()
    if "kernel_shape" not in op.attributes:
        op.refuse("attribute kernel_shape is missing")
    kernel, stride = _pair(op, "kernel_shape", axes - 1), _pair(op, "strides", axes - 1)
    dilation = _pair(op, "dilations", axes - 1)
    if dilation != (1, 1):
        op.refuse(f"attribute dilations is {list(dilation)}; expected 1 along each axis")
    padding = _pads(op, axes - 1, shape[:2], kernel, stride, dilation)  # type: ignore[arg-type]
    ceil = bool(op.attribute("ceil_mode", 0))
    op.attribute("storage_order")  # of the places alone
    layer: Layer
    if largest:
        layer = MaxPool2D(kernel, stride, padding, ceil)
    else:
        counted = bool(op.attribute("count_include_pad", 0))
        layer = AvgPool2D(kernel, stride, padding, ceil, counted)
    name, after = op.assembly.add(op.hint, layer, (step, shape))
    return op.assembly.of_image(name, after, axes)


def _max_pool(op: Operation) -> Value:
    return _pool(op, largest=True)


def _average_pool(op: Operation) -> Value:
    return _pool(op, largest=False)


def _global_pool(op: Operation, layer: Layer) -> Value:
    """Pool whole images: a vector, whose other axes have size 1."""
    step, shape, axes = op.image()
    name, after = op.assembly.add(op.hint, layer, (step, shape))
    channels = (0,) if after[0] > 1 else ()
    factors = after if after[0] > 1 else ()
    return Value(name, after, factors, (channels, *((),) * (axes - 1)))


def _global_average_pool(op: Operation) -> Value:
    return _global_pool(op, GlobalAvgPool2D())


def _global_max_pool(op: Operation) -> Value:
    return _global_pool(op, GlobalMaxPool2D())


def _reduced(op: Operation, *, largest: bool = False) -> Value:
    """Mean or largest element along axes."""
    value = op.value()
    rank = len(value.sizes) + 1
    given = op.numbers(1, "axes")
    keeps = bool(op.attribute("keepdims", 1))
    if not given and op.attribute("noop_with_empty_axes", 0):
        return value
    op.attribute("noop_with_empty_axes")
    axes = sorted({op.sample_axis(a, rank) for a in given or range(rank)})
    if rank == 4 and axes == [1, 2]:
        value = _global_pool(op, GlobalMaxPool2D() if largest else GlobalAvgPool2D())
    else:
        for axis in axes:
            window = (1, value.sizes[axis])
            layer = MaxPool2D(window) if largest else AvgPool2D(window)
            value = op.assembly.resized(value, axis, layer, op.hint)
    if keeps:
        return value
    kept = [a for a in range(rank - 1) if a not in axes]
    return value.transposed(kept)


def _reduce_mean(op: Operation) -> Value:
    return _reduced(op)


def _reduce_max(op: Operation) -> Value:
    return _reduced(op, largest=True)


def _reduce_min(op: Operation) -> Value:
    value = op.value()
    op.inputs[0] = op.assembly.scaled(f"{op.hint}_negative", value, -1.0)
    return op.assembly.scaled(op.hint, _reduced(op, largest=True), -1.0)


def _reduce_sum(op: Operation) -> Value:
    before = op.value()
    mean = _reduced(op)
    if mean is before:
        return mean
    return op.assembly.scaled(op.hint, mean, before.elements / mean.elements)


def _pad(op: Operation) -> Value:
    """Pad: zeros, other numbers, or reflected pixels; negative pads crop."""
    value = op.value()
    mode = op.attribute("mode", "constant")
    pads = op.numbers(1, "pads")
    rank = len(value.sizes) + 1
    number = float(op.attribute("value", 0.0))
    if op.has(2):
        number = float(op.constant(2, "constant_value").ravel()[0])
    axes = [int(a) % rank for a in op.constant(3, "axes")] if op.has(3) else list(range(rank))
    if len(pads) != 2 * len(axes):
        op.refuse(f"attribute pads is {pads}; expected {2 * len(axes)} numbers")
    if mode not in ("constant", "reflect"):
        op.refuse(f"attribute mode is {mode!r}; expected constant or reflect")
    sides: dict[int, Pair] = {}
    for place, axis in enumerate(axes):
        before, after = pads[place], pads[place + len(axes)]
        if before or after:
            sides[op.sample_axis(axis, rank)] = (before, after)
    for axis, (before, after) in sides.items():  # what is cut off
        if min(before, after) < 0:
            size = value.sizes[axis]
            value = op.assembly.cropped(
                f"{op.hint}_cropped", value, axis, max(0, -before), size - max(0, -after)
            )
    sides = {axis: (max(0, a), max(0, b)) for axis, (a, b) in sides.items() if max(a, b) > 0}
    if not sides:
        return value
    if mode == "constant" and number:
        if not math.isfinite(number):
            op.refuse(f"its constant_value is {number}; expected a finite number")
        shifted = op.assembly.scaled(f"{op.hint}_down", value, 1.0, -number)
        padded = _padded(op, shifted, sides, "constant")
        return op.assembly.scaled(f"{op.hint}_up", padded, 1.0, number)
    return _padded(op, value, sides, mode)


def _padded(op: Operation, value: Value, sides: dict[int, Pair], mode: str) -> Value:
    from fastconv.layers import ReflectPad2D

    kind: Any = ZeroPad2D if mode == "constant" else ReflectPad2D
    if len(value.sizes) == 3 and set(sides) <= {1, 2}:
        step, shape = op.assembly.image(value)
        layer = kind((sides.get(1, (0, 0)), sides.get(2, (0, 0))))
        name, after = op.assembly.add(op.hint, layer, (step, shape))
        return op.assembly.of_image(name, after)
    for axis, (before, after_) in sides.items():
        value = op.assembly.resized(value, axis, kind(((0, 0), (before, after_))), op.hint)
    return value


def _resize(op: Operation) -> Value:
    """Resize and Upsample: images that are an integer times as large."""
    from fastconv.layers import Upsample2D

    value = op.value()
    if len(value.sizes) != 3:
        op.refuse(f"its input has {len(value.sizes) + 1} axes; expected images, 4")
    height, width = value.sizes[1:]
    mode = op.attribute("mode", "nearest")
    places = op.attribute(
        "coordinate_transformation_mode", "half_pixel" if op.version >= 11 else "asymmetric"
    )
    nearest = op.attribute("nearest_mode", "round_prefer_floor" if op.version >= 11 else "floor")
    for name in ("cubic_coeff_a", "exclude_outside", "extrapolation_value"):
        op.attribute(name)
    op.require_attribute("antialias", 0)
    policy = op.attribute("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        op.refuse(f"attribute keep_aspect_ratio_policy is {policy!r}; expected 'stretch'")
    if mode not in ("nearest", "linear"):
        op.refuse(f"attribute mode is {mode!r}; expected nearest or linear")
    factors = _resize_factors(op, value)
    if factors == (1, 1):
        return value
    step, shape = op.assembly.image(value)
    if mode == "nearest":
        for n, factor in zip((height, width), factors, strict=True):
            if _nearest_places(n, factor, places, nearest) != [
                i // factor for i in range(n * factor)
            ]:
                op.refuse(
                    f"attributes coordinate_transformation_mode {places!r} and nearest_mode "
                    f"{nearest!r} repeat pixels unevenly; expected each {factor} times"
                )
        layer = Upsample2D(factors)
    elif places == "align_corners":
        layer = Upsample2D(factors, "bilinear", align_corners=True)
    elif places in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"):
        layer = Upsample2D(factors, "bilinear")
    else:
        op.refuse(
            f"attribute coordinate_transformation_mode is {places!r}; expected half_pixel or "
            f"align_corners"
        )
    name, after = op.assembly.add(op.hint, layer, (step, shape))
    return op.assembly.of_image(name, after)


def _resize_factors(op: Operation, value: Value) -> Pair:
    """Return how many times as high and as wide the images become."""
    rank = len(value.sizes) + 1
    axes = [int(a) % rank for a in op.attribute("axes", range(rank))]
    scales_at = 2 if op.version >= 11 and op.kind == "Resize" else 1
    if op.has(3) and op.constant(3, "sizes").size:
        sizes = op.numbers(3, "sizes")
        known = op.shape_of(value)
        scales = [size / known[axis] for size, axis in zip(sizes, axes, strict=True)]
    elif op.has(scales_at) and op.constant(scales_at, "scales").size:
        scales = [float(s) for s in op.constant(scales_at, "scales").ravel()]
    else:
        scales = [float(s) for s in op.attribute("scales", [])]
    if len(scales) != len(axes):
        op.refuse(f"its scales are {scales}; expected {len(axes)}")
    of_axis = dict(zip(axes, scales, strict=True))
    if of_axis.get(0, 1) != 1 or of_axis.get(1, 1) != 1:
        op.refuse(f"its scales are {scales}; expected 1 for the batch and the channels")
    factors = []
    for axis in (2, 3):
        factor = of_axis.get(axis, 1.0)
        if factor < 1 or abs(factor - round(factor)) > 1e-6:
            op.refuse(f"its scales are {scales}; expected integers of 1 or more")
        factors.append(round(factor))
    return factors[0], factors[1]


def _nearest_places(size: int, factor: int, places: str, nearest: str) -> list[int]:
    """Return which pixel along an axis each pixel of the larger image is."""
    i = np.arange(size * factor, dtype=np.float64)
    at: Any
    if places in ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric"):
        at = (i + 0.5) / factor - 0.5
    elif places == "align_corners":
        at = i * (size - 1) / max(1, size * factor - 1)
    elif places == "tf_half_pixel_for_nn":
        at = (i + 0.5) / factor
    else:
        at = i / factor
    rounded = {
        "floor": np.floor(at),
        "ceil": np.ceil(at),
        "round_prefer_floor": np.ceil(at - 0.5),
        "round_prefer_ceil": np.floor(at + 0.5),
    }.get(nearest, np.floor(at))
    return [int(n) for n in np.clip(rounded, 0, size - 1)]


HANDLERS: dict[str, Handler] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": _global_max_pool,
    "ReduceMean": _reduce_mean,
    "ReduceMax": _reduce_max,
    "ReduceMin": _reduce_min,
    "ReduceSum": _reduce_sum,
    "Pad": _pad,
    "Resize": _resize,
    "Upsample": _resize,
}
