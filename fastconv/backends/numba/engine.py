"""The compiled engine: its instruction set, its threads, and calls of single kernels."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.compiled.instructions.record import WORDS, rows_of
from fastconv.backends.compiled.instructions.recorder import ALIGNMENT
from fastconv.backends.compiled.lowering.launches import launch_of, name_of, with_room, workspace_of
from fastconv.backends.compiled.threads import default_threads
from fastconv.backends.numba import team
from fastconv.backends.numba.compiled_code import Compiled, address_of_function
from fastconv.backends.numba.instruction_set import target
from fastconv.backends.numba.tiles import tiles_of
from fastconv.backends.workspace import WorkspaceTooSmall

__all__ = [
    "address_of", "barrier_nanoseconds", "execute", "import_kernels", "run_program",
    "target", "tiles_of", "workspace_bytes",
]  # fmt: skip

_KERNEL_MODULES = (
    "conv", "packing", "depthwise", "plane_products", "dense", "pooled", "interleaved", "winograd",
    "winograd_gradient", "optim", "activation", "loss", "random", "input", "dropout", "pool",
    "norm", "layout",
)  # fmt: skip

run_program = team.run_program
barrier_nanoseconds = team.barrier_nanoseconds


def import_kernels() -> None:
    """Import every module that has kernels."""
    for module in _KERNEL_MODULES:
        importlib.import_module(f"fastconv.backends.numba.{module}")


def address_of(kernel: str, dtype: str) -> int:
    """Return the address of a kernel, which is compiled if it was not yet."""

    def compile_now(name: str) -> Compiled:
        from fastconv.backends.numba.compilation import compile_kernel, has_kernel

        if not has_kernel(kernel):
            import_kernels()
        return compile_kernel(kernel, dtype, name)

    return address_of_function(f"{kernel}_{dtype}_{target().vector_bytes}", compile_now)


@functools.lru_cache(maxsize=1024)
def _rows(
    kernel: str, spec: Any, types: tuple[str | None, ...]
) -> tuple[NDArray[np.int64], list[tuple[int, int, int]], int]:
    """Rows, places, and bytes of workspace wherever it begins."""
    launch = launch_of(kernel, spec, types, target())
    rows, places = rows_of(launch.records, address_of, tiles_of)
    words = [(row * WORDS + word, number, skip) for row, word, number, skip in places.tolist()]
    return rows, words, with_room(launch.workspace_bytes)


def execute(kernel: str, spec: Any, *arrays: np.ndarray | None) -> None:
    """Run one kernel of the contract; the workspace is the last array."""
    types = tuple([None if a is None else name_of(a.dtype) for a in arrays[:-1]])
    rows, places, needed = _rows(kernel, spec, types)
    program = rows.copy()
    words = program.reshape(-1)
    addresses = [None if a is None else a.ctypes.data for a in arrays[:-1]]
    if needed:
        workspace = arrays[-1]
        if workspace is None or workspace.nbytes < needed:
            raise WorkspaceTooSmall(kernel, needed, 0 if workspace is None else workspace.nbytes)
        start = workspace.ctypes.data
        addresses.append(start + -start % ALIGNMENT)  # it begins at a cache line
    for word, number, skip in places:
        address = addresses[number]
        if address is not None:
            words[word] = address + skip
    run_program(program, 1, default_threads())


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of the contract needs."""
    return workspace_of(kernel, spec, np.dtype(dtype).name, target())
