"""Instructions of an activation of one's own: a call of its compiled loop for each thread."""

from __future__ import annotations

from typing import Any

from fastconv.backends.compiled.instructions.instruction import (
    Instruction,
    LoweredKernel,
    Pointer,
    Target,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.python_functions import address_of_loop
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.plans.operation import ElementwiseSpec

_Types = tuple[str | None, ...]

_COST = 8
"""Cost of a function in relation to an addition: nobody knows, and most have an exponential."""


def _call(
    spec: ElementwiseSpec, types: _Types, function: int, pointers: dict[str, Any]
) -> LoweredKernel:
    instruction = Instruction.of(
        Kernel.ELEMENTWISE, str(types[0]), **pointers, size=spec.size, function=function,
        max_threads=threads_for_elements(spec.size, _COST),
    )  # fmt: skip
    return LoweredKernel((instruction,))


def elementwise_forward(spec: ElementwiseSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass."""
    function = address_of_loop(
        "function", spec.function, spec.constants, str(types[0]), multiplies=False
    )
    return _call(spec, types, function, {"x": Pointer(0), "y": Pointer(1)})


def elementwise_backward(spec: ElementwiseSpec, types: _Types, target: Target) -> LoweredKernel:
    """One pass."""
    function = address_of_loop(
        "derivative", spec.derivative, spec.constants, str(types[0]), multiplies=True
    )
    return _call(spec, types, function, {"dy": Pointer(0), "x": Pointer(1), "y": Pointer(2)})
