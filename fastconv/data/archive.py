"""Reading named files out of a folder or a .tar.gz, one at a time and in memory."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from fastconv.data.errors import DataError

_LARGEST = 2**28
"""Bytes; a file of a data set that claims more is not one (CIFAR-100's have up to 155 MB)."""

_CHUNK = 2**20
_HONEST_BYTES, _HONEST_RATIO = 2**26, 16
"""What an archive may unpack to: so much at least, or so many times its own size."""
_LARGEST_HEADER = 2**24
"""Bytes of a name or other header, which tarfile reads at once."""


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Read a file to its end, never much at once."""
    while chunk := file.read(_CHUNK):
        yield chunk


class _BoundedStream:
    """An unpacked archive as tarfile reads it, unless it asks for too much at once, or in all."""

    def __init__(self, archive: Path, stream: gzip.GzipFile) -> None:
        self._archive, self._stream = archive, stream
        self._most = max(_HONEST_BYTES, _HONEST_RATIO * archive.stat().st_size)
        self.tell = stream.tell

    def seek(self, place: int) -> int:
        """Go to a place, for which all before it is unpacked."""
        if place > self._most:
            raise DataError(
                f"{self._archive}: the archive unpacks to more than {self._most} bytes, "
                f"{_HONEST_RATIO} times its own size; expected fewer; delete it and download it "
                f"again, or unpack it if you trust it"
            )
        return self._stream.seek(place)

    def read_to_end(self) -> None:
        """Read all that is left, at the end of which is the checksum."""
        while self._stream.read(_CHUNK):
            self.seek(self.tell())

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes."""
        if not 0 <= size <= _LARGEST_HEADER:
            raise DataError(
                f"{self._archive}: the header of a member has {size} bytes; expected at most "
                f"{_LARGEST_HEADER}; delete the archive and download it again"
            )
        self.seek(self.tell())
        return self._stream.read(size)


def read_files(folder: Path, names: set[str]) -> Iterator[tuple[str, str, bytes]]:
    """Read files of a folder; those that are not there are left out.

    Parameters
    ----------
    folder
        Where to look; folders within it are not searched.
    names
        Files to read.

    Yields
    ------
    name, source, content
        ``source`` names the file in error messages.

    Raises
    ------
    DataError
        If a file cannot be read, or is too large to be of a data set.
    """
    for name in sorted(names):
        file = folder / name
        if not file.is_file():
            continue
        try:
            _require_size(str(file), file.stat().st_size)
            content = file.read_bytes()
        except OSError as error:
            raise DataError(
                f"{file}: the file cannot be read ({error.strerror}); correct its permissions, or "
                f"delete it and download it again"
            ) from error
        yield name, str(file), content


def read_members(archive: Path, names: set[str]) -> Iterator[tuple[str, str, bytes]]:
    """Read members of a .tar.gz in one pass, without unpacking anything to disk.

    Parameters
    ----------
    archive
        The file.
    names
        Base names of the regular files to read, in whatever folder of the archive they are; all
        else is passed over.

    Yields
    ------
    name, source, content
        In the order of the archive. ``source`` names the member in error messages.

    Raises
    ------
    DataError
        If the archive is truncated or damaged. It is read to its end, where its checksum is, even
        when every name was found before.
    """
    try:
        with (
            gzip.open(archive) as unpacked,
            tarfile.open(
                fileobj=cast("IO[bytes]", stream := _BoundedStream(archive, unpacked)), mode="r:"
            ) as members,
        ):
            for member in members:
                name = PurePosixPath(member.name).name
                if name not in names or not member.isreg() or member.issparse():
                    continue
                source = f"{archive} ({name})"
                _require_size(source, member.size)
                file = members.extractfile(member)
                if file is not None:
                    yield name, source, b"".join(_chunks(file))
            stream.read_to_end()
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise DataError(
            f"{archive}: the archive is truncated or damaged ({error}); delete it and download it "
            f"again"
        ) from error
    except OSError as error:
        raise DataError(
            f"{archive}: the archive cannot be read ({error.strerror or error}); correct its "
            f"permissions, or delete it and download it again"
        ) from error


def _require_size(source: str, size: int) -> None:
    if size > _LARGEST:
        raise DataError(
            f"{source}: the file has {size} bytes; expected at most {_LARGEST}; delete it and "
            f"download it again"
        )
