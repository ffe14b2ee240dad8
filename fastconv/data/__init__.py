"""Data sets: where they come from, how they are checked, split and ordered.

``load(name)`` gives a :class:`Dataset`: uint8 images (samples, height, width, channels) and int64
labels, in parts; or, for a regression, floating inputs and targets. What is done to them after
that belongs to the backends.
"""

from fastconv.data.catalogue import DATASETS, load
from fastconv.data.cifar10 import load_cifar10
from fastconv.data.curve import load_curve
from fastconv.data.dataset import Dataset, Samples
from fastconv.data.digits import load_digits
from fastconv.data.errors import DataError, MissingData
from fastconv.data.idx import read_idx
from fastconv.data.mnist import load_mnist
from fastconv.data.order import epoch_order, k_folds, split
from fastconv.data.statistics import training_statistics
from fastconv.data.transformed_copy import append_transformed_copy

__all__ = [
    "DATASETS",
    "DataError",
    "Dataset",
    "MissingData",
    "Samples",
    "append_transformed_copy",
    "epoch_order",
    "k_folds",
    "load",
    "load_cifar10",
    "load_curve",
    "load_digits",
    "load_mnist",
    "read_idx",
    "split",
    "training_statistics",
]
