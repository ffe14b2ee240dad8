"""Mean and std of a training set, against exact arithmetic."""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

from fastconv.data import DataError, training_statistics


def exact(values):
    """Mean and std of integers by rational arithmetic."""
    mean = Fraction(sum(values), len(values))
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    return float(mean), float(variance) ** 0.5


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (7, 4, 3, 2)).astype(np.uint8)


def test_per_feature_there_is_one_number_for_each_pixel_and_channel(images):
    mean, std = training_statistics(images, "feature")
    assert mean.dtype == std.dtype == np.float64
    columns = images.reshape(7, 24).T.tolist()
    for k, column in enumerate(columns):
        assert (mean[k], std[k]) == pytest.approx(exact(column), rel=1e-13)
    assert mean.shape == std.shape == (24,)


def test_per_channel_there_is_one_number_for_each_channel(images):
    mean, std = training_statistics(images, "channel")
    assert mean.shape == std.shape == (2,)
    for k in range(2):
        values = images[..., k].ravel().tolist()
        assert (mean[k], std[k]) == pytest.approx(exact(values), rel=1e-13)


@pytest.mark.parametrize("per", ["feature", "channel"])
def test_many_chunks_give_what_one_would(per):
    # 1200 images of 3072 features are 28 MiB as float64: several chunks.
    images = np.random.default_rng(1).integers(0, 256, (1200, 32, 32, 3)).astype(np.uint8)
    axis = 0 if per == "feature" else (0, 1, 2)
    mean, std = training_statistics(images, per)
    np.testing.assert_allclose(mean, images.mean(axis=axis, dtype=np.longdouble).ravel(), 1e-13)
    expected = images.std(axis=axis, dtype=np.longdouble).ravel()
    np.testing.assert_allclose(std, expected.astype(np.float64), 1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("per", ["feature", "channel"])
def test_a_constant_feature_has_deviation_one_so_that_it_becomes_zero(dtype, per):
    images = np.full((1000, 3, 3, 1), 0.1 if dtype != np.uint8 else 255, dtype)
    mean, std = training_statistics(images, per)
    assert (std == 1).all()
    assert ((images.reshape(1000, -1)[:, : len(mean)] - mean) == 0).all()


def test_a_pixel_that_is_rarely_on_keeps_its_small_deviation():
    images = np.zeros((60000, 1, 1, 2), np.uint8)
    images[:, 0, 0, 0] = 255
    images[123, 0, 0, :] = 254, 1
    _, std = training_statistics(images)
    expected = (1 / 60000 * (1 - 1 / 60000)) ** 0.5
    np.testing.assert_allclose(std, [expected, expected], rtol=1e-12)


def test_a_large_offset_does_not_cancel_the_deviation():
    images = (1e9 + np.array([0.0, 1.0] * 500)).reshape(1000, 1, 1, 1)
    _, std = training_statistics(images)
    assert std[0] == pytest.approx(0.5, rel=1e-12)


def test_no_floating_copy_of_the_data_set_is_made():
    images = np.zeros((20000, 32, 32, 1), np.uint8)
    tracemalloc.start()
    training_statistics(images)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * images.size / 5


def test_faults_are_named(images):
    with pytest.raises(ValueError, match="per is 'pixel'; expected 'feature' or 'channel'"):
        training_statistics(images, "pixel")
    for wrong in (images[:0], images[0]):
        with pytest.raises(DataError, match="images has shape"):
            training_statistics(wrong)
