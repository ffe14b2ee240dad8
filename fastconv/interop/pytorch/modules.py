"""PyTorch's layers on fastconv's kernels: the same parameters, defaults and state dicts.

Each is PyTorch's own class with another ``forward``; ``inplace`` is taken and does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fastconv.interop.pytorch import functional

Tensor = torch.Tensor


class Conv2d(nn.Conv2d):
    """``torch.nn.Conv2d``.

    Examples
    --------
    >>> Conv2d(3, 8, 3, padding=1)(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 8, 8, 8])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve."""
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            sides = self._reversed_padding_repeated_twice
            input, padding = nn.functional.pad(input, sides, mode=self.padding_mode), 0
        return functional.conv2d(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class ConvTranspose2d(nn.ConvTranspose2d):
    """``torch.nn.ConvTranspose2d``.

    Examples
    --------
    >>> ConvTranspose2d(3, 8, 2, stride=2)(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 8, 16, 16])
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve, transposed."""
        output_padding = self._output_padding(
            input, output_size, self.stride, self.padding, self.kernel_size, 2, self.dilation
        )
        return functional.conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, output_padding, self.groups,
            self.dilation,
        )  # fmt: skip


class Linear(nn.Linear):
    """``torch.nn.Linear``.

    Examples
    --------
    >>> Linear(4, 2)(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Multiply by the weights and add the bias."""
        return functional.linear(input, self.weight, self.bias)


class MaxPool2d(nn.MaxPool2d):
    """``torch.nn.MaxPool2d`` of dilation 1."""

    def forward(self, input: Tensor) -> Any:
        """Pool."""
        return functional.max_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
            self.return_indices,
        )  # fmt: skip


class AvgPool2d(nn.AvgPool2d):
    """``torch.nn.AvgPool2d`` without a divisor of one's own."""

    def forward(self, input: Tensor) -> Tensor:
        """Pool."""
        return functional.avg_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad, self.divisor_override,
        )  # fmt: skip


class AdaptiveAvgPool2d(nn.AdaptiveAvgPool2d):
    """``torch.nn.AdaptiveAvgPool2d`` to one pixel."""

    def forward(self, input: Tensor) -> Tensor:
        """Pool."""
        return functional.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveMaxPool2d(nn.AdaptiveMaxPool2d):
    """``torch.nn.AdaptiveMaxPool2d`` to one pixel."""

    def forward(self, input: Tensor) -> Any:
        """Pool."""
        return functional.adaptive_max_pool2d(input, self.output_size, self.return_indices)


class _BatchNorm:
    """The forward pass of both batch normalisations."""

    def forward(self: Any, input: Tensor) -> Tensor:
        """Normalise by the batch in training, by the running statistics else."""
        self._check_input_dim(input)
        momentum = self.momentum or 0.0
        if self.training and self.track_running_stats:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the mean of all batches so far
                momentum = 1.0 / float(self.num_batches_tracked)
        is_tracked = self.track_running_stats or not self.training
        return functional.batch_norm(
            input, self.running_mean if is_tracked else None,
            self.running_var if is_tracked else None, self.weight, self.bias,
            self.training or self.running_mean is None, momentum, self.eps,
        )  # fmt: skip


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """``torch.nn.BatchNorm1d``."""


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """``torch.nn.BatchNorm2d``; second derivatives in training are an error.

    Examples
    --------
    >>> BatchNorm2d(3)(torch.ones(2, 3, 4, 4)).abs().max()
    tensor(0., grad_fn=<MaxBackward1>)
    """


class LayerNorm(nn.LayerNorm):
    """``torch.nn.LayerNorm``; second derivatives are an error."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise the last axes."""
        return functional.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class GroupNorm(nn.GroupNorm):
    """``torch.nn.GroupNorm``; second derivatives are an error."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise groups of channels."""
        return functional.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class InstanceNorm2d(nn.InstanceNorm2d):
    """``torch.nn.InstanceNorm2d`` without running statistics."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each channel of each image."""
        self._check_input_dim(input)
        images = input if input.dim() == 4 else input.unsqueeze(0)
        y = functional.instance_norm(images, self.weight, self.bias, self.eps)
        return y if images is input else y.squeeze(0)


