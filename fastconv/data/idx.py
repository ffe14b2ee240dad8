"""The IDX format of the MNIST files: a header with type and sizes, then the numbers.

Source: the description on the MNIST page, http://yann.lecun.com/exdb/mnist/.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from fastconv.data.dataset import Array
from fastconv.data.errors import DataError, MissingData

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_AGAIN = "delete it and download it again"
_GZIP_MAGIC = b"\x1f\x8b"
_MOST_DIMENSIONS = 32
"""Of an array in every version of NumPy."""
_HONEST_BYTES, _HONEST_RATIO = 2**30, 100
"""What gzip may unpack to: so much at least, or so many times its own size."""


def read_idx(path: str | PathLike[str]) -> Array:
    """Read one IDX file, compressed by gzip or not.

    Parameters
    ----------
    path
        The file. What is in it decides whether it is decompressed, not its name.

    Returns
    -------
    array
        Of the shape and type in the file, in native byte order, writable.

    Raises
    ------
    MissingData
        If there is no such file.
    DataError
        If the file is not IDX, is truncated or damaged, or has bytes left over.
    """
    source = Path(path)
    with _opened(source) as (file, packed_size):
        shape, dtype, content = _read(source, file, packed_size)
    values = np.frombuffer(content, dtype)
    try:
        return values.astype(dtype.newbyteorder("="), copy=True).reshape(shape)
    except ValueError:  # no elements, in more of them than NumPy can count
        raise DataError(
            f"{source}: the shape is {shape}; expected one of images; {_AGAIN}"
        ) from None


def _read(
    source: Path, file: BinaryIO, packed_size: int | None
) -> tuple[tuple[int, ...], np.dtype[Any], bytes]:
    """Read the header, and then no more than what it says: a small file can unpack to anything."""
    head = file.read(4)
    if len(head) < 4:
        raise DataError(
            f"{source}: the file ends after {len(head)} bytes; expected an IDX header of at "
            f"least 4; {_AGAIN}"
        )
    zeros, code, dimensions = struct.unpack(">HBB", head)
    if zeros != 0 or code not in _TYPES:
        known = " ".join(f"{number:02x}" for number in _TYPES)
        raise DataError(
            f"{source}: the magic number is {head.hex()}; expected 0000TTDD with a type TT "
            f"of {known} and DD dimensions, as IDX files have; {_AGAIN}"
        )
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise DataError(
            f"{source}: the file has {dimensions} dimensions; expected 1 to {_MOST_DIMENSIONS}; "
            f"{_AGAIN}"
        )
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataError(
            f"{source}: the file ends after {4 + len(sizes)} bytes, within its header; expected "
            f"{4 + 4 * dimensions} bytes of header for {dimensions} dimensions; {_AGAIN}"
        )
    shape = struct.unpack(f">{dimensions}I", sizes)
    dtype = np.dtype(_TYPES[code])
    expected = math.prod(shape) * dtype.itemsize
    if packed_size is not None and expected > max(_HONEST_BYTES, _HONEST_RATIO * packed_size):
        raise DataError(
            f"{source}: {packed_size} bytes of gzip claim {expected} of data; expected at most "
            f"{_HONEST_RATIO} times as many; {_AGAIN}, or unpack it first if you trust it"
        )
    # One byte more shows that there is more. A size beyond every file's would not be an argument.
    content = file.read(min(expected, sys.maxsize - 1) + 1)
    if len(content) != expected:
        is_less = len(content) < expected
        fault = "is truncated" if is_less else "has bytes left over"
        found = str(len(content)) if is_less else f"more than {expected}"
        raise DataError(
            f"{source}: the file {fault}: {found} bytes of data after the header; expected "
            f"{expected} for shape {shape}; {_AGAIN}"
        )
    return shape, dtype, content


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[tuple[BinaryIO, int | None]]:
    """Open a file, unpacked where it is gzip's; then its packed size is given too."""
    try:
        if source.exists() and not source.is_file() and not source.is_dir():
            raise DataError(f"{source}: expected a file, not a device or a pipe; correct the path")
        with source.open("rb") as file:
            is_packed = file.read(2) == _GZIP_MAGIC
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            if not is_packed:
                yield file, None
                return
            with gzip.open(cast(BinaryIO, file)) as stream:
                yield cast(BinaryIO, stream), size
    except FileNotFoundError:
        raise MissingData(
            f"{source}: there is no such file; put it there, or correct the path"
        ) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{source}: the gzip file is truncated or damaged ({error}); {_AGAIN}"
        ) from error
    except OSError as error:
        raise DataError(
            f"{source}: the file cannot be read ({error.strerror}); correct its permissions, "
            f"or {_AGAIN}"
        ) from error
