"""A ReLU with a learned slope on plain arrays (He et al., arXiv:1502.01852)."""

from __future__ import annotations

from fastconv.functional.array_results import results_like_arguments
from fastconv.functional.array_types import module_of
from fastconv.functional.arrays import (
    Array,
    Layout,
    check_layout,
    check_shape,
    dense,
    launch,
    take_floats,
)
from fastconv.plans.operation import PReLUSpec


def _rows(x: Array, layout: Layout) -> Array:
    """The channels last, contiguous."""
    xp = module_of(x)
    is_nchw = x.ndim == 4 and layout == "NCHW"
    rows: Array = dense(xp.moveaxis(x, 1, -1) if is_nchw else x)
    return rows


def _like(rows: Array, x: Array, layout: Layout) -> Array:
    """Undo :func:`_rows`."""
    if x.ndim == 4 and layout == "NCHW":
        xp = module_of(x)
        images: Array = dense(xp.moveaxis(rows, -1, 1))
        return images
    return rows.reshape(x.shape)


def _spec(owner: str, x: Array, slope: Array, layout: Layout) -> PReLUSpec:
    check_layout(owner, layout)
    if x.ndim not in (2, 4):
        raise ValueError(
            f"{owner}: x has {x.ndim} dimensions {x.shape}; expected 2 (N, C) or 4 ({layout})"
        )
    channels = x.shape[layout.index("C")] if x.ndim == 4 else x.shape[1]
    if channels == 0:
        raise ValueError(f"{owner}: x has no channels {x.shape}; expected at least one")
    if slope.shape != (1,):
        check_shape(owner, "slope", slope, (channels,), "one, or one for each channel of x")
    return PReLUSpec(x.size // channels, channels, slope.size)


@results_like_arguments
def prelu(x: Array, slope: Array, *, layout: Layout = "NCHW", backend: str | None = None) -> Array:
    """``x`` where positive, else ``slope * x``.

    Parameters
    ----------
    x
        (N, C), or images in ``layout``; float32 or float64.
    slope
        (1,), or (C,): one for each channel.
    layout, backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        In the shape of x.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array, or the shapes do not fit together.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.prelu(np.array([[-2.0, 3.0]]), np.array([0.25]))
    array([[-0.5,  3. ]])
    """
    x, slope = take_floats("prelu", x=x, slope=slope)
    spec = _spec("prelu", x, slope, layout)
    rows, own = _rows(x, layout), dense(slope)
    y = module_of(x).empty_like(rows)
    launch(backend, "prelu.prelu_forward", spec, x.dtype, rows, own, y)
    return _like(y, x, layout)


@results_like_arguments
def prelu_backward(
    dy: Array, x: Array, slope: Array, *, layout: Layout = "NCHW", backend: str | None = None
) -> tuple[Array, Array]:
    """Gradients of :func:`prelu` from its inputs.

    Parameters
    ----------
    dy
        Gradient of the output, in the shape of x.
    x, slope, layout, backend
        As for :func:`prelu`.

    Returns
    -------
    dx, dslope
        Of x and of the slope: ``dslope`` is the sum of ``dy * x`` where x is not positive.

    Raises
    ------
    TypeError, ValueError
        As :func:`prelu`.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.prelu_backward(np.ones((1, 2)), np.array([[-2.0, 3.0]]), np.array([0.25]))
    (array([[0.25, 1.  ]]), array([-2.]))
    """
    owner = "prelu_backward"
    dy, x, slope = take_floats(owner, dy=dy, x=x, slope=slope)
    check_shape(owner, "dy", dy, x.shape, "the shape of x")
    spec = _spec(owner, x, slope, layout)
    xp = module_of(x)
    rows, gradients, own = _rows(x, layout), _rows(dy, layout), dense(slope)
    dx, dslope = xp.empty_like(rows), xp.empty_like(own)
    launch(backend, "prelu.prelu_backward", spec, x.dtype, gradients, rows, own, dx, dslope)
    return _like(dx, x, layout), dslope
