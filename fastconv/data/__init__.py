"""Data sets: where they come from, how they are checked, split and ordered.

``load(name)`` gives a :class:`Dataset`: uint8 images (samples, height, width, channels) and int64
labels, in parts; or, for a regression, floating inputs and targets. What is done to them after
that belongs to the backends. Names are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastconv.data.catalogue import load as load
    from fastconv.data.cifar10 import load_cifar10 as load_cifar10
    from fastconv.data.curve import load_curve as load_curve
    from fastconv.data.dataset import Dataset as Dataset
    from fastconv.data.dataset import Samples as Samples
    from fastconv.data.digits import load_digits as load_digits
    from fastconv.data.errors import DataError as DataError
    from fastconv.data.errors import MissingData as MissingData
    from fastconv.data.idx import read_idx as read_idx
    from fastconv.data.mnist import load_mnist as load_mnist
    from fastconv.data.names import DATASETS as DATASETS
    from fastconv.data.order import epoch_order as epoch_order
    from fastconv.data.order import k_folds as k_folds
    from fastconv.data.order import split as split
    from fastconv.data.statistics import training_statistics as training_statistics
    from fastconv.data.transformed_copy import append_transformed_copy as append_transformed_copy

_ORIGINS = {
    "catalogue": "load",
    "cifar10": "load_cifar10",
    "curve": "load_curve",
    "dataset": "Dataset Samples",
    "digits": "load_digits",
    "errors": "DataError MissingData",
    "idx": "read_idx",
    "mnist": "load_mnist",
    "names": "DATASETS",
    "order": "epoch_order k_folds split",
    "statistics": "training_statistics",
    "transformed_copy": "append_transformed_copy",
}
_MODULE_OF = {name: module for module, names in _ORIGINS.items() for name in names.split()}

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


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'fastconv.data' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fastconv.data.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
