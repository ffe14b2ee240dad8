"""Instructions of group normalisation: a group of a sample is done by one thread."""

from __future__ import annotations

from typing import Any

from fastconv.backends.compiled.instructions.instruction import (
    Instruction,
    LoweredKernel,
    Pointer,
    Target,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.plans.norm_operation import GroupNormSpec

_Types = tuple[str | None, ...]

_CHANNELS_OF_PARAMETERS = 16
"""Channels that are summed side by side, as in ``kernels/cpu/group_norm.h``."""


def _lowered(
    kernel: Kernel, spec: GroupNormSpec, types: _Types, names: str, tasks: int, **more: Any
) -> LoweredKernel:
    pointers: dict[str, Any] = {
        name: None if types[number] is None else Pointer(number)
        for number, name in enumerate(names.split())
    }
    elements = spec.batch * spec.pixels * spec.channels
    instruction = Instruction.of(
        kernel, str(types[0]), **pointers, batch=spec.batch, pixels=spec.pixels,
        channels=spec.channels, groups=spec.groups, **more,
        max_threads=max(1, min(tasks, threads_for_elements(elements, 2))),
    )  # fmt: skip
    return LoweredKernel((instruction,))


def group_norm_forward(spec: GroupNormSpec, types: _Types, target: Target) -> LoweredKernel:
    """Three passes over each group."""
    return _lowered(
        Kernel.GROUP_NORM_FORWARD, spec, types, "x gamma beta y mean inverse_std",
        spec.batch * spec.groups, epsilon=spec.epsilon,
    )  # fmt: skip


def group_norm_backward_data(spec: GroupNormSpec, types: _Types, target: Target) -> LoweredKernel:
    """Two passes over each group."""
    return _lowered(
        Kernel.GROUP_NORM_BACKWARD_DATA, spec, types, "dy x gamma mean inverse_std dx",
        spec.batch * spec.groups,
    )  # fmt: skip


def group_norm_backward_parameters(
    spec: GroupNormSpec, types: _Types, target: Target
) -> LoweredKernel:
    """Sums over all rows, split by channels."""
    return _lowered(
        Kernel.GROUP_NORM_BACKWARD_PARAMETERS, spec, types,
        "dy x mean inverse_std dgamma dbeta", -(-spec.channels // _CHANNELS_OF_PARAMETERS),
    )  # fmt: skip
