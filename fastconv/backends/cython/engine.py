"""The compiled engine: its instruction set, its threads, and calls of single kernels."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.compiled.instructions.instruction import (
    Target,
    choose_bf16,
    choose_target,
    encode,
)
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
        If FASTCONV_ISA or FASTCONV_BF16 names what this processor or this build does not have.
    """
    found = [Target(**each) for each in _engine.instruction_sets()]
    chosen = choose_target(found)
    narrow = None
    if chosen.name == "avx512" and _engine.halves_wide_vectors():
        narrow = next(replace(each, is_narrow=True) for each in found if each.name == "avx512vl")
    return replace(chosen, bf16=choose_bf16(chosen, _engine.bf16_sets()), narrow=narrow)


@functools.cache
def _addresses() -> dict[tuple[str, str], int]:
    addresses: dict[tuple[str, str], int] = _engine.kernel_addresses(target().name)
    return addresses | _engine.kernel_addresses(target().bf16)


@functools.cache
def _narrow_addresses() -> dict[tuple[str, str], int]:
    narrow = target().narrow
    assert narrow is not None
    addresses: dict[tuple[str, str], int] = _engine.kernel_addresses(narrow.name)
    return addresses


tiles_of = None
"""Kernels in C come with all of their tiles."""


def address_of(kernel: str, dtype: str, *, is_narrow: bool = False) -> int:
    """Return the address of a compiled kernel; that of the narrow target if ``is_narrow``."""
    return (_narrow_addresses() if is_narrow else _addresses())[kernel, dtype]


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


def call_of(
    kernel: str, spec: Any, types: tuple[str | None, ...]
) -> tuple[_engine.CallStream, int]:
    """Return what runs a kernel on arrays of dtypes by their letters, and its workspace's bytes."""
    made = _stream(kernel, spec, types)
    return made.call, made.needed


def packed_call_of(
    kernel: str,
    spec: Any,
    types: tuple[str | None, ...],
    number: int,
    weights: NDArray[Any],
    forms: dict[bytes, NDArray[np.uint8]],
) -> tuple[_engine.CallStream, int]:
    """Return what :func:`call_of` does, for weights that are packed now, where kernels pack them.

    Parameters
    ----------
    kernel, spec, types
        As for :func:`call_of`.
    number
        Which of the kernel's arrays the weights are.
    weights
        In C's order, and changed by nobody.
    forms
        Packed forms of these weights by what makes them; the call's is taken from it, or added.
    """
    # Only where it is used: most calls pack their weights themselves.
    from fastconv.backends.compiled.lowering.preparation import PREPARED, prepare_kernel
    from fastconv.backends.compiled.runner import aligned

    names = tuple(None if each is None else name_of(np.dtype(each)) for each in types)
    lowered = lower_kernel(kernel, spec, names, target())
    prepared = prepare_kernel(lowered, names, number, target())
    if not prepared.instructions:
        return call_of(kernel, spec, types)
    stream, relocations = encode(prepared.instructions, address_of)
    key = stream.tobytes() + relocations.tobytes()
    form = forms.get(key)
    if form is None:
        form = forms[key] = aligned((prepared.memory_bytes,), "uint8")
        addresses = {number: weights.ctypes.data, PREPARED: form.ctypes.data}
        for row, word, argument, offset in relocations.tolist():
            stream[row, word] = addresses[argument] + offset
        _engine.run_stream(stream, 1, default_threads())
    stream, relocations = encode(prepared.left, address_of)
    is_form = relocations[:, 2] == PREPARED
    for row, word, _, offset in relocations[is_form].tolist():
        stream[row, word] = form.ctypes.data + offset
    call = _engine.CallStream(stream, np.ascontiguousarray(relocations[~is_form]), form)
    return call, with_room(lowered.workspace_bytes)


KeptCalls = _engine.KeptCalls
run_stream = _engine.run_stream
c_api = _engine.c_api
plan_functions = _engine.plan_functions
set_plan_threads = _engine.set_plan_threads
host_tensor = _engine.host_tensor
tensor_of = _engine.tensor_of
barrier_nanoseconds = _engine.barrier_nanoseconds
