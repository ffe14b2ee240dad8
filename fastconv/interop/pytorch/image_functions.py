"""Padding and resizing, and rows in the place of images, by the names of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fastconv.interop.pytorch import convolution, pooling, resampling


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """Larger images, as ``torch.nn.functional.interpolate`` by whole factors.

    Parameters
    ----------
    input
        (N, C, H, W).
    size
        None: factors are given.
    scale_factor
        An integer, or (height, width).
    mode
        "nearest" or "bilinear".
    align_corners
        Of "bilinear": whether the pixels at the corners keep their values.

    Examples
    --------
    >>> import torch
    >>> interpolate(torch.tensor([[[[1.0, 2.0]]]]), scale_factor=(1, 2))
    tensor([[[[1., 1., 2., 2.]]]])
    """
    pair = scale_factor if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * 2
    if size is not None or any(each is None or int(each) != each for each in pair):
        raise NotImplementedError(
            f"interpolate: size is {size!r} and scale_factor {scale_factor!r}; expected integers "
            f"as scale_factor alone, or take torch.nn.functional's"
        )
    if mode not in ("nearest", "bilinear"):
        raise NotImplementedError(
            f"interpolate: mode is {mode!r}; expected 'nearest' or 'bilinear', or take "
            f"torch.nn.functional's"
        )
    factors = [int(each) for each in pair]
    y: Tensor = resampling.upsample2d(input, factors, mode, bool(align_corners))
    return y


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float = 0) -> Tensor:
    """Pixels around images, as ``torch.nn.functional.pad``: zeros, or mirrored.

    Parameters
    ----------
    input
        (N, C, H, W), or (C, H, W).
    pad
        (left, right), or (left, right, top, bottom); what is below 0 is cut off.
    mode
        "constant" or "reflect".
    value
        0.

    Examples
    --------
    >>> import torch
    >>> pad(torch.tensor([[[[1.0, 2.0]]]]), (1, 0))
    tensor([[[[0., 1., 2.]]]])
    """
    sides = [*pad, 0, 0] if len(pad) == 2 else [*pad]
    if mode not in ("constant", "reflect") or (value or 0) != 0 or len(sides) != 4:
        raise NotImplementedError(
            f"pad: pad is {pad!r}, mode {mode!r} and value {value!r}; expected 2 or 4 numbers, "
            f"'constant' or 'reflect', and 0, or take torch.nn.functional's"
        )
    images = input if input.dim() == 4 else input.unsqueeze(0)
    y: Tensor = resampling.pad2d(images, sides, "zeros" if mode == "constant" else mode)
    return y if images is input else y.squeeze(0)


def _one(value: Any) -> Any:
    """Return the number of a value that may be a tuple of one."""
    return value[0] if isinstance(value, (tuple, list)) else value


def _rows(input: Tensor) -> Tensor:
    """See (N, C, L) or (C, L) as images of one row."""
    return (input if input.dim() == 3 else input.unsqueeze(0)).unsqueeze(2)


def _back(rows: Tensor, input: Tensor) -> Tensor:
    """Undo :func:`_rows`."""
    y = rows.squeeze(2)
    return y if input.dim() == 3 else y.squeeze(0)


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """1-D convolution, as ``torch.nn.functional.conv1d``.

    Examples
    --------
    >>> import torch
    >>> conv1d(torch.ones(1, 1, 4), torch.ones(1, 1, 3))
    tensor([[[3., 3.]]])
    """
    step, spread = _one(stride), _one(dilation)
    if isinstance(padding, str):
        if padding not in ("same", "valid") or (padding == "same" and step != 1):
            raise ValueError(
                f"conv1d: padding is {padding!r} with stride {step}; expected numbers, 'valid', or "
                f"'same' with stride 1"
            )
        total = spread * (weight.shape[2] - 1) if padding == "same" else 0
        sides = [0, 0, total // 2, total - total // 2]
    else:
        sides = [0, _one(padding)]
    y = convolution.conv2d(
        _rows(input), weight.unsqueeze(2), bias, [1, step], sides, [1, spread], groups
    )
    return _back(y, input)


def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """Largest value of each window, as ``torch.nn.functional.max_pool1d`` of dilation 1.

    Examples
    --------
    >>> import torch
    >>> max_pool1d(torch.arange(4.0).reshape(1, 1, 4), 2)
    tensor([[[1., 3.]]])
    """
    if _one(dilation) != 1:
        raise NotImplementedError(
            f"max_pool1d: dilation is {dilation!r}; expected 1, or take torch.nn.functional's"
        )
    kernel = _one(kernel_size)
    step = kernel if stride in (None, []) else _one(stride)
    sizes = [1, kernel], [1, step], [0, _one(padding)]
    return _back(pooling.max_pool2d(_rows(input), *sizes, ceil_mode)[0], input)


def avg_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean of each window, as ``torch.nn.functional.avg_pool1d``.

    Examples
    --------
    >>> import torch
    >>> avg_pool1d(torch.arange(4.0).reshape(1, 1, 4), 2)
    tensor([[[0.5000, 2.5000]]])
    """
    kernel = _one(kernel_size)
    step = kernel if stride in (None, []) else _one(stride)
    sizes = [1, kernel], [1, step], [0, _one(padding)]
    return _back(pooling.avg_pool2d(_rows(input), *sizes, ceil_mode, count_include_pad), input)
