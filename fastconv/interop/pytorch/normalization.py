"""Normalisations as operators of PyTorch. They have gradients, but no second derivatives.

Running statistics are results, not arguments that change: an operator with a gradient may write
to nothing but its results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from fastconv.functional import group_norm as group_functions
from fastconv.functional import norm
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


def _no_second_derivative(name: str) -> Any:
    """Make the gradient of a gradient that nobody has worked out: an error."""

    def refuse(ctx: Any, *upstream: Any) -> NoReturn:
        raise NotImplementedError(
            f"{name}: the gradient has no derivative here; where second derivatives are needed, "
            f"keep PyTorch's own layer"
        )

    return refuse


def _like(tensor: Tensor) -> Tensor:
    return empty_images(tensor, tensor.shape, layout_of(tensor))


@torch.library.custom_op(
    "fastconv::batch_norm",
    mutates_args=(),
    schema=(
        "(Tensor input, Tensor weight, Tensor bias, Tensor? running_mean, Tensor? running_var, "
        "float momentum, float eps) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
    ),
)
def batch_norm(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Normalise (N, C) or (N, C, H, W) by their own statistics.

    Returns
    -------
    y, mean, inverse_std, running_mean, running_var
        The result; what its gradient needs; the running statistics from now on, without elements
        where there are none.
    """
    owner, layout = "batch_norm", layout_of(input)
    x = in_layout(array_of(owner, "input", input), layout)
    scale, shift = array_of(owner, "weight", weight), array_of(owner, "bias", bias)
    given = (("running_mean", running_mean), ("running_var", running_var))
    running = [None if t is None else array_of(owner, name, t).copy() for name, t in given]
    y, mean, inverse_std = norm.batch_norm(
        x, scale, shift, *running, momentum=momentum, epsilon=eps, layout=layout
    )
    return (
        tensor_of(y, layout),
        torch.from_numpy(mean),
        torch.from_numpy(inverse_std.copy()),  # no two results share memory
        *(missing(input) if array is None else torch.from_numpy(array) for array in running),
    )


@batch_norm.register_fake
def _fake_batch_norm(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    eps: float,
) -> tuple[Tensor, ...]:
    check_float("batch_norm", "input", input)
    channels = input.new_empty(input.shape[1])
    running = (
        missing(input) if tensor is None else tensor.new_empty(tensor.shape)
        for tensor in (running_mean, running_var)
    )  # fmt: skip
    return _like(input), channels, torch.empty_like(channels), *running


