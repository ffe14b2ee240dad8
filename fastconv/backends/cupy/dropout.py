"""Dropout in CUDA (``kernels/cuda/dropout.cu``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import launch_elements, stream_of
from fastconv.plans.operation import DropoutSpec
from fastconv.plans.resample_operation import ChannelDropoutSpec


def dropout_forward(
    spec: DropoutSpec,
    x: Array,
    step: Array,
    mask: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """Keep and scale each element, or write 0 in its place."""
    launch_elements(
        "dropout.dropout_forward", spec.size, spec.size, np.uint32(spec.threshold),
        float(spec.scale),
        *stream_of(spec.random), step, x, mask, y, dtype=y.dtype,
    )  # fmt: skip


def dropout_backward(
    spec: DropoutSpec,
    dy: Array,
    mask: Array,
    dx: Array,
    workspace: Array | None,
) -> None:
    """Scale what was kept."""
    launch_elements(
        "dropout.dropout_backward",
        spec.size,
        spec.size,
        float(spec.scale),
        dy,
        mask,
        dx,
        dtype=dx.dtype,
    )


def drop_channels(
    spec: ChannelDropoutSpec,
    x: Array,
    mask: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """Scale every pixel of the channels that are kept, and write 0 for the others."""
    launch_elements(
        "dropout.drop_channels", spec.batch * spec.pixels * spec.channels, spec.batch,
        spec.pixels, spec.channels, float(spec.scale), x, mask, y, dtype=y.dtype,
    )  # fmt: skip


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
