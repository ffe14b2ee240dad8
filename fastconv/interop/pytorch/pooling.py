"""Poolings as operators of PyTorch; their gradients are linear, and have derivatives in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastconv.functional import pool
from fastconv.interop.pytorch.tensors import (
    array_of,
    array_of_any,
    check_float,
    empty_images,
    in_layout,
    layout_of,
    tensor_of,
)
from fastconv.spec import Shape

_OPTIONS = "SymInt[2] kernel_size, SymInt[2] stride, SymInt[2] padding, bool ceil_mode"


def _options(
    kernel_size: Sequence[int], stride: Sequence[int], padding: Sequence[int], ceil_mode: bool
) -> tuple[tuple[int, ...], dict[str, Any]]:
    return tuple(kernel_size), {
        "stride": tuple(stride), "padding": tuple(padding), "ceil_mode": ceil_mode,
    }  # fmt: skip


def _fake_size(size: Any, kernel: Any, stride: Any, padding: Any, ceil_mode: bool) -> Any:
    room = size + 2 * padding - kernel
    if not ceil_mode:
        return room // stride + 1
    windows = (room + stride - 1) // stride + 1
    # A window that begins behind the image and the padding in front of it is none.
    return windows - 1 if (windows - 1) * stride >= size + padding else windows


def _fake_pooled(
    input: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool
) -> Tensor:
    sizes = (
        _fake_size(input.shape[2 + a], kernel_size[a], stride[a], padding[a], ceil_mode)
        for a in (0, 1)
    )
    return empty_images(input, (*input.shape[:2], *sizes), layout_of(input))


def shape_in(shape: Sequence[int], is_last: bool) -> Shape:
    """Return (N, C, H, W) in the order of NHWC, where that is the layout."""
    n, c, h, w = shape
    return (n, h, w, c) if is_last else (n, c, h, w)


@torch.library.custom_op(
    "fastconv::max_pool2d",
    mutates_args=(),
    schema=f"(Tensor input, {_OPTIONS}) -> (Tensor, Tensor)",
)
def max_pool2d(
    input: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
) -> tuple[Tensor, Tensor]:
    """Largest pixels of (N, C, H, W), and where they are: int32, flat in the plane."""
    layout = layout_of(input)
    x = in_layout(array_of("max_pool2d", "input", input), layout)
    kernel, options = _options(kernel_size, stride, padding, ceil_mode)
    y, where = pool.max_pool2d(x, kernel, layout=layout, **options)
    return tensor_of(y, layout), tensor_of(where, layout)


@max_pool2d.register_fake
def _fake_max_pool2d(
    input: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool
) -> tuple[Tensor, Tensor]:
    check_float("max_pool2d", "input", input)
    y = _fake_pooled(input, kernel_size, stride, padding, ceil_mode)
    return y, torch.empty_like(y, dtype=torch.int32)


@torch.library.custom_op(
    "fastconv::max_pool2d_backward",
    mutates_args=(),
    schema=f"(Tensor dy, Tensor indices, SymInt[4] shape, {_OPTIONS}) -> Tensor",
)
def max_pool2d_backward(
    dy: Tensor,
    indices: Tensor,
    shape: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
) -> Tensor:
    """Gradient of :func:`max_pool2d` by images of ``shape``."""
    owner, layout = "max_pool2d_backward", layout_of(indices)
    gradient = in_layout(array_of(owner, "the gradient", dy), layout)
    where = in_layout(array_of_any(owner, "indices", indices), layout)
    kernel, options = _options(kernel_size, stride, padding, ceil_mode)
    own = shape_in(shape, layout == "NHWC")
    dx = pool.max_pool2d_backward(gradient, where, own, kernel, layout=layout, **options)
    return tensor_of(dx, layout)


@max_pool2d_backward.register_fake
def _fake_max_pool2d_backward(
    dy: Tensor, indices: Tensor, shape: Sequence[Any], *_options: Any
) -> Tensor:
    return empty_images(dy, shape, layout_of(indices))


def _keep_indices(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    input, *options = inputs
    ctx.save_for_backward(output[1])
    ctx.shape, ctx.options = input.shape, options


def _max_pool2d_gradient(ctx: Any, dy: Tensor, _: Any) -> tuple[Any, ...]:
    (indices,) = ctx.saved_tensors
    return max_pool2d_backward(dy, indices, ctx.shape, *ctx.options), *(None for _ in ctx.options)


def _keep_places(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(inputs[1])


def _max_pool2d_second(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
    (indices,) = ctx.saved_tensors
    # Each window's gradient went to one pixel: what came there is what it gets back.
    found = upstream.flatten(2).gather(2, indices.flatten(2).to(torch.int64))
    return found.reshape(indices.shape), *(None for _ in range(6))


max_pool2d.register_autograd(_max_pool2d_gradient, setup_context=_keep_indices)
max_pool2d_backward.register_autograd(_max_pool2d_second, setup_context=_keep_places)


@torch.library.custom_op(
    "fastconv::avg_pool2d",
    mutates_args=(),
    schema=f"(Tensor input, {_OPTIONS}, bool count_include_pad) -> Tensor",
)
def avg_pool2d(
    input: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
) -> Tensor:
    """Means of the windows of (N, C, H, W)."""
    layout = layout_of(input)
    x = in_layout(array_of("avg_pool2d", "input", input), layout)
    kernel, options = _options(kernel_size, stride, padding, ceil_mode)
    options["count_include_pad"] = count_include_pad
    return tensor_of(pool.avg_pool2d(x, kernel, layout=layout, **options), layout)


@avg_pool2d.register_fake
def _fake_avg_pool2d(
    input: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, _: bool
) -> Tensor:
    check_float("avg_pool2d", "input", input)
    return _fake_pooled(input, kernel_size, stride, padding, ceil_mode)


@torch.library.custom_op(
    "fastconv::avg_pool2d_backward",
    mutates_args=(),
    schema=f"(Tensor dy, SymInt[4] shape, {_OPTIONS}, bool count_include_pad) -> Tensor",
)
def avg_pool2d_backward(
    dy: Tensor,
    shape: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
) -> Tensor:
    """Gradient of :func:`avg_pool2d` by images of ``shape``."""
    owner, layout = "avg_pool2d_backward", layout_of(dy)
    gradient = in_layout(array_of(owner, "the gradient", dy), layout)
    kernel, options = _options(kernel_size, stride, padding, ceil_mode)
    options["count_include_pad"] = count_include_pad
    own = shape_in(shape, layout == "NHWC")
    dx = pool.avg_pool2d_backward(gradient, own, kernel, layout=layout, **options)
    return tensor_of(dx, layout)


@avg_pool2d_backward.register_fake
def _fake_avg_pool2d_backward(dy: Tensor, shape: Sequence[Any], *_options: Any) -> Tensor:
    return empty_images(dy, shape, layout_of(dy))


def _keep_shape(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    input, *options = inputs
    ctx.shape, ctx.options = input.shape, options


def _avg_pool2d_gradient(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    return avg_pool2d_backward(dy, ctx.shape, *ctx.options), *(None for _ in ctx.options)


def _keep_options(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.options = inputs[2:]


def _avg_pool2d_second(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
    return avg_pool2d(upstream, *ctx.options), None, *(None for _ in ctx.options)


avg_pool2d.register_autograd(_avg_pool2d_gradient, setup_context=_keep_shape)
avg_pool2d_backward.register_autograd(_avg_pool2d_second, setup_context=_keep_options)


@torch.library.custom_op(
    "fastconv::global_avg_pool2d", mutates_args=(), schema="(Tensor input) -> Tensor"
)
def global_avg_pool2d(input: Tensor) -> Tensor:
    """Mean of each channel of (N, C, H, W): (N, C)."""
    layout = layout_of(input)
    x = in_layout(array_of("global_avg_pool2d", "input", input), layout)
    return torch.from_numpy(pool.global_avg_pool2d(x, layout=layout))


@global_avg_pool2d.register_fake
def _fake_global_avg_pool2d(input: Tensor) -> Tensor:
    check_float("global_avg_pool2d", "input", input)
    return input.new_empty(input.shape[:2])


@torch.library.custom_op(
    "fastconv::global_avg_pool2d_backward",
    mutates_args=(),
    schema="(Tensor dy, SymInt[4] shape, bool channels_last) -> Tensor",
)
def global_avg_pool2d_backward(dy: Tensor, shape: Sequence[int], channels_last: bool) -> Tensor:
    """Gradient of :func:`global_avg_pool2d` by images of ``shape``."""
    gradient = array_of("global_avg_pool2d_backward", "the gradient", dy)
    layout: Any = "NHWC" if channels_last else "NCHW"
    own = shape_in(shape, channels_last)
    dx = pool.global_avg_pool2d_backward(np.ascontiguousarray(gradient), own, layout=layout)
    return tensor_of(dx, layout)


@global_avg_pool2d_backward.register_fake
def _fake_global_avg_pool2d_backward(
    dy: Tensor, shape: Sequence[Any], channels_last: bool
) -> Tensor:
    return empty_images(dy, shape, "NHWC" if channels_last else "NCHW")


def _keep_images(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    (input,) = inputs
    ctx.shape, ctx.channels_last = input.shape, layout_of(input) == "NHWC"


def _global_avg_pool2d_gradient(ctx: Any, dy: Tensor) -> Tensor:
    gradient: Tensor = global_avg_pool2d_backward(dy, ctx.shape, ctx.channels_last)
    return gradient


global_avg_pool2d.register_autograd(_global_avg_pool2d_gradient, setup_context=_keep_images)
global_avg_pool2d_backward.register_autograd(
    lambda ctx, upstream: (global_avg_pool2d(upstream), None, None),
    setup_context=lambda ctx, inputs, output: None,
)
