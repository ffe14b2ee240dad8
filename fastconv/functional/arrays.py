"""Checks and layouts shared by the public functions."""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from fastconv.backends.selection import (
    BackendError,
    choose_backend,
    choose_backend_of_device,
    load_kernel,
    load_module,
)
from fastconv.backends.workspace import WorkspaceTooSmall
from fastconv.functional.array_types import as_array, check_beside, check_writable, module_of
from fastconv.functional.memory import keep_memory, kept_memory, take_memory
from fastconv.spec import SpecError, shown

Layout: TypeAlias = Literal["NCHW", "NHWC"]
Array: TypeAlias = NDArray[Any]
"""Array as type checkers see it, for which CuPy's arrays have no type of their own."""

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_COMPILED = ("cython", "numba")
"""Backends whose kernels never come near NumPy's warnings."""
_OPTIONAL = ("b", "running_mean", "running_variance")
"""Arguments that may be None."""


def take_floats(owner: str, **arrays: Any) -> Iterable[Any]:
    """Return arguments as arrays of one float32 or float64 dtype; some may be None.

    They are all NumPy's or all CuPy's; those of other libraries are taken as one or the other.
    """
    first: str | None = None
    kind: Any = None
    others = False
    for name, given in arrays.items():
        array = given
        if type(array) is not np.ndarray:
            if array is None and name in _OPTIONAL:
                continue
            array = arrays[name] = as_array(owner, name, array)
            others = True
        dtype = array.dtype
        if dtype not in FLOATS:
            fix = f"{name}.astype(numpy.float32)" if hasattr(given, "astype") else "convert it"
            raise TypeError(
                f"{owner}: {name} has dtype {dtype}; expected float32 or float64 ({fix})"
            )
        if first is None:
            first, kind = name, dtype
        elif dtype is not kind and dtype != kind:
            raise TypeError(
                f"{owner}: {name} has dtype {dtype} but {first} has {kind}; "
                f"convert one of them with astype"
            )
    if others and first is not None:
        for name, array in arrays.items():
            if array is not None:
                check_beside(owner, name, array, first, arrays[first])
    return arrays.values()


def take_beside(owner: str, name: str, value: Any, other_name: str, other: Array) -> Array:
    """Return an argument as an array of any dtype, of NumPy or CuPy as another one is."""
    if not (type(value) is type(other) is np.ndarray):
        value = as_array(owner, name, value)
        check_beside(owner, name, value, other_name, other)
    return cast("Array", value)


def check_dimensions(owner: str, name: str, array: Array, axes: str) -> None:
    """Check the number of dimensions; ``axes`` names them, as in "NCHW"."""
    if array.ndim != len(axes):
        raise ValueError(
            f"{owner}: {name} has {array.ndim} dimensions {array.shape}; expected {len(axes)} "
            f"({', '.join(axes)})"
        )


def check_shape(owner: str, name: str, array: Array, shape: Sequence[int], why: str) -> None:
    """Check an exact shape; ``why`` says where it comes from."""
    if array.shape != tuple(shape):
        raise ValueError(f"{owner}: {name} has shape {array.shape}; expected {tuple(shape)}: {why}")


def check_layout(owner: str, layout: object) -> None:
    """Check that ``layout`` is one of the two."""
    if not isinstance(layout, str) or layout not in ("NCHW", "NHWC"):
        raise ValueError(f"{owner}: layout is {shown(layout)}; expected 'NCHW' or 'NHWC'")


def take_integers(
    owner: str, name: str, value: Any, shape: Sequence[int], end: int, other_name: str, other: Array
) -> Array:
    """Return an array of integers in [0, end) as contiguous int64, beside another one.

    What they are is not looked at on a CUDA device: the host would have to wait for it.
    """
    array = take_beside(owner, name, value, other_name, other)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{owner}: {name} is {array.dtype}; expected an array of integers")
    check_shape(owner, name, array, shape, "one integer for each sample")
    if isinstance(array, np.ndarray):
        check_range(owner, name, array, end)
    return dense(cast("Array", module_of(array).ascontiguousarray(array, np.int64)))


def take_returned(
    owner: str, name: str, value: Any, dtype: Any, function: str, other_name: str, other: Array
) -> Array:
    """Return an array that another function returned, of the shape of another one."""
    array = take_beside(owner, name, value, other_name, other)
    if array.dtype != dtype:
        raise TypeError(
            f"{owner}: {name} must be the {np.dtype(dtype)} array that {function} returned"
        )
    check_shape(owner, name, array, other.shape, f"the shape of {other_name}")
    return array


