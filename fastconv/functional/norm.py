"""Batch normalisation on plain arrays (Ioffe & Szegedy, arXiv:1502.03167)."""

from __future__ import annotations

from fastconv.functional.array_results import results_like_arguments
from fastconv.functional.array_types import check_writable, module_of
from fastconv.functional.arrays import (
    Array,
    Layout,
    check_layout,
    check_number,
    check_shape,
    dense,
    may_overlap,
    take_floats,
)
from fastconv.functional.images import launch_on_images
from fastconv.plans.operation import NormSpec
from fastconv.spec import SpecError


def _norm_spec(
    owner: str, x: Array, layout: Layout, epsilon: float, momentum: float, **vectors: Array
) -> NormSpec:
    check_layout(owner, layout)
    if x.ndim not in (2, 4):
        raise ValueError(
            f"{owner}: x has {x.ndim} dimensions {x.shape}; expected 2 (N, C) or 4 ({layout})"
        )
    channels = x.shape[layout.index("C")] if x.ndim == 4 else x.shape[1]
    for name, vector in vectors.items():
        check_shape(owner, name, vector, (channels,), f"one for each channel of x {x.shape}")
    if channels == 0:
        raise ValueError(f"{owner}: x has no channels {x.shape}; expected at least one")
    epsilon = check_number(owner, "epsilon", epsilon)
    momentum = check_number(owner, "momentum", momentum)
    try:
        return NormSpec(x.size // channels, channels, epsilon, momentum)
    except SpecError as fault:
        raise fault.of(owner) from None


def _layout_of(x: Array, layout: Layout) -> Layout:
    """The layout that matters: rows of features have their channels last."""
    return layout if x.ndim == 4 else "NHWC"


def _running(vector: Array, inputs: tuple[Array, ...]) -> Array:
    """Return where a kernel updates a running statistic: not in what it reads meanwhile."""
    if any(may_overlap(vector, each) for each in inputs):
        return vector.copy()
    return dense(vector)


@results_like_arguments
def batch_norm(
    x: Array,
    gamma: Array,
    beta: Array,
    running_mean: Array | None = None,
    running_variance: Array | None = None,
    *,
    momentum: float = 0.1,
    epsilon: float = 1e-5,
    layout: Layout = "NCHW",
    backend: str | None = None,
) -> tuple[Array, Array, Array]:
    """Normalise each channel by the mean and variance of this batch (training).

    Parameters
    ----------
    x
        (N, C), or images in ``layout``; float32 or float64.
    gamma, beta
        (C,): scale and shift.
    running_mean, running_variance
        (C,), updated in place for :func:`batch_norm_inference` unless None:
        ``running = (1 - momentum) * running + momentum * batch``, with the unbiased variance. They
        must not be read-only, nor overlap each other. A variance too large for their dtype becomes
        infinite there, and ``batch_norm_inference`` then gives beta; y does not suffer.
    momentum
        See above.
    epsilon
        Added to the variance.
    layout, backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    y
        In the shape of x.
    mean, inverse_std
        (C,): what :func:`batch_norm_backward` needs.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array, or the shapes do not fit together.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> y, mean, _ = fastconv.batch_norm(np.array([[1.0], [3.0]]), np.ones(1), np.zeros(1))
    >>> y.round(3).ravel(), mean
    (array([-1.,  1.]), array([2.]))
    """
    owner = "batch_norm"
    given = {"running_mean": running_mean, "running_variance": running_variance}
    x, gamma, beta, *statistics = take_floats(owner, x=x, gamma=gamma, beta=beta, **given)
    vectors = {}
    for name, vector in zip(given, statistics, strict=True):
        if vector is not None:
            check_writable(owner, name, given[name], vector)
            vectors[name] = vector
    spec = _norm_spec(owner, x, layout, epsilon, momentum, gamma=gamma, beta=beta, **vectors)
    if len(vectors) == 2 and may_overlap(*statistics):
        raise ValueError(
            f"{owner}: running_mean and running_variance overlap; expected two arrays "
            f"(running_variance.copy())"
        )
    xp = module_of(x)
    y: Array = xp.empty(x.shape, x.dtype)
    mean, inverse_std = xp.empty((2, spec.channels), x.dtype)
    running = [
        _running(vector, (x, gamma, beta))
        if vector is not None
        else xp.zeros(spec.channels, x.dtype)
        for vector in statistics
    ]
    launch_on_images(
        backend, "norm.batch_norm_forward_training", spec, x.dtype, _layout_of(x, layout),
        "r....w..", x, dense(gamma), dense(beta), *running, y, mean, inverse_std,
    )  # fmt: skip
    for original, updated in zip(statistics, running, strict=True):
        if original is not None and original is not updated:
            original[...] = updated
    return y, mean, inverse_std


@results_like_arguments
def batch_norm_inference(
    x: Array,
    gamma: Array,
    beta: Array,
    mean: Array,
    variance: Array,
    *,
    epsilon: float = 1e-5,
    layout: Layout = "NCHW",
    backend: str | None = None,
) -> Array:
    """Normalise each channel by a given mean and variance (inference).

    Parameters
    ----------
    x, gamma, beta, epsilon, layout, backend
        As for :func:`batch_norm`.
    mean, variance
        (C,): the running statistics.

    Returns
    -------
    ndarray
        In the shape of x.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> one = np.ones(1)
    >>> fastconv.batch_norm_inference(np.array([[5.0]]), 2 * one, one, 3 * one, 4 * one).round(3)
    array([[3.]])
    """
    owner = "batch_norm_inference"
    x, gamma, beta, mean, variance = take_floats(
        owner, x=x, gamma=gamma, beta=beta, mean=mean, variance=variance
    )
    spec = _norm_spec(
        owner, x, layout, epsilon, 0.0, gamma=gamma, beta=beta, mean=mean, variance=variance
    )
    y: Array = module_of(x).empty(x.shape, x.dtype)
    launch_on_images(
        backend, "norm.batch_norm_forward_inference", spec, x.dtype, _layout_of(x, layout),
        "r....w", x, *map(dense, (gamma, beta, mean, variance)), y,
    )  # fmt: skip
    return y


@results_like_arguments
def batch_norm_backward(
    dy: Array,
    x: Array,
    gamma: Array,
    mean: Array,
    inverse_std: Array,
    *,
    layout: Layout = "NCHW",
    backend: str | None = None,
) -> tuple[Array, Array, Array]:
    """Gradients of :func:`batch_norm` with respect to x, gamma and beta.

    Parameters
    ----------
    dy
        Gradient with respect to the output, in the shape of x.
    x, gamma, layout, backend
        As they were given to :func:`batch_norm`.
    mean, inverse_std
        As :func:`batch_norm` returned them.

    Returns
    -------
    dx, dgamma, dbeta
        In the shapes of x, gamma and beta.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x, one = np.array([[1.0], [3.0]]), np.ones(1)
    >>> _, mean, inverse_std = fastconv.batch_norm(x, one, one)
    >>> dx, dgamma, dbeta = fastconv.batch_norm_backward(x, x, one, mean, inverse_std)
    >>> dgamma.round(3), dbeta
    (array([2.]), array([4.]))
    """
    owner = "batch_norm_backward"
    dy, x, gamma, mean, inverse_std = take_floats(
        owner, dy=dy, x=x, gamma=gamma, mean=mean, inverse_std=inverse_std
    )
    spec = _norm_spec(owner, x, layout, 1e-5, 0.0, gamma=gamma, mean=mean, inverse_std=inverse_std)
    check_shape(owner, "dy", dy, x.shape, "the shape of x")
    xp = module_of(x)
    dx: Array = xp.empty(x.shape, x.dtype)
    dgamma, dbeta = xp.empty((2, spec.channels), x.dtype)
    launch_on_images(
        backend, "norm.batch_norm_backward", spec, x.dtype, _layout_of(x, layout),
        "rr...w..", dy, x, *map(dense, (gamma, mean, inverse_std)), dx, dgamma, dbeta,
    )  # fmt: skip
    return dx, dgamma, dbeta
