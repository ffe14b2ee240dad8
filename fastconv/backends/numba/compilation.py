"""Compiling kernels, each when it is first needed, and keeping what was compiled on disk."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.resources
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numba import cfunc, config, njit, types

Real: TypeAlias = Any
"""np.float32 or np.float64: the element type that a kernel is compiled for."""
Kernel: TypeAlias = Callable[[int, int, int, int], None]
"""(address of the record, step, thread, threads)."""
Function = TypeVar("Function", bound=Callable[..., Any])

_WORD = types.int64
_KERNEL = types.void(_WORD, _WORD, _WORD, _WORD)
_OPTIONS = {
    "error_model": "numpy",
    "boundscheck": False,
    # NaN and infinities carry through, and sums keep their order.
    "fastmath": {"contract", "nsz"},
}

_INNER = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Python never calls what is part of a kernel."""

_makers: dict[str, Callable[[Real], Kernel]] = {}


def kernel(maker: Callable[[Real], Kernel]) -> Callable[[Real], Kernel]:
    """Name a function that makes a kernel for an element type; its name begins with ``_``."""
    _makers[maker.__name__.removeprefix("_")] = maker
    return maker


def inlined(function: Function) -> Function:
    """Let kernels call a function, which becomes part of each."""
    made: Function = njit(forceinline=True, **_INNER, **_OPTIONS)(function)
    return made


def part(function: Function) -> Function:
    """Let compiled functions call a function."""
    made: Function = njit(**_INNER, **_OPTIONS)(function)
    return made


@functools.cache
def sources_hash() -> str:
    """Return a hash of all that compiled code is made of.

    Numba asks whether the file of a function changed, not whether the files did whose functions it
    calls. So every compiled function has this hash in its name.
    """
    files = [*importlib.resources.files(__package__).iterdir()]
    native = importlib.resources.files("fastconv.native")
    files += [native / "record.py", native / "recorder.py"]
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        if file.name.endswith(".py"):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def _remove_stale_files() -> None:
    """Remove what the cache holds of other versions of these sources: nothing else ever would."""
    from numba.core.caching import FunctionCache

    name = re.compile(r".*_([0-9a-f]{16})-\d+\.py.*\.nb[ci]")
    with contextlib.suppress(OSError):
        for file in Path(FunctionCache(_remove_stale_files.__wrapped__).cache_path).iterdir():
            found = name.fullmatch(file.name)
            if found and found[1] != sources_hash():
                file.unlink(missing_ok=True)


_warned = False


def _warn(fault: Exception) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"Numba's cache cannot be used ({fault}), so that kernels are compiled anew in every "
            f"process; set NUMBA_CACHE_DIR to a folder that can be written",
            RuntimeWarning,
            stacklevel=4,
        )


def compile_function(function: Callable[..., Any], name: str, signature: Any) -> Any:
    """Compile a function to be called as one of C, or take it from the disk.

    Parameters
    ----------
    function
        A function that Numba understands.
    name
        What it is called in the cache: one name for each variant.
    signature
        Its types.

    Returns
    -------
    numba.core.ccallback.CFunc
        With its ``address``, and callable by ``ctypes`` without the interpreter's lock.

    Warns
    -----
    RuntimeWarning
        Once, if the cache on disk cannot be used.
    """
    # Variants of a function would share a file otherwise, where two processes that compile at the
    # same time can put one's code under the other's name.
    function.__qualname__ = f"{name}_{sources_hash()}"
    compiled = functools.partial(cfunc, signature, **_OPTIONS)
    try:
        made = compiled(cache=True)(function)
        if not made.cache_hits:
            _remove_stale_files()
        return made
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as fault:
        _warn(fault)
        return compiled(cache=False)(function)


_kept: list[Any] = []
"""What addresses point into: compiled code must outlive them."""


@functools.cache
def compile_kernel(name: str, dtype: str, vector_bytes: int) -> int:
    """Return the address of a kernel, or its number in plain Python where JIT is disabled.

    Parameters
    ----------
    name
        Of the kernel, as in its record.
    dtype
        "float32" or "float64".
    vector_bytes
        Width of the vectors in kernels that are written with vectors.
    """
    function = _makers[name](getattr(np, dtype))
    return keep_function(function, f"{name}_{dtype}_{vector_bytes}", _KERNEL)


def keep_function(function: Callable[..., Any], name: str, signature: Any) -> int:
    """Return the address of a function, or its number in plain Python where JIT is disabled.

    Parameters
    ----------
    function, name, signature
        As for :func:`compile_function`.
    """
    if config.DISABLE_JIT:
        _kept.append(function)
        return len(_kept)
    made = compile_function(function, name, signature)
    _kept.append(made)
    return int(made.address)


def python_function(number: int) -> Callable[..., None]:
    """Return a function that :func:`keep_function` left in plain Python."""
    found: Callable[..., None] = _kept[number - 1]
    return found


def has_kernel(name: str) -> bool:
    """Whether a module that was imported so far has a kernel."""
    return name in _makers
