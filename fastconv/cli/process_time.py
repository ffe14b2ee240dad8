"""Age of this process."""

from __future__ import annotations

import os
import time

_IMPORTED = time.perf_counter()
_START_FIELD = 19
"""Field of /proc/self/stat behind the process's name: its start in ticks since the boot."""


def process_seconds() -> float:
    """Return the seconds since this process began; where the system is silent, since this import.

    Examples
    --------
    >>> process_seconds() > 0
    True
    """
    since_import = time.perf_counter() - _IMPORTED
    try:
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
            # The name may hold spaces and brackets.
            ticks = int(file.read().rpartition(")")[2].split()[_START_FIELD])
        begun = ticks / os.sysconf("SC_CLK_TCK")
        # Ticks are a hundredth of a second.
        return max(since_import, time.clock_gettime(time.CLOCK_BOOTTIME) - begun)
    except (OSError, ValueError, IndexError, AttributeError):
        return since_import
