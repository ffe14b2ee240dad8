"""Forward and backward passes of convolutions and transposed convolutions, on checked arrays."""

from __future__ import annotations

from collections.abc import Sequence

from fastconv.functional.array_types import module_of
from fastconv.functional.arrays import (
    Array,
    Layout,
    dense,
    launch,
    result_buffer,
    sum_channels,
)
from fastconv.functional.images import launch_on_images
from fastconv.spec import ConvSpec, Shape


def forward(
    backend: str | None,
    function: str,
    spec: ConvSpec,
    shape: Shape,
    x: Array,
    w: Array,
    b: Array | None,
    layout: Layout,
    out: Array | None,
) -> Array:
    """Convolve.

    Parameters
    ----------
    function
        "conv2d" or "conv_transpose2d".
    spec
        Its spec; the images of a transposed convolution are those that come out of it.
    shape
        Of the result, in the layout.
    x, w, b, layout, out, backend
        As for :func:`fastconv.conv2d`; ``b`` is contiguous.
    """
    y = result_buffer(function, out, shape, x, w, b)
    x, w = dense(x), dense(w)
    kernel = f"conv.{function}_forward"
    launch_on_images(backend, kernel, spec, x.dtype, layout, "r..w", x, w, b, y)
    if out is None or y is out:
        return y
    module_of(out).copyto(out, y)
    return out


def backward(
    backend: str | None,
    function: str,
    spec: ConvSpec,
    dy: Array,
    x: Array,
    w: Array,
    layout: Layout,
    needs: Sequence[str],
) -> tuple[Array | None, Array | None, Array | None]:
    """Return the gradients of x, w and b that are needed; the others are None.

    Parameters
    ----------
    function, spec
        As for :func:`forward`.
    dy, x, w, layout, needs, backend
        As for :func:`fastconv.conv2d_backward`.
    """
    xp, dtype, channel = module_of(x), x.dtype, layout.index("C")
    dx = xp.empty(x.shape, dtype) if "x" in needs else None
    dw = xp.empty(w.shape, dtype) if "w" in needs else None
    db = xp.empty(dy.shape[channel], dtype) if dw is not None and "b" in needs else None
    if dx is not None or dw is not None:
        dy, x, w = (dense(array) for array in (dy, x, w))
        if layout == "NCHW":
            # One kernel for all gradients, so that dy is transposed once.
            kernel = f"conv.{function}_backward"
            launch_on_images(backend, kernel, spec, dtype, layout, "rr.w..", dy, x, w, dx, dw, db)
        else:
            if dx is not None:
                launch(backend, f"conv.{function}_backward_data", spec, dtype, dy, w, dx)
            if dw is not None:
                launch(backend, f"conv.{function}_backward_weight", spec, dtype, dy, x, dw, db)
    if dw is None and "b" in needs:
        db = sum_channels(backend, dy, layout)
    return dx, dw, db
