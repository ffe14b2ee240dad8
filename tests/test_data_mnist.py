"""MNIST from made files, and the real files where FASTCONV_DATA has them."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from fastconv.data import DataError, MissingData, load, load_mnist, training_statistics

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 3)).astype(np.uint8)
LABELS = np.array([3, 0, 9, 9, 1], np.uint8)


def idx(array):
    """An array of bytes as an IDX file."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_part(folder, part, images=IMAGES, labels=LABELS, separator="-", compress=False):
    for name, array in ((f"images{separator}idx3", images), (f"labels{separator}idx1", labels)):
        content = idx(array)
        file = folder / f"{part}-{name}-ubyte{'.gz' if compress else ''}"
        file.write_bytes(gzip.compress(content) if compress else content)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("separator", ["-", "."])
def test_the_four_files_are_read_under_each_of_their_names(tmp_path, separator, compress):
    write_part(tmp_path, "train", separator=separator, compress=compress)
    write_part(tmp_path, "t10k", IMAGES[:2], LABELS[:2], separator, compress)
    mnist = load_mnist(tmp_path)
    assert (len(mnist.training), len(mnist.test), mnist.validation) == (5, 2, None)
    assert mnist.image_shape == (4, 3, 1)
    assert (mnist.training.images[..., 0] == IMAGES).all()
    assert mnist.training.labels.tolist() == [3, 0, 9, 9, 1]
    assert mnist.class_names[7] == "7"


def test_a_missing_file_is_named_with_the_folder_and_the_fix(tmp_path):
    write_part(tmp_path, "train")
    with pytest.raises(MissingData) as caught:
        load_mnist(tmp_path)
    message = str(caught.value)
    for part in ("t10k-images-idx3-ubyte.gz", str(tmp_path), "--data-dir", "FASTCONV_DATA"):
        assert part in message
    assert "\n" not in message


def test_counts_that_differ_are_refused(tmp_path):
    write_part(tmp_path, "train", labels=LABELS[:4])
    write_part(tmp_path, "t10k")
    with pytest.raises(DataError, match=r"5 images but train-labels.* 4 labels"):
        load_mnist(tmp_path)


def test_a_label_that_is_no_digit_is_named_with_its_file(tmp_path):
    write_part(tmp_path, "train")
    write_part(tmp_path, "t10k", labels=np.array([3, 0, 10, 9, 1], np.uint8))
    with pytest.raises(DataError, match=r"t10k-labels\S*: label 10 of sample 2 is outside"):
        load_mnist(tmp_path)


def test_images_in_the_place_of_labels_are_refused(tmp_path):
    write_part(tmp_path, "train", labels=IMAGES)
    write_part(tmp_path, "t10k")
    with pytest.raises(DataError, match=r"train-labels\S*: .*\(5, 4, 3\).* 1 dimensions"):
        load_mnist(tmp_path)


def test_a_damaged_file_is_refused(tmp_path):
    write_part(tmp_path, "train", compress=True)
    write_part(tmp_path, "t10k", compress=True)
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"train-images\S*: the gzip file is truncated"):
        load_mnist(tmp_path)


@pytest.fixture(scope="module")
def mnist():
    folder = os.environ.get("FASTCONV_DATA")
    if not folder or not (Path(folder) / "mnist").is_dir():
        pytest.skip("FASTCONV_DATA names no folder with mnist")
    return load("mnist", data_dir=folder)


def test_the_real_mnist_has_its_sizes_and_its_first_digits(mnist):
    assert mnist.training.images.shape == (60000, 28, 28, 1)
    assert mnist.test.images.shape == (10000, 28, 28, 1)
    assert mnist.training.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]


def test_the_real_mnist_has_its_known_number_of_each_digit(mnist):
    assert np.bincount(mnist.training.labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert np.bincount(mnist.test.labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip


def test_the_real_mnist_has_its_known_mean_and_deviation(mnist):
    mean, std = training_statistics(mnist.training.images, "channel")
    assert mean[0] / 255 == pytest.approx(0.1307, abs=5e-5)
    assert std[0] / 255 == pytest.approx(0.3081, abs=5e-5)


def test_the_corners_of_the_real_mnist_are_always_background(mnist):
    mean, std = training_statistics(mnist.training.images)
    assert (mean[0], std[0]) == (0, 1)
