"""Pictures from files, as a network takes them."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastconv._errors import UserError
from fastconv._extras import missing_extra
from fastconv.data.own_options import bits_of

if TYPE_CHECKING:
    from fastconv.data.picture_rows import Picture

try:
    from PIL import Image, ImageOps, UnidentifiedImageError
    from PIL.PngImagePlugin import PngImageFile
except ModuleNotFoundError as fault:
    raise missing_extra("read_picture", fault) from None


Fit: TypeAlias = Literal["crop", "pad", "stretch"]
FITS: tuple[Fit, ...] = ("crop", "pad", "stretch")
_MODES = {1: "L", 3: "RGB"}
_DEEP_MODES = frozenset(("I", "I;16", "I;16L", "I;16B", "I;16N"))
_GREY_MODES = frozenset(("1", "L", "LA", "La", "F")) | _DEEP_MODES
_A_SHADE = 4
"""Difference of pixels that nobody sees."""
_ORIENTATION = 0x0112
_TURNED_BY_A_QUARTER = (5, 6, 7, 8)
_PNG_SIGNATURE, _PNG_CHECKSUM = 8, 4
"""Bytes of them."""
_TELLING_CHUNKS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")


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
    path: str | Path,
    shape: Sequence[int],
    *,
    fit: Fit = "crop",
    invert: bool = False,
    bits: int | None = None,
) -> NDArray[np.uint8]:
    """Read a picture of any size and usual format, and bring it to a shape.

    It is turned as its camera says, laid on white where it is transparent (on black if nothing
    would be seen on white), brought to grey or colours, and resized with antialiasing. Values of
    more than 8 bits are scaled by what they have: 8, 12 or 16 bits by the largest one, or more in
    whole numbers of 32 bits.

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
    bits
        Of its values, where these have more than 8; None: by the largest.

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
        return decode_picture(path, shape, fit=fit, invert=invert, bits=bits)


def _content(file: str | Picture) -> str | Path | IO[bytes]:
    """What Pillow opens: a path, or the bytes of a member of an archive."""
    return file if isinstance(file, (str, Path)) else io.BytesIO(file.read())


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
def _named_faults(path: str | Picture) -> Iterator[None]:
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


def largest_value(path: str | Picture) -> int:
    """Return the largest value of a picture with more than 8 bits, within :func:`bomb_is_error`.

    Raises
    ------
    PictureError
        If the file cannot be read, or is no picture.
    """
    with _named_faults(path), open_picture(_content(path)) as file:
        return int(np.asarray(file).max(initial=0))


def picture_form(path: str | Picture) -> tuple[int, int, bool, bool]:
    """Read from a picture's header its height and width as it is seen, and its kind of values.

    Returns
    -------
    height, width, is_grey, is_deep
        The latter where its whole numbers have more than 8 bits.

    Within :func:`bomb_is_error`.

    Raises
    ------
    PictureError
        If the file cannot be read, or is no picture.
    """
    with _named_faults(path), open_picture(_content(path)) as file:
        width, height = file.size
        if _orientation(file) in _TURNED_BY_A_QUARTER:
            width, height = height, width
        return height, width, file.mode in _GREY_MODES, file.mode in _DEEP_MODES


def _orientation(file: Image.Image) -> object:
    """Read how a camera was held, without decoding the pixels of a PNG file to see what follows.

    For a PNG file whose header says nothing, Pillow decodes all of it first.
    """
    if isinstance(file, PngImageFile) and not _says_more_behind_pixels(file):
        return Image.Image.getexif(file).get(_ORIENTATION)
    return file.getexif().get(_ORIENTATION)


def _says_more_behind_pixels(file: PngImageFile) -> bool:
    """Whether a PNG file has text or Exif data behind its pixels."""
    content = file.fp
    if content is None:
        return True
    place = content.tell()
    try:
        content.seek(_PNG_SIGNATURE)
        pixels_began = False
        while len(head := content.read(8)) == 8 and head[4:] != b"IEND":
            pixels_began |= head[4:] == b"IDAT"
            if pixels_began and head[4:] in _TELLING_CHUNKS:
                return True
            content.seek(int.from_bytes(head[:4], "big") + _PNG_CHECKSUM, io.SEEK_CUR)
        return False
    finally:
        content.seek(place)


def decode_picture(
    path: str | Picture,
    shape: Sequence[int],
    *,
    fit: Fit = "crop",
    invert: bool = False,
    bits: int | None = None,
) -> NDArray[np.uint8]:
    """Read a picture as :func:`read_picture` does, within :func:`bomb_is_error`.

    Parameters
    ----------
    path, shape, fit, invert, bits
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
    with _named_faults(path), open_picture(_content(path)) as file:
        if file.width * file.height > _MANY_PIXELS:
            from fastconv.data.available_memory import require_memory

            # A few bytes may be very many pixels of one colour.
            needed = _BYTES_OF_A_PIXEL * file.width * file.height
            require_memory(str(path), needed, "resize it first")
        picture = _flat(ImageOps.exif_transpose(file), _MODES[channels], bits)
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


def _flat(picture: Image.Image, mode: str, bits: int | None) -> Image.Image:
    """Return a picture without transparency, with 8 bits for each channel."""
    if picture.mode in _DEEP_MODES or picture.mode == "F":
        # Pillow would cut off all that is more than 255.
        values = np.asarray(picture)
        largest = float(values.max(initial=0))
        most = 1.0 if picture.mode == "F" else 2.0 ** (bits or bits_of(int(largest))) - 1
        top = max(most, largest)
        pixels = np.empty(values.shape, np.uint8)
        for row, line in enumerate(values):
            pixels[row] = 255 * np.clip(line.astype(np.float64) / top, 0, 1) + 0.5
        picture = Image.fromarray(pixels)
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = _laid_on(layer, "white").convert(mode)
        if _is_even(picture) and not _is_even(on_black := _laid_on(layer, "black").convert(mode)):
            return on_black  # white ink
    return picture.convert(mode)


def _laid_on(layer: Image.Image, paper: str) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", layer.size, paper), layer)


def _is_even(picture: Image.Image) -> bool:
    """Whether there is nothing to see: all pixels are the same, but for a shade."""
    pixels = np.asarray(picture)
    return bool(np.ptp(pixels) <= _A_SHADE) if pixels.size else True
