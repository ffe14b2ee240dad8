"""What can be wrong with an ONNX file, or with a network for one."""

from __future__ import annotations

import re

from fastconv._errors import UserError


class OnnxError(UserError, ValueError):
    """An ONNX file that cannot be read or written: which node or layer, why, and the fix.

    Parameters
    ----------
    told
        The message; what names in a damaged file break its line with becomes spaces.
    """

    def __init__(self, told: str) -> None:
        super().__init__(re.sub(r"[\x00-\x1f\x7f]+", " ", told))
