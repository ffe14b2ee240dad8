"""MNIST: 60000 and 10000 handwritten digits of 28 x 28 pixels, in four IDX files.

Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
recognition" (Proceedings of the IEEE, 1998).
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np

from fastconv.data.dataset import Array, Dataset, IndexArray, Samples, require_labels
from fastconv.data.decoded import Arrays, decoded
from fastconv.data.errors import DataError, MissingData
from fastconv.data.idx import read_idx

_CLASS_NAMES = tuple("0123456789")
_PARTS = ("train", "t10k")


def load_mnist(folder: str | PathLike[str]) -> Dataset:
    """Load MNIST, or any data set in the same four files with ten classes.

    Parameters
    ----------
    folder
        Holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
        t10k-labels-idx1-ubyte; each may end in ``.gz``, and have ``.idx`` in place of ``-idx``.

    Returns
    -------
    Dataset
        Images (samples, 28, 28, 1) uint8, 0 is the background; labels int64, the digits.

    Raises
    ------
    MissingData
        If a file is not there.
    DataError
        If a file is damaged, or the files do not fit together.
    """
    place = Path(folder)
    files = {
        part: (
            _find(place, f"{part}-images", "idx3-ubyte"),
            _find(place, f"{part}-labels", "idx1-ubyte"),
        )
        for part in _PARTS
    }

    def decode() -> tuple[Arrays, list[str]]:
        arrays = {}
        for part, both in files.items():
            arrays[f"{part}-images"], arrays[f"{part}-labels"] = _read_part(*both)
        return arrays, []

    arrays, _ = decoded("mnist", [file for both in files.values() for file in both], decode)
    training, test = (
        Samples(arrays[f"{part}-images"], arrays[f"{part}-labels"]) for part in _PARTS
    )
    return Dataset("mnist", training, test, _CLASS_NAMES)


def _read_part(images_file: Path, labels_file: Path) -> tuple[Array, IndexArray]:
    images = read_idx(images_file)
    labels = read_idx(labels_file)
    for file, array, dimensions in ((images_file, images, 3), (labels_file, labels, 1)):
        if array.dtype != np.uint8 or array.ndim != dimensions:
            raise DataError(
                f"{file}: the file holds {array.dtype} of shape {array.shape}; expected uint8 in "
                f"{dimensions} dimensions; delete it and download it again"
            )
    if len(images) != len(labels):
        raise DataError(
            f"{images_file}: the file holds {len(images)} images but {labels_file.name} holds "
            f"{len(labels)} labels; expected as many; delete both and download them again"
        )
    classes = labels.astype(np.int64)
    require_labels(str(labels_file), classes, _CLASS_NAMES)
    return images[..., np.newaxis], classes


def _find(folder: Path, stem: str, kind: str) -> Path:
    for name in (f"{stem}-{kind}", f"{stem}.{kind}"):
        for ending in ("", ".gz"):
            file = folder / (name + ending)
            if file.is_file():
                return file
    raise MissingData(
        f"mnist: {stem}-{kind}.gz (or {stem}-{kind}) is not in {folder}; put it there, or name "
        f"the folder that holds it by --data-dir or FASTCONV_DATA"
    )
