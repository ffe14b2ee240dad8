"""Means of compiled functions to share work: atomic operations, and calls by address."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Any

from llvmlite import ir
from numba import types

from fastconv.backends.numba.pointers import WORD, Instructions, Pointer, compiled_as

_ALIGNMENT = 8
_WORD = types.int64


def _at(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, WORD.as_pointer())


def _atomic_load(_: Any, address: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load_atomic(_at(builder, values[0]), "acquire", _ALIGNMENT)

    return _WORD(_WORD), write


@compiled_as(_atomic_load)
def atomic_load(address: int) -> int:
    """Load a 64-bit word; what was written before its store is seen from here on."""
    return int(Pointer(address, "int64")[0])


def _atomic_store(_: Any, address: Any, value: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store_atomic(values[1], _at(builder, values[0]), "release", _ALIGNMENT)
        return context.get_dummy_value()

    return types.none(_WORD, _WORD), write


@compiled_as(_atomic_store)
def atomic_store(address: int, value: int) -> None:
    """Store a 64-bit word, so that who loads it sees what was written before."""
    Pointer(address, "int64")[0] = value


def _atomic_add(_: Any, address: Any, value: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.atomic_rmw("add", _at(builder, values[0]), values[1], "acq_rel")

    return _WORD(_WORD, _WORD), write


@compiled_as(_atomic_add)
def atomic_add(address: int, value: int) -> int:
    """Add to a 64-bit word; return what it was before."""
    before = atomic_load(address)
    atomic_store(address, before + value)
    return before


def _relax(_: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        nothing, module = ir.VoidType(), builder.module
        machine = platform.machine().lower()
        if machine in ("x86_64", "amd64"):
            pause = module.declare_intrinsic(
                "llvm.x86.sse2.pause", fnty=ir.FunctionType(nothing, ())
            )
            builder.call(pause, ())
        elif machine in ("aarch64", "arm64"):
            number = ir.IntType(32)
            kind = ir.FunctionType(nothing, (number,))
            hint = module.declare_intrinsic("llvm.aarch64.hint", fnty=kind)
            builder.call(hint, (number(1),))
        return context.get_dummy_value()

    return types.none(), write


@compiled_as(_relax)
def relax() -> None:
    """Tell the processor that this is a loop that waits."""


def _call_kernel(
    _: Any, function: Any, instruction: Any, step: Any, thread: Any, threads: Any
) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), (WORD,) * 4)
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return context.get_dummy_value()

    return types.none(_WORD, _WORD, _WORD, _WORD, _WORD), write


@compiled_as(_call_kernel)
def call_kernel(function: int, instruction: int, step: int, thread: int, threads: int) -> None:
    """Call a kernel by its address."""
    raise NotImplementedError("kernels have no address where NUMBA_DISABLE_JIT is set")


@compiled_as(_call_kernel)
def call_loop(function: int, dy: int, x: int, y: int, size: int) -> None:
    """Call a loop over elements by its address, with those of its arrays."""
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)(function)(dy, x, y, size)


# Functions of the C library. They are called by name and found again in every process: code that
# comes from the disk must not hold their addresses. All arguments are addresses or NULL.


def _of_the_c_library(name: str, *arguments: Any) -> Any:
    return types.ExternalFunction(name, types.int32(*arguments)) if os.name == "posix" else None


sched_yield = _of_the_c_library("sched_yield")
clock_gettime = _of_the_c_library("clock_gettime", types.int32, _WORD)
mutex_init = _of_the_c_library("pthread_mutex_init", _WORD, _WORD)
mutex_lock = _of_the_c_library("pthread_mutex_lock", _WORD)
mutex_unlock = _of_the_c_library("pthread_mutex_unlock", _WORD)
condition_init = _of_the_c_library("pthread_cond_init", _WORD, _WORD)
condition_wait = _of_the_c_library("pthread_cond_wait", _WORD, _WORD)
condition_broadcast = _of_the_c_library("pthread_cond_broadcast", _WORD)
