"""Kernels compiled by Numba when first needed, which run the instructions of the C kernels.

Compiled code is kept on disk: NUMBA_CACHE_DIR says where, else it is beside these files or in the
user's cache folder. With NUMBA_DISABLE_JIT=1 every kernel runs as plain Python.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util


def unavailable_because() -> str | None:
    """Return why this backend cannot work here in one line, or None."""
    # Importing Numba takes half a second: it waits for the first kernel.
    if importlib.util.find_spec("numba") is None:
        return "Numba is not installed; pip install 'fastconv[numba]'"
    return None


def description() -> str:
    """Return one line on what it runs on."""
    from fastconv.backends.compiled.threads import default_threads
    from fastconv.backends.numba.instruction_set import target

    threads = default_threads()
    version = importlib.metadata.version("numba")
    return f"numba {version}, {target().name}, {threads} thread{'s' if threads > 1 else ''}"
