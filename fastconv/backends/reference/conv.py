"""Convolution, transposed convolution, and their gradients.

All six kernels are one list of facts, :func:`_meetings`: in output pixel (oh, ow), input pixel
(ih, iw) is multiplied by the weights of tap (kh, kw). A tap that falls on the padding adds nothing.
In the sums below n counts samples, c input channels and o output channels (of one group).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv.spec import ConvSpec


def _meetings(spec: ConvSpec) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Every (oh, ow, ih, iw, kh, kw) of the convolution that lies inside the image."""
    (top, _), (left, _) = spec.padding
    for oh in range(spec.out_height):
        for ow in range(spec.out_width):
            for kh in range(spec.kernel[0]):
                for kw in range(spec.kernel[1]):
                    ih = oh * spec.stride[0] - top + kh * spec.dilation_height
                    iw = ow * spec.stride[1] - left + kw * spec.dilation_width
                    if 0 <= ih < spec.height and 0 <= iw < spec.width:
                        yield oh, ow, ih, iw, kh, kw


def _groups(spec: ConvSpec) -> list[tuple[slice, slice]]:
    """Input and output channels of each group."""
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    return [
        (slice(g * inputs, (g + 1) * inputs), slice(g * outputs, (g + 1) * outputs))
        for g in range(spec.groups)
    ]


@np.errstate(all="ignore")
def conv2d_forward(
    spec: ConvSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y[n, oh, ow, o] = b[o] + sum over kh, kw, c of x[n, ih, iw, c] * w[kh, kw, c, o]``.

    Parameters
    ----------
    spec
        The convolution.
    x, w, b
        Input (``spec.x_shape``), weights (``spec.w_shape``) and bias (out_channels,) or None.
    y
        Output (``spec.y_shape``), written.
    workspace
        Not used.

    Examples
    --------
    >>> spec = ConvSpec(1, 1, 1, 3, 1, kernel=(1, 2))
    >>> x, w = np.array([1.0, 2, 4]).reshape(1, 1, 3, 1), np.array([1.0, 10]).reshape(1, 2, 1, 1)
    >>> y = np.empty(spec.y_shape)
    >>> conv2d_forward(spec, x, w, None, y, None)
    >>> y.ravel().tolist()
    [21.0, 42.0]
    """
    x64, w64 = x.astype(np.float64), w.astype(np.float64)
    total = np.zeros(spec.y_shape)
    for oh, ow, ih, iw, kh, kw in _meetings(spec):
        for inputs, outputs in _groups(spec):
            total[:, oh, ow, outputs] += np.einsum(
                "nc,co->no", x64[:, ih, iw, inputs], w64[kh, kw, :, outputs]
            )
    y[...] = total if b is None else total + b.astype(np.float64)


@np.errstate(all="ignore")
def conv2d_backward_data(
    spec: ConvSpec,
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``dx[n, ih, iw, c] = sum over the outputs it enters of dy[n, oh, ow, o] * w[kh, kw, c, o]``.

    Parameters
    ----------
    spec
        The convolution.
    dy, w
        Gradient of the output (``spec.y_shape``) and weights (``spec.w_shape``).
    dx
        Gradient of the input (``spec.x_shape``), written.
    workspace
        Not used.
    """
    dy64, w64 = dy.astype(np.float64), w.astype(np.float64)
    total = np.zeros(spec.x_shape)
    for oh, ow, ih, iw, kh, kw in _meetings(spec):
        for inputs, outputs in _groups(spec):
            total[:, ih, iw, inputs] += np.einsum(
                "no,co->nc", dy64[:, oh, ow, outputs], w64[kh, kw, :, outputs]
            )
    dx[...] = total


@np.errstate(all="ignore")
def conv2d_backward_weight(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """``dw[kh, kw, c, o] = sum of x[n, ih, iw, c] * dy[n, oh, ow, o]``, db the sum of dy.

    Parameters
    ----------
    spec
        The convolution.
    dy, x
        Gradient of the output (``spec.y_shape``) and input (``spec.x_shape``).
    dw, db
        Gradients of the weights (``spec.w_shape``) and of the bias (out_channels,) or None,
        written.
    workspace
        Not used.
    """
    dy64, x64 = dy.astype(np.float64), x.astype(np.float64)
    total = np.zeros(spec.w_shape)
    for oh, ow, ih, iw, kh, kw in _meetings(spec):
        for inputs, outputs in _groups(spec):
            total[kh, kw, :, outputs] += np.einsum(
                "nc,no->co", x64[:, ih, iw, inputs], dy64[:, oh, ow, outputs]
            )
    dw[...] = total
    if db is not None:
        db[...] = dy64.sum(axis=(0, 1, 2))


@np.errstate(all="ignore")
def conv_transpose2d_forward(
    spec: ConvSpec,
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Data gradient of the convolution ``spec``, plus a bias.

    Parameters
    ----------
    spec
        The convolution whose data gradient this is.
    x, w, b
        Input (``spec.y_shape``), weights (``spec.w_shape``) and bias (in_channels,) or None.
    y
        Output (``spec.x_shape``), written.
    workspace
        Not used.
    """
    total = np.empty(spec.x_shape)
    conv2d_backward_data(spec, x, w, total, None)
    y[...] = total if b is None else total + b.astype(np.float64)


def conv_transpose2d_backward_data(
    spec: ConvSpec,
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """The convolution ``spec`` of ``dy``: the transpose of the transpose.

    Parameters
    ----------
    spec
        The convolution whose data gradient the forward kernel is.
    dy, w
        Gradient of the output (``spec.x_shape``) and weights (``spec.w_shape``).
    dx
        Gradient of the input (``spec.y_shape``), written.
    workspace
        Not used.
    """
    conv2d_forward(spec, dy, w, None, dx, None)


@np.errstate(all="ignore")
def conv_transpose2d_backward_weight(
    spec: ConvSpec,
    dy: np.ndarray,
    x: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Weight gradient of the convolution ``spec`` with the roles of dy and x exchanged.

    Parameters
    ----------
    spec
        The convolution whose data gradient the forward kernel is.
    dy, x
        Gradient of the output (``spec.x_shape``) and input (``spec.y_shape``).
    dw, db
        Gradients of the weights (``spec.w_shape``) and of the bias (in_channels,) or None,
        written.
    workspace
        Not used.
    """
    conv2d_backward_weight(spec, x, dy, dw, None, None)
    if db is not None:
        db[...] = dy.astype(np.float64).sum(axis=(0, 1, 2))


def workspace_bytes(kernel: str, spec: ConvSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
