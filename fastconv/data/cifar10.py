"""CIFAR-10: 50000 and 10000 colour images of 32 x 32 pixels, in five batches and one.

Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009), and the
description of both versions of the files on https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from fastconv.data.archive import read_files, read_members
from fastconv.data.batch_pickle import load_batch_pickle
from fastconv.data.dataset import Dataset, IndexArray, Samples, require_labels
from fastconv.data.decoded import Arrays, decoded
from fastconv.data.errors import DataError, MissingData

TRAINING_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST_BATCH = "test_batch"
_BATCHES = (*TRAINING_BATCHES, _TEST_BATCH)
_SIDE, _CHANNELS = 32, 3
_PIXELS = _SIDE * _SIDE * _CHANNELS
_ROW_BYTES = 1 + _PIXELS
_AGAIN = "delete it and download it again"


@dataclass(frozen=True)
class _Version:
    """Names of the files of one of the two versions."""

    folder: str
    archive: str
    ending: str
    meta: str


_PYTHON = _Version("cifar-10-batches-py", "cifar-10-python.tar.gz", "", "batches.meta")
_BINARY = _Version("cifar-10-batches-bin", "cifar-10-binary.tar.gz", ".bin", "batches.meta.txt")


@dataclass(frozen=True)
class _Batch:
    """One file: (rows, 3072) pixels, red before green before blue, and (rows,) class numbers."""

    source: str
    planes: npt.NDArray[np.uint8]
    labels: IndexArray


def load_cifar10(
    path: str | PathLike[str],
    training: Sequence[str] = TRAINING_BATCHES,
    validation: Sequence[str] = (),
) -> Dataset:
    """Load CIFAR-10 from its Python or its binary version, unpacked or not.

    Parameters
    ----------
    path
        The folder ``cifar-10-batches-py`` or ``cifar-10-batches-bin``, or a folder that holds one
        of them, ``cifar-10-python.tar.gz`` or ``cifar-10-binary.tar.gz``; or one of these archives.
        Archives are read in one pass, in memory.
    training, validation
        Batches of each part, of ``data_batch_1`` to ``data_batch_5``; the samples come in the order
        asked for. Without any for validation the data set has no such part.

    Returns
    -------
    Dataset
        Images (samples, 32, 32, 3) uint8, red, green, blue; labels int64; the class names that the
        files give. The test part is always ``test_batch``.

    Raises
    ------
    ValueError
        If a batch is asked for that does not exist, or twice.
    MissingData
        If nothing of CIFAR-10 is there, or a batch is not.
    DataError
        If a file is damaged, or asks to run something; nothing in a file is ever run.
    """
    _require_batches(training, validation)
    place, version = _locate(Path(path))
    files = [place]
    if place.is_dir():
        files = [place / (batch + version.ending) for batch in _BATCHES]
        files.append(place / version.meta)
    if all(file.is_file() for file in files):
        arrays, class_names = decoded("cifar10", files, lambda: _decode(place, version, _BATCHES))
        batches = _batches_of(arrays, _BATCHES)
    else:
        wanted = (*training, *validation, _TEST_BATCH)
        arrays, class_names = _decode(place, version, wanted)
        batches = _batches_of(arrays, wanted)
    for batch in (*training, *validation, _TEST_BATCH):
        if batch not in batches:
            raise _missing(batch + version.ending, place)

    def samples(names: Sequence[str]) -> Samples:
        runs = _runs([batches[name] for name in names])
        images, labels = arrays["images"], arrays["labels"]
        if len(runs) == 1:
            return Samples(images[runs[0]], labels[runs[0]])
        images, labels = (np.concatenate([each[run] for run in runs]) for each in (images, labels))
        return Samples(images, labels)

    return Dataset(
        name="cifar10",
        training=samples(training),
        test=samples((_TEST_BATCH,)),
        class_names=tuple(class_names),
        validation=samples(validation) if validation else None,
    )


def _decode(place: Path, version: _Version, names: Sequence[str]) -> tuple[Arrays, list[str]]:
    """Read batches one behind the other as NHWC images; those that are not there have no rows."""
    found: dict[str, _Batch] = {}
    class_names: tuple[str, ...] = ()
    batch_of = {name + version.ending: name for name in names}
    files = read_files if place.is_dir() else read_members
    for name, source, content in files(place, {*batch_of, version.meta}):
        if name == version.meta:
            parse_names = _python_class_names if version is _PYTHON else _binary_class_names
            class_names = parse_names(source, content)
        else:
            parse = _python_batch if version is _PYTHON else _binary_batch
            found[batch_of[name]] = parse(source, content)
    if not class_names:
        raise _missing(version.meta, place)
    for batch in found.values():
        require_labels(batch.source, batch.labels, class_names)
    rows = [len(found[name].labels) if name in found else -1 for name in names]
    there = [found[name] for name in names if name in found]
    images = np.empty(
        (sum(len(batch.labels) for batch in there), _SIDE, _SIDE, _CHANNELS), np.uint8
    )
    end = 0
    for batch in there:
        start, end = end, end + len(batch.labels)
        planes = batch.planes.reshape(-1, _CHANNELS, _SIDE, _SIDE)
        for channel in range(_CHANNELS):
            images[start:end, :, :, channel] = planes[:, channel]
    labels = np.concatenate([np.empty(0, np.int64), *(batch.labels for batch in there)])
    arrays = {"images": images, "labels": labels, "rows": np.array(rows, np.int64)}
    return arrays, list(class_names)


def _batches_of(arrays: Arrays, names: Sequence[str]) -> dict[str, slice]:
    """Range of the images that each batch is."""
    batches, end = {}, 0
    for name, rows in zip(names, arrays["rows"].tolist(), strict=True):
        if rows >= 0:
            start, end = end, end + rows
            batches[name] = slice(start, end)
    return batches


def _runs(slices: Sequence[slice]) -> list[slice]:
    """Join slices that follow one another."""
    runs: list[slice] = []
    for each in slices:
        if runs and runs[-1].stop == each.start:
            runs[-1] = slice(runs[-1].start, each.stop)
        else:
            runs.append(each)
    return runs


def _missing(name: str, place: Path) -> MissingData:
    return MissingData(
        f"cifar10: {name} is not in {place}; put it there, or download the data set again"
    )


def _require_batches(training: Sequence[str], validation: Sequence[str]) -> None:
    seen: set[str] = set()
    for argument, batches in (("training", training), ("validation", validation)):
        if isinstance(batches, str):
            raise ValueError(
                f"load_cifar10: {argument} is {batches!r}; expected a sequence of batches; "
                f"use ({batches!r},)"
            )
        for batch in batches:
            if batch not in TRAINING_BATCHES:
                raise ValueError(
                    f"load_cifar10: {argument} holds {batch!r}; expected batches of "
                    f"{', '.join(TRAINING_BATCHES)}"
                )
            if batch in seen:
                raise ValueError(
                    f"load_cifar10: {argument} holds {batch!r}, which was asked for before; "
                    f"expected each batch once in training and validation together"
                )
            seen.add(batch)
    if not training:
        raise ValueError(
            f"load_cifar10: training is {training!r}; expected at least one batch of "
            f"{', '.join(TRAINING_BATCHES)}"
        )


def _locate(path: Path) -> tuple[Path, _Version]:
    """Find the folder or archive to read; what is unpacked goes before what is not."""
    if path.is_file():
        return path, _BINARY if "binary" in path.name else _PYTHON
    for version in (_PYTHON, _BINARY):
        if any((path / (b + version.ending)).is_file() for b in (*TRAINING_BATCHES, _TEST_BATCH)):
            return path, version
    for version in (_PYTHON, _BINARY):
        if (path / version.folder).is_dir():
            return path / version.folder, version
    for version in (_PYTHON, _BINARY):
        if (path / version.archive).is_file():
            return path / version.archive, version
    raise MissingData(
        f"cifar10: neither {_PYTHON.archive} nor {_BINARY.archive}, nor a folder unpacked from "
        f"one, is in {path}; put one there, or name the folder that holds it by --data-dir or "
        f"FASTCONV_DATA"
    )


def _binary_batch(source: str, content: bytes) -> _Batch:
    if len(content) % _ROW_BYTES:
        raise DataError(
            f"{source}: the file is truncated or damaged: {len(content)} bytes; expected a "
            f"multiple of {_ROW_BYTES} (1 label and {_PIXELS} pixels); {_AGAIN}"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, _ROW_BYTES)
    return _Batch(source, rows[:, 1:], rows[:, 0].astype(np.int64))


def _binary_class_names(source: str, content: bytes) -> tuple[str, ...]:
    return _names(source, [line for line in content.splitlines() if line.strip()])


def _python_batch(source: str, content: bytes) -> _Batch:
    values = load_batch_pickle(source, content)
    planes, labels = values.get("data"), values.get("labels")
    if not isinstance(planes, np.ndarray) or planes.ndim != 2 or planes.shape[1] != _PIXELS:
        found = (
            f"of shape {planes.shape}"
            if isinstance(planes, np.ndarray)
            else f"a {type(planes).__name__}"
        )
        raise DataError(
            f"{source}: 'data' is {found}; expected a uint8 array of shape (rows, {_PIXELS}); "
            f"{_AGAIN}"
        )
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(
            f"{source}: 'labels' is not a list of integers; expected one class number for each of "
            f"the {len(planes)} images; {_AGAIN}"
        )
    if len(labels) != len(planes):
        raise DataError(
            f"{source}: 'labels' holds {len(labels)} class numbers but 'data' holds "
            f"{len(planes)} images; expected as many; {_AGAIN}"
        )
    try:
        numbers = np.array(labels, dtype=np.int64)
    except OverflowError:
        raise DataError(
            f"{source}: 'labels' holds a number that is no class number (it needs more than 64 "
            f"bits); {_AGAIN}"
        ) from None
    return _Batch(source, cast("npt.NDArray[np.uint8]", planes), numbers)


def _python_class_names(source: str, content: bytes) -> tuple[str, ...]:
    return _names(source, load_batch_pickle(source, content).get("label_names"))


def _names(source: str, found: object) -> tuple[str, ...]:
    """Turn bytes or text from a file into class names."""
    names: list[str] = []
    for name in found if isinstance(found, list) else ():
        text = name.decode("latin-1") if isinstance(name, bytes) else name
        if not isinstance(text, str) or not text.strip().isprintable():
            names.clear()
            break
        names.append(text.strip())
    if not names:
        raise DataError(
            f"{source}: there are no class names in the file; expected a list of them, such as "
            f"airplane, automobile, ...; {_AGAIN}"
        )
    return tuple(names)
