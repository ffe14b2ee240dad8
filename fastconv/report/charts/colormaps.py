"""From numbers to colours, as bytes."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Name: TypeAlias = Literal["signed", "activation", "heat"]

_ANCHORS: dict[str, str] = {
    # ColorBrewer's RdBu (Brewer & Harrower), turned around: negative is blue.
    "signed": "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f",
    # Viridis and inferno (Smith & van der Walt, CC0), of which these are a few points.
    "activation": "440154 482878 3e4a89 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725",
    "heat": "000004 1b0c41 4a0c6b 781c6d a52c60 cf4446 ed6925 fb9b06 f7d13d fcffa4",
}


CLEAR = 255
"""Index where an image of :func:`indices_of` shows nothing."""


def indices_of(shares: npt.ArrayLike, shown: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Return numbers from 0 to 1 as places in :func:`palette_of`, :data:`CLEAR` if not shown.

    Parameters
    ----------
    shares
        Numbers in any shape.
    shown
        Booleans in this shape.
    """
    places = np.clip(np.nan_to_num(np.asarray(shares, float)), 0, 1) * (CLEAR - 1)
    indices: npt.NDArray[np.uint8] = np.where(shown, places.round(), CLEAR).astype(np.uint8)
    return indices


def palette_of(name: Name) -> bytes:
    """Return the colours of a colour map as the palette of an image, three bytes each."""
    return colours_of(name, np.linspace(0, 1, CLEAR)).tobytes() + bytes(3)


def colours_of(name: Name, shares: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Return red, green and blue of numbers from 0 to 1.

    Parameters
    ----------
    name
        Of the colour map: "signed" has white in the middle.
    shares
        Numbers in any shape; what lies outside has the colour of the nearer end.

    Examples
    --------
    >>> colours_of("signed", [0.0, 0.5, 1.0]).tolist()
    [[5, 48, 97], [247, 247, 247], [103, 0, 31]]
    """
    table = np.array([list(bytes.fromhex(anchor)) for anchor in _ANCHORS[name].split()], float)
    places: Any = np.clip(np.nan_to_num(np.asarray(shares, float)), 0, 1) * (len(table) - 1)
    columns = [np.interp(places, np.arange(len(table)), table[:, n]) for n in range(3)]
    return np.stack(columns, axis=-1).round().astype(np.uint8)
