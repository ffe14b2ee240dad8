"""fastconv's kernels under the names and signatures of ``torch.nn.functional``.

Each function takes and returns tensors of the CPU, float32 or float64, and has gradients. What a
kernel cannot do is an error that says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastconv.interop.pytorch import convolution, normalization, pooling
from fastconv.interop.pytorch import linear as linear_operators
from fastconv.interop.pytorch.activation_functions import elu as elu
from fastconv.interop.pytorch.activation_functions import gelu as gelu
from fastconv.interop.pytorch.activation_functions import hardsigmoid as hardsigmoid
from fastconv.interop.pytorch.activation_functions import hardswish as hardswish
from fastconv.interop.pytorch.activation_functions import leaky_relu as leaky_relu
from fastconv.interop.pytorch.activation_functions import log_softmax as log_softmax
from fastconv.interop.pytorch.activation_functions import mish as mish
from fastconv.interop.pytorch.activation_functions import prelu as prelu
from fastconv.interop.pytorch.activation_functions import relu as relu
from fastconv.interop.pytorch.activation_functions import relu6 as relu6
from fastconv.interop.pytorch.activation_functions import selu as selu
from fastconv.interop.pytorch.activation_functions import sigmoid as sigmoid
from fastconv.interop.pytorch.activation_functions import silu as silu
from fastconv.interop.pytorch.activation_functions import softmax as softmax
from fastconv.interop.pytorch.activation_functions import softplus as softplus
from fastconv.interop.pytorch.activation_functions import softsign as softsign
from fastconv.interop.pytorch.activation_functions import tanh as tanh
from fastconv.interop.pytorch.image_functions import avg_pool1d as avg_pool1d
from fastconv.interop.pytorch.image_functions import conv1d as conv1d
from fastconv.interop.pytorch.image_functions import interpolate as interpolate
from fastconv.interop.pytorch.image_functions import max_pool1d as max_pool1d
from fastconv.interop.pytorch.image_functions import pad as pad
from fastconv.interop.pytorch.loss_functions import (
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
)
from fastconv.interop.pytorch.loss_functions import cross_entropy as cross_entropy
from fastconv.interop.pytorch.loss_functions import huber_loss as huber_loss
from fastconv.interop.pytorch.loss_functions import l1_loss as l1_loss
from fastconv.interop.pytorch.loss_functions import mse_loss as mse_loss
from fastconv.interop.pytorch.loss_functions import nll_loss as nll_loss
from fastconv.interop.pytorch.loss_functions import smooth_l1_loss as smooth_l1_loss
from fastconv.interop.pytorch.tensors import as_images


def _pair(value: Any) -> Any:
    """Return (height, width)."""
    if isinstance(value, (tuple, list)):
        return value if len(value) == 2 else (*value, *value)
    return value, value


def _same_padding(weight: Tensor, stride: Any, dilation: Any) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right) that keep the size, the odd pixel behind."""
    if tuple(stride) != (1, 1):
        raise ValueError(
            f"conv2d: padding is 'same' with stride {tuple(stride)}; expected stride 1"
        )
    down, across = (dilation[a] * (weight.shape[2 + a] - 1) for a in (0, 1))
    return down // 2, down - down // 2, across // 2, across - across // 2


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """2-D convolution, as ``torch.nn.functional.conv2d``.

    Images in ``torch.channels_last`` are convolved as they lie and give such images; the weights
    are then copied into the order of the kernel.

    Parameters
    ----------
    input
        (N, C, H, W), or (C, H, W).
    weight
        (O, C / groups, KH, KW).
    bias
        (O,), or None.
    stride, padding, dilation
        An int or (height, width); padding also "valid" or "same".
    groups
        Independent groups of channels.

    Returns
    -------
    Tensor
        (N, O, OH, OW), or (O, OH, OW).

    Raises
    ------
    TypeError, ValueError
        If a tensor is of another device or dtype, or the shapes do not fit together.

    Examples
    --------
    >>> conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2))
    tensor([[[[4., 4.],
              [4., 4.]]]])
    """
    stride, dilation = _pair(stride), _pair(dilation)
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"conv2d: padding is {padding!r}; expected 'same', 'valid' or numbers")
        padding = _same_padding(weight, stride, dilation) if padding == "same" else (0, 0)
    else:
        padding = _pair(padding)
    if input.dim() == 3:
        alone = convolution.conv2d(
            input.unsqueeze(0), weight, bias, stride, padding, dilation, groups
        )
        return alone.squeeze(0)
    return convolution.conv2d(input, weight, bias, stride, padding, dilation, groups)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Transposed 2-D convolution, as ``torch.nn.functional.conv_transpose2d``.

    Examples
    --------
    >>> conv_transpose2d(torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 3), stride=2)
    tensor([[[[1., 1., 2., 1., 1.]]]])
    """
    options = (
        _pair(stride), _pair(padding), _pair(output_padding), groups, _pair(dilation)
    )  # fmt: skip
    if input.dim() == 3:
        alone = convolution.conv_transpose2d(input.unsqueeze(0), weight, bias, *options)
        return alone.squeeze(0)
    return convolution.conv_transpose2d(input, weight, bias, *options)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias``, as ``torch.nn.functional.linear``: any axes in front.

    Examples
    --------
    >>> linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([0.5]))
    tensor([[11.5000]])
    """
    if input.dim() == 2:
        return linear_operators.linear(input, weight, bias)
    rows = linear_operators.linear(input.reshape(-1, input.shape[-1]), weight, bias)
    return rows.reshape(*input.shape[:-1], weight.shape[0])


