"""Samples put in the order of their parts, decoded once and mapped into memory from then on.

Images of any number go to one file in chunks, training before validation before test, so that
every part is a slice of one map: what does not fit into the memory is streamed from it. They are
taken again while every source file has the name, the size and the time of then, and the options
are the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastconv._files import replace_folder
from fastconv.data.array_images import convert, stored_type
from fastconv.data.available_memory import require_memory
from fastconv.data.dataset import Array, IndexArray
from fastconv.data.decoded import WORTH_KEEPING, cache_places
from fastconv.data.errors import DataError
from fastconv.data.own_options import OwnOptions
from fastconv.data.picture_rows import PictureRows, require_skipping, skipped_remarks
from fastconv.data.source import Rows

_FORMAT = 1
_INDEX, _IMAGES, _LABELS = "index.json", "images.raw", "labels.npy"
_CHUNK_BYTES = 2**24


@dataclass(frozen=True, eq=False)
class Portion:
    """Rows of one part, in the order that they are to have.

    Parameters
    ----------
    part
        Its name.
    owner
        Where they come from, for error messages.
    rows
        The samples.
    indices
        Which of them.
    labels
        Of all rows: class numbers, or the targets of a regression.
    """

    part: str
    owner: str
    rows: Rows
    indices: IndexArray
    labels: Array


@dataclass(frozen=True, eq=False)
class Arranged:
    """Samples in the order of their parts.

    Parameters
    ----------
    images, labels
        Of all parts.
    ranges
        First sample of each part, and the one behind its last.
    class_names
        Empty for a regression.
    remarks
        What was done to the data, a line for each thing.
    bits
        Of the values of pictures with more than 8; else None.
    """

    images: Array
    labels: Array
    ranges: dict[str, tuple[int, int]]
    class_names: tuple[str, ...]
    remarks: tuple[str, ...]
    bits: int | None = None


@dataclass(frozen=True)
class Plan:
    """Data to be arranged: portions, names of classes, and remarks so far."""

    portions: Sequence[Portion]
    class_names: tuple[str, ...]
    remarks: list[str]


def arranged(
    path: Path,
    files: Sequence[Path],
    options: OwnOptions,
    plan: Callable[[], Plan],
    *,
    purpose: str = "training",
) -> Arranged:
    """Return what was arranged an earlier time, or arrange it.

    Parameters
    ----------
    path
        The data.
    files
        Everything that the result depends on.
    options
        How they are read and divided.
    plan
        Reads what there is; not called where it was arranged already.
    purpose
        What is arranged for another one is kept beside it.

    Raises
    ------
    DataError
        If a picture or a number is not as it must be, or there is neither room on the disk nor in
        memory.
    """
    folder, name = (path, "fastconv") if path.is_dir() else (path.parent, path.name)
    name = name if purpose == "training" else f"{name}.{purpose}"
    places, key = cache_places(name, folder), _key(folder, files, options)
    for place in places:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return _read(place, key)
    work = plan()
    form = _Form.of(work.portions)
    if form.size >= WORTH_KEEPING:
        for place in places:
            with contextlib.suppress(OSError):
                return _write(place, key, work, form, options)
    require_memory(str(path), form.size, f"make room on the disk for a copy in {places[-1].parent}")
    images: Array = np.empty((form.count, *form.shape), form.dtype)
    return _fill(work, form, options, _into_memory(images), lambda: images)


@dataclass(frozen=True)
class _Form:
    """Type, shape and count of all images together."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    count: int

    @classmethod
    def of(cls, portions: Sequence[Portion]) -> _Form:
        first = portions[0]
        types: list[np.dtype[Any]] = []
        for portion in portions:
            images = portion.rows.images
            if images.shape[1:] != first.rows.images.shape[1:]:
                raise DataError(
                    f"{portion.owner}: the {portion.part} part has images of shape "
                    f"{images.shape[1:]} but the {first.part} part {first.rows.images.shape[1:]}; "
                    f"expected the same"
                )
            if isinstance(images, PictureRows):
                types.append(images.dtype)
            else:
                types.append(stored_type(portion.owner, images))
        floating = [each for each in types if each.kind == "f"]
        dtype = np.result_type(*floating) if floating else np.dtype(np.uint8)
        count = sum(len(portion.indices) for portion in portions)
        return cls(dtype, tuple(first.rows.images.shape[1:]), count)

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def size(self) -> int:
        return self.count * self.row_bytes


