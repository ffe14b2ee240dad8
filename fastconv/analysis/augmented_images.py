"""What training makes of images: each of them as several steps see it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.numpy.run import Runner
from fastconv.layers import Flatten
from fastconv.network import Sequential
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Augmentation


def augmented_images(
    images: NDArray[Any], augmentation: Augmentation, *, times: int = 7, seed: int = 0
) -> NDArray[Any]:
    """Return what each image becomes, by the calls that a training plan has for it.

    Parameters
    ----------
    images
        (N, height, width, channels), uint8, float32 or float64.
    augmentation
        The random changes. Images are mixed with one another.
    times
        How often each is drawn: as in so many epochs of one step.
    seed
        Of the draws.

    Returns
    -------
    ndarray
        (N, times, height, width, channels), of the images' dtype; bytes are rounded, and what is
        below 0 or above 255 is cut off.

    Examples
    --------
    >>> images = np.arange(4, dtype=np.uint8).reshape(1, 1, 4, 1)
    >>> made = augmented_images(images, Augmentation(alternating_flip=True), times=2)
    >>> sorted(made[0, :, 0, :, 0].tolist())
    [[0, 1, 2, 3], [3, 2, 1, 0]]
    """
    count, shape = len(images), images.shape[1:]
    dtype = "float64" if images.dtype == np.float64 else "float32"
    network = Sequential([Flatten()], shape, dtype=dtype)
    source = Source(count, images.dtype.name, augmentation=augmentation)
    plan = build_plan(network, count, Purpose(True, False, None), source, seed)
    shared = {"images": images, "parameters": network.parameters, "state": network.state}
    runner = Runner(plan, shared)
    made = np.empty((count, times, *shape), images.dtype)
    for step in range(times):
        runner.run(np.arange(count)[None], None, step)
        seen = runner.buffer("scores").reshape(images.shape)
        made[:, step] = np.clip(np.rint(seen), 0, 255) if images.dtype == np.uint8 else seen
    return made
