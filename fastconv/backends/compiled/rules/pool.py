"""Instructions of pooling."""

from __future__ import annotations

from collections.abc import Sequence

from fastconv.backends.compiled.instructions.instruction import (
    Instruction,
    LoweredKernel,
    Target,
    arrays,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.plans.operation import InputSpec
from fastconv.spec import PoolSpec

_Types = tuple[str | None, ...]

_CHANNELS_AT_ONCE = 64
"""Channels that a kernel sums at once, as in ``kernels/cpu/pool.h``."""


def _over_windows(
    kernel: Kernel,
    spec: PoolSpec,
    dtype: str | None,
    names: Sequence[str],
    units: int,
    cells: int = 1,
) -> LoweredKernel:
    """Split into rows of what is written; an element costs ``cells`` reads."""
    height, width = spec.out_height, spec.out_width
    (top, bottom), (left, right) = spec.padding
    instruction = Instruction.of(
        kernel, str(dtype), **arrays(*names),
        batch=spec.batch, channels=spec.channels, height=spec.height, width=spec.width,
        out_height=height, out_width=width,
        kernel_height=spec.kernel[0], kernel_width=spec.kernel[1],
        stride_height=spec.stride[0], stride_width=spec.stride[1],
        top=top, left=left, bottom=bottom, right=right,
        count_padding=int(spec.count_include_pad),
        max_threads=min(
            units, threads_for_elements(spec.batch * height * width * spec.channels, cells)
        ),
    )  # fmt: skip
    return LoweredKernel((instruction,))


def _cells(spec: PoolSpec) -> int:
    return spec.kernel[0] * spec.kernel[1]


def max_pool2d_forward(spec: PoolSpec, types: _Types, target: Target) -> LoweredKernel:
    """Rows of the output."""
    units = spec.batch * spec.out_height
    return _over_windows(
        Kernel.MAX_POOL2D_FORWARD, spec, types[0], ("x", "y", "argmax"), units, _cells(spec)
    )


def max_pool2d_backward(spec: PoolSpec, types: _Types, target: Target) -> LoweredKernel:
    """Rows of the input; pairs of them for windows of 2 x 2 side by side."""
    pairs = (
        spec.kernel == spec.stride == (2, 2)
        and spec.padding == ((0, 0), (0, 0))
        and (spec.out_height, spec.out_width) == (spec.height // 2, spec.width // 2)
    )
    if pairs:
        units = spec.batch * -(-spec.height // 2)
        return _over_windows(
            Kernel.MAX_POOL2D_BACKWARD_PAIRS, spec, types[0], ("dy", "argmax", "dx"), units, 4
        )
    units = spec.batch * spec.height
    return _over_windows(
        Kernel.MAX_POOL2D_BACKWARD, spec, types[0], ("dy", "argmax", "dx"), units, _cells(spec)
    )


def avg_pool2d_forward(spec: PoolSpec, types: _Types, target: Target) -> LoweredKernel:
    """Rows of the output."""
    units = spec.batch * spec.out_height
    return _over_windows(Kernel.AVG_POOL2D_FORWARD, spec, types[0], ("x", "y"), units, _cells(spec))


def avg_pool2d_backward(spec: PoolSpec, types: _Types, target: Target) -> LoweredKernel:
    """Rows of the input."""
    units = spec.batch * spec.height
    return _over_windows(
        Kernel.AVG_POOL2D_BACKWARD, spec, types[0], ("dy", "dx"), units, _cells(spec)
    )


def global_avg_pool2d_forward(spec: InputSpec, types: _Types, target: Target) -> LoweredKernel:
    """Images, and pieces of their channels."""
    pixels = spec.height * spec.width
    instruction = Instruction.of(
        Kernel.GLOBAL_AVG_POOL2D_FORWARD,
        str(types[0]),
        **arrays("x", "y"),
        batch=spec.batch,
        pixels=pixels,
        channels=spec.channels,
        max_threads=min(
            spec.batch * -(-spec.channels // _CHANNELS_AT_ONCE),
            threads_for_elements(spec.batch * pixels * spec.channels),
        ),
    )
    return LoweredKernel((instruction,))


def global_avg_pool2d_backward(spec: InputSpec, types: _Types, target: Target) -> LoweredKernel:
    """Rows of the images."""
    units = spec.batch * spec.height
    instruction = Instruction.of(
        Kernel.GLOBAL_AVG_POOL2D_BACKWARD,
        str(types[0]),
        **arrays("dy", "dx"),
        batch=spec.batch,
        height=spec.height,
        width=spec.width,
        channels=spec.channels,
        max_threads=min(units, threads_for_elements(units * spec.width * spec.channels)),
    )
    return LoweredKernel((instruction,))
