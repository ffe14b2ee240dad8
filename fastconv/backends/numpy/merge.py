"""Two arrays that become one."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numpy.sums import sum_rows
from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.plans.merging import BroadcastSpec, ConcatenateSpec, MergeSpec


def _as_images(spec: BroadcastSpec, x2: np.ndarray) -> np.ndarray:
    """See ``x2`` so that NumPy broadcasts it over (batch, pixels, channels)."""
    pixels = 1 if spec.per_channel else spec.pixels
    return x2.reshape(spec.batch, pixels, spec.channels)


def add_forward(
    spec: BroadcastSpec,
    x1: np.ndarray,
    x2: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y = x1 + x2``."""
    np.add(x1.reshape(spec.x1_shape), _as_images(spec, x2), out=y.reshape(spec.x1_shape))


def add_backward(
    spec: BroadcastSpec,
    dy: np.ndarray,
    dx1: np.ndarray | None,
    dx2: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Give the gradient to both, summed over the pixels for an ``x2`` of one number per channel."""
    if dx1 is not None:
        dx1[...] = dy
    if dx2 is not None:
        dx2[...] = sum_rows(dy.reshape(spec.x1_shape)) if spec.per_channel else dy


def multiply_forward(
    spec: BroadcastSpec,
    x1: np.ndarray,
    x2: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y = x1 * x2``, element by element."""
    np.multiply(x1.reshape(spec.x1_shape), _as_images(spec, x2), out=y.reshape(spec.x1_shape))


def multiply_backward(
    spec: BroadcastSpec,
    dy: np.ndarray,
    x1: np.ndarray,
    x2: np.ndarray,
    dx1: np.ndarray | None,
    dx2: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """``dx1 = dy * x2`` and ``dx2 = dy * x1``, summed over the pixels that met the same ``x2``."""
    gradient = dy.reshape(spec.x1_shape)
    if dx2 is not None and spec.per_channel:
        terms = Carver(workspace).take(spec.x1_shape, dy.dtype)
        np.multiply(gradient, x1.reshape(spec.x1_shape), out=terms)
        dx2[...] = sum_rows(terms)
    elif dx2 is not None:
        np.multiply(dy, x1, out=dx2)
    if dx1 is not None:  # last: it may be dy
        np.multiply(gradient, _as_images(spec, x2), out=dx1.reshape(spec.x1_shape))


def concatenate_forward(
    spec: ConcatenateSpec,
    x1: np.ndarray,
    x2: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """In each row the channels of ``x1``, then those of ``x2``."""
    result = y.reshape(spec.rows, spec.channels)
    result[:, : spec.channels1] = x1.reshape(spec.rows, spec.channels1)
    result[:, spec.channels1 :] = x2.reshape(spec.rows, spec.channels2)


def concatenate_backward(
    spec: ConcatenateSpec,
    dy: np.ndarray,
    dx1: np.ndarray | None,
    dx2: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Give each array the gradient of its own channels."""
    gradient = dy.reshape(spec.rows, spec.channels)
    if dx1 is not None:
        dx1.reshape(spec.rows, spec.channels1)[...] = gradient[:, : spec.channels1]
    if dx2 is not None:
        dx2.reshape(spec.rows, spec.channels2)[...] = gradient[:, spec.channels1 :]


def workspace_bytes(kernel: str, spec: MergeSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    if kernel == "multiply_backward" and isinstance(spec, BroadcastSpec) and spec.per_channel:
        return size_of(spec.x1_shape, dtype)
    return 0
