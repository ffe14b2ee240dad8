"""One call of a native kernel as plain data, and as a row of 64 integers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WORDS = 64
PARTS, BARRIER, TILES = 1, 2, 3
POINTERS, INTEGERS, REALS = 4, 16, 48
"""Where things stand in a row."""

MOST_POINTERS = INTEGERS - POINTERS
MOST_INTEGERS = REALS - INTEGERS
MOST_REALS = WORDS - REALS

_BYTES_WITH_MASKS = 32
_FEW_SUMS = 2
"""Vectors from which there are masked loads, and vectors of sums that are few, as in ``gemm.h``."""

WORKSPACE = -1
"""Number of the workspace among a kernel's arguments."""


@dataclass(frozen=True, slots=True)
class Target:
    """The instruction set that records are made for.

    Parameters
    ----------
    name
        Such as "avx512".
    vector_bytes
        Bytes of a vector register; 0 where there are no vectors.
    registers
        Number of vector registers.
    masks
        Whether a load of some lanes costs no more than one of all.
    """

    name: str
    vector_bytes: int
    registers: int
    masks: bool = False

    def reads_parts(self, sums: int) -> bool:
        """Whether tiles of so many vectors of sums read weights that end within a vector.

        With AVX2, the mask takes a register and the load a little longer: only tiles of few sums,
        which wait for memory anyway, do so.
        """
        return self.masks or (self.vector_bytes >= _BYTES_WITH_MASKS and sums <= _FEW_SUMS)

    def lanes(self, dtype: str) -> int:
        """Elements of a vector."""
        return max(1, self.vector_bytes // np.dtype(dtype).itemsize)


def choose_target(found: Sequence[Target]) -> Target:
    """Return the first of those that work here, or the one that FASTCONV_ISA names.

    Raises
    ------
    ValueError
        If FASTCONV_ISA names another one.
    """
    wanted = os.environ.get("FASTCONV_ISA")
    if not wanted:
        return found[0]
    for each in found:
        if each.name == wanted:
            return each
    raise ValueError(
        f"FASTCONV_ISA is {wanted!r}; expected one of {', '.join(each.name for each in found)}, "
        f"which this processor has"
    )


class Pointer(NamedTuple):
    """An address: the argument of a kernel (0 is the first array; WORKSPACE), and bytes into it."""

    argument: int
    offset: int = 0

    def skip(self, size: int) -> Pointer:
        """Return the address so many bytes further on."""
        return Pointer(self.argument, self.offset + size)


@dataclass(frozen=True, slots=True)
class Record:
    """One call of a native kernel.

    Parameters
    ----------
    kernel
        Its name in the engine.
    dtype
        "float32" or "float64": which of its two versions.
    pointers
        Its arrays; None is the null pointer.
    integers, reals
        Its numbers.
    parts
        How many threads find work in it, at most.
    barrier
        Whether all threads wait for each other behind it.
    """

    kernel: str
    dtype: str
    pointers: tuple[Pointer | None, ...]
    integers: tuple[int, ...] = ()
    reals: tuple[float, ...] = ()
    parts: int = 1
    barrier: bool = True

    def __post_init__(self) -> None:
        for what, count, most in (
            ("pointers", len(self.pointers), MOST_POINTERS),
            ("integers", len(self.integers), MOST_INTEGERS),
            ("reals", len(self.reals), MOST_REALS),
        ):
            if count > most:
                raise ValueError(f"{self.kernel}: {count} {what}; a record holds {most}")


@dataclass(frozen=True, slots=True)
class Launch:
    """What one kernel of the contract becomes: records, and the workspace that they share.

    Parameters
    ----------
    records
        In the order in which they run.
    workspace_bytes
        Bytes of workspace.
    """

    records: tuple[Record, ...]
    workspace_bytes: int = 0


def rows_of(
    records: Sequence[Record],
    address_of: Callable[[str, str], int],
    tiles_of: Callable[[Record], int] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return records as rows, with the places where addresses of arrays belong.

    Parameters
    ----------
    records
        The records.
    address_of
        Gives the address of a compiled kernel by its name and dtype.
    tiles_of
        Gives the address of the functions that a record's kernel calls, where an engine compiles
        them for the record.

    Returns
    -------
    rows
        int64 (records, 64), with 0 for the addresses of arrays.
    places
        int64 (pointers, 4): row, word, number of the argument, offset in bytes.
    """
    rows = np.zeros((len(records), WORDS), np.int64)
    places: list[tuple[int, int, int, int]] = []
    for number, (row, record) in enumerate(zip(rows, records, strict=True)):
        row[0] = address_of(record.kernel, record.dtype)
        row[PARTS] = max(1, record.parts)
        row[BARRIER] = record.barrier
        row[TILES] = 0 if tiles_of is None else tiles_of(record)
        row[INTEGERS : INTEGERS + len(record.integers)] = record.integers
        row[REALS : REALS + len(record.reals)].view(np.float64)[:] = record.reals
        for word, pointer in enumerate(record.pointers):
            if pointer is not None:
                places.append((number, POINTERS + word, pointer.argument, pointer.offset))
    return rows, np.array(places, np.int64).reshape(-1, 4)
