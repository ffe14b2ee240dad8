"""The tables that tiles are found in: addresses by vectors and rows."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

ROOM = 32
"""Places in a table for each number of vectors: more than a tile has rows."""
MOST_VECTORS = 12


@functools.cache
def table_of(kind: str, dtype: str, vector_bytes: int) -> NDArray[np.int64]:
    """Return the table of one kind of tiles and type, which stays as long as the process lives.

    Parameters
    ----------
    kind
        Of the tiles.
    dtype, vector_bytes
        Of their numbers and vectors.

    Examples
    --------
    >>> table_of("deep", "float32", 64) is table_of("deep", "float32", 64)
    True
    """
    return np.zeros((MOST_VECTORS + 1, ROOM), np.int64)
