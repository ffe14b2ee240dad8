"""Depthwise convolutions of images with channels first: a filter over each plane.

They are the convolutions of :mod:`fastconv.backends.reference.conv` with ``groups == in_channels ==
out_channels``, in another order of the axes: images NCHW, weights OIHW, here (C, 1, KH, KW).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.reference import conv
from fastconv.spec import ConvSpec

_LAST = (0, 2, 3, 1)
"""Axes of NCHW in the order of NHWC."""
_HWIO = (2, 3, 1, 0)
"""Axes of OIHW in the order of HWIO."""


def depthwise_forward(
    spec: ConvSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y[n, c, oh, ow] = b[c] + sum over kh, kw of x[n, c, ih, iw] * w[c, 0, kh, kw]``.

    Parameters
    ----------
    spec
        The convolution; ``groups == in_channels == out_channels``.
    x, w, b
        Input (N, C, H, W), weights (C, 1, KH, KW) and bias (C,) or None.
    y
        Output (N, C, OH, OW), written.
    workspace
        Not used.

    Examples
    --------
    >>> spec = ConvSpec(1, 2, 1, 2, 2, kernel=(1, 2), groups=2)
    >>> x, w = np.arange(4.0).reshape(1, 2, 1, 2), np.array([1.0, 10, 1, 100]).reshape(2, 1, 1, 2)
    >>> y = np.empty((1, 2, 1, 1))
    >>> depthwise_forward(spec, x, w, None, y, None)
    >>> y.ravel().tolist()
    [10.0, 302.0]
    """
    conv.conv2d_forward(spec, x.transpose(_LAST), w.transpose(_HWIO), b, y.transpose(_LAST), None)


def depthwise_backward_data(
    spec: ConvSpec,
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx[n, c, ih, iw] = sum over the outputs it enters of dy[n, c, oh, ow] * w[c, 0, kh, kw]``.

    Parameters
    ----------
    spec
        The convolution; ``groups == in_channels == out_channels``.
    dy, w
        Gradient of the output (N, C, OH, OW) and weights (C, 1, KH, KW).
    dx
        Gradient of the input (N, C, H, W), written.
    workspace
        Not used.
    """
    conv.conv2d_backward_data(
        spec, dy.transpose(_LAST), w.transpose(_HWIO), dx.transpose(_LAST), None
    )


def depthwise_backward_weight(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """``dw[c, 0, kh, kw] = sum of x[n, c, ih, iw] * dy[n, c, oh, ow]``, db the sum of dy.

    Parameters
    ----------
    spec
        The convolution; ``groups == in_channels == out_channels``.
    dy, x
        Gradient of the output (N, C, OH, OW) and input (N, C, H, W).
    dw, db
        Gradients of the weights (C, 1, KH, KW) and of the bias (C,) or None, written.
    workspace
        Not used.
    """
    conv.conv2d_backward_weight(
        spec, dy.transpose(_LAST), x.transpose(_LAST), dw.transpose(_HWIO), db, None
    )


def workspace_bytes(kernel: str, spec: ConvSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
