"""Tiles: functions of their own, which kernels call by address, each compiled when it is needed.

A record's tile and what is left at the edges have a few sizes, of the hundred or so that there
are. They stand in a table by vectors and rows, one for each kind of tile and type; its address is
in the record.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from fastconv.backends.numba.compilation import Real, inlined, keep_function, python_function
from fastconv.backends.numba.instruction_set import target
from fastconv.backends.numba.interleaved_instructions import (
    interleaved_moments,
    interleaved_product,
)
from fastconv.backends.numba.pointers import WORD, Instructions, compiled_as, pointer
from fastconv.backends.numba.pooled_instructions import pooled_product
from fastconv.backends.numba.tile_instructions import product
from fastconv.native.record import TILES, Record
from fastconv.native.tiles import pieces_of

_ROOM = 32
"""Places in a table for each number of vectors: more than a tile has rows."""
_MOST_VECTORS = 12


@functools.cache
def _table(kind: str, dtype: str, vector_bytes: int) -> NDArray[np.int64]:
    """Addresses by vectors and rows; they stay where they are as long as the process lives."""
    return np.zeros((_MOST_VECTORS + 1, _ROOM), np.int64)


def _deep(rows: int, vectors: int, real: Real) -> Callable[[int], None]:
    def tile(address: int) -> None:
        product(address, rows, vectors, 1, real)

    return tile


def _wide(rows: int, vectors: int, real: Real) -> Callable[[int], None]:
    def tile(address: int) -> None:
        product(address, rows, vectors, 0, real)

    return tile


def _pooled(rows: int, vectors: int, real: Real) -> Callable[[int], None]:
    def tile(address: int) -> None:
        pooled_product(address, rows, vectors, real)

    return tile


def _interleaved(pixels: int, outputs: int, real: Real) -> Callable[[int], None]:
    def tile(address: int) -> None:
        interleaved_product(address, pixels, outputs, real)

    return tile


def _moments(inputs: int, outputs: int, real: Real) -> Callable[[int], None]:
    def tile(address: int) -> None:
        interleaved_moments(address, inputs, outputs, real)

    return tile


_MAKERS = {
    "conv_tiles": _deep,
    "conv_weight_tiles": _wide,
    "winograd_tiles": _deep,
    "pooled_weight_tiles": _pooled,
    "interleaved_tiles": _interleaved,
    "interleaved_weight_tiles": _moments,
}
"""By the kernel that calls them."""


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
        rows = [size for _, size in pieces_of(n[2], n[5])]
        vectors = [n[3]]
    else:
        of_rows = (n[2], n[28]) if record.kernel == "conv_tiles" else (n[18],)
        rows = [size for count in of_rows for _, size in pieces_of(count, n[5])]
        vectors = [size for _, size in pieces_of(-(-n[4] // lanes), n[3])]
    return {(each, wide) for each in rows for wide in vectors}


def tiles_of(record: Record) -> int:
    """Return the address of the table of a record's tiles, compiled now if need be; 0 for none."""
    make = _MAKERS.get(record.kernel)
    if make is None:
        return 0
    table = _table(record.kernel, record.dtype, target().vector_bytes)
    real = getattr(np, record.dtype)
    for rows, vectors in _sizes(record, target().lanes(record.dtype)):
        if not table[vectors, rows]:
            size = f"{rows}x{vectors}_{record.dtype}_{target().vector_bytes}"
            name = f"{record.kernel}_{size}"
            table[vectors, rows] = keep_function(
                make(rows, vectors, real), name, types.void(types.int64)
            )
    return int(table.ctypes.data)


def _call(_: Any, function: Any, tile: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), (WORD,))
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.none(types.int64, types.int64), write


@compiled_as(_call)
def _call_tile(function: int, tile: int) -> None:
    python_function(function)(tile)


@inlined
def run_tile(record: int, rows: int, vectors: int, tile: int) -> None:
    """Compute the tile that stands at an address, with the function of a record."""
    table = pointer(pointer(record, np.int64)[TILES], np.int64)
    _call_tile(table[vectors * _ROOM + rows], tile)
