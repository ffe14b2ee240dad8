"""Normalisation of each group of channels of each sample, one at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.plans.norm_operation import GroupNormSpec


def _group(spec: GroupNormSpec, x: np.ndarray, n: int, g: int) -> np.ndarray:
    """View a group of a sample: (pixels, width)."""
    return x.reshape(spec.batch, spec.pixels, spec.groups, spec.width)[n, :, g]


def _of_group(spec: GroupNormSpec, vector: np.ndarray | None, g: int) -> np.ndarray | float:
    """The numbers of a group's channels; 1 without any."""
    if vector is None:
        return 1.0
    own: np.ndarray = vector.reshape(spec.groups, spec.width)[g].astype(np.float64)
    return own


@np.errstate(all="ignore")
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
    """``y = gamma * (x - mean) / sqrt(variance + epsilon) + beta``, by each group's statistics.

    Parameters
    ----------
    spec
        Sizes, groups and epsilon.
    x, gamma, beta
        Input (batch * pixels * channels elements, channels last); scale and offset (channels,), or
        None for 1 and 0.
    y, mean, inverse_std
        Output (like ``x``), and the statistics (batch, groups); written.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        for g in range(spec.groups):
            values = _group(spec, x, n, g).astype(np.float64)
            centre = np.sum(values) / values.size
            inverse = 1.0 / np.sqrt(np.sum((values - centre) ** 2) / values.size + spec.epsilon)
            offset = 0.0 if beta is None else _of_group(spec, beta, g)
            result = (values - centre) * inverse * _of_group(spec, gamma, g) + offset
            _group(spec, y, n, g)[...] = result
            mean[n, g], inverse_std[n, g] = centre, inverse


@np.errstate(all="ignore")
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
    """Gradient of the input, through the groups' own statistics.

    With ``z = (x - mean) * inverse_std`` and ``g = gamma * dy``, over the elements of a group:
    ``dx = inverse_std * (g - mean of g - z * mean of g * z)``.

    Parameters
    ----------
    spec
        Sizes and groups.
    dy, x, gamma
        Gradient of the output, input, and scale (channels,) or None.
    mean, inverse_std
        What the forward kernel wrote (batch, groups).
    dx
        Gradient of the input, written.
    workspace
        Not used.
    """
    for n in range(spec.batch):
        for g in range(spec.groups):
            values = _group(spec, x, n, g).astype(np.float64)
            inverse = float(inverse_std[n, g])
            z = (values - float(mean[n, g])) * inverse
            scaled = _group(spec, dy, n, g).astype(np.float64) * _of_group(spec, gamma, g)
            rest = scaled - np.sum(scaled) / z.size - z * (np.sum(scaled * z) / z.size)
            _group(spec, dx, n, g)[...] = inverse * rest


@np.errstate(all="ignore")
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
    """``dgamma = sum(dy * z)`` and ``dbeta = sum(dy)`` of each channel.

    Parameters
    ----------
    spec
        Sizes and groups.
    dy, x, mean, inverse_std
        As for :func:`group_norm_backward_data`.
    dgamma, dbeta
        Gradients of scale and offset (channels,), written; dbeta may be None.
    workspace
        Not used.
    """
    shape = spec.batch, spec.pixels, spec.groups, spec.width
    gradient = dy.reshape(shape).astype(np.float64)
    statistics = (a.astype(np.float64)[:, None, :, None] for a in (mean, inverse_std))
    centre, inverse = statistics
    z = (x.reshape(shape).astype(np.float64) - centre) * inverse
    dgamma[...] = np.sum(gradient * z, axis=(0, 1)).reshape(dgamma.shape)
    if dbeta is not None:
        dbeta[...] = np.sum(gradient, axis=(0, 1)).reshape(dbeta.shape)


def workspace_bytes(kernel: str, spec: Any, dtype: Any) -> int:
    """Bytes of workspace that a kernel of this module needs: none."""
    return 0
