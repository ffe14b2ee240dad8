"""Writing files so that nothing is ever half written, and their names as text."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fastconv._extras import missing_extra

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]


_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")
"""Names of the files that wait to take the place of others."""
_SECONDS_FOR_A_READER = 5.0


@contextlib.contextmanager
def replace_file(
    path: str | Path, mode: str = "w", *, follows_links: bool = False
) -> Iterator[IO[Any]]:
    """Open a temporary file that takes the place of ``path`` when the block ends without an error.

    Then it is on the disk, under its name, and a crash of the machine does not take it away. A
    file that is replaced keeps its mode.

    Parameters
    ----------
    path
        The file to write.
    mode
        "w" (UTF-8) or "wb".
    follows_links
        For a path that was typed: a link still leads where it led, and what is no plain file, such
        as a device or a FIFO, is written to as it is. In folders of ours links are replaced, for
        nobody knows where they lead.
    """
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    target = Path(os.path.realpath(path)) if follows_links else Path(path)
    try:
        permissions: int | None = os.lstat(target).st_mode
    except FileNotFoundError:
        permissions = None
    if permissions is not None and not stat.S_ISREG(permissions):
        if follows_links:
            with os.fdopen(_open_special(target), mode, encoding=encoding, newline=newline) as file:
                yield file
            return
        permissions = None
    handle, temporary = _open_temporary(target)
    try:
        with os.fdopen(handle, mode, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            if permissions is not None:
                os.chmod(temporary, stat.S_IMODE(permissions))
            os.fsync(file.fileno())
            if fcntl is not None:  # before it is closed, and with that unlocked
                os.replace(temporary, target)
        if fcntl is None:
            os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(target.parent)


def _open_special(path: Path) -> int:
    """Open what is no plain file for writing; who reads a FIFO has some seconds to begin."""
    give_up = time.monotonic() + _SECONDS_FOR_A_READER
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0))
        except OSError as fault:
            if fault.errno != errno.ENXIO or time.monotonic() >= give_up:
                raise
            time.sleep(0.05)
        else:
            os.set_blocking(handle, True)
            return handle


def _open_temporary(target: Path) -> tuple[int, str]:
    """Open a new file beside a target, locked for as long as this process has it open."""
    while True:
        name = os.path.join(target.parent, f".{target.name}.{os.urandom(6).hex()}.tmp")
        # The mode of an ordinary file; the system takes from it what the umask says.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        handle = os.open(name, flags, 0o666)
        if _lock(handle, waits=True) and not _is_there(name, handle):
            # Somebody took it for left behind, between its making and its lock.
            os.close(handle)
            continue
        return handle, name


def _lock(handle: int, *, waits: bool) -> bool:
    """Lock an open file; False where another has it, or where files have no such locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _is_there(name: str, handle: int) -> bool:
    """Whether a name still leads to an open file."""
    try:
        return os.path.samestat(os.lstat(name), os.fstat(handle))
    except FileNotFoundError:
        return False


def sync_folder(folder: str | Path) -> None:
    """Bring the names in a folder to the disk, where the system has such a thing."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_left_behind(folder: str | Path) -> int:
    """Remove what processes that were killed in :func:`replace_file` left, and return how many.

    The file of a process that still writes is locked, and stays.

    Parameters
    ----------
    folder
        Where to look; not in the folders within.
    """
    removed = 0
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            if _TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    removed += _remove_unlocked(entry.path)
    return removed


def _remove_unlocked(name: str) -> bool:
    handle = os.open(name, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        if not _lock(handle, waits=False):
            return False
        os.unlink(name)
        return True
    finally:
        os.close(handle)


def lock_folder(folder: str | Path) -> int | None:
    """Open a folder and lock it, and return the open handle; None where others hold the lock.

    It ends when the handle is closed, or with this process, however that ends. Some network file
    systems have no such locks: there nobody is kept out.

    Parameters
    ----------
    folder
        Nothing is written to it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError:
        pass
    return handle


@contextlib.contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Make a temporary folder that takes the place of ``path`` when the block ends without error.

    Parameters
    ----------
    path
        The folder to make, with those above it; an older one is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f"{path.name}."))
    try:
        # mkdtemp makes private folders; others may read this one.
        temporary.chmod(0o755)
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_toml(table: dict[str, Any], path: str | Path) -> None:
    """Write a table as TOML in place of ``path``, by way of a temporary file.

    Parameters
    ----------
    table
        What TOML can hold.
    path
        The file to write.
    """
    try:
        import tomli_w
    except ModuleNotFoundError as fault:
        raise missing_extra(str(path), fault) from None
    with replace_file(path, "wb") as file:
        tomli_w.dump(table, file)


def as_text(name: str) -> str:
    r"""Return the name of a file, or what was typed, as text that every file can hold.

    Parameters
    ----------
    name
        As Python has it: bytes that the locale's encoding lacks are lone surrogates in it. They
        are read as UTF-8; what is not even that becomes escapes.

    Examples
    --------
    >>> as_text("caf\udcc3\udca9"), as_text("caf\udce9")
    ('café', 'caf\\xe9')
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
