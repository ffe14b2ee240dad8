"""Convolutions and transposed convolutions inside ``@njit``."""

# mypy: disable-error-code="no-untyped-def"
# Signatures are those of the public functions; Numba finds the types.

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.functional.conv import (
    conv2d,
    conv2d_backward,
    conv_transpose2d,
    conv_transpose2d_backward,
)
from fastconv.interop.descriptions import LAYOUTS
from fastconv.interop.numba_overloads.arguments import (
    ALL_GRADIENTS,
    NEEDS,
    as_dense,
    begin,
    check_axes,
    check_floats,
    constant,
    is_same,
    overloads,
    result_runner,
)
from fastconv.interop.numba_overloads.intrinsics import (
    check,
    check_shape,
    compiled,
    found,
    image_shape,
    plan_finder,
    plan_size,
    run_plan,
)


def _images_and_filters(
    owner: str, layout: Any, transposed: bool, **arrays: Any
) -> tuple[int, int]:
    """Check the types of images and filters; return the numbers of dtype and layout."""
    dtype = check_floats(owner, **arrays)
    chosen = LAYOUTS.index(constant(owner, "layout", layout, LAYOUTS))
    order = (("IOHW", "HWOI") if transposed else ("OIHW", "HWIO"))[chosen]
    for name, kind in arrays.items():
        check_axes(owner, name, kind, {"w": order, "b": "O"}.get(name, LAYOUTS[chosen]))
    return dtype, chosen


def _forward(
    owner: str, x: Any, w: Any, b: Any, padding: Any, layout: Any, out: Any, backend: Any
) -> Any:
    """Make the function of (x, w, b, stride, padding, output_padding, dilation, groups, out)."""
    begin(owner, backend)
    transposed = owner == "conv_transpose2d"
    dtype, order = _images_and_filters(owner, layout, transposed, x=x, w=w, b=b, out=out)
    same, find, run = is_same(owner, padding), plan_finder(owner), result_runner(out, 3, 4)

    def forward(
        x: Any, w: Any, b: Any, stride: Any, padding: Any, output_padding: Any, dilation: Any,
        groups: Any, out: Any,
    ) -> Any:  # fmt: skip
        plan = found(
            find(
                (dtype, order, x, w, stride, padding, same, dilation, groups, output_padding, b, 0)
            )
        )
        return run(plan, x, w, b, out)

    return compiled(forward)


@overloads(conv2d)
def _conv2d(
    x, w, b=None, stride=1, padding=0, dilation=1, groups=1, layout="NCHW", out=None, backend=None
):
    forward = _forward("conv2d", x, w, b, padding, layout, out, backend)

    def call(
        x, w, b=None, stride=1, padding=0, dilation=1, groups=1, layout="NCHW", out=None,
        backend=None,
    ):  # fmt: skip
        return forward(x, w, b, stride, padding, 0, dilation, groups, out)

    return call


@overloads(conv_transpose2d)
def _conv_transpose2d(
    x, w, b=None, stride=1, padding=0, output_padding=0, dilation=1, groups=1, layout="NCHW",
    out=None, backend=None,
):  # fmt: skip
    forward = _forward("conv_transpose2d", x, w, b, padding, layout, out, backend)

    def call(
        x, w, b=None, stride=1, padding=0, output_padding=0, dilation=1, groups=1, layout="NCHW",
        out=None, backend=None,
    ):  # fmt: skip
        return forward(x, w, b, stride, padding, output_padding, dilation, groups, out)

    return call


def _backward(
    owner: str, dy: Any, x: Any, w: Any, padding: Any, layout: Any, needs: Any, backend: Any
) -> Any:
    """Make the function of (dy, x, w, stride, padding, output_padding, dilation, groups)."""
    begin(owner, backend)
    constant(owner, "needs", needs, (NEEDS,))
    transposed = owner == "conv_transpose2d_backward"
    dtype, order = _images_and_filters(owner, layout, transposed, dy=dy, x=x, w=w)
    same, find, everything = is_same(owner, padding), plan_finder(owner), ALL_GRADIENTS

    def backward(
        dy: Any, x: Any, w: Any, stride: Any, padding: Any, output_padding: Any, dilation: Any,
        groups: Any,
    ) -> Any:  # fmt: skip
        plan = found(
            find((
                dtype, order, x, w, stride, padding, same, dilation, groups, output_padding, 0,
                everything,
            ))
        )  # fmt: skip
        shape = image_shape(plan, 0)
        check(check_shape(plan, 0, dy, shape))
        dx, dw = np.empty(x.shape, x.dtype), np.empty(w.shape, x.dtype)
        db = np.empty(plan_size(plan, 5, 0), x.dtype)
        check(run_plan(plan, (as_dense(dy), as_dense(x), as_dense(w), dx, dw, db)))
        return dx, dw, db

    return compiled(backward)


@overloads(conv2d_backward)
def _conv2d_backward(
    dy, x, w, stride=1, padding=0, dilation=1, groups=1, layout="NCHW", needs=NEEDS, backend=None
):
    backward = _backward("conv2d_backward", dy, x, w, padding, layout, needs, backend)

    def call(
        dy, x, w, stride=1, padding=0, dilation=1, groups=1, layout="NCHW", needs=NEEDS,
        backend=None,
    ):  # fmt: skip
        return backward(dy, x, w, stride, padding, 0, dilation, groups)

    return call


@overloads(conv_transpose2d_backward)
def _conv_transpose2d_backward(
    dy, x, w, stride=1, padding=0, output_padding=0, dilation=1, groups=1, layout="NCHW",
    needs=NEEDS, backend=None,
):  # fmt: skip
    backward = _backward("conv_transpose2d_backward", dy, x, w, padding, layout, needs, backend)

    def call(
        dy, x, w, stride=1, padding=0, output_padding=0, dilation=1, groups=1, layout="NCHW",
        needs=NEEDS, backend=None,
    ):  # fmt: skip
        return backward(dy, x, w, stride, padding, output_padding, dilation, groups)

    return call
