"""Many small pictures as one image on one Axes, with thin gaps and text under each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.textpath import TextPath

from fastconv.plots.style import WIDTH, axes_or_new, say_no_data, small_text

_LARGEST = 1.6
"""Width in inches that a tile has at most, in a figure of its own."""

_LINE = 1.25
"""Height of a line of text as a multiple of its size."""


@dataclass(frozen=True)
class TileLayout:
    """Where each tile lies, in pixels of the image that holds them all.

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
        """How many rows of tiles there are."""
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

    def assemble(self, tiles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Put tiles (count, height, width) or (..., 4) into one image; gaps are NaN or clear."""
        empty = np.nan if tiles.ndim == 3 else 0.0
        image = np.full(self.shape + tiles.shape[3:], empty)
        for number, tile in enumerate(tiles):
            top, left = self.corner(number)
            image[top : top + self.height, left : left + self.width] = tile
        return image


def draw_tiles(
    tiles: npt.NDArray[np.float64],
    *,
    titles: Sequence[str] | None,
    columns: int | None,
    ax: Axes | None,
    **options: Any,
) -> tuple[Axes, AxesImage | None]:
    """Draw tiles as one image.

    Parameters
    ----------
    tiles
        (count, height, width) values for a colour map, NaN where nothing is to be drawn; or
        (count, height, width, 4) colours.
    titles
        Text under each tile; None: no text.
    columns
        Tiles in a row; None: so many that the titles do not touch, and that few places stay empty.
    ax
        Where to draw; None makes a figure of the size that fits.
    options
        For ``Axes.imshow``: ``cmap``, ``vmin``, ``vmax``.

    Returns
    -------
    ax, image
        The image is None if there are no tiles.
    """
    count, height, width = tiles.shape[:3]
    if not tiles.size:
        ax = axes_or_new(ax)
        _hide_frame(ax)
        say_no_data(ax)
        return ax, None
    lines = max((title.count("\n") + 1 for title in titles), default=0) if titles else 0
    text_inches = (lines + 0.3) * _LINE * small_text() / 72 if lines else 0.0
    least = _text_inches(titles) + 0.1 if titles else 0.0
    if columns is None:
        columns = _good_columns(count, most=max(1, int(WIDTH / max(least, 0.3))))
    gap = max(1, round(0.04 * width))
    if ax is None:
        # A tile whose title is long gets the room; a picture of few tiles stays small.
        pitch = max(least, min(_LARGEST, WIDTH / columns))
    else:
        pitch = _pitch_inside(ax, count, columns, height / width, text_inches)
    pixels_per_inch = (width + gap) / pitch
    text = int(np.ceil(text_inches * pixels_per_inch))
    layout = TileLayout(count, columns, height, width, gap, text)
    if ax is None:
        inches = [max(1.2, size / pixels_per_inch) for size in layout.shape]
        ax = axes_or_new(None, height=inches[0] + 0.1, width=inches[1] + 0.1)
    image = layout.assemble(tiles)
    drawn = ax.imshow(
        np.ma.masked_invalid(image) if image.ndim == 2 else image,
        interpolation="nearest",
        **options,
    )
    for number, title in enumerate(titles or ()):
        top, left = layout.corner(number)
        ax.text(
            left + (width - 1) / 2,
            top + height - 0.5 + 0.15 * text / max(lines, 1),
            title,
            ha="center",
            va="top",
            fontsize=small_text(),
            linespacing=1.1,
        )
    _hide_frame(ax)
    return ax, drawn


def _hide_frame(ax: Axes) -> None:
    """Hide what says where a pixel is, but not the labels of the axes."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def _good_columns(count: int, most: int) -> int:
    """Columns that leave few places empty, of those that give a picture wider than high."""
    ideal = (1.6 * count) ** 0.5
    low, high = int(np.ceil(count**0.5)), int(2.2 * count**0.5)
    candidates = [columns for columns in range(low, high + 1) if columns <= most]
    if not candidates:
        # As few rows as there is room for, evenly filled.
        return -(-count // -(-count // most))
    return min(candidates, key=lambda columns: (-count % columns, abs(columns - ideal)))


def _text_inches(titles: Sequence[str]) -> float:
    """Width of the widest line."""
    font = FontProperties(family=matplotlib.rcParams["font.family"])
    lines = {line for title in titles for line in title.split("\n") if line.strip()}
    paths = (TextPath((0, 0), line, size=small_text(), prop=font) for line in lines)
    return max((path.get_extents().width for path in paths), default=0.0) / 72


def _pitch_inside(ax: Axes, count: int, columns: int, shape: float, text: float) -> float:
    """Inches from one tile to the next in Axes whose size is given; ``shape`` is height / width."""
    figure = ax.get_figure(root=True)
    dpi = figure.dpi if figure is not None else 100.0
    box = ax.get_window_extent()
    rows = -(-count // columns)
    by_height = (box.height / dpi / rows - text) / shape
    return float(max(0.2, min(box.width / dpi / columns, by_height)))
