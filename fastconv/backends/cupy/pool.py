"""Pooling in CUDA (``kernels/cuda/pool.cu``)."""

from __future__ import annotations

from typing import Any

from fastconv.backends.cupy import fused_kernels
from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.fused_kernels import averages_of, inputs_of, windows_of
from fastconv.backends.cupy.launches import check_size, launch_elements
from fastconv.plans.operation import InputSpec
from fastconv.spec import PoolSpec


def _outputs(spec: PoolSpec) -> int:
    check_size("pool", x=inputs_of(spec))
    return spec.batch * spec.out_height * spec.out_width * spec.channels


def _pixels(spec: InputSpec) -> tuple[int, int, int]:
    check_size("pool", x=spec.batch * spec.height * spec.width * spec.channels)
    return spec.batch, spec.height * spec.width, spec.channels


def max_pool2d_forward(
    spec: PoolSpec,
    x: Array,
    y: Array,
    argmax: Array,
    workspace: Array | None,
) -> None:
    """Largest pixel of each window, and where it is."""
    launch_elements(
        "pool.max_pool2d_forward", _outputs(spec), *windows_of(spec), x, y, argmax, dtype=y.dtype
    )


def max_pool2d_backward(
    spec: PoolSpec,
    dy: Array,
    argmax: Array,
    dx: Array,
    workspace: Array | None,
) -> None:
    """Add each output's gradient to the pixel that won its window."""
    fused_kernels.max_pool2d_backward(spec, None, None, dy, argmax, dx, workspace)


def avg_pool2d_forward(
    spec: PoolSpec,
    x: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """Mean of each window."""
    launch_elements(
        "pool.avg_pool2d_forward", _outputs(spec), *averages_of(spec), x, y, dtype=y.dtype
    )


def avg_pool2d_backward(
    spec: PoolSpec,
    dy: Array,
    dx: Array,
    workspace: Array | None,
) -> None:
    """Spread each output's gradient evenly over its window."""
    fused_kernels.avg_pool2d_backward(spec, None, None, dy, dx, workspace)


def global_avg_pool2d_forward(
    spec: InputSpec,
    x: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """Mean over all pixels of each channel."""
    count = spec.batch * spec.channels
    launch_elements("pool.global_avg_pool2d_forward", count, *_pixels(spec), x, y, dtype=y.dtype)


def global_avg_pool2d_backward(
    spec: InputSpec,
    dy: Array,
    dx: Array,
    workspace: Array | None,
) -> None:
    """Spread each channel's gradient evenly over all pixels."""
    sizes, count = _pixels(spec), int(dx.size)
    launch_elements("pool.global_avg_pool2d_backward", count, *sizes, dy, dx, dtype=dx.dtype)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
