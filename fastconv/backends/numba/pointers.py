"""Memory by its address, inside kernels: what a C kernel writes as pointers.

Every function here has two meanings: LLVM instructions, which Numba puts into a kernel, and plain
Python, which runs where NUMBA_DISABLE_JIT is set, so that a debugger or a coverage tool sees each
line of a kernel. Nothing is checked.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from llvmlite import ir
from numba import config, types
from numba.extending import intrinsic

from fastconv.backends.numba.numba_internals import cgutils

Function = TypeVar("Function", bound=Callable[..., Any])
Instructions = Callable[[Any, Any, Any, Any], Any]
"""Writes a call: (context, builder, signature, values) -> value."""

WORD = ir.IntType(64)
_BLOCK = 1024
_ALIGNMENT = 64


def compiled_as(emitter: Callable[..., Any], **options: bool) -> Callable[[Function], Function]:
    """Let kernels use a Python function as the LLVM instructions of ``emitter``.

    Parameters
    ----------
    emitter
        An intrinsic's body as Numba defines it: takes the typing context and the types of the
        arguments, returns the signature and what writes the instructions.
    options
        Of Numba's ``intrinsic``.
    """

    def decorate(function: Function) -> Function:
        if config.DISABLE_JIT:
            return function
        emitter.__name__ = function.__name__
        made: Function = intrinsic(**options)(emitter) if options else intrinsic(emitter)
        return made

    return decorate


def load_word(builder: Any, address: Any, number: Any) -> Any:
    """Write instructions that load 64-bit word ``number`` behind an address."""
    place = builder.add(address, builder.mul(number, WORD(8)))
    return builder.load(builder.inttoptr(place, WORD.as_pointer()))


class Pointer:
    """A pointer in plain Python: indexed as in a kernel, one element at a time."""

    __slots__ = ("address", "dtype", "owner")

    def __init__(self, address: int, dtype: Any, owner: Any = None) -> None:
        self.address = int(address)
        self.dtype = np.dtype(dtype)
        self.owner = owner  # of the memory, where nobody else keeps it

    def _element(self, index: int) -> np.ndarray:
        size = self.dtype.itemsize
        place = (ctypes.c_char * size).from_address(self.address + int(index) * size)
        return np.frombuffer(place, self.dtype)

    def elements(self, count: int) -> np.ndarray:
        """The first elements as an array."""
        place = (ctypes.c_char * (count * self.dtype.itemsize)).from_address(self.address)
        return np.frombuffer(place, self.dtype)

    def __bool__(self) -> bool:
        return self.address != 0

    def __getitem__(self, index: int) -> Any:
        return self._element(index)[0]

    def __setitem__(self, index: int, value: Any) -> None:
        self._element(index)[0] = value


def _pointer(_: Any, address: Any, dtype: Any) -> tuple[Any, Instructions]:
    made = types.CPointer(dtype.instance_type)

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], context.get_value_type(made))

    return made(types.int64, dtype), write


@compiled_as(_pointer)
def pointer(address: int, dtype: Any) -> Any:
    """Elements of ``dtype`` from an address on: ``pointer(address, np.float32)[i]``."""
    return Pointer(address, dtype)


def _offset(_: Any, start: Any, elements: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.gep(values[0], [values[1]])

    return start(start, types.int64), write


@compiled_as(_offset)
def offset(start: Any, elements: int) -> Any:
    """The pointer ``elements`` elements behind another."""
    return Pointer(start.address + elements * start.dtype.itemsize, start.dtype, start.owner)


def _address_at(_: Any, start: Any, elements: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.ptrtoint(builder.gep(values[0], [values[1]]), WORD)

    return types.int64(start, types.int64), write


@compiled_as(_address_at)
def address_at(start: Any, elements: int) -> int:
    """The address ``elements`` elements behind a pointer."""
    return int(start.address + elements * start.dtype.itemsize)


def _is_null(_: Any, start: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.icmp_unsigned("==", builder.ptrtoint(values[0], WORD), WORD(0))

    return types.boolean(start), write


@compiled_as(_is_null)
def is_null(start: Any) -> bool:
    """Whether a pointer is that of an argument which is None."""
    return not start


def _local(_: Any, elements: Any, dtype: Any) -> tuple[Any, Instructions]:
    made = types.CPointer(dtype.instance_type)

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = context.get_data_type(dtype.instance_type)
        # Not cgutils.alloca_once, which fills it with zeros: that takes time in every call, and
        # LLVM many seconds to compile.
        with builder.goto_entry_block():
            room = builder.alloca(ir.ArrayType(kind, elements.literal_value))
        # A whole vector may be stored from its beginning.
        room.align = _ALIGNMENT
        return builder.bitcast(room, kind.as_pointer())

    return made(elements, dtype), write


@compiled_as(_local, prefer_literal=True)
def local(elements: int, dtype: Any) -> Any:
    """Memory on the stack for a constant number of elements, uninitialised."""
    room = np.zeros(elements, dtype)
    return Pointer(room.ctypes.data, dtype, room)


def _first_of(_: Any, count: Any, thread: Any, threads: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.sdiv(builder.mul(values[0], values[1]), values[2])

    return types.int64(types.int64, types.int64, types.int64), write


@compiled_as(_first_of)
def first_of(count: int, thread: int, threads: int) -> int:
    """First of ``count`` pieces that a thread does; it ends where the next one begins."""
    return count * thread // threads


def _first_in_blocks(_: Any, size: Any, thread: Any, threads: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        size, thread, threads = values
        block = WORD(_BLOCK)
        blocks = builder.sdiv(builder.add(size, WORD(_BLOCK - 1)), block)
        first = builder.mul(block, builder.sdiv(builder.mul(blocks, thread), threads))
        return builder.select(builder.icmp_signed("<", first, size), first, size)

    return types.int64(types.int64, types.int64, types.int64), write


@compiled_as(_first_in_blocks)
def first_in_blocks(size: int, thread: int, threads: int) -> int:
    """First of ``size`` elements that a thread does, in blocks: no two write to a cache line."""
    return min(size, _BLOCK * (-(-size // _BLOCK) * thread // threads))


# Memory as a whole.


def _copy(
    _: Any, to: Any, at: Any, source: Any, first: Any, count: Any
) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        to, at, source, first, count = values
        size = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
        places = builder.gep(to, [at]), builder.gep(source, [first])
        cgutils.raw_memcpy(builder, *places, count, size)
        return context.get_dummy_value()

    return types.none(to, types.int64, source, types.int64, types.int64), write


@compiled_as(_copy)
def copy(to: Any, at: int, source: Any, first: int, count: int) -> None:
    """``count`` elements of ``source`` from ``first`` on to ``to``; they do not overlap."""
    ctypes.memmove(offset(to, at).address, offset(source, first).address, count * to.dtype.itemsize)


def _clear(_: Any, to: Any, first: Any, count: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        to, first, count = values
        size = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
        bytes_ = builder.mul(count, WORD(size))
        cgutils.memset(builder, builder.gep(to, [first]), bytes_, 0)
        return context.get_dummy_value()

    return types.none(to, types.int64, types.int64), write


@compiled_as(_clear)
def clear(to: Any, first: int, count: int) -> None:
    """Zeros in ``count`` elements from ``first`` on."""
    ctypes.memset(offset(to, first).address, 0, count * to.dtype.itemsize)
