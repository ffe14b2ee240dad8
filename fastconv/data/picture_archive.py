"""Pictures in a zip archive: read one by one where they are, and never unpacked to the disk."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from fastconv._files import as_text
from fastconv.data.errors import DataError, MissingData
from fastconv.data.own_options import OwnOptions
from fastconv.data.picture_folder import ENDINGS, Found, is_hidden, picture_source
from fastconv.data.source import PART_ALIASES, Source

_LARGEST = 2**26
"""Bytes; a member that claims more is no picture for a network."""
_ENCRYPTED = 1
"""Bit of a member's flags."""


@dataclass(frozen=True)
class ZippedPicture:
    """A picture in an archive, as those that read pictures take it.

    Parameters
    ----------
    archive
        The file.
    path
        Its path within.
    content
        Reads it.
    """

    archive: Path
    path: str
    content: Callable[[], bytes] = field(compare=False, repr=False)

    @property
    def name(self) -> str:
        """Name without the folders."""
        return PurePosixPath(self.path).name

    def __str__(self) -> str:
        return f"{self.archive} ({self.path})"

    def read(self) -> bytes:
        """Return its bytes.

        Raises
        ------
        OSError
            If the archive is damaged there, or the member is larger than it claims.
        """
        try:
            return self.content()
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as f:
            raise OSError(f"damaged in the archive: {f}") from None


def picture_archive(path: Path, options: OwnOptions) -> Source:
    """Find the pictures of a zip archive; only its table of contents is read.

    Parameters
    ----------
    path
        The archive. Within, perhaps in one folder around all, it is laid out as a folder of
        pictures is: see :func:`fastconv.data.picture_folder.picture_folder`.
    options
        How the pictures are to be read.

    Raises
    ------
    DataError
        If it is no such archive, it is laid out otherwise, or a member is encrypted or claims to be
        too large.
    MissingData
        If there are no pictures in it.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as fault:
        raise DataError(f"{path}: is no zip archive, or damaged ({fault}); save it again") from None
    pictures: list[tuple[tuple[str, ...], ZippedPicture]] = []
    ignored: list[str] = []
    for member in sorted(archive.infolist(), key=lambda each: each.filename):
        parts = PurePosixPath(member.filename.replace("\\", "/")).parts
        if member.is_dir() or any(is_hidden(part) for part in parts):
            continue
        if PurePosixPath(parts[-1]).suffix.lower() not in ENDINGS:
            ignored.append(member.filename)
            continue
        _require_readable(path, member)
        picture = ZippedPicture(path, as_text(member.filename), _reader(archive, member))
        pictures.append((parts, picture))
    if not pictures:
        raise MissingData(
            f"{path}: there are no pictures in this archive; expected one folder of pictures for "
            f"each class in it"
        )
    found = _parts(path, pictures)
    return picture_source(path, "zip archive of pictures", found, ignored, options)


def _require_readable(path: Path, member: zipfile.ZipInfo) -> None:
    if member.flag_bits & _ENCRYPTED:
        raise DataError(
            f"{path} ({member.filename}): is encrypted; save the archive without a password"
        )
    if member.file_size > _LARGEST:
        raise DataError(
            f"{path} ({member.filename}): claims to have {member.file_size} bytes; expected at "
            f"most {_LARGEST}; make the picture smaller, or take it out"
        )


def _reader(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[], bytes]:
    def content() -> bytes:
        with archive.open(member) as file:
            # One more than it claims, so that a lie is noticed, and no more.
            found = file.read(member.file_size + 1)
        if len(found) != member.file_size:
            raise zipfile.BadZipFile(f"expected {member.file_size} bytes, found others")
        return found

    return content


def _parts(path: Path, pictures: list[tuple[tuple[str, ...], ZippedPicture]]) -> dict[str, Found]:
    """Tell parts and classes by the folders within."""
    while len({parts[0] for parts, _ in pictures}) == 1 and all(len(p) > 2 for p, _ in pictures):
        pictures = [(parts[1:], picture) for parts, picture in pictures]  # a folder around all
    tops = {parts[0]: PART_ALIASES.get(parts[0].lower()) for parts, _ in pictures}
    has_parts = all(tops.values()) and all(len(parts) > 2 for parts, _ in pictures)
    depth = 1 if has_parts else 0
    lists: dict[str, list[tuple[ZippedPicture, str, str]]] = {}
    for parts, picture in pictures:
        if len(parts) < depth + 2:
            raise DataError(
                f"{path}: {picture.path} lies in no folder of a class; expected one folder of "
                f"pictures for each class; move it there"
            )
        part = str(tops[parts[0]]) if has_parts else "training"
        entry = picture, as_text(parts[depth]), as_text("/".join(parts))
        lists.setdefault(part, []).append(entry)
    if "training" not in lists:
        raise DataError(
            f"{path}: there is no folder train beside {', '.join(sorted(tops))}; add one with a "
            f"folder for each class"
        )
    return {
        part: Found(
            tuple(picture for picture, _, _ in entries),
            tuple(owner for _, owner, _ in entries),
            tuple(name for _, _, name in entries),
        )
        for part, entries in lists.items()
    }  # fmt: skip
