"""Finding values that are no finite numbers, before a training meets them."""

from __future__ import annotations

import numpy as np

from fastconv.data.dataset import Array, Dataset
from fastconv.data.errors import DataError

_BLOCK_BYTES = 2**24


def require_finite(dataset: Dataset) -> None:
    """Raise unless all images and targets are finite numbers, with the place of the first other.

    Parameters
    ----------
    dataset
        Its parts are looked at, floating ones alone.

    Raises
    ------
    DataError
        With the part, the sample and the element.

    Examples
    --------
    >>> from fastconv.data import Samples
    >>> images = np.zeros((3, 1, 1, 2), np.float32)
    >>> images[2, 0, 0, 1] = np.nan
    >>> samples = Samples(images, np.array([0, 1, 0]))
    >>> require_finite(Dataset("mine", samples, samples, ("a", "b")))
    Traceback (most recent call last):
    fastconv.data.errors.DataError: mine: sample 2 of the training part holds nan in its image ...
    """
    for part, samples in dataset.parts.items():
        for what, array in (("image", samples.images), ("targets", samples.labels)):
            found = first_not_finite(array)
            if found is not None:
                sample, *place = found
                raise DataError(
                    f"{dataset.name}: sample {sample} of the {part} part holds "
                    f"{array[found]} in its {what} at {tuple(place)}; expected finite numbers; "
                    f"correct it, or take the sample away"
                )


def first_not_finite(array: Array) -> tuple[int, ...] | None:
    """Return the place of the first element that is not finite; None where all are.

    Parameters
    ----------
    array
        Looked at block by block, so that it takes little memory.

    Examples
    --------
    >>> first_not_finite(np.array([[0.0, 1.0], [2.0, np.inf]]))
    (1, 1)
    """
    if array.dtype.kind != "f":
        return None
    rows = max(1, _BLOCK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        bad = ~np.isfinite(array[start : start + rows])
        if bad.any():
            row, *place = np.unravel_index(int(bad.argmax()), bad.shape)
            return (start + int(row), *map(int, place))
    return None
