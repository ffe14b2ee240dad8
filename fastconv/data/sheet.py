"""A sheet of examples: one row of pictures for each class, as one PNG file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fastconv._files import replace_file
from fastconv.data.dataset import Array
from fastconv.data.errors import DataError

_SIDE = 64
_GAP = 4
_NAME_WIDTH = 140
_MOST_CLASSES = 200


def write_sheet(
    file: str | Path, class_names: Sequence[str], examples: Mapping[int, Sequence[Array]]
) -> None:
    """Write the sheet.

    Parameters
    ----------
    file
        The PNG file.
    class_names
        Of the rows; the first 200 classes are drawn.
    examples
        Images (height, width, channels) by class number.

    Raises
    ------
    DataError
        If they are no pictures.
    """
    rows = [number for number in sorted(examples) if examples[number]][:_MOST_CLASSES]
    if not rows:
        raise DataError(f"--sheet {file}: there are no classes with pictures; leave it out")
    height, width, channels = examples[rows[0]][0].shape
    if (height, width) == (1, 1) or channels not in (1, 3):
        raise DataError(
            f"--sheet {file}: the samples have shape {(height, width, channels)}, which is no "
            f"picture of 1 or 3 channels; leave it out"
        )
    scale = _SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    columns = max(len(examples[number]) for number in rows)
    sheet = Image.new(
        "RGB",
        (_NAME_WIDTH + columns * (_SIDE + _GAP), len(rows) * (_SIDE + _GAP) + _GAP),
        "white",
    )
    draw = ImageDraw.Draw(sheet)
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    for row, number in enumerate(rows):
        top = _GAP + row * (_SIDE + _GAP)
        name = "".join(c if c.isprintable() else "?" for c in class_names[number])
        draw.text((_GAP, top + _SIDE // 2 - 6), name[:24], fill="black")
        for column, image in enumerate(examples[number]):
            pixels = _pixels(image)
            picture = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
            place = (_NAME_WIDTH + column * (_SIDE + _GAP), top)
            sheet.paste(picture.resize(size, how).convert("RGB"), place)
    with replace_file(file, "wb") as content:
        sheet.save(content, format="PNG")


def _pixels(image: Array) -> Array:
    """Return pixels of a byte; other numbers from the image's least to its largest."""
    if image.dtype == np.uint8:
        return image
    values = np.nan_to_num(np.asarray(image, np.float64))
    spread = float(values.max() - values.min())
    scaled = (values - values.min()) * (255 / spread if spread else 0)
    pixels: Array = scaled.astype(np.uint8)
    return pixels
