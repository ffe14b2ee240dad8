"""Public functions inside functions that Numba compiles: ``fastconv.conv2d`` in ``@njit``.

Importing this package is all that is needed; Numba does it by itself where fastconv is installed,
for it is registered as one of its extensions. Calls run the engine in C, without the GIL and
without Python but for the first time that a shape is met; results have the bits of the public
functions. ``docs/doors.md`` says what is taken.
"""

from __future__ import annotations

import operator

from fastconv._extras import missing_extra

try:
    from fastconv.interop.numba_overloads import activation as activation
    from fastconv.interop.numba_overloads import conv as conv
    from fastconv.interop.numba_overloads import dense as dense
    from fastconv.interop.numba_overloads import loss as loss
    from fastconv.interop.numba_overloads import pool as pool
    from fastconv.interop.numba_overloads.intrinsics import why_not
except ModuleNotFoundError as fault:
    raise missing_extra("fastconv.interop.numba_overloads", fault) from fault


def init() -> None:
    """Let compiled functions call public ones; Numba calls it before it compiles anything."""
    why_not()


def set_threads(threads: int) -> None:
    """Set on how many threads each call inside ``@njit`` runs from now on; at first it is 1.

    One thread for a call, and ``prange`` over calls, is what keeps all cores busy. How many there
    are never changes a result.

    Parameters
    ----------
    threads
        1 or more, for the whole process.

    Raises
    ------
    ValueError
        If it is no such number.
    ImportError
        If the kernels in C are missing.

    Examples
    --------
    >>> set_threads(0)
    Traceback (most recent call last):
    ValueError: set_threads: threads is 0; expected an integer of 1 or more
    """
    try:
        number = operator.index(threads)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"set_threads: threads is {threads!r}; expected an integer of 1 or more")
    from fastconv.backends.cython import engine

    engine.set_plan_threads(number)


init()  # functions that were kept on disk are not typed again: they need the engine at once
