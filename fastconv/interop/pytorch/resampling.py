"""Images of other sizes as operators of PyTorch; their gradients are linear too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastconv.functional import resample
from fastconv.interop.pytorch.pooling import shape_in
from fastconv.interop.pytorch.tensors import (
    array_of,
    check_float,
    empty_images,
    in_layout,
    layout_of,
    tensor_of,
)

_UPSAMPLE = "SymInt[2] scale_factor, str mode, bool align_corners"
_PAD = "SymInt[4] padding, str mode"


def _upsample(scale_factor: Sequence[int], mode: str, align_corners: bool) -> dict[str, Any]:
    return {
        "scale_factor": tuple(scale_factor), "mode": mode, "align_corners": align_corners,
    }  # fmt: skip


def _pad(padding: Sequence[int], mode: str) -> dict[str, Any]:
    """Return what :func:`fastconv.pad2d` takes of (left, right, top, bottom)."""
    left, right, top, bottom = padding
    return {"padding": ((top, bottom), (left, right)), "mode": mode}


def _forward(name: str, function: Any, input: Tensor, options: dict[str, Any]) -> Tensor:
    layout = layout_of(input)
    x = in_layout(array_of(name, "input", input), layout)
    return tensor_of(function(x, layout=layout, **options), layout)


def _backward(
    name: str, function: Any, dy: Tensor, shape: Sequence[int], options: dict[str, Any]
) -> Tensor:
    layout = layout_of(dy)
    gradient = in_layout(array_of(name, "the gradient", dy), layout)
    own = shape_in(shape, layout == "NHWC")
    return tensor_of(function(gradient, own, layout=layout, **options), layout)


@torch.library.custom_op(
    "fastconv::upsample2d", mutates_args=(), schema=f"(Tensor input, {_UPSAMPLE}) -> Tensor"
)
def upsample2d(
    input: Tensor, scale_factor: Sequence[int], mode: str, align_corners: bool
) -> Tensor:
    """Make (N, C, H, W) larger."""
    options = _upsample(scale_factor, mode, align_corners)
    return _forward("upsample2d", resample.upsample2d, input, options)


@torch.library.custom_op(
    "fastconv::upsample2d_backward",
    mutates_args=(),
    schema=f"(Tensor dy, SymInt[4] shape, {_UPSAMPLE}) -> Tensor",
)
def upsample2d_backward(
    dy: Tensor, shape: Sequence[int], scale_factor: Sequence[int], mode: str, align_corners: bool
) -> Tensor:
    """Gradient of :func:`upsample2d` by images of ``shape``."""
    options = _upsample(scale_factor, mode, align_corners)
    return _backward("upsample2d", resample.upsample2d_backward, dy, shape, options)


@torch.library.custom_op(
    "fastconv::pad2d", mutates_args=(), schema=f"(Tensor input, {_PAD}) -> Tensor"
)
def pad2d(input: Tensor, padding: Sequence[int], mode: str) -> Tensor:
    """Pad (N, C, H, W) by (left, right, top, bottom); what is below 0 is cut off."""
    return _forward("pad2d", resample.pad2d, input, _pad(padding, mode))


@torch.library.custom_op(
    "fastconv::pad2d_backward",
    mutates_args=(),
    schema=f"(Tensor dy, SymInt[4] shape, {_PAD}) -> Tensor",
)
def pad2d_backward(dy: Tensor, shape: Sequence[int], padding: Sequence[int], mode: str) -> Tensor:
    """Gradient of :func:`pad2d` by images of ``shape``."""
    return _backward("pad2d", resample.pad2d_backward, dy, shape, _pad(padding, mode))


@upsample2d.register_fake
def _fake_upsample2d(input: Tensor, scale_factor: Sequence[Any], *_options: Any) -> Tensor:
    check_float("upsample2d", "input", input)
    n, c, h, w = input.shape
    shape = n, c, h * scale_factor[0], w * scale_factor[1]
    return empty_images(input, shape, layout_of(input))


@pad2d.register_fake
def _fake_pad2d(input: Tensor, padding: Sequence[Any], mode: str) -> Tensor:
    check_float("pad2d", "input", input)
    n, c, h, w = input.shape
    left, right, top, bottom = padding
    return empty_images(input, (n, c, h + top + bottom, w + left + right), layout_of(input))


def _register(forward: Any, backward: Any) -> None:
    """Give derivatives of any order to an operator that is linear in images."""

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        input, *options = inputs
        ctx.shape, ctx.options = input.shape, options

    def gradient(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
        return backward(dy, ctx.shape, *ctx.options), *(None for _ in ctx.options)

    def keep_options(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.options = inputs[2:]

    def second(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        return forward(upstream, *ctx.options), None, *(None for _ in ctx.options)

    def fake_backward(dy: Tensor, shape: Sequence[Any], *_options: Any) -> Tensor:
        return empty_images(dy, shape, layout_of(dy))

    backward.register_fake(fake_backward)
    forward.register_autograd(gradient, setup_context=keep)
    backward.register_autograd(second, setup_context=keep_options)


_register(upsample2d, upsample2d_backward)
_register(pad2d, pad2d_backward)
