"""Tiles: functions of their own, which kernels call by address, each compiled when it is needed.

A record's tile and what is left at the edges have a few sizes, of the hundred or so that there
are. They stand in a table by vectors and rows, one for each kind of tile and type; its address is
in the record.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.compiled.instructions.record import Record
from fastconv.backends.compiled.rules.tiles import pieces_of
from fastconv.backends.numba.compiled_code import Compiled, address_of_function
from fastconv.backends.numba.instruction_set import target

ROOM = 32
"""Places in a table for each number of vectors: more than a tile has rows."""
_MOST_VECTORS = 12
_KINDS = {
    "conv_tiles": "deep",
    "conv_weight_tiles": "wide",
    "winograd_tiles": "deep",
    "winograd_weight_sums": "wide",
    "pooled_weight_tiles": "pooled",
    "interleaved_tiles": "interleaved",
    "interleaved_weight_tiles": "moments",
}
"""What tiles kernels call; those of one kind and size are the same function."""


@functools.cache
def _table(kind: str, dtype: str, vector_bytes: int) -> NDArray[np.int64]:
    """Addresses by vectors and rows; they stay where they are as long as the process lives."""
    return np.zeros((_MOST_VECTORS + 1, ROOM), np.int64)


def _sizes(record: Record, lanes: int) -> set[tuple[int, int]]:
    """Rows and vectors of the tiles that a record needs.

    Tiles of interleaved samples have pixels, or inputs, for rows and outputs for vectors.
    """
    n = record.integers
    if record.kernel == "pooled_weight_tiles":
        rows = [size for _, size in pieces_of(n[5], n[7])]
        vectors = [size for _, size in pieces_of(n[6], _MOST_VECTORS)]
    elif record.kernel.startswith("interleaved"):
        is_product = record.kernel == "interleaved_tiles"
        rows = [size for _, size in pieces_of(n[2] if is_product else n[18], n[5])]
        vectors = [size for _, size in pieces_of(n[4], n[3])]
        if not is_product and record.pointers[3] is not None:
            rows.append(1)  # the gradient of the bias
    elif record.kernel == "winograd_tiles":
        rows = _sizes_of_shares(n[1] * n[2], n[5])
        vectors = [n[3]]
    elif record.kernel == "winograd_weight_sums":
        rows = _sizes_of_shares(n[12], n[5])
        vectors = [n[3]]
    else:
        of_rows = (n[2], n[28]) if record.kernel == "conv_tiles" else (n[18],)
        rows = [size for count in of_rows for _, size in pieces_of(count, n[5])]
        vectors = [size for _, size in pieces_of(-(-n[4] // lanes), n[3])]
    return {(each, wide) for each in rows for wide in vectors}


def _sizes_of_shares(count: int, most: int) -> list[int]:
    """Sizes of the fewest nearly equal shares, none above ``most``."""
    shares = -(-count // most)
    return [count // shares, -(-count // shares)]


def tiles_of(record: Record) -> int:
    """Return the address of the table of a record's tiles, compiled now if need be; 0 for none."""
    kind = _KINDS.get(record.kernel)
    if kind is None:
        return 0
    table = _table(kind, record.dtype, target().vector_bytes)
    for rows, vectors in _sizes(record, target().lanes(record.dtype)):
        if not table[vectors, rows]:

            def compile_now(name: str, rows: int = rows, vectors: int = vectors) -> Compiled:
                from fastconv.backends.numba.tile_functions import compile_tile

                return compile_tile(kind, rows, vectors, record.dtype, name)

            size = f"{rows}x{vectors}_{record.dtype}_{target().vector_bytes}"
            table[vectors, rows] = address_of_function(f"tile_{kind}_{size}", compile_now)
    return int(table.ctypes.data)
