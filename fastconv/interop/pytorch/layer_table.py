"""Which layers of PyTorch fastconv stands in for, and which of them it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fastconv.interop.pytorch import activation_modules, loss_modules, modules

_MODULES = modules, activation_modules, loss_modules

LAYERS: dict[type[nn.Module], type[nn.Module]] = {
    getattr(nn, name): own
    for module in _MODULES
    for name, own in vars(module).items()
    if isinstance(own, type) and own.__module__ == module.__name__ and hasattr(nn, name)
}
"""PyTorch's layers, and what stands in for each."""


def _is_whole(module: Any) -> str | None:
    pair = module.scale_factor
    factors = pair if isinstance(pair, (tuple, list)) else (pair,)
    if module.size is not None or any(int(each) != each for each in factors):
        return "it has no whole scale_factor, which the kernel takes"
    if module.mode not in ("nearest", "bilinear"):
        return f"mode is {module.mode!r}; expected 'nearest' or 'bilinear'"
    return None


def _is_one_pixel(module: Any) -> str | None:
    size = module.output_size
    sizes = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    return None if sizes == (1, 1) else f"output_size is {size!r}; the kernel gives one pixel"


_LIMITS: dict[type[nn.Module], Callable[[Any], str | None]] = {
    nn.MaxPool2d: lambda m: (
        None if m.dilation in (1, (1, 1), [1, 1]) else f"dilation is {m.dilation!r}; expected 1"
    ),
    nn.AvgPool2d: lambda m: (
        None if m.divisor_override is None else "it has a divisor_override, which no kernel has"
    ),
    nn.MaxPool1d: lambda m: (
        "it has a dilation or returns indices; expected neither"
        if m.dilation not in (1, (1,)) or m.return_indices else None
    ),
    nn.Upsample: _is_whole,
    nn.AdaptiveAvgPool2d: _is_one_pixel,
    nn.AdaptiveMaxPool2d: _is_one_pixel,
    nn.InstanceNorm2d: lambda m: (
        "it has running statistics, which no kernel has" if m.track_running_stats else None
    ),
    nn.LeakyReLU: lambda m: (
        f"negative_slope is {m.negative_slope}; expected 0 or more"
        if m.negative_slope < 0 else None
    ),
    nn.ELU: lambda m: f"alpha is {m.alpha}; expected 0 or more" if m.alpha < 0 else None,
    nn.Softplus: lambda m: None if m.beta == 1 else f"beta is {m.beta}; expected 1",
    nn.Softmax: lambda m: "dim is None; expected an axis" if m.dim is None else None,
    nn.LogSoftmax: lambda m: "dim is None; expected an axis" if m.dim is None else None,
    nn.BCEWithLogitsLoss: lambda m: (
        "it has weights, which no kernel has"
        if m.weight is not None or m.pos_weight is not None else None
    ),
}  # fmt: skip


def reason_to_leave(module: nn.Module) -> str | None:
    """Return why a layer cannot be computed by fastconv, or None where it can.

    Parameters
    ----------
    module
        Any layer of PyTorch.

    Examples
    --------
    >>> reason_to_leave(nn.MaxPool2d(2, dilation=2))
    'dilation is 2; expected 1'
    """
    kind = type(module)
    if kind not in LAYERS:
        return f"{kind.__name__} has no counterpart in fastconv"
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if not tensor.is_floating_point():
            continue  # a count of batches
        if tensor.dtype not in (torch.float32, torch.float64):
            return f"{name} has dtype {tensor.dtype}; expected torch.float32 or torch.float64"
        if tensor.device.type != "cpu":
            return f"{name} lies on the device {tensor.device}; expected the CPU"
    return _LIMITS.get(kind, lambda _: None)(module)
