"""Specs of images of another size, and of dropout of whole channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fastconv.spec import Shape, SpecError, require_int

ResampleKind: TypeAlias = Literal["zeros", "reflect", "nearest", "bilinear"]
RESAMPLE_KINDS: tuple[ResampleKind, ...] = ("zeros", "reflect", "nearest", "bilinear")


@dataclass(frozen=True, slots=True)
class ResampleSpec:
    """Images whose pixels come from those of others, along each axis by itself.

    Along an axis of n pixels that becomes one of m, pixel i is

    * zeros: pixel ``i - offset``, or 0 outside;
    * reflect: pixel ``abs(i - offset)``, counted back from the last one beyond it;
    * nearest: pixel ``floor(i n / m)``;
    * bilinear: between the pixels around ``(i + 1/2) n / m - 1/2``, which is 0 at the least, or
      with ``align_corners`` around ``i (n - 1) / (m - 1)``.

    Parameters
    ----------
    kind
        Which of these.
    batch, height, width, channels
        Of the images that are read.
    out_height, out_width
        Of those that are written.
    top, left
        The offsets of the axes; below 0 they crop.
    align_corners
        Of bilinear.
    """

    kind: ResampleKind
    batch: int
    height: int
    width: int
    channels: int
    out_height: int
    out_width: int
    top: int = 0
    left: int = 0
    align_corners: bool = False

    def __post_init__(self) -> None:
        owner = "ResampleSpec"
        if self.kind not in RESAMPLE_KINDS:
            raise SpecError(owner, "kind", self.kind, f"one of {', '.join(RESAMPLE_KINDS)}")
        require_int(owner, "batch", self.batch, 0)
        for name in ("height", "width", "channels", "out_height", "out_width"):
            require_int(owner, name, getattr(self, name), 1)
        if self.kind == "reflect":
            for name, size, out, offset in (
                ("top", self.height, self.out_height, self.top),
                ("left", self.width, self.out_width, self.left),
            ):
                if max(offset, out - offset - size) >= size:
                    expected = f"less than the {size} pixels there are, at both ends"
                    raise SpecError(owner, name, offset, expected)

    @property
    def x_shape(self) -> Shape:
        """Shape of what is read, NHWC."""
        return self.batch, self.height, self.width, self.channels

    @property
    def y_shape(self) -> Shape:
        """Shape of what is written, NHWC."""
        return self.batch, self.out_height, self.out_width, self.channels


@dataclass(frozen=True, slots=True)
class ChannelDropoutSpec:
    """What was drawn for a channel of a sample goes for all of its pixels.

    Parameters
    ----------
    batch, pixels, channels
        x has batch * pixels * channels elements, channels last.
    probability
        Share that is dropped; what is kept is scaled by 1 / (1 - probability).
    """

    batch: int
    pixels: int
    channels: int
    probability: float

    def __post_init__(self) -> None:
        owner = "ChannelDropoutSpec"
        require_int(owner, "batch", self.batch, 0)
        require_int(owner, "pixels", self.pixels, 1)
        require_int(owner, "channels", self.channels, 1)
        if not 0 <= self.probability < 1 or math.isnan(self.probability):
            raise SpecError(owner, "probability", self.probability, "0 or more, below 1")

    @property
    def scale(self) -> float:
        """Factor of what is kept."""
        return 1.0 / (1.0 - self.probability)
