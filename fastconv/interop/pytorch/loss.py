"""Losses as operators of PyTorch: one number for each sample, with second derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastconv.functional import elementwise_loss, loss
from fastconv.interop.pytorch.activation import softmax_backward
from fastconv.interop.pytorch.tensors import (
    array_of,
    array_of_any,
    check_float,
    optional_array,
)


def _options(owner: str, weight: Tensor | None, label_smoothing: float) -> dict[str, Any]:
    return {
        "class_weights": optional_array(owner, "weight", weight),
        "label_smoothing": label_smoothing,
    }


@torch.library.custom_op(
    "fastconv::cross_entropy",
    mutates_args=(),
    schema=(
        "(Tensor input, Tensor target, Tensor? weight, float label_smoothing) -> (Tensor, Tensor)"
    ),
)
def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    """Losses (N,) of scores (N, C) and classes (N,), by the classes' weights; and the softmax."""
    owner = "cross_entropy"
    losses, probabilities = loss.softmax_cross_entropy(
        array_of(owner, "input", input), array_of_any(owner, "target", target),
        **_options(owner, weight, label_smoothing),
    )  # fmt: skip
    return torch.from_numpy(losses), torch.from_numpy(probabilities)


@cross_entropy.register_fake
def _fake_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, label_smoothing: float
) -> tuple[Tensor, Tensor]:
    check_float("cross_entropy", "input", input)
    return input.new_empty(input.shape[0]), input.new_empty(input.shape)


@torch.library.custom_op(
    "fastconv::cross_entropy_backward",
    mutates_args=(),
    schema=(
        "(Tensor dlosses, Tensor probabilities, Tensor target, Tensor? weight, "
        "float label_smoothing) -> Tensor"
    ),
)
def cross_entropy_backward(
    dlosses: Tensor,
    probabilities: Tensor,
    target: Tensor,
    weight: Tensor | None,
    label_smoothing: float,
) -> Tensor:
    """Gradient of :func:`cross_entropy` by the scores."""
    owner = "cross_entropy_backward"
    labels, upstream = array_of_any(owner, "target", target), array_of(owner, "dlosses", dlosses)
    options = _options(owner, weight, label_smoothing)
    gradient = loss.softmax_cross_entropy_backward(
        array_of(owner, "probabilities", probabilities), labels, **options
    )
    # That of the mean, by the classes' weights: of each loss by itself it is so much more.
    weights = options["class_weights"]
    total = len(labels) if weights is None else weights[labels].sum(dtype=np.float64)
    with np.errstate(all="ignore"):
        gradient *= (upstream * total)[:, None].astype(gradient.dtype)
    return torch.from_numpy(gradient)


@cross_entropy_backward.register_fake
def _fake_cross_entropy_backward(
    dlosses: Tensor, probabilities: Tensor, target: Tensor, *_options: Any
) -> Tensor:
    return probabilities.new_empty(probabilities.shape)