@torch.library.custom_op(
    "fastconv::batch_norm_backward",
    mutates_args=(),
    schema=(
        "(Tensor dy, Tensor input, Tensor weight, Tensor mean, Tensor inverse_std) "
        "-> (Tensor, Tensor, Tensor)"
    ),
)
def batch_norm_backward(
    dy: Tensor, input: Tensor, weight: Tensor, mean: Tensor, inverse_std: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of :func:`batch_norm` by input, weight and bias."""
    owner, layout = "batch_norm_backward", layout_of(input)
    gradient = in_layout(array_of(owner, "the gradient", dy), layout)
    x = in_layout(array_of(owner, "input", input), layout)
    vectors = (array_of(owner, "a vector", each) for each in (weight, mean, inverse_std))
    dx, dweight, dbias = norm.batch_norm_backward(gradient, x, *vectors, layout=layout)
    return tensor_of(dx, layout), torch.from_numpy(dweight), torch.from_numpy(dbias.copy())


@batch_norm_backward.register_fake
def _fake_batch_norm_backward(
    dy: Tensor, input: Tensor, weight: Tensor, mean: Tensor, inverse_std: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return _like(input), weight.new_empty(weight.shape), weight.new_empty(weight.shape)


def _keep_batch(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    _, mean, inverse_std, *running = output
    ctx.save_for_backward(*inputs[:2], mean, inverse_std)
    ctx.mark_non_differentiable(mean, inverse_std, *running)


def _batch_norm_gradient(ctx: Any, dy: Tensor, *_statistics: Any) -> tuple[Any, ...]:
    return *batch_norm_backward(dy, *ctx.saved_tensors), None, None, None, None


batch_norm.register_autograd(_batch_norm_gradient, setup_context=_keep_batch)
batch_norm_backward.register_autograd(_no_second_derivative("batch_norm"))


@torch.library.custom_op(
    "fastconv::batch_norm_inference",
    mutates_args=(),
    schema=(
        "(Tensor input, Tensor weight, Tensor bias, Tensor mean, Tensor variance, float eps) "
        "-> Tensor"
    ),
)
def batch_norm_inference(
    input: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float
) -> Tensor:
    """Normalise (N, C) or (N, C, H, W) by statistics that are given."""
    owner, layout = "batch_norm", layout_of(input)
    x = in_layout(array_of(owner, "input", input), layout)
    given = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": variance}
    vectors = (array_of(owner, name, tensor) for name, tensor in given.items())
    return tensor_of(norm.batch_norm_inference(x, *vectors, epsilon=eps, layout=layout), layout)


@batch_norm_inference.register_fake
def _fake_batch_norm_inference(
    input: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float
) -> Tensor:
    check_float("batch_norm", "input", input)
    return _like(input)


def _keep_given(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    input, weight, _, mean, variance, ctx.eps = inputs
    ctx.save_for_backward(input, weight, mean, variance)


def _inference_gradient(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
    input, weight, mean, variance = ctx.saved_tensors
    shape = (1, -1, *(1 for _ in range(input.dim() - 2)))
    axes = [axis for axis in range(input.dim()) if axis != 1]
    inverse_std = (variance + ctx.eps).rsqrt()
    dx = dy * (weight * inverse_std).reshape(shape)
    dweight = (dy * (input - mean.reshape(shape))).sum(axes) * inverse_std
    return dx, dweight, dy.sum(axes), None, None, None


batch_norm_inference.register_autograd(_inference_gradient, setup_context=_keep_given)


_AFFINE = "Tensor? weight, Tensor? bias, float eps"
_SAVED = "Tensor? weight, Tensor mean, Tensor inverse_std"


@torch.library.custom_op(
    "fastconv::layer_norm",
    mutates_args=(),
    schema=f"(Tensor input, SymInt[] normalized_shape, {_AFFINE}) -> (Tensor, Tensor, Tensor)",
)
def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise the last axes of each sample; return what the gradient needs too."""
    owner = "layer_norm"
    y, mean, inverse_std = group_functions.layer_norm(
        array_of(owner, "input", input), tuple(normalized_shape),
        optional_array(owner, "weight", weight), optional_array(owner, "bias", bias), eps=eps,
    )  # fmt: skip
    return torch.from_numpy(y), torch.from_numpy(mean), torch.from_numpy(inverse_std.copy())


@layer_norm.register_fake
def _fake_layer_norm(
    input: Tensor,
    normalized_shape: Sequence[Any],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    check_float("layer_norm", "input", input)
    rows: Any = 1
    for size in input.shape[: input.dim() - len(normalized_shape)]:
        rows = rows * size
    return input.new_empty(input.shape), input.new_empty(rows), input.new_empty(rows)


@torch.library.custom_op(
    "fastconv::layer_norm_backward",
    mutates_args=(),
    schema=(
        f"(Tensor dy, Tensor input, SymInt[] normalized_shape, {_SAVED}) "
        f"-> (Tensor, Tensor, Tensor)"
    ),
)
def layer_norm_backward(
    dy: Tensor,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None,
    mean: Tensor,
    inverse_std: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of :func:`layer_norm` by input, weight and bias."""
    owner = "layer_norm_backward"
    dx, dweight, dbias = group_functions.layer_norm_backward(
        array_of(owner, "the gradient", dy), array_of(owner, "input", input),
        tuple(normalized_shape), optional_array(owner, "weight", weight),
        array_of(owner, "mean", mean), array_of(owner, "inverse_std", inverse_std),
    )  # fmt: skip
    return torch.from_numpy(dx), torch.from_numpy(dweight), torch.from_numpy(dbias.copy())


@layer_norm_backward.register_fake
def _fake_layer_norm_backward(
    dy: Tensor, input: Tensor, normalized_shape: Sequence[Any], *_saved: Any
) -> tuple[Tensor, Tensor, Tensor]:
    vectors = input.new_empty(normalized_shape), input.new_empty(normalized_shape)
    return input.new_empty(input.shape), *vectors


@torch.library.custom_op(
    "fastconv::group_norm",
    mutates_args=(),
    schema=f"(Tensor input, SymInt num_groups, {_AFFINE}) -> (Tensor, Tensor, Tensor)",
)
def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise groups of channels of (N, C) or (N, C, H, W)."""
    owner, layout = "group_norm", layout_of(input)
    y, mean, inverse_std = group_functions.group_norm(
        in_layout(array_of(owner, "input", input), layout), num_groups,
        optional_array(owner, "weight", weight), optional_array(owner, "bias", bias), eps=eps,
        layout=layout,
    )  # fmt: skip
    statistics = torch.from_numpy(mean), torch.from_numpy(inverse_std.copy())
    return tensor_of(y, layout), *statistics


@group_norm.register_fake
def _fake_group_norm(
    input: Tensor, num_groups: Any, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    check_float("group_norm", "input", input)
    shape = input.shape[0], num_groups
    return _like(input), input.new_empty(shape), input.new_empty(shape)


@torch.library.custom_op(
    "fastconv::group_norm_backward",
    mutates_args=(),
    schema=(f"(Tensor dy, Tensor input, SymInt num_groups, {_SAVED}) -> (Tensor, Tensor, Tensor)"),
)
def group_norm_backward(
    dy: Tensor,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None,
    mean: Tensor,
    inverse_std: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of :func:`group_norm` by input, weight and bias."""
    owner, layout = "group_norm_backward", layout_of(input)
    dx, dweight, dbias = group_functions.group_norm_backward(
        in_layout(array_of(owner, "the gradient", dy), layout),
        in_layout(array_of(owner, "input", input), layout), num_groups,
        optional_array(owner, "weight", weight), array_of(owner, "mean", mean),
        array_of(owner, "inverse_std", inverse_std), layout=layout,
    )  # fmt: skip
    return tensor_of(dx, layout), torch.from_numpy(dweight), torch.from_numpy(dbias.copy())


@group_norm_backward.register_fake
def _fake_group_norm_backward(
    dy: Tensor, input: Tensor, num_groups: Any, *_saved: Any
) -> tuple[Tensor, Tensor, Tensor]:
    channels = input.shape[1]
    return _like(input), input.new_empty(channels), input.new_empty(channels)


def _keep_sample(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    input, ctx.sizes, weight, bias, _ = inputs
    _, mean, inverse_std = output
    ctx.has_bias = bias is not None
    ctx.save_for_backward(input, weight, mean, inverse_std)
    ctx.mark_non_differentiable(mean, inverse_std)


def _register_sample_norm(name: str, forward: Any, backward: Any) -> None:
    """Give a gradient to a normalisation of each sample by itself."""

    def gradient(ctx: Any, dy: Tensor, *_statistics: Any) -> tuple[Any, ...]:
        input, weight, mean, inverse_std = ctx.saved_tensors
        dx, dweight, dbias = backward(dy, input, ctx.sizes, weight, mean, inverse_std)
        has_weight = weight is not None
        return dx, None, dweight if has_weight else None, dbias if ctx.has_bias else None, None

    forward.register_autograd(gradient, setup_context=_keep_sample)
    backward.register_autograd(_no_second_derivative(name))


_register_sample_norm("layer_norm", layer_norm, layer_norm_backward)
_register_sample_norm("group_norm", group_norm, group_norm_backward)
