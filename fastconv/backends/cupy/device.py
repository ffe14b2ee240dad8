"""The device that kernels run on: CuPy's current one, or what stands in for it.

All that this backend asks of CUDA goes through :func:`device`. The tests put another one in its
place, which runs the same kernels on the host.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeAlias

import numpy as np

from fastconv.backends.cupy.kernel_sources import kernel_folder
from fastconv.backends.cupy.sources import code_of, compiled_with

Dimensions: TypeAlias = tuple[int, int, int]
Array: TypeAlias = Any
"""An array of the device."""


class Recording(Protocol):
    """Launches that can be made again by one call."""

    def replay(self) -> None:
        """Make the launches."""


class Device(Protocol):
    """Device that runs kernels, and holds their arrays."""

    arrays: Any
    """The module that makes its arrays: cupy, or numpy."""

    @property
    def compute_capability(self) -> tuple[int, int]:
        """Its major and minor compute capability, such as (8, 0)."""

    @property
    def multiprocessors(self) -> int:
        """How many it has."""

    @property
    def shared_bytes_of_a_block(self) -> int:
        """Most shared memory that a block may have where a launch asks for it."""

    def launch(
        self,
        source: str,
        dtype: np.dtype[Any],
        kernel: str,
        grid: Dimensions,
        block: Dimensions,
        arguments: Sequence[Any],
        shared_bytes: int = 0,
    ) -> None:
        """Launch an instance of a kernel on the current stream.

        Arguments are scalars of NumPy's types, which must be those of the kernel's parameters,
        arrays of the device, and None for null.
        """

    def launch_code(
        self,
        code: str,
        kernel: str,
        grid: Dimensions,
        block: Dimensions,
        arguments: Sequence[Any],
    ) -> None:
        """Launch an instance of a kernel of a program that is no file of the package."""

    def load(self, launches: Callable[[], None]) -> None:
        """Have the code of all that ``launches`` launches ready, without running it."""

    def record(self, launches: Callable[[], None]) -> Recording | None:
        """Record what ``launches`` launches without running it; None where that cannot be."""

    def use(self, number: int) -> None:
        """Make another card the current one; a ValueError where there is none of this number."""

    def current(self) -> int:
        """Return the number of the current card."""

    def card_of(self, array: Array) -> int:
        """Return the number of the card that an array lies on."""

    def address_of(self, array: Array) -> int:
        """Return where the first byte of an array lies."""

    def view(self, array: Any) -> Array:
        """Take another library's array of a card, without a copy.

        What is launched on the current stream from here on comes after all that has been launched
        to fill it; the host does not wait.
        """

    def stream(self) -> Any:
        """Return a context in which launches and copies go to a stream of their own."""

    def synchronize(self) -> None:
        """Wait until all that was launched on the current stream is done."""

    def to_host(self, array: Any) -> np.ndarray:
        """Copy an array to the host, after all that was launched on the current stream."""

    def nanoseconds_of(self, launches: Callable[[], None]) -> int:
        """Make launches and return how long they took."""


class _Graph:
    """A CUDA graph, launched on the stream that is current then."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    def replay(self) -> None:
        self._graph.launch()


class _Ordered:
    """An array that no stream has to be waited for any more; keeps its owner alive."""

    def __init__(self, owner: Any, interface: dict[str, Any]) -> None:
        self._owner = owner
        self.__cuda_array_interface__ = interface


