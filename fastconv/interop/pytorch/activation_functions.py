"""Activations under the names and signatures of ``torch.nn.functional``."""

from __future__ import annotations

from torch import Tensor

from fastconv.interop.pytorch.activation import ELEMENTWISE, prelu_operator
from fastconv.interop.pytorch.activation import log_softmax as _log_softmax
from fastconv.interop.pytorch.activation import softmax as _softmax
from fastconv.interop.pytorch.tensors import as_images


def softmax(input: Tensor, dim: int) -> Tensor:
    """Probabilities along one axis.

    Examples
    --------
    >>> import torch
    >>> softmax(torch.zeros(1, 2), 1)
    tensor([[0.5000, 0.5000]])
    """
    return _softmax(input, dim)


def log_softmax(input: Tensor, dim: int) -> Tensor:
    """Logarithms of the probabilities along one axis.

    Examples
    --------
    >>> import torch
    >>> log_softmax(torch.zeros(1, 2), 1)
    tensor([[-0.6931, -0.6931]])
    """
    return _log_softmax(input, dim)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """``input`` where positive, else ``weight`` (one, or one for each channel) times it.

    Examples
    --------
    >>> import torch
    >>> prelu(torch.tensor([[-2.0, 3.0]]), torch.tensor([0.25]))
    tensor([[-0.5000,  3.0000]])
    """
    if input.dim() < 2:
        return prelu_operator(input.reshape(-1, 1), weight).reshape(input.shape)
    images = as_images(input)
    y: Tensor = prelu_operator(images, weight)
    return y if images is input else y.reshape(input.shape)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(input, 0)``; a new tensor, with ``inplace`` too, here and below.

    Examples
    --------
    >>> import torch
    >>> relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return ELEMENTWISE["relu"](input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(input, 0)``, at most 6."""
    return ELEMENTWISE["relu6"](input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``input`` where positive, else ``negative_slope`` (0 or more) times it."""
    return ELEMENTWISE["leaky_relu"](input, negative_slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``input`` where positive, else ``alpha * (e^input - 1)``."""
    return ELEMENTWISE["elu"](input, alpha)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """Scaled ELU."""
    return ELEMENTWISE["selu"](input)


def sigmoid(input: Tensor) -> Tensor:
    """``1 / (1 + e^-input)``."""
    return ELEMENTWISE["sigmoid"](input)


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return ELEMENTWISE["tanh"](input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + e^input)``, everywhere: beyond ``threshold`` PyTorch's differs by its rounding.

    Parameters
    ----------
    input
        Any shape.
    beta
        1: there is no kernel for others.
    threshold
        Not used.
    """
    if beta != 1:
        raise NotImplementedError(
            f"softplus: beta is {beta!r}; expected 1, or take torch.nn.functional's"
        )
    return ELEMENTWISE["softplus"](input)


def softsign(input: Tensor) -> Tensor:
    """``input / (1 + abs(input))``."""
    return ELEMENTWISE["softsign"](input)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """``input`` times the normal distribution function of it."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate is {approximate!r}; expected 'none' or 'tanh'")
    kind = "gelu" if approximate == "none" else "gelu_tanh"
    return ELEMENTWISE[kind](input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``input * sigmoid(input)``."""
    return ELEMENTWISE["silu"](input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """``input * tanh(softplus(input))``."""
    return ELEMENTWISE["mish"](input)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``input / 6 + 1/2``, kept between 0 and 1."""
    return ELEMENTWISE["hard_sigmoid"](input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """``input`` times the hard sigmoid of it."""
    return ELEMENTWISE["hard_swish"](input)
