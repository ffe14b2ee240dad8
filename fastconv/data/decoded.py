"""Data sets decoded once: arrays beside the files that they come from, mapped into memory.

To inflate, check and rearrange CIFAR-10 takes seconds; to map what came of it takes none. The
arrays lie in a hidden folder beside the files, or in the user's cache folder where that cannot be
written. They are taken again while the files have the size and the time of then, or, where only
the time is another one, the same SHA-256. Whatever goes wrong with them, the files are decoded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastconv._files import replace_file, replace_folder
from fastconv.data.download import cache_folder

Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]

_FORMAT = 1
_INDEX = "index.json"
WORTH_KEEPING = 8 << 20
"""Bytes of arrays below which decoding again costs less than a second look at files."""


def decoded(
    name: str, files: Sequence[Path], decode: Callable[[], tuple[Arrays, list[str]]]
) -> tuple[Arrays, list[str]]:
    """Return what files hold, decoded now or an earlier time.

    Parameters
    ----------
    name
        Of the data set and of the way it is decoded.
    files
        Everything that the result depends on; all of them exist.
    decode
        Checks and reads the files; returns arrays by name, and text that belongs to them.

    Returns
    -------
    arrays, text
        As ``decode`` returns them. Arrays from an earlier time are mapped: what is written into
        them stays in this process.
    """
    places = cache_places(name, files[0].resolve().parent)
    for place in places:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if found := _read(place, files):
                return found
    arrays, text = decode()
    if sum(array.nbytes for array in arrays.values()) >= WORTH_KEEPING:
        for place in places:
            with contextlib.suppress(OSError):
                _write(place, files, arrays, text)
                break
    return arrays, text


def cache_places(name: str, folder: Path) -> list[Path]:
    """Return where decoded arrays may lie: beside the files, and in the user's cache folder.

    Parameters
    ----------
    name
        Of the data set and of the way it is decoded.
    folder
        Of the files.
    """
    folder = folder.resolve()
    key = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    places = [cache_folder() / "decoded" / f"{name}-{key}"]
    # The superuser may write anywhere; where nobody is meant to, neither do we.
    if folder.stat().st_mode & 0o222 and os.access(folder, os.W_OK):
        places.insert(0, folder / f".{name}.decoded")
    return places


def _sources(files: Sequence[Path]) -> list[dict[str, Any]]:
    """Marks that tell files apart without reading them."""
    status = [file.stat() for file in files]
    return [
        {"name": file.name, "size": each.st_size, "time": each.st_mtime_ns}
        for file, each in zip(files, status, strict=True)
    ]


def _hash(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _read(place: Path, files: Sequence[Path]) -> tuple[Arrays, list[str]] | None:
    """Map the arrays of a folder, if they come from these files as they are."""
    index = json.loads((place / _INDEX).read_text(encoding="utf-8"))
    if index["format"] != _FORMAT:
        return None
    now, then = _sources(files), index["sources"]
    hashes = index["sha256"]
    if now != then:
        if [(each["name"], each["size"]) for each in now] != [
            (each["name"], each["size"]) for each in then
        ] or hashes != [_hash(file) for file in files]:
            return None
        with contextlib.suppress(OSError), replace_file(place / _INDEX) as content:
            json.dump({**index, "sources": now}, content)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, (dtype, shape) in index["arrays"].items():
        file = place / f"{name}.npy"
        # Copied on writing: a data set may be changed in place, the files may not.
        array = np.load(file, mmap_mode="c", allow_pickle=False)
        if array.dtype != dtype or list(array.shape) != shape:
            return None
        arrays[name] = np.asarray(array)
    return arrays, [str(each) for each in index["text"]]


def _write(place: Path, files: Sequence[Path], arrays: Arrays, text: list[str]) -> None:
    """Write the arrays to a folder that takes the place of an older one."""
    with replace_folder(place) as temporary:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        index = {
            "format": _FORMAT,
            "sources": _sources(files),
            "sha256": [_hash(file) for file in files],
            "arrays": {name: [each.dtype.str, each.shape] for name, each in arrays.items()},
            "text": text,
        }
        (temporary / _INDEX).write_text(json.dumps(index), encoding="utf-8")
