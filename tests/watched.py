"""Running a kernel of a backend by its name in memory that is watched, beside the reference's."""

import contextlib
import functools

import numpy as np
from kernel_calls import calls_of

from fastconv.backends.cupy.products import ENOUGH_BLOCKS, CountedWorkspace
from fastconv.backends.selection import load_module
from fastconv.verify.kernel_calls import parameters_of as parameters_of
from fastconv.verify.watched_memory import run_watched

CUDA_ON_HOST = "cuda-on-host"
"""In place of a backend's name: the cupy backend with kernels that are compiled for the host."""


class _Here:
    """Where a backend without a runner computes."""

    @staticmethod
    def to_device(array):
        return array

    to_host = to_device


@functools.cache
def host_device():
    """The one device that all calls in this process run on."""
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

    with standing_in(host_device()):
        yield "cupy"


def _device_of(backend):
    # The reference has kernels and no runner.
    return _Here if backend in ("reference", CUDA_ON_HOST) else load_module(backend, "run")


def run(backend, call, in_place=(), precision=None):
    """Run one call and return its results by name.

    ``in_place`` is a pair of an input and an output that share one array, or empty; ``precision``
    is that of products in plans of the cupy backend.
    """
    with _running(backend) as name:
        module = load_module(name, call.kernel.partition(".")[0])
        return _run(module, _device_of(backend), call, in_place, precision)


def _run(module, device, call, in_place, precision):
    def counted(room):
        counters = device.to_device(np.zeros(ENOUGH_BLOCKS, np.int32))
        return CountedWorkspace(room, counters, precision)

    wrap = None if precision is None else counted
    return run_watched(module, device, call, in_place=in_place, wrap_workspace=wrap)


@functools.cache
def _expected(kernel, spec, dtype, integers):
    calls = calls_of(kernel, spec, dtype, integers)
    return [run("reference", call.in_float64()) for call in calls]


def calls_and_expected(kernel, spec, dtype, integers=False):
    """Calls of a kernel, each with the results of the reference in float64."""
    # Integers are the same numbers in both dtypes, and so is what comes of them.
    expected = _expected(kernel, spec, np.float64 if integers else dtype, integers)
    return zip(calls_of(kernel, spec, dtype, integers), expected, strict=True)
