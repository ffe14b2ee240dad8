"""Reading ONNX files, whose sizes and paths nobody has checked before."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from fastconv.interop.onnx.errors import OnnxError

_LARGEST_FILE = 2**31 - 1
"""Bytes of a protobuf message; larger networks keep their weights in files beside it."""
_MOST_AXES = 16
_TYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.INT16: "int16",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.UINT16: "uint16",
    onnx.TensorProto.UINT32: "uint32",
    onnx.TensorProto.UINT64: "uint64",
    onnx.TensorProto.BOOL: "bool",
}
"""Of the arrays that networks are made of."""


def read_model(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """Read an ONNX file, without weights that lie in files beside it.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    OnnxError
        If it cannot be read, is too large for its format, or is no ONNX file.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise OnnxError(f"load: path is a {type(path).__name__}; expected a path")
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise OnnxError(f"{os.fspath(path)}: is no file; give the path of an .onnx file")
        if status.st_size > _LARGEST_FILE:
            raise OnnxError(
                f"{os.fspath(path)}: has {status.st_size:,} bytes; an ONNX file has less than 2 "
                f"GiB, with larger weights in files beside it"
            )
        content = Path(path).read_bytes()
    except OSError as fault:
        raise OnnxError(f"{os.fspath(path)}: cannot be read ({fault.strerror})") from None
    return parse_model(content, os.fspath(path))


def parse_model(content: bytes, name: str) -> onnx.ModelProto:
    """Return the model that bytes hold.

    Parameters
    ----------
    content
        Of a file.
    name
        Its path, for error messages.

    Raises
    ------
    OnnxError
        If it is none.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise OnnxError(f"{name}: is no ONNX file, or a damaged one; export it again") from None
    if not model.graph.node and not model.graph.output:
        raise OnnxError(f"{name}: holds no graph; export it again")
    return model


def tensor_array(tensor: onnx.TensorProto, path: str) -> NDArray[Any]:
    """Return the array of a tensor in a model.

    Parameters
    ----------
    tensor
        The tensor.
    path
        Of the model's file: weights in other files lie in its folder.

    Raises
    ------
    OnnxError
        If its type is none of NumPy's, its data have not the bytes that its sizes say, or are
        not in the model's folder.
    """
    owner = f"{path}: tensor {tensor.name!r}"
    kind = _TYPES.get(tensor.data_type)
    if kind is None:
        names = onnx.TensorProto.DataType
        told = (
            names.Name(tensor.data_type) if tensor.data_type in names.values() else tensor.data_type
        )
        raise OnnxError(
            f"{owner} has the type {told}; expected one of {', '.join(_TYPES.values())}"
        )
    shape = tuple(tensor.dims)
    if any(not 0 <= size < _LARGEST_FILE for size in shape) or len(shape) > _MOST_AXES:
        raise OnnxError(f"{owner} has the sizes {shape}; expected 0 or more, below 2**31")
    if tensor.HasField("segment"):
        raise OnnxError(f"{owner} is stored in segments; export it again in one piece")
    dtype = np.dtype(kind)
    size = math.prod(shape)
    if not size:
        shape = tuple(min(each, 1) for each in shape)  # nothing, of whatever sizes
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        content = _external_bytes(tensor, path, owner, size * dtype.itemsize)
    elif tensor.HasField("raw_data"):
        content = tensor.raw_data
    else:
        return _listed(tensor, owner, dtype, shape)
    if len(content) != size * dtype.itemsize:
        raise OnnxError(
            f"{owner} has {len(content):,} bytes; expected {size * dtype.itemsize:,} for the "
            f"sizes {shape}"
        )
    little = dtype.newbyteorder("<")
    return np.frombuffer(content, little).reshape(shape).astype(dtype, copy=False)


def _listed(
    tensor: onnx.TensorProto, owner: str, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    """Return an array whose elements the message lists one by one."""
    numbers: Any
    if dtype == np.float32:
        numbers = tensor.float_data
    elif dtype == np.float64:
        numbers = tensor.double_data
    elif dtype == np.int64:
        numbers = tensor.int64_data
    elif dtype in (np.uint32, np.uint64):
        numbers = tensor.uint64_data
    else:
        numbers = tensor.int32_data
    if len(numbers) != math.prod(shape):
        raise OnnxError(
            f"{owner} has {len(numbers):,} elements; expected {math.prod(shape):,} for the sizes "
            f"{shape}"
        )
    if dtype == np.float16:  # as the integers of their bits
        return np.array(numbers, np.uint16).view(np.float16).reshape(shape)
    return np.array(numbers, dtype).reshape(shape)


def _external_bytes(tensor: onnx.TensorProto, path: str, owner: str, expected: int) -> bytes:
    """Read the data of a tensor from a file in the model's folder."""
    told: Mapping[str, str] = {entry.key: entry.value for entry in tensor.external_data}
    location = told.get("location", "")
    folder = os.path.realpath(os.path.dirname(os.path.abspath(path)))
    target = os.path.realpath(os.path.join(folder, location))
    inside = location and not os.path.isabs(location) and "\0" not in location
    if not inside or os.path.commonpath([folder, target]) != folder or target == folder:
        raise OnnxError(
            f"{owner} lies in {location!r}; expected a file in the folder of the model, {folder}"
        )
    try:
        offset = int(told.get("offset", "0"))
        length = int(told.get("length", expected))
    except ValueError:
        raise OnnxError(f"{owner} has an offset or a length that is no number") from None
    if offset < 0 or length != expected:
        raise OnnxError(
            f"{owner} has {length:,} bytes from {offset:,} on in {location!r}; expected "
            f"{expected:,} bytes from 0 or more on"
        )
    try:
        with open(target, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OnnxError(f"{owner} lies in {location!r}, which is no file")
            if offset + length > status.st_size:
                raise OnnxError(
                    f"{owner} ends at byte {offset + length:,} of {location!r}, which has "
                    f"{status.st_size:,}; copy the file again"
                )
            file.seek(offset)
            return file.read(length)
    except OSError as fault:
        raise OnnxError(
            f"{owner} lies in {location!r}, which cannot be read ({fault.strerror}); put it beside "
            f"the model"
        ) from None
