"""Tiles: functions of their own, which kernels call by address, each compiled when it is needed.

An instruction's tile and what is left at the edges have a few sizes, of the hundred or so that
there are. They stand in a table by vectors and rows, one for each kind of tile and type; its
address is in the instruction.
"""

from __future__ import annotations

from fastconv.backends.compiled.instructions.instruction import Instruction
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.tiles import pieces_of
from fastconv.backends.numba.compiled_code import Compiled, address_of_function
from fastconv.backends.numba.instruction_set import target
from fastconv.backends.numba.tile_table import MOST_VECTORS, table_of

_KINDS = {
    Kernel.CONV_TILES: "deep",
    Kernel.CONV_WEIGHT_TILES: "wide",
    Kernel.IM2COL_TILES: "deep",
    Kernel.WINOGRAD_TILES: "deep",
    Kernel.WINOGRAD_WEIGHT_SUMS: "wide",
    Kernel.POOLED_WEIGHT_TILES: "pooled",
    Kernel.BATCH_BLOCKED_TILES: "batch_blocked",
    Kernel.BATCH_BLOCKED_WEIGHT_TILES: "moments",
}
"""Kinds of tiles that kernels call; those of one kind and size are the same function."""


def _sizes(instruction: Instruction, lanes: int) -> set[tuple[int, int]]:
    """Rows and vectors of the tiles that an instruction needs.

    Tiles of batch-blocked images have pixels, or inputs, for rows and outputs for vectors.
    """
    n = instruction.integers
    if instruction.kernel == Kernel.POOLED_WEIGHT_TILES:
        rows = [size for _, size in pieces_of(n.taps_down, n.tile_rows)]
        vectors = [size for _, size in pieces_of(n.vectors, MOST_VECTORS)]
    elif instruction.kernel == Kernel.BATCH_BLOCKED_TILES:
        rows = [size for _, size in pieces_of(n.columns, n.tile_pixels)]
        vectors = [size for _, size in pieces_of(n.outputs, n.tile_outputs)]
    elif instruction.kernel == Kernel.BATCH_BLOCKED_WEIGHT_TILES:
        rows = [size for _, size in pieces_of(n.depth, n.tile_inputs)]
        vectors = [size for _, size in pieces_of(n.outputs, n.tile_outputs)]
        if instruction.pointers.db is not None:
            rows.append(1)  # the gradient of the bias
    elif instruction.kernel == Kernel.IM2COL_TILES:
        rows = [
            size
            for _, part in pieces_of(n.outputs, n.outputs_together)
            for _, size in pieces_of(part, n.tile_rows)
        ]
        vectors = [size for _, size in pieces_of(-(-n.rows * n.columns // lanes), n.vectors)]
    elif instruction.kernel == Kernel.WINOGRAD_TILES:
        rows = _sizes_of_shares(n.samples * n.tile_rows * n.tiles, n.together)
        vectors = [n.vectors]
    elif instruction.kernel == Kernel.WINOGRAD_WEIGHT_SUMS:
        rows = _sizes_of_shares(n.inputs, n.tile_inputs)
        vectors = [n.vectors]
    else:
        is_product = instruction.kernel == Kernel.CONV_TILES
        of_rows = (n.columns, n.last_columns) if is_product else (n.depth,)
        rows = [size for count in of_rows for _, size in pieces_of(count, n.tile_rows)]
        vectors = [size for _, size in pieces_of(-(-n.outputs // lanes), n.vectors)]
    return {(each, wide) for each in rows for wide in vectors}


def _sizes_of_shares(count: int, most: int) -> list[int]:
    """Sizes of the fewest nearly equal shares, none above ``most``."""
    shares = -(-count // most)
    return [count // shares, -(-count // shares)]


def tiles_of(instruction: Instruction) -> int:
    """Return the address of the table of tiles, compiled now if need be; 0 for none."""
    kind = _KINDS.get(instruction.kernel)
    if kind is None:
        return 0
    table = table_of(kind, instruction.dtype, target().vector_bytes)
    for rows, vectors in _sizes(instruction, target().lanes(instruction.dtype)):
        if not table[vectors, rows]:

            def compile_now(name: str, rows: int = rows, vectors: int = vectors) -> Compiled:
                from fastconv.backends.numba.tile_functions import compile_tile

                return compile_tile(kind, rows, vectors, instruction.dtype, name)

            size = f"{rows}x{vectors}_{instruction.dtype}_{target().vector_bytes}"
            table[vectors, rows] = address_of_function(f"tile_{kind}_{size}", compile_now)
    return int(table.ctypes.data)
