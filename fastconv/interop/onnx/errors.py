"""What can be wrong with an ONNX file, or with a network for one."""

from __future__ import annotations

from fastconv._errors import UserError


class OnnxError(UserError, ValueError):
    """An ONNX file that cannot be read or written: which node or layer, why, and the fix."""
