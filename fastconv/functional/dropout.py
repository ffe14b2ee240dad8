"""Dropout on plain arrays (Srivastava et al., JMLR 15, 2014)."""

from __future__ import annotations

import numpy as np

from fastconv.functional.array_results import results_like_arguments
from fastconv.functional.array_types import module_of
from fastconv.functional.arrays import (
    Array,
    check_integer,
    check_number,
    dense,
    launch,
    take_floats,
    take_returned,
)
from fastconv.plans.operation import DropoutSpec, RandomSpec
from fastconv.spec import SpecError


def _dropout_spec(
    owner: str, x: Array, probability: float, seed: int = 0, stream: int = 0
) -> DropoutSpec:
    share = check_number(owner, "probability", probability)
    words = RandomSpec(
        check_integer(owner, "seed", seed, 64), check_integer(owner, "stream", stream, 32)
    )
    try:
        return DropoutSpec(x.size, share, words)
    except SpecError as fault:
        raise fault.of(owner) from None


@results_like_arguments
def dropout(
    x: Array,
    probability: float,
    *,
    seed: int,
    step: int = 0,
    stream: int = 0,
    backend: str | None = None,
) -> tuple[Array, Array]:
    """Zero each element with the given probability, and scale the others by 1 / (1 - probability).

    Parameters
    ----------
    x
        float32 or float64, any shape.
    probability
        Share of the elements to drop, 0 or more and below 1.
    seed, step, stream
        The mask is a function of these three alone (Philox4x32-10, see
        :class:`fastconv.plans.operation.RandomSpec`): count ``step`` up in training, give each
        dropout its own ``stream``.
    backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    y
        In the shape of x.
    mask
        uint8, 1 where kept: what :func:`dropout_backward` needs.

    Raises
    ------
    TypeError, ValueError
        If x is no such array, or a number is out of range.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> y, mask = fastconv.dropout(np.ones(4), 0.5, seed=0)
    >>> y == 2 * mask
    array([ True,  True,  True,  True])
    """
    (x,) = take_floats("dropout", x=x)
    spec = _dropout_spec("dropout", x, probability, seed, stream)
    xp = module_of(x)
    x_in = dense(x)
    y, mask = xp.empty_like(x_in), xp.empty(x_in.shape, np.uint8)
    steps = xp.empty(1, np.int64)
    steps.fill(check_integer("dropout", "step", step, 63))
    launch(backend, "dropout.dropout_forward", spec, x.dtype, x_in, steps, mask, y)
    return y.reshape(x.shape), mask.reshape(x.shape)


@results_like_arguments
def dropout_backward(
    dy: Array, mask: Array, probability: float, *, backend: str | None = None
) -> Array:
    """Gradient of :func:`dropout`.

    Parameters
    ----------
    dy
        Gradient with respect to the output.
    mask, probability
        As :func:`dropout` returned and was given.
    backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    ndarray
        In the shape of dy.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.dropout_backward(np.ones(2), np.array([0, 1], np.uint8), 0.5)
    array([0., 2.])
    """
    owner = "dropout_backward"
    (dy,) = take_floats(owner, dy=dy)
    spec = _dropout_spec(owner, dy, probability)
    mask = take_returned(owner, "mask", mask, np.uint8, "dropout", "dy", dy)
    xp = module_of(dy)
    dy_in, mask_in = dense(dy), dense(mask)
    dx: Array = xp.empty_like(dy_in)
    launch(backend, "dropout.dropout_backward", spec, dy.dtype, dy_in, mask_in, dx)
    return dx.reshape(dy.shape)
