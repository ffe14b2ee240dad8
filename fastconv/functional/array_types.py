"""Arrays that public functions take: NumPy's, CuPy's, and others' as views of one or the other.

Memory of the host is NumPy's and memory of a CUDA device is CuPy's. Nothing is copied from one to
the other, and nothing waits for the device. CuPy is imported only for arrays that need it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.backends.selection import (
    BackendError,
    backend_state,
    choose_backend,
    load_module,
)

_HOST = (1, 3)
"""DLPack's device types of memory that NumPy can read: the host's, pinned or not."""
_CUDA = (2, 13)
"""Kinds of DLPack device: a CUDA device, and memory that it manages."""
_KINDS = "a NumPy or CuPy array, or one with DLPack or __cuda_array_interface__"


@functools.cache
def _cuda() -> Any:
    """Return the cupy backend's module of devices, which programs without CUDA do not load."""
    return load_module("cupy", "device")


@functools.cache
def _exchange() -> Callable[[Any], Any]:
    """Return what takes arrays by DLPack's C structures: the engine in C, or nothing."""
    if not backend_state("cython").works:
        return lambda value: None
    take: Callable[[Any], Any] = load_module("cython", "engine").host_tensor
    return take


@functools.lru_cache(maxsize=64)
def maker_of(kind: type) -> Callable[[Any], Any] | None:
    """Return what makes arrays of a type of NumPy's by C structures; None where nothing does."""
    exchanges = hasattr(kind, "__dlpack_c_exchange_api__")
    if not exchanges or not backend_state("cython").works:
        return None
    make: Callable[[Any, type], Any] = load_module("cython", "engine").tensor_of
    return lambda array: make(array, kind) if isinstance(array, np.ndarray) else None


def _exchanged(value: Any) -> Any:
    """Return an array of the host that its library exchanges as a C structure, or None."""
    try:
        host = _exchange()(value)
    except (BufferError, RuntimeError, TypeError, ValueError):
        return None  # what is wrong is said where it is taken the slower way
    return None if host is None else np.asarray(host)


def module_of(array: Any) -> Any:
    """Return the module that makes arrays like this one: numpy or cupy."""
    if isinstance(array, np.ndarray):
        return np
    return _cuda().device().arrays


def as_array(owner: str, name: str, value: Any) -> Any:
    """Return an argument as an array of NumPy or, on its current device, of CuPy; never a copy.

    Raises
    ------
    TypeError
        If it is no array, or one that cannot be taken as it is.
    ValueError
        If it lies on another device than the current one.
    BackendError
        If it lies on a CUDA device and CuPy is missing.
    """
    if isinstance(value, np.ndarray):
        if np.ma.is_masked(value):
            raise TypeError(
                f"{owner}: {name} is a masked array, whose mask would be lost; use "
                f"{name}.filled(0), or another number"
            )
        return np.asarray(value)  # subclasses have meanings of their own for what is done here
    array = _exchanged(value)
    if array is not None:
        return array
    used = _cuda().device_in_use()
    if used is not None and isinstance(value, used.arrays.ndarray):
        array = value
    else:
        array = _view(owner, name, value)
        if isinstance(array, np.ndarray):
            return array
    device = _cuda().device()
    number, current = device.card_of(array), device.current()
    if number != current and array.size:
        raise ValueError(
            f"{owner}: {name} lies on CUDA device {number} but the current one is {current}; "
            f"bring all arrays to one device, and call within `with cupy.cuda.Device({number}):`"
        )
    return array


def _view(owner: str, name: str, value: Any) -> Any:
    """Take an array of another library, wherever it lies."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, type) or not (
        hasattr(value, "__dlpack__") or hasattr(value, "__cuda_array_interface__")
    ):
        fix = getattr(value, "array_of_it", "numpy.asarray({})").format(name)
        raise TypeError(f"{owner}: {name} is a {type(value).__name__}; expected {_KINDS} ({fix})")
    try:
        place = value.__dlpack_device__()[0] if hasattr(value, "__dlpack__") else _CUDA[0]
        if place in _HOST:
            return np.from_dlpack(value)
        if place in _CUDA:
            choose_backend("cupy")  # an error where CuPy or the card is missing
            return _cuda().device().view(value)
    except BackendError:
        raise
    except (AttributeError, BufferError, RuntimeError, TypeError, ValueError) as fault:
        raise TypeError(f"{owner}: {name} is a {kind} that cannot be taken: {fault}") from fault
    raise TypeError(
        f"{owner}: {name} is a {kind} on a device of DLPack's type {int(place)}; "
        f"expected an array of the host or of a CUDA device"
    )


def check_beside(owner: str, name: str, array: Any, other_name: str, other: Any) -> None:
    """Check that two arrays are both NumPy's or both CuPy's."""
    if type(array) is type(other):
        return
    kinds = [_kind_of(each) for each in (array, other)]
    if kinds[0] != kinds[1]:
        raise TypeError(
            f"{owner}: {name} is a {kinds[0]} array but {other_name} is a {kinds[1]} array; "
            f"convert one of them: cupy.asarray copies to the device, cupy.asnumpy to the host"
        )


def _kind_of(array: Any) -> str:
    return "NumPy" if isinstance(array, np.ndarray) else "CuPy"


def check_writable(owner: str, name: str, given: Any, array: Any) -> None:
    """Check that an argument that is written to, and was taken as ``array``, may be changed."""
    if isinstance(array, np.ndarray):
        writable = array.flags.writeable
    else:
        interface = {} if given is array else getattr(given, "__cuda_array_interface__", {})
        writable = not interface.get("data", (0, False))[1]
    if not writable:
        raise ValueError(f"{owner}: {name} is read-only; expected an array that can be written to")
