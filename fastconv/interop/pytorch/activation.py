"""Activations as operators of PyTorch, with second derivatives.

Each has its own operator, ``torch.ops.fastconv.relu`` and so on. What is elementwise is computed in
the order of the memory, so that images in ``torch.channels_last`` stay what they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastconv.functional import prelu
from fastconv.functional import softmax as along_axis
from fastconv.functional.arrays import dense, launch
from fastconv.interop.pytorch.tensors import (
    array_of,
    check_float,
    empty_images,
    in_layout,
    layout_of,
    tensor_of,
)
from fastconv.plans.activations import ActivationKind, activation_of
from fastconv.plans.operation import ActivationSpec
from fastconv.spec import SpecError

_ALPHA = {"leaky_relu": 0.01, "elu": 1.0}
"""Kinds with a constant, and PyTorch's own value of it."""


def _flat(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor)


def _gelu_tanh(x: Tensor, alpha: float) -> Tensor:
    factor = math.sqrt(2 / math.pi)
    t = torch.tanh(factor * (x + 0.044715 * x**3))
    inner, second = factor * (1 + 3 * 0.044715 * x**2), factor * 6 * 0.044715 * x
    slope = 1 - t * t
    return slope * (inner + x / 2 * (second - 2 * t * inner * inner))


def _silu(x: Tensor, alpha: float) -> Tensor:
    s = torch.sigmoid(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


def _mish(x: Tensor, alpha: float) -> Tensor:
    s, t = torch.sigmoid(x), torch.tanh(torch.nn.functional.softplus(x))
    first = (1 - t * t) * s
    return 2 * first + x * (first * (1 - s) - 2 * t * first * s)


_CURVATURES: dict[ActivationKind, Callable[[Tensor, float], Tensor]] = {
    "relu": lambda y, alpha: _flat(y),
    "leaky_relu": lambda y, alpha: _flat(y),
    "relu6": lambda y, alpha: _flat(y),
    "hard_sigmoid": lambda y, alpha: _flat(y),
    "elu": lambda y, alpha: (y <= 0).to(y.dtype),
    "selu": lambda y, alpha: (y <= 0).to(y.dtype),
    "sigmoid": lambda y, alpha: 1 - 2 * y,
    "tanh": lambda y, alpha: -2 * y,
    "softplus": lambda y, alpha: torch.exp(-y),
    "softsign": lambda y, alpha: -2 * torch.sign(y) * (1 - y.abs()),
    "gelu": lambda x, alpha: torch.exp(-x * x / 2) * ((2 - x * x) / math.sqrt(2 * math.pi)),
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "hard_swish": lambda x, alpha: (x.abs() < 3).to(x.dtype) / 3,
    "mish": _mish,
}
"""Derivatives of each derivative by what it is computed of: y, or x."""


def _spec(kind: ActivationKind, array: NDArray[Any], alpha: float) -> ActivationSpec:
    try:
        return ActivationSpec(kind, array.size, alpha)
    except SpecError as fault:
        raise fault.of(kind) from None


def _apply(kind: ActivationKind, input: Tensor, alpha: float) -> Tensor:
    layout = layout_of(input)
    x = in_layout(array_of(kind, "input", input), layout)
    given = dense(x)
    y = np.empty(given.shape, x.dtype)
    launch(None, "activation.activation_forward", _spec(kind, x, alpha), x.dtype, given, y)
    return tensor_of(y.reshape(x.shape), layout)


def _apply_backward(kind: ActivationKind, dy: Tensor, kept: Tensor, alpha: float) -> Tensor:
    owner, keeps, layout = f"{kind}_backward", activation_of(kind).keeps, layout_of(kept)
    gradient = in_layout(array_of(owner, "the gradient", dy), layout)
    array = in_layout(array_of(owner, keeps, kept), layout)
    if gradient.shape != array.shape or gradient.dtype != array.dtype:
        raise ValueError(
            f"{owner}: the gradient is {gradient.dtype} {gradient.shape}; expected {array.dtype} "
            f"{array.shape} as {keeps}"
        )
    given = dense(array)
    x, y = (given, None) if keeps == "x" else (None, given)
    dx, spec = np.empty(given.shape, array.dtype), _spec(kind, array, alpha)
    kernel = "activation.activation_backward"
    launch(None, kernel, spec, array.dtype, dense(gradient), x, y, dx)
    return tensor_of(dx.reshape(array.shape), layout)


def _like(tensor: Tensor) -> Tensor:
    """Return what an elementwise operator returns, for shapes without numbers."""
    return empty_images(tensor, tensor.shape, layout_of(tensor))


def _elementwise(kind: ActivationKind) -> tuple[Any, Any]:
    """Make the operators of an activation: its values, and its gradient."""
    alpha_of = f", float alpha={_ALPHA[kind]}" if kind in _ALPHA else ""
    default = _ALPHA.get(kind, 0.0)
    keeps_y = activation_of(kind).keeps == "y"

    def forward(input: Tensor, alpha: float = default) -> Tensor:
        return _apply(kind, input, alpha)

    def backward(dy: Tensor, kept: Tensor, alpha: float = default) -> Tensor:
        return _apply_backward(kind, dy, kept, alpha)

    made = torch.library.custom_op(
        f"fastconv::{kind}", forward, mutates_args=(),
        schema=f"(Tensor input{alpha_of}) -> Tensor",
    )  # fmt: skip
    made_backward = torch.library.custom_op(
        f"fastconv::{kind}_backward", backward, mutates_args=(),
        schema=f"(Tensor dy, Tensor kept{alpha_of}) -> Tensor",
    )  # fmt: skip

    def fake(input: Tensor, alpha: float = default) -> Tensor:
        check_float(kind, "input", input)
        return _like(input)

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        input, *alpha = inputs
        ctx.save_for_backward(output if keeps_y else input)
        ctx.alpha = alpha

    def gradient(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
        (kept,) = ctx.saved_tensors
        return made_backward(dy, kept, *ctx.alpha), *(None for _ in ctx.alpha)

    def keep_both(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        dy, kept, *alpha = inputs
        ctx.save_for_backward(dy, kept)
        ctx.alpha = alpha

    def second(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        dy, kept = ctx.saved_tensors
        for_dy = made_backward(upstream, kept, *ctx.alpha) if ctx.needs_input_grad[0] else None
        for_kept = None
        if ctx.needs_input_grad[1]:
            for_kept = upstream * dy * _CURVATURES[kind](kept, *ctx.alpha or (0.0,))
        return for_dy, for_kept, *(None for _ in ctx.alpha)

    made.register_fake(fake)
    made_backward.register_fake(lambda dy, kept, alpha=default: _like(kept))
    made.register_autograd(gradient, setup_context=keep)
    made_backward.register_autograd(second, setup_context=keep_both)
    return made, made_backward


ELEMENTWISE: dict[str, Any] = {}
"""Operators by the names of the activations: (input[, alpha]) -> y."""
for _kind in _CURVATURES:
    ELEMENTWISE[_kind], _ = _elementwise(_kind)


@torch.library.custom_op(
    "fastconv::softmax", mutates_args=(), schema="(Tensor input, int dim) -> Tensor"
)
def softmax(input: Tensor, dim: int) -> Tensor:
    """Probabilities along one axis."""
    return torch.from_numpy(along_axis.softmax(array_of("softmax", "input", input), axis=dim))


@torch.library.custom_op(
    "fastconv::softmax_backward",
    mutates_args=(),
    schema="(Tensor dy, Tensor y, int dim) -> Tensor",
)
def softmax_backward(dy: Tensor, y: Tensor, dim: int) -> Tensor:
    """Gradient of :func:`softmax` from its output."""
    owner = "softmax_backward"
    arrays = array_of(owner, "the gradient", dy), array_of(owner, "y", y)
    return torch.from_numpy(along_axis.softmax_backward(*arrays, axis=dim))


@torch.library.custom_op(
    "fastconv::log_softmax", mutates_args=(), schema="(Tensor input, int dim) -> Tensor"
)
def log_softmax(input: Tensor, dim: int) -> Tensor:
    """Logarithms of the probabilities along one axis."""
    array = array_of("log_softmax", "input", input)
    return torch.from_numpy(along_axis.log_softmax(array, axis=dim))


@torch.library.custom_op(
    "fastconv::log_softmax_backward",
    mutates_args=(),
    schema="(Tensor dy, Tensor y, int dim) -> Tensor",
)
def log_softmax_backward(dy: Tensor, y: Tensor, dim: int) -> Tensor:
    """Gradient of :func:`log_softmax` from its output."""
    owner = "log_softmax_backward"
    arrays = array_of(owner, "the gradient", dy), array_of(owner, "y", y)
    return torch.from_numpy(along_axis.log_softmax_backward(*arrays, axis=dim))


def _register_softmax(
    forward: Any, backward: Any, second: Callable[[Tensor, Tensor, Tensor, int], Any]
) -> None:
    """Give derivatives to a softmax; ``second`` makes those of its gradient by dy and y."""

    def fake(input: Tensor, dim: int) -> Tensor:
        check_float("softmax", "input", input)
        return input.new_empty(input.shape)

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.dim = inputs[1]

    def keep_both(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.dim = inputs[2]

    forward.register_fake(fake)
    backward.register_fake(lambda dy, y, dim: y.new_empty(y.shape))
    forward.register_autograd(
        lambda ctx, dy: (backward(dy, ctx.saved_tensors[0], ctx.dim), None), setup_context=keep
    )

    def second_derivatives(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        dy, y = ctx.saved_tensors
        return *second(upstream, dy, y, ctx.dim), None

    backward.register_autograd(second_derivatives, setup_context=keep_both)


def _second_of_softmax(upstream: Tensor, dy: Tensor, y: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    along = (dy * y).sum(dim, keepdim=True), (upstream * y).sum(dim, keepdim=True)
    return softmax_backward(upstream, y, dim), upstream * (dy - along[0]) - dy * along[1]


def _second_of_log_softmax(
    upstream: Tensor, dy: Tensor, y: Tensor, dim: int
) -> tuple[Tensor, Tensor]:
    p = torch.exp(y)
    return (
        upstream - (upstream * p).sum(dim, keepdim=True),
        -upstream * p * dy.sum(dim, keepdim=True),
    )


_register_softmax(softmax, softmax_backward, _second_of_softmax)
_register_softmax(log_softmax, log_softmax_backward, _second_of_log_softmax)


@torch.library.custom_op(
    "fastconv::prelu", mutates_args=(), schema="(Tensor input, Tensor weight) -> Tensor"
)
def prelu_operator(input: Tensor, weight: Tensor) -> Tensor:
    """``input`` where positive, else ``weight`` times it, of (N, C) or images."""
    layout = layout_of(input)
    x = in_layout(array_of("prelu", "input", input), layout)
    return tensor_of(prelu.prelu(x, array_of("prelu", "weight", weight), layout=layout), layout)


@torch.library.custom_op(
    "fastconv::prelu_backward",
    mutates_args=(),
    schema="(Tensor dy, Tensor input, Tensor weight) -> (Tensor, Tensor)",
)
def prelu_backward(dy: Tensor, input: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`prelu_operator` by input and weight."""
    owner, layout = "prelu_backward", layout_of(input)
    gradient = in_layout(array_of(owner, "the gradient", dy), layout)
    x = in_layout(array_of(owner, "input", input), layout)
    slope = array_of(owner, "weight", weight)
    dx, dslope = prelu.prelu_backward(gradient, x, slope, layout=layout)
    return tensor_of(dx, layout), torch.from_numpy(dslope)


@prelu_operator.register_fake
def _fake_prelu(input: Tensor, weight: Tensor) -> Tensor:
    check_float("prelu", "input", input)
    return _like(input)


@prelu_backward.register_fake
def _fake_prelu_backward(dy: Tensor, input: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return _like(input), weight.new_empty(weight.shape)


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _second_of_prelu(ctx: Any, of_dx: Tensor, of_dweight: Tensor) -> tuple[Tensor, ...]:
    dy, input, weight = ctx.saved_tensors
    negative = (input <= 0).to(input.dtype)
    slopes = weight.reshape(1, -1, *(1 for _ in range(input.dim() - 2)))
    upstream = of_dweight.reshape(slopes.shape)
    for_dy = of_dx * (1 - negative + negative * slopes) + upstream * input * negative
    for_input = upstream * dy * negative
    for_weight = (of_dx * dy * negative).sum_to_size(slopes.shape).reshape(weight.shape)
    return for_dy, for_input, for_weight


prelu_operator.register_autograd(
    lambda ctx, dy: prelu_backward(dy, *ctx.saved_tensors), setup_context=_keep_inputs
)
prelu_backward.register_autograd(_second_of_prelu, setup_context=_keep_inputs)
