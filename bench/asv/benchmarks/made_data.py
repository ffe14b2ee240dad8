"""Random images of the size and kind of known data sets: times do not depend on what they show."""

import numpy as np

from fastconv.data import Dataset, Samples

SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
_SAMPLES = 2048
"""Sixteen steps of up to 128 samples."""


def random_dataset(name):
    """Return a data set of so many samples in ten classes, which fits the recipes for it."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (_SAMPLES, *SHAPES[name]), dtype=np.uint8)
    labels = generator.integers(0, 10, _SAMPLES)
    held_out = Samples(images[:10], labels[:10])
    return Dataset(name, Samples(images, labels), held_out, tuple("0123456789"))
