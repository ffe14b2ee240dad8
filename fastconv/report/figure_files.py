"""Pictures of a page as files, drawn by several processes side by side."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from fastconv.backends.configuration import configured_threads
from fastconv.report.drawing import Drawing

Task: TypeAlias = tuple[str, Drawing]
"""Path without suffix, and what is to be drawn there."""
_FEW = 6
"""Pictures for which it does not pay to start a process, which has to import matplotlib."""
_FIGURE = re.compile(r'<figure id="picture-([\w.-]+)">')
_CHILD = "from fastconv.report.figure_files import serve; serve()"


def save_drawings(tasks: Sequence[Task], formats: tuple[str, ...]) -> None:
    """Draw pictures with matplotlib and write them to files.

    Parameters
    ----------
    tasks
        The pictures.
    formats
        As for :func:`fastconv.plots.save`.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    shares = max(1, min(configured_threads(), len(tasks) // _FEW))
    # Neighbours are alike: dealt out in turn, each process has as much to do.
    children = [_start(tasks[n::shares], formats) for n in range(1, shares)]
    try:
        for path, drawing in tasks[::shares]:
            drawing.save(path, formats)
        for child in children:
            fault = _answer(child)
            if fault is not None:
                raise fault
    finally:
        for child in children:
            child.kill()
            child.wait()


def _start(tasks: Sequence[Task], formats: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Start a process that draws some pictures."""
    # From a file, so that nobody has to wait until the process reads.
    with tempfile.TemporaryFile() as request:
        pickle.dump((list(tasks), formats), request)
        request.seek(0)
        return subprocess.Popen(
            [sys.executable, "-c", _CHILD],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=request,
            stdout=subprocess.PIPE,
        )


def _answer(child: subprocess.Popen[bytes]) -> Exception | None:
    """Return what went wrong in a process, when it has ended."""
    answer = child.communicate()[0]
    if not answer:
        return OSError(f"a process that draws pictures ended with code {child.returncode}")
    fault: Exception | None = pickle.loads(answer)
    return fault


def serve() -> None:
    """Draw what stdin asks for, and answer on stdout: what a process started here does."""
    fault = None
    try:
        tasks, formats = pickle.load(sys.stdin.buffer)
        for path, drawing in tasks:
            drawing.save(path, formats)
    except Exception as raised:
        fault = raised
    sys.stdout.buffer.write(pickle.dumps(fault))


def pictures_on(page: Path) -> set[str]:
    """Return the names of the pictures on a page that is to be replaced; none where there is none.

    Parameters
    ----------
    page
        The HTML file.
    """
    try:
        return set(_FIGURE.findall(page.read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return set()


def remove_files_of(names: set[str], folder: Path, written: set[str]) -> None:
    """Remove files that an earlier page has left, and nothing that may be somebody else's.

    Parameters
    ----------
    names
        Of the pictures on the earlier page and on the new one.
    folder
        Of their files. Behind a link nothing is removed: who made it may keep other files there.
    written
        Names of the files that the new page has.
    """
    if folder.is_symlink():
        return
    for name in names:
        for suffix in (".png", ".svg", ".csv"):
            if f"{name}{suffix}" not in written:
                (folder / f"{name}{suffix}").unlink(missing_ok=True)
