"""How a product is shared out: which tiles, and in how many parts its sums are made."""

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

    Parameters
    ----------
    memory
        The workspace.
    counters
        int32 (ENOUGH_BLOCKS,), zeros. Only for launches one after the other on one stream.
    """

    memory: Any
    counters: Any


ENOUGH_BLOCKS = 256
"""Tiles that keep a large card busy: two for each of 128 multiprocessors. A constant, so that the
sums, and their bits, do not depend on the card."""
_LEAST_DEPTH = 64
"""Terms of a sum that are worth a part of their own."""


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
        partial = counters = None
        if parts > 1:
            is_counted = isinstance(workspace, CountedWorkspace)
            partial = workspace.memory if is_counted else workspace
            counters = workspace.counters if is_counted else None
        sums = (*sizes, parts, *more)
        launch(kernel, (tiles, self.groups * parts), (THREADS,), *sums, *reads, *stores, partial,
               counters,
               dtype=dtype, side=side)  # fmt: skip
        if parts > 1 and counters is None:
            launch(f"{kernel}_parts", (blocks_for(self.size),), (THREADS,), *sums, partial,
                   *stores, dtype=dtype)  # fmt: skip
