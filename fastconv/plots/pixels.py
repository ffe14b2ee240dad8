"""Images, weights and activations as numbers that can be coloured."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastconv.plots.arguments import FloatArray, check_range, with_axes


def image_colours(owner: str, name: str, images: npt.ArrayLike, axes: str) -> FloatArray:
    """Return images as red, green, blue and opacity, from 0 to 1.

    Parameters
    ----------
    owner, name
        Of the argument, for error messages.
    images
        With 1 or 3 channels in the last axis.
    axes
        Their dimensions, such as "NHWC".
    """
    given = np.asarray(images)
    values = with_axes(owner, name, given, axes)
    if values.shape[-1] not in (1, 3):
        raise ValueError(
            f"{owner}: {name} has shape {values.shape}; expected 1 or 3 channels in the last axis"
        )
    if given.dtype.kind == "f":
        check_range(owner, name, values, 0, 1)
    else:
        check_range(owner, name, values, 0, 255)
        values = values / 255
    values = np.broadcast_to(values, (*values.shape[:-1], 3))
    return np.concatenate([values, np.ones((*values.shape[:-1], 1))], axis=-1)


def grey_of(colours: FloatArray) -> FloatArray:
    """Return how bright colours look: the luma of Rec. 709."""
    grey: FloatArray = colours[..., :3] @ np.array([0.2126, 0.7152, 0.0722])
    return grey


def signed_colours(tiles: FloatArray) -> FloatArray:
    """Return tiles (N, height, width, 3) of numbers of either sign as colours around grey."""
    finite = np.isfinite(tiles)
    shown = 0.5 + 0.5 * np.where(finite, tiles, 0) / largest(tiles)
    opaque = finite.all(axis=3, keepdims=True).astype(np.float64)
    return np.concatenate([shown, opaque], axis=3)


def largest(values: FloatArray) -> float:
    """Largest finite magnitude, or 1 where there is none: the end of a scale."""
    most = float(abs(values[np.isfinite(values)]).max(initial=0.0))
    return most if most > 0 else 1.0


def from_zero_to_one(tile: FloatArray) -> FloatArray:
    """Return numbers on a scale from their least to their largest."""
    finite = tile[np.isfinite(tile)]
    if not finite.size:
        return tile
    low, high = float(finite.min()), float(finite.max())
    return (tile - low) / (high - low) if high > low else tile - low


def heat_opacity(heat: FloatArray) -> FloatArray:
    """Opacity of heat over the image below it: the more, the larger its magnitude."""
    share: FloatArray = abs(np.nan_to_num(heat, posinf=0, neginf=0)) / largest(heat)
    opacity: FloatArray = 0.75 * np.clip(share, 0, 1) ** 0.5
    return opacity
