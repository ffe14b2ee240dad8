"""The compiled engine: its instruction set, its threads, and calls of single kernels."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.compiled.instructions.record import Target, choose_target, rows_of
from fastconv.backends.compiled.lowering.launches import launch_of, name_of, with_room, workspace_of
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


@functools.lru_cache(maxsize=1024)
def _rows(
    kernel: str, spec: Any, types: tuple[str | None, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Rows, places, and bytes of workspace wherever it begins."""
    launch = launch_of(kernel, spec, types, target())
    return *rows_of(launch.records, address_of), with_room(launch.workspace_bytes)


def execute(kernel: str, spec: Any, *arrays: np.ndarray | None) -> None:
    """Run one kernel of the contract; the workspace is the last array."""
    types = tuple([None if a is None else name_of(a.dtype) for a in arrays[:-1]])
    rows, places, needed = _rows(kernel, spec, types)
    workspace = arrays[-1]
    if needed and (workspace is None or workspace.nbytes < needed):
        raise WorkspaceTooSmall(kernel, needed, 0 if workspace is None else workspace.nbytes)
    _engine.run_call(rows, places, arrays, default_threads())


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of the contract needs."""
    return workspace_of(kernel, spec, np.dtype(dtype).name, target())


class KernelRows(NamedTuple):
    """One kernel call of the contract, for compiled code that cimports ``_engine``.

    Parameters
    ----------
    rows
        int64 (records, 64): the kernel's records, without the addresses of its arrays.
    places
        int64 (addresses, 4): where they belong: row, word, number of the array, offset in bytes.
    workspace_bytes
        Bytes of workspace that the kernel needs; it may begin anywhere.
    """

    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    workspace_bytes: int


def rows_of_kernel(kernel: str, spec: Any, *types: str | None) -> KernelRows:
    """Make the rows of one kernel call, to be run from compiled code: see ``docs/cimport.md``.

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
    KernelRows
        Arrays of the caller's own, for this process and this spec.

    Examples
    --------
    >>> from fastconv.spec import DenseSpec
    >>> made = rows_of_kernel("dense.dense_forward", DenseSpec(2, 3, 4), *["float32"] * 4)
    >>> made.rows.shape[1]
    64
    """
    rows, places, needed = _rows(kernel, spec, types)
    return KernelRows(rows.copy(), places.copy(), needed)


run_program = _engine.run_program
barrier_nanoseconds = _engine.barrier_nanoseconds
