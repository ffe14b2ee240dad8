"""The curve: the same samples for the same seed, nothing from the dark, noise as asked for."""

import math

import numpy as np
import pytest

from fastconv.data import load, load_curve

DARK = [(-2.75, -1.5), (2.5, 3.75)]


def inputs(samples):
    return samples.images[:, 0, 0, 0]


def errors(samples):
    """Targets less the function that the documentation gives, written out again."""
    x = inputs(samples)
    return samples.labels[:, 0] - np.array([v / 2 + 2 * math.sin(3 * v / 2) for v in x])


def test_the_parts_are_100_samples_of_a_regression_each():
    data = load("curve")
    assert {part: len(samples) for part, samples in data.parts.items()} == {
        "training": 100,
        "test": 100,
    }
    assert data.image_shape == (1, 1, 1)
    assert data.training.labels.shape == (100, 1)
    assert not data.training.has_classes


def test_the_same_seed_gives_the_same_samples_and_another_others():
    one, same, other = (load_curve(dark_intervals=DARK, seed=seed) for seed in (3, 3, 4))
    for part, samples in one.parts.items():
        np.testing.assert_array_equal(samples.images, same.parts[part].images)
        np.testing.assert_array_equal(samples.labels, same.parts[part].labels)
        assert not np.array_equal(samples.images, other.parts[part].images)


def test_no_training_sample_is_in_a_dark_interval_but_test_samples_are():
    data = load_curve(dark_intervals=DARK, samples=5000)
    for left, right in DARK:
        x = inputs(data.training)
        assert not ((x > left) & (x < right)).any()
        x = inputs(data.test)
        # Uniform over a length of 10.
        assert ((x > left) & (x < right)).mean() == pytest.approx((right - left) / 10, abs=0.02)


def test_what_is_not_dark_is_sampled_evenly():
    x = inputs(load_curve(dark_intervals=DARK, samples=20_000).training)
    for left, right in ((-5, -2.75), (-1.5, 2.5), (3.75, 5)):
        assert ((x >= left) & (x <= right)).mean() == pytest.approx((right - left) / 7.5, abs=0.02)


def test_dark_intervals_leave_the_test_part_as_it_is():
    plain, dark = load_curve(), load_curve(dark_intervals=DARK)
    np.testing.assert_array_equal(plain.test.images, dark.test.images)
    np.testing.assert_array_equal(plain.test.labels, dark.test.labels)


def test_dark_intervals_may_overlap_touch_the_ends_and_come_in_any_order():
    x = inputs(load_curve(dark_intervals=[(1, 5), (-5, -1), (-3, 0)], samples=1000).training)
    assert 0 <= x.min() < 0.01
    assert 0.99 < x.max() <= 1


def test_the_noise_has_the_deviations_asked_for():
    data = load_curve(training_noise=0.5, test_noise=0.1, samples=20_000)
    assert errors(data.training).std() == pytest.approx(0.5, rel=0.03)
    assert errors(data.test).std() == pytest.approx(0.1, rel=0.03)
    assert abs(errors(data.training).mean()) < 0.02


def test_without_noise_targets_are_on_the_curve():
    data = load_curve(training_noise=0, test_noise=0, dark_intervals=DARK)
    for samples in data.parts.values():
        np.testing.assert_allclose(errors(samples), 0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"training_noise": -1.0}, "training_noise is -1.0; expected a number of 0 or more"),
        ({"test_noise": math.nan}, "test_noise is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"samples": 0}, "samples is 0"),
        ({"dark_intervals": [(1, 0)]}, r"dark_intervals holds \(1, 0\); expected \(left, right\)"),
        ({"dark_intervals": [(0, 6)]}, r"dark_intervals holds \(0, 6\)"),
        ({"dark_intervals": [(0, 1, 2)]}, r"dark_intervals holds \(0, 1, 2\)"),
        ({"dark_intervals": [(-5, 1), (0, 5)]}, "expected a place for training samples"),
    ],
)
def test_impossible_samples_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        load_curve(**options)
