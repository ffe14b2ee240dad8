"""Records of pooling."""

from __future__ import annotations

from fastconv.backends.compiled.instructions.record import Launch, Pointer, Record, Target
from fastconv.backends.compiled.rules.split import parts_of
from fastconv.plans.operation import InputSpec
from fastconv.spec import PoolSpec

_Types = tuple[str | None, ...]

_CHANNELS_AT_ONCE = 64
"""As in ``kernels/cpu/pool.h``."""


def _over_windows(
    kernel: str, spec: PoolSpec, dtype: str | None, arrays: int, units: int, cells: int = 1
) -> Launch:
    """Split into rows of what is written; an element costs ``cells`` reads."""
    height, width = spec.out_height, spec.out_width
    record = Record(
        kernel,
        str(dtype),
        tuple(Pointer(number) for number in range(arrays)),
        (
            *(spec.batch, spec.channels, spec.height, spec.width, height, width),
            *spec.kernel,
            *spec.stride,
            *(spec.padding[0][0], spec.padding[1][0], spec.padding[0][1], spec.padding[1][1]),
            int(spec.count_include_pad),
        ),
        parts=min(units, parts_of(spec.batch * height * width * spec.channels, cells)),
    )
    return Launch((record,))


def _cells(spec: PoolSpec) -> int:
    return spec.kernel[0] * spec.kernel[1]


def max_pool2d_forward(spec: PoolSpec, types: _Types, target: Target) -> Launch:
    """Rows of the output."""
    units = spec.batch * spec.out_height
    return _over_windows("max_pool2d_forward", spec, types[0], 3, units, _cells(spec))


def max_pool2d_backward(spec: PoolSpec, types: _Types, target: Target) -> Launch:
    """Rows of the input; pairs of them for windows of 2 x 2 side by side."""
    pairs = (
        spec.kernel == spec.stride == (2, 2)
        and spec.padding == ((0, 0), (0, 0))
        and (spec.out_height, spec.out_width) == (spec.height // 2, spec.width // 2)
    )
    if pairs:
        units = spec.batch * -(-spec.height // 2)
        return _over_windows("max_pool2d_backward_pairs", spec, types[0], 3, units, 4)
    units = spec.batch * spec.height
    return _over_windows("max_pool2d_backward", spec, types[0], 3, units, _cells(spec))


def avg_pool2d_forward(spec: PoolSpec, types: _Types, target: Target) -> Launch:
    """Rows of the output."""
    units = spec.batch * spec.out_height
    return _over_windows("avg_pool2d_forward", spec, types[0], 2, units, _cells(spec))


def avg_pool2d_backward(spec: PoolSpec, types: _Types, target: Target) -> Launch:
    """Rows of the input."""
    units = spec.batch * spec.height
    return _over_windows("avg_pool2d_backward", spec, types[0], 2, units, _cells(spec))


def global_avg_pool2d_forward(spec: InputSpec, types: _Types, target: Target) -> Launch:
    """Images, and pieces of their channels."""
    pixels = spec.height * spec.width
    record = Record(
        "global_avg_pool2d_forward",
        str(types[0]),
        (Pointer(0), Pointer(1)),
        (spec.batch, pixels, spec.channels),
        parts=min(
            spec.batch * -(-spec.channels // _CHANNELS_AT_ONCE),
            parts_of(spec.batch * pixels * spec.channels),
        ),
    )
    return Launch((record,))


def global_avg_pool2d_backward(spec: InputSpec, types: _Types, target: Target) -> Launch:
    """Rows of the images."""
    units = spec.batch * spec.height
    record = Record(
        "global_avg_pool2d_backward",
        str(types[0]),
        (Pointer(0), Pointer(1)),
        (spec.batch, spec.height, spec.width, spec.channels),
        parts=min(units, parts_of(units * spec.width * spec.channels)),
    )
    return Launch((record,))
