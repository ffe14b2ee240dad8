"""One call of a native kernel as plain data, and encoded as 64 integers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.instructions.layout import (
    BARRIER,
    CONDITION,
    INTEGERS,
    KERNEL,
    MAX_THREADS,
    POINTERS,
    REALS,
    TILE_TABLE,
    WORDS,
)
from fastconv.backends.compiled.instructions.layouts import LAYOUTS

_BYTES_WITH_MASKS = 32
_FEW_SUMS = 2
"""Vectors from which there are masked loads, and vectors of sums that are few, as in ``gemm.h``."""

WORKSPACE = -1
"""Number of the workspace among a kernel's arguments."""


@dataclass(frozen=True, slots=True)
class Target:
    """The instruction set that kernels are lowered for.

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


def arrays(*names: str) -> dict[str, Any]:
    """Return fields that point to the first arguments of a kernel of the contract, by their names.

    Examples
    --------
    >>> arrays("x", "y")
    {'x': Pointer(argument=0, offset=0), 'y': Pointer(argument=1, offset=0)}
    """
    return {name: Pointer(number) for number, name in enumerate(names)}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One call of a native kernel; :meth:`of` makes it.

    Parameters
    ----------
    kernel
        The kernel.
    dtype
        "float32" or "float64": which of its two versions.
    pointers
        Its arrays, a named tuple by the kernel's layout; None is the null pointer.
    integers, reals
        Its numbers, likewise.
    max_threads
        How many threads find work in it, at most.
    barrier
        Whether all threads wait for each other behind it.
    condition
        16 words: it runs only where one of them is not 0; None: it runs.
    """

    kernel: Kernel
    dtype: str
    pointers: Any
    integers: Any = ()
    reals: Any = ()
    max_threads: int = 1
    barrier: bool = True
    condition: Pointer | None = None

    @classmethod
    def of(
        cls,
        kernel: Kernel,
        dtype: str,
        *,
        max_threads: int = 1,
        barrier: bool = True,
        **fields: Any,
    ) -> Instruction:
        """Make an instruction of fields by name.

        Parameters
        ----------
        kernel, dtype, max_threads, barrier
            As above.
        fields
            Every field of the kernel's layout; a pointer that may be null can be left out.

        Raises
        ------
        TypeError
            If a name is no field of the kernel, or a field is left out.
        ValueError
            If a size is negative, or a pointer None that must not be.
        """
        pointers, integers, reals = LAYOUTS[kernel].arrange(fields)
        return cls(kernel, dtype, pointers, integers, reals, max_threads, barrier)

    def with_fields(self, **fields: Any) -> Instruction:
        """Return the instruction with other values of some fields.

        Raises
        ------
        TypeError, ValueError
            As :meth:`of`.
        """
        own = self.pointers._asdict() | self.integers._asdict() | self.reals._asdict()
        pointers, integers, reals = LAYOUTS[self.kernel].arrange(own | fields)
        return replace(self, pointers=pointers, integers=integers, reals=reals)

    def with_pointers(self, moved: Callable[[Pointer], Pointer | None]) -> Instruction:
        """Return the instruction with each of its pointers moved."""
        pointers = type(self.pointers)._make(
            None if pointer is None else moved(pointer) for pointer in self.pointers
        )
        condition = None if self.condition is None else moved(self.condition)
        return replace(self, pointers=pointers, condition=condition)

    def points_to(self, argument: int | None) -> bool:
        """Whether a pointer is into this argument."""
        return any(
            p is not None and p.argument == argument for p in (*self.pointers, self.condition)
        )


@dataclass(frozen=True, slots=True)
class LoweredKernel:
    """One kernel of the contract as instructions, and the workspace that they share.

    Parameters
    ----------
    instructions
        In the order in which they run.
    workspace_bytes
        Bytes of workspace.
    """

    instructions: tuple[Instruction, ...]
    workspace_bytes: int = 0


def encode(
    instructions: Sequence[Instruction],
    address_of: Callable[[str, str], int],
    tiles_of: Callable[[Instruction], int] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return an instruction stream, and the relocations: where addresses of arrays belong in it.

    Parameters
    ----------
    instructions
        The instructions.
    address_of
        Gives the address of a compiled kernel by its name and dtype.
    tiles_of
        Gives the address of the functions that an instruction's kernel calls, where an engine
        compiles them for the instruction.

    Returns
    -------
    stream
        int64 (instructions, 64), with 0 for the addresses of arrays.
    relocations
        int64 (pointers, 4): instruction, word, number of the argument, offset in bytes.
    """
    stream = np.zeros((len(instructions), WORDS), np.int64)
    relocations: list[tuple[int, int, int, int]] = []
    for number, (words, instruction) in enumerate(zip(stream, instructions, strict=True)):
        integers, reals = instruction.integers, instruction.reals
        words[KERNEL] = address_of(instruction.kernel, instruction.dtype)
        words[MAX_THREADS] = max(1, instruction.max_threads)
        words[BARRIER] = instruction.barrier
        words[TILE_TABLE] = 0 if tiles_of is None else tiles_of(instruction)
        words[INTEGERS : INTEGERS + len(integers)] = integers
        words[REALS : REALS + len(reals)].view(np.float64)[:] = reals
        for word, pointer in enumerate(instruction.pointers, POINTERS):
            if pointer is not None:
                relocations.append((number, word, pointer.argument, pointer.offset))
        if instruction.condition is not None:
            relocations.append((number, CONDITION, *instruction.condition))
    return stream, np.array(relocations, np.int64).reshape(-1, 4)