def _windows(
    owner: str, input: Tensor, kernel_size: Any, stride: Any, padding: Any
) -> tuple[Tensor, Any, Any, Any]:
    if input.dim() not in (3, 4):
        raise ValueError(
            f"{owner}: input has {input.dim()} dimensions {tuple(input.shape)}; expected "
            f"(N, C, H, W) or (C, H, W)"
        )
    images = input if input.dim() == 4 else input.unsqueeze(0)
    kernel = _pair(kernel_size)
    return (
        images,
        kernel,
        kernel if stride is None or stride == [] else _pair(stride),
        _pair(padding),
    )


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest pixel of each window, as ``torch.nn.functional.max_pool2d``.

    Parameters
    ----------
    input
        (N, C, H, W), or (C, H, W).
    kernel_size, stride, padding
        An int or (height, width); without a stride, windows lie side by side.
    dilation
        1: there is no kernel for others.
    ceil_mode
        Whether the output size is rounded up.
    return_indices
        Whether the places of the pixels in their planes are returned too (int64).

    Examples
    --------
    >>> max_pool2d(torch.arange(4.0).reshape(1, 1, 2, 2), 2)
    tensor([[[[3.]]]])
    """
    if tuple(_pair(dilation)) != (1, 1):
        raise NotImplementedError(
            f"max_pool2d: dilation is {dilation!r}; expected 1, or take torch.nn.functional's"
        )
    images, *windows = _windows("max_pool2d", input, kernel_size, stride, padding)
    y, where = pooling.max_pool2d(images, *windows, ceil_mode)
    if input.dim() == 3:
        y, where = y.squeeze(0), where.squeeze(0)
    return (y, where.to(torch.int64)) if return_indices else y


def avg_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of each window, as ``torch.nn.functional.avg_pool2d``.

    Parameters
    ----------
    input, kernel_size, stride, padding, ceil_mode
        As for :func:`max_pool2d`.
    count_include_pad
        Whether the padding is counted.
    divisor_override
        None: there is no kernel for others.

    Examples
    --------
    >>> avg_pool2d(torch.arange(4.0).reshape(1, 1, 2, 2), 2)
    tensor([[[[1.5000]]]])
    """
    if divisor_override is not None:
        raise NotImplementedError(
            f"avg_pool2d: divisor_override is {divisor_override!r}; expected None, or take "
            f"torch.nn.functional's"
        )
    images, *windows = _windows("avg_pool2d", input, kernel_size, stride, padding)
    y: Tensor = pooling.avg_pool2d(images, *windows, ceil_mode, count_include_pad)
    return y.squeeze(0) if input.dim() == 3 else y


