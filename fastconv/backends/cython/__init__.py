"""Kernels in C, reached through Cython: thin Python over what ``kernels/cpu`` is compiled into.

``setup.py`` compiles ``kernels/cpu`` into the module ``_engine`` of this package: every kernel for
every instruction set, the best of which is chosen when it is first used. An install without a C
compiler succeeds all the same, without that module and with a file here that says why;
:func:`build_failure` reads it.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

_BUILD_FAILURE = Path(__file__).parent / "_build_failure.txt"
_REBUILD = (
    "install a C compiler (gcc or clang) and the Python headers, then install fastconv again "
    "with pip install -v --force-reinstall --no-deps --no-cache-dir"
)


def build_failure() -> str | None:
    """Why the compiled modules are absent, as the install recorded it in one line.

    Returns
    -------
    str or None
        None where the install recorded no failure.
    """
    try:
        return _BUILD_FAILURE.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def missing(module: str) -> ImportError:
    """Make the error for a compiled module that cannot be imported.

    Parameters
    ----------
    module
        Its name in this package, such as ``"_engine"``.

    Returns
    -------
    ImportError
        With the reason that the install recorded and the fix, in one line.

    Examples
    --------
    >>> "backends.cython._engine is missing" in str(missing("_engine"))
    True
    """
    reason = build_failure() or f"it is not in {_BUILD_FAILURE.parent}; {_REBUILD}"
    return ImportError(f"fastconv.backends.cython.{module} is missing: {reason}")


def unavailable_because() -> str | None:
    """Return why this backend cannot work here in one line, or None."""
    if importlib.util.find_spec(f"{__name__}._engine") is None:
        return str(missing("_engine"))
    try:
        importlib.import_module(f"{__name__}._engine")
    except ImportError as fault:
        return f"fastconv.backends.cython._engine does not load ({fault}); {_REBUILD}"
    return None


def description() -> str:
    """Return one line on what it runs on."""
    from fastconv.backends.compiled.threads import default_threads
    from fastconv.backends.cython import engine

    threads = default_threads()
    target = engine.target()
    name = target.name if target.bf16 == "float32" else f"{target.name} (bf16 by {target.bf16})"
    return f"C kernels, {name}, {threads} thread{'s' if threads > 1 else ''}"
