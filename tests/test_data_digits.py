"""The digits: exact values, beside those that scikit-learn has, and one split for everyone."""

import hashlib

import numpy as np
from sklearn.datasets import load_digits as load_source

from fastconv.data import load_digits


def rows(samples):
    """Each image and its label as one tuple."""
    return [
        (*image.ravel().tolist(), label)
        for image, label in zip(samples.images, samples.labels.tolist(), strict=True)
    ]


def test_the_parts_hold_every_digit_of_the_source_once_and_exactly():
    source = load_source()
    expected = sorted(
        (*(int(value) for value in image.ravel()), int(label))
        for image, label in zip(source.images, source.target, strict=True)
    )
    digits = load_digits()
    found = []
    for samples in digits.parts.values():
        assert samples.images.dtype == np.uint8
        assert (samples.images % 15 == 0).all()
        found += [(*(v // 15 for v in row[:-1]), row[-1]) for row in rows(samples)]
    assert sorted(found) == expected


def test_the_parts_have_the_sizes_that_are_documented():
    digits = load_digits()
    sizes = {part: len(samples) for part, samples in digits.parts.items()}
    assert sizes == {"training": 1297, "test": 300, "validation": 200}
    assert digits.image_shape == (8, 8, 1)
    assert digits.training.images.max() == 240


def test_every_part_has_about_the_same_share_of_every_digit():
    digits = load_digits()
    share = np.bincount(load_source().target) / 1797
    for samples in digits.parts.values():
        counts = np.bincount(samples.labels)
        assert (abs(counts - share * len(samples)) <= 1).all()


def test_the_split_is_the_same_today_as_when_its_results_were_published():
    digits = load_digits()
    fingerprint = {
        part: hashlib.sha256(samples.images.tobytes()).hexdigest()[:16]
        for part, samples in digits.parts.items()
    }
    assert fingerprint == FINGERPRINT


def test_every_part_keeps_the_order_of_the_source():
    places = {row: place for place, row in enumerate(map(tuple, load_source().data.astype(int)))}
    for samples in load_digits().parts.values():
        found = [places[tuple(image.ravel() // 15)] for image in samples.images]
        assert found == sorted(found)


# Noted once; another value means that results on digits cannot be compared with earlier ones.
FINGERPRINT = {
    "training": "c5c5ffb18e521819",
    "test": "d5a206216cb1fd13",
    "validation": "3c22d7316ac9fa3d",
}