def _fill(
    work: Plan,
    form: _Form,
    options: OwnOptions,
    put: Callable[[Array], None],
    made: Callable[[], Array],
) -> Arranged:
    """Give all images away in chunks, and count what came of each part."""
    ranges: dict[str, tuple[int, int]] = {}
    labels, bad, end = [], list[str](), 0
    for portion in work.portions:
        start = end
        for kept, chunk in _chunks(portion, form, options, bad):
            put(chunk)
            labels.append(portion.labels[kept])
            end += len(chunk)
        ranges[portion.part] = start, end
    remarks = (*work.remarks, *skipped_remarks(bad))
    joined = np.concatenate(labels) if labels else np.empty(0, np.int64)
    images = work.portions[0].rows.images
    bits = images.bits if isinstance(images, PictureRows) else None
    return Arranged(made()[:end], joined, ranges, work.class_names, remarks, bits)


def _chunks(
    portion: Portion, form: _Form, options: OwnOptions, bad: list[str]
) -> Iterator[tuple[IndexArray, Array]]:
    """Yield images of the kept type, and which rows they are."""
    images, indices = portion.rows.images, portion.indices
    step = max(1, _CHUNK_BYTES // form.row_bytes)
    for start in range(0, len(indices), step):
        wanted = indices[start : start + step]
        chunk: Array = np.empty((len(wanted), *form.shape), form.dtype)
        if not isinstance(images, PictureRows):
            convert(portion.owner, images[wanted], chunk, wanted)
            yield wanted, chunk
            continue
        kept: list[int] = []
        for index, pixels in images.decoded(wanted.tolist()):
            if isinstance(pixels, str):
                require_skipping(options, pixels)
                bad.append(pixels)
                continue
            chunk[len(kept)] = pixels
            kept.append(index)
        yield np.array(kept, np.int64), chunk[: len(kept)]


def _into_memory(images: Array) -> Callable[[Array], None]:
    end = 0

    def put(chunk: Array) -> None:
        nonlocal end
        images[end : end + len(chunk)] = chunk
        end += len(chunk)

    return put


def _key(folder: Path, files: Sequence[Path], options: OwnOptions) -> str:
    """Hash what the result depends on, without reading the files."""
    said = {**dataclasses.asdict(options), "path": None}
    found = hashlib.sha256(json.dumps([_FORMAT, said]).encode())
    for file in files:
        try:
            status = file.stat()
            told_by = f"{status.st_size}\0{status.st_mtime_ns}"
        except OSError:  # a link to nowhere, which reading names
            told_by = "unreadable"
        found.update(os.fsencode(f"{os.path.relpath(file, folder)}\0{told_by}\n"))
    return found.hexdigest()


def _read(place: Path, key: str) -> Arranged:
    """Map what was arranged; an error of any kind where it is not there or is not of this key."""
    index = json.loads((place / _INDEX).read_text(encoding="utf-8"))
    if index["key"] != key:
        raise ValueError("of other files or options")
    shape, dtype = tuple(index["shape"]), np.dtype(index["dtype"])
    file = place / _IMAGES
    if file.stat().st_size != math.prod(shape) * dtype.itemsize:
        raise ValueError("truncated")
    # Copied on writing: a data set may be changed in place, the file may not.
    images = np.asarray(np.memmap(file, dtype, "c", shape=shape))
    labels = np.load(place / _LABELS, allow_pickle=False)
    if len(labels) != len(images):
        raise ValueError("labels of other images")
    ranges = {part: (int(start), int(end)) for part, (start, end) in index["ranges"].items()}
    return Arranged(
        images, labels, ranges, tuple(index["class_names"]), tuple(index["remarks"]),
        index.get("bits"),
    )  # fmt: skip


def _write(place: Path, key: str, work: Plan, form: _Form, options: OwnOptions) -> Arranged:
    """Arrange samples in a folder that takes the place of an older one."""
    with replace_folder(place) as temporary:
        # Written, not mapped: a full disk is an error then, and not the end of the process.
        with open(temporary / _IMAGES, "wb") as file:
            empty = np.empty((form.count, 0))
            made = _fill(work, form, options, lambda chunk: _put_all(file, chunk), lambda: empty)
        np.save(temporary / _LABELS, made.labels, allow_pickle=False)
        index = {
            "key": key,
            "dtype": form.dtype.str,
            "shape": [len(made.images), *form.shape],
            "ranges": made.ranges,
            "class_names": made.class_names,
            "remarks": made.remarks,
            "bits": made.bits,
        }
        (temporary / _INDEX).write_text(json.dumps(index), encoding="utf-8")
    return _read(place, key)


def _put_all(file: Any, chunk: Array) -> None:
    file.write(np.ascontiguousarray(chunk).data)
