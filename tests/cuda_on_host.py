"""The CUDA sources compiled as C++, and a device that runs them: the cupy backend without a GPU.

Launches go through the backend's own code; what stands in is CuPy and the card. Arrays are NumPy's.
With FASTCONV_CUDA_SANITIZED=1 the sources are compiled with the sanitizers of memory and of
undefined behaviour (``python -m tests.cuda_schedules --sanitized`` sets it).
"""

import contextlib
import ctypes
import functools
import hashlib
import itertools
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

from fastconv.backends.cupy.device import in_place_of_a_card
from fastconv.backends.cupy.kernel_sources import kernel_folder
from fastconv.backends.cupy.sources import instances_of, kernels_of

SOURCES = tuple(sorted(path.name for path in kernel_folder().glob("*.cu")))
DTYPES = ("float32", "float64")
_SHIM = Path(__file__).parent / "cuda_host_shim.h"
_FLAGS = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas",
          "-U_FORTIFY_SOURCE", "-fno-gnu-unique", "-shared", "-fPIC"]  # fmt: skip
if os.environ.get("FASTCONV_CUDA_SANITIZED"):
    _FLAGS += ["-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def _symbol(instance):
    return "launch_" + re.sub(r"\W+", "_", instance).strip("_")


def library_of(source, kernel):
    """The file of the library that holds an instance: products in large tiles have their own.

    Most tests need none of these, and they take the compiler most of its time.
    """
    stem = source.removesuffix(".cu")
    product = re.search(r"<(\w+), (\d+), (\d+), \d, fastconv::(\w+)>", kernel)
    small = product is None or product.group(2, 3) == ("32", "32")
    return f"{stem}.so" if small else f"{stem}-{'-'.join(product.groups())}.so"


def _build(source, library, folder, compiler):
    if not (folder / library).exists():
        every = dict.fromkeys(each for dtype in DTYPES for each in instances_of(source, dtype))
        instances = [each for each in every if library_of(source, each) == library]
        compile_source(source, instances, folder / library, compiler)


def compile_source(source, instances, library, compiler="g++", sources=None):
    """Compile instances of the kernels of a source for the host.

    Parameters
    ----------
    source, instances
        The file's name, and the kernels as C++ names them.
    library
        Path of what is made.
    sources
        Folder of the CUDA sources; the project's if None.
    """
    launches = [f"HOST_LAUNCH({_symbol(each)}, {each})" for each in dict.fromkeys(instances)]
    text = "\n".join(["#include <cuda_host_shim.h>", f'#include "{source}"', *launches, ""])
    _compile(text, library, compiler, sources or kernel_folder())


def _compile(text, library, compiler, sources):
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        program, made = Path(scratch, "program.cpp"), Path(scratch, "made.so")
        program.write_text(text, encoding="utf-8")
        command = [compiler, *_FLAGS, "-I", _SHIM.parent, "-I", sources, program, "-o", made]
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
    shims = sorted(_SHIM.parent.glob("cuda_*shim.h"))
    texts = [*shims, Path(__file__), *sorted(kernel_folder().glob("*.cu*"))]
    made_of = [" ".join(_FLAGS).encode(), *(path.read_bytes() for path in texts)]
    digest = hashlib.sha256(b"".join(made_of)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir(), f"fastconv-cuda-on-host-{os.getuid()}", digest)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / "lock"), ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(lambda source: _build(source, library_of(source, ""), folder, compiler),
                         SOURCES))  # fmt: skip
    return folder


@contextlib.contextmanager
def standing_in(device):
    """Let a device run all kernels of the cupy backend within the ``with`` block."""
    with in_place_of_a_card(device):
        yield device


