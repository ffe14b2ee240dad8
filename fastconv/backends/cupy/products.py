"""Division of a product: which tiles, in how many parts its sums are made, how precise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.backends.cupy.launches import THREADS, blocks_for, check_size, launch
from fastconv.backends.cupy.sources import SIDES


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


ENOUGH_BLOCKS = 256
"""Tiles that keep a large card busy: two for each of 128 multiprocessors. A constant, so that the
sums, and their bits, do not depend on the card."""
_LEAST_DEPTH = 64
"""Terms of a sum that are worth a part of their own."""
_TENSOR_CORES = {"tf32": (16, 8, 8), "bf16": (16, 8, 16)}
"""Rows, columns and depth of what a tensor core multiplies at a time."""


def memory_of(workspace: Any) -> Any:
    """Return the memory of a workspace, whether it has counters or is an array."""
    return workspace.memory if isinstance(workspace, CountedWorkspace) else workspace


@dataclass(frozen=True, slots=True)
class Product:
    """A product of matrices of (rows, depth) and (depth, columns) in each of ``groups``.

    Examples
    --------
    >>> Product(1024, 32, 288).side, Product(1024, 32, 288).parts
    (32, 4)
    >>> Product(131072, 64, 288).side, Product(131072, 64, 288).parts
    (64, 1)
    """

    rows: int
    columns: int
    depth: int
    groups: int = 1

    def _tiles(self, side: int) -> int:
        return math.ceil(self.rows / side) * math.ceil(self.columns / side) * self.groups

    @property
    def side(self) -> int:
        """Rows and columns of a tile: large ones where there are enough of them."""
        small, large = SIDES
        return large if self.columns > small and self._tiles(large) >= ENOUGH_BLOCKS else small

    @property
    def parts(self) -> int:
        """Blocks that share the sums of a tile: several where there are few tiles."""
        wanted = math.ceil(ENOUGH_BLOCKS / max(1, self._tiles(self.side)))
        return max(1, min(wanted, self.depth // _LEAST_DEPTH))

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
        return 0 if self.parts == 1 else self.parts * self.size * np.dtype(dtype).itemsize

    def run(
        self,
        kernel: str,
        sizes: tuple[int, ...],
        reads: tuple[Any, ...],
        stores: tuple[Any, ...],
        workspace: Any,
        dtype: Any,
        more: tuple[Any, ...] = (),
    ) -> None:
        """Launch the kernel, and the one that adds up its parts where it cannot itself.

        Parameters
        ----------
        kernel
            Its arguments are ``sizes``, the number of parts, ``more``, ``reads``, ``stores``, the
            sums of the parts and the counters; those of its companion ``_parts`` are ``sizes``,
            the number of parts, ``more``, their sums and ``stores``.
        workspace
            An array of ``workspace_bytes``, or a :class:`CountedWorkspace`.
        """
        if self.size == 0:
            return
        check_size(kernel, result=self.size, **{"a part of the sums": self.parts * self.size})
        side, parts = self.side, self.parts
        tiles = self._tiles(side) // self.groups
        partial, counters, precision = memory_of(workspace), None, "float32"
        if isinstance(workspace, CountedWorkspace):
            counters = workspace.counters
            precision = self.precision(workspace.precision)
        if parts == 1:
            partial = counters = None
        sums = (*sizes, parts, *more)
        launch(kernel, (tiles, self.groups * parts), (THREADS,), *sums, *reads, *stores, partial,
               counters,
               dtype=dtype, side=side, precision=precision)  # fmt: skip
        if parts > 1 and counters is None:
            launch(f"{kernel}_parts", (blocks_for(self.size),), (THREADS,), *sums, partial,
                   *stores, dtype=dtype)  # fmt: skip
