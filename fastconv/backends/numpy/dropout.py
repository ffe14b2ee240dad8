"""Inverted dropout (Srivastava et al., JMLR 15, 2014)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.numpy import random
from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.plans.operation import DropoutSpec
from fastconv.plans.resample_operation import ChannelDropoutSpec


def dropout_forward(
    spec: DropoutSpec,
    x: np.ndarray,
    step: np.ndarray,
    mask: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Draw the mask of this step; keep and scale, or zero."""
    carver = Carver(workspace)
    words = carver.take((spec.size,), np.uint32)
    rest = None if workspace is None else workspace[size_of((spec.size,), np.uint32) :]
    random.random_words(spec.random, step, words, rest)
    np.right_shift(words, 8, out=words)
    np.greater_equal(words, spec.threshold, out=mask.reshape(-1), casting="unsafe")
    _keep_and_scale(spec, x, mask, y)


def dropout_backward(
    spec: DropoutSpec,
    dy: np.ndarray,
    mask: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Send the gradient through the elements that were kept."""
    _keep_and_scale(spec, dy, mask, dx)


def drop_channels(
    spec: ChannelDropoutSpec,
    x: np.ndarray,
    mask: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Scale every pixel of the channels that are kept, and write 0 for the others."""
    shape = spec.batch, spec.pixels, spec.channels
    result, kept = y.reshape(shape), mask.reshape(spec.batch, 1, spec.channels)
    np.multiply(x.reshape(shape), x.dtype.type(spec.scale), out=result)
    np.copyto(result, 0, where=kept == 0)


def _keep_and_scale(spec: DropoutSpec, x: np.ndarray, mask: np.ndarray, y: np.ndarray) -> None:
    np.multiply(x, x.dtype.type(spec.scale), out=y)
    # Written, not multiplied: an inf that is dropped is a zero, not a NaN.
    np.copyto(y, 0, where=mask == 0)


def workspace_bytes(kernel: str, spec: DropoutSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    if kernel != "dropout_forward":
        return 0
    words = size_of((spec.size,), np.uint32)
    return words + random.workspace_bytes("random_words", spec.random, dtype)