def _keep_probabilities(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    _, target, weight, ctx.label_smoothing = inputs
    ctx.save_for_backward(output[1], target, weight)
    ctx.set_materialize_grads(False)


def _cross_entropy_gradient(
    ctx: Any, dlosses: Tensor | None, dprobabilities: Tensor | None
) -> tuple[Any, ...]:
    probabilities, target, weight = ctx.saved_tensors
    gradient: Tensor | None = None
    if dlosses is not None:
        gradient = cross_entropy_backward(
            dlosses, probabilities, target, weight, ctx.label_smoothing
        )
    if dprobabilities is not None:
        # Second derivatives come this way.
        through = softmax_backward(dprobabilities, probabilities, 1)
        gradient = through if gradient is None else gradient + through
    return gradient, None, None, None


def _keep_gradient(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.label_smoothing = inputs
    ctx.save_for_backward(*tensors)


def _cross_entropy_second(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
    dlosses, probabilities, target, weight = ctx.saved_tensors
    unit = cross_entropy_backward(
        torch.ones_like(dlosses), probabilities, target, weight, ctx.label_smoothing
    )
    # The gradient is the softmax times the sum of the weighted targets, less those.
    if weight is None:
        factor = torch.ones_like(dlosses)
    else:
        share = ctx.label_smoothing
        factor = (1 - share) * weight[target] + share * weight.mean()
    for_probabilities = upstream * (dlosses * factor).unsqueeze(1)
    return (upstream * unit).sum(1), for_probabilities, None, None, None


cross_entropy.register_autograd(_cross_entropy_gradient, setup_context=_keep_probabilities)
cross_entropy_backward.register_autograd(_cross_entropy_second, setup_context=_keep_gradient)


@torch.library.custom_op(
    "fastconv::nll_loss", mutates_args=(), schema="(Tensor input, Tensor target) -> Tensor"
)
def nll_loss(input: Tensor, target: Tensor) -> Tensor:
    """Losses (N,) of log-probabilities (N, C) and classes (N,)."""
    owner = "nll_loss"
    arrays = array_of(owner, "input", input), array_of_any(owner, "target", target)
    return torch.from_numpy(loss.nll(*arrays))


@nll_loss.register_fake
def _fake_nll_loss(input: Tensor, target: Tensor) -> Tensor:
    check_float("nll_loss", "input", input)
    return input.new_empty(input.shape[0])


def _keep_target(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    input, target = inputs
    ctx.save_for_backward(target)
    ctx.shape = input.shape


def _nll_gradient(ctx: Any, dlosses: Tensor) -> tuple[Any, ...]:
    (target,) = ctx.saved_tensors
    zeros = dlosses.new_zeros(ctx.shape)
    return zeros.scatter(1, target.to(torch.int64).unsqueeze(1), -dlosses.unsqueeze(1)), None


nll_loss.register_autograd(_nll_gradient, setup_context=_keep_target)


Derivative = Callable[[Tensor, Tensor, float], Tensor]


def _elementwise(
    name: str,
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    curvature: Derivative,
    by_target: Derivative | None = None,
) -> Any:
    """Make the operator of a loss of (N, K): the mean over K of each sample.

    Parameters
    ----------
    name
        PyTorch's.
    forward, backward
        The functions of fastconv.
    curvature
        Second derivative by the input, of each element.
    by_target
        Derivative by the target, of each element; None where the loss is of the difference.
    """
    has_delta = name == "huber_loss"
    more = ", float delta=1.0" if has_delta else ""

    def options(delta: float) -> dict[str, float]:
        return {"delta": delta} if has_delta else {}

    def losses_of(input: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
        arrays = array_of(name, "input", input), array_of(name, "target", target)
        return torch.from_numpy(forward(*arrays, **options(delta)))

    def gradient_of(dlosses: Tensor, input: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
        owner = f"{name}_backward"
        arrays = array_of(owner, "input", input), array_of(owner, "target", target)
        gradient = backward(*arrays, **options(delta))
        upstream = array_of(owner, "dlosses", dlosses)
        with np.errstate(all="ignore"):
            gradient *= (upstream * len(upstream))[:, None]  # that of the mean over the samples
        return torch.from_numpy(gradient)

    operator = torch.library.custom_op(
        f"fastconv::{name}", losses_of, mutates_args=(),
        schema=f"(Tensor input, Tensor target{more}) -> Tensor",
    )  # fmt: skip
    operator_backward = torch.library.custom_op(
        f"fastconv::{name}_backward", gradient_of, mutates_args=(),
        schema=f"(Tensor dlosses, Tensor input, Tensor target{more}) -> Tensor",
    )  # fmt: skip

    def fake(input: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
        check_float(name, "input", input)
        return input.new_empty(input.shape[0])

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        *tensors, ctx.delta = inputs if has_delta else (*inputs, 1.0)
        ctx.save_for_backward(*tensors)

    def gradient(ctx: Any, dlosses: Tensor) -> tuple[Any, ...]:
        input, target = ctx.saved_tensors
        delta = (ctx.delta,) if has_delta else ()
        for_input = operator_backward(dlosses, input, target, *delta)
        for_target = None
        if ctx.needs_input_grad[1]:
            for_target = -for_input
            if by_target is not None:
                upstream = dlosses.unsqueeze(1) / input.shape[1]
                for_target = upstream * by_target(input, target, ctx.delta)
        return for_input, for_target, *(None for _ in delta)

    def second(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        dlosses, input, target = ctx.saved_tensors
        delta = (ctx.delta,) if has_delta else ()
        unit = operator_backward(torch.ones_like(dlosses), input, target, *delta)
        scaled = upstream * dlosses.unsqueeze(1) / input.shape[1]
        for_input = scaled * curvature(input, target, ctx.delta)
        for_target = -for_input if by_target is None else -scaled
        return (upstream * unit).sum(1), for_input, for_target, *(None for _ in delta)

    operator.register_fake(fake)
    operator_backward.register_fake(
        lambda dlosses, input, target, delta=1.0: input.new_empty(input.shape)
    )
    operator.register_autograd(gradient, setup_context=keep)
    operator_backward.register_autograd(second, setup_context=keep)
    return operator


def _logistic_curvature(input: Tensor, target: Tensor, _: float) -> Tensor:
    s = torch.sigmoid(input)
    return s * (1 - s)


mse_loss = _elementwise(
    "mse_loss", loss.mean_squared_error, loss.mean_squared_error_backward,
    lambda input, target, _: torch.full_like(input, 2.0),
)  # fmt: skip
l1_loss = _elementwise(
    "l1_loss", elementwise_loss.mean_absolute_error,
    elementwise_loss.mean_absolute_error_backward,
    lambda input, target, _: torch.zeros_like(input),
)  # fmt: skip
huber_loss = _elementwise(
    "huber_loss", elementwise_loss.huber, elementwise_loss.huber_backward,
    lambda input, target, delta: ((input - target).abs() < delta).to(input.dtype),
)  # fmt: skip
binary_cross_entropy_with_logits = _elementwise(
    "binary_cross_entropy_with_logits", elementwise_loss.binary_cross_entropy_with_logits,
    elementwise_loss.binary_cross_entropy_with_logits_backward, _logistic_curvature,
    lambda input, target, _: -input,
)  # fmt: skip
