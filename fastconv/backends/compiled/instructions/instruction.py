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
    bf16
        What multiplies factors of bf16: "amx", "avx512_bf16", or "float32" where nothing else does.
    narrow
        The same with vectors of half the width, where a whole one takes this processor twice as
        long: what would leave half of a vector unused is lowered for it.
    is_narrow
        Whether this is such a one.
    """

    name: str
    vector_bytes: int
    registers: int
    masks: bool = False
    bf16: str = "float32"
    narrow: Target | None = None
    is_narrow: bool = False

    def reads_parts(self, sums: int) -> bool:
        """Whether tiles of so many vectors of sums read weights that end within a vector.

        With AVX2, the mask takes a register and the load a little longer: only tiles of few sums,
        which wait for memory anyway, do so.
        """
        return self.masks or (self.vector_bytes >= _BYTES_WITH_MASKS and sums <= _FEW_SUMS)

    def lanes(self, dtype: str) -> int:
        """Elements of a vector."""
        return max(1, self.vector_bytes // np.dtype(dtype).itemsize)

    def fitting(self, columns: int, dtype: str) -> Target:
        """Return the target whose vectors hold so many columns with less unused."""
        if self.narrow is None:
            return self
        ours, theirs = (
            -(-columns // lanes) * lanes for lanes in (self.lanes(dtype), self.narrow.lanes(dtype))
        )
        return self.narrow if theirs < ours else self


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


def choose_bf16(target: Target, found: Sequence[str]) -> str:
    """Return what multiplies factors of bf16: the best beside a target, or FASTCONV_BF16.

    Parameters
    ----------
    target
        The instruction set of all else.
    found
        Names of what works here, best first; they go with AVX-512.

    Raises
    ------
    ValueError
        If FASTCONV_BF16 names another one.
    """
    known = [*(found if target.name == "avx512" else ()), "float32"]
    wanted = os.environ.get("FASTCONV_BF16") or known[0]
    if wanted not in known:
        raise ValueError(
            f"FASTCONV_BF16 is {wanted!r}; expected one of {', '.join(known)}, which this "
            f"processor has with {target.name}"
        )
    return wanted


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
    is_narrow
        Whether its kernel is that of the target's ``narrow``.
    """

    kernel: Kernel
    dtype: str
    pointers: Any
    integers: Any = ()
    reals: Any = ()
    max_threads: int = 1
    barrier: bool = True
    condition: Pointer | None = None
    is_narrow: bool = False

    @classmethod
    def of(
        cls,
        kernel: Kernel,
        dtype: str,
        *,
        max_threads: int = 1,
        barrier: bool = True,
        is_narrow: bool = False,
        **fields: Any,
    ) -> Instruction:
        """Make an instruction of fields by name.

        Parameters
        ----------
        kernel, dtype, max_threads, barrier, is_narrow
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
        return cls(
            kernel, dtype, pointers, integers, reals, max_threads, barrier, is_narrow=is_narrow
        )  # fmt: skip

    def lanes(self, target: Target) -> int:
        """Elements of the vectors of its kernel."""
        own = target.narrow if self.is_narrow else target
        assert own is not None
        return own.lanes(self.dtype)

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
    address_of: Callable[..., int],
    tiles_of: Callable[[Instruction], int] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return an instruction stream, and the relocations: where addresses of arrays belong in it.

    Parameters
    ----------
    instructions
        The instructions.
    address_of
        Gives the address of a compiled kernel by its name and dtype, and ``is_narrow=True`` for
        that of narrow vectors.
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
        which = {"is_narrow": True} if instruction.is_narrow else {}
        words[KERNEL] = address_of(instruction.kernel, instruction.dtype, **which)
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
