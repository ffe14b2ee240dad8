"""Arrays of images as people have them: NCHW or NHWC, of any type of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from fastconv.data.dataset import Array, IndexArray
from fastconv.data.errors import DataError

Layout: TypeAlias = Literal["NHWC", "NCHW"]

_MOST_COLOURS = 4
_CHUNK_BYTES = 2**24


def in_rows(owner: str, images: Array, layout: Layout | None = None) -> Array:
    """Return images as (samples, height, width, channels), without a copy.

    Parameters
    ----------
    owner
        Where they come from, for the error message.
    images
        (samples, height, width, channels), (samples, channels, height, width), (samples, height,
        width), or (samples, features).
    layout
        Of the four dimensions; by default channels are where there are 1 to 4.

    Raises
    ------
    DataError
        If the layout is not clear, or there are other dimensions.

    Examples
    --------
    >>> in_rows("x", np.zeros((5, 3, 32, 32))).shape, in_rows("x", np.zeros((5, 28, 28))).shape
    ((5, 32, 32, 3), (5, 28, 28, 1))
    """
    if layout not in (None, "NHWC", "NCHW"):
        raise DataError(f"{owner}: layout is {layout!r}; expected 'NHWC' or 'NCHW'")
    if images.ndim == 2:
        images = images[:, np.newaxis, np.newaxis, :]
    elif images.ndim == 3:
        images = images[..., np.newaxis]
    elif images.ndim == 4:
        if layout is None:
            layout = _layout(owner, images.shape)
        if layout == "NCHW":
            images = images.transpose(0, 2, 3, 1)
    if images.ndim != 4 or 0 in images.shape[1:]:
        raise DataError(
            f"{owner}: the images have shape {images.shape}; expected (samples, height, width, "
            f"channels), (samples, channels, height, width), (samples, height, width) or (samples, "
            f"features)"
        )
    return images


def _layout(owner: str, shape: tuple[int, ...]) -> Layout:
    first, last = shape[1] <= _MOST_COLOURS, shape[3] <= _MOST_COLOURS
    if shape[1:3] == (1, 1) or (last and not first):
        return "NHWC"
    if first and not last:
        return "NCHW"
    raise DataError(
        f"{owner}: the images have shape {shape}, which may be NHWC or NCHW; say which by "
        f"layout='NHWC' or layout='NCHW' (--set data.layout=NCHW)"
    )


def stored_type(owner: str, images: Array) -> np.dtype[np.generic]:
    """Return the type that images of any type are kept in; whole numbers are looked at.

    Parameters
    ----------
    owner
        Where they come from, for the error message.
    images
        (samples, ...).

    Returns
    -------
    dtype
        uint8 for whole numbers from 0 to 255 and for booleans, float64 for float64, and float32
        for all others.

    Raises
    ------
    DataError
        If they are no numbers.
    """
    kind, size = images.dtype.kind, images.dtype.itemsize
    if kind == "b" or (kind == "u" and size == 1):
        return np.dtype(np.uint8)
    if kind == "f":
        return np.dtype(np.float64 if size >= 8 else np.float32)
    if kind in "iu":
        step = chunk_rows(images)
        for start in range(0, len(images), step):
            chunk = images[start : start + step]
            if chunk.min() < 0 or chunk.max() > 255:
                return np.dtype(np.float32)
        return np.dtype(np.uint8)
    raise DataError(
        f"{owner}: the images have dtype {images.dtype}; expected whole or floating numbers"
    )


def chunk_rows(images: Array) -> int:
    """Rows of an array that are worked on at a time: little memory, and few steps."""
    return max(1, _CHUNK_BYTES // max(1, images[:1].nbytes))


def convert(owner: str, images: Array, out: Array, numbers: Sequence[int] | IndexArray) -> None:
    """Copy images to an array of the type that they are kept in, and check them.

    Parameters
    ----------
    owner
        Where they come from, for the error message.
    images
        Of any type of numbers.
    out
        Of the same shape, and of :func:`stored_type`.
    numbers
        Those of the samples where they come from, for the error message.

    Raises
    ------
    DataError
        If a value is not finite; the first sample with one is named.
    """
    if images.dtype.kind == "b":
        np.multiply(images, 255, out=out, casting="unsafe")
        return
    with np.errstate(over="ignore", invalid="ignore"):
        np.copyto(out, images, casting="unsafe")
    if out.dtype.kind != "f":
        return
    bad = ~np.isfinite(out.reshape(len(out), -1)).all(axis=1)
    if bad.any():
        sample = int(bad.argmax())
        row = out[sample].reshape(-1)
        value = row[~np.isfinite(row)][0]
        raise DataError(
            f"{owner}: image {numbers[sample]} holds {value}; expected finite numbers; correct "
            f"it, or take the sample away"
        )


def as_images(owner: str, images: Array, layout: Layout | None = None) -> Array:
    """Return a checked array of images in NHWC of a type that is kept; a copy where one is needed.

    Parameters
    ----------
    owner, images, layout
        As for :func:`in_rows`.

    Raises
    ------
    DataError
        As :func:`in_rows`, :func:`stored_type` and :func:`convert` do.
    """
    rows = in_rows(owner, images, layout)
    dtype = stored_type(owner, rows)
    if rows.dtype == dtype == np.uint8 and rows.flags.c_contiguous:
        return np.asarray(rows)
    made: Array = np.empty(rows.shape, dtype)
    step = chunk_rows(made)
    for start in range(0, len(rows), step):
        part = slice(start, min(start + step, len(rows)))
        convert(owner, rows[part], made[part], range(part.start, part.stop))
    return made
