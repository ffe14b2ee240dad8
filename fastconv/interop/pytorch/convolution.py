"""Convolutions as operators of PyTorch, with derivatives of any order.

A convolution is linear in the images and in the weights, so that the derivatives of its gradients
are convolutions and gradients again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from fastconv.functional import conv
from fastconv.interop.pytorch.tensors import (
    array_of,
    check_float,
    empty_images,
    in_layout,
    layout_of,
    missing,
    optional_array,
    tensor_of,
)

_OPTIONS = (
    "SymInt[2] stride=1, SymInt[] padding=[0, 0], SymInt[2] dilation=1, SymInt groups=1"
)  # fmt: skip
_TRANSPOSED = (
    "SymInt[2] stride=1, SymInt[2] padding=0, SymInt[2] output_padding=0, SymInt groups=1, "
    "SymInt[2] dilation=1"
)
_HWIO, _OIHW = (2, 3, 1, 0), (3, 2, 0, 1)
"""Axes of PyTorch's weights as a kernel of NHWC takes them, and the other way: for a transposed
convolution too, whose I and O have changed places on both sides."""


def _sides(padding: Sequence[int]) -> Any:
    """Return padding as the functions take it: (height, width), or (top, bottom, left, right)."""
    if len(padding) == 4:
        return (padding[0], padding[1]), (padding[2], padding[3])
    return tuple(padding)


def _four_sides(padding: Sequence[Any]) -> Sequence[Any]:
    if len(padding) == 4:
        return padding
    return padding[0], padding[0], padding[1], padding[1]


def _fake_sizes(
    input: torch.Tensor, weight: torch.Tensor, stride: Any, padding: Any, dilation: Any
) -> tuple[Any, Any]:
    top, bottom, left, right = _four_sides(padding)
    return (
        (input.shape[2] + top + bottom - dilation[0] * (weight.shape[2] - 1) - 1) // stride[0] + 1,
        (input.shape[3] + left + right - dilation[1] * (weight.shape[3] - 1) - 1) // stride[1] + 1,
    )


def _fake_conv2d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Sequence[Any] = (1, 1),
    padding: Sequence[Any] = (0, 0),
    dilation: Sequence[Any] = (1, 1),
    groups: Any = 1,
) -> torch.Tensor:
    check_float("conv2d", "input", input)
    height, width = _fake_sizes(input, weight, stride, padding, dilation)
    shape = input.shape[0], weight.shape[0], height, width
    return empty_images(input, shape, layout_of(input))


@torch.library.custom_op(
    "fastconv::conv2d",
    mutates_args=(),
    schema=f"(Tensor input, Tensor weight, Tensor? bias=None, {_OPTIONS}) -> Tensor",
)
def conv2d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> torch.Tensor:
    """Convolve (N, C, H, W) with (O, C / groups, KH, KW); padding also (top, bottom, left, right).

    Images in ``torch.channels_last`` are taken as they lie, and so is the result.
    """
    x, w = array_of("conv2d", "input", input), array_of("conv2d", "weight", weight)
    layout = layout_of(input)
    if layout == "NHWC":
        x, w = in_layout(x, layout), w.transpose(_HWIO)
    y = conv.conv2d(
        x, w, optional_array("conv2d", "bias", bias), stride=tuple(stride),
        padding=_sides(padding), dilation=tuple(dilation), groups=groups, layout=layout,
    )  # fmt: skip
    return tensor_of(y, layout)


def _gradients(
    owner: str,
    function: Callable[..., Any],
    dy: torch.Tensor,
    input: torch.Tensor,
    weight: torch.Tensor,
    needs: Sequence[bool],
    **options: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute the gradients that are needed; no elements for the others."""
    gradient, x, w = (
        array_of(owner, name, tensor)
        for name, tensor in (("the gradient", dy), ("input", input), ("weight", weight))
    )
    layout = layout_of(input)
    if layout == "NHWC":
        gradient, x, w = in_layout(gradient, layout), in_layout(x, layout), w.transpose(_HWIO)
    wanted = [name for name, needed in zip("xwb", needs, strict=True) if needed]
    dx, dw, db = function(gradient, x, w, needs=wanted, layout=layout, **options)
    if dw is not None and layout == "NHWC":
        dw = np.ascontiguousarray(dw.transpose(_OIHW))
    return (
        missing(input) if dx is None else tensor_of(dx, layout),
        missing(weight) if dw is None else torch.from_numpy(dw),
        missing(dy) if db is None else torch.from_numpy(db),
    )


