"""Kernels of the contract, one behind the other, as one instruction stream."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fastconv.backends.compiled.instructions.builder import ALIGNMENT
from fastconv.backends.compiled.instructions.instruction import (
    WORKSPACE,
    Instruction,
    LoweredKernel,
    Pointer,
    Target,
)
from fastconv.backends.compiled.lowering.lowered_kernels import lower_kernel


class Place(NamedTuple):
    """An array that a kernel reads or writes.

    Parameters
    ----------
    pointer
        Where it begins: in an argument of the whole, or in its workspace.
    dtype
        Name of its dtype.
    """

    pointer: Pointer
    dtype: str


class JoinedKernels:
    """A list of kernels that share a workspace: arrays of their own, then what each works in.

    Parameters
    ----------
    target
        The instruction set.

    Examples
    --------
    >>> from fastconv.plans.operation import SoftmaxSpec
    >>> kernels = JoinedKernels(Target("plain", 0, 16))
    >>> x, y, between = Place(Pointer(0), "float32"), Place(Pointer(1), "float32"), (4, "float32")
    >>> between = kernels.room(*between)
    >>> kernels.add("activation.softmax_forward", SoftmaxSpec(2, 2), x, between)
    >>> kernels.add("activation.softmax_forward", SoftmaxSpec(2, 2), between, y)
    >>> len(kernels.lowered().instructions)
    2
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._parts: list[tuple[LoweredKernel, tuple[Place | None, ...]]] = []
        self._rooms = 0

    def room(self, elements: int, dtype: str) -> Place:
        """Return a new array of so many elements in the workspace."""
        place = Place(Pointer(WORKSPACE, self._rooms), dtype)
        size = elements * np.dtype(dtype).itemsize
        self._rooms += size + -size % ALIGNMENT
        return place

    def add(self, kernel: str, spec: Any, *arrays: Place | None) -> None:
        """Add a kernel, named ``module.function``, on its arrays in order; None is left out."""
        types = tuple(None if array is None else array.dtype for array in arrays)
        self._parts.append((lower_kernel(kernel, spec, types, self._target), arrays))

    def lowered(self) -> LoweredKernel:
        """Return the instructions of all, and the bytes of workspace that they share."""
        instructions: list[Instruction] = []
        for lowered, arrays in self._parts:
            moved = [self._moved(each, arrays) for each in lowered.instructions]
            if moved:
                # Whatever comes next may need any of it.
                moved[-1] = replace(moved[-1], barrier=True)
            instructions += moved
        most = max((lowered.workspace_bytes for lowered, _ in self._parts), default=0)
        return LoweredKernel(tuple(instructions), self._rooms + most)

    def _moved(self, instruction: Instruction, arrays: tuple[Place | None, ...]) -> Instruction:
        def place_of(pointer: Pointer) -> Pointer | None:
            if pointer.argument == WORKSPACE:
                return pointer.skip(self._rooms)
            place = arrays[pointer.argument]
            return None if place is None else place.pointer.skip(pointer.offset)

        return instruction.with_pointers(place_of)