def _check_global(owner: str, output_size: Any) -> None:
    if tuple(_pair(output_size)) != (1, 1):
        raise NotImplementedError(
            f"{owner}: output_size is {output_size!r}; expected 1, or take torch.nn.functional's"
        )


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """Mean of each channel, as ``torch.nn.functional.adaptive_avg_pool2d`` to a size of 1.

    Examples
    --------
    >>> adaptive_avg_pool2d(torch.arange(4.0).reshape(1, 1, 2, 2), 1)
    tensor([[[[1.5000]]]])
    """
    _check_global("adaptive_avg_pool2d", output_size)
    images = input if input.dim() == 4 else input.unsqueeze(0)
    pixels: Tensor = pooling.global_avg_pool2d(images)
    return pixels.reshape(*input.shape[:-2], 1, 1)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Largest pixel of each channel, as ``torch.nn.functional.adaptive_max_pool2d`` to a size of 1.

    Examples
    --------
    >>> adaptive_max_pool2d(torch.arange(4.0).reshape(1, 1, 2, 2), 1)
    tensor([[[[3.]]]])
    """
    _check_global("adaptive_max_pool2d", output_size)
    return max_pool2d(input, tuple(input.shape[-2:]), return_indices=return_indices)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Batch normalisation, as ``torch.nn.functional.batch_norm``.

    Parameters
    ----------
    input
        (N, C), (N, C, L) or (N, C, H, W).
    running_mean, running_var
        (C,); updated in place when training, unless None.
    weight, bias
        (C,); None for 1 and 0.
    training
        Whether the statistics are those of the batch.
    momentum
        Share of the batch's statistics in the running ones.
    eps
        Added to the variance.

    Examples
    --------
    >>> batch_norm(torch.tensor([[1.0], [3.0]]), None, None, training=True)
    tensor([[-1.0000],
            [ 1.0000]])
    """
    if input.dim() not in (2, 3, 4):
        raise ValueError(
            f"batch_norm: input has {input.dim()} dimensions {tuple(input.shape)}; expected "
            f"(N, C), (N, C, L) or (N, C, H, W)"
        )
    channels = input.shape[1]
    scale = input.new_ones(channels) if weight is None else weight
    shift = input.new_zeros(channels) if bias is None else bias
    images = input.unsqueeze(2) if input.dim() == 3 else input
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: running_mean or running_var is None; expected both")
        y = normalization.batch_norm_inference(images, scale, shift, running_mean, running_var, eps)
        return y.reshape(input.shape) if input.dim() == 3 else y
    if input.numel() == channels:
        raise ValueError(
            f"batch_norm: input is {tuple(input.shape)}, one value for each channel; expected more "
            f"when training"
        )
    y, _, _, mean, variance = normalization.batch_norm(
        images, scale, shift, running_mean, running_var, momentum, eps
    )
    with torch.no_grad():
        if running_mean is not None:
            running_mean.copy_(mean)
        if running_var is not None:
            running_var.copy_(variance)
    return y.reshape(input.shape) if input.dim() == 3 else y


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Layer normalisation, as ``torch.nn.functional.layer_norm``.

    Examples
    --------
    >>> layer_norm(torch.tensor([[1.0, 3.0]]), (2,))
    tensor([[-1.0000,  1.0000]])
    """
    y: Tensor = normalization.layer_norm(input, list(normalized_shape), weight, bias, eps)[0]
    return y


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Group normalisation, as ``torch.nn.functional.group_norm``.

    Examples
    --------
    >>> group_norm(torch.tensor([[1.0, 3.0, 5.0, 5.0]]), 2)
    tensor([[-1.0000,  1.0000,  0.0000,  0.0000]])
    """
    images = as_images(input)
    y: Tensor = normalization.group_norm(images, num_groups, weight, bias, eps)[0]
    return y if images is input else y.reshape(input.shape)


def instance_norm(
    input: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Instance normalisation by the statistics of each image: groups of one channel.

    Examples
    --------
    >>> instance_norm(torch.tensor([[[[1.0, 3.0]]]]))
    tensor([[[[-1.0000,  1.0000]]]])
    """
    return group_norm(input, input.shape[1], weight, bias, eps)
