"""Places of many small pictures beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class TileLayout:
    """Place of each tile, in pixels of the image that holds them all.

    Parameters
    ----------
    count, columns
        How many tiles there are, and how many in a row.
    height, width
        Of a tile.
    gap
        Pixels between columns, and between rows.
    text
        Pixels for text under each tile.
    """

    count: int
    columns: int
    height: int
    width: int
    gap: int
    text: int = 0

    @property
    def rows(self) -> int:
        """Number of rows of tiles."""
        return -(-self.count // self.columns)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image."""
        height = self.rows * (self.height + self.text + self.gap) - self.gap
        return height, self.columns * (self.width + self.gap) - self.gap

    def corner(self, number: int) -> tuple[int, int]:
        """Row and column of a tile's upper left pixel."""
        row, column = divmod(number, self.columns)
        return row * (self.height + self.text + self.gap), column * (self.width + self.gap)

    def assemble(self, tiles: npt.NDArray[Any], empty: float) -> npt.NDArray[Any]:
        """Put tiles (count, height, width) or (..., colours) into one image.

        Parameters
        ----------
        tiles
            The tiles.
        empty
            What is in the gaps.
        """
        image = np.full(self.shape + tiles.shape[3:], empty, tiles.dtype)
        for number, tile in enumerate(tiles):
            top, left = self.corner(number)
            image[top : top + self.height, left : left + self.width] = tile
        return image


def zoom_of(width: int) -> int:
    """Pixels that a pixel of a tile becomes in each direction: more than 1 under 32.

    So that gaps can be thin.
    """
    return max(1, -(-32 // width))


def good_columns(count: int, most: int) -> int:
    """Columns that leave few places empty, of those that give a picture wider than high.

    Parameters
    ----------
    count
        Of the tiles.
    most
        How many there is room for.

    Examples
    --------
    >>> good_columns(24, 12), good_columns(24, 3)
    (6, 3)
    """
    ideal = (1.6 * count) ** 0.5
    low, high = int(np.ceil(count**0.5)), int(2.2 * count**0.5)
    candidates = [columns for columns in range(low, high + 1) if columns <= most]
    if not candidates:
        # As few rows as there is room for, evenly filled.
        return -(-count // -(-count // most))
    return min(candidates, key=lambda columns: (-count % columns, abs(columns - ideal)))
