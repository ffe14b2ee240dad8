"""Samples to judge by: folds of the training part, and never the test part."""

from __future__ import annotations

from collections.abc import Iterator

from fastconv.data import Dataset, Samples, k_folds
from fastconv.search.definition import SearchError


def folds_of(whole: Dataset, folds: int, seed: int) -> Iterator[Dataset]:
    """Return data sets of which each holds out another fold of the training part.

    Raises
    ------
    SearchError
        If there are too few samples.
    """
    training = whole.training
    labels = training.labels if training.has_classes else None
    try:
        parts = list(k_folds(len(training), folds, seed, labels))
    except ValueError as fault:
        raise SearchError(f"folds is {folds}: {fault}") from None
    for kept, held_out in parts:
        yield Dataset(
            whole.name,
            training.take(kept),
            whole.test,
            whole.class_names,
            training.take(held_out),
        )


def without_test(dataset: Dataset) -> Dataset:
    """Return a data set whose test part has no samples, so that nothing can look at them."""
    nothing = Samples(dataset.training.images[:0], dataset.training.labels[:0])
    return Dataset(dataset.name, dataset.training, nothing, dataset.class_names, dataset.validation)
