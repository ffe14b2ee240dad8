"""Grids of pixels as PNG inside the page: images, filters, feature maps, saliency."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fastconv.plots.arguments import FloatArray, names_of, with_axes
from fastconv.plots.pixels import (
    from_zero_to_one,
    grey_of,
    heat_opacity,
    image_colours,
    largest,
    signed_colours,
)
from fastconv.plots.tile_layout import TileLayout, good_columns, zoom_of
from fastconv.report.charts.canvas import SMALL, TEXT, WIDTH, Canvas, number, widest
from fastconv.report.charts.colormaps import CLEAR, Name, colours_of, indices_of, palette_of
from fastconv.report.charts.ticks import linear_ticks, tick_labels

_LARGEST = 145.0
"""Width that a tile has at most, in units of the chart."""
_BAR = 92.0
"""Width of the bar that gives a scale, with its numbers."""
_LINE_HEIGHT = 1.25 * SMALL
_BAR_STEPS = 64


def image_grid(
    canvas: Canvas,
    images: npt.ArrayLike,
    *,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
) -> None:
    """Draw what :func:`fastconv.plots.image_grid` draws."""
    owner = "image_grid"
    colours = image_colours(owner, "images", images, "NHWC")
    if titles is not None:
        titles = names_of(owner, "titles", titles, len(colours), "image")
    _draw_tiles(canvas, _bytes(colours), titles=titles, columns=columns)


def filters(canvas: Canvas, weights: npt.ArrayLike, *, columns: int | None = None) -> None:
    """Draw what :func:`fastconv.plots.filters` draws."""
    values = with_axes("filters", "weights", weights, "HWIO")
    height, width, channels, count = values.shape
    if channels == 3:
        _draw_signed(canvas, np.moveaxis(values, 3, 0), None, columns)
        return
    tiles = values.transpose(3, 2, 0, 1).reshape(count * channels, height, width, 1)
    by_channel = channels > 1 and columns is None
    _draw_signed(
        canvas, tiles, None, channels if by_channel else columns,
        sides=("filter", "channel") if by_channel else None,
    )  # fmt: skip


def class_templates(
    canvas: Canvas,
    weights: npt.ArrayLike,
    image_shape: tuple[int, int, int],
    class_names: Sequence[str],
) -> None:
    """Draw what :func:`fastconv.plots.class_templates` draws."""
    owner = "class_templates"
    values = with_axes(owner, "weights", weights, "IO")
    names = names_of(owner, "class_names", class_names, values.shape[1], "class")
    _draw_signed(canvas, values.T.reshape(-1, *image_shape), names, None)


def feature_maps(
    canvas: Canvas,
    maps: npt.ArrayLike,
    *,
    scale: Literal["common", "each"] = "common",
    columns: int | None = None,
) -> None:
    """Draw what :func:`fastconv.plots.feature_maps` draws."""
    tiles = np.moveaxis(with_axes("feature_maps", "maps", maps, "HWC"), 2, 0)
    finite = np.isfinite(tiles)
    low, high = 0.0, 1.0
    if scale == "each":
        shares = np.stack([from_zero_to_one(tile) for tile in tiles]) if len(tiles) else tiles
    else:
        low = float(tiles.min(initial=np.inf, where=finite)) if finite.any() else 0.0
        high = float(tiles.max(initial=-np.inf, where=finite)) if finite.any() else 1.0
        shares = (tiles - low) / ((high - low) or 1.0)
    _draw_tiles(
        canvas, indices_of(shares, finite), columns=columns, name="activation",
        bar=(low, high, "activation") if scale == "common" else None,
    )  # fmt: skip


def saliency_grid(
    canvas: Canvas,
    images: npt.ArrayLike,
    heat: npt.ArrayLike,
    titles: Sequence[str],
    *,
    signed: bool = False,
) -> None:
    """Draw what :func:`fastconv.report.composites.saliency_grid` draws."""
    grey = grey_of(image_colours("saliency_grid", "images", images, "NHWC"))
    values = with_axes("saliency_grid", "heat", heat, "NHW")
    tiles = []
    for below, each in zip(grey, values, strict=True):
        shares = 0.5 + 0.5 * each / largest(each) if signed else each / largest(each)
        over = colours_of("signed" if signed else "heat", shares)
        # Each pixel of the image and of the heat on its own; the larger grid has both.
        repeats = [max(1, a // b) for a, b in zip(below.shape, each.shape, strict=True)]
        opacity = heat_opacity(each)[..., None]
        for axis, times in enumerate(repeats):
            over, opacity = over.repeat(times, axis), opacity.repeat(times, axis)
        mixed = 255 * below[..., None] * (1 - opacity) + over * opacity
        tiles.append(np.concatenate([mixed, np.full((*below.shape, 1), 255.0)], axis=-1))
    made = np.stack(tiles).round().astype(np.uint8)
    _draw_tiles(canvas, made, titles=titles, columns=min(2, len(tiles)), most=270.0, size=TEXT)


def _bytes(colours: FloatArray) -> npt.NDArray[np.uint8]:
    return (255 * colours + 0.5).astype(np.uint8)


def _draw_signed(
    canvas: Canvas,
    tiles: FloatArray,
    titles: Sequence[str] | None,
    columns: int | None,
    *,
    sides: tuple[str, str] | None = None,
) -> None:
    """Draw tiles (N, H, W, 1 or 3) of numbers of either sign on one scale around 0."""
    if tiles.shape[3] == 3:
        _draw_tiles(canvas, _bytes(signed_colours(tiles)), titles=titles, columns=columns)
        return
    most, values = largest(tiles), tiles[..., 0]
    _draw_tiles(
        canvas, indices_of(0.5 + 0.5 * values / most, np.isfinite(values)), name="signed",
        titles=titles, columns=columns, sides=sides, bar=(-most, most, "weight"),
    )  # fmt: skip


def _draw_tiles(
    canvas: Canvas,
    tiles: npt.NDArray[np.uint8],
    *,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    name: Name | None = None,
    bar: tuple[float, float, str] | None = None,
    sides: tuple[str, str] | None = None,
    most: float = _LARGEST,
    size: float = SMALL,
) -> None:
    """Draw tiles as one image, with text under each.

    Parameters
    ----------
    canvas
        Where.
    tiles
        Colours (count, height, width, 4), or places in a palette (count, height, width).
    titles
        Text under each tile.
    columns
        Tiles in a row; None: so many that the titles do not touch, and that few places stay empty.
    name
        Of the colour map whose palette it is.
    bar
        Ends and title of its scale, which is given beside the tiles.
    sides
        What rows and columns are.
    most
        Width of a tile.
    size
        Of the text.
    """
    if not tiles.size:
        canvas.width, canvas.height = WIDTH, 3 * TEXT
        canvas.text(WIDTH / 2, 1.8 * TEXT, "no data", anchor="middle")
        return
    zoom = zoom_of(tiles.shape[2])
    tiles = tiles.repeat(zoom, axis=1).repeat(zoom, axis=2)
    count, height, width = tiles.shape[:3]
    lines = max((title.count("\n") + 1 for title in titles), default=0) if titles else 0
    line_height = _LINE_HEIGHT * size / SMALL
    least = 0.0
    if titles:
        least = widest([line for title in titles for line in title.split("\n")], size) + 6
    left = 1.6 * TEXT if sides else 0.0
    room = WIDTH - left - (_BAR if bar else 0.0)
    if columns is None:
        # Rather a picture that is a little wider than a column less.
        columns = good_columns(count, most=max(1, int(1.08 * room / max(least, 30.0))))
    gap = max(1, round(0.06 * width))
    pitch = max(least, min(most, room / columns))
    unit = pitch / (width + gap)
    text = int(np.ceil((lines + 0.3) * line_height / unit)) if lines else 0
    layout = TileLayout(count, columns, height, width, gap, text)
    rows, across = (unit * pixels for pixels in layout.shape)
    image = layout.assemble(tiles, 0 if name is None else CLEAR)
    _add_png(canvas, image, (left, 0.0, across, rows), name)
    for place, title in enumerate(titles or ()):
        top, at = (unit * pixels for pixels in layout.corner(place))
        for row, line in enumerate(title.split("\n")):
            y = top + unit * height + (row + 0.9) * line_height
            x = left + at + unit * width / 2
            canvas.text(x, y, line, anchor="middle", classes="small" if size == SMALL else "")
    canvas.width, canvas.height = left + across, rows
    if sides:
        canvas.text(TEXT, rows / 2, sides[0], anchor="middle", turned=True)
        canvas.text(left + across / 2, rows + 1.2 * TEXT, sides[1], anchor="middle")
        canvas.height += 1.6 * TEXT
    if bar and name:
        _draw_bar(canvas, left + across + 12, max(rows, 7 * TEXT), name, *bar)


def _draw_bar(
    canvas: Canvas, left: float, height: float, name: Name, low: float, high: float, title: str
) -> None:
    """Draw the scale of the colours."""
    pixels = indices_of(np.linspace(1, 0, _BAR_STEPS)[:, None], True)
    top = 0.5 * TEXT
    _add_png(canvas, pixels, (left, top, 14.0, height - 2 * top), name, smooth=True)
    ticks = linear_ticks(low, high, max(3, min(7, int(height / (2 * TEXT)))))
    labels = tick_labels(ticks)
    for tick, label in zip(ticks, labels, strict=True):
        share = (tick - low) / ((high - low) or 1.0)
        y = height - top - share * (height - 2 * top)
        canvas.text(left + 19, y + 0.35 * SMALL, label, classes="small")
    x = left + 24 + widest(labels, SMALL) + TEXT
    canvas.text(x, height / 2, title, anchor="middle", turned=True)
    canvas.width, canvas.height = x + 4, max(canvas.height, height)


def _add_png(
    canvas: Canvas,
    pixels: npt.NDArray[np.uint8],
    place: tuple[float, float, float, float],
    name: Name | None = None,
    *,
    smooth: bool = False,
) -> None:
    """Add an image as a PNG without a loss.

    Parameters
    ----------
    canvas
        Where.
    pixels
        Red, green, blue and opacity, or places in a palette.
    place
        Left, top, width and height.
    name
        Of the colour map whose palette it is.
    smooth
        Whether there is something between two pixels.
    """
    from PIL import Image

    options: dict[str, Any] = {}
    if name is not None:
        picture = Image.fromarray(pixels)
        picture.putpalette(palette_of(name))
        options["transparency"] = CLEAR
    elif (pixels[..., :1] == pixels[..., 1:3]).all():
        picture = Image.fromarray(np.ascontiguousarray(pixels[..., ::3]))
    else:
        picture = Image.fromarray(pixels)
    file = io.BytesIO()
    picture.save(file, "png", **options)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    x, y, width, height = map(number, place)
    classes = "" if smooth else ' class="pixels"'
    canvas.add(
        f'<image{classes} x="{x}" y="{y}" width="{width}" height="{height}" '
        f'preserveAspectRatio="none" href="data:image/png;base64,{data}"/>'
    )