class CudaDevice:
    """The current device of CuPy."""

    def __init__(self) -> None:
        self.arrays: Any = importlib.import_module("cupy")
        self._modules: dict[tuple[int, str, tuple[str, ...]], Any] = {}
        self._functions: dict[tuple[int, str, str], Any] = {}
        self._wanted: dict[tuple[str, tuple[str, ...]], set[str]] | None = None

    @property
    def compute_capability(self) -> tuple[int, int]:
        """Major and minor compute capability of the current card."""
        digits = str(self.arrays.cuda.Device().compute_capability)
        return int(digits[:-1]), int(digits[-1])

    @property
    def multiprocessors(self) -> int:
        """How many multiprocessors the current card has."""
        return int(self.arrays.cuda.Device().attributes["MultiProcessorCount"])

    @property
    def shared_bytes_of_a_block(self) -> int:
        """Most shared memory that a block of the current card may have."""
        return int(self.arrays.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"])

    def _module(self, source: str, instances: tuple[str, ...]) -> Any:
        """Compile instances of a source file, or take them from CuPy's cache on disk."""
        key = (self.arrays.cuda.Device().id, source, instances)
        if key not in self._modules:
            self._modules[key] = self.arrays.RawModule(
                code=code_of(source),
                options=("-std=c++17", f"-I{kernel_folder()}"),
                name_expressions=instances,
            )
        return self._modules[key]

    def launch(
        self,
        source: str,
        dtype: np.dtype[Any],
        kernel: str,
        grid: Dimensions,
        block: Dimensions,
        arguments: Sequence[Any],
        shared_bytes: int = 0,
    ) -> None:
        """Launch an instance of a kernel on the current stream."""
        key = (self.arrays.cuda.Device().id, source, kernel)
        if key not in self._functions:
            instances = compiled_with(kernel, source, dtype)
            if self._wanted is not None:
                self._wanted.setdefault((source, instances), set()).add(kernel)
                return
            function = self._module(source, instances).get_function(kernel)
            function.compile()
            self._functions[key] = function
        if self._wanted is not None:
            return
        if any(isinstance(each, np.ndarray) for each in arguments):
            # CuPy would take its bytes for the argument itself.
            raise TypeError(f"{kernel}: an argument is a NumPy array; expected a CuPy array")
        null = np.uintp(0)
        values = tuple(null if each is None else each for each in arguments)
        function = self._functions[key]
        if not shared_bytes:
            function(grid, block, values)
            return
        if function.max_dynamic_shared_size_bytes < shared_bytes:
            function.max_dynamic_shared_size_bytes = shared_bytes
        function(grid, block, values, shared_mem=shared_bytes)

    def launch_code(
        self,
        code: str,
        kernel: str,
        grid: Dimensions,
        block: Dimensions,
        arguments: Sequence[Any],
    ) -> None:
        """Launch an instance of a kernel of a program that is no file of the package."""
        key = (self.arrays.cuda.Device().id, code, kernel)
        if key not in self._functions:
            module = self.arrays.RawModule(
                code=code,
                options=("-std=c++17", f"-I{kernel_folder()}"),
                name_expressions=(kernel,),
            )
            self._functions[key] = module.get_function(kernel)
        if self._wanted is not None:
            return
        null = np.uintp(0)
        values = tuple(null if each is None else each for each in arguments)
        self._functions[key](grid, block, values)

    def load(self, launches: Callable[[], None]) -> None:
        """Compile what is not in CuPy's cache, sources side by side, and load all."""
        wanted: dict[tuple[str, tuple[str, ...]], set[str]] = {}
        self._wanted = wanted
        try:
            launches()
        finally:
            self._wanted = None
        number = self.current()

        def compile_source(each: tuple[str, tuple[str, ...]]) -> None:
            with self.arrays.cuda.Device(number):  # a thread has a current card of its own
                self._module(*each).compile()

        # The compiler runs without Python's lock.
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(compile_source, wanted))
        for (source, instances), kernels in wanted.items():
            for kernel in kernels:
                function = self._module(source, instances).get_function(kernel)
                function.compile()
                self._functions[number, source, kernel] = function

    def record(self, launches: Callable[[], None]) -> Recording | None:
        """Capture what ``launches`` launches as a CUDA graph; where that fails, warn of it."""
        self.load(launches)  # code cannot be loaded while a stream is captured
        cuda = self.arrays.cuda
        stream = cuda.get_current_stream()
        try:
            stream.begin_capture()
            try:
                launches()
            finally:
                graph = stream.end_capture()
        # Launches raise the driver's errors, all else the runtime's.
        except (cuda.runtime.CUDARuntimeError, cuda.driver.CUDADriverError) as fault:
            warnings.warn(
                f"no CUDA graph could be recorded ({fault}); kernels are launched one by one",
                RuntimeWarning,
                stacklevel=2,
            )
            return None
        return _Graph(graph)

    def use(self, number: int) -> None:
        """Make another card the current one."""
        count = self.arrays.cuda.runtime.getDeviceCount()
        if not 0 <= number < count:
            raise ValueError(
                f"device is {number}; expected 0 to {count - 1}, one of the CUDA devices"
            )
        self.arrays.cuda.Device(number).use()

    def current(self) -> int:
        """Return the number of the current card."""
        number: int = self.arrays.cuda.runtime.getDevice()
        return number

    def card_of(self, array: Array) -> int:
        """Return the number of the card that an array lies on."""
        number: int = array.data.device_id
        return number

    def address_of(self, array: Array) -> int:
        """Return where the first byte of an array lies."""
        address: int = array.data.ptr
        return address

    def view(self, array: Any) -> Array:
        """Take an array with DLPack, whose maker orders the streams, or with CUDA's interface."""
        if hasattr(array, "__dlpack__"):
            return self.arrays.from_dlpack(array)
        interface = array.__cuda_array_interface__
        stream = interface.get("stream")
        if stream is None:
            return self.arrays.asarray(array)
        # CuPy would let the host wait for the stream; an event lets the current stream wait.
        event = self.arrays.cuda.Event(disable_timing=True)
        self.arrays.cuda.runtime.eventRecord(event.ptr, stream)
        self.arrays.cuda.get_current_stream().wait_event(event)
        return self.arrays.asarray(_Ordered(array, {**interface, "stream": None}))

    def stream(self) -> Any:
        """Return a new stream: the default one cannot be captured. Each waits for the other."""
        return self.arrays.cuda.Stream()

    def synchronize(self) -> None:
        """Wait for the current stream."""
        self.arrays.cuda.get_current_stream().synchronize()

    def to_host(self, array: Any) -> np.ndarray:
        """Copy an array to the host."""
        copied: np.ndarray = self.arrays.asnumpy(array)
        return copied

    def nanoseconds_of(self, launches: Callable[[], None]) -> int:
        """Time launches between two events of the current stream."""
        start, end = self.arrays.cuda.Event(), self.arrays.cuda.Event()
        start.record()
        launches()
        end.record()
        end.synchronize()
        milliseconds: float = self.arrays.cuda.get_elapsed_time(start, end)
        return round(1e6 * milliseconds)


_stand_in: Device | None = None


def stand_in(device: Device | None) -> None:
    """Let another device run all kernels from here on; None: CuPy's again."""
    global _stand_in
    _stand_in = device


@contextlib.contextmanager
def in_place_of_a_card(device: Any) -> Iterator[None]:
    """Let another device take all launches within the ``with`` block."""
    before = _stand_in
    stand_in(device)
    try:
        yield
    finally:
        stand_in(before)


@functools.cache
def _cuda_device() -> CudaDevice:
    return CudaDevice()


def device() -> Device:
    """Return the device that runs kernels now."""
    return _cuda_device() if _stand_in is None else _stand_in


def device_in_use() -> Device | None:
    """Return the device if this program can have arrays of it: not where nobody imported CuPy."""
    imported = _stand_in is not None or sys.modules.get("cupy") is not None
    return device() if imported else None
