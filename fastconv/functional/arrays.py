"""Checks and layouts shared by the public functions."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from fastconv.backends.selection import BackendError, choose_backend, load_kernel
from fastconv.functional.memory import keep_memory, take_memory
from fastconv.operation import InputSpec

Layout: TypeAlias = Literal["NCHW", "NHWC"]
Array: TypeAlias = NDArray[Any]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
_COMPILED = ("cython", "numba")
"""Backends whose kernels never come near NumPy's warnings."""
_OPTIONAL = ("b", "running_mean", "running_variance")
"""Arguments that may be None."""


def check_floats(owner: str, **arrays: object) -> None:
    """Check that all arguments are arrays of one float32 or float64 dtype; some may be None."""
    first: tuple[str, np.dtype[Any]] | None = None
    for name, array in arrays.items():
        if array is None and name in _OPTIONAL:
            continue
        if not isinstance(array, np.ndarray):
            raise TypeError(
                f"{owner}: {name} is a {type(array).__name__}; expected a NumPy array "
                f"(numpy.asarray(..., dtype=numpy.float32))"
            )
        if array.dtype not in _FLOATS:
            raise TypeError(
                f"{owner}: {name} has dtype {array.dtype}; expected float32 or float64 "
                f"({name}.astype(numpy.float32))"
            )
        if first is None:
            first = name, array.dtype
        elif array.dtype != first[1]:
            raise TypeError(
                f"{owner}: {name} has dtype {array.dtype} but {first[0]} has {first[1]}; "
                f"convert one of them with astype"
            )


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
    if layout not in ("NCHW", "NHWC"):
        raise ValueError(f"{owner}: layout is {layout!r}; expected 'NCHW' or 'NHWC'")


def check_integers(
    owner: str, name: str, array: object, shape: Sequence[int], end: int
) -> NDArray[np.int64]:
    """Check an integer array with values in [0, end), and return it as contiguous int64."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{owner}: {name} is {kind}; expected a NumPy array of integers")
    check_shape(owner, name, array, shape, "one integer for each sample")
    if array.size and (array.min() < 0 or array.max() >= end):
        wrong = array[(array < 0) | (array >= end)].flat[0]
        raise ValueError(f"{owner}: {name} holds {wrong}; expected 0 to {end - 1}")
    return np.ascontiguousarray(array, np.int64)


def as_numbers(owner: str, name: str, values: npt.ArrayLike) -> NDArray[np.float64]:
    """Return anything that holds real numbers as a float64 array."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{owner}: {name} has dtype {array.dtype}; expected numbers")
    return array.astype(np.float64)


def check_number(owner: str, name: str, value: object) -> float:
    """Check a real number, and return it as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{owner}: {name} is {value!r}; expected a number")
    return float(value)


def check_integer(owner: str, name: str, value: Any, bits: int) -> int:
    """Check an integer from 0 to 2**bits - 1, and return it as a plain int."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{owner}: {name} is {value!r}; expected an integer") from None
    if not 0 <= number < 2**bits:
        raise ValueError(f"{owner}: {name} is {value!r}; expected 0 to 2**{bits} - 1")
    return number


