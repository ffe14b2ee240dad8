"""Two arrays that become one: sums, products, and channels side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fastconv.plans.merging import BroadcastSpec, ConcatenateSpec, MergeSpec


def _elementwise(
    spec: BroadcastSpec,
    operation: Callable[[float, float], float],
    x1: np.ndarray,
    x2: np.ndarray,
    y: np.ndarray,
) -> None:
    first, second = x1.reshape(spec.x1_shape), x2.reshape(spec.x2_shape)
    result = y.reshape(spec.x1_shape)
    for n, pixel, c in np.ndindex(*spec.x1_shape):
        other = second[n, c] if spec.per_channel else second[n, pixel, c]
        result[n, pixel, c] = operation(float(first[n, pixel, c]), float(other))


def _sum_pixels(spec: BroadcastSpec, terms: np.ndarray, total: np.ndarray) -> None:
    """Write the gradient of ``x2`` from that of each element of the result."""
    if not spec.per_channel:
        total[...] = terms.reshape(total.shape)
        return
    sums = np.zeros(spec.x2_shape)
    for pixel in range(spec.pixels):
        sums += terms[:, pixel]
    total[...] = sums


@np.errstate(all="ignore")
def add_forward(
    spec: BroadcastSpec,
    x1: np.ndarray,
    x2: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y = x1 + x2``.

    Parameters
    ----------
    spec
        Shapes; :class:`fastconv.plans.merging.BroadcastSpec` says which element meets which.
    x1, x2
        Arrays of ``spec.x1_shape`` and ``spec.x2_shape``, the pixels of images in any shape.
    y
        Like ``x1``, written; it may be ``x1``, and ``x2`` where that has the same shape.
    workspace
        Not used.

    Examples
    --------
    >>> y = np.empty((1, 2, 2))
    >>> x1, x2 = np.array([[[1.0, 2.0], [3.0, 4.0]]]), np.array([[10.0, 20.0]])
    >>> add_forward(BroadcastSpec(1, 2, 2, per_channel=True), x1, x2, y, None)
    >>> y[0]
    array([[11., 22.],
           [13., 24.]])
    """
    _elementwise(spec, lambda a, b: a + b, x1, x2, y)


@np.errstate(all="ignore")
def add_backward(
    spec: BroadcastSpec,
    dy: np.ndarray,
    dx1: np.ndarray | None,
    dx2: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Give the gradient to both, summed over the pixels for an ``x2`` of one number per channel.

    Parameters
    ----------
    spec
        Shapes.
    dy
        Gradient of the sum.
    dx1, dx2
        Gradients of the summands, written; None: not needed.
    workspace
        Not used.
    """
    if dx1 is not None:
        dx1[...] = dy
    if dx2 is not None:
        _sum_pixels(spec, dy.astype(np.float64).reshape(spec.x1_shape), dx2)


@np.errstate(all="ignore")
def multiply_forward(
    spec: BroadcastSpec,
    x1: np.ndarray,
    x2: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """``y = x1 * x2``, element by element.

    Parameters
    ----------
    spec
        Shapes.
    x1, x2, y
        As for :func:`add_forward`.
    workspace
        Not used.

    Examples
    --------
    >>> y = np.empty((1, 2, 2))
    >>> x1, x2 = np.array([[[1.0, 2.0], [3.0, 4.0]]]), np.array([[10.0, 0.5]])
    >>> multiply_forward(BroadcastSpec(1, 2, 2, per_channel=True), x1, x2, y, None)
    >>> y[0]
    array([[10.,  1.],
           [30.,  2.]])
    """
    _elementwise(spec, lambda a, b: a * b, x1, x2, y)


@np.errstate(all="ignore")
def multiply_backward(
    spec: BroadcastSpec,
    dy: np.ndarray,
    x1: np.ndarray,
    x2: np.ndarray,
    dx1: np.ndarray | None,
    dx2: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """``dx1 = dy * x2`` and ``dx2 = dy * x1``, summed over the pixels that met the same ``x2``.

    Parameters
    ----------
    spec
        Shapes.
    dy
        Gradient of the product.
    x1, x2
        The factors.
    dx1, dx2
        Their gradients, written; None: not needed. ``dx1`` may be ``dy``.
    workspace
        Not used.
    """
    if dx2 is not None:
        terms = np.empty(spec.x1_shape)
        _elementwise(replace(spec, per_channel=False), lambda a, b: a * b, dy, x1, terms)
        _sum_pixels(spec, terms, dx2)
    if dx1 is not None:
        _elementwise(spec, lambda a, b: a * b, dy, x2, dx1)


def concatenate_forward(
    spec: ConcatenateSpec,
    x1: np.ndarray,
    x2: np.ndarray,
    y: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """In each row the channels of ``x1``, then those of ``x2``.

    Parameters
    ----------
    spec
        Rows and channels.
    x1, x2
        Arrays of (rows, channels1) and (rows, channels2), the rows of images in any shape.
    y
        (rows, channels1 + channels2), written.
    workspace
        Not used.

    Examples
    --------
    >>> y = np.empty((2, 3))
    >>> x1, x2 = np.array([[1.0], [2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]])
    >>> concatenate_forward(ConcatenateSpec(2, 1, 2), x1, x2, y, None)
    >>> y
    array([[1., 3., 4.],
           [2., 5., 6.]])
    """
    result = y.reshape(spec.rows, spec.channels)
    first, second = x1.reshape(spec.rows, spec.channels1), x2.reshape(spec.rows, spec.channels2)
    for row in range(spec.rows):
        for c in range(spec.channels1):
            result[row, c] = first[row, c]
        for c in range(spec.channels2):
            result[row, spec.channels1 + c] = second[row, c]


def concatenate_backward(
    spec: ConcatenateSpec,
    dy: np.ndarray,
    dx1: np.ndarray | None,
    dx2: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Give each array the gradient of its own channels.

    Parameters
    ----------
    spec
        Rows and channels.
    dy
        Gradient of the result.
    dx1, dx2
        Gradients of the arrays, written; None: not needed.
    workspace
        Not used.
    """
    gradient = dy.reshape(spec.rows, spec.channels)
    for dx, start, channels in (
        (dx1, 0, spec.channels1),
        (dx2, spec.channels1, spec.channels2),
    ):
        if dx is not None:
            own = dx.reshape(spec.rows, channels)
            for row, c in np.ndindex(spec.rows, channels):
                own[row, c] = gradient[row, start + c]


def workspace_bytes(kernel: str, spec: MergeSpec, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
