"""The compiled engine: its instruction set, its threads, and calls of single kernels."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.compiled.instructions.instruction import Target, choose_target, encode
from fastconv.backends.compiled.lowering.lowered_kernels import (
    cached_by_bytes,
    lower_kernel,
    name_of,
    with_room,
    workspace_of,
)
from fastconv.backends.compiled.threads import default_threads
from fastconv.backends.cython import missing
from fastconv.backends.workspace import WorkspaceTooSmall

try:
    from fastconv.backends.cython import _engine
except ImportError as fault:
    raise missing("_engine") from fault


@functools.cache
def target() -> Target:
    """Return the instruction set in use: the best that works here, or what FASTCONV_ISA names.

    Raises
    ------
    ValueError
        If FASTCONV_ISA names one that this processor or this build does not have.
    """
    return choose_target([Target(**each) for each in _engine.instruction_sets()])


@functools.cache
def _addresses() -> dict[tuple[str, str], int]:
    addresses: dict[tuple[str, str], int] = _engine.kernel_addresses(target().name)
    return addresses


tiles_of = None
"""Kernels in C come with all of their tiles."""


def address_of(kernel: str, dtype: str) -> int:
    """Return the address of a compiled kernel."""
    return _addresses()[kernel, dtype]


class _Made(NamedTuple):
    """Stream, relocations, bytes of workspace wherever it begins, and what runs them."""

    stream: NDArray[np.int64]
    relocations: NDArray[np.int64]
    needed: int
    call: _engine.CallStream


@cached_by_bytes(lambda made: 2 * made.stream.nbytes)  # relocations take about as much
def _stream(kernel: str, spec: Any, types: tuple[str | None, ...]) -> _Made:
    """Make what runs a kernel on arrays of dtypes by their names or letters."""
    names = tuple(None if each is None else name_of(np.dtype(each)) for each in types)
    lowered = lower_kernel(kernel, spec, names, target())
    stream, relocations = encode(lowered.instructions, address_of)
    needed = with_room(lowered.workspace_bytes)
    return _Made(stream, relocations, needed, _engine.CallStream(stream, relocations))


def execute(kernel: str, spec: Any, *arrays: np.ndarray | None) -> None:
    """Run one kernel of the contract; the workspace is the last array."""
    # Letters for names, which take longer to find than a small kernel.
    types = tuple([None if a is None else a.dtype.char for a in arrays[:-1]])
    _, _, needed, call = _stream(kernel, spec, types)
    workspace = arrays[-1]
    if needed and (workspace is None or workspace.nbytes < needed):
        raise WorkspaceTooSmall(kernel, needed, 0 if workspace is None else workspace.nbytes)
    # Asking for the cores of the process takes as long as a small kernel.
    call.run(arrays, default_threads() if call.most_threads > 1 else 1)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of the contract needs."""
    return workspace_of(kernel, spec, np.dtype(dtype).name, target())


class KernelStream(NamedTuple):
    """One kernel call of the contract, for compiled code that cimports ``_engine``.

    Parameters
    ----------
    stream
        int64 (instructions, 64): the kernel's instructions, without the addresses of its arrays.
    relocations
        int64 (addresses, 4): where they belong: instruction, word, number of the array, offset in
        bytes.
    workspace_bytes
        Bytes of workspace that the kernel needs; it may begin anywhere.
    """

    stream: NDArray[np.int64]
    relocations: NDArray[np.int64]
    workspace_bytes: int


def stream_of_kernel(kernel: str, spec: Any, *types: str | None) -> KernelStream:
    """Make the instruction stream of one kernel call, for compiled code: see ``docs/cimport.md``.

    Parameters
    ----------
    kernel
        ``module.function`` of the contract, such as "conv.conv2d_forward".
    spec
        Its spec.
    types
        Names of the dtypes of its arrays in order, without the workspace; None for an array that is
        left out, such as a bias.

    Returns
    -------
    KernelStream
        Arrays of the caller's own, for this process and this spec.

    Examples
    --------
    >>> from fastconv.spec import DenseSpec
    >>> made = stream_of_kernel("dense.dense_forward", DenseSpec(2, 3, 4), *["float32"] * 4)
    >>> made.stream.shape[1]
    64
    """
    made = _stream(kernel, spec, types)
    return KernelStream(made.stream.copy(), made.relocations.copy(), made.needed)


run_stream = _engine.run_stream
c_api = _engine.c_api
plan_functions = _engine.plan_functions
set_plan_threads = _engine.set_plan_threads
host_tensor = _engine.host_tensor
barrier_nanoseconds = _engine.barrier_nanoseconds
