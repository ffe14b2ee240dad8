"""Cutting a workspace into arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

_ALIGNMENT = 64
"""Bytes: one cache line, and the widest vector."""


def size_of(shape: tuple[int, ...], dtype: Any) -> int:
    """Bytes that :class:`Carver` needs for one array, its alignment included."""
    count = 1
    for n in shape:
        count *= n
    size = count * int(np.dtype(dtype).itemsize)
    return -(-size // _ALIGNMENT) * _ALIGNMENT


class Carver:
    """Hands out consecutive, aligned arrays from one block of bytes.

    Parameters
    ----------
    workspace
        1-D uint8 array, or None: then every array is allocated, for callers outside a plan.
    """

    def __init__(self, workspace: np.ndarray | None) -> None:
        self._workspace = workspace
        self._offset = 0

    def take(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return an uninitialised C-contiguous array."""
        if self._workspace is None:
            return np.empty(shape, dtype)
        array = np.ndarray(shape, dtype, buffer=self._workspace, offset=self._offset)
        self._offset += size_of(shape, dtype)
        return array