class ReLU(nn.ReLU):
    """``torch.nn.ReLU``."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element, here and below."""
        return functional.relu(input)


class ReLU6(nn.ReLU6):
    """``torch.nn.ReLU6``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.relu6(input)


class LeakyReLU(nn.LeakyReLU):
    """``torch.nn.LeakyReLU`` of a slope of 0 or more."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.leaky_relu(input, self.negative_slope)


class PReLU(nn.PReLU):
    """``torch.nn.PReLU``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.prelu(input, self.weight)


class ELU(nn.ELU):
    """``torch.nn.ELU``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.elu(input, self.alpha)


class SELU(nn.SELU):
    """``torch.nn.SELU``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.selu(input)


class Sigmoid(nn.Sigmoid):
    """``torch.nn.Sigmoid``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.sigmoid(input)


class Tanh(nn.Tanh):
    """``torch.nn.Tanh``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.tanh(input)


class Softplus(nn.Softplus):
    """``torch.nn.Softplus`` of beta 1."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.softplus(input, self.beta)


class Softsign(nn.Softsign):
    """``torch.nn.Softsign``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.softsign(input)


class GELU(nn.GELU):
    """``torch.nn.GELU``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.gelu(input, self.approximate)


class SiLU(nn.SiLU):
    """``torch.nn.SiLU``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.silu(input)


class Mish(nn.Mish):
    """``torch.nn.Mish``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.mish(input)


class Hardsigmoid(nn.Hardsigmoid):
    """``torch.nn.Hardsigmoid``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.hardsigmoid(input)


class Hardswish(nn.Hardswish):
    """``torch.nn.Hardswish``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.hardswish(input)


class Softmax(nn.Softmax):
    """``torch.nn.Softmax`` of a given axis."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.softmax(input, self.dim)


class LogSoftmax(nn.LogSoftmax):
    """``torch.nn.LogSoftmax`` of a given axis."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        return functional.log_softmax(input, self.dim)


class CrossEntropyLoss(nn.CrossEntropyLoss):
    """``torch.nn.CrossEntropyLoss`` of classes."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare scores with classes."""
        return functional.cross_entropy(
            input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )


class NLLLoss(nn.NLLLoss):
    """``torch.nn.NLLLoss``."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare log-probabilities with classes."""
        return functional.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class MSELoss(nn.MSELoss):
    """``torch.nn.MSELoss``."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare numbers, here and below."""
        return functional.mse_loss(input, target, self.reduction)


class L1Loss(nn.L1Loss):
    """``torch.nn.L1Loss``."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: D102
        return functional.l1_loss(input, target, self.reduction)


class HuberLoss(nn.HuberLoss):
    """``torch.nn.HuberLoss``."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: D102
        return functional.huber_loss(input, target, self.reduction, self.delta)


class SmoothL1Loss(nn.SmoothL1Loss):
    """``torch.nn.SmoothL1Loss``."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: D102
        return functional.smooth_l1_loss(input, target, self.reduction, self.beta)


class BCEWithLogitsLoss(nn.BCEWithLogitsLoss):
    """``torch.nn.BCEWithLogitsLoss`` without weights."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: D102
        return functional.binary_cross_entropy_with_logits(input, target, self.reduction)


LAYERS: dict[type[nn.Module], type[nn.Module]] = {
    getattr(nn, own.__name__): own
    for own in (
        Conv2d, ConvTranspose2d, Linear, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d,
        AdaptiveMaxPool2d, BatchNorm1d, BatchNorm2d, LayerNorm, GroupNorm, InstanceNorm2d, ReLU,
        ReLU6, LeakyReLU, PReLU, ELU, SELU, Sigmoid, Tanh, Softplus, Softsign, GELU, SiLU, Mish,
        Hardsigmoid, Hardswish, Softmax, LogSoftmax, CrossEntropyLoss, NLLLoss, MSELoss, L1Loss,
        HuberLoss, SmoothL1Loss, BCEWithLogitsLoss,
    )
}  # fmt: skip
"""PyTorch's layers, and what stands in for each."""


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
