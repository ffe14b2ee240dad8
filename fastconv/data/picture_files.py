"""Pictures from files, as a network takes them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastconv._errors import UserError
from fastconv._extras import missing_extra

try:
    from PIL import Image, ImageOps, UnidentifiedImageError
except ModuleNotFoundError as fault:
    raise missing_extra("read_picture", fault) from None


Fit: TypeAlias = Literal["crop", "pad", "stretch"]
FITS: tuple[Fit, ...] = ("crop", "pad", "stretch")
_MODES = {1: "L", 3: "RGB"}
_GREY_MODES = frozenset(("1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"))
_ORIENTATION = 0x0112
_TURNED_BY_A_QUARTER = (5, 6, 7, 8)


_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM")
"""What Pillow reads by the modules that it loads first."""
_MORE_FORMATS = ("TIFF", "WEBP", "AVIF", "JPEG2000", "ICO", "PCX", "SGI", "TGA", "XBM", "XPM")
"""Those that want all of its modules. None starts another program, as PostScript does."""


_MANY_PIXELS = 2**24
_BYTES_OF_A_PIXEL = 16
"""While it is decoded, turned, laid on white and brought to grey or colours, about."""


class PictureError(UserError, ValueError):
    """A file that is no picture: which, and why, in one line."""


def read_picture(
    path: str | Path, shape: Sequence[int], *, fit: Fit = "crop", invert: bool = False
) -> NDArray[np.uint8]:
    """Read a picture of any size and usual format, and bring it to a shape.

    It is turned as its camera says, laid on white where it is transparent, brought to grey or
    colours, and resized with antialiasing.

    Parameters
    ----------
    path
        The file.
    shape
        (height, width, channels) with 1 or 3 channels.
    fit
        What becomes of another ratio of height to width: "crop" takes the middle, "pad" adds
        black, "stretch" distorts.
    invert
        Make dark bright: for dark ink on bright paper, where a network knows bright on dark.

    Returns
    -------
    ndarray
        uint8, (height, width, channels).

    Raises
    ------
    PictureError
        If the file cannot be read, or is no picture.
    """
    with bomb_is_error():
        return decode_picture(path, shape, fit=fit, invert=invert)


def open_picture(file: str | Path | IO[bytes]) -> Image.Image:
    """Open a picture of a format that is read within this process, whatever its name says.

    Raises
    ------
    UnidentifiedImageError
        If it is none; and what else Pillow raises.
    """
    try:
        return Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError:
        Image.init()
        return Image.open(file, formats=[each for each in _MORE_FORMATS if each in Image.OPEN])


@contextmanager
def bomb_is_error() -> Iterator[None]:
    """Silence Pillow's warnings, but make an error of that of a picture too large to be honest.

    What is damaged beside the pixels does not matter; a picture so large that it may be an attack
    does. Filters of warnings are the process's: around threads that decode, not within.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


@contextmanager
def _named_faults(path: str | Path) -> Iterator[None]:
    """Make a PictureError of whatever reading a picture raises."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(f"{path}: too large; resize it first") from None
    except FileNotFoundError:
        raise PictureError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise PictureError(f"{path}: not a picture of a usual format; convert it to PNG") from None
    except MemoryError:
        raise
    except Exception as fault:  # damage can make Pillow raise nearly anything
        reason = getattr(fault, "strerror", None) or " ".join(str(fault).split())
        raise PictureError(f"{path}: cannot be read ({reason})") from None


def picture_form(path: str | Path) -> tuple[int, int, bool]:
    """Read from a picture's header its height and width as it is seen, and whether it is grey.

    Within :func:`bomb_is_error`.

    Raises
    ------
    PictureError
        If the file cannot be read, or is no picture.
    """
    with _named_faults(path), open_picture(path) as file:
        width, height = file.size
        if file.getexif().get(_ORIENTATION) in _TURNED_BY_A_QUARTER:
            width, height = height, width
        return height, width, file.mode in _GREY_MODES


def decode_picture(
    path: str | Path, shape: Sequence[int], *, fit: Fit = "crop", invert: bool = False
) -> NDArray[np.uint8]:
    """Read a picture as :func:`read_picture` does, within :func:`bomb_is_error`.

    Parameters
    ----------
    path, shape, fit, invert
        As for :func:`read_picture`.

    Raises
    ------
    PictureError
        If the file cannot be read, or is no picture.
    """
    height, width, channels = shape
    if channels not in _MODES:
        raise PictureError(
            f"{path}: the network takes images of {channels} channels; pictures have 1 or 3"
        )
    with _named_faults(path), open_picture(path) as file:
        if file.width * file.height > _MANY_PIXELS:
            from fastconv.data.available_memory import require_memory

            # A few bytes may be very many pixels of one colour.
            needed = _BYTES_OF_A_PIXEL * file.width * file.height
            require_memory(str(path), needed, "resize it first")
        picture = _flat(ImageOps.exif_transpose(file), _MODES[channels])
    if invert:
        picture = ImageOps.invert(picture)
    size = (width, height)
    if fit == "crop":
        picture = ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    elif fit == "pad":
        picture = ImageOps.pad(picture, size, Image.Resampling.LANCZOS)
    else:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    pixels: NDArray[np.uint8] = np.asarray(picture, np.uint8).reshape(height, width, channels)
    return pixels


def _flat(picture: Image.Image, mode: str) -> Image.Image:
    """Return a picture without transparency, with 8 bits for each channel."""
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        # Pillow would cut off all that is more than 255.
        values = np.asarray(picture)
        most = 65535 if picture.mode.startswith("I") else 1.0
        top = max(most, float(values.max(initial=0)))
        pixels = np.empty(values.shape, np.uint8)
        for row, line in enumerate(values):
            pixels[row] = 255 * np.clip(line.astype(np.float64) / top, 0, 1) + 0.5
        picture = Image.fromarray(pixels)
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        paper = Image.new("RGBA", layer.size, "white")
        picture = Image.alpha_composite(paper, layer)
    return picture.convert(mode)