class HostDevice:
    """Runs launches at once, one thread after the other.

    ``schedule`` chooses the order of blocks and threads: 0 is theirs, any other number draws one.
    """

    arrays = np
    compute_capability = (9, 0)
    multiprocessors = 132
    shared_bytes_of_a_block = 227 * 1024

    def __init__(self, schedule=0):
        self._folder = _built()
        self._libraries = {}
        self.schedule = schedule
        self.launched = []
        """(source, kernel, grid, block) of every launch, in order."""

    def _library(self, file):
        if file not in self._libraries:
            self._libraries[file] = ctypes.CDLL(str(self._folder / file))
        return self._libraries[file]

    def _library_of(self, source, kernel):
        file = library_of(source, kernel)
        if file not in self._libraries:
            with alone(self._folder / f"{file}.lock"):
                _build(source, file, self._folder, shutil.which("g++"))
        return self._library(file)

    def launch(self, source, dtype, kernel, grid, block, arguments, shared_bytes=0):
        assert shared_bytes <= self.shared_bytes_of_a_block
        assert kernel in instances_of(source, dtype), f"{kernel} is not in {source}"
        assert all(1 <= size < end for size, end in zip(grid, (2**31, 2**16, 2), strict=True)), grid
        self.launched.append((source, kernel, grid, block))
        library = self._library_of(source, kernel)
        run_kernel(library, _symbol(kernel), grid, block, arguments, self.schedule, shared_bytes)

    def launch_code(self, code, kernel, grid, block, arguments):
        file = f"code-{hashlib.sha256((code + kernel).encode()).hexdigest()[:16]}.so"
        if not (self._folder / file).exists():
            launch = f"HOST_LAUNCH({_symbol(kernel)}, {kernel})"
            text = f"#include <cuda_host_shim.h>\n{code}\n{launch}\n"
            _compile(text, self._folder / file, "g++", kernel_folder())
        self.launched.append(("", kernel, grid, block))
        run_kernel(self._library(file), _symbol(kernel), grid, block, arguments, self.schedule)

    def load(self, launches):
        pass

    def record(self, launches):
        return None

    def use(self, number):
        if number != 0:
            raise ValueError(f"device is {number}; expected 0 to 0, one of the CUDA devices")

    def address_of(self, array):
        return array.ctypes.data

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
        self._device, self.launches = device, []
        device.launch = lambda *launch: self.launches.append(launch)
        try:
            launches()
        finally:
            del device.launch
        self.replays = 0

    def replay(self):
        self.replays += 1
        for launch in self.launches:
            self._device.launch(*launch)


def run_kernel(library, symbol, grid, block, arguments, schedule=0, shared_bytes=0):
    """Launch a kernel of a compiled library, if its arguments are what its parameters are."""
    check_arguments(symbol, parameters_of(library, symbol), arguments)
    values = [_value(each) for each in arguments]
    pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
    sizes = [(ctypes.c_uint * 3)(*each) for each in (grid, block)]
    library.host_schedule(ctypes.c_ulonglong(schedule))
    library.host_shared(ctypes.c_ulonglong(-(-shared_bytes // 16) * 16))
    getattr(library, symbol)(*sizes, pointers)


@functools.cache
def _parameters_at(address):
    names = iter(ctypes.CFUNCTYPE(ctypes.POINTER(ctypes.c_char_p))(address)())
    return tuple(name.decode() for name in itertools.takewhile(lambda name: name, names))


def parameters_of(library, symbol):
    """The types of a kernel's parameters, such as ``("int32", "float32*")``."""
    function = getattr(library, f"{symbol}_parameters")
    return _parameters_at(ctypes.cast(function, ctypes.c_void_p).value)


def check_arguments(kernel, parameters, arguments):
    """Assert that a launch gives a kernel what CUDA would read without asking.

    Null and plain bytes (a workspace) may be pointers to anything.
    """
    assert len(arguments) == len(parameters), f"{kernel}: {len(arguments)} arguments, {parameters}"
    for number, (given, wanted) in enumerate(zip(arguments, parameters, strict=True)):
        if given is None:
            fits = wanted.endswith("*")
        elif isinstance(given, np.ndarray):
            assert given.flags.c_contiguous
            name = given.dtype.name
            fits = wanted == f"{name}*" or (wanted.endswith("*") and name == "uint8")
        else:
            fits = wanted == np.dtype(type(given)).name
        kind = given.dtype if isinstance(given, np.ndarray) else type(given).__name__
        assert fits, f"{kernel}: argument {number} is {kind}; its parameter is {wanted}"


_SCALARS = {np.int32: ctypes.c_int, np.uint32: ctypes.c_uint, np.uint64: ctypes.c_ulonglong,
            np.float64: ctypes.c_double}  # fmt: skip


def _value(argument):
    if argument is None:
        return ctypes.c_void_p(None)
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    return _SCALARS[type(argument)](argument.item())


__all__ = ["DTYPES", "SOURCES", "HostDevice", "Replayed", "kernels_of"]
