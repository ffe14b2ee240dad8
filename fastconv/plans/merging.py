"""Specs of the kernels that make one array of two: what merges the branches of a network.

Only networks with branches, and kernels that are called for them, load this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from fastconv.spec import Shape, require_int


@dataclass(frozen=True, slots=True)
class BroadcastSpec:
    """An elementwise operation of ``x1`` (batch, pixels, channels) and ``x2``.

    Parameters
    ----------
    batch, pixels, channels
        Shape of ``x1`` and of the result; a vector is an image of one pixel.
    per_channel
        ``x2`` is (batch, channels): every pixel of an image meets the same numbers. Else ``x2`` has
        the shape of ``x1``.

    Examples
    --------
    >>> BroadcastSpec(2, 9, 4).size, BroadcastSpec(2, 9, 4, per_channel=True).x2_shape
    (72, (2, 4))
    """

    batch: int
    pixels: int
    channels: int
    per_channel: bool = False

    def __post_init__(self) -> None:
        require_int("BroadcastSpec", "batch", self.batch, 0)
        require_int("BroadcastSpec", "pixels", self.pixels, 1)
        require_int("BroadcastSpec", "channels", self.channels, 1)

    @property
    def size(self) -> int:
        """Elements of the result."""
        return self.batch * self.pixels * self.channels

    @property
    def x1_shape(self) -> Shape:
        """Shape of ``x1`` and of the result, all pixels in one axis."""
        return self.batch, self.pixels, self.channels

    @property
    def x2_shape(self) -> Shape:
        """Shape of ``x2``."""
        return (self.batch, self.channels) if self.per_channel else self.x1_shape


@dataclass(frozen=True, slots=True)
class ConcatenateSpec:
    """The channels of ``x1``, then those of ``x2``.

    Parameters
    ----------
    rows
        Pixels of all images, or samples of vectors.
    channels1, channels2
        Channels of ``x1`` and of ``x2``.
    """

    rows: int
    channels1: int
    channels2: int

    def __post_init__(self) -> None:
        require_int("ConcatenateSpec", "rows", self.rows, 0)
        require_int("ConcatenateSpec", "channels1", self.channels1, 1)
        require_int("ConcatenateSpec", "channels2", self.channels2, 1)

    @property
    def channels(self) -> int:
        """Channels of the result."""
        return self.channels1 + self.channels2


MergeSpec: TypeAlias = BroadcastSpec | ConcatenateSpec
