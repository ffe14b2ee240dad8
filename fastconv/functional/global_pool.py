"""Global max pooling on plain arrays: one window, the whole image."""

from __future__ import annotations

from collections.abc import Sequence

from fastconv.functional import pool
from fastconv.functional.array_results import results_like_arguments
from fastconv.functional.array_types import as_array
from fastconv.functional.arrays import (
    Array,
    Layout,
    check_dimensions,
    check_layout,
    errors_of,
    shape_to_nhwc,
)


@results_like_arguments
def global_max_pool2d(
    x: Array, *, layout: Layout = "NCHW", backend: str | None = None
) -> tuple[Array, Array]:
    """Largest pixel of each channel.

    Parameters
    ----------
    x, layout, backend
        As for :func:`fastconv.max_pool2d`.

    Returns
    -------
    y, where
        (N, C) each: the pixels, and where they are in the plane, which is what
        :func:`global_max_pool2d_backward` needs.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.global_max_pool2d(np.arange(4.0).reshape(1, 1, 2, 2))
    (array([[3.]]), array([[3]], dtype=int32))
    """
    owner = "global_max_pool2d"
    check_layout(owner, layout)
    array = as_array(owner, "x", x)
    check_dimensions(owner, "x", array, layout)
    height = layout.index("H")
    kernel = array.shape[height : height + 2]
    if 0 in array.shape[1:]:
        raise ValueError(f"{owner}: x is {array.shape}; expected a channel and a pixel at least")
    with errors_of(owner, "max_pool2d"):
        y, where = pool.max_pool2d(array, kernel, layout=layout, backend=backend)
    shape = array.shape[0], array.shape[layout.index("C")]
    return y.reshape(shape), where.reshape(shape)


@results_like_arguments
def global_max_pool2d_backward(
    dy: Array,
    where: Array,
    x_shape: Sequence[int],
    *,
    layout: Layout = "NCHW",
    backend: str | None = None,
) -> Array:
    """Gradient of :func:`global_max_pool2d` with respect to x.

    Parameters
    ----------
    dy, where
        Gradient with respect to the output, and what :func:`global_max_pool2d` returned.
    x_shape, layout, backend
        As for :func:`fastconv.max_pool2d_backward`.

    Returns
    -------
    ndarray
        In the shape of x.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> _, where = fastconv.global_max_pool2d(np.arange(4.0).reshape(1, 1, 2, 2))
    >>> fastconv.global_max_pool2d_backward(np.ones((1, 1)), where, (1, 1, 2, 2))
    array([[[[0., 0.],
             [0., 1.]]]])
    """
    owner = "global_max_pool2d_backward"
    check_layout(owner, layout)
    pixels = [as_array(owner, name, a) for name, a in (("dy", dy), ("where", where))]
    for name, array in zip(("dy", "where"), pixels, strict=True):
        check_dimensions(owner, name, array, "NC")
    gradient, places = (
        a[:, :, None, None] if layout == "NCHW" else a[:, None, None] for a in pixels
    )
    _, height, width, _ = shape_to_nhwc(owner, "x_shape", x_shape, layout)
    with errors_of(owner, "max_pool2d_backward"):
        return pool.max_pool2d_backward(
            gradient, places, x_shape, (height, width), layout=layout, backend=backend
        )
