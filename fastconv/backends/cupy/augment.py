"""Crops and flips of images, and their mixtures, in CUDA (``kernels/cuda/augment.cu``)."""

from __future__ import annotations

from typing import Any

from fastconv.backends.cupy.device import Array
from fastconv.backends.cupy.launches import (
    MOST_ROWS_OF_BLOCKS,
    THREADS,
    blocks_for,
    check_size,
    launch,
    launch_elements,
    stream_of,
)
from fastconv.plans.augmentation import FLIPS, CropSpec, MixSpec
from fastconv.plans.operation import InputSpec


def _launch(kernel: str, size: InputSpec, *arguments: Any, dtype: Any) -> None:
    """Launch a kernel whose blocks take the pixels of an image each."""
    elements = size.height * size.width * size.channels
    check_size(kernel, x=size.batch * elements)
    if size.batch:
        grid = blocks_for(elements), min(size.batch, MOST_ROWS_OF_BLOCKS)
        launch(f"augment.{kernel}", grid, (THREADS,), *size.x_shape, *arguments, dtype=dtype)


def crop_images(
    spec: CropSpec,
    x: Array,
    indices: Array,
    step: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """Crop each image with mirrored edges, or resize a part of it, and flip it."""
    _launch(
        "crop_images", spec.input, FLIPS.index(spec.flip), spec.crop, spec.steps_per_epoch,
        float(spec.least_area), *stream_of(spec.random), x, indices, step, y, dtype=y.dtype,
    )  # fmt: skip


def mix_images(
    spec: MixSpec,
    x: Array,
    step: Array,
    y: Array,
    partners: Array,
    shares: Array,
    workspace: Array | None,
) -> None:
    """Mix each image with another one of the batch, or cut a rectangle of that one into it."""
    _launch(
        "mix_images", spec.input, float(spec.mixup), float(spec.cutmix), *stream_of(spec.random), x,
        step, y, partners, shares, dtype=y.dtype,
    )  # fmt: skip


def mix_rows(
    spec: InputSpec,
    rows: Array,
    partners: Array,
    shares: Array,
    y: Array,
    workspace: Array | None,
) -> None:
    """``y[n] = shares[n] * rows[n] + (1 - shares[n]) * rows[partners[n]]``."""
    launch_elements(
        "augment.mix_rows", spec.batch * spec.channels, spec.batch, spec.channels, rows, partners,
        shares, y, dtype=y.dtype,
    )  # fmt: skip


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
