"""A folder of pictures: one folder for each class, perhaps within one for each part."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastconv._files import as_text
from fastconv.data.errors import DataError, MissingData
from fastconv.data.own_options import OwnOptions
from fastconv.data.picture_rows import Picture, picture_rows
from fastconv.data.source import PART_ALIASES, Rows, Source

ENDINGS = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
)
"""Endings of the files that are taken for pictures."""


@dataclass(frozen=True)
class Found:
    """The pictures of one part, with their classes and their paths within it."""

    files: tuple[Picture, ...]
    classes: tuple[str, ...]
    names: tuple[str, ...]


def picture_folder(path: Path, options: OwnOptions) -> Source:
    """Find the pictures of a folder; their headers are looked at when they are read.

    Parameters
    ----------
    path
        Holds one folder for each class; or ``train``, and perhaps ``validation`` and ``test``,
        which do.
    options
        How the pictures are to be read.

    Raises
    ------
    DataError
        If it is laid out otherwise, or the folder of a class has no pictures.
    MissingData
        If there is nothing in it.
    """
    options.group_pattern()  # checks it
    folders = _folders(path)
    part_of = {folder: PART_ALIASES.get(folder.name.lower()) for folder in folders}
    _require_no_mixture(path, part_of)
    ignored: list[Path] = []
    if folders and all(part_of.values()):
        found: dict[str, Found] = {}
        for folder, part in part_of.items():
            if part in found:
                raise DataError(f"{path}: two folders are the {part} part; leave one of them")
            found[str(part)] = _part(folder, f"{folder.name}/", ignored)
        if "training" not in found:
            raise DataError(
                f"{path}: there is no folder train beside {', '.join(f.name for f in folders)}; "
                f"add one with a folder for each class"
            )
    else:
        found = {"training": _part(path, "", ignored)}

    return picture_source(path, "folder of pictures", found, ignored, options)


def picture_source(
    path: Path,
    kind: str,
    found: dict[str, Found],
    ignored: Sequence[Path | str],
    options: OwnOptions,
) -> Source:
    """Make a source of pictures that were found.

    Parameters
    ----------
    path, kind
        As of a :class:`fastconv.data.source.Source`.
    found
        The pictures of each part.
    ignored
        What is none by its name.
    options
        How the pictures are to be read.
    """
    pattern = options.group_pattern()

    def read(remarks: list[str]) -> dict[str, Rows]:
        if ignored:
            remarks.append(f"ignored as no pictures by their names: {_shown(ignored)}")
        return _read(path, found, options, pattern, remarks)

    pictures = tuple(file for part in found.values() for file in part.files)
    # All members of an archive depend on one file.
    files = tuple(dict.fromkeys(each if isinstance(each, Path) else path for each in pictures))
    return Source(path, kind, files, read, pictures=pictures)


def _require_no_mixture(path: Path, part_of: dict[Path, str | None]) -> None:
    """Raise where folders of parts lie beside others, which would make classes of them."""
    parts = [folder for folder, part in part_of.items() if part is not None]
    others = [folder for folder, part in part_of.items() if part is None]
    if parts and others and any(_folders(folder) for folder in parts):
        raise DataError(
            f"{path}: folder {others[0].name!r} lies beside {parts[0].name!r}, which holds the "
            f"classes of a part; expected train, validation and test alone; move it away"
        )


def _read(
    path: Path,
    found: dict[str, Found],
    options: OwnOptions,
    pattern: re.Pattern[str] | None,
    remarks: list[str],
) -> dict[str, Rows]:
    """Look at all headers at once, so that every part has the same shape."""
    files = [file for part in found.values() for file in part.files]
    rows, kept = picture_rows(path, files, options, remarks)
    start, position, parts = 0, 0, {}
    for name, part in found.items():
        end = start + len(part.files)
        # Both are in rising order.
        here = []
        while position < len(kept) and kept[position] < end:
            here.append(kept[position] - start)
            position += 1
        names = [part.names[index] for index in here]
        classes = [part.classes[index] for index in here]
        for lost in set(part.classes) - set(classes):
            raise DataError(
                f"{path}: no picture of class {lost!r} ({name} part) can be read; mend one, or "
                f"take the folder away"
            )
        groups = None
        if pattern is not None:
            groups = [_group(pattern, name_of, options) for name_of in names]
        images = rows.of([part.files[i] for i in here])
        parts[name] = Rows(images, np.array(classes, dtype=np.str_), names, groups)
        start = end
    return parts


def _shown(files: Sequence[Path | str], most: int = 3) -> str:
    names = ", ".join(map(str, files[:most]))
    return names + (f" and {len(files) - most} more files" if len(files) > most else "")


def _group(pattern: re.Pattern[str], name: str, options: OwnOptions) -> str:
    match = pattern.search(name.rsplit("/", 1)[-1])
    if match is None or match.group(1) is None:
        raise DataError(
            f"{name}: data.group, which is {options.group!r}, finds no group in this name; "
            f"correct the expression, or the name"
        )
    return str(match.group(1))


def _folders(path: Path) -> list[Path]:
    with os.scandir(path) as entries:
        names = sorted(e.name for e in entries if e.is_dir() and not is_hidden(e.name))
    return [path / name for name in names]


def is_hidden(name: str) -> bool:
    """Whether a file or a folder of this name is passed over."""
    return name.startswith((".", "__MACOSX"))


def _part(folder: Path, prefix: str, ignored: list[Path]) -> Found:
    """List the pictures of one folder that has a folder for each class."""
    classes = _folders(folder)
    loose = [file for file in _files(folder, deep=False) if file.suffix.lower() in ENDINGS]
    if not classes:
        if loose:
            raise DataError(
                f"{folder}: {len(loose)} pictures lie in the folder itself, such as "
                f"{loose[0].name}; expected one folder for each class; move them there"
            )
        raise MissingData(
            f"{folder}: holds no data; expected one folder of pictures for each class, or array, "
            f"table or IDX files; correct the path"
        )
    if loose:
        raise DataError(
            f"{folder}: {loose[0].name} lies beside the folders of the classes; move it into one"
        )
    files: list[Path] = []
    owners: list[str] = []
    names: list[str] = []
    for inner in classes:
        found: list[Path] = []
        for file in _files(inner, deep=True):
            (found if file.suffix.lower() in ENDINGS else ignored).append(file)
        if not found:
            raise DataError(
                f"{inner}: the folder of class {inner.name!r} has no pictures "
                f"({', '.join(sorted(ENDINGS))}); put some there, or take it away"
            )
        files += found
        owners += [as_text(inner.name)] * len(found)
        names += [prefix + file.relative_to(folder).as_posix() for file in found]
    return Found(tuple(files), tuple(owners), tuple(names))


def _files(folder: Path, *, deep: bool) -> Iterator[Path]:
    """Files that are not hidden, in the order of their names."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if not is_hidden(n)) if deep else []
        for name in sorted(names):
            if not is_hidden(name) and name != "Thumbs.db":
                yield Path(root, name)


def pictures_below(folder: Path) -> list[Path]:
    """List every picture below a folder, whatever its classes."""
    return [file for file in _files(folder, deep=True) if file.suffix.lower() in ENDINGS]
