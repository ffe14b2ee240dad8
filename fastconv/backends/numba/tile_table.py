"""The tables that tiles are found in: addresses by vectors and rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROOM = 32
"""Places in a table for each number of vectors: more than a tile has rows."""
MOST_VECTORS = 12

_tables: dict[tuple[str, str, int], NDArray[np.int64]] = {}


def table_of(kind: str, dtype: str, vector_bytes: int) -> NDArray[np.int64]:
    """Return the table of one kind of tiles and type, which stays as long as the process lives.

    Threads that ask at once are given the same one.

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
    key = kind, dtype, vector_bytes
    table = _tables.get(key)
    if table is None:
        # Another thread may have come first. A table that is not kept would be freed while
        # instructions point to it, which functools.cache allows.
        table = _tables.setdefault(key, np.zeros((MOST_VECTORS + 1, ROOM), np.int64))
    return table
