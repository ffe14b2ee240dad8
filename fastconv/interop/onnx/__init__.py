"""Networks written to ONNX files and read from them."""

from __future__ import annotations

from fastconv._extras import missing_extra

try:
    import onnx as _onnx  # noqa: F401, the modules below need it
except ModuleNotFoundError as _fault:
    raise missing_extra("fastconv.interop.onnx", _fault) from None

from fastconv.interop.onnx.errors import OnnxError
from fastconv.interop.onnx.exporting import Metadata, export, read_metadata
from fastconv.interop.onnx.loading import load

__all__ = ["Metadata", "OnnxError", "export", "load", "read_metadata"]
