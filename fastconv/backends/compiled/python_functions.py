"""Python functions of one number as native loops, which engines call by their address.

Numba compiles them; nothing else here needs it.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._extras import missing_extra


@functools.cache
def _loop(
    name: str, function: Callable[..., float], constants: tuple[float, ...], dtype: str,
    multiplies: bool,
) -> tuple[int, Any]:  # fmt: skip
    """The address of a loop, and what must be kept as long as it is used."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return _loop_in_python(function, constants, dtype, multiplies)
    try:
        import numba
    except ModuleNotFoundError as fault:
        raise missing_extra("Elementwise on a compiled backend", fault) from None
    inner = numba.njit(error_model="numpy")(getattr(function, "py_func", function))

    def value(dy: Any, x: Any, y: Any, size: int) -> None:
        for i in range(size):
            y[i] = inner(x[i], *constants)

    def product(dy: Any, x: Any, y: Any, size: int) -> None:
        for i in range(size):
            y[i] = dy[i] * inner(x[i], *constants)

    array = numba.types.CPointer(getattr(numba.types, dtype))
    signature = numba.types.void(array, array, array, numba.types.int64)
    try:
        made = numba.cfunc(signature, error_model="numpy")(product if multiplies else value)
    except Exception as fault:  # NumbaError, or whatever its analysis met
        called = getattr(function, "__name__", repr(function))
        raise ValueError(
            f"Elementwise: {name} {called!r} cannot be compiled ({_reason(fault)}); use "
            f"arithmetic, comparisons and functions of math, or backend='numpy'"
        ) from None
    return made.address, made


def _reason(fault: Exception) -> str:
    """The line of Numba's message that says most."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    telling = ("Untyped global", "Unknown attribute", "No implementation", "Invalid use", "Cannot")
    return next((line for line in lines if line.startswith(telling)), lines[0])


def _loop_in_python(
    function: Callable[..., float], constants: tuple[float, ...], dtype: str, multiplies: bool
) -> tuple[int, Any]:
    """The same without a compiler, where kernels run as plain Python too."""

    def elements(address: int, size: int) -> NDArray[Any]:
        memory: Any = (ctypes.c_char * (size * np.dtype(dtype).itemsize)).from_address(address)
        return np.frombuffer(memory, dtype)

    def loop(dy: int, x: int, y: int, size: int) -> None:
        results = elements(y, size)
        factors = elements(dy, size) if multiplies else None
        for i, each in enumerate(elements(x, size)):
            result = function(each, *constants)
            results[i] = result if factors is None else factors[i] * result

    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 4)
    callback = kind(loop)
    return ctypes.cast(callback, ctypes.c_void_p).value or 0, callback


def address_of_loop(
    name: str,
    function: Callable[..., float],
    constants: tuple[float, ...],
    dtype: str,
    *,
    multiplies: bool,
) -> int:
    """Return the address of a loop ``(dy, x, y, size)`` over a Python function.

    Parameters
    ----------
    name
        What the function is called where it was given.
    function
        (x, *constants) -> number, of what Numba compiles.
    constants
        Constants of the compiled code.
    dtype
        "float32" or "float64".
    multiplies
        Whether y is dy times the function of x; else dy is not looked at.

    Raises
    ------
    ImportError
        If Numba is not installed.
    ValueError
        If it cannot compile the function.
    """
    return _loop(name, function, constants, dtype, multiplies)[0]
