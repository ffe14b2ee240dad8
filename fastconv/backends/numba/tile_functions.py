"""Tiles as functions, and calls of them by address (:mod:`fastconv.backends.numba.tiles`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from fastconv.backends.numba.batch_blocked_instructions import (
    batch_blocked_moments,
    batch_blocked_product,
)
from fastconv.backends.numba.compilation import Real, compile_function, inlined, python_function
from fastconv.backends.numba.compiled_code import Compiled
from fastconv.backends.numba.fields import Fields
from fastconv.backends.numba.pointers import WORD, Instructions, compiled_as, pointer
from fastconv.backends.numba.pooled_instructions import pooled_product
from fastconv.backends.numba.tile_instructions import product
from fastconv.backends.numba.tile_table import ROOM


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


def _batch_blocked(pixels: int, outputs: int, real: Real) -> Callable[[int], None]:
    def tile(address: int) -> None:
        batch_blocked_product(address, pixels, outputs, real)

    return tile


def _moments(inputs: int, outputs: int, real: Real) -> Callable[[int], None]:
    def tile(address: int) -> None:
        batch_blocked_moments(address, inputs, outputs, real)

    return tile


_MAKERS = {
    "deep": _deep,
    "wide": _wide,
    "pooled": _pooled,
    "batch_blocked": _batch_blocked,
    "moments": _moments,
}


def compile_tile(kind: str, rows: int, vectors: int, dtype: str, name: str) -> Compiled:
    """Compile a tile of a kind for "float32" or "float64"."""
    made = _MAKERS[kind](rows, vectors, getattr(np, dtype))
    return compile_function(made, name, types.void(types.int64))


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
def run_tile(n: Fields, rows: int, vectors: int, tile: int) -> None:
    """Compute the tile that stands at an address, with the function of the instruction ``n``."""
    table = pointer(n.tile_table, np.int64)
    _call_tile(table[vectors * ROOM + rows], tile)
