"""Writing files so that nothing is ever half written, and their names as text."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fastconv._extras import missing_extra


@contextlib.contextmanager
def replace_file(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file that takes the place of ``path`` when the block ends without an error.

    Parameters
    ----------
    path
        The file to write.
    mode
        "w" (UTF-8) or "wb".
    """
    target = Path(path)
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, mode, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; give this one the permissions of an ordinary one.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


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
