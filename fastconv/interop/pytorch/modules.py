"""PyTorch's layers on fastconv's kernels: the same parameters, defaults and state dicts.

Each is PyTorch's own class with another ``forward``; ``inplace`` is taken and does nothing.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fastconv.interop.pytorch import functional


class Conv2d(nn.Conv2d):
    """``torch.nn.Conv2d``.

    Examples
    --------
    >>> import torch
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


class Conv1d(nn.Conv1d):
    """``torch.nn.Conv1d``."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve."""
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            sides = self._reversed_padding_repeated_twice
            input, padding = nn.functional.pad(input, sides, mode=self.padding_mode), 0
        return functional.conv1d(
            input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )


class ConvTranspose2d(nn.ConvTranspose2d):
    """``torch.nn.ConvTranspose2d``.

    Examples
    --------
    >>> import torch
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
    >>> import torch
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


class MaxPool1d(nn.MaxPool1d):
    """``torch.nn.MaxPool1d`` of dilation 1, without indices."""

    def forward(self, input: Tensor) -> Tensor:
        """Pool."""
        return functional.max_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        )


class AvgPool1d(nn.AvgPool1d):
    """``torch.nn.AvgPool1d``."""

    def forward(self, input: Tensor) -> Tensor:
        """Pool."""
        return functional.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad,
        )  # fmt: skip


class Upsample(nn.Upsample):
    """``torch.nn.Upsample`` by whole factors, "nearest" or "bilinear"."""

    def forward(self, input: Tensor) -> Tensor:
        """Make larger."""
        return functional.interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners
        )


class ZeroPad2d(nn.ZeroPad2d):
    """``torch.nn.ZeroPad2d``."""

    def forward(self, input: Tensor) -> Tensor:
        """Pad."""
        return functional.pad(input, self.padding)


class ReflectionPad2d(nn.ReflectionPad2d):
    """``torch.nn.ReflectionPad2d``."""

    def forward(self, input: Tensor) -> Tensor:
        """Pad."""
        return functional.pad(input, self.padding, "reflect")


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
    >>> import torch
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
