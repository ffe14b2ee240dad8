"""Fully connected layers as operators of PyTorch, on its weights (outputs, inputs) as they lie.

To a kernel that takes weights (inputs, outputs) they are those of the layer the other way around:
its data gradient is this layer's output, and its output this layer's data gradient. Nothing is
transposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastconv.functional.arrays import dense, launch, sum_channels
from fastconv.interop.pytorch.convolution import register_bilinear
from fastconv.interop.pytorch.tensors import array_of, check_float, missing
from fastconv.spec import DenseSpec


def _spec(owner: str, x: NDArray[Any], w: NDArray[Any]) -> DenseSpec:
    """Return the spec of the layer the other way around."""
    if x.ndim != 2 or w.ndim != 2:
        raise ValueError(
            f"{owner}: input is {x.shape} and weight is {w.shape}; expected (N, inputs) and "
            f"(outputs, inputs)"
        )
    if x.shape[1] != w.shape[1]:
        raise ValueError(
            f"{owner}: weight takes {w.shape[1]} inputs {w.shape} but input has {x.shape[1]} "
            f"{x.shape}"
        )
    if x.dtype != w.dtype:
        raise TypeError(
            f"{owner}: weight has dtype {w.dtype} but input has {x.dtype}; convert one of them"
        )
    if 0 in w.shape:
        raise ValueError(f"{owner}: weight is {w.shape}; expected an input and an output at least")
    return DenseSpec(x.shape[0], *w.shape)


@torch.library.custom_op(
    "fastconv::linear",
    mutates_args=(),
    schema="(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor",
)
def linear(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """``input @ weight.T + bias`` of (N, inputs) and (outputs, inputs)."""
    owner = "linear"
    x, w = array_of(owner, "input", input), array_of(owner, "weight", weight)
    spec = _spec(owner, x, w)
    y = np.empty((spec.batch, spec.inputs), x.dtype)
    launch(None, "dense.dense_backward_data", spec, x.dtype, dense(x), dense(w), y)
    if bias is not None:
        b = array_of(owner, "bias", bias)
        if b.shape != y.shape[1:] or b.dtype != x.dtype:
            raise ValueError(
                f"{owner}: bias is {b.dtype} {b.shape}; expected {x.dtype} {y.shape[1:]}, one for "
                f"each output of weight"
            )
        with np.errstate(all="ignore"):
            y += b
    return torch.from_numpy(y)


@torch.library.custom_op(
    "fastconv::linear_backward",
    mutates_args=(),
    schema="(Tensor dy, Tensor input, Tensor weight, bool[3] needs) -> (Tensor, Tensor, Tensor)",
)
def linear_backward(
    dy: torch.Tensor, input: torch.Tensor, weight: torch.Tensor, needs: Sequence[bool]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of :func:`linear` by input, weight and bias: those that ``needs`` says."""
    owner = "linear_backward"
    gradient, x, w = (
        array_of(owner, name, tensor)
        for name, tensor in (("the gradient", dy), ("input", input), ("weight", weight))
    )
    spec, dtype = _spec(owner, x, w), x.dtype
    if gradient.shape != (spec.batch, spec.inputs):
        raise ValueError(
            f"{owner}: the gradient is {gradient.shape}; expected {(spec.batch, spec.inputs)}"
        )
    gradient = dense(gradient)
    dx, dw, db = missing(input), missing(weight), missing(dy)
    if needs[0]:
        made = np.empty(x.shape, dtype)
        launch(None, "dense.dense_forward", spec, dtype, gradient, dense(w), None, made)
        dx = torch.from_numpy(made)
    if needs[1]:
        made = np.empty(w.shape, dtype)
        # What this layer calls the gradient is the other one's input.
        launch(None, "dense.dense_backward_weight", spec, dtype, dense(x), gradient, made, None)
        dw = torch.from_numpy(made)
    if needs[2]:
        db = torch.from_numpy(sum_channels(None, gradient, "NC"))
    return dx, dw, db


@linear.register_fake
def _fake_linear(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    check_float("linear", "input", input)
    return input.new_empty((input.shape[0], weight.shape[0]))


@linear_backward.register_fake
def _fake_linear_backward(
    dy: torch.Tensor, input: torch.Tensor, weight: torch.Tensor, needs: Sequence[bool]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return (
        input.new_empty(input.shape) if needs[0] else missing(input),
        weight.new_empty(weight.shape) if needs[1] else missing(weight),
        dy.new_empty(dy.shape[1]) if needs[2] else missing(dy),
    )


register_bilinear(linear, linear_backward, 0)
