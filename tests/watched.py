"""Running a kernel in memory that is watched.

Every array lies between guard bytes, outputs are full of NaN, and the workspace has exactly the
bytes that the kernel asked for, full of NaN too: a kernel that counts on zeros, writes past an
array or changes what it may only read is found.
"""

import contextlib
import functools
import importlib
import inspect

import numpy as np
from kernel_calls import calls_of

from fastconv.backends.cupy.products import ENOUGH_BLOCKS, CountedWorkspace
from fastconv.backends.selection import load_module

CUDA_ON_HOST = "cuda-on-host"
"""In place of a backend's name: the cupy backend with kernels that are compiled for the host."""

_GUARD = 192
_GUARD_BYTE = 0x5A


class _Memory:
    """An array between guard bytes, where the backend computes."""

    def __init__(self, device, array):
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self._end = _GUARD + data.size
        self._before = np.full(self._end + _GUARD, _GUARD_BYTE, np.uint8)
        self._before[_GUARD : self._end] = data
        room = np.empty(self._before.size + 63, np.uint8)
        aligned = room[-room.ctypes.data % 64 :][: self._before.size]
        aligned[:] = self._before
        self._device, self._all = device, device.to_device(aligned)
        self.array = self._all[_GUARD : self._end].view(array.dtype).reshape(array.shape)

    def bytes_now(self):
        """What it holds, after a check of the guards."""
        now = self._device.to_host(self._all)
        guards = np.concatenate([now[:_GUARD], now[self._end :]])
        assert (guards == _GUARD_BYTE).all(), "written outside the array"
        return now[_GUARD : self._end].copy()

    def is_unchanged(self):
        return np.array_equal(self.bytes_now(), self._before[_GUARD : self._end])


class _Here:
    """Where a backend without a runner computes."""

    @staticmethod
    def to_device(array):
        return array

    to_host = to_device


@functools.cache
def _host_device():
    # Only here: other tests run kernels where there are no CUDA sources, in copies of the package.
    from cuda_on_host import HostDevice

    return HostDevice()


@contextlib.contextmanager
def _running(backend):
    """Let the host run CUDA kernels where that is asked for; gives the backend's own name."""
    if backend != CUDA_ON_HOST:
        yield backend
        return
    from cuda_on_host import standing_in

    with standing_in(_host_device()):
        yield "cupy"


def _device_of(backend):
    # The reference has kernels and no runner.
    return _Here if backend in ("reference", CUDA_ON_HOST) else load_module(backend, "run")


def _rubbish(shape, dtype):
    """An array of NaN; of all bits set for integers."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.full(count, 0xFF, np.uint8).view(dtype).reshape(shape)


@functools.cache
def parameters_of(kernel):
    """Names of the arrays of a kernel, in order: all but the spec and the workspace."""
    module, _, name = kernel.partition(".")
    reference = importlib.import_module(f"fastconv.backends.reference.{module}")
    return tuple(inspect.signature(getattr(reference, name)).parameters)[1:-1]


def run(backend, call, in_place=(), precision=None):
    """Run one call and return its results by name.

    ``in_place`` is a pair of an input and an output that share one array, or empty; ``precision``
    is that of products in plans of the cupy backend.
    """
    with _running(backend) as name:
        module = load_module(name, call.kernel.partition(".")[0])
        return _run(module, _device_of(backend), call, in_place, precision)


def _run(module, device, call, in_place, precision):
    _, _, name = call.kernel.partition(".")
    rubbish = {key: _rubbish(*output) for key, output in call.outputs.items()}
    values = {k: v for k, v in (call.reads | call.updates | rubbish).items() if v is not None}
    memory = {key: _Memory(device, value) for key, value in values.items()}
    if in_place:
        memory[in_place[1]] = memory[in_place[0]]
    size = module.workspace_bytes(name, call.spec, call.dtype)
    workspace = _Memory(device, _rubbish((size,), np.uint8)) if size else None
    room = workspace.array if workspace else None
    if precision is not None:
        counters = device.to_device(np.zeros(ENOUGH_BLOCKS, np.int32))
        room = CountedWorkspace(room, counters, precision)
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
        elif key not in in_place:
            assert memory[key].is_unchanged(), f"{call}: {key} was changed"
    return results


@functools.cache
def _expected(kernel, spec, dtype, integers):
    calls = calls_of(kernel, spec, dtype, integers)
    return [run("reference", call.in_float64()) for call in calls]


def calls_and_expected(kernel, spec, dtype, integers=False):
    """Calls of a kernel, each with the results of the reference in float64."""
    # Integers are the same numbers in both dtypes, and so is what comes of them.
    expected = _expected(kernel, spec, np.float64 if integers else dtype, integers)
    return zip(calls_of(kernel, spec, dtype, integers), expected, strict=True)
