"""Mean and std of a training set, for standardisation."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fastconv.data.dataset import Array
from fastconv.data.errors import DataError

StatisticsPer: TypeAlias = Literal["feature", "channel"]

_CHUNK_BYTES = 4 * 2**20
"""Float64 copies are made of this much at a time: small beside a data set, and kept in cache."""


def training_statistics(
    images: Array, per: StatisticsPer = "feature"
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation of raw values over the training images.

    Parameters
    ----------
    images
        (samples, height, width, channels), uint8 or floating, at least one sample.
    per
        "feature": one number for each pixel and channel; "channel": one for each channel.

    Returns
    -------
    mean, std : float64 arrays
        Of height * width * channels elements, or of ``channels``, in units of the raw values. The
        std divides by the number of values (not by one less).

        A std of 0 is given as 1: where a feature is the same in all images (the corners of
        MNIST), ``value - mean`` is 0, and dividing by 1 leaves it at 0 instead of making it NaN.

    Raises
    ------
    DataError
        If there are no images, or they do not have four dimensions.
    ValueError
        If ``per`` is neither.

    Examples
    --------
    >>> images = np.array([[5, 0], [5, 4]], np.uint8).reshape(2, 1, 1, 2)
    >>> mean, std = training_statistics(images)
    >>> mean.tolist(), std.tolist()
    ([5.0, 2.0], [1.0, 2.0])
    """
    if per not in ("feature", "channel"):
        raise ValueError(f"training_statistics: per is {per!r}; expected 'feature' or 'channel'")
    if images.ndim != 4 or images.size == 0:
        raise DataError(
            f"training_statistics: images has shape {images.shape}; expected (samples, height, "
            f"width, channels) with at least one of each"
        )
    mean, variance = _per_feature(images)
    if per == "channel":
        # All features of a channel count equally, so that the channel's variance is the mean of
        # theirs plus the variance of their means.
        mean, variance = mean.reshape(-1, images.shape[3]), variance.reshape(-1, images.shape[3])
        # Shifted by the first, as below, so that what is constant stays so exactly.
        first = mean[:1]
        pooled = (first + (mean - first).mean(axis=0)).reshape(-1)
        variance = (variance + (mean - pooled) ** 2).mean(axis=0)
        mean = pooled
    std = np.sqrt(variance)
    std[std == 0] = 1.0
    return mean, std


def _per_feature(images: Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    rows = images.reshape(len(images), -1)
    step = max(1, _CHUNK_BYTES // (8 * rows.shape[1]))
    # Values are shifted by the first, so that what is constant sums to exactly 0, whatever it is;
    # and the variance is a second pass, because a mean of squares would cancel.
    first = rows[0].astype(np.float64)
    total = np.zeros(rows.shape[1])
    for start in range(0, len(rows), step):
        total += (rows[start : start + step] - first).sum(axis=0)
    shifted_mean = total / len(rows)
    squares = np.zeros(rows.shape[1])
    for start in range(0, len(rows), step):
        difference = rows[start : start + step] - first
        difference -= shifted_mean
        squares += np.einsum("rf,rf->f", difference, difference)
    return first + shifted_mean, squares / len(rows)
