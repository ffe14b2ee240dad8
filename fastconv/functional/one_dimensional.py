"""1-D convolution and pooling on plain arrays: those of images with a single row."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from fastconv.functional import conv, pool
from fastconv.functional.array_results import results_like_arguments
from fastconv.functional.array_types import as_array
from fastconv.functional.arrays import Array, Layout, check_dimensions, errors_of
from fastconv.spec import shown

RowLayout: TypeAlias = Literal["NCL", "NLC"]


def _images_layout(owner: str, layout: object) -> Layout:
    if not isinstance(layout, str) or layout not in ("NCL", "NLC"):
        raise ValueError(f"{owner}: layout is {shown(layout)}; expected 'NCL' or 'NLC'")
    return "NCHW" if layout == "NCL" else "NHWC"


def _rows(owner: str, name: str, value: Any, layout: str) -> Array:
    """See (N, C, L) as images of one row."""
    array = as_array(owner, name, value)
    check_dimensions(owner, name, array, layout)
    row: Array = array[:, :, None] if layout == "NCL" else array[:, None]
    return row


def _kernels(owner: str, value: Any, layout: str) -> Array:
    """See the weights of rows as those of images."""
    array = as_array(owner, "w", value)
    check_dimensions(owner, "w", array, "OIK" if layout == "NCL" else "KIO")
    w: Array = array[:, :, None] if layout == "NCL" else array[None]
    return w


def _without_row(array: Array, layout: str) -> Array:
    rows: Array = array[:, :, 0] if layout == "NCL" else array[:, 0]
    return rows


def _shape_of_rows(owner: str, shape: Sequence[int], layout: str) -> tuple[int, ...]:
    try:
        first, second, third = map(operator.index, shape)
    except (TypeError, ValueError):
        raise ValueError(
            f"{owner}: x_shape is {shown(shape)}; expected three sizes ({layout})"
        ) from None
    return (first, second, 1, third) if layout == "NCL" else (first, 1, second, third)


def _across(padding: Any) -> Any:
    """Return padding of one axis as that of images: a word stays one."""
    if isinstance(padding, str):
        return padding
    return ((0, 0), tuple(padding) if isinstance(padding, (tuple, list)) else (padding, padding))


@results_like_arguments
def conv1d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: int = 1,
    padding: Any = 0,
    dilation: int = 1,
    groups: int = 1,
    layout: RowLayout = "NCL",
    backend: str | None = None,
) -> Array:
    """Convolve along one axis.

    Parameters
    ----------
    x
        (N, C, L), or (N, L, C) with ``layout="NLC"``; float32 or float64.
    w
        (O, C / groups, K), or (K, C / groups, O) with ``layout="NLC"``.
    b
        (O,), or None.
    stride, dilation, groups
        As for :func:`fastconv.conv2d`.
    padding
        Zeros at both ends, (before, after), "same" or "valid".
    layout
        "NCL" or "NLC".
    backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        (N, O, L'), or (N, L', O).

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array, or the shapes do not fit together.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.conv1d(np.array([[[1.0, 2.0, 4.0]]]), np.array([[[-1.0, 1.0]]]))
    array([[[1., 2.]]])
    """
    owner = "conv1d"
    images = _images_layout(owner, layout)
    with errors_of(owner, "conv2d"):
        y = conv.conv2d(
            _rows(owner, "x", x, layout), _kernels(owner, w, layout), b, stride=(1, stride),
            padding=_across(padding), dilation=(1, dilation), groups=groups, layout=images,
            backend=backend,
        )  # fmt: skip
    return _without_row(y, layout)


@results_like_arguments
def conv1d_backward(
    dy: Array,
    x: Array,
    w: Array,
    *,
    stride: int = 1,
    padding: Any = 0,
    dilation: int = 1,
    groups: int = 1,
    layout: RowLayout = "NCL",
    needs: Sequence[str] = ("x", "w", "b"),
    backend: str | None = None,
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of :func:`conv1d` with respect to x, w and b.

    Parameters
    ----------
    dy
        Gradient with respect to the output.
    x, w, stride, padding, dilation, groups, layout, backend
        As they were given to :func:`conv1d`.
    needs
        Which gradients to compute; the others are None.

    Returns
    -------
    dx, dw, db
        In the shapes of x, w and b.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x, w, dy = np.array([[[1.0, 2.0, 4.0]]]), np.array([[[-1.0, 1.0]]]), np.ones((1, 1, 2))
    >>> fastconv.conv1d_backward(dy, x, w)[1]
    array([[[3., 6.]]])
    """
    owner = "conv1d_backward"
    images = _images_layout(owner, layout)
    with errors_of(owner, "conv2d_backward"):
        dx, dw, db = conv.conv2d_backward(
            _rows(owner, "dy", dy, layout), _rows(owner, "x", x, layout),
            _kernels(owner, w, layout),
            stride=(1, stride), padding=_across(padding), dilation=(1, dilation), groups=groups,
            layout=images, needs=needs, backend=backend,
        )  # fmt: skip
    if dw is not None:
        dw = dw[:, :, 0] if layout == "NCL" else dw[0]
    return None if dx is None else _without_row(dx, layout), dw, db


