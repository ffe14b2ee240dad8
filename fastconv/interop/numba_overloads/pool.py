"""Pooling inside ``@njit``."""

# mypy: disable-error-code="no-untyped-def"
# Signatures are those of the public functions; Numba finds the types.

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError

from fastconv.functional.pool import (
    avg_pool2d,
    avg_pool2d_backward,
    global_avg_pool2d,
    global_avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)
from fastconv.interop.descriptions import LAYOUTS
from fastconv.interop.numba_overloads.arguments import (
    as_dense,
    begin,
    check_axes,
    check_floats,
    constant,
    is_same,
    overloads,
)
from fastconv.interop.numba_overloads.intrinsics import (
    check,
    check_range,
    check_shape,
    found,
    image_shape,
    plan_finder,
    run_plan,
)


def _pooled(owner: str, layout: Any, backend: Any, **arrays: Any) -> tuple[int, int]:
    begin(owner, backend)
    dtype = check_floats(owner, **arrays)
    chosen = LAYOUTS.index(constant(owner, "layout", layout, LAYOUTS))
    for name, kind in arrays.items():
        check_axes(owner, name, kind, LAYOUTS[chosen])
    return dtype, chosen


@overloads(max_pool2d)
def _max_pool2d(x, kernel, stride=None, padding=0, ceil_mode=False, layout="NCHW", backend=None):
    dtype, order = _pooled("max_pool2d", layout, backend, x=x)
    same, find = is_same("max_pool2d", padding), plan_finder("max_pool2d")

    def call(x, kernel, stride=None, padding=0, ceil_mode=False, layout="NCHW", backend=None):
        plan = found(find((dtype, order, x, kernel, stride, padding, same, ceil_mode, 1)))
        shape = image_shape(plan, 1)
        y, where = np.empty(shape, x.dtype), np.empty(shape, np.int32)
        check(run_plan(plan, (as_dense(x), y, where)))
        return y, where

    return call


@overloads(max_pool2d_backward)
def _max_pool2d_backward(
    dy, where, x_shape, kernel, stride=None, padding=0, ceil_mode=False, layout="NCHW",
    backend=None,
):  # fmt: skip
    owner = "max_pool2d_backward"
    dtype, order = _pooled(owner, layout, backend, dy=dy)
    if not (isinstance(where, types.Array) and where.dtype == types.int32):
        raise TypingError(f"{owner}: where must be the int32 array that max_pool2d returned")
    same, find = is_same(owner, padding), plan_finder(owner)
    down, across = LAYOUTS[order].index("H"), LAYOUTS[order].index("W")

    def call(
        dy, where, x_shape, kernel, stride=None, padding=0, ceil_mode=False, layout="NCHW",
        backend=None,
    ):  # fmt: skip
        plan = found(find((dtype, order, x_shape, kernel, stride, padding, same, ceil_mode, 1)))
        shape = image_shape(plan, 0)
        check(check_shape(plan, 0, dy, shape))
        check(check_shape(plan, 1, where, shape))
        places = as_dense(where)
        check(check_range(plan, 1, places, x_shape[down] * x_shape[across]))
        dx = np.empty((x_shape[0], x_shape[1], x_shape[2], x_shape[3]), dy.dtype)
        check(run_plan(plan, (as_dense(dy), places, dx)))
        return dx

    return call


@overloads(avg_pool2d)
def _avg_pool2d(
    x, kernel, stride=None, padding=0, ceil_mode=False, count_include_pad=True, layout="NCHW",
    backend=None,
):  # fmt: skip
    dtype, order = _pooled("avg_pool2d", layout, backend, x=x)
    same, find = is_same("avg_pool2d", padding), plan_finder("avg_pool2d")

    def call(
        x, kernel, stride=None, padding=0, ceil_mode=False, count_include_pad=True, layout="NCHW",
        backend=None,
    ):  # fmt: skip
        plan = found(
            find((dtype, order, x, kernel, stride, padding, same, ceil_mode, count_include_pad))
        )
        shape = image_shape(plan, 1)
        y = np.empty(shape, x.dtype)
        check(run_plan(plan, (as_dense(x), y)))
        return y

    return call


@overloads(avg_pool2d_backward)
def _avg_pool2d_backward(
    dy, x_shape, kernel, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
    layout="NCHW", backend=None,
):  # fmt: skip
    owner = "avg_pool2d_backward"
    dtype, order = _pooled(owner, layout, backend, dy=dy)
    same, find = is_same(owner, padding), plan_finder(owner)

    def call(
        dy, x_shape, kernel, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
        layout="NCHW", backend=None,
    ):  # fmt: skip
        plan = found(
            find((
                dtype, order, x_shape, kernel, stride, padding, same, ceil_mode, count_include_pad,
            ))
        )  # fmt: skip
        shape = image_shape(plan, 0)
        check(check_shape(plan, 0, dy, shape))
        dx = np.empty((x_shape[0], x_shape[1], x_shape[2], x_shape[3]), dy.dtype)
        check(run_plan(plan, (as_dense(dy), dx)))
        return dx

    return call


@overloads(global_avg_pool2d)
def _global_avg_pool2d(x, layout="NCHW", backend=None):
    dtype, order = _pooled("global_avg_pool2d", layout, backend, x=x)
    find, channel = plan_finder("global_avg_pool2d"), LAYOUTS[order].index("C")

    def call(x, layout="NCHW", backend=None):
        plan = found(find((dtype, order, x, 0, 0, 0, 0, 0, 0)))
        y = np.empty((x.shape[0], x.shape[channel]), x.dtype)
        check(run_plan(plan, (as_dense(x), y)))
        return y

    return call


@overloads(global_avg_pool2d_backward)
def _global_avg_pool2d_backward(dy, x_shape, layout="NCHW", backend=None):
    owner = "global_avg_pool2d_backward"
    begin(owner, backend)
    dtype = check_floats(owner, dy=dy)
    check_axes(owner, "dy", dy, "NC")
    order = LAYOUTS.index(constant(owner, "layout", layout, LAYOUTS))
    find, channel = plan_finder(owner), LAYOUTS[order].index("C")

    def call(dy, x_shape, layout="NCHW", backend=None):
        plan = found(find((dtype, order, x_shape, 0, 0, 0, 0, 0, 0)))
        check(check_shape(plan, 0, dy, (x_shape[0], x_shape[channel])))
        dx = np.empty((x_shape[0], x_shape[1], x_shape[2], x_shape[3]), dy.dtype)
        check(run_plan(plan, (as_dense(dy), dx)))
        return dx

    return call
