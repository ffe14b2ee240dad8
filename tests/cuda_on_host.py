"""The CUDA sources compiled as C++, and a device that runs them: the cupy backend without a GPU.

Launches go through the backend's own code; what stands in is CuPy and the card. Arrays are NumPy's.
"""

import contextlib
import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from made_once import alone

from fastconv.backends.cupy.device import stand_in
from fastconv.backends.cupy.kernel_sources import kernel_folder
from fastconv.backends.cupy.sources import instances_of, kernels_of

SOURCES = tuple(sorted(path.name for path in kernel_folder().glob("*.cu")))
DTYPES = ("float32", "float64")
_SHIM = Path(__file__).parent / "cuda_host_shim.h"
_FLAGS = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas",
          "-U_FORTIFY_SOURCE", "-shared", "-fPIC"]  # fmt: skip


def _symbol(instance):
    return "launch_" + re.sub(r"\W+", "_", instance).strip("_")


def _program(source):
    """A C++ program that holds every instance of the kernels of a source file."""
    instances = dict.fromkeys(each for dtype in DTYPES for each in instances_of(source, dtype))
    lines = ["#include <cuda_host_shim.h>", f'#include "{source}"']
    return "\n".join([*lines, *(f"HOST_LAUNCH({_symbol(i)}, {i})" for i in instances), ""])


def _build(source, folder, compiler):
    library = folder / f"{source.removesuffix('.cu')}.so"
    if not library.exists():
        _compile(_program(source), library, compiler)


def _compile(text, library, compiler):
    folder = library.parent
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        program, made = Path(scratch, "program.cpp"), Path(scratch, "made.so")
        program.write_text(text, encoding="utf-8")
        command = [
            compiler,
            *_FLAGS,
            "-I",
            _SHIM.parent,
            "-I",
            kernel_folder(),
            program,
            "-o",
            made,
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{library.name}: {result.stderr}"
        made.replace(library)


def _built():
    """The folder of the compiled sources; compiled once for all processes that want them."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the stand-in for a GPU changes between threads as Linux does (ucontext)")
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed: CUDA sources cannot be compiled for the host")
    texts = [_SHIM, Path(__file__), *sorted(kernel_folder().glob("*.cu*"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in texts)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir(), f"fastconv-cuda-on-host-{os.getuid()}", digest)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / "lock"), ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(lambda source: _build(source, folder, compiler), SOURCES))
    return folder


@contextlib.contextmanager
def standing_in(device):
    """Let a device run all kernels of the cupy backend within the ``with`` block."""
    stand_in(device)
    try:
        yield device
    finally:
        stand_in(None)


class HostDevice:
    """Runs launches at once, one thread after the other."""

    arrays = np
    compute_capability = (9, 0)

    def __init__(self):
        self._folder = _built()
        self._libraries = {}
        self.launched = []
        """(source, kernel, grid, block) of every launch, in order."""

    def _function(self, source, kernel):
        if source not in self._libraries:
            path = self._folder / f"{source.removesuffix('.cu')}.so"
            self._libraries[source] = ctypes.CDLL(str(path))
        return getattr(self._libraries[source], _symbol(kernel))

    def launch(self, source, dtype, kernel, grid, block, arguments):
        assert kernel in instances_of(source, dtype), f"{kernel} is not in {source}"
        assert all(1 <= size < end for size, end in zip(grid, (2**31, 2**16, 2), strict=True)), grid
        self.launched.append((source, kernel, grid, block))
        values = [_value(each) for each in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        sizes = [(ctypes.c_uint * 3)(*each) for each in (grid, block)]
        self._function(source, kernel)(*sizes, pointers)

    def launch_code(self, code, kernel, grid, block, arguments):
        name = f"code-{hashlib.sha256((code + kernel).encode()).hexdigest()[:16]}.so"
        if name not in self._libraries:
            launch = f"HOST_LAUNCH({_symbol(kernel)}, {kernel})"
            if not (self._folder / name).exists():
                text = f"#include <cuda_host_shim.h>\n{code}\n{launch}\n"
                _compile(text, self._folder / name, shutil.which("g++"))
            self._libraries[name] = ctypes.CDLL(str(self._folder / name))
        self.launched.append(("", kernel, grid, block))
        values = [_value(each) for each in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        sizes = [(ctypes.c_uint * 3)(*each) for each in (grid, block)]
        getattr(self._libraries[name], _symbol(kernel))(*sizes, pointers)

    def record(self, launches):
        return None

    def use(self, number):
        if number != 0:
            raise ValueError(f"device is {number}; expected 0 to 0, one of the CUDA devices")

    def stream(self):
        return contextlib.nullcontext()

    def synchronize(self):
        pass

    def to_host(self, array):
        return array.copy()

    def nanoseconds_of(self, launches):
        before = time.perf_counter_ns()
        launches()
        return time.perf_counter_ns() - before


class Replayed:
    """A recording as a graph is one: the arguments of its launches are those of then."""

    def __init__(self, device, launches):
        self._device, self._made = device, []
        device.launch = lambda *launch: self._made.append(launch)
        try:
            launches()
        finally:
            del device.launch
        self.replays = 0

    def replay(self):
        self.replays += 1
        for launch in self._made:
            self._device.launch(*launch)


_SCALARS = {np.int32: ctypes.c_int, np.uint32: ctypes.c_uint, np.uint64: ctypes.c_ulonglong,
            np.float64: ctypes.c_double}  # fmt: skip


def _value(argument):
    if argument is None:
        return ctypes.c_void_p(None)
    if isinstance(argument, np.ndarray):
        assert argument.flags.c_contiguous
        return ctypes.c_void_p(argument.ctypes.data)
    return _SCALARS[type(argument)](argument.item())


__all__ = ["DTYPES", "SOURCES", "HostDevice", "Replayed", "kernels_of"]
