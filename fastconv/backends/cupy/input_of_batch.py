"""The beginning of a step in one launch."""

from __future__ import annotations

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import THREADS, check_size, launch_rows
from fastconv.plans.operation import InputSpec


def gather_min_max(
    spec: InputSpec, images: Array, indices: Array, x: Array, workspace: Array | None
) -> None:
    """Gather uint8 images and bring each to 0 to 1; parameters as for ``input.gather_images``."""
    size = spec.height * spec.width * spec.channels
    check_size("gather_min_max", x=spec.batch * size)
    launch_rows(
        "input.gather_min_max", spec.batch, spec.batch, size, images, indices, x, threads=THREADS,
        dtype=x.dtype,
    )  # fmt: skip
