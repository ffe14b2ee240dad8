"""The beginning of a step in CUDA (``kernels/cuda/input.cu``)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import (
    MOST_ROWS_OF_BLOCKS,
    THREADS,
    blocks_for,
    check_size,
    launch,
    launch_elements,
    launch_rows,
    stream_of,
)
from fastconv.plans.operation import AugmentSpec, InputSpec

if TYPE_CHECKING:
    from fastconv.plans.jitter import JitterSpec

_GATHER = {
    "uint8": "gather_bytes",
    "float32": "gather_floats",
    "float64": "gather_doubles",
    "int64": "gather_labels",
}
"""Kernels by the type of the rows."""


def _size(spec: InputSpec) -> int:
    """Elements of an image."""
    return spec.height * spec.width * spec.channels


def _gather(spec: InputSpec, size: int, rows: Array, indices: Array, out: Array) -> None:
    """Gather rows of ``size`` elements; a batch is indexed by 32 bits, the data set by 64."""
    kernel, dtype = _GATHER[rows.dtype.name], None if rows.dtype.kind == "i" else out.dtype
    count = spec.batch * size
    launch_elements(f"input.{kernel}", count, spec.batch, size, rows, indices, out, dtype=dtype)


def gather_images(
    spec: InputSpec,
    images: Array,
    indices: Array,
    x: Array,
    workspace: Array | None,
) -> None:
    """``x[n] = images[indices[n]]``, as floating point numbers of the same value."""
    _gather(spec, _size(spec), images, indices, x)


def gather_rows(
    spec: InputSpec,
    rows: Array,
    indices: Array,
    out: Array,
    workspace: Array | None,
) -> None:
    """``out[n] = rows[indices[n]]``: labels or targets."""
    _gather(spec, math.prod(rows.shape[1:]), rows, indices, out)


def scale_images(
    spec: InputSpec,
    x: Array,
    factor: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """``y = x * factor``."""
    count = spec.batch * _size(spec)
    launch_elements("input.scale_images", count, count, x, factor, y, dtype=y.dtype)


def standardize_images(
    spec: InputSpec,
    x: Array,
    mean: Array,
    std: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """``y = (x - mean) / std``, by channel or by feature."""
    count, period = spec.batch * _size(spec), int(mean.size)
    launch_elements(
        "input.standardize_images", count, count, period, x, mean, std, y, dtype=y.dtype
    )


def min_max_images(
    spec: InputSpec,
    x: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """Bring each image to 0 to 1."""
    size = _size(spec)
    check_size("min_max_images", x=spec.batch * size)
    launch_rows(
        "input.min_max_images", spec.batch, spec.batch, size, x, y, threads=THREADS, dtype=y.dtype
    )


def augment_images(
    spec: AugmentSpec,
    x: Array,
    step: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """Flip and crop, warp, cut out: each image by its own draws."""
    batch, size = spec.input.batch, _size(spec.input)
    check_size("augment_images", x=batch * size)
    if batch == 0:
        return
    launch(
        "input.augment_images", (blocks_for(size), min(batch, MOST_ROWS_OF_BLOCKS)), (THREADS,),
        *spec.input.x_shape, int(spec.flip), spec.crop, float(spec.rotation), float(spec.shear),
        float(spec.translation), spec.cutout, int(spec.warps), *stream_of(spec.random), x, step, y,
        dtype=y.dtype,
    )  # fmt: skip


def jitter_images(spec: JitterSpec, x: Array, step: Array, workspace: Array | None) -> None:
    """Change colours, and erase a rectangle: each image by its own draws."""
    check_size("jitter_images", x=spec.input.batch * _size(spec.input))
    launch_rows(
        "input.jitter_images", spec.input.batch, *spec.input.x_shape, float(spec.brightness),
        float(spec.contrast), float(spec.saturation), float(spec.erase), float(spec.erase_area),
        *stream_of(spec.random), x, step, threads=THREADS, dtype=x.dtype,
    )  # fmt: skip


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
