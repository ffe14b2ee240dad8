"""Images of another size, in CUDA (``kernels/cuda/resample.cu``)."""

from __future__ import annotations

import math
from typing import Any

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import check_size, launch_elements
from fastconv.plans.resample_operation import RESAMPLE_KINDS, ResampleSpec


def _launch(kernel: str, spec: ResampleSpec, written: tuple[int, ...], x: Array, y: Array) -> None:
    check_size(kernel, x=math.prod(spec.x_shape), y=math.prod(spec.y_shape))
    launch_elements(
        f"resample.{kernel}", math.prod(written), spec.batch, spec.height, spec.width,
        spec.channels, spec.out_height, spec.out_width, spec.top, spec.left,
        RESAMPLE_KINDS.index(spec.kind), int(spec.align_corners), x, y, dtype=y.dtype,
    )  # fmt: skip


def resample_forward(spec: ResampleSpec, x: Array, y: Array, workspace: Array | None) -> None:
    """Each pixel is the sum of some others by their shares."""
    _launch("resample_forward", spec, spec.y_shape, x, y)


def resample_backward(spec: ResampleSpec, dy: Array, dx: Array, workspace: Array | None) -> None:
    """Add up the shares of each pixel."""
    _launch("resample_backward", spec, spec.x_shape, dy, dx)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