def check_range(owner: str, name: str, array: Array, end: int, why: str = "") -> None:
    """Check that the integers of a NumPy array are in [0, end)."""
    if not array.size:
        return
    low, high = array.min(), array.max()
    if low < 0 or high >= end:
        # Another thread may have changed it since: then there is nothing wrong to be found in it.
        found = array[(array < 0) | (array >= end)]
        wrong = found[0] if found.size else low if low < 0 else high
        raise ValueError(f"{owner}: {name} holds {wrong}; expected 0 to {end - 1}{why}")


def as_numbers(owner: str, name: str, values: npt.ArrayLike) -> NDArray[np.float64]:
    """Return anything that holds real numbers as a float64 array."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{owner}: {name} has dtype {array.dtype}; expected numbers")
    return array.astype(np.float64)


def check_number(owner: str, name: str, value: object) -> float:
    """Check a real number, and return it as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{owner}: {name} is {shown(value)}; expected a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{owner}: {name} is too large; expected a finite number") from None


def check_integer(owner: str, name: str, value: Any, bits: int) -> int:
    """Check an integer from 0 to 2**bits - 1, and return it as a plain int."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{owner}: {name} is {shown(value)}; expected an integer") from None
    if not 0 <= number < 2**bits:
        raise ValueError(f"{owner}: {name} is {shown(value)}; expected 0 to 2**{bits} - 1")
    return number


def shape_to_nhwc(owner: str, name: str, shape: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """Reorder a shape given in ``layout``."""
    try:
        n, a, b, c = (operator.index(size) for size in shape)
    except (TypeError, ValueError):
        raise ValueError(
            f"{owner}: {name} is {shown(shape)}; expected 4 sizes ({layout})"
        ) from None
    return (n, b, c, a) if layout == "NCHW" else (n, a, b, c)


def shape_from_nhwc(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """Reorder an NHWC shape into ``layout``."""
    n, h, w, c = shape
    return (n, c, h, w) if layout == "NCHW" else shape


def is_dense(array: Array) -> bool:
    """Whether a kernel can take an array as it is: in order, without gaps, aligned."""
    flags = array.flags
    # CuPy's flags do not tell what is aligned: its arrays are, as its own kernels need it too.
    return bool(flags.c_contiguous and getattr(flags, "aligned", True))


def dense(array: Array) -> Array:
    """Return an array as a kernel takes it: copied if need be, and with a dimension at least."""
    if array.ndim == 0:
        array = array.reshape(1)
    return array if is_dense(array) else array.copy()


def take_out(owner: str, out: Any, shape: Sequence[int], x: Array) -> Array | None:
    """Return an ``out`` argument as an array like x that can be written to, or None."""
    if out is None:
        return None
    array: Array
    (array,) = take_floats(owner, out=out)
    check_beside(owner, "out", array, "x", x)
    if array.dtype != x.dtype:
        raise TypeError(f"{owner}: out has dtype {array.dtype}; expected {x.dtype}, that of x")
    check_shape(owner, "out", array, shape, "the shape of the result")
    check_writable(owner, "out", out, array)
    return array


def may_overlap(array: Array, other: Array | None) -> bool:
    """Whether two arrays of NumPy, or two of CuPy, may have memory in common.

    Their bounds alone are compared: two that lie between each other's elements count too.
    """
    if other is None:
        return False
    if array is other:
        return True
    if type(array) is type(other) is np.ndarray:
        if array.base is None and other.base is None:
            return False  # two that own their memory: a fifth of the time of a look at the bounds
        return np.may_share_memory(array, other)
    return bool(module_of(array).may_share_memory(array, other))


def empty(owner: str, shape: Sequence[int], x: Array, dtype: Any = None) -> Array:
    """Return a new array beside x, of its dtype or another.

    Raises
    ------
    MemoryError
        If there is no memory for it; the message names the function.
    """
    try:
        return cast("Array", module_of(x).empty(shape, x.dtype if dtype is None else dtype))
    except (MemoryError, ValueError):  # ValueError beyond what NumPy can count
        raise MemoryError(
            f"{owner}: the result has shape {tuple(shape)}, more than fits in memory; use smaller "
            f"images, less padding, or fewer samples at a time"
        ) from None


def result_buffer(
    owner: str, out: Array | None, shape: Sequence[int], x: Array, *others: Array | None
) -> Array:
    """Return ``out`` where a kernel can write into it at once, else a new array like x.

    It cannot where ``out`` is, or overlaps, one of the inputs ``x`` and ``others``: kernels read
    them while they write.
    """
    if out is not None and is_dense(out) and not may_overlap(out, x):
        for other in others:
            if may_overlap(out, other):
                break
        else:
            return out
    return empty(owner, shape, x)


def check_needs(owner: str, needs: Sequence[str], allowed: tuple[str, ...]) -> None:
    """Check a ``needs`` argument: which gradients to compute."""
    if not isinstance(needs, Sequence):
        raise TypeError(f"{owner}: needs is {shown(needs)}; expected a tuple such as {allowed}")
    for need in needs:
        if not isinstance(need, str) or need not in allowed:
            raise ValueError(
                f"{owner}: needs holds {shown(need)}; expected any of "
                f"{', '.join(map(repr, allowed))}"
            )


def _backend_for(array: Any, backend: str | None) -> str:
    """Return the backend for arrays like this one."""
    if not isinstance(array, np.ndarray):
        return choose_backend_of_device(backend).name
    name = choose_backend(backend).name
    if name == "cupy":
        raise BackendError(
            "backend 'cupy' takes CuPy arrays, but the arguments are NumPy arrays, and nothing is "
            "copied to the device unasked; convert them (cupy.asarray(x)), or use backend='numpy' "
            "or 'auto'"
        )
    return name


@functools.lru_cache(maxsize=1024)
def _workspace_bytes(backend: str, kernel: str, spec: Any, dtype: Any) -> int:
    return load_kernel(backend, kernel)[1](kernel.partition(".")[2], spec, dtype)


def launch(
    backend: str | None,
    kernel: str,
    spec: Any,
    dtype: Any,
    *arrays: Array | None,
) -> None:
    """Call one kernel of the chosen backend, with a workspace."""
    name = _backend_for(arrays[0], backend)
    function = load_kernel(name, kernel)[0]
    if name in _COMPILED:
        # What it needs it knows when it has been lowered for these arrays, which is done once.
        memory = kept_memory()
        try:
            function(spec, *arrays, memory)
        except WorkspaceTooSmall as small:
            memory = take_memory(small.needed)
            function(spec, *arrays, memory)
        if memory is not None:
            keep_memory(memory)
        return
    size = _workspace_bytes(name, kernel, spec, dtype)
    if name == "cupy":
        # The pool gives a workspace to nothing else of this stream before the kernel is done.
        function(spec, *arrays, module_of(arrays[0]).empty(size, np.uint8) if size else None)
        return
    workspace = take_memory(size) if size else None
    # NaN and infinities are carried through, as the functions promise, without a warning.
    with np.errstate(all="ignore"):
        function(spec, *arrays, workspace)
    if workspace is not None:
        keep_memory(workspace)


def sum_channels(backend: str | None, array: Array, layout: Layout | Literal["NC"]) -> Array:
    """Sum each channel over all other axes, which needs no kernel of a backend."""
    _backend_for(array, backend)
    channel = layout.index("C")
    if not isinstance(array, np.ndarray):
        # CuPy's threads sum in parts of their own.
        total: Array = array.sum(axis=tuple(a for a in range(array.ndim) if a != channel))
        return total
    sums = load_module("numpy", "sums")
    contiguous = np.ascontiguousarray(array)
    with np.errstate(all="ignore"):
        if layout == "NCHW":
            total = sums.sum_nchw(contiguous)
        else:
            total = sums.sum_rows(contiguous.reshape(-1, array.shape[channel]))
        return total.astype(array.dtype)


@contextlib.contextmanager
def errors_of(owner: str, inner: str) -> Iterator[None]:
    """Let errors of another public function name the one that calls it."""
    try:
        yield
    except SpecError as fault:
        raise fault.of(owner) from None
    except (TypeError, ValueError) as fault:
        told = str(fault).removeprefix(f"{inner}: ")
        raise type(fault)(f"{owner}: {told}") from None


def is_plain(value: object) -> bool:
    """Whether an argument is made of ints, strings and tuples only, none of them a bool.

    Such values can be keys of a cache: those that are equal are the same. True and 1.0 equal 1, but
    are not accepted in its place.
    """
    kind = type(value)
    if kind is tuple:
        return all(map(is_plain, cast("tuple[object, ...]", value)))
    return kind is int or kind is str
