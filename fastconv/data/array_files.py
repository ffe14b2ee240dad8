"""Arrays in .npz and .npy files: images and labels, in parts or not, found by their names."""

from __future__ import annotations

import contextlib
import functools
import math
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from fastconv.data.array_images import in_rows
from fastconv.data.available_memory import require_memory
from fastconv.data.dataset import Array
from fastconv.data.errors import DataError
from fastconv.data.own_options import OwnOptions
from fastconv.data.source import Rows, Source, part_named, words_of

_IMAGES = frozenset(["images", "image", "imgs", "img", "x", "data", "pixels", "features"])
_LABELS = frozenset(["labels", "label", "y", "targets", "target", "classes"])
_EXPECTED = (
    "expected images and labels (or x and y, also x_train, y_train, x_test, y_test; "
    "train_images, train_labels, ...)"
)
_LOCAL_HEADER_BYTES = 30
_LONGEST_HEADER = 2**16
"""Bytes, in front of an array; NumPy's own has a hundred or two."""


@dataclass(frozen=True)
class _Member:
    """One array that is not read yet."""

    name: str
    file: Path
    source: str
    read: Callable[[], Array]


def array_file(path: Path, options: OwnOptions) -> Source:
    """Find the arrays of an .npz file, or of an .npy file with the others beside it.

    Parameters
    ----------
    path
        The file; or a folder of .npy files, and of .npz files of one array each.
    options
        Which array holds the groups.

    Raises
    ------
    DataError
        If it is unclear which arrays are the images and which the labels.
    """
    if path.suffix.lower() == ".npz":
        members, files = _members(path), [path]
    else:
        folder = path if path.is_dir() else path.parent
        kinds = (".npy", ".npz") if path.is_dir() else (".npy",)
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in kinds and f.is_file())
        if path.is_file():
            family = _family(path)
            files = [file for file in files if _family(file) == family]
        members = []
        for file in files:
            members += [_npy(file)] if file.suffix.lower() == ".npy" else _members(file)
    known = _pairs(path, members, options)
    names = next((m for m in members if words_of(m.name) == ["class", "names"]), None)

    def class_names() -> tuple[str, ...]:
        return () if names is None else tuple(str(each) for each in names.read().ravel().tolist())

    def read(remarks: list[str]) -> dict[str, Rows]:
        parts = {}
        for part, roles in known.items():
            member = roles["images"]
            images = in_rows(member.source, member.read(), options.layout)
            labels = roles["labels"].read() if "labels" in roles else None
            if labels is not None and len(labels) != len(images):
                raise DataError(
                    f"{member.source}: holds {len(images)} images but {roles['labels'].source} "
                    f"{len(labels)} labels; expected as many"
                )
            groups = None
            if "groups" in roles:
                groups = [str(each) for each in roles["groups"].read().ravel().tolist()]
            parts[part] = Rows(images, labels, groups=groups)
        return parts

    return Source(path, f"{path.suffix[1:] or 'npy'} arrays", tuple(files), read, class_names)


def _family(file: Path) -> list[str]:
    """Common part of the names of the files of one data set."""
    words = words_of(file.stem)
    return [w for w in words if w not in _IMAGES | _LABELS and part_named(w) is None]


def images_of_file(path: Path) -> Array:
    """Return the images of an .npy file, or those of an .npz file that has one such array.

    Raises
    ------
    DataError
        If it is unclear which array holds the images.
    """
    if path.suffix.lower() == ".npy":
        return _npy(path).read()
    members = _members(path)
    images = [m for m in members if _role(m.name, OwnOptions()) == "images"]
    if len(images) != 1 and len(members) != 1:
        names = ", ".join(m.name for m in members) or "none"
        raise DataError(
            f"{path}: {len(images)} arrays are images; expected one, such as images; there are: "
            f"{names}; save it alone"
        )
    return (images or members)[0].read()


