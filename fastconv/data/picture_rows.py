"""Pictures in files as rows of images: their form from their headers, decoded when asked for."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from fastconv.data.errors import DataError
from fastconv.data.own_options import OwnFit, OwnOptions, bits_of

if TYPE_CHECKING:
    from fastconv.data.picture_archive import ZippedPicture
    from fastconv.data.picture_files import Fit

Picture: TypeAlias = "Path | ZippedPicture"
"""A file, or a member of an archive."""

_AT_A_TIME = 256
"""Pictures that are decoded before any is asked for again: bounds the memory."""
_MOST_THREADS = 16
_MOST_BITS = 16

FIT_OF: dict[OwnFit, Fit] = {
    "refuse": "crop",
    "resize": "stretch",
    "center_crop": "crop",
    "pad": "pad",
}
"""By the names of :data:`fastconv.data.picture_files.Fit`."""


class PictureRows:
    """Picture files that are, or are brought to, one shape.

    Parameters
    ----------
    files
        One for each row.
    shape
        (height, width, channels) of every row.
    fit
        What becomes of pictures of another size.
    bits
        Of the values of pictures with more than 8 bits; None: by the largest of each.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        files: Sequence[Picture],
        shape: tuple[int, int, int],
        fit: OwnFit = "refuse",
        bits: int | None = None,
    ) -> None:
        self.files = tuple(files)
        self.shape = (len(self.files), *shape)
        self._fit = fit
        self.bits = bits

    def of(self, files: Sequence[Picture]) -> PictureRows:
        """Return rows of other files that are read in the same way."""
        return PictureRows(files, self.shape[1:], self._fit, self.bits)

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.files)

    def decoded(self, indices: Sequence[int]) -> Iterator[tuple[int, npt.NDArray[np.uint8] | str]]:
        """Decode pictures by several threads, in the order asked for.

        Parameters
        ----------
        indices
            Of rows.

        Yields
        ------
        index, pixels
            Or in place of the pixels what is wrong with the file, in one line.
        """
        from fastconv.data.picture_files import PictureError, bomb_is_error, decode_picture

        shape, fit = self.shape[1:], FIT_OF[self._fit]

        def decode(index: int) -> tuple[int, npt.NDArray[np.uint8] | str]:
            try:
                return index, decode_picture(self.files[index], shape, fit=fit, bits=self.bits)
            except PictureError as fault:
                return index, str(fault)
            except MemoryError:
                return index, f"{self.files[index]}: too large for the memory; resize it first"

        threads = min(_MOST_THREADS, os.cpu_count() or 1)
        with bomb_is_error(), ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(indices), _AT_A_TIME):
                yield from pool.map(decode, indices[start : start + _AT_A_TIME])


def picture_rows(
    owner: Path, files: Sequence[Picture], options: OwnOptions, remarks: list[str]
) -> tuple[PictureRows, list[int]]:
    """Look at the headers of picture files, and decide on one shape for all.

    Parameters
    ----------
    owner
        The folder, for error messages.
    files
        The pictures.
    options
        The size that they are brought to, and what becomes of bad ones.
    remarks
        What was left out is added.

    Returns
    -------
    rows, kept
        The pictures with a header that can be read, and their indices in ``files``.

    Raises
    ------
    DataError
        If a picture cannot be read and none is to be skipped, or the sizes differ and nothing says
        what they are to become.
    """
    from fastconv.data.picture_files import (
        PictureError,
        bomb_is_error,
        largest_value,
        picture_form,
    )

    sizes: Counter[tuple[int, int]] = Counter()
    first_of: dict[tuple[int, int], Picture] = {}
    kept, bad, grey, largest = [], [], True, -1
    with bomb_is_error():
        for index, file in enumerate(files):
            try:
                height, width, is_grey, is_deep = picture_form(file)
                if is_deep and options.bits is None:
                    # All of them have one scale, so that all are looked at.
                    largest = max(largest, largest_value(file))
            except PictureError as fault:
                require_skipping(options, str(fault))
                bad.append(str(fault))
                continue
            sizes[height, width] += 1
            first_of.setdefault((height, width), file)
            grey = grey and is_grey
            kept.append(index)
    remarks += skipped_remarks(bad)
    if not kept:
        raise DataError(f"{owner}: no picture in it can be read; put pictures there")
    height, width = _one_size(owner, sizes, first_of, options)
    channels = options.channels or (1 if grey else 3)
    bits = options.bits
    if largest >= 0:
        bits = bits_of(largest)
        if bits < _MOST_BITS:
            remarks.append(
                f"the values of 16-bit pictures are at most {largest}: they were taken for {bits} "
                f"bits; say data.bits=16 if they are not"
            )
    rows = PictureRows(
        [files[index] for index in kept], (height, width, channels), options.effective_fit, bits
    )
    return rows, kept


def require_skipping(options: OwnOptions, fault: str) -> None:
    """Raise a DataError of a bad picture unless such are skipped."""
    if options.bad != "skip":
        raise DataError(
            f"{fault}; mend it or take it away, or leave such files out with --set data.bad=skip"
        )


def skipped_remarks(bad: Sequence[str], most: int = 20) -> list[str]:
    """Return a line for each picture that was left out, and one for those past ``most``."""
    lines = [f"left out: {fault}" for fault in bad[:most]]
    if len(bad) > most:
        lines.append(f"left out: {len(bad) - most} more pictures that cannot be read")
    return lines


def _one_size(
    owner: Path,
    sizes: Counter[tuple[int, int]],
    first_of: dict[tuple[int, int], Picture],
    options: OwnOptions,
) -> tuple[int, int]:
    wanted = None if options.size is None else (options.size[0], options.size[1])
    if options.effective_fit != "refuse" and wanted is not None:
        return wanted
    common = sizes.most_common()
    (most_common, _), *_ = common
    usual = wanted or most_common
    others = [size for size, _ in common if size != usual]
    if not others:
        return usual
    known = f"{first_of[usual].name} is" if usual in first_of else "data.size is"
    number = f"{sum(sizes[size] for size in others)} of {sizes.total()} pictures are of another"
    raise DataError(
        f"{owner}: the pictures differ in size: {known} {usual[0]} x {usual[1]} (height x width) "
        f"but {first_of[others[0]]} is {others[0][0]} x {others[0][1]}, and {number} size; bring "
        f"them to one with --set data.fit=resize (or center_crop, or pad) "
        f"--set data.size=[{usual[0]},{usual[1]}]"
    )
