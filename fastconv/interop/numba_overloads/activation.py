"""Activations, softmax and log-softmax inside ``@njit``."""

# mypy: disable-error-code="no-untyped-def"
# Signatures are those of the public functions; Numba finds the types.

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core.errors import TypingError

import fastconv.functional.activation as activations
import fastconv.functional.softmax as along_axis
from fastconv.interop.numba_overloads.arguments import (
    as_dense,
    begin,
    check_floats,
    constant,
    overloads,
)
from fastconv.interop.numba_overloads.intrinsics import (
    check,
    check_shape,
    compiled,
    found,
    plan_finder,
    run_plan,
)
from fastconv.plans.activations import ACTIVATION_KINDS, ActivationKind, activation_of, number_of


def _activate(owner: str, kind: ActivationKind, x: Any, backend: Any) -> Any:
    """Make the function of (x, alpha)."""
    begin(owner, backend)
    dtype, number, find = check_floats(owner, x=x), number_of(kind), plan_finder("activation")

    def activate(x: Any, alpha: Any) -> Any:
        plan = found(find((dtype, number, x.size, alpha)))
        y = np.empty(x.shape, x.dtype)
        check(run_plan(plan, (as_dense(x), y)))
        return y

    return compiled(activate)


def _deactivate(owner: str, kind: ActivationKind, dy: Any, kept: Any, backend: Any) -> Any:
    """Make the function of (dy, what is kept, alpha)."""
    begin(owner, backend)
    keeps = activation_of(kind).keeps
    dtype = check_floats(owner, **{"dy": dy, keeps: kept})
    number, find, keeps_x = number_of(kind), plan_finder("activation_backward"), keeps == "x"

    def deactivate(dy: Any, kept: Any, alpha: Any) -> Any:
        plan = found(find((dtype, number, kept.size, alpha)))
        check(check_shape(plan, 0, dy, kept.shape))
        dx = np.empty(kept.shape, kept.dtype)
        if keeps_x:
            check(run_plan(plan, (as_dense(dy), as_dense(kept), None, dx)))
        else:
            check(run_plan(plan, (as_dense(dy), None, as_dense(kept), dx)))
        return dx

    return compiled(deactivate)


def _overload_plain(kind: ActivationKind) -> None:
    """Overload an activation without parameters, and its gradient."""
    forward, backward = getattr(activations, kind), getattr(activations, f"{kind}_backward")

    @overloads(forward)
    def typed(x, backend=None):
        activate = _activate(kind, kind, x, backend)
        return lambda x, backend=None: activate(x, 0.0)

    if activation_of(kind).keeps == "x":

        @overloads(backward)
        def typed_from_x(dy, x, backend=None):
            deactivate = _deactivate(f"{kind}_backward", kind, dy, x, backend)
            return lambda dy, x, backend=None: deactivate(dy, x, 0.0)
    else:

        @overloads(backward)
        def typed_from_y(dy, y, backend=None):
            deactivate = _deactivate(f"{kind}_backward", kind, dy, y, backend)
            return lambda dy, y, backend=None: deactivate(dy, y, 0.0)


def _overload_with_alpha(kind: ActivationKind, default: float) -> None:
    """Overload an activation with a parameter, and its gradient."""
    forward, backward = getattr(activations, kind), getattr(activations, f"{kind}_backward")

    @overloads(forward)
    def typed(x, alpha=default, backend=None):
        activate = _activate(kind, kind, x, backend)
        return lambda x, alpha=default, backend=None: activate(x, alpha)

    @overloads(backward)
    def typed_backward(dy, y, alpha=default, backend=None):
        deactivate = _deactivate(f"{kind}_backward", kind, dy, y, backend)
        return lambda dy, y, alpha=default, backend=None: deactivate(dy, y, alpha)


for _kind in ACTIVATION_KINDS:
    _alpha = activation_of(_kind).alpha
    if _alpha is not None:
        _overload_with_alpha(_kind, _alpha)
    elif not _kind.startswith("gelu"):
        _overload_plain(_kind)


def _kind_of_gelu(owner: str, approximate: Any) -> ActivationKind:
    chosen = constant(owner, "approximate", approximate, ("none", "tanh"))
    return "gelu" if chosen == "none" else "gelu_tanh"


@overloads(activations.gelu)
def _gelu(x, approximate="none", backend=None):
    activate = _activate("gelu", _kind_of_gelu("gelu", approximate), x, backend)
    return lambda x, approximate="none", backend=None: activate(x, 0.0)


@overloads(activations.gelu_backward)
def _gelu_backward(dy, x, approximate="none", backend=None):
    owner = "gelu_backward"
    deactivate = _deactivate(owner, _kind_of_gelu(owner, approximate), dy, x, backend)
    return lambda dy, x, approximate="none", backend=None: deactivate(dy, x, 0.0)


# Rows of classes


def _last_axis(owner: str, x: Any) -> tuple[int, str]:
    """Return the number of the last axis, and what to say to another one."""
    if x.ndim == 0:
        raise TypingError(f"{owner}: x has no axes; expected one at least")
    return x.ndim - 1, (
        f"{owner}: axis is not the last one; inside @njit expected -1 (bring it to the end with "
        f"numpy.swapaxes)"
    )


def _overload_rows(owner: str) -> None:
    """Overload softmax or log-softmax, and its gradient."""
    forward, backward = getattr(along_axis, owner), getattr(along_axis, f"{owner}_backward")

    @overloads(forward)
    def typed(x, axis=-1, backend=None):
        begin(owner, backend)
        dtype, find = check_floats(owner, x=x), plan_finder(owner)
        last, wrong = _last_axis(owner, x)

        def call(x, axis=-1, backend=None):
            if axis != -1 and axis != last:
                raise ValueError(wrong)
            classes = x.shape[last]
            plan = found(find((dtype, x.size // max(1, classes), classes)))
            y = np.empty(x.shape, x.dtype)
            check(run_plan(plan, (as_dense(x), y)))
            return y

        return call

    @overloads(backward)
    def typed_backward(dy, y, axis=-1, backend=None):
        begin(f"{owner}_backward", backend)
        dtype = check_floats(f"{owner}_backward", dy=dy, y=y)
        find = plan_finder(f"{owner}_backward")
        last, wrong = _last_axis(f"{owner}_backward", y)

        def call(dy, y, axis=-1, backend=None):
            if axis != -1 and axis != last:
                raise ValueError(wrong)
            classes = y.shape[last]
            plan = found(find((dtype, y.size // max(1, classes), classes)))
            check(check_shape(plan, 0, dy, y.shape))
            dx = np.empty(y.shape, y.dtype)
            check(run_plan(plan, (as_dense(dy), as_dense(y), dx)))
            return dx

        return call


_overload_rows("softmax")
_overload_rows("log_softmax")
