"""Arrays of plans where the host computes: they are the host's own, as they lie."""

from __future__ import annotations

import numpy as np

IS_ON_HOST = True
"""Whether plans use the host's arrays where they lie."""


def to_device(array: np.ndarray) -> np.ndarray:
    """Return the array where this backend computes: here it is already."""
    return array


def to_host(array: np.ndarray) -> np.ndarray:
    """Return the array as a NumPy array: here it is one already."""
    return array


def write(array: np.ndarray, target: np.ndarray) -> None:
    """Write an array of the host over one where this backend computes.

    Parameters
    ----------
    array
        Numbers that the target's dtype need not hold: they are rounded, or infinite.
    target
        As :func:`to_device` returned it, of the array's shape.
    """
    if array.dtype == target.dtype:
        target[...] = array
    else:
        with np.errstate(over="ignore"):
            target[...] = array
