"""Images without labels, for a trained network: pictures, folders of them, arrays and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastconv.data.array_images import as_images
from fastconv.data.dataset import Array
from fastconv.data.errors import DataError, MissingData
from fastconv.data.own_options import OwnOptions

_ARRAYS = (".npy", ".npz")
_TABLES = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True, eq=False)
class NamedImages:
    """Images of an array or a table, in NHWC.

    Parameters
    ----------
    names
        One for each image: the file's, and its number from 0 (of a table: its row from 1).
    images
        (samples, height, width, channels).
    """

    names: Sequence[str]
    images: Array


def unlabelled(
    paths: Sequence[str], image_shape: tuple[int, int, int], options: OwnOptions
) -> Iterator[str | NamedImages]:
    """Find the images of paths.

    Parameters
    ----------
    paths
        Pictures, folders of pictures at any depth, .npy, .npz, CSV, Parquet and IDX files.
    image_shape
        (height, width, channels) that the network takes.
    options
        Which columns of a table are no features: label, group and leave_out, if they are there.

    Yields
    ------
    path or NamedImages
        The path of each picture, which is not read yet; or the images of an array or a table.

    Raises
    ------
    DataError
        If an array or a table cannot be read, or has images of another shape.
    MissingData
        If a folder has no pictures.
    """
    from fastconv.data.picture_folder import pictures_below

    for path in paths:
        place = Path(path)
        if place.is_dir():
            found = pictures_below(place)
            if not found:
                raise MissingData(f"{place}: there are no pictures in this folder; put some there")
            yield from map(str, found)
            continue
        images, first = _images(place, image_shape, options)
        if images is None:
            yield path
            continue
        if images.shape[1:] != image_shape:
            raise DataError(
                f"{place}: holds images of shape {images.shape[1:]} (height, width, channels) but "
                f"the network takes {image_shape}; give images of that shape"
            )
        names = [f"{path}:{number}" for number in range(first, first + len(images))]
        yield NamedImages(names, as_images(str(place), images, "NHWC"))


def _images(
    place: Path, image_shape: tuple[int, int, int], options: OwnOptions
) -> tuple[Array | None, int]:
    """Return the images of an array or a table and the number of the first; None of a picture."""
    from fastconv.data.array_files import images_of_file
    from fastconv.data.array_images import in_rows
    from fastconv.data.idx_pairs import idx_shape, read_idx_images
    from fastconv.data.tables import read_table

    ending = place.suffix.lower()
    if ending in (*_TABLES, *_ARRAYS) and not place.is_file():
        raise MissingData(f"{place}: there is no such file; correct the path")
    if ending in _TABLES:
        rows = read_table(place, options, requires_label=False)
        return np.asarray(rows.images), 1
    if ending in _ARRAYS:
        array = images_of_file(place)
        if array.shape in (image_shape, image_shape[:2]) and array.ndim != 4:
            array = array.reshape(1, *image_shape)  # a single one
        if array.shape[1:] == image_shape:
            return array, 0
        return in_rows(str(place), array, options.layout), 0
    if place.is_file() and idx_shape(place) is not None:
        return read_idx_images(place), 0
    return None, 0
