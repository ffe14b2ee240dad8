"""Finding what a kernel of the contract becomes."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastconv.backends.compiled.instructions.builder import ALIGNMENT
from fastconv.backends.compiled.instructions.instruction import LoweredKernel, Target
from fastconv.backends.compiled.instructions.layout import MOST_POINTERS

Made = TypeVar("Made")

_MOST_ENTRIES = 1024
_MOST_BYTES = 2**26


def cached_by_bytes(
    bytes_of: Callable[[Any], int],
) -> Callable[[Callable[..., Made]], functools._lru_cache_wrapper[Made]]:
    """Keep what a function makes, as long as all of it is no more than 64 MiB.

    A call of a convolution with a large stride has many instructions: a count of entries says
    nothing of their memory. All are dropped at once, so that a hit costs what it costs
    ``functools.lru_cache``.

    Parameters
    ----------
    bytes_of
        Gives the bytes of what was made, about.

    Examples
    --------
    >>> @cached_by_bytes(len)
    ... def zeros(size):
    ...     return bytes(size)
    >>> zeros(3) is zeros(3)
    True
    """

    def decorate(make: Callable[..., Made]) -> functools._lru_cache_wrapper[Made]:
        total = 0

        @functools.lru_cache(maxsize=_MOST_ENTRIES)
        def kept(*key: Any) -> Made:
            nonlocal total
            made = make(*key)
            size = bytes_of(made)
            total += size
            if total > _MOST_BYTES:
                kept.cache_clear()
                total = size
            return made

        functools.update_wrapper(kept, make)
        return kept

    return decorate


_INSTRUCTION_BYTES = 2048
"""Of an instruction as an object, with its fields, about."""


@cached_by_bytes(lambda lowered: _INSTRUCTION_BYTES * len(lowered.instructions))
def lower_kernel(
    kernel: str, spec: Any, types: tuple[str | None, ...], target: Target
) -> LoweredKernel:
    """Return the instructions of one kernel of the contract.

    Parameters
    ----------
    kernel
        ``module.function``, as in a plan.
    spec
        Its spec.
    types
        Names of the dtypes of its arrays, without the workspace; None where an array is None.
    target
        The instruction set.
    """
    module, _, function = kernel.partition(".")
    make = getattr(importlib.import_module(f"fastconv.backends.compiled.rules.{module}"), function)
    lowered: LoweredKernel = make(spec, types, target)
    return lowered


@functools.cache
def name_of(dtype: np.dtype[Any]) -> str:
    """Return the name of a dtype, which NumPy makes again each time it is asked."""
    return dtype.name


def with_room(size: int) -> int:
    """Return bytes that hold a workspace of ``size`` wherever they begin.

    The engine starts the workspace at a cache line, which may be a few bytes into the array.
    """
    return size + ALIGNMENT if size else 0


def workspace_of(kernel: str, spec: Any, dtype: str, target: Target) -> int:
    """Return the bytes of workspace of a kernel of the contract, all of its arrays given."""
    return with_room(lower_kernel(kernel, spec, (dtype,) * MOST_POINTERS, target).workspace_bytes)
