"""What networks are made of beside ``torch.nn``'s own layers: branches, and fastconv's order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class ImageFlatten(nn.Module):
    """Images as vectors in the order of fastconv: pixel by pixel, the channels of each together.

    Examples
    --------
    >>> ImageFlatten()(torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]]))
    tensor([[1., 3., 2., 4.]])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Move the channels to the end, and flatten."""
        return input.movedim(1, -1).flatten(1)


class Residual(nn.Module):
    """The sum of what some layers make of the input, and of the input or what others make of it.

    Parameters
    ----------
    layers, shortcut
        The layers; without any, the input itself.
    """

    def __init__(self, layers: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.layers, self.shortcut = layers, shortcut

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Add both."""
        return self.layers(input) + self.shortcut(input)


class Concatenate(nn.Module):
    """The outputs of several branches, their channels side by side.

    Parameters
    ----------
    branches
        The branches.
    """

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Put them side by side."""
        return torch.cat([branch(input) for branch in self.branches], 1)


class Scale(nn.Module):
    """The input, multiplied by what some layers make of it.

    Parameters
    ----------
    layers
        The layers.
    per_channel
        Whether they give one number for each channel of images.
    """

    def __init__(self, layers: nn.Module, per_channel: bool) -> None:
        super().__init__()
        self.layers, self.per_channel = layers, per_channel

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Multiply."""
        factors = self.layers(input)
        if self.per_channel:
            factors = factors.reshape(factors.shape[0], -1, 1, 1)
        return input * factors


class VectorAsPixel(nn.Module):
    """Vectors (N, C) as images (N, C, 1, 1)."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Add two axes of one."""
        return input.reshape(input.shape[0], -1, 1, 1)
