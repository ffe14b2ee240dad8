"""Samples and data sets are checked once, when they are made."""

import re
import subprocess
import sys

import numpy as np
import pytest

from fastconv.data import DataError, Dataset, MissingData, Samples


def images(count=4, height=3, width=2, channels=1, dtype=np.uint8):
    return (
        np.arange(count * height * width * channels)
        .astype(dtype)
        .reshape(count, height, width, channels)
    )


def class_samples(labels, **shape):
    return Samples(images(len(labels), **shape), np.array(labels, np.int64))


def test_importing_the_data_sets_imports_no_library_that_they_need_only_later():
    code = (
        "import sys, fastconv.data; "
        "print(sorted({name.partition('.')[0] for name in sys.modules} "
        "& {'sklearn', 'scipy', 'pooch', 'requests', 'rich', 'numba'}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_a_missing_data_set_is_a_data_error_and_that_is_a_value_error():
    assert issubclass(MissingData, DataError)
    assert issubclass(DataError, ValueError)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_images_may_be_bytes_or_floating(dtype):
    samples = Samples(images(dtype=dtype), np.zeros(4, np.int64))
    assert len(samples) == 4
    assert samples.has_classes


def test_labels_may_be_the_targets_of_a_regression():
    samples = Samples(np.ones((5, 1, 1, 7), np.float32), np.ones((5, 2), np.float64))
    assert not samples.has_classes


FAULTS = {
    "integers that are no bytes": (images(dtype=np.int64), np.zeros(4, np.int64), "int64|i8"),
    "half precision": (images(dtype=np.float16), np.zeros(4, np.int64), "f2"),
    "foreign byte order": (images(dtype=">f4"), np.zeros(4, np.int64), ">f4"),
    "three dimensions": (images()[..., 0], np.zeros(4, np.int64), r"\(4, 3, 2\)"),
    "no pixels": (np.empty((4, 0, 2, 1), np.uint8), np.zeros(4, np.int64), r"\(4, 0, 2, 1\)"),
    "a strided view": (images()[:, ::2], np.zeros(4, np.int64), "ascontiguousarray"),
    "a list": ([[[[1]]]], np.zeros(1, np.int64), "list"),
    "labels of 32 bits": (images(), np.zeros(4, np.int32), "i4.*astype"),
    "one-hot integers": (images(), np.zeros((4, 3), np.int64), r"\(4, 3\).*argmax"),
    "targets in one dimension": (images(), np.zeros(4), r"\(4,\).*\(samples, outputs\)"),
    "too few labels": (images(), np.zeros(3, np.int64), "4 images but 3 labels"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_samples_refuse(fault):
    wrong_images, wrong_labels, message = FAULTS[fault]
    with pytest.raises(DataError, match=message) as caught:
        Samples(wrong_images, wrong_labels)
    assert "\n" not in str(caught.value)


def test_take_copies_samples_in_the_order_asked_for():
    samples = class_samples([5, 6, 7, 8])
    taken = samples.take([3, 0, 3])
    assert taken.labels.tolist() == [8, 5, 8]
    # Each image here has 3 * 2 pixels, numbered through the whole array.
    assert taken.images[:, 0, 0, 0].tolist() == [18, 0, 18]
    taken.images[:] = 99
    assert samples.images.max() == 23


def test_take_of_nothing_is_empty():
    assert len(class_samples([1, 2]).take([])) == 0


@pytest.mark.parametrize("indices", [[0, 4], [-1], [0.5], [[0]], [True, False, True, False]])
def test_take_refuses_what_is_no_index(indices):
    with pytest.raises(IndexError, match=r"Samples\.take: indices"):
        class_samples([5, 6, 7, 8]).take(indices)


def test_a_label_outside_the_classes_is_named_with_its_place():
    with pytest.raises(DataError) as caught:
        Dataset("birds", class_samples([0, 1]), class_samples([1, 0, 2]), ("wren", "owl"))
    message = str(caught.value)
    assert re.search(r"birds \(test part\).*label 2 of sample 2.*wren, owl", message)
    assert "\n" not in message


def test_a_negative_label_is_outside_the_classes():
    with pytest.raises(DataError, match="label -1 of sample 0"):
        Dataset("birds", class_samples([-1]), class_samples([0]), ("wren", "owl"))


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (class_samples([0], height=4), r"\(4, 2, 1\).*\(3, 2, 1\)"),
        (Samples(images(1, dtype=np.float32), np.zeros(1, np.int64)), "float32.*uint8"),
        (Samples(images(1), np.zeros((1, 1))), "float64 labels.*int64 labels"),
    ],
)
def test_the_parts_of_a_data_set_must_be_alike(test, message):
    with pytest.raises(DataError, match=message):
        Dataset("birds", class_samples([0, 1]), test, ("wren", "owl"))


def test_the_validation_part_is_checked_as_the_others_are():
    good = class_samples([0])
    with pytest.raises(DataError, match="validation part"):
        Dataset("birds", good, good, ("wren",), validation=class_samples([3]))


def test_an_empty_training_part_is_refused():
    with pytest.raises(DataError, match="training part is empty"):
        Dataset("birds", class_samples([]), class_samples([0]), ("wren",))


def test_a_regression_has_no_class_names():
    targets = Samples(np.ones((5, 1, 1, 7), np.float32), np.ones((5, 2), np.float64))
    assert Dataset("line", targets, targets, ()).image_shape == (1, 1, 7)
    with pytest.raises(DataError, match="targets of a regression"):
        Dataset("line", targets, targets, ("wren",))
    with pytest.raises(DataError, match="class numbers"):
        Dataset("birds", class_samples([0]), class_samples([0]), ())


def test_parts_lists_only_what_is_there():
    part = class_samples([0])
    assert list(Dataset("birds", part, part, ("wren",)).parts) == ["training", "test"]
    assert list(Dataset("birds", part, part, ("wren",), part).parts) == [
        "training",
        "test",
        "validation",
    ]
