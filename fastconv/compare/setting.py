"""What is trained: a plain network by its width and depth, at a batch size, on random images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fastconv.layers import Conv2D, Dense, GlobalAvgPool2D, MaxPool2D, ReLU
from fastconv.layers.base import Layer
from fastconv.network import Sequential

Steps: TypeAlias = Callable[[int], None]
"""Makes so many training steps, and returns when they are done."""

IMAGE_SHAPE = (32, 32, 3)
CLASSES = 10
POOLED = 3
"""Convolutions, counted from the first, behind which the image is halved."""
LEARNING_RATE, MOMENTUM = 0.01, 0.9
READY_BATCHES = 16
"""Different batches that every contender goes round."""


@dataclass(frozen=True)
class Setting:
    """A network and a batch size.

    Parameters
    ----------
    width
        Filters of each convolution.
    depth
        Convolutions of 3 x 3, each with a ReLU, the first three with max pooling behind it; then
        the mean over the image, and a dense layer to 10 classes.
    batch
        Samples in a step.

    Examples
    --------
    >>> Setting(width=8, depth=2, batch=1).network().output_shape
    (10,)
    """

    width: int
    depth: int
    batch: int

    def network(self) -> Sequential:
        """Return the network, with the same weights each time."""
        layers: list[Layer] = []
        for number in range(self.depth):
            layers += [Conv2D(self.width, padding=1), ReLU()]
            if number < POOLED:
                layers.append(MaxPool2D(2))
        return Sequential([*layers, GlobalAvgPool2D(), Dense(CLASSES)], IMAGE_SHAPE)

    def images(self) -> npt.NDArray[np.uint8]:
        """Return random images: (``READY_BATCHES`` * batch, 32, 32, 3)."""
        generator = np.random.default_rng(0)
        return generator.integers(0, 256, (READY_BATCHES * self.batch, *IMAGE_SHAPE), np.uint8)

    def labels(self) -> npt.NDArray[np.int64]:
        """Return a random class for each image."""
        return np.random.default_rng(1).integers(0, CLASSES, READY_BATCHES * self.batch)

    def batches(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return the images in batches, as numbers from 0 to 1, and their labels."""
        ready = self.images().astype(np.float32) / np.float32(255)
        shape = READY_BATCHES, self.batch
        return ready.reshape(*shape, *IMAGE_SHAPE), self.labels().reshape(shape)
