"""Compiling kernels, each when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numba import cfunc, config, njit, types

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.numba.compiled_code import Compiled, can_be_linked
from fastconv.backends.numba.fields import Fields, FieldsInPython, FieldsType
from fastconv.backends.numba.numba_internals import object_code_of, symbol_of

Real: TypeAlias = Any
"""np.float32 or np.float64: the element type that a kernel is compiled for."""
KernelFunction: TypeAlias = Callable[[Fields, int, int, int], None]
"""(instruction, step, thread, threads)."""
Function = TypeVar("Function", bound=Callable[..., Any])
Maker = TypeVar("Maker", bound=Callable[[Real], KernelFunction])

_WORD = types.int64
_OPTIONS = {
    "error_model": "numpy",
    "boundscheck": False,
    # NaN and infinities carry through, and sums keep their order.
    "fastmath": {"contract", "nsz"},
}

_INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Python never calls what is part of a kernel."""

_makers: dict[Kernel, Callable[[Real], KernelFunction]] = {}


def kernel(of: Kernel) -> Callable[[Maker], Maker]:
    """Register a function that makes a kernel for an element type."""

    def register(maker: Maker) -> Maker:
        _makers[of] = maker
        return maker

    return register


def inlined(function: Function) -> Function:
    """Let kernels call a function, which becomes part of each."""
    made: Function = njit(forceinline=True, **_INNER, **_OPTIONS)(function)
    return made


def part(function: Function) -> Function:
    """Let compiled functions call a function."""
    made: Function = njit(**_INNER, **_OPTIONS)(function)
    return made


_kept: list[Any] = []
"""Compiled functions that addresses point into: compiled code must outlive them."""


def compile_kernel(kernel: str, dtype: str, name: str) -> Compiled:
    """Compile a kernel of a module that was imported, for "float32" or "float64"."""
    made = _makers[Kernel(kernel)](getattr(np, dtype))
    if config.DISABLE_JIT:
        return compile_function(_in_python(made, Kernel(kernel)), name, None)
    return compile_function(made, name, types.void(FieldsType(Kernel(kernel)), _WORD, _WORD, _WORD))


def _in_python(function: KernelFunction, kernel: Kernel) -> Callable[..., None]:
    def run(address: int, step: int, thread: int, threads: int) -> None:
        function(FieldsInPython(kernel, address), step, thread, threads)

    return run


def compile_function(function: Callable[..., Any], name: str, signature: Any) -> Compiled:
    """Compile a function to be called as one of C; in plain Python, keep it as it is.

    Parameters
    ----------
    function
        A function that Numba understands.
    name
        A name that no other function has.
    signature
        Its types.
    """
    if config.DISABLE_JIT:
        _kept.append(function)
        return Compiled(len(_kept))
    # It becomes part of the symbol: no other object file may have the same one.
    function.__qualname__ = name
    made = cfunc(signature, **_OPTIONS)(function)
    _kept.append(made)
    return Compiled(int(made.address), symbol_of(made), _object_code(made))


def _object_code(made: Any) -> bytes:
    """Return the object file of a compiled function; nothing if it could not be linked again."""
    code, names = object_code_of(made)
    return code if can_be_linked(name for name in names if not name.startswith("llvm.")) else b""


def python_function(number: int) -> Callable[..., None]:
    """Return a function that :func:`compile_function` left in plain Python."""
    found: Callable[..., None] = _kept[number - 1]
    return found


def has_kernel(name: str) -> bool:
    """Whether a module that was imported so far has a kernel."""
    return Kernel(name) in _makers
