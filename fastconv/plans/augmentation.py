"""Specs of crops, alternating flips, and of images that are mixed with one another."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from fastconv.plans.operation import InputSpec, RandomSpec
from fastconv.spec import SpecError, require_int

Flip: TypeAlias = Literal["none", "random", "alternating"]
FLIPS: tuple[Flip, ...] = ("none", "random", "alternating")

STEP_OF_FIRST_FLIPS = 2**62
"""The step whose words say which sample is flipped in even epochs: no training comes to it."""
NARROWEST = 3 / 4
"""Least width / height of a part of an image that is resized; the largest is its inverse."""


@dataclass(frozen=True, slots=True)
class CropSpec:
    """A part of each image, drawn anew for every image and step, and perhaps mirrored.

    Image ``n`` uses the words ``8*n`` to ``8*n + 7`` of ``random`` at the current step, with
    ``u_k = (word_k >> 8) / 2**24``. Output pixel (i, j) is pixel (i, j') of the part, where
    ``j' = width-1-j`` if it is flipped, else j:

    * with a ``crop``, input pixel ``(i + oy, j' + ox)`` of the image, mirrored at its edges without
      repeating them, where ``oy = floor(u_1 * (2*crop + 1)) - crop`` and ``ox`` likewise from u_2;
    * with a ``least_area`` above 0, a bilinear sample at row ``top + r`` and column ``left + c`` of
      the part of ``h`` rows and ``w`` columns, ``r = max(0, (i + 1/2) * h / height - 1/2)`` and
      ``c`` likewise, whose edges go on outside of it. With the area ``A = height * width *
      (least_area + u_3 * (1 - least_area))`` and the ratio ``q = (3/4) ** (1 - 2*u_4)``,
      ``h = floor(sqrt(A / q) + 1/2)`` and ``w = floor(sqrt(A * q) + 1/2)``, each at least 1 and at
      most the image's; ``top = floor(u_5 * (height - h + 1))``, ``left = floor(u_6 * (width - w +
      1))``. Szegedy et al., "Going Deeper with Convolutions" (arXiv:1409.4842), section 6.

    Flips are "random" (where ``u_0 < 1/2``), or "alternating": sample ``s`` is flipped in even
    epochs where word ``s`` at step 2**62 gives ``u < 1/2``, and in odd ones where it does not; the
    epoch is ``step // steps_per_epoch``. K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single
    GPU" (arXiv:2404.00498), section 3.5.

    Parameters
    ----------
    input
        Shape of the batch.
    random
        Where the draws come from.
    flip
        "none", "random" or "alternating".
    crop
        Pixels that the image is moved by, at most; less than its smaller side.
    least_area
        Smallest share of the area that is resized to the whole; 0: no resizing.
    steps_per_epoch
        Of alternating flips.
    """

    input: InputSpec
    random: RandomSpec
    flip: Flip = "none"
    crop: int = 0
    least_area: float = 0.0
    steps_per_epoch: int = 1

    words_per_image: int = field(default=8, init=False)

    def __post_init__(self) -> None:
        if self.flip not in FLIPS:
            raise SpecError("CropSpec", "flip", self.flip, f"one of {', '.join(FLIPS)}")
        crop = require_int("CropSpec", "crop", self.crop, 0)
        most = min(self.input.height, self.input.width) - 1
        if crop > most:
            expected = f"0 to {most}, as far as images of this size can be mirrored"
            raise SpecError("CropSpec", "crop", crop, expected)
        if not 0 <= self.least_area <= 1:
            raise SpecError("CropSpec", "least_area", self.least_area, "0 to 1")
        if crop and self.least_area:
            expected = "0 beside a crop: an image is moved or resized"
            raise SpecError("CropSpec", "least_area", self.least_area, expected)
        require_int("CropSpec", "steps_per_epoch", self.steps_per_epoch, 1)

    def part(self, u: tuple[float, ...]) -> tuple[int, int, int, int]:
        """Return top, left, height and width of what is resized for the draws u_3 to u_6."""
        rows, columns = self.input.height, self.input.width
        area = rows * columns * (self.least_area + u[0] * (1 - self.least_area))
        ratio = math.pow(NARROWEST, 1 - 2 * u[1])
        height = min(rows, max(1, math.floor(math.sqrt(area / ratio) + 0.5)))
        width = min(columns, max(1, math.floor(math.sqrt(area * ratio) + 0.5)))
        top = math.floor(u[2] * (rows - height + 1))
        return top, math.floor(u[3] * (columns - width + 1)), height, width


@dataclass(frozen=True, slots=True)
class MixSpec:
    """Each image mixed with another one of its batch, its partner, by a share of its own.

    Image ``n`` uses the words ``8*n`` to ``8*n + 7`` of ``random`` at the current step, with
    ``u_k = (word_k >> 8) / 2**24``. Its partner is image ``(n + 1 + floor(u_0 * (batch - 1))) mod
    batch``. Its share ``s`` is from the Beta distribution with both parameters ``a`` (Devroye,
    "Random variate generation in one line of code", 1996, section 3): with ``p = (1-u_1)**(1/a)``,
    ``c = cos(2*pi*u_2)`` and ``q = (1-p)*c*c``, ``s = (1 + sign(c) * sqrt(q / (p + q))) / 2``.

    * mixup (Zhang et al., arXiv:1710.09412): ``s * image + (1-s) * partner``.
    * cutmix (Yun et al., arXiv:1905.04899): the image, with a rectangle of the partner: of
      ``h = floor(height * sqrt(1-s) + 1/2)`` rows and ``w`` columns likewise, from row
      ``floor(u_3 * height) - h//2`` and column ``floor(u_4 * width) - w//2`` on, what of it is in
      the image. The share is then that of the pixels which are left.

    Where both are asked for, cutmix is what happens where ``u_5 < 1/2``.

    Parameters
    ----------
    input
        Shape of the batch.
    random
        Where the draws come from.
    mixup, cutmix
        Parameter of the Beta distribution of each; 0: it is not done.
    """

    input: InputSpec
    random: RandomSpec
    mixup: float = 0.0
    cutmix: float = 0.0

    words_per_image: int = field(default=8, init=False)

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise SpecError("MixSpec", name, value, "0 for none, or a finite number above 0")

    def cuts(self, u: float) -> bool:
        """Whether the draw u_5 chooses cutmix."""
        return self.cutmix > 0 and (not self.mixup or u < 0.5)

    def share(self, u: tuple[float, float], *, cuts: bool) -> float:
        """Return the share that the Beta distribution gives for the draws u_1 and u_2."""
        p = math.pow(1 - u[0], 1 / (self.cutmix if cuts else self.mixup or 1.0))
        c = math.cos(2 * math.pi * u[1])
        q = (1 - p) * c * c
        return 0.5 + math.copysign(0.5, c) * math.sqrt(q / (p + q))

    def rectangle(self, share: float, u: tuple[float, float]) -> tuple[int, int, int, int]:
        """Return first and end of the rows and of the columns that come from the partner.

        Parameters
        ----------
        share
            Of the image.
        u
            The draws u_3 and u_4.
        """
        found: list[int] = []
        for size, draw in zip((self.input.height, self.input.width), u, strict=True):
            side = math.floor(size * math.sqrt(1 - share) + 0.5)
            first = math.floor(draw * size) - side // 2
            found += [max(0, first), min(size, first + side)]
        return found[0], found[1], found[2], found[3]
