"""Memory that a thread keeps from one call to the next.

Fresh memory costs more than what is done with it: the system clears every page of it first, and
none of it is in a cache.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ALIGNMENT = 64
"""Bytes of a cache line, and of the widest vector."""
_MOST_KEPT_BYTES = 16 << 20
"""What a thread keeps; larger memory is given back after the call."""

_kept = threading.local()


def _rounded(size: int) -> int:
    return size + -size % _ALIGNMENT


def take_memory(size: int) -> NDArray[np.uint8]:
    """Return at least ``size`` bytes that begin at a cache line, with anything in them.

    They are the caller's until they are handed to :func:`keep_memory`, so that a call that
    interrupts another one gets memory of its own.
    """
    memory: NDArray[np.uint8] | None = _kept.__dict__.pop("memory", None)
    if memory is None or memory.size < size:
        memory = np.empty(size + _ALIGNMENT, np.uint8)
        memory = memory[-memory.ctypes.data % _ALIGNMENT :]
    return memory


def keep_memory(memory: NDArray[np.uint8]) -> None:
    """Keep memory for the next call of this thread; no array in it may be in use any more."""
    if memory.size <= _MOST_KEPT_BYTES:
        _kept.memory = memory


def bytes_of(shapes: Iterable[Sequence[int]], itemsize: int) -> int:
    """Bytes of memory that :func:`cut` needs for arrays of these shapes."""
    return sum([_rounded(math.prod(shape) * itemsize) for shape in shapes])


def cut(
    memory: NDArray[np.uint8], shapes: Iterable[Sequence[int]], dtype: np.dtype[Any]
) -> list[NDArray[Any]]:
    """Cut arrays off memory, each from a cache line on; the last one is what is left, in bytes."""
    arrays: list[NDArray[Any]] = []
    start, itemsize = 0, dtype.itemsize
    for shape in shapes:
        arrays.append(np.ndarray(shape, dtype, memory.data, start))
        start += _rounded(math.prod(shape) * itemsize)
    return [*arrays, memory[start:]]
