"""Dense layers inside ``@njit``."""

# mypy: disable-error-code="no-untyped-def"
# Signatures are those of the public functions; Numba finds the types.

from __future__ import annotations

import numpy as np

from fastconv.functional.dense import dense, dense_backward
from fastconv.interop.numba_overloads.arguments import (
    ALL_GRADIENTS,
    NEEDS,
    as_dense,
    begin,
    check_axes,
    check_floats,
    constant,
    overloads,
    result_runner,
)
from fastconv.interop.numba_overloads.intrinsics import (
    check,
    check_shape,
    found,
    plan_finder,
    run_plan,
)


@overloads(dense)
def _typed_dense_layer(x, w, b=None, out=None, backend=None):
    begin("dense", backend)
    dtype = check_floats("dense", x=x, w=w, b=b, out=out)
    for name, kind, axes in (("x", x, "NI"), ("w", w, "IO"), ("b", b, "O"), ("out", out, "NO")):
        check_axes("dense", name, kind, axes)
    find, run = plan_finder("dense"), result_runner(out, 3, 2)

    def call(x, w, b=None, out=None, backend=None):
        return run(found(find((dtype, x, w, b, 0))), x, w, b, out)

    return call


@overloads(dense_backward)
def _dense_backward(dy, x, w, needs=NEEDS, backend=None):
    owner = "dense_backward"
    begin(owner, backend)
    constant(owner, "needs", needs, (NEEDS,))
    dtype = check_floats(owner, dy=dy, x=x, w=w)
    for name, kind, axes in (("dy", dy, "NO"), ("x", x, "NI"), ("w", w, "IO")):
        check_axes(owner, name, kind, axes)
    find, everything = plan_finder(owner), ALL_GRADIENTS

    def call(dy, x, w, needs=NEEDS, backend=None):
        plan = found(find((dtype, x, w, 0, everything)))
        check(check_shape(plan, 0, dy, (x.shape[0], w.shape[1])))
        dx, dw = np.empty(x.shape, x.dtype), np.empty(w.shape, x.dtype)
        db = np.empty(w.shape[1], x.dtype)
        check(run_plan(plan, (as_dense(dy), as_dense(x), as_dense(w), dx, dw, db)))
        return dx, dw, db

    return call
