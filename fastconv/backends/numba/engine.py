"""The compiled engine: its instruction set, its threads, and calls of single kernels."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.compiled.instructions.builder import ALIGNMENT
from fastconv.backends.compiled.instructions.instruction import encode
from fastconv.backends.compiled.instructions.layout import WORDS
from fastconv.backends.compiled.lowering.lowered_kernels import (
    cached_by_bytes,
    lower_kernel,
    name_of,
    with_room,
    workspace_of,
)
from fastconv.backends.compiled.threads import default_threads
from fastconv.backends.numba import thread_pool
from fastconv.backends.numba.compiled_code import Compiled, address_of_function
from fastconv.backends.numba.instruction_set import target
from fastconv.backends.numba.tiles import tiles_of
from fastconv.backends.workspace import WorkspaceTooSmall

__all__ = [
    "address_of", "barrier_nanoseconds", "execute", "import_kernels", "run_stream",
    "target", "tiles_of", "workspace_bytes",
]  # fmt: skip

_KERNEL_MODULES = (
    "conv", "im2col", "packing", "depthwise", "plane_products", "dense", "pooled", "batch_blocked",
    "winograd", "winograd_gradient", "optim", "gradient", "activation", "loss", "target_loss",
    "loss_weights", "random", "input", "augment", "dropout", "pool", "norm", "group_norm",
    "resample", "prelu", "elementwise", "layout", "merge",
)  # fmt: skip

run_stream = thread_pool.run_stream
barrier_nanoseconds = thread_pool.barrier_nanoseconds


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


@cached_by_bytes(lambda made: 2 * made[0].nbytes)  # relocations take about as much
def _stream(
    kernel: str, spec: Any, types: tuple[str | None, ...]
) -> tuple[NDArray[np.int64], list[tuple[int, int, int]], int]:
    """Stream, relocations, and bytes of workspace wherever it begins."""
    lowered = lower_kernel(kernel, spec, types, target())
    stream, relocations = encode(lowered.instructions, address_of, tiles_of)
    words = [
        (number * WORDS + word, argument, skip)
        for number, word, argument, skip in relocations.tolist()
    ]
    return stream, words, with_room(lowered.workspace_bytes)


def execute(kernel: str, spec: Any, *arrays: np.ndarray | None) -> None:
    """Run one kernel of the contract; the workspace is the last array."""
    types = tuple([None if a is None else name_of(a.dtype) for a in arrays[:-1]])
    stream, relocations, needed = _stream(kernel, spec, types)
    stream = stream.copy()
    words = stream.reshape(-1)
    addresses = [None if a is None else a.ctypes.data for a in arrays[:-1]]
    if needed:
        workspace = arrays[-1]
        if workspace is None or workspace.nbytes < needed:
            raise WorkspaceTooSmall(kernel, needed, 0 if workspace is None else workspace.nbytes)
        start = workspace.ctypes.data
        addresses.append(start + -start % ALIGNMENT)  # it begins at a cache line
    for word, argument, skip in relocations:
        address = addresses[argument]
        if address is not None:
            words[word] = address + skip
    run_stream(stream, 1, default_threads())


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of the contract needs."""
    return workspace_of(kernel, spec, np.dtype(dtype).name, target())
