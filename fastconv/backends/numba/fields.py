"""An instruction inside of kernels: ``n.rows`` is the integer that its layout calls rows.

A pointer is an address, ``pointer(n.x, real)``; a real is a float64. ``n.tile_table`` is the
address of the tiles. A kernel's instruction has a type of its own, so that the name of a field is a
constant word of memory when the kernel is compiled, and a name that is none is an error then.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import infer_getattr, lower_getattr_generic, models, register_model

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.instructions.layout import TILE_TABLE
from fastconv.backends.compiled.instructions.layouts import LAYOUTS
from fastconv.backends.numba.numba_internals import AttributeTemplate
from fastconv.backends.numba.pointers import WORD, Pointer, load_word

Fields: TypeAlias = Any
"""The instruction of a kernel, with its fields as attributes."""


class FieldsType(types.Type):  # type: ignore[misc]
    """The address of an instruction of one kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self.layout = LAYOUTS[kernel]
        super().__init__(name=f"Fields({kernel})")

    def word_of(self, name: str) -> int | None:
        """Number of the word that has a field; None if there is none."""
        return TILE_TABLE if name == "tile_table" else self.layout.words.get(name)


@register_model(FieldsType)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    """An integer of 64 bits."""

    def __init__(self, manager: Any, kind: FieldsType) -> None:
        super().__init__(manager, kind, WORD)


@infer_getattr
class _Attributes(AttributeTemplate):  # type: ignore[misc]
    """Types of fields."""

    key = FieldsType

    def generic_resolve(self, kind: FieldsType, name: str) -> Any:
        if kind.word_of(name) is None:
            return None
        return types.float64 if name in kind.layout.reals else types.int64


@lower_getattr_generic(FieldsType)  # type: ignore[untyped-decorator]
def _load_field(context: Any, builder: Any, kind: FieldsType, address: Any, name: str) -> Any:
    word = load_word(builder, address, WORD(kind.word_of(name)))
    return builder.bitcast(word, ir.DoubleType()) if name in kind.layout.reals else word


class FieldsInPython:
    """The same where kernels run as plain Python."""

    __slots__ = ("_address", "_kind")

    def __init__(self, kernel: Kernel, address: int) -> None:
        self._kind, self._address = FieldsType(kernel), address

    def __getattr__(self, name: str) -> Any:
        word = self._kind.word_of(name)
        if word is None:
            raise AttributeError(f"{self._kind.layout.kernel} has no field {name!r}")
        if name in self._kind.layout.reals:
            return float(Pointer(self._address, np.float64)[word])
        return int(Pointer(self._address, np.int64)[word])
