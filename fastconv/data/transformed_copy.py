"""A training set enlarged once, before training, by transformed copies of its images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastconv.data.dataset import Samples
from fastconv.data.errors import DataError
from fastconv.plans.operation import AugmentSpec


def append_transformed_copy(
    samples: Samples, augment_spec: AugmentSpec, first_step: int = 0
) -> Samples:
    """Append one randomly transformed copy of every sample.

    Parameters
    ----------
    samples
        uint8 images, (samples, height, width, channels).
    augment_spec
        The transformation, for images of that size. ``augment_spec.input.batch`` images, 1 or more,
        are transformed at a time, so that little memory is needed beside the result; that number is
        part of what decides the draws.
    first_step
        Step of the random stream for the first images; the next take the step after it, and so on.

    Returns
    -------
    Samples
        Twice as many: the given ones, then the transformed ones in the same order with the same
        labels, rounded to the nearest integer (halves to even) and clipped to 0 to 255.

    Raises
    ------
    DataError
        If the images are not uint8, or not of the size in the spec.
    ValueError
        If the spec's batch is 0.
    """
    from fastconv.backends.numpy.input import augment_images, workspace_bytes

    images = samples.images
    size = augment_spec.input
    if images.dtype != np.uint8:
        raise DataError(
            f"append_transformed_copy: samples has {images.dtype} images; expected uint8 pixels"
        )
    if images.shape[1:] != size.x_shape[1:]:
        raise DataError(
            f"append_transformed_copy: samples has images of shape {images.shape[1:]} but "
            f"augment_spec.input is for {size.x_shape[1:]}; expected the same height, width and "
            f"channels"
        )
    if size.batch == 0:
        raise ValueError(
            "append_transformed_copy: augment_spec.input.batch is 0; expected the number of images "
            "to transform at a time, 1 or more"
        )
    count = len(samples)
    both = np.empty((2 * count, *images.shape[1:]), np.uint8)
    both[:count] = images
    step = np.array([first_step], np.int64)
    for start in range(0, count, size.batch):
        x = images[start : start + size.batch].astype(np.float32)
        spec = replace(augment_spec, input=replace(size, batch=len(x)))
        workspace = np.empty(
            workspace_bytes("augment_images", spec, np.dtype(np.float32)), np.uint8
        )
        y = np.empty_like(x)
        augment_images(spec, x, step, y, workspace)
        np.clip(np.rint(y, out=y), 0, 255, out=y)
        both[count + start : count + start + len(x)] = y
        step += 1
    return Samples(both, np.concatenate([samples.labels, samples.labels]))
