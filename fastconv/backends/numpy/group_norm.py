"""Normalisation of each group of channels of each sample; sums are made in float64.

Some samples are done at once, as many as stay in a near cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv.backends.numpy.workspace import Carver, size_of
from fastconv.plans.norm_operation import GroupNormSpec

_ELEMENTS_OF_A_BLOCK = 1 << 15


def _block_samples(spec: GroupNormSpec) -> int:
    return max(1, min(spec.batch, _ELEMENTS_OF_A_BLOCK // (spec.pixels * spec.channels)))


def _blocks(spec: GroupNormSpec) -> Iterator[slice]:
    step = _block_samples(spec)
    for first in range(0, spec.batch, step):
        yield slice(first, first + step)


def _in_groups(spec: GroupNormSpec, array: np.ndarray) -> np.ndarray:
    return array.reshape(spec.batch, spec.pixels, spec.groups, spec.width)


def _of_groups(spec: GroupNormSpec, vector: np.ndarray) -> np.ndarray:
    return vector.reshape(spec.groups, spec.width)


def _sum(array: np.ndarray) -> np.ndarray:
    """Sum over pixels and channels of each group: (samples, groups)."""
    total: np.ndarray = np.add.reduce(array, axis=(1, 3), dtype=np.float64)
    return total


def _products(a: np.ndarray, b: np.ndarray, block: np.ndarray) -> np.ndarray:
    products = block[: len(a)]
    np.multiply(a, b, out=products, dtype=np.float64)
    return products


def group_norm_forward(
    spec: GroupNormSpec,
    x: np.ndarray,
    gamma: np.ndarray | None,
    beta: np.ndarray | None,
    y: np.ndarray,
    mean: np.ndarray,
    inverse_std: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Normalise each group of each sample by its own statistics."""
    given, result = _in_groups(spec, x), _in_groups(spec, y)
    block = Carver(workspace).take((_block_samples(spec), *given.shape[1:]), np.float64)
    count = spec.pixels * spec.width
    for some in _blocks(spec):
        out = result[some]
        centre = _sum(given[some]) / count
        mean[some] = centre
        np.subtract(given[some], mean[some][:, None, :, None], out=out)
        # The distances are those from the rounded mean.
        squares = _sum(_products(out, out, block)) / count - (centre - mean[some]) ** 2
        inverse_std[some] = 1 / np.sqrt(squares + spec.epsilon)
        np.multiply(out, inverse_std[some][:, None, :, None], out=out)
        if gamma is not None:
            np.multiply(out, _of_groups(spec, gamma), out=out)
        if beta is not None:
            np.add(out, _of_groups(spec, beta), out=out)


def _normalized(
    x: np.ndarray, mean: np.ndarray, inverse_std: np.ndarray, out: np.ndarray
) -> np.ndarray:
    z = out[: len(x)]
    np.subtract(x, mean[:, None, :, None], out=z)
    np.multiply(z, inverse_std[:, None, :, None], out=z)
    return z


def group_norm_backward_data(
    spec: GroupNormSpec,
    dy: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray | None,
    mean: np.ndarray,
    inverse_std: np.ndarray,
    dx: np.ndarray,
    workspace: np.ndarray | None,
) -> None:
    """Gradient through the groups' own statistics."""
    given, gradient, result = (_in_groups(spec, each) for each in (x, dy, dx))
    shape = _block_samples(spec), *given.shape[1:]
    carver = Carver(workspace)
    block, room, wide = (carver.take(shape, kind) for kind in (np.float64, x.dtype, x.dtype))
    count = spec.pixels * spec.width
    for some in _blocks(spec):
        z = _normalized(given[some], mean[some], inverse_std[some], room)
        scaled = wide[: len(z)]
        np.multiply(gradient[some], 1 if gamma is None else _of_groups(spec, gamma), out=scaled)
        of_products = _sum(_products(scaled, z, block)) / count
        of_gradient = _sum(scaled) / count
        np.multiply(z, of_products.astype(x.dtype)[:, None, :, None], out=z)
        np.add(z, of_gradient.astype(x.dtype)[:, None, :, None], out=z)
        np.subtract(scaled, z, out=z)
        np.multiply(z, inverse_std[some][:, None, :, None], out=result[some])


def group_norm_backward_parameters(
    spec: GroupNormSpec,
    dy: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    inverse_std: np.ndarray,
    dgamma: np.ndarray,
    dbeta: np.ndarray | None,
    workspace: np.ndarray | None,
) -> None:
    """Sums of each channel."""
    given, gradient = _in_groups(spec, x), _in_groups(spec, dy)
    shape = _block_samples(spec), *given.shape[1:]
    carver = Carver(workspace)
    block, room = (carver.take(shape, kind) for kind in (np.float64, x.dtype))
    of_gamma, of_beta = np.zeros(shape[2:]), np.zeros(shape[2:])
    for some in _blocks(spec):
        z = _normalized(given[some], mean[some], inverse_std[some], room)
        of_gamma += np.add.reduce(_products(gradient[some], z, block), axis=(0, 1))
        of_beta += np.add.reduce(gradient[some], axis=(0, 1), dtype=np.float64)
    np.copyto(dgamma, of_gamma.reshape(dgamma.shape))
    if dbeta is not None:
        np.copyto(dbeta, of_beta.reshape(dbeta.shape))


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs."""
    shape = _block_samples(spec), spec.pixels, spec.channels
    narrow = {"group_norm_forward": 0, "group_norm_backward_data": 2}.get(kernel, 1)
    return size_of(shape, np.float64) + narrow * size_of(shape, dtype)