def _windows(stride: int | None) -> tuple[int, int] | None:
    return None if stride is None else (1, stride)


@results_like_arguments
def max_pool1d(
    x: Array,
    kernel: int,
    *,
    stride: int | None = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    layout: RowLayout = "NCL",
    backend: str | None = None,
) -> tuple[Array, Array]:
    """Largest element of each window along one axis.

    Parameters
    ----------
    x, layout, backend
        As for :func:`conv1d`.
    kernel, stride
        Size of a window, and from window to window; None: side by side.
    padding
        At both ends, or (before, after).
    ceil_mode
        Whether a last window may go beyond the end.

    Returns
    -------
    y
        (N, C, L'), or (N, L', C).
    where
        int32: where each largest element is along the axis, for :func:`max_pool1d_backward`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.max_pool1d(np.array([[[1.0, 3.0, 2.0, 0.0]]]), 2)
    (array([[[3., 2.]]]), array([[[1, 2]]], dtype=int32))
    """
    owner = "max_pool1d"
    images = _images_layout(owner, layout)
    with errors_of(owner, "max_pool2d"):
        y, where = pool.max_pool2d(
            _rows(owner, "x", x, layout), (1, kernel), stride=_windows(stride),
            padding=_across(padding), ceil_mode=ceil_mode, layout=images, backend=backend,
        )  # fmt: skip
    return _without_row(y, layout), _without_row(where, layout)


@results_like_arguments
def max_pool1d_backward(
    dy: Array,
    where: Array,
    x_shape: Sequence[int],
    kernel: int,
    *,
    stride: int | None = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    layout: RowLayout = "NCL",
    backend: str | None = None,
) -> Array:
    """Gradient of :func:`max_pool1d` with respect to x.

    Parameters
    ----------
    dy
        Gradient with respect to the output.
    where
        As :func:`max_pool1d` returned it.
    x_shape
        Shape of x.
    kernel, stride, padding, ceil_mode, layout, backend
        As they were given to :func:`max_pool1d`.

    Returns
    -------
    ndarray
        In the shape of x.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> _, where = fastconv.max_pool1d(np.array([[[1.0, 3.0]]]), 2)
    >>> fastconv.max_pool1d_backward(np.ones((1, 1, 1)), where, (1, 1, 2), 2)
    array([[[0., 1.]]])
    """
    owner = "max_pool1d_backward"
    images = _images_layout(owner, layout)
    with errors_of(owner, "max_pool2d_backward"):
        dx = pool.max_pool2d_backward(
            _rows(owner, "dy", dy, layout), _rows(owner, "where", where, layout),
            _shape_of_rows(owner, x_shape, layout), (1, kernel), stride=_windows(stride),
            padding=_across(padding), ceil_mode=ceil_mode, layout=images, backend=backend,
        )  # fmt: skip
    return _without_row(dx, layout)


@results_like_arguments
def avg_pool1d(
    x: Array,
    kernel: int,
    *,
    stride: int | None = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    layout: RowLayout = "NCL",
    backend: str | None = None,
) -> Array:
    """Mean of each window along one axis.

    Parameters
    ----------
    x, kernel, stride, padding, ceil_mode, layout, backend
        As for :func:`max_pool1d`.
    count_include_pad
        Whether means count the cells of the padding.

    Returns
    -------
    ndarray
        (N, C, L'), or (N, L', C).

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.avg_pool1d(np.array([[[1.0, 3.0, 2.0, 0.0]]]), 2)
    array([[[2., 1.]]])
    """
    owner = "avg_pool1d"
    images = _images_layout(owner, layout)
    with errors_of(owner, "avg_pool2d"):
        y = pool.avg_pool2d(
            _rows(owner, "x", x, layout), (1, kernel), stride=_windows(stride),
            padding=_across(padding), ceil_mode=ceil_mode, count_include_pad=count_include_pad,
            layout=images, backend=backend,
        )  # fmt: skip
    return _without_row(y, layout)


@results_like_arguments
def avg_pool1d_backward(
    dy: Array,
    x_shape: Sequence[int],
    kernel: int,
    *,
    stride: int | None = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    layout: RowLayout = "NCL",
    backend: str | None = None,
) -> Array:
    """Gradient of :func:`avg_pool1d` with respect to x.

    Parameters
    ----------
    dy
        Gradient with respect to the output.
    x_shape
        Shape of x.
    kernel, stride, padding, ceil_mode, count_include_pad, layout, backend
        As they were given to :func:`avg_pool1d`.

    Returns
    -------
    ndarray
        In the shape of x.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.avg_pool1d_backward(np.ones((1, 1, 1)), (1, 1, 2), 2)
    array([[[0.5, 0.5]]])
    """
    owner = "avg_pool1d_backward"
    images = _images_layout(owner, layout)
    with errors_of(owner, "avg_pool2d_backward"):
        dx = pool.avg_pool2d_backward(
            _rows(owner, "dy", dy, layout), _shape_of_rows(owner, x_shape, layout), (1, kernel),
            stride=_windows(stride), padding=_across(padding), ceil_mode=ceil_mode,
            count_include_pad=count_include_pad, layout=images, backend=backend,
        )  # fmt: skip
    return _without_row(dx, layout)
