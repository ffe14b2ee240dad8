"""Layouts in CUDA (``kernels/cuda/layout.cu``)."""

from __future__ import annotations

import math
from typing import Any

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import (
    MOST_ROWS_OF_BLOCKS,
    blocks_for,
    check_size,
    launch,
)
from fastconv.plans.operation import InputSpec

_SIDE, _ROWS = 32, 8
"""Rows and columns of a tile, and the rows of threads that move it."""


def _transpose_samples(batch: int, rows: int, columns: int, x: Array, y: Array) -> None:
    check_size("layout", x=batch * rows * columns)
    if batch == 0:
        return
    tiles = math.ceil(rows / _SIDE) * math.ceil(columns / _SIDE)
    grid = (blocks_for(tiles, 1), min(batch, MOST_ROWS_OF_BLOCKS))
    sizes = (batch, rows, columns)
    launch("layout.transpose_samples", grid, (_SIDE, _ROWS), *sizes, x, y, dtype=y.dtype)


def nchw_to_nhwc(
    spec: InputSpec,
    x: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """Images from channels first to channels last."""
    _transpose_samples(spec.batch, spec.channels, spec.height * spec.width, x, y)


def nhwc_to_nchw(
    spec: InputSpec,
    x: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """Images from channels last to channels first."""
    _transpose_samples(spec.batch, spec.height * spec.width, spec.channels, x, y)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
