"""Number of threads of the compiled backends."""

from __future__ import annotations

import operator
import os


def available_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _of_openmp() -> int | None:
    """Return OMP_NUM_THREADS where it is set: so joblib and others tell each of their workers."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) >= 1 else None


_told = _of_openmp()
"""As :func:`set_threads` was told, or the environment of this process when it began."""
_is_set = False


def set_threads(threads: int | None) -> None:
    """Set the number of threads that work is split into from now on, in this process.

    It goes before ``FASTCONV_THREADS``, and behind an argument ``threads``. What was made before,
    such as a trainer, keeps its own.

    Parameters
    ----------
    threads
        1 or more; None goes back to the environment: ``FASTCONV_THREADS``, else
        ``OMP_NUM_THREADS``, else the cores of this process.

    Raises
    ------
    ValueError
        If it is no such number.

    Examples
    --------
    >>> import fastconv
    >>> fastconv.set_threads(1)
    >>> fastconv.ExecutionConfig(backend="numpy").threads
    1
    >>> fastconv.set_threads(None)
    """
    global _told, _is_set
    if threads is None:
        _told, _is_set = _of_openmp(), False
        return
    try:
        number = 0 if isinstance(threads, bool) else operator.index(threads)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(
            f"set_threads: threads is {threads!r}; expected an integer of 1 or more, or None for "
            f"all {available_cores()} cores"
        )
    _told, _is_set = number, True


def default_threads() -> int:
    """Return the number of threads, as :func:`set_threads` or the environment say.

    Raises
    ------
    ValueError
        If FASTCONV_THREADS is not a number of 1 or more.
    """
    if _is_set and _told:
        return _told
    wanted = os.environ.get("FASTCONV_THREADS")
    if not wanted:
        return _told or available_cores()
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ValueError(f"FASTCONV_THREADS is {wanted!r}; expected a number of 1 or more")
    return int(wanted)
