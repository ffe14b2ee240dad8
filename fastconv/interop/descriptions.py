"""What describes a plan of the C interface: functions, structures and numbers of ``fastconv.h``.

A structure is a row of words of 8 bytes. C fills it in by its names; compiled Python code, and the
module that makes plans, do so by the tables here.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Literal, NamedTuple

REAL = -1
"""In place of a number of words: one word that holds a float64."""

CONVOLUTION = {
    "dtype": 1, "layout": 1, "x": 4, "w": 4, "stride": 2, "padding": 4, "same": 1, "dilation": 2,
    "groups": 1, "output_padding": 2, "bias": 1, "gradients": 1,
}  # fmt: skip
POOLING = {
    "dtype": 1, "layout": 1, "x": 4, "kernel": 2, "stride": 2, "padding": 4, "same": 1,
    "ceil_mode": 1, "count_include_pad": 1,
}  # fmt: skip
MATRIX = {"dtype": 1, "x": 2, "w": 2, "bias": 1, "gradients": 1}
ELEMENTS = {"dtype": 1, "kind": 1, "size": 1, "alpha": REAL}
ROWS = {"dtype": 1, "rows": 1, "classes": 1}
STRUCTURES: dict[str, Mapping[str, int]] = {
    "convolution": CONVOLUTION, "pooling": POOLING, "matrix": MATRIX, "elements": ELEMENTS,
    "rows": ROWS,
}  # fmt: skip
"""Structures by their names behind ``fastconv_``: fields, and the words that each takes."""

DTYPES = ("float32", "float64")
LAYOUTS: tuple[Literal["NCHW"], Literal["NHWC"]] = ("NCHW", "NHWC")
DX, DW, DB = 1, 2, 4
"""Gradients that a backward function makes."""


class Function(NamedTuple):
    """What a plan can compute.

    Parameters
    ----------
    number
        In ``enum fastconv_function``.
    structure
        What describes it: of :data:`STRUCTURES`.
    """

    number: int
    structure: str

    @property
    def fields(self) -> Mapping[str, int]:
        """Fields of the structure, and the words that each takes."""
        return STRUCTURES[self.structure]


_OF_STRUCTURES = {
    "convolution": ("conv2d", "conv2d_backward", "conv_transpose2d", "conv_transpose2d_backward"),
    "pooling": (
        "max_pool2d", "max_pool2d_backward", "avg_pool2d", "avg_pool2d_backward",
        "global_avg_pool2d", "global_avg_pool2d_backward",
    ),
    "matrix": ("dense", "dense_backward"),
    "elements": ("activation", "activation_backward"),
    "rows": (
        "softmax", "softmax_backward", "log_softmax", "log_softmax_backward",
        "softmax_cross_entropy", "softmax_cross_entropy_backward",
    ),
}  # fmt: skip
_WITH_STRUCTURES = [(name, of) for of, names in _OF_STRUCTURES.items() for name in names]
FUNCTIONS = {name: Function(number, of) for number, (name, of) in enumerate(_WITH_STRUCTURES, 1)}
"""In the order of their numbers."""


def words_of(fields: Mapping[str, int]) -> int:
    """Return the number of words of a structure with such fields.

    Examples
    --------
    >>> words_of(ROWS), words_of(ELEMENTS)
    (3, 4)
    """
    return sum(1 if count == REAL else count for count in fields.values())


def read_description(fields: Mapping[str, int], words: Sequence[int]) -> SimpleNamespace:
    """Return what stands in a structure: an integer, integers or a float for each field.

    Examples
    --------
    >>> read_description(ROWS, (1, 20, 10)).classes
    10
    """
    found: dict[str, object] = {}
    at = 0
    for name, count in fields.items():
        if count == REAL:
            (found[name],) = struct.unpack("=d", struct.pack("=q", words[at]))
        else:
            found[name] = words[at] if count == 1 else tuple(words[at : at + count])
        at += max(1, count)
    return SimpleNamespace(**found)
