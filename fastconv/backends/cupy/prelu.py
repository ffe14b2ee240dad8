"""A ReLU with learned slopes in CUDA (``kernels/cuda/prelu.cu``)."""

from __future__ import annotations

from typing import Any

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import launch_elements, launch_rows
from fastconv.plans.operation import PReLUSpec

_THREADS_OF_SUM = 256


def prelu_forward(
    spec: PReLUSpec,
    x: Array,
    slope: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """``x`` where positive, else slope * x."""
    size = spec.rows * spec.channels
    launch_elements(
        "prelu.prelu_forward", size, size, spec.channels, spec.slopes, x, slope, y, dtype=y.dtype
    )


def prelu_backward(
    spec: PReLUSpec,
    dy: Array,
    x: Array,
    slope: Array,
    dx: Array,
    dslope: Array,
    workspace: Array | None,
) -> None:
    """Gradients of x and of the slopes."""
    size = spec.rows * spec.channels
    # First what reads dy: dx may take its place.
    launch_rows(
        "prelu.prelu_slopes", spec.slopes, size, spec.slopes, dy, x, dslope,
        threads=_THREADS_OF_SUM, dtype=dx.dtype,
    )  # fmt: skip
    launch_elements(
        "prelu.prelu_backward_data", size, size, spec.channels, spec.slopes, dy, x, slope, dx,
        dtype=dx.dtype,
    )  # fmt: skip


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
