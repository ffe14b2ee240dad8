"""The beginning of a step in C (``kernels/cpu/input.h``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.compiled.rules.input import spec_of_features, spec_of_rows
from fastconv.backends.cython import engine
from fastconv.plans.operation import AugmentSpec, InputSpec


def gather_images(
    spec: InputSpec,
    images: np.ndarray,
    indices: np.ndarray,
    x: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``x[n] = images[indices[n]]``, as floating point numbers of the same value."""
    engine.execute("input.gather_images", spec, images, indices, x, workspace)


def gather_rows(
    spec: InputSpec,
    rows: np.ndarray,
    indices: np.ndarray,
    out: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``out[n] = rows[indices[n]]``: labels or targets."""
    engine.execute(
        "input.gather_rows",
        spec_of_rows(spec, rows.size // max(1, len(rows))),
        rows,
        indices,
        out,
        workspace,
    )


def scale_images(
    spec: InputSpec,
    x: np.ndarray,
    factor: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y = x * factor``."""
    engine.execute("input.scale_images", spec, x, factor, y, workspace)


def standardize_images(
    spec: InputSpec,
    x: np.ndarray,
    mean: np.ndarray,
    deviation: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y = (x - mean) / deviation``, by channel or by feature."""
    engine.execute(
        "input.standardize_images",
        spec_of_features(spec, mean.size),
        x,
        mean,
        deviation,
        y,
        workspace,
    )


def min_max_images(
    spec: InputSpec,
    x: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y = (x - min) / (max - min)`` of each image; a constant image becomes 0."""
    engine.execute("input.min_max_images", spec, x, y, workspace)


def augment_images(
    spec: AugmentSpec,
    x: np.ndarray,
    step: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Apply the random changes of :class:`fastconv.plans.operation.AugmentSpec` to every image."""
    engine.execute("input.augment_images", spec, x, step, y, workspace)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    return engine.workspace_bytes(f"input.{kernel}", spec, dtype)
