"""Number of threads of the compiled backends."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> int:
    """Return FASTCONV_THREADS where it is set, else the number of cores of this process.

    Raises
    ------
    ValueError
        If FASTCONV_THREADS is not a number of 1 or more.
    """
    wanted = os.environ.get("FASTCONV_THREADS")
    if not wanted:
        return available_cores()
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ValueError(f"FASTCONV_THREADS is {wanted!r}; expected a number of 1 or more")
    return int(wanted)
