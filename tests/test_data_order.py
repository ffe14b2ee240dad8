"""Splits, folds and the order of an epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv.data import Samples, epoch_order, k_folds, split


def numbered(count):
    """Samples whose label and only pixel are their number."""
    numbers = np.arange(count, dtype=np.int64)
    return Samples(numbers.astype(np.float64).reshape(count, 1, 1, 1), numbers)


def test_without_a_seed_the_last_samples_are_held_out_and_nothing_is_copied():
    samples = numbered(10)
    training, validation = split(samples, 3)
    assert training.labels.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert validation.labels.tolist() == [7, 8, 9]
    assert np.shares_memory(training.images, samples.images)


@given(count=st.integers(2, 60), seed=st.integers(0, 2**40), data=st.data())
def test_a_seeded_split_holds_every_sample_once_and_in_order(count, seed, data):
    size = data.draw(st.integers(1, count - 1))
    training, validation = split(numbered(count), size, seed)
    assert len(validation) == size
    assert sorted([*training.labels, *validation.labels]) == list(range(count))
    for part in (training, validation):
        assert (np.diff(part.labels) > 0).all()
        assert (part.images[:, 0, 0, 0] == part.labels).all()


def test_a_seed_decides_the_split():
    draws = [tuple(split(numbered(100), 30, seed)[1].labels) for seed in (1, 1, 2)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


@pytest.mark.parametrize("size", [0, -1, 10, 11, 2.0, True])
def test_split_refuses_a_size_that_leaves_a_part_empty(size):
    with pytest.raises(ValueError, match="split: validation_size is"):
        split(numbered(10), size)


@pytest.mark.parametrize("seed", [None, 0, 5])
@pytest.mark.parametrize(("count", "folds"), [(10, 5), (11, 3), (4, 4)])
def test_every_sample_is_held_out_by_exactly_one_fold(count, folds, seed):
    held_out = []
    for training, validation in k_folds(count, folds, seed):
        assert training.dtype == validation.dtype == np.int64
        assert sorted([*training, *validation]) == list(range(count))
        held_out += list(validation)
    assert sorted(held_out) == list(range(count))


def test_folds_with_labels_keep_the_share_of_each_class():
    labels = np.array([0] * 30 + [1] * 15)
    for _, validation in k_folds(45, 5, seed=0, labels=labels):
        assert np.bincount(labels[validation]).tolist() == [6, 3]


def test_folds_are_decided_by_the_seed():
    first = [validation.tolist() for _, validation in k_folds(20, 4, seed=3)]
    assert first == [validation.tolist() for _, validation in k_folds(20, 4, seed=3)]
    assert first != [validation.tolist() for _, validation in k_folds(20, 4, seed=4)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 1, 0), "folds is 1"),
        ((10, 11, 0), "folds is 11"),
        ((10, 2, -1), "seed is -1"),
        ((10, 2, 2**32), "seed is 4294967296"),
        ((10, 2, 0, [0, 1]), r"labels has shape \(2,\)"),
    ],
)
def test_wrong_folds_are_refused_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        k_folds(*arguments)


@given(st.integers(0, 200), st.integers(0, 2**64), st.integers(0, 1000))
def test_an_epoch_visits_every_sample_once(count, seed, epoch):
    order = epoch_order(count, seed, epoch)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(count))


def test_the_order_is_that_of_a_generator_seeded_by_seed_and_epoch():
    expected = np.random.default_rng([7, 3]).permutation(50)
    assert epoch_order(50, seed=7, epoch=3).tolist() == expected.tolist()


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(epoch_order(50, seed, epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_the_first_epoch_does_not_repeat_the_draws_of_a_split_with_the_same_seed():
    _, validation = split(numbered(50), 20, seed=3)
    assert sorted(epoch_order(50, seed=3, epoch=0)[30:]) != sorted(validation.labels)


@pytest.mark.parametrize("arguments", [(-1, 0, 0), (5, -1, 0), (5, 0, -1), (5, 0.5, 0)])
def test_epoch_order_refuses_negative_and_fractional_arguments(arguments):
    with pytest.raises(ValueError, match=r"epoch_order: .* expected an integer of 0 or more"):
        epoch_order(*arguments)
