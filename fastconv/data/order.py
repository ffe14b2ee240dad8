"""Order of samples: validation splits, folds, and epochs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from fastconv._extras import missing_extra
from fastconv.data.dataset import IndexArray, Samples
from fastconv.spec import require_int


def split(
    samples: Samples, validation_size: int, seed: int | None = None
) -> tuple[Samples, Samples]:
    """Hold samples out for validation.

    Parameters
    ----------
    samples
        What to split.
    validation_size
        Samples to hold out, 1 to ``len(samples) - 1``.
    seed
        None holds out the last samples, without a copy. A number, 0 or more, holds out samples
        drawn by it; both parts keep the order that the samples had.

    Returns
    -------
    training, validation : Samples

    Raises
    ------
    ValueError
        If ``validation_size`` or ``seed`` is out of range.

    Examples
    --------
    >>> samples = Samples(np.zeros((5, 1, 1, 2), np.float32), np.array([0, 1, 2, 3, 4]))
    >>> [part.labels.tolist() for part in split(samples, 2)]
    [[0, 1, 2], [3, 4]]
    """
    count = len(samples)
    validation_size = require_int("split", "validation_size", validation_size, 1)
    if validation_size >= count:
        raise ValueError(
            f"split: validation_size is {validation_size} but there are {count} samples; "
            f"expected less, so that some are left to train on"
        )
    kept = count - validation_size
    if seed is None:
        return (
            Samples(samples.images[:kept], samples.labels[:kept], samples.class_names),
            Samples(samples.images[kept:], samples.labels[kept:], samples.class_names),
        )
    seed = require_int("split", "seed", seed, 0)
    # A spawn key sets these draws apart from those of epoch_order with the same seed.
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    shuffled = generator.permutation(count)
    return samples.take(np.sort(shuffled[:kept])), samples.take(np.sort(shuffled[kept:]))


def k_folds(
    samples_count: int, folds: int, seed: int | None, labels: npt.ArrayLike | None = None
) -> Iterator[tuple[IndexArray, IndexArray]]:
    """Divide samples into folds for cross-validation, each held out once.

    Parameters
    ----------
    samples_count
        Samples to divide.
    folds
        2 to ``samples_count``.
    seed
        Shuffles the samples first; None leaves them in order.
    labels
        Class numbers, (samples_count,): every fold then has about the same share of each class.

    Returns
    -------
    iterator of (training_indices, validation_indices)
        int64, each in rising order.

    Raises
    ------
    ValueError
        If a number is out of range, or ``labels`` has another length.

    Notes
    -----
    scikit-learn's KFold, or StratifiedKFold where there are labels: it comes with the extra
    ``search``.

    Examples
    --------
    >>> [validation.tolist() for training, validation in k_folds(5, 2, seed=None)]
    [[0, 1, 2], [3, 4]]
    """
    samples_count = require_int("k_folds", "samples_count", samples_count, 1)
    folds = require_int("k_folds", "folds", folds, 2)
    if folds > samples_count:
        raise ValueError(
            f"k_folds: folds is {folds} but there are {samples_count} samples; "
            f"expected 2 to {samples_count}"
        )
    if seed is not None:
        seed = require_int("k_folds", "seed", seed, 0)
        if seed >= 2**32:
            raise ValueError(f"k_folds: seed is {seed}; expected 0 to 2**32 - 1")
    classes = None if labels is None else np.asarray(labels)
    if classes is not None and classes.shape != (samples_count,):
        raise ValueError(
            f"k_folds: labels has shape {classes.shape}; expected ({samples_count},), "
            f"one class number for each sample"
        )
    if importlib.util.find_spec("sklearn") is None:
        raise missing_extra("k_folds", ModuleNotFoundError(name="sklearn"))
    # The checks above run at once, not when the first fold is asked for.
    return _folds(samples_count, folds, seed, classes)


def _folds(
    samples_count: int, folds: int, seed: int | None, classes: npt.NDArray[np.int64] | None
) -> Iterator[tuple[IndexArray, IndexArray]]:
    from sklearn.model_selection import KFold, StratifiedKFold  # type: ignore[import-untyped]

    kind = KFold if classes is None else StratifiedKFold
    divider = kind(n_splits=folds, shuffle=seed is not None, random_state=seed)
    for training, validation in divider.split(np.empty((samples_count, 0)), classes):
        yield training.astype(np.int64), validation.astype(np.int64)


def epoch_order(count: int, seed: int, epoch: int) -> IndexArray:
    """Order in which an epoch visits the samples.

    It depends on nothing but the arguments, so that any epoch's order can be made without those
    before it, and a run that is resumed goes on as if it had not stopped.

    Parameters
    ----------
    count
        Samples, 0 or more.
    seed
        0 or more.
    epoch
        Counted from 0.

    Returns
    -------
    int64 array of shape (count,)
        A permutation of 0 to ``count - 1``.

    Raises
    ------
    ValueError
        If an argument is negative or not an integer.

    Examples
    --------
    >>> sorted(epoch_order(4, seed=7, epoch=2).tolist())
    [0, 1, 2, 3]
    """
    require_int("epoch_order", "count", count, 0)
    require_int("epoch_order", "seed", seed, 0)
    require_int("epoch_order", "epoch", epoch, 0)
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return order.astype(np.int64, copy=False)
