"""Available memory, asked before it is taken."""

from __future__ import annotations

import os
from pathlib import Path

from fastconv.data.errors import DataError

_LEAST = 2**28
"""Bytes that are never refused: where the system does not say, and as a floor."""


def available_memory() -> int | None:
    """Bytes that may be taken now; None where the system does not say.

    The least of what the system has, what the control group of a container leaves, and what a
    limit of this process (``ulimit -v``) does.
    """
    found = (_of_system(), _of_group(), _of_process())
    return min((each for each in found if each is not None), default=None)


def _of_group() -> int | None:
    folder = Path("/sys/fs/cgroup")
    try:
        most, used = (
            (folder / f"memory.{name}").read_text(encoding="ascii") for name in ("max", "current")
        )
        return max(0, int(most) - int(used))
    except (OSError, ValueError):  # no such group, or one without a limit: "max"
        return None


def _of_process() -> int | None:
    try:
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most == resource.RLIM_INFINITY:
            return None
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return max(0, most - pages * resource.getpagesize())
    except (ImportError, OSError, ValueError, IndexError):
        return None


def _of_system() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def require_memory(owner: str, size: int, fix: str) -> None:
    """Raise unless so many bytes are at most half of the memory that there is.

    Parameters
    ----------
    owner
        What they are for, such as the file.
    size
        Bytes.
    fix
        What to do where there are fewer.

    Raises
    ------
    DataError
        If there are fewer.
    """
    there = available_memory()
    if there is not None and size > max(_LEAST, there // 2):
        raise DataError(
            f"{owner}: would take {size / 2**30:.1f} GiB of memory; expected at most half of the "
            f"{there / 2**30:.1f} GiB that are free; {fix}"
        )
