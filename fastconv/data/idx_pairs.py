"""IDX files of any name in pairs, images and labels: Fashion-MNIST, KMNIST, EMNIST and others."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import cast

import numpy as np

from fastconv.data.array_images import Layout, in_rows
from fastconv.data.available_memory import require_memory
from fastconv.data.dataset import Array
from fastconv.data.errors import DataError
from fastconv.data.idx import read_idx
from fastconv.data.source import Rows, Source, part_named

_ITEM_BYTES = {0x08: 1, 0x09: 1, 0x0B: 2, 0x0C: 4, 0x0D: 4, 0x0E: 8}
_GZIP_MAGIC = b"\x1f\x8b"
_MOST_DIMENSIONS = 4


def idx_shape(file: Path) -> tuple[int, ...] | None:
    """Read the shape of an IDX file from its header; None where it is no such file."""
    header = _header(file)
    return None if header is None else header[0]


def _header(file: Path) -> tuple[tuple[int, ...], int] | None:
    """Shape, and bytes of a number."""
    try:
        with file.open("rb") as raw:
            is_compressed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if is_compressed else raw
            start = stream.read(4)
            if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _ITEM_BYTES:
                return None
            if not 1 <= start[3] <= _MOST_DIMENSIONS:
                return None
            sizes = stream.read(4 * start[3])
    except (OSError, EOFError, zlib.error):
        return None
    if len(sizes) < 4 * start[3]:
        return None
    return struct.unpack(f">{start[3]}I", sizes), _ITEM_BYTES[start[2]]


def idx_files(folder: Path) -> list[Path]:
    """List the IDX files of a folder, by what is in them."""
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if e.is_file() and not e.name.startswith("."))
    # Not every file of a large folder is opened: these have "idx" or "ubyte" in their names.
    return [
        folder / name for name in names
        if ("idx" in name.lower() or "ubyte" in name.lower()) and idx_shape(folder / name)
    ]  # fmt: skip


def idx_pairs(path: Path) -> Source:
    """Find pairs of IDX files.

    Parameters
    ----------
    path
        A folder that holds one pair, or one for each part; or one file of images, of which the
        labels and the other parts lie beside it under a name that says ``labels`` for ``images``,
        ``idx1`` for ``idx3`` and ``test`` (or ``t10k``) for ``train``.

    Raises
    ------
    DataError
        If it is unclear which files belong together.
    """
    folder = path if path.is_dir() else path.parent
    shapes = {file: cast(tuple[int, ...], idx_shape(file)) for file in idx_files(folder)}
    if path.is_file():
        shapes.setdefault(path, cast(tuple[int, ...], idx_shape(path)))
        family = _family(path)
        shapes = {file: shape for file, shape in shapes.items() if _family(file) == family}
    images = [file for file, shape in shapes.items() if len(shape) > 1]
    labels = [file for file, shape in shapes.items() if len(shape) == 1]
    pairs: dict[str, tuple[Path, Path]] = {}
    for file in images:
        part = part_named(file.name) or "training"
        if part in pairs:
            raise DataError(
                f"{path}: {pairs[part][0].name} and {file.name} are both images of the {part} "
                f"part; give the path of one of them, such as --data {pairs[part][0]}"
            )
        pairs[part] = file, _labels_of(file, images, labels)
    if "training" not in pairs:
        raise DataError(
            f"{path}: there are no IDX images for training; expected a file such as "
            f"train-images-idx3-ubyte"
        )

    def read(remarks: list[str]) -> dict[str, Rows]:
        return {part: _read(*both) for part, both in pairs.items()}

    files = tuple(file for both in pairs.values() for file in both)
    return Source(path, "IDX files", files, read)


def _family(file: Path) -> str:
    """Common part of the names of the files of one data set."""
    words = file.name.lower().removesuffix(".gz").replace(".", "-").split("-")
    kept = [w for w in words if part_named(w) is None and not w.startswith("idx")]
    return "-".join(w for w in kept if w not in ("images", "labels", "ubyte"))


def _labels_of(file: Path, images: list[Path], labels: list[Path]) -> Path:
    if len(images) == len(labels) == 1:
        return labels[0]
    wanted = _family(file), part_named(file.name)
    found = [each for each in labels if (_family(each), part_named(each.name)) == wanted]
    if len(found) != 1:
        there = ", ".join(each.name for each in labels) or "none"
        raise DataError(
            f"{file}: {len(found) or 'no'} files are its labels; expected one with labels-idx1 in "
            f"its name where this has images-idx3; files of labels: {there}"
        )
    return found[0]


def read_idx_images(file: Path) -> Array:
    """Read an IDX file of images as (samples, height, width, channels)."""
    _require_honest_header(file)
    images = read_idx(file)
    layout: Layout | None = "NCHW" if images.ndim == 4 and images.shape[1] in (1, 3) else None
    return in_rows(str(file), images, layout)


def _require_honest_header(file: Path) -> None:
    shape, item = cast(tuple[tuple[int, ...], int], _header(file))
    size = math.prod(shape) * item
    # Gzip packs zeros into a thousandth, and no tighter.
    if size > 1100 * file.stat().st_size:
        raise DataError(
            f"{file}: its header asks for {size} bytes, which its {file.stat().st_size} "
            f"cannot hold; delete it and download it again"
        )
    require_memory(str(file), 2 * size, "save the data as .npy, which is mapped")


def _read(images_file: Path, labels_file: Path) -> Rows:
    images = read_idx_images(images_file)
    _require_honest_header(labels_file)
    labels = read_idx(labels_file)
    if len(images) != len(labels):
        raise DataError(
            f"{images_file}: holds {len(images)} images but {labels_file.name} holds "
            f"{len(labels)} labels; expected as many"
        )
    return Rows(images, np.asarray(labels))
