"""Convolutions of images with channels first.

They are those of :mod:`fastconv.backends.reference.conv` in another order of the axes: images NCHW,
weights OIHW. A backward pass is one kernel, so that a backend which computes in NHWC turns dy
around once.
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


def conv2d_forward(
    spec: ConvSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y[n, o, oh, ow] = b[o] + sum over c, kh, kw of x[n, c, ih, iw] * w[o, c, kh, kw]``.

    Parameters
    ----------
    spec
        The convolution.
    x, w, b
        Input (N, I, H, W), weights (O, I / groups, KH, KW) and bias (O,) or None.
    y
        Output (N, O, OH, OW), written.
    workspace
        Not used.

    Examples
    --------
    >>> spec = ConvSpec(1, 2, 1, 2, 2, kernel=(1, 2), groups=2)
    >>> x, w = np.arange(4.0).reshape(1, 2, 1, 2), np.array([1.0, 10, 1, 100]).reshape(2, 1, 1, 2)
    >>> y = np.empty((1, 2, 1, 1))
    >>> conv2d_forward(spec, x, w, None, y, None)
    >>> y.ravel().tolist()
    [10.0, 302.0]
    """
    conv.conv2d_forward(spec, x.transpose(_LAST), w.transpose(_HWIO), b, y.transpose(_LAST), None)


def conv2d_backward(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray | None,
    dw: np.ndarray | None,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Gradients of :func:`conv2d_forward`, those that are not None.

    Parameters
    ----------
    spec
        The convolution.
    dy, x, w
        Gradient of the output (N, O, OH, OW), input (N, I, H, W), weights.
    dx, dw, db
        Gradients of the input, the weights and the bias (O,), written; None where not needed, and
        ``db`` is where ``dw`` is.
    workspace
        Not used.
    """
    dy_last, x_last = dy.transpose(_LAST), x.transpose(_LAST)
    if dx is not None:
        weights = w.transpose(_HWIO)
        conv.conv2d_backward_data(spec, dy_last, weights, dx.transpose(_LAST), None)
    if dw is not None:
        conv.conv2d_backward_weight(spec, dy_last, x_last, dw.transpose(_HWIO), db, None)


def conv_transpose2d_forward(
    spec: ConvSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y[n, c, ih, iw] = b[c] + sum of x[n, o, oh, ow] * w[o, c, kh, kw]``.

    Parameters
    ----------
    spec
        The convolution that is transposed.
    x, w, b
        Input (N, O, OH, OW), weights (O, I / groups, KH, KW) and bias (I,) or None.
    y
        Output (N, I, H, W), written.
    workspace
        Not used.
    """
    conv.conv_transpose2d_forward(
        spec, x.transpose(_LAST), w.transpose(_HWIO), b, y.transpose(_LAST), None
    )


def conv_transpose2d_backward(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray | None,
    dw: np.ndarray | None,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Gradients of :func:`conv_transpose2d_forward`, those that are not None.

    Parameters
    ----------
    spec
        The convolution that is transposed.
    dy, x, w
        Gradient of the output (N, I, H, W), input (N, O, OH, OW), weights.
    dx, dw, db
        Gradients of the input, the weights and the bias (I,), written; None where not needed, and
        ``db`` is where ``dw`` is.
    workspace
        Not used.
    """
    dy_last, x_last = dy.transpose(_LAST), x.transpose(_LAST)
    if dx is not None:
        weights = w.transpose(_HWIO)
        conv.conv_transpose2d_backward_data(spec, dy_last, weights, dx.transpose(_LAST), None)
    if dw is not None:
        conv.conv_transpose2d_backward_weight(spec, dy_last, x_last, dw.transpose(_HWIO), db, None)


def workspace_bytes(kernel: str, spec: ConvSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
