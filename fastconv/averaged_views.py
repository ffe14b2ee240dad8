"""Test-time augmentation: scores averaged over several views of each image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.spec import SpecError, require_int

_Images = NDArray[Any]


@dataclass(frozen=True)
class Views:
    """Views of an image whose scores are averaged.

    Parameters
    ----------
    flip
        The mirror image of every other view too.
    shift
        Pixels of the crops: beside the image itself, those that begin so many pixels up or down and
        left or right of it, where the image goes on as if it were mirrored at its edge; 0 for none.

    Raises
    ------
    SpecError
        If ``shift`` is below 0.

    Examples
    --------
    >>> Views(flip=True, shift=2).count
    10
    """

    flip: bool = False
    shift: int = 0

    def __post_init__(self) -> None:
        require_int("Views", "shift", self.shift, 0)

    @property
    def count(self) -> int:
        """Views of an image, itself included."""
        return (5 if self.shift else 1) * (2 if self.flip else 1)

    def of(self, images: _Images) -> Iterator[_Images]:
        """Yield each view of images (N, height, width, channels), the plain one first.

        Raises
        ------
        SpecError
            If the images are too small for the shift.
        """
        for view in self._crops(images):
            yield view
            if self.flip:
                yield np.ascontiguousarray(view[:, :, ::-1])

    def _crops(self, images: _Images) -> Iterator[_Images]:
        yield images
        if not self.shift:
            return
        height, width = images.shape[1:3]
        if self.shift >= min(height, width):
            size = f"less than the smaller side of the images, {min(height, width)}"
            raise SpecError("Views", "shift", self.shift, size)
        around = ((0, 0), (self.shift, self.shift), (self.shift, self.shift), (0, 0))
        padded = np.pad(images, around, mode="reflect")
        for row in (0, 2 * self.shift):
            for column in (0, 2 * self.shift):
                cropped = padded[:, row : row + height, column : column + width]
                yield np.ascontiguousarray(cropped)

    def scores(self, predict: Callable[[_Images], _Images], images: _Images) -> _Images:
        """Return the mean of the scores of all views.

        Parameters
        ----------
        predict
            Gives the scores of images, such as a :class:`fastconv.Predictor`.
        images
            (N, height, width, channels).
        """
        total: _Images | None = None
        for view in self.of(images):
            scores = predict(view).astype(np.float64)
            total = scores if total is None else total + scores
        assert total is not None
        return total / self.count