def _fake_gradients(
    dy: torch.Tensor,
    input: torch.Tensor,
    weight: torch.Tensor,
    needs: Sequence[bool],
    *_options: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return (
        empty_images(input, input.shape, layout_of(input)) if needs[0] else missing(input),
        weight.new_empty(weight.shape) if needs[1] else missing(weight),
        dy.new_empty(dy.shape[1]) if needs[2] else missing(dy),
    )


_GRADIENTS = "Tensor dy, Tensor input, Tensor weight, bool[3] needs"


@torch.library.custom_op(
    "fastconv::conv2d_backward",
    mutates_args=(),
    schema=f"({_GRADIENTS}, {_OPTIONS}) -> (Tensor, Tensor, Tensor)",
)
def conv2d_backward(
    dy: torch.Tensor,
    input: torch.Tensor,
    weight: torch.Tensor,
    needs: Sequence[bool],
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of :func:`conv2d` by input, weight and bias: those that ``needs`` says."""
    return _gradients(
        "conv2d_backward", conv.conv2d_backward, dy, input, weight, needs, stride=tuple(stride),
        padding=_sides(padding), dilation=tuple(dilation), groups=groups,
    )  # fmt: skip


def _fake_conv_transpose2d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Sequence[Any] = (1, 1),
    padding: Sequence[Any] = (0, 0),
    output_padding: Sequence[Any] = (0, 0),
    groups: Any = 1,
    dilation: Sequence[Any] = (1, 1),
) -> torch.Tensor:
    check_float("conv_transpose2d", "input", input)
    height, width = (
        (input.shape[2 + a] - 1) * stride[a] - 2 * padding[a]
        + dilation[a] * (weight.shape[2 + a] - 1) + output_padding[a] + 1
        for a in (0, 1)
    )  # fmt: skip
    shape = input.shape[0], weight.shape[1] * groups, height, width
    return empty_images(input, shape, layout_of(input))


@torch.library.custom_op(
    "fastconv::conv_transpose2d",
    mutates_args=(),
    schema=f"(Tensor input, Tensor weight, Tensor? bias=None, {_TRANSPOSED}) -> Tensor",
)
def conv_transpose2d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    output_padding: Sequence[int] = (0, 0),
    groups: int = 1,
    dilation: Sequence[int] = (1, 1),
) -> torch.Tensor:
    """Transposed convolution of (N, C, H, W) with (C, O / groups, KH, KW)."""
    owner = "conv_transpose2d"
    x, w = array_of(owner, "input", input), array_of(owner, "weight", weight)
    layout = layout_of(input)
    if layout == "NHWC":
        x, w = in_layout(x, layout), w.transpose(_HWIO)
    y = conv.conv_transpose2d(
        x, w, optional_array(owner, "bias", bias), stride=tuple(stride), padding=tuple(padding),
        output_padding=tuple(output_padding), dilation=tuple(dilation), groups=groups,
        layout=layout,
    )  # fmt: skip
    return tensor_of(y, layout)


@torch.library.custom_op(
    "fastconv::conv_transpose2d_backward",
    mutates_args=(),
    schema=f"({_GRADIENTS}, {_TRANSPOSED}) -> (Tensor, Tensor, Tensor)",
)
def conv_transpose2d_backward(
    dy: torch.Tensor,
    input: torch.Tensor,
    weight: torch.Tensor,
    needs: Sequence[bool],
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    output_padding: Sequence[int] = (0, 0),
    groups: int = 1,
    dilation: Sequence[int] = (1, 1),
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of :func:`conv_transpose2d` by input, weight and bias."""
    return _gradients(
        "conv_transpose2d_backward", conv.conv_transpose2d_backward, dy, input, weight, needs,
        stride=tuple(stride), padding=tuple(padding), output_padding=tuple(output_padding),
        dilation=tuple(dilation), groups=groups,
    )  # fmt: skip


def register_bilinear(forward: Any, backward: Any, axes_of_bias: int) -> None:
    """Give derivatives to an operator that is linear in its input and in its weight.

    Parameters
    ----------
    forward
        (input, weight, bias, options...) -> y.
    backward
        (dy, input, weight, needs, options...) -> their gradients; ``needs`` says which.
    axes_of_bias
        Axes of y behind that of the bias.
    """

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        input, weight, _, *options = inputs
        ctx.save_for_backward(input, weight)
        ctx.options = options

    def gradients(ctx: Any, dy: torch.Tensor) -> tuple[Any, ...]:
        input, weight = ctx.saved_tensors
        # Arguments that were left out, such as a bias, are not counted there.
        needs = [*ctx.needs_input_grad, False, False][:3]
        found = backward(dy, input, weight, needs, *ctx.options)
        given = (each if needed else None for each, needed in zip(found, needs, strict=True))
        return (*given, *(None for _ in ctx.options))

    def keep_all(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        dy, input, weight, needs, *options = inputs
        ctx.save_for_backward(dy, input, weight)
        ctx.needs, ctx.options = needs, options
        ctx.set_materialize_grads(False)

    def second_derivatives(ctx: Any, *upstream: torch.Tensor | None) -> tuple[Any, ...]:
        dy, input, weight = ctx.saved_tensors
        of_dx, of_dw, of_db = (
            each if needed else None for each, needed in zip(upstream, ctx.needs, strict=True)
        )
        for_dy = for_input = for_weight = None
        if ctx.needs_input_grad[0]:
            terms = []
            if of_dx is not None:
                terms.append(forward(of_dx, weight, None, *ctx.options))
            if of_dw is not None:
                terms.append(forward(input, of_dw, None, *ctx.options))
            if of_db is not None:
                terms.append(of_db.reshape(-1, *(1 for _ in range(axes_of_bias))).expand_as(dy))
            for_dy = sum(terms[1:], terms[0]) if terms else None
        if ctx.needs_input_grad[1] and of_dw is not None:
            for_input = backward(dy, input, of_dw, [True, False, False], *ctx.options)[0]
        if ctx.needs_input_grad[2] and of_dx is not None:
            for_weight = backward(dy, of_dx, weight, [False, True, False], *ctx.options)[1]
        return for_dy, for_input, for_weight, None, *(None for _ in ctx.options)

    forward.register_autograd(gradients, setup_context=keep)
    backward.register_autograd(second_derivatives, setup_context=keep_all)


conv2d.register_fake(_fake_conv2d)
conv2d_backward.register_fake(_fake_gradients)
register_bilinear(conv2d, conv2d_backward, 2)
conv_transpose2d.register_fake(_fake_conv_transpose2d)
conv_transpose2d_backward.register_fake(_fake_gradients)
register_bilinear(conv_transpose2d, conv_transpose2d_backward, 2)
