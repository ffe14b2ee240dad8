"""Standard output and standard error as commands need them: any text, and readers that leave."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator

_NEVER_FAIL = ("backslashreplace", "ignore", "namereplace", "replace", "xmlcharrefreplace")
"""Ways to treat characters that an encoding lacks which do not raise."""


@contextlib.contextmanager
def any_text() -> Iterator[None]:
    """Within the block, stdout and stderr take any text.

    What their encoding lacks, such as a name in Chinese under cp1252 or a file's name that is no
    text, is written as an escape, as Python itself does on stderr. A way of the user's own that
    does not fail (``PYTHONIOENCODING=ascii:replace``) stays.
    """
    changed = []
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors not in _NEVER_FAIL:
            changed.append((stream, stream.errors))
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in changed:
            with contextlib.suppress(OSError, ValueError):  # its reader is gone, or it is closed
                stream.reconfigure(errors=errors)


def flush() -> None:
    """Write what waits in the buffers of stdout and stderr.

    Raises
    ------
    OSError
        If it cannot be written: BrokenPipeError where nobody reads any more.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()


def discard() -> None:
    """Drop what cannot be written, so that Python does not complain about it when it ends."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None or stream.closed:
            continue
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
