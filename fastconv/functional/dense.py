"""Fully connected layers on plain arrays."""

from __future__ import annotations

from collections.abc import Sequence

from fastconv.functional.array_results import results_like_arguments
from fastconv.functional.array_types import module_of
from fastconv.functional.arrays import (
    Array,
    check_dimensions,
    check_needs,
    check_shape,
    launch,
    result_buffer,
    sum_channels,
    take_floats,
    take_out,
)
from fastconv.functional.arrays import dense as as_dense
from fastconv.functional.kept_calls import KernelCall, kept_calls
from fastconv.functional.packed_weights import PackedWeights
from fastconv.spec import DenseSpec


def dense_spec(owner: str, x: Array, w: Array) -> DenseSpec:
    """Check x and w against each other and make their spec."""
    check_dimensions(owner, "x", x, "NI")
    check_dimensions(owner, "w", w, "IO")
    if w.shape[0] != x.shape[1]:
        raise ValueError(
            f"{owner}: w has {w.shape[0]} inputs (IO {w.shape}) but x has {x.shape[1]} "
            f"(NI {x.shape}); a weight of shape (O, I) is passed as w.T"
        )
    if 0 in w.shape:
        raise ValueError(f"{owner}: w has shape {w.shape}; expected at least one input and output")
    return DenseSpec(x.shape[0], *w.shape)


def _call_of_dense(
    x: Array, w: Array, b: Array | None = None, *, out: Array | None = None,
    backend: str | None = None,
) -> KernelCall:  # fmt: skip
    """The kernel that :func:`dense` calls."""
    spec = dense_spec("dense", x, w)
    return KernelCall("dense.dense_forward", spec, (spec.batch, spec.outputs))


@kept_calls(3, _call_of_dense)
@results_like_arguments
def dense(
    x: Array,
    w: Array | PackedWeights,
    b: Array | None = None,
    *,
    out: Array | None = None,
    backend: str | None = None,
) -> Array:
    """Fully connected layer: ``x @ w + b``.

    Parameters
    ----------
    x
        (N, I), float32 or float64.
    w
        (I, O), the same dtype, or what :func:`fastconv.pack_weights` made of it. PyTorch's
        ``Linear.weight`` is (O, I): pass its transpose.
    b
        (O,), or None.
    out
        Array (N, O) for the result. Where it overlaps an argument, the result is first made beside
        it, then copied.
    backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        (N, O).

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array, or the shapes do not fit together.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.dense(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]), np.array([0.5]))
    array([[11.5]])
    """
    x, weights, b = take_floats("dense", x=x, w=w, b=b)
    xp = module_of(x)
    spec = dense_spec("dense", x, weights)
    if b is not None:
        check_shape("dense", "b", b, (spec.outputs,), "one for each output of w")
        b = as_dense(b)
    shape = (spec.batch, spec.outputs)
    out = take_out("dense", out, shape, x)
    y = result_buffer("dense", out, shape, x, weights, b)
    launch(
        backend, "dense.dense_forward", spec, x.dtype,
        as_dense(x), as_dense(weights), b, y,
    )  # fmt: skip
    if out is not None and y is not out:
        xp.copyto(out, y)
        return out
    return y


@results_like_arguments
def dense_backward(
    dy: Array,
    x: Array,
    w: Array,
    *,
    needs: Sequence[str] = ("x", "w", "b"),
    backend: str | None = None,
) -> tuple[Array | None, Array | None, Array | None]:
    """Gradients of :func:`dense` with respect to x, w and b.

    Parameters
    ----------
    dy
        (N, O): gradient with respect to the output.
    x, w, backend
        As they were given to :func:`dense`.
    needs
        Which gradients to compute, of "x", "w" and "b".

    Returns
    -------
    dx, dw, db
        (N, I), (I, O) and (O,); None where not needed.

    Raises
    ------
    TypeError, ValueError
        As :func:`dense`; also if dy does not have the output's shape.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x, w = np.array([[1.0, 2.0]]), np.ones((2, 1))
    >>> dx, dw, db = fastconv.dense_backward(np.ones((1, 1)), x, w)
    >>> dx, dw.ravel(), db
    (array([[1., 1.]]), array([1., 2.]), array([1.]))
    """
    owner = "dense_backward"
    dy, x, w = take_floats(owner, dy=dy, x=x, w=w)
    check_needs(owner, needs, ("x", "w", "b"))
    spec = dense_spec(owner, x, w)
    check_shape(owner, "dy", dy, (spec.batch, spec.outputs), "the shape of dense's result")
    xp = module_of(x)
    dy = as_dense(dy)
    dx = dw = db = None
    if "x" in needs:
        dx = xp.empty(x.shape, x.dtype)
        launch(backend, "dense.dense_backward_data", spec, x.dtype, dy, as_dense(w), dx)
    if "w" in needs:
        dw = xp.empty(w.shape, x.dtype)
        db = xp.empty(spec.outputs, x.dtype) if "b" in needs else None
        x_in = as_dense(x)
        launch(backend, "dense.dense_backward_weight", spec, x.dtype, dy, x_in, dw, db)
    elif "b" in needs:
        db = sum_channels(backend, dy, "NC")
    return dx, dw, db
