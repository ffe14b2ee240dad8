"""Division of a product: which tiles, in how many parts its sums are made, how precise."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.backends.cupy.device import device
from fastconv.backends.cupy.launches import MOST_ROWS_OF_BLOCKS, blocks_for, check_size, launch
from fastconv.backends.cupy.launches import THREADS as ELEMENT_THREADS
from fastconv.backends.cupy.sources import TILES, WIDTHS, ProductCode


@dataclass(frozen=True, slots=True)
class CountedWorkspace:
    """A workspace with counters, which let the last block of a tile add up its parts.

    A runner gives it to the kernels of its plan, and with it how precise their products need be.

    Parameters
    ----------
    memory
        The workspace.
    counters
        int32 (ENOUGH_BLOCKS,), zeros. Only for launches one after the other on one stream.
    precision
        "float32", "tf32" or "bf16": what factors are rounded to where tensor cores multiply them.
    """

    memory: Any
    counters: Any
    precision: str = "float32"


THREADS = 128
"""Threads of a block that makes a tile, as in ``kernels/cuda/tiles.cuh``."""
_MULTIPROCESSORS = 132
"""Those of a large card: a constant, so that sums and their bits do not depend on the card."""
ENOUGH_BLOCKS = 4 * _MULTIPROCESSORS
"""Most blocks among which the sums of tiles are shared, and so most tiles that have a counter."""
_LEAST_DEPTH = 64
"""Terms of a sum that are worth a part of their own."""
_EFFICIENCY = {(32, 32): 0.45, (64, 32): 0.6, (128, 32): 0.75, (128, 64): 0.9}
"""What part of its multiply-adds a multiprocessor makes in tiles: small ones read more for each."""
_ALONE = 4 / 3
"""How many times as long as one of two blocks a block takes that has a multiprocessor to itself."""
_PART_CYCLES = 2000
"""Cycles that pass until a block knows that it is the last one of a tile."""
_GEMV_ROWS = 16
"""Rows below which a product of a matrix in memory is made without tiles."""
_GEMV_COLUMNS = 32
"""Columns of a block then, as in ``kernels/cuda/gemv.cuh``."""
_ALIGNMENT = 16
"""Bytes of what is loaded at once."""
_TENSOR_CORES = {"tf32": (16, 8, 8), "bf16": (16, 8, 16)}
"""Rows, columns and depth of what a tensor core multiplies at a time."""


def memory_of(workspace: Any) -> Any:
    """Return the memory of a workspace, whether it has counters or is an array."""
    return workspace.memory if isinstance(workspace, CountedWorkspace) else workspace


def _cycles(tiles: int, parts: int, depth: int, tile: tuple[int, int]) -> float:
    """Estimate the cycles of a product: blocks side by side, then the sums of their parts."""
    results = tile[0] * tile[1]
    together = max(math.ceil(tiles * parts / _MULTIPROCESSORS), _ALONE)
    cycles = together * math.ceil(depth / parts) * results / (128 * _EFFICIENCY[tile])
    if parts > 1:
        # 16 numbers a cycle come to a multiprocessor.
        cycles += _PART_CYCLES + math.ceil(tiles / _MULTIPROCESSORS) * parts * results / 16
    return cycles


@functools.cache
def division_of(
    rows: int, columns: int, depth: int, groups: int, dtype: str
) -> tuple[tuple[int, int], int]:
    """Choose rows and columns of a product's tiles, and in how many parts their sums are made.

    Both follow from the sizes alone.

    Examples
    --------
    >>> division_of(131072, 64, 288, 1, "float32")
    ((128, 64), 1)
    >>> division_of(1024, 32, 288, 1, "float32")
    ((32, 32), 4)
    """
    best, division = math.inf, (TILES[dtype][0], 1)
    for tile in TILES[dtype]:
        tiles = math.ceil(rows / tile[0]) * math.ceil(columns / tile[1]) * groups
        most = min(depth // _LEAST_DEPTH, ENOUGH_BLOCKS // max(1, tiles))
        for parts in range(1, max(1, most) + 1):
            cycles = _cycles(tiles, parts, depth, tile)
            if cycles < best:
                best, division = cycles, (tile, parts)
    return division


@dataclass(frozen=True, slots=True)
class Product:
    """A product of matrices of (rows, depth) and (depth, columns) in each of ``groups``.

    Parameters
    ----------
    has_gemv
        Whether there is a kernel of the same name and ``_gemv``, for few rows.

    Examples
    --------
    >>> product = Product(131072, 64, 288)
    >>> product.division("float32"), product.workspace_bytes("float32")
    (((128, 64), 1), 0)
    """

    rows: int
    columns: int
    depth: int
    groups: int = 1
    has_gemv: bool = False

    @property
    def is_gemv(self) -> bool:
        """Whether the kernel for few rows makes it."""
        return self.has_gemv and self.rows < _GEMV_ROWS

    def division(self, dtype: Any) -> tuple[tuple[int, int], int]:
        """Rows and columns of a tile, and the blocks that share the sums of one."""
        if self.is_gemv:
            blocks = math.ceil(self.columns / _GEMV_COLUMNS)
            most = min(self.depth // _LEAST_DEPTH, 2 * _MULTIPROCESSORS // max(1, blocks))
            return (self.rows, _GEMV_COLUMNS), max(1, most)
        sizes = self.rows, self.columns, self.depth, self.groups
        return division_of(*sizes, np.dtype(dtype).name)

    @property
    def size(self) -> int:
        """Elements of the result."""
        return self.rows * self.columns * self.groups

    def precision(self, wanted: str) -> str:
        """Return the precision asked for, or float32 where tensor cores take more at a time.

        Examples
        --------
        >>> Product(1024, 32, 9).precision("tf32"), Product(1024, 32, 9).precision("bf16")
        ('tf32', 'float32')
        """
        least = _TENSOR_CORES.get(wanted, (0, 0, 0))
        sizes = (self.rows, self.columns, self.depth)
        fills = all(size >= one for size, one in zip(sizes, least, strict=True))
        return wanted if fills else "float32"

    def workspace_bytes(self, dtype: Any) -> int:
        """Bytes for the sums of the parts."""
        _, parts = self.division(dtype)
        return 0 if parts == 1 else parts * self.size * np.dtype(dtype).itemsize

    def run(
        self,
        kernel: str,
        sizes: tuple[int, ...],
        reads: tuple[Any, ...],
        stores: tuple[Any, ...],
        workspace: Any,
        dtype: Any,
        more: tuple[Any, ...] = (),
        *,
        strides: tuple[int, ...] = (),
    ) -> None:
        """Launch the kernel, and the one that adds up its parts where it cannot itself.

        Parameters
        ----------
        kernel
            Its arguments, and those of its companion ``_gemv``, are ``sizes``, the number of parts,
            ``more``, ``reads``, ``stores``, the sums of the parts and the counters; those of its
            companion ``_parts`` are ``sizes``, the number of parts, ``more``, their sums and
            ``stores``.
        workspace
            An array of ``workspace_bytes``, or a :class:`CountedWorkspace`.
        strides
            Elements from one run of neighbours to the next, in all of ``reads``; lengths of runs
            among them. Where all are multiples of what can be loaded at once, that is done; none:
            what is read has no runs.

        Raises
        ------
        ValueError
            If the result is larger than 32-bit indices reach, or there are more groups than rows
            of a grid.
        """
        if self.size == 0:
            return
        (rows, columns), parts = self.division(dtype)
        check_size(kernel, result=self.size, **{"a part of the sums": parts * self.size})
        if self.groups * parts > MOST_ROWS_OF_BLOCKS:
            raise ValueError(
                f"{kernel}: groups is {self.groups}; the cupy backend takes up to "
                f"{MOST_ROWS_OF_BLOCKS // parts} of this size: use fewer groups"
            )
        tiles = math.ceil(self.rows / rows) * math.ceil(self.columns / columns)
        partial, counters, precision = memory_of(workspace), None, "float32"
        if isinstance(workspace, CountedWorkspace):
            counters = workspace.counters
            precision = self.precision(workspace.precision)
        if parts == 1:
            partial = counters = None
        sums = (*sizes, parts, *more)
        name, code = f"{kernel}_gemv", None
        if not self.is_gemv:
            name = kernel
            code = ProductCode((rows, columns), _width(dtype, strides, reads), precision)
        launch(name, (tiles, self.groups * parts), (THREADS,), *sums, *reads, *stores, partial,
               counters,
               dtype=dtype, product=code)  # fmt: skip
        if parts > 1 and counters is None:
            launch(f"{kernel}_parts", (blocks_for(self.size),), (ELEMENT_THREADS,), *sums, partial,
                   *stores, dtype=dtype)  # fmt: skip


def _width(dtype: Any, strides: tuple[int, ...], reads: tuple[Any, ...]) -> int:
    """Numbers that are loaded at once: many where runs of neighbours begin at multiples of them."""
    width = max(WIDTHS[np.dtype(dtype).name])
    are_runs = bool(strides) and all(stride % width == 0 for stride in strides)
    begin = (device().address_of(array) for array in reads)
    return width if are_runs and all(each % _ALIGNMENT == 0 for each in begin) else 1
