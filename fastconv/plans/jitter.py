"""Spec of random changes to the colours of images, and of random erasing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fastconv.plans.operation import InputSpec, RandomSpec
from fastconv.spec import SpecError

LEAST_ERASED, LEAST_RATIO, MOST_RATIO = 0.02, 0.3, 1 / 0.3
"""Of random erasing: the smallest share of the area, and the range of height / width."""
GRAY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the luma of ITU-R BT.601."""


@dataclass(frozen=True, slots=True)
class JitterSpec:
    """Random colours and random erasing, drawn again for every image and step, in place.

    Image ``n`` uses the words ``8*n`` to ``8*n + 7`` of ``random`` at the current step; with
    ``u_k = (word_k >> 8) / 2**24`` and ``f_k(s) = 1 + (2*u_k - 1) * s``:

    1. brightness: ``x = f_0(brightness) * x``;
    2. contrast: ``x = c*x + (1-c) * (mean of the image's luma)`` with ``c = f_1(contrast)``;
    3. saturation: ``x = s*x + (1-s) * (luma of the pixel)`` with ``s = f_2(saturation)``;
    4. erasing, where ``u_3 < erase``: a rectangle becomes 0, of the area ``A = height * width *
       (0.02 + u_4 * (erase_area - 0.02))`` and the ratio ``r = 0.3 ** (1 - 2*u_5)``:
       ``h = floor(sqrt(A*r) + 1/2)`` rows and ``w = floor(sqrt(A/r) + 1/2)`` columns, each at least
       1 and at most the image's; from row ``floor(u_6 * (height - h + 1))`` and column
       ``floor(u_7 * (width - w + 1))`` on.

    The luma of three channels is that of red, green and blue, else their mean. Nothing is clipped:
    what is brighter than the brightest pixel stays so. Erasing: Zhong et al., arXiv:1708.04896.

    Parameters
    ----------
    input
        Shape of the batch.
    random
        Where the draws come from.
    brightness, contrast, saturation
        Largest change of the factor, 0 to 1.
    erase
        Probability of a rectangle.
    erase_area
        Its largest share of the area, 0.02 to 1.
    """

    input: InputSpec
    random: RandomSpec
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    erase: float = 0.0
    erase_area: float = 0.33

    words_per_image: int = field(default=8, init=False)

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "erase"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise SpecError("JitterSpec", name, value, "0 to 1")
        if not LEAST_ERASED <= self.erase_area <= 1:
            raise SpecError("JitterSpec", "erase_area", self.erase_area, f"{LEAST_ERASED} to 1")

    @property
    def gray(self) -> tuple[float, ...]:
        """Share of each channel in the luma."""
        channels = self.input.channels
        return GRAY if channels == len(GRAY) else (1 / channels,) * channels

    def erased(self, u: tuple[float, ...]) -> tuple[int, int, int, int]:
        """Return top, left, height and width of the rectangle for the draws u_4 to u_7."""
        rows, columns = self.input.height, self.input.width
        area = rows * columns * (LEAST_ERASED + u[0] * (self.erase_area - LEAST_ERASED))
        ratio = math.pow(LEAST_RATIO, 1 - 2 * u[1])
        height = min(rows, max(1, math.floor(math.sqrt(area * ratio) + 0.5)))
        width = min(columns, max(1, math.floor(math.sqrt(area / ratio) + 0.5)))
        top = math.floor(u[2] * (rows - height + 1))
        return top, math.floor(u[3] * (columns - width + 1)), height, width