def shape_to_nhwc(owner: str, name: str, shape: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """Reorder a shape given in ``layout``."""
    try:
        n, a, b, c = (operator.index(size) for size in shape)
    except (TypeError, ValueError):
        raise ValueError(f"{owner}: {name} is {shape!r}; expected 4 sizes ({layout})") from None
    return (n, b, c, a) if layout == "NCHW" else (n, a, b, c)


def shape_from_nhwc(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """Reorder an NHWC shape into ``layout``."""
    n, h, w, c = shape
    return (n, c, h, w) if layout == "NCHW" else shape


_WORTH_A_KERNEL = {"cython": 1 << 14, "numba": 1 << 17}
"""Elements from which on a backend's kernel is faster than NumPy's strided copy: what its call
costs, against several times the bandwidth."""


def is_dense(array: Array) -> bool:
    """Whether a kernel can take an array as it is: in order, without gaps, aligned."""
    return bool(array.flags.c_contiguous and array.flags.aligned)


def dense(array: Array) -> Array:
    """Return an array as a kernel takes it: copied if need be."""
    return array if is_dense(array) else array.copy()


def _copy_transposed(
    array: Array, axes: tuple[int, ...], kernel: str, backend: str | None
) -> Array:
    """Return images with their axes in another order, C-contiguous."""
    result = array.transpose(axes)
    if array.size >= min(_WORTH_A_KERNEL.values()) and is_dense(array):
        name = choose_backend(backend).name
        if array.size >= _WORTH_A_KERNEL.get(name, array.size + 1):
            out = np.empty(result.shape, array.dtype)
            n, c, h, w = array.shape if kernel.endswith("nhwc") else out.shape
            # Places in max pooling are int32: bits are moved, whatever they mean.
            bits = array.dtype if array.dtype in _FLOATS else np.dtype(f"f{array.itemsize}")
            launch(name, kernel, InputSpec(n, h, w, c), bits, array.view(bits), out.view(bits))
            return out
    return np.ascontiguousarray(result)


def to_nhwc(array: Array, layout: Layout, backend: str | None = None) -> Array:
    """Return images as C-contiguous NHWC: no copy if they are already."""
    if layout == "NHWC":
        return np.ascontiguousarray(array)
    return _copy_transposed(array, (0, 2, 3, 1), "layout.nchw_to_nhwc", backend)


def from_nhwc(array: Array, layout: Layout, backend: str | None = None) -> Array:
    """Return images in ``layout``, C-contiguous."""
    if layout == "NHWC":
        return np.ascontiguousarray(array)
    return _copy_transposed(array, (0, 3, 1, 2), "layout.nhwc_to_nchw", backend)


def check_out(owner: str, out: Array | None, shape: Sequence[int], dtype: Any) -> None:
    """Check an ``out`` argument."""
    if out is None:
        return
    check_floats(owner, out=out)
    if out.dtype != dtype:
        raise TypeError(f"{owner}: out has dtype {out.dtype}; expected {dtype}, that of x")
    check_shape(owner, "out", out, shape, "the shape of the result")


def result_buffer(out: Array | None, shape: Sequence[int], dtype: Any) -> Array:
    """Return ``out`` where a kernel can write into it at once, else a new array."""
    if out is not None and out.shape == tuple(shape) and is_dense(out):
        return out
    return np.empty(shape, dtype)


def check_needs(owner: str, needs: Sequence[str], allowed: tuple[str, ...]) -> None:
    """Check a ``needs`` argument: which gradients to compute."""
    if not isinstance(needs, Sequence):
        raise TypeError(f"{owner}: needs is {needs!r}; expected a tuple such as {allowed!r}")
    for need in needs:
        if need not in allowed:
            raise ValueError(
                f"{owner}: needs holds {need!r}; expected any of {', '.join(map(repr, allowed))}"
            )


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
    name = choose_backend(backend).name
    if name == "cupy":
        raise BackendError(
            "backend 'cupy' trains (--backend cupy), but the public functions of this version take "
            "NumPy arrays only; use backend='numpy', or leave it to auto"
        )
    function = load_kernel(name, kernel)[0]
    size = _workspace_bytes(name, kernel, spec, dtype)
    workspace = take_memory(size) if size else None
    if name in _COMPILED:
        function(spec, *arrays, workspace)
    else:
        # NaN and infinities are carried through, as the functions promise, without a warning.
        with np.errstate(all="ignore"):
            function(spec, *arrays, workspace)
    if workspace is not None:
        keep_memory(workspace)


def is_plain(value: object) -> bool:
    """Whether an argument is made of ints, strings and tuples only, none of them a bool.

    Such values can be keys of a cache: those that are equal are the same. True and 1.0 equal 1, but
    are not accepted in its place.
    """
    kind = type(value)
    if kind is tuple:
        return all(map(is_plain, cast("tuple[object, ...]", value)))
    return kind is int or kind is str
