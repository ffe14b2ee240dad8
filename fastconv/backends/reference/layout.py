"""Layouts: what the kernels take, and what other libraries have, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.plans.operation import InputSpec


def nchw_to_nhwc(
    spec: InputSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Images from channels first to channels last.

    Parameters
    ----------
    spec
        Sizes of the images.
    x
        Images (batch, channels, height, width).
    y
        Images (batch, height, width, channels) = ``spec.x_shape``; written.
    workspace
        Not used.

    Examples
    --------
    >>> spec = InputSpec(1, 1, 3, 2)
    >>> y = np.empty(spec.x_shape)
    >>> nchw_to_nhwc(spec, np.arange(6.0).reshape(1, 2, 1, 3), y, None)
    >>> y[0, 0]
    array([[0., 3.],
           [1., 4.],
           [2., 5.]])
    """
    for n, i, j, c in np.ndindex(*spec.x_shape):
        y[n, i, j, c] = x[n, c, i, j]


def nhwc_to_nchw(
    spec: InputSpec, x: np.ndarray, y: np.ndarray, workspace: np.ndarray | None
) -> None:
    """Images from channels last to channels first.

    Parameters
    ----------
    spec
        Sizes of the images.
    x
        Images (batch, height, width, channels) = ``spec.x_shape``.
    y
        Images (batch, channels, height, width); written.
    workspace
        Not used.

    Examples
    --------
    >>> spec = InputSpec(1, 1, 3, 2)
    >>> y = np.empty((1, 2, 1, 3))
    >>> nhwc_to_nchw(spec, np.arange(6.0).reshape(spec.x_shape), y, None)
    >>> y[0, :, 0]
    array([[0., 2., 4.],
           [1., 3., 5.]])
    """
    for n, i, j, c in np.ndindex(*spec.x_shape):
        y[n, c, i, j] = x[n, i, j, c]


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
