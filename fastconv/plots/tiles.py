"""Many small pictures as one image on one Axes, with thin gaps and text under each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from fastconv.plots.style import (
    WIDTH,
    axes_or_new,
    colour_bar,
    say_no_data,
    small_text,
    text_inches,
    width_inches,
)
from fastconv.plots.tile_layout import TileLayout, good_columns, zoom_of

_LARGEST = 1.4
"""Width in inches that a tile has at most, in a figure of its own."""

_BAR = 0.9
"""Width in inches of the bar that gives a scale, with its numbers."""

_LINE = 1.25
"""Height of a line of text as a multiple of its size."""


def draw_tiles(
    tiles: npt.NDArray[np.float64],
    *,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    bar: str | None = None,
    ax: Axes | None = None,
    **options: Any,
) -> Axes:
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
    bar
        What the values are, to be written beside a bar that gives their scale; None: no bar.
    ax
        Where to draw; None makes a figure of the size that fits.
    options
        For ``Axes.imshow``: ``cmap``, ``vmin``, ``vmax``.

    Notes
    -----
    Small tiles are enlarged by a whole number, see :func:`zoom_of`, so that gaps can be thin.
    """
    if not tiles.size:
        ax = axes_or_new(ax)
        ax.spines[:].set_visible(False)
        say_no_data(ax)
        return ax
    zoom = zoom_of(tiles.shape[2])
    tiles = tiles.repeat(zoom, axis=1).repeat(zoom, axis=2)
    count, height, width = tiles.shape[:3]
    lines = max((title.count("\n") + 1 for title in titles), default=0) if titles else 0
    text_height = (lines + 0.3) * _LINE * small_text() / 72 if lines else 0.0
    titles_lines = [line for title in titles or () for line in title.split("\n")]
    least = text_inches(titles_lines, small_text()) + 0.05 if titles else 0.0
    room = WIDTH - (_BAR if bar else 0.0)
    if columns is None:
        # Rather a picture that is a little wider than a column less.
        columns = good_columns(count, most=max(1, int(1.08 * room / max(least, 0.3))))
    gap = max(1, round(0.06 * width))
    if ax is None:
        # A tile whose title is long gets the room; a picture of few tiles stays small.
        pitch = max(least, min(_LARGEST, room / columns))
    else:
        pitch = _pitch_inside(ax, count, columns, height / width, text_height)
    pixels_per_inch = (width + gap) / pitch
    text = int(np.ceil(text_height * pixels_per_inch))
    layout = TileLayout(count, columns, height, width, gap, text)
    if ax is None:
        inches = [max(1.2, size / pixels_per_inch) for size in layout.shape]
        ax = axes_or_new(
            None,
            height=inches[0] + 0.1,
            layout="compressed",
            width=inches[1] + 0.1 + (_BAR if bar else 0.0),
        )
    image = layout.assemble(tiles, np.nan if tiles.ndim == 3 else 0.0)
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
    hide_frame(ax)
    if bar:
        colour_bar(drawn, bar)
    return ax


def hide_frame(ax: Axes) -> None:
    """Hide what says where a pixel is, but not the labels of the axes."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def _pitch_inside(ax: Axes, count: int, columns: int, shape: float, text: float) -> float:
    """Inches from one tile to the next in Axes whose size is given; ``shape`` is height / width."""
    width, box = width_inches(ax), ax.get_window_extent()
    height = width * float(box.height / box.width)
    rows = -(-count // columns)
    return max(0.2, min(width / columns, (height / rows - text) / shape))
