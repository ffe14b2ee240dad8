"""Tensors as NumPy arrays of the same memory, and arrays as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from fastconv.functional.arrays import Layout

_FLOATS = (torch.float32, torch.float64)
_FIRST, _LAST = (0, 3, 1, 2), (0, 2, 3, 1)
"""Axes of NHWC in the order of NCHW, and the other way."""


def check_float(owner: str, name: str, tensor: torch.Tensor) -> None:
    """Check that a tensor has a dtype that the kernels have.

    Raises
    ------
    TypeError
        If it is neither float32 nor float64.
    """
    if tensor.dtype not in _FLOATS:
        raise TypeError(
            f"{owner}: {name} has dtype {tensor.dtype}; expected torch.float32 or torch.float64 "
            f"({name}.float())"
        )


def array_of_any(owner: str, name: str, tensor: torch.Tensor) -> NDArray[Any]:
    """Return the array of a tensor of the CPU, of any dtype: the same memory, nothing copied.

    Raises
    ------
    TypeError
        If it lies on another device.
    """
    if not tensor.is_cpu:
        raise TypeError(
            f"{owner}: {name} lies on the device {tensor.device}; expected a tensor of the CPU "
            f"({name}.cpu())"
        )
    array: NDArray[Any] = (tensor.detach() if tensor.requires_grad else tensor).numpy()
    return array


def array_of(owner: str, name: str, tensor: torch.Tensor) -> NDArray[Any]:
    """Return the array of a float32 or float64 tensor of the CPU: the same memory.

    Raises
    ------
    TypeError
        If it has another dtype, or lies on another device.

    Examples
    --------
    >>> tensor = torch.zeros(2)
    >>> array_of("relu", "input", tensor)[0] = 1.0
    >>> tensor
    tensor([1., 0.])
    """
    if tensor.dtype not in _FLOATS:
        check_float(owner, name, tensor)
    return array_of_any(owner, name, tensor)


def optional_array(owner: str, name: str, tensor: torch.Tensor | None) -> NDArray[Any] | None:
    """Return the array of a tensor, or None."""
    return None if tensor is None else array_of(owner, name, tensor)


def layout_of(tensor: torch.Tensor) -> Layout:
    """Return the layout that a kernel takes images in without a copy.

    Images whose channels lie side by side within each pixel are NHWC; all else counts as NCHW.
    """
    if tensor.is_contiguous() or tensor.dim() != 4:
        return "NCHW"
    return "NHWC" if tensor.is_contiguous(memory_format=torch.channels_last) else "NCHW"


def in_layout(array: NDArray[Any], layout: Layout) -> NDArray[Any]:
    """Return the view of images (N, C, H, W) whose axes are in the order of ``layout``."""
    return array.transpose(_LAST) if layout == "NHWC" else array


def tensor_of(array: NDArray[Any], layout: Layout = "NCHW") -> torch.Tensor:
    """Return the tensor (N, C, H, W) of an array in ``layout``: the same memory."""
    return torch.from_numpy(array.transpose(_FIRST) if layout == "NHWC" else array)


def empty_images(like: torch.Tensor, shape: Sequence[Any], layout: Layout) -> torch.Tensor:
    """Return what :func:`tensor_of` makes of a new array: for shapes without numbers.

    Parameters
    ----------
    like
        Gives dtype and device.
    shape
        (N, C, H, W).
    layout
        Of the memory.
    """
    if layout == "NCHW":
        return like.new_empty(shape)
    n, c, h, w = shape
    return like.new_empty((n, h, w, c)).permute(_FIRST)


def missing(like: torch.Tensor) -> torch.Tensor:
    """Return what stands for a result that nobody needs: no elements."""
    return like.new_empty(0)


def as_images(tensor: torch.Tensor) -> torch.Tensor:
    """See (N, C, ...) as (N, C) or as images."""
    return tensor if tensor.dim() in (2, 4) else tensor.reshape(*tensor.shape[:2], 1, -1)
