"""Memory that a thread keeps from one call to the next.

Fresh memory costs more than what is done with it: the system clears every page of it first, and
none of it is in a cache.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

_MOST_KEPT_BYTES = 64 << 20
"""Most bytes that a thread keeps; larger memory is given back after the call."""

_kept = threading.local()


def kept_memory() -> NDArray[np.uint8] | None:
    """Return what this thread keeps, if anything; it is the caller's, as of :func:`take_memory`."""
    memory: NDArray[np.uint8] | None = _kept.__dict__.pop("memory", None)
    return memory


def take_memory(size: int) -> NDArray[np.uint8]:
    """Return at least ``size`` bytes, with anything in them.

    They are the caller's until they are handed to :func:`keep_memory`, so that a call that
    interrupts another one gets memory of its own.
    """
    memory = kept_memory()
    return np.empty(size, np.uint8) if memory is None or memory.size < size else memory


def keep_memory(memory: NDArray[np.uint8]) -> None:
    """Keep memory for the next call of this thread; no array in it may be in use any more."""
    if memory.size <= _MOST_KEPT_BYTES:
        _kept.memory = memory
