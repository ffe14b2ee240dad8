"""The IDX format of the MNIST files: a header with type and sizes, then the numbers.

Source: the description on the MNIST page, http://yann.lecun.com/exdb/mnist/.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from os import PathLike
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from fastconv.data.dataset import Array
from fastconv.data.errors import DataError, MissingData

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_AGAIN = "delete it and download it again"
_GZIP_MAGIC = b"\x1f\x8b"
_MOST_DIMENSIONS = 32
"""Of an array in every version of NumPy."""
_HONEST_BYTES, _HONEST_RATIO = 2**26, 100
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
    content = _read(source)
    if len(content) < 4:
        raise DataError(
            f"{source}: the file ends after {len(content)} bytes; expected an IDX header of at "
            f"least 4; {_AGAIN}"
        )
    zeros, code, dimensions = struct.unpack(">HBB", content[:4])
    if zeros != 0 or code not in _TYPES:
        known = " ".join(f"{number:02x}" for number in _TYPES)
        raise DataError(
            f"{source}: the magic number is {content[:4].hex()}; expected 0000TTDD with a type TT "
            f"of {known} and DD dimensions, as IDX files have; {_AGAIN}"
        )
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise DataError(
            f"{source}: the file has {dimensions} dimensions; expected 1 to {_MOST_DIMENSIONS}; "
            f"{_AGAIN}"
        )
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(
            f"{source}: the file ends after {len(content)} bytes, within its header; expected "
            f"{start} bytes of header for {dimensions} dimensions; {_AGAIN}"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    dtype = np.dtype(_TYPES[code])
    expected = math.prod(shape) * dtype.itemsize
    found = len(content) - start
    if found != expected:
        fault = "is truncated" if found < expected else "has bytes left over"
        raise DataError(
            f"{source}: the file {fault}: {found} bytes of data after the header; expected "
            f"{expected} for shape {shape}; {_AGAIN}"
        )
    values = np.frombuffer(content, dtype, offset=start)
    try:
        return values.astype(dtype.newbyteorder("="), copy=True).reshape(shape)
    except ValueError:  # no elements, of a shape beyond what NumPy can count
        raise DataError(
            f"{source}: the shape is {shape}; expected one of an array; {_AGAIN}"
        ) from None


def _read(source: Path) -> bytes:
    try:
        if source.exists() and not source.is_file() and not source.is_dir():
            raise DataError(f"{source}: is a device or a pipe; expected a file; correct the path")
        with source.open("rb") as file:
            compressed = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            if not compressed:
                return file.read()
            most = max(_HONEST_BYTES, _HONEST_RATIO * source.stat().st_size)
            with gzip.open(cast(BinaryIO, file)) as stream:
                content = stream.read(most + 1)
            if len(content) > most:
                raise DataError(
                    f"{source}: the gzip file unpacks to more than {most} bytes, {_HONEST_RATIO} "
                    f"times its own size; expected fewer; {_AGAIN}, or unpack it if you trust it"
                )
            return content
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
