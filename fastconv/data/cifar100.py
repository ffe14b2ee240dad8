"""CIFAR-100: 50000 and 10000 colour images of 32 x 32 pixels in 100 classes, Python version.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009).
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from fastconv.data.archive import read_files, read_members
from fastconv.data.batch_pickle import load_batch_pickle
from fastconv.data.errors import DataError
from fastconv.data.own_options import OwnOptions
from fastconv.data.source import Rows, Source

_FOLDER, _ARCHIVE = "cifar-100-python", "cifar-100-python.tar.gz"
_PARTS = {"train": "training", "test": "test"}
_NAMES = {*_PARTS, "meta"}
_KINDS = ("fine", "coarse")
_SIDE, _CHANNELS = 32, 3
_AGAIN = "delete it and download it again"


def cifar100_place(path: Path) -> Path | None:
    """Return the folder or the archive of CIFAR-100 that a path is or holds, or None."""
    if path.is_file():
        return path if path.name.endswith((".tar.gz", ".tgz")) else None
    if all((path / name).is_file() for name in _NAMES):
        return path
    for place in (path / _FOLDER, path / _ARCHIVE):
        if place.exists():
            return place
    return None


def cifar100_source(path: Path, options: OwnOptions) -> Source:
    """Find CIFAR-100 at a path; its classes are the 100 fine ones, or the 20 coarse ones.

    Raises
    ------
    DataError
        If the option ``label`` says neither.
    """
    kind = options.label or "fine"
    if kind not in _KINDS:
        raise DataError(
            f"{path}: data.label is {kind!r}; CIFAR-100 has the labels {' and '.join(_KINDS)}"
        )
    place = cifar100_place(path) or path
    is_folder = place.is_dir()
    files = tuple(place / name for name in sorted(_NAMES)) if is_folder else (place,)

    @functools.cache
    def contents() -> dict[str, dict[str, object]]:
        found = read_files(place, set(_NAMES)) if is_folder else read_members(place, set(_NAMES))
        return {name: load_batch_pickle(source, content) for name, source, content in found}

    def read(remarks: list[str]) -> dict[str, Rows]:
        return {part: _rows(place, name, contents(), kind) for name, part in _PARTS.items()}

    return Source(path, "CIFAR-100", files, read, lambda: _class_names(place, contents(), kind))


def _class_names(place: Path, contents: dict[str, dict[str, object]], kind: str) -> tuple[str, ...]:
    if not {"meta", "train"} <= contents.keys():
        raise DataError(
            f"{place}: holds no files train and meta; expected CIFAR-100's Python version; {_AGAIN}"
        )
    names = contents["meta"].get(f"{kind}_label_names")
    if not isinstance(names, list) or not names:
        raise DataError(f"{place}: meta has no {kind}_label_names; {_AGAIN}")
    return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)


def _rows(place: Path, name: str, batches: dict[str, dict[str, object]], kind: str) -> Rows:
    batch = batches.get(name, {})
    pixels, labels = batch.get("data"), batch.get(f"{kind}_labels")
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.shape[1:] != (_CHANNELS * _SIDE * _SIDE,)
        or not isinstance(labels, list)
        or len(labels) != len(pixels)
        or not all(type(each) is int for each in labels)
    ):
        raise DataError(
            f"{place} ({name}): has no data of 3072 bytes a row with as many {kind}_labels; "
            f"{_AGAIN}"
        )
    planes = pixels.reshape(-1, _CHANNELS, _SIDE, _SIDE)
    return Rows(planes.transpose(0, 2, 3, 1), np.array(labels, np.int64))
