"""Two arrays that become one, in CUDA (``kernels/cuda/merge.cu``)."""

from __future__ import annotations

from typing import Any

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import check_size, launch_elements
from fastconv.plans.merging import BroadcastSpec, ConcatenateSpec


def _elementwise(name: str, spec: BroadcastSpec, x1: Array, x2: Array, y: Array) -> None:
    launch_elements(
        f"merge.{name}", spec.size, spec.size, spec.pixels if spec.per_channel else 0,
        spec.channels, x1, x2, y, dtype=y.dtype,
    )  # fmt: skip


def _sum_of_each_image(spec: BroadcastSpec, dy: Array, x1: Array | None, total: Array) -> None:
    check_size("merge.sum_of_each_image", dy=spec.size)
    launch_elements(
        "merge.sum_of_each_image", spec.batch * spec.channels, *spec.x1_shape, dy, x1, total,
        dtype=total.dtype,
    )  # fmt: skip


def _copy_rows(
    rows: int, columns: int, strides: tuple[int, int], starts: tuple[int, int], x: Array, y: Array
) -> None:
    check_size("merge.copy_rows", row=rows * max(strides))
    launch_elements(
        "merge.copy_rows", rows * columns, rows, columns, *strides, *starts, x, y, dtype=y.dtype
    )


def add_forward(
    spec: BroadcastSpec,
    x1: Array,
    x2: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """``y = x1 + x2``."""
    _elementwise("add", spec, x1, x2, y)


def add_backward(
    spec: BroadcastSpec,
    dy: Array,
    dx1: Array | None,
    dx2: Array | None,
    workspace: Array | None,
) -> None:
    """Give the gradient to both, summed over the pixels for an ``x2`` of one number per channel."""
    for dx in (dx1, None if spec.per_channel else dx2):
        if dx is not None:
            _copy_rows(1, spec.size, (spec.size, spec.size), (0, 0), dy, dx)
    if dx2 is not None and spec.per_channel:
        _sum_of_each_image(spec, dy, None, dx2)


def multiply_forward(
    spec: BroadcastSpec,
    x1: Array,
    x2: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """``y = x1 * x2``, element by element."""
    _elementwise("multiply", spec, x1, x2, y)


def multiply_backward(
    spec: BroadcastSpec,
    dy: Array,
    x1: Array,
    x2: Array,
    dx1: Array | None,
    dx2: Array | None,
    workspace: Array | None,
) -> None:
    """``dx1 = dy * x2`` and ``dx2 = dy * x1``, summed over the pixels that met the same ``x2``."""
    if dx2 is not None and spec.per_channel:
        _sum_of_each_image(spec, dy, x1, dx2)
    elif dx2 is not None:
        _elementwise("multiply", spec, dy, x1, dx2)
    if dx1 is not None:  # last: it may be dy
        _elementwise("multiply", spec, dy, x2, dx1)


def concatenate_forward(
    spec: ConcatenateSpec,
    x1: Array,
    x2: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """In each row the channels of ``x1``, then those of ``x2``."""
    first, second, both = spec.channels1, spec.channels2, spec.channels
    _copy_rows(spec.rows, first, (first, both), (0, 0), x1, y)
    _copy_rows(spec.rows, second, (second, both), (0, first), x2, y)


def concatenate_backward(
    spec: ConcatenateSpec,
    dy: Array,
    dx1: Array | None,
    dx2: Array | None,
    workspace: Array | None,
) -> None:
    """Give each array the gradient of its own channels."""
    first, second, both = spec.channels1, spec.channels2, spec.channels
    if dx1 is not None:
        _copy_rows(spec.rows, first, (both, first), (0, 0), dy, dx1)
    if dx2 is not None:
        _copy_rows(spec.rows, second, (both, second), (first, 0), dy, dx2)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
