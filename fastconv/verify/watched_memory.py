"""Running a kernel in memory that is watched.

Every array lies between guard bytes, outputs are full of NaN, and the workspace has exactly the
bytes that the kernel asked for, full of NaN too: a kernel that counts on zeros, writes past an
array or changes what it may only read is found.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastconv.verify.kernel_calls import Call, parameters_of

_GUARD = 192
_GUARD_BYTE = 0x5A
_LINE = 64
"""Bytes of a cache line, where arrays begin unless they are to begin elsewhere."""


class MemoryFault(AssertionError):
    """Memory that a kernel has written and should not have: which, in one line."""


class WatchedArray:
    """An array between guard bytes, where the backend computes.

    Parameters
    ----------
    device
        A module or class with ``to_device`` and ``to_host``.
    array
        What it holds at first.
    skip
        Bytes from a cache line to its beginning.

    Attributes
    ----------
    array
        Where the backend has it.
    """

    def __init__(self, device: Any, array: NDArray[Any], skip: int = 0) -> None:
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._end = _GUARD + data.size
        self._before = np.full(self._end + _GUARD, _GUARD_BYTE, np.uint8)
        self._before[_GUARD : self._end] = data
        room = np.empty(self._before.size + _LINE - 1 + skip, np.uint8)
        placed = room[-room.ctypes.data % _LINE + skip :][: self._before.size]
        placed[:] = self._before
        self._device, self._all = device, device.to_device(placed)
        self.array = self._all[_GUARD : self._end].view(array.dtype).reshape(array.shape)

    def bytes_now(self) -> NDArray[np.uint8]:
        """Return what it holds, after a check of the guards.

        Raises
        ------
        MemoryFault
            If something was written beside it.
        """
        now: NDArray[np.uint8] = self._device.to_host(self._all)
        guards = np.concatenate([now[:_GUARD], now[self._end :]])
        if not (guards == _GUARD_BYTE).all():
            raise MemoryFault("written outside the array")
        return now[_GUARD : self._end].copy()

    def is_unchanged(self) -> bool:
        """Whether it holds what it held at first."""
        return np.array_equal(self.bytes_now(), self._before[_GUARD : self._end])


def rubbish(shape: Any, dtype: DTypeLike) -> NDArray[Any]:
    """Return an array of NaN; of all bits set for integers.

    Parameters
    ----------
    shape, dtype
        Of the array.

    Examples
    --------
    >>> rubbish((2,), "float32").tolist()
    [nan, nan]
    """
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.full(count, 0xFF, np.uint8).view(dtype).reshape(shape)


def run_watched(
    module: ModuleType,
    device: Any,
    call: Call,
    *,
    in_place: tuple[str, ...] = (),
    skip: int = 0,
    wrap_workspace: Any = None,
) -> dict[str, NDArray[Any]]:
    """Run one call and return its results by name.

    Parameters
    ----------
    module
        Of the backend, with the kernel.
    device
        As for :class:`WatchedArray`.
    call
        The call.
    in_place
        An input and an output that share one array, or empty.
    skip
        Bytes from a cache line to the beginning of each array.
    wrap_workspace
        Makes of the workspace what the kernel takes in its place.

    Raises
    ------
    MemoryFault
        If the kernel wrote where it should not.
    """
    _, _, name = call.kernel.partition(".")
    outputs = {key: rubbish(*output) for key, output in call.outputs.items()}
    values = {k: v for k, v in (call.reads | call.updates | outputs).items() if v is not None}
    memory = {key: WatchedArray(device, value, skip) for key, value in values.items()}
    if in_place:
        memory[in_place[1]] = memory[in_place[0]]
    size = module.workspace_bytes(name, call.spec, call.dtype)
    workspace = WatchedArray(device, rubbish((size,), np.uint8), skip) if size else None
    room = workspace.array if workspace else None
    if wrap_workspace is not None:
        room = wrap_workspace(room)
    getattr(module, name)(
        call.spec,
        *(memory[key].array if key in memory else None for key in parameters_of(call.kernel)),
        room,
    )
    if workspace:
        workspace.bytes_now()
    results = {}
    for key, value in values.items():
        if key in call.outputs or key in call.updates:
            results[key] = memory[key].bytes_now().view(value.dtype).reshape(value.shape)
        elif key not in in_place and not memory[key].is_unchanged():
            raise MemoryFault(f"{call}: {key} was changed")
    return results
