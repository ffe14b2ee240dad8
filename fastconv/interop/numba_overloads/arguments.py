"""Arguments of public functions inside ``@njit``: their types, and arrays as kernels take them."""

# mypy: disable-error-code="no-untyped-def"
# Numba compares the signature of what is typed with that of its types, annotations too.

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import overload

from fastconv.interop.descriptions import DB, DTYPES, DW, DX
from fastconv.interop.numba_overloads.intrinsics import (
    check,
    check_shape,
    compiled,
    image_shape,
    matrix_shape,
    require_engine,
    run_plan,
)

Function = TypeVar("Function", bound=Callable[..., Any])

NEEDS = ("x", "w", "b")
"""All that a backward function of a layer can make."""
ALL_GRADIENTS = DX + DW + DB


def overloads(public: Callable[..., Any]) -> Callable[[Function], Function]:
    """Decorate what makes the compiled form of a public function of the types of arguments."""
    decorate: Callable[[Function], Function] = overload(public)
    return decorate


def is_none(kind: Any) -> bool:
    """Whether an argument is None, or was left out and is None then."""
    return (
        kind is None
        or isinstance(kind, types.NoneType)
        or (isinstance(kind, types.Omitted) and kind.value is None)
    )


def constant(owner: str, name: str, given: Any, choices: tuple[Any, ...]) -> Any:
    """Return the value of an argument that must be known while the function is compiled."""
    value = given
    if isinstance(given, types.Omitted):
        value = given.value
    elif isinstance(given, types.NoneType):
        value = None
    elif isinstance(given, types.Literal):
        value = given.literal_value
    if isinstance(value, types.Type) or value not in choices:
        said = f"of Numba's type {given}" if isinstance(value, types.Type) else repr(value)
        raise TypingError(
            f"{owner}: {name} is {said}; inside @njit expected a constant, "
            f"{' or '.join(map(repr, choices))}"
        )
    return value


def begin(owner: str, backend: Any) -> None:
    """Check that the engine can be called, and that nothing else was asked for."""
    require_engine(owner)
    constant(owner, "backend", backend, (None, "cython", "auto"))


def check_floats(owner: str, **arrays: Any) -> int:
    """Check the types of arrays of one dtype, some of them None; return its number."""
    first: Any = None
    for name, kind in arrays.items():
        if is_none(kind) and name in ("b", "out"):
            continue
        if not isinstance(kind, types.Array):
            raise TypingError(f"{owner}: {name} is of Numba's type {kind}; expected a NumPy array")
        dtype = str(kind.dtype)
        if dtype not in DTYPES:
            raise TypingError(
                f"{owner}: {name} has dtype {dtype}; expected float32 or float64 "
                f"({name}.astype(numpy.float32))"
            )
        if first is None:
            first = name, dtype
        elif dtype != first[1]:
            raise TypingError(
                f"{owner}: {name} has dtype {dtype} but {first[0]} has {first[1]}; convert one of "
                f"them with astype"
            )
        if name == "out" and not kind.mutable:
            raise TypingError(
                f"{owner}: out is read-only; expected an array that can be written to"
            )
    return DTYPES.index(first[1])


def check_axes(owner: str, name: str, kind: Any, axes: str) -> None:
    """Check the number of dimensions; ``axes`` names them, as in "NCHW"."""
    if not is_none(kind) and kind.ndim != len(axes):
        raise TypingError(
            f"{owner}: {name} has {kind.ndim} dimensions; expected {len(axes)} ({', '.join(axes)})"
        )


def check_integers(owner: str, name: str, kind: Any) -> None:
    """Check that an argument is an array of integers."""
    if not (isinstance(kind, types.Array) and isinstance(kind.dtype, types.Integer)):
        raise TypingError(f"{owner}: {name} is of Numba's type {kind}; expected integers")


def is_same(owner: str, padding: Any) -> int:
    """Whether padding is "same"; "valid" is the same as no padding."""
    if isinstance(padding, (str, types.UnicodeType, types.StringLiteral)):
        return int(constant(owner, "padding", padding, ("same", "valid")) == "same")
    return 0


# Arrays as kernels take them


def as_dense(array: Any) -> Any:
    """Return an array as it is, or copied where it is not in order."""


@overloads(as_dense)
def _typed_dense(array):
    if is_none(array):
        return lambda array: None
    if array.layout == "C" and array.aligned:
        return lambda array: array
    return lambda array: np.ascontiguousarray(array)


def overlap(array: Any, other: Any) -> bool:
    """Whether two arrays may have memory in common, as far as kernels see it."""
    raise NotImplementedError


@overloads(overlap)
def _typed_overlaps(array, other):
    if is_none(other) or other.layout != "C":
        return lambda array, other: False  # a copy is what is read

    def overlaps(array, other):
        begin, start = array.ctypes.data, other.ctypes.data
        return (
            begin < start + other.size * other.itemsize
            and start < begin + array.size * array.itemsize
        )

    return overlaps


def result_runner(out: Any, number: int, axes: int) -> Callable[..., Any]:
    """Make the function that runs a plan of (x, w, b, out), with None or an array for ``out``.

    Parameters
    ----------
    out
        The type of the argument.
    number
        Of the result among the arrays of the plan.
    axes
        Of the result: 2 or 4.
    """
    shape = matrix_shape if axes == 2 else image_shape

    @compiled
    def run_new(plan: Any, x: Any, w: Any, b: Any, out: Any) -> Any:
        y = np.empty(shape(plan, number), x.dtype)
        check(run_plan(plan, (as_dense(x), as_dense(w), as_dense(b), y)))
        return y

    @compiled
    def run_beside(plan: Any, x: Any, w: Any, b: Any, out: Any) -> Any:
        check(check_shape(plan, number, out, shape(plan, number)))
        y = run_new(plan, x, w, b, out)
        for place in range(y.size):  # an assignment takes seconds to compile
            out.flat[place] = y.flat[place]
        return out

    @compiled
    def run_into(plan: Any, x: Any, w: Any, b: Any, out: Any) -> Any:
        if overlap(out, x) or overlap(out, w) or overlap(out, b):
            return run_beside(plan, x, w, b, out)
        check(check_shape(plan, number, out, shape(plan, number)))
        check(run_plan(plan, (as_dense(x), as_dense(w), as_dense(b), out)))
        return out

    if is_none(out):
        return run_new
    return run_into if out.layout == "C" and out.aligned else run_beside
