"""Layer and group normalisation on plain arrays: each sample by its own statistics."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from fastconv.functional.array_results import results_like_arguments
from fastconv.functional.array_types import module_of
from fastconv.functional.arrays import (
    Array,
    Layout,
    check_layout,
    check_number,
    check_shape,
    dense,
    launch,
    take_floats,
)
from fastconv.functional.images import launch_on_images
from fastconv.plans.norm_operation import GroupNormSpec
from fastconv.spec import SpecError, shown


def _taken(owner: str, **arrays: Array | None) -> dict[str, Array]:
    """Return arguments as arrays of one dtype, without a scale and an offset that are None."""
    given = {
        name: array
        for name, array in arrays.items()
        if array is not None or name not in ("gamma", "beta")
    }
    return dict(zip(given, take_floats(owner, **given), strict=True))


def _normalized(owner: str, x: Array, normalized_shape: Any) -> tuple[int, ...]:
    """Return the sizes of the last axes of x that are normalised together."""
    try:
        sizes = normalized_shape if isinstance(normalized_shape, Sequence) else (normalized_shape,)
        shape = tuple(operator.index(size) for size in sizes)
    except TypeError:
        raise TypeError(
            f"{owner}: normalized_shape is {shown(normalized_shape)}; expected an integer or a "
            f"tuple"
        ) from None
    if not shape or math.prod(shape) < 1 or x.shape[x.ndim - len(shape) :] != shape:
        raise ValueError(
            f"{owner}: normalized_shape is {shown(shape)}; expected the last sizes of x {x.shape}, "
            f"each at least 1"
        )
    return shape


def _spec(owner: str, batch: int, pixels: int, channels: int, groups: Any, eps: Any) -> Any:
    try:
        return GroupNormSpec(batch, pixels, channels, groups, check_number(owner, "eps", eps))
    except SpecError as fault:
        raise fault.of(owner, epsilon="eps", groups="num_groups") from None


@results_like_arguments
def layer_norm(
    x: Array,
    normalized_shape: Any,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    eps: float = 1e-5,
    backend: str | None = None,
) -> tuple[Array, Array, Array]:
    """Normalise the last axes of each sample by their own mean and variance.

    Parameters
    ----------
    x
        (N, ...), float32 or float64.
    normalized_shape
        The last sizes of x, or the last one alone.
    gamma, beta
        In that shape: scale and shift; None for 1 and 0.
    eps
        Added to the variance.
    backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    y
        In the shape of x.
    mean, inverse_std
        One for each row: what :func:`layer_norm_backward` needs.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array, or the shapes do not fit together.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.layer_norm(np.array([[1.0, 3.0]]), 2)[0].round(3)
    array([[-1.,  1.]])
    """
    owner = "layer_norm"
    given = _taken(owner, x=x, gamma=gamma, beta=beta)
    x = given.pop("x")
    shape = _normalized(owner, x, normalized_shape)
    size = math.prod(shape)
    for name, array in given.items():
        check_shape(owner, name, array, shape, "normalized_shape")
    spec = _spec(owner, x.size // size, 1, size, 1, eps)
    xp = module_of(x)
    y: Array = xp.empty(x.shape, x.dtype)
    mean, inverse_std = xp.empty((2, spec.batch, 1), x.dtype)
    affine = (dense(given[name]) if name in given else None for name in ("gamma", "beta"))
    launch(
        backend, "group_norm.group_norm_forward", spec, x.dtype, dense(x), *affine, y, mean,
        inverse_std,
    )  # fmt: skip
    return y, mean[:, 0], inverse_std[:, 0]


@results_like_arguments
def layer_norm_backward(
    dy: Array,
    x: Array,
    normalized_shape: Any,
    gamma: Array | None,
    mean: Array,
    inverse_std: Array,
    *,
    backend: str | None = None,
) -> tuple[Array, Array, Array]:
    """Gradients of :func:`layer_norm` with respect to x, gamma and beta.

    Parameters
    ----------
    dy
        Gradient with respect to the output, in the shape of x.
    x, normalized_shape, gamma
        As they were given to :func:`layer_norm`.
    mean, inverse_std
        As it returned them.
    backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    dx, dgamma, dbeta
        In the shapes of x, and the others of ``normalized_shape``, whether or not there is a gamma.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[1.0, 3.0]])
    >>> _, mean, inverse_std = fastconv.layer_norm(x, 2)
    >>> fastconv.layer_norm_backward(x, x, 2, None, mean, inverse_std)[2]
    array([1., 3.])
    """
    owner = "layer_norm_backward"
    given = _taken(owner, dy=dy, x=x, gamma=gamma, mean=mean, inverse_std=inverse_std)
    dy, x = given["dy"], given["x"]
    shape = _normalized(owner, x, normalized_shape)
    size = math.prod(shape)
    check_shape(owner, "dy", dy, x.shape, "the shape of x")
    if "gamma" in given:
        check_shape(owner, "gamma", given["gamma"], shape, "normalized_shape")
    spec = _spec(owner, x.size // size, 1, size, 1, 1e-5)
    for name in ("mean", "inverse_std"):
        check_shape(owner, name, given[name], (spec.batch,), "one for each row of x")
    xp = module_of(x)
    dx: Array = xp.empty(x.shape, x.dtype)
    dgamma, dbeta = xp.empty((2, *shape), x.dtype)
    dy, x, mean, inverse_std = (dense(given[n]) for n in ("dy", "x", "mean", "inverse_std"))
    mean, inverse_std = mean[:, None], inverse_std[:, None]
    scale = dense(given["gamma"]) if "gamma" in given else None
    kernel = "group_norm.group_norm_backward"
    launch(backend, f"{kernel}_data", spec, x.dtype, dy, x, scale, mean, inverse_std, dx)
    launch(backend, f"{kernel}_parameters", spec, x.dtype, dy, x, mean, inverse_std, dgamma, dbeta)
    return dx, dgamma, dbeta


def _image_sizes(owner: str, x: Array, layout: Layout) -> tuple[int, int, int]:
    """Return batch, pixels and channels of (N, C) or of images."""
    check_layout(owner, layout)
    if x.ndim not in (2, 4):
        raise ValueError(
            f"{owner}: x has {x.ndim} dimensions {x.shape}; expected 2 (N, C) or 4 ({layout})"
        )
    channels = x.shape[layout.index("C")] if x.ndim == 4 else x.shape[1]
    pixels = math.prod(x.shape[1:]) // max(1, channels)
    if channels * pixels == 0:
        raise ValueError(f"{owner}: x is {x.shape}; expected a channel and a pixel at least")
    return x.shape[0], pixels, channels


@results_like_arguments
def group_norm(
    x: Array,
    num_groups: int,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    eps: float = 1e-5,
    layout: Layout = "NCHW",
    backend: str | None = None,
) -> tuple[Array, Array, Array]:
    """Normalise groups of channels of each sample by their own mean and variance.

    Parameters
    ----------
    x
        (N, C), or images in ``layout``; float32 or float64.
    num_groups
        Groups that the channels are divided into; as many as channels for instance normalisation.
    gamma, beta
        (C,): scale and shift; None for 1 and 0.
    eps
        Added to the variance.
    layout, backend
        As for :func:`fastconv.conv2d`.

    Returns
    -------
    y
        In the shape of x.
    mean, inverse_std
        (N, num_groups): what :func:`group_norm_backward` needs.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array, or the shapes do not fit together.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> fastconv.group_norm(np.array([[1.0, 3.0, 5.0, 5.0]]), 2)[0].round(3)
    array([[-1.,  1.,  0.,  0.]])
    """
    owner = "group_norm"
    given = _taken(owner, x=x, gamma=gamma, beta=beta)
    x = given.pop("x")
    batch, pixels, channels = _image_sizes(owner, x, layout)
    for name, array in given.items():
        check_shape(owner, name, array, (channels,), f"one for each channel of x {x.shape}")
    spec = _spec(owner, batch, pixels, channels, num_groups, eps)
    xp = module_of(x)
    y: Array = xp.empty(x.shape, x.dtype)
    mean, inverse_std = xp.empty((2, batch, spec.groups), x.dtype)
    affine = (dense(given[name]) if name in given else None for name in ("gamma", "beta"))
    launch_on_images(
        backend, "group_norm.group_norm_forward", spec, x.dtype, layout if x.ndim == 4 else "NHWC",
        "r..w..", x, *affine, y, mean, inverse_std,
    )  # fmt: skip
    return y, mean, inverse_std


@results_like_arguments
def group_norm_backward(
    dy: Array,
    x: Array,
    num_groups: int,
    gamma: Array | None,
    mean: Array,
    inverse_std: Array,
    *,
    layout: Layout = "NCHW",
    backend: str | None = None,
) -> tuple[Array, Array, Array]:
    """Gradients of :func:`group_norm` with respect to x, gamma and beta.

    Parameters
    ----------
    dy
        Gradient with respect to the output, in the shape of x.
    x, num_groups, gamma, layout, backend
        As they were given to :func:`group_norm`.
    mean, inverse_std
        As it returned them.

    Returns
    -------
    dx, dgamma, dbeta
        In the shape of x, and (C,) each, whether or not there is a gamma.

    Examples
    --------
    >>> import numpy as np, fastconv
    >>> x = np.array([[1.0, 3.0]])
    >>> _, mean, inverse_std = fastconv.group_norm(x, 1)
    >>> fastconv.group_norm_backward(x, x, 1, None, mean, inverse_std)[2]
    array([1., 3.])
    """
    owner = "group_norm_backward"
    given = _taken(owner, dy=dy, x=x, gamma=gamma, mean=mean, inverse_std=inverse_std)
    dy, x = given["dy"], given["x"]
    batch, pixels, channels = _image_sizes(owner, x, layout)
    check_shape(owner, "dy", dy, x.shape, "the shape of x")
    spec = _spec(owner, batch, pixels, channels, num_groups, 1e-5)
    if "gamma" in given:
        check_shape(owner, "gamma", given["gamma"], (channels,), "one for each channel of x")
    for name in ("mean", "inverse_std"):
        check_shape(owner, name, given[name], (batch, spec.groups), "one for each group of x")
    xp = module_of(x)
    dx: Array = xp.empty(x.shape, x.dtype)
    dgamma, dbeta = xp.empty((2, channels), x.dtype)
    statistics = dense(given["mean"]), dense(given["inverse_std"])
    scale = dense(given["gamma"]) if "gamma" in given else None
    kernel, layout = "group_norm.group_norm_backward", layout if x.ndim == 4 else "NHWC"
    launch_on_images(
        backend, f"{kernel}_data", spec, x.dtype, layout, "rr...w", dy, x, scale, *statistics, dx
    )
    launch_on_images(
        backend, f"{kernel}_parameters", spec, x.dtype, layout, "rr....", dy, x, *statistics,
        dgamma, dbeta,
    )  # fmt: skip
    return dx, dgamma, dbeta