def _pairs(
    path: Path, members: list[_Member], options: OwnOptions
) -> dict[str, dict[str, _Member]]:
    """Return which array is what, by part and role."""
    parts: dict[str, dict[str, _Member]] = {}
    for member in members:
        part = part_named(member.name) or part_named(member.file.stem) or "training"
        role = _role(member.name, options)
        if role is None:
            continue
        there = parts.setdefault(part, {})
        if role in there:
            raise DataError(
                f"{path}: {there[role].name} and {member.name} may both be the {role} of the "
                f"{part} part; {_EXPECTED}; rename or take away one"
            )
        there[role] = member
    for part, roles in parts.items():
        for role in ("images", "labels"):
            if role not in roles:
                names = ", ".join(m.name for m in members) or "none"
                raise DataError(
                    f"{path}: no array is the {role} of the {part} part; {_EXPECTED}; there are: "
                    f"{names}"
                )
        if options.group is not None and "groups" not in roles:
            raise DataError(
                f"{path}: data.group is {options.group!r} but the {part} part has no such array; "
                f"add it, or leave data.group out"
            )
    if "training" not in parts:
        names = ", ".join(m.name for m in members) or "none"
        raise DataError(f"{path}: no array is for training; {_EXPECTED}; there are: {names}")
    return parts


def _role(name: str, options: OwnOptions) -> str | None:
    if options.group is not None and name == options.group:
        return "groups"
    words = set(words_of(name))
    if words == {"class", "names"}:
        return None
    if words & _LABELS:
        return "labels"
    return "images" if words & _IMAGES else None


def _npy(file: Path) -> _Member:
    def read() -> Array:
        with _named(str(file)), open(file, "rb") as content:
            shape, dtype, _ = _header(str(file), content)
            there = file.stat().st_size - content.tell()
            _require_bytes(str(file), there, math.prod(shape) * dtype.itemsize)
        with _named(str(file)):
            mapped: Array = np.load(file, mmap_mode="r", allow_pickle=False)
            return mapped

    return _Member(file.stem, file, str(file), read)


def _members(file: Path) -> list[_Member]:
    """List the arrays of an .npz file; a single one without a name has the file's."""
    with _named(str(file)), zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
    members = []
    for name in names:
        shown = name.removesuffix(".npy")
        if len(names) == 1 and shown == "arr_0":
            shown = file.stem
        source = f"{file} ({name.removesuffix('.npy')})"
        read = functools.partial(_member, file, name, source)
        members.append(_Member(shown, file, source, read))
    return members


def _member(file: Path, name: str, source: str) -> Array:
    """Read one array of an .npz file, or map it where it is not compressed."""
    with _named(source), zipfile.ZipFile(file) as archive:
        about = archive.getinfo(name)
        with archive.open(about) as content:
            shape, dtype, fortran = _header(source, content)
            start = content.tell()
            size = math.prod(shape) * dtype.itemsize
            _require_bytes(source, about.file_size - start, size)
            if about.compress_type != zipfile.ZIP_STORED or not size:
                require_memory(
                    source, size, "save it with numpy.savez, which is mapped, or smaller"
                )
                values = np.frombuffer(content.read(size), dtype)
                if values.nbytes != size:
                    raise DataError(f"{source}: the array is truncated; save it again")
                return values.reshape(shape, order="F" if fortran else "C")
        with open(file, "rb") as raw:
            raw.seek(about.header_offset)
            local = raw.read(_LOCAL_HEADER_BYTES)
            name_bytes, extra_bytes = struct.unpack("<HH", local[26:30])
        offset = about.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes + start
        return np.memmap(file, dtype, "r", offset, shape, "F" if fortran else "C")


def _header(source: str, content: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Read shape, type and order of an array, and nothing behind them."""
    version = np.lib.format.read_magic(content)
    if version != (1, 0):
        place = content.tell()
        size = int.from_bytes(content.read(4), "little")
        content.seek(place)
        if size > _LONGEST_HEADER:
            raise DataError(
                f"{source}: the header claims {size} bytes; expected at most {_LONGEST_HEADER}; "
                f"save it again"
            )
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read(content)
    if dtype.hasobject:
        raise DataError(
            f"{source}: the array is of Python objects, which are not read because they may run "
            f"anything; save numbers, or text as astype(str)"
        )
    return shape, dtype, fortran


def _require_bytes(source: str, there: int, wanted: int) -> None:
    if there != wanted:
        raise DataError(
            f"{source}: the file holds {there} bytes behind the header, which asks for {wanted}; "
            f"save it again"
        )


@contextlib.contextmanager
def _named(source: str) -> Iterator[None]:
    """Make a DataError of whatever reading an array file raises."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except OSError as fault:
        raise DataError(
            f"{source}: cannot be read ({fault.strerror or fault}); correct its permissions"
        ) from None
    except Exception as fault:  # damage can make NumPy and zipfile raise nearly anything
        reason = " ".join(str(fault).split())[:200] or type(fault).__name__
        raise DataError(
            f"{source}: is no NumPy file, or damaged ({reason}); save it again"
        ) from None
