"""Choosing the tile of the micro-kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastconv.backends.compiled.instructions.instruction import Target

_MOST_ROWS = {
    32: {1: 28, 2: 14, 3: 9, 4: 6, 8: 3},
    16: {1: 12, 2: 6, 3: 4, 4: 3, 8: 1},
}
"""Rows of the largest tile by registers and vectors: the sums and one value of A and of B must fit.
The engines have these tiles and all with fewer rows."""

_WIDTHS = (2, 1, 3, 4, 8)
_WIDEST_FIRST = (4, 2, 1, 3, 8)
"""Vectors of a tile, in the order in which equals are preferred. Wide tiles load least for a
product: some processors with NEON multiply four vectors a cycle and load three."""

_BYTES_OF_A_WAY = 4096
_ROWS_OF_A_SET = 6
"""Rows at multiples of this distance share one set of the first-level cache, which has eight lines
at least: so many rows stay there, beside what else is read."""
_FMA_LATENCY = 4
_FMAS_PER_CYCLE = 2
_LOADS_PER_CYCLE = 2


@dataclass(frozen=True, slots=True)
class RegisterTile:
    """Sums that stay in registers: ``rows`` times ``vectors``."""

    rows: int
    vectors: int


def most_rows(target: Target, vectors: int) -> int:
    """Rows of the largest tile that is this many vectors wide."""
    return _MOST_ROWS[32 if target.registers >= 32 else 16][vectors]


def _cycles(rows: int, vectors: int) -> float:
    """Cycles of one step of depth, by whatever limits it."""
    return max(rows * vectors / _FMAS_PER_CYCLE, _FMA_LATENCY, (rows + vectors) / _LOADS_PER_CYCLE)


def pieces_of(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield (how many, of which size) for ``count`` things cut into pieces of ``size``."""
    if count // size:
        yield count // size, size
    if count % size:
        yield 1, count % size


def even_part(count: int, most: int) -> int:
    """Return the size of the largest of the fewest nearly equal parts, none above ``most``."""
    return -(-count // max(1, -(-count // most)))


def choose_tile(
    rows: int, columns: int, target: Target, dtype: str, *, even: bool = True, distance: int = 0
) -> RegisterTile:
    """Choose the tile for a product of ``rows`` times ``columns`` sums, by estimated cycles.

    Parameters
    ----------
    rows
        Sums along the side that is broadcast: output pixels of a row, or inputs of a weight.
    columns
        Sums along the side that is vectors: output channels.
    target, dtype
        They give the lanes of a vector and the number of registers.
    even
        Cut the rows into tiles of nearly the same size.
    distance
        Bytes from what a row reads to what the next one does, where it is known.
    """
    vectors = -(-columns // target.lanes(dtype))
    best: tuple[float, RegisterTile] | None = None
    for wide in _WIDEST_FIRST if target.name == "neon" else _WIDTHS:
        most = most_rows(target, wide)
        # The last block is a tile of what is left: there are none of 5, 6 and 7 vectors.
        if wide > max(1, vectors) or vectors % wide not in (0, *_MOST_ROWS[32]):
            continue
        tall = min(max(1, rows), most)
        if distance and distance % _BYTES_OF_A_WAY == 0:
            tall = min(tall, _ROWS_OF_A_SET)
        if even:
            tall = max(1, even_part(rows, tall))
        cycles = sum(
            down * across * _cycles(tile_rows, tile_vectors)
            for down, tile_rows in pieces_of(rows, tall)
            for across, tile_vectors in pieces_of(vectors, wide)
        )
        if best is None or cycles < 0.98 * best[0]:
            best = cycles, RegisterTile(tall, wide)
    assert best is not None
    return best[1]
