"""Numba beyond its documented API, all in one place, each with the reason.

Documented are ``numba.njit``, ``cfunc``, ``types``, ``config``, ``numba.extending`` and llvmlite.
The rest may move with any release: pyproject.toml caps the range, and ``.ci/run`` tests both ends.

* ``cgutils``: loops and stack slots in LLVM instructions that intrinsics write. Numba's own guide
  to extending it uses the module, but promises nothing.
* ``AbstractTemplate``, ``AttributeTemplate``, ``infer_global``, ``signature``: the types of
  operators on vectors, and of fields of an instruction. ``numba.extending.overload`` would compile
  a function for each, some hundred times for a tile.
* :func:`symbol_of`, :func:`object_code_of`: the object file of a compiled function, to be kept
  on disk and linked by processes that do not import Numba. ``cache=True`` keeps them too, but is
  read by Numba alone, whose import takes longer than most trainings.
"""

from __future__ import annotations

from typing import Any

from numba.core import cgutils as cgutils
from numba.core.typing.templates import AbstractTemplate as AbstractTemplate
from numba.core.typing.templates import AttributeTemplate as AttributeTemplate
from numba.core.typing.templates import infer_global as infer_global
from numba.core.typing.templates import signature as signature


def symbol_of(compiled: Any) -> str:
    """Return the name of what a ``cfunc`` became in its object file."""
    name: str = compiled._wrapper_name
    return name


def object_code_of(compiled: Any) -> tuple[bytes, tuple[str, ...]]:
    """Return the object file of a ``cfunc``, and the names that it needs from elsewhere."""
    library = compiled._library
    module = library._final_module
    things = [*module.functions, *module.global_variables]
    names = tuple(thing.name for thing in things if thing.is_declaration)
    code: bytes = library._get_compiled_object()
    return code, names
