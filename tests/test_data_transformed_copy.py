"""A training set with one transformed copy of every image appended."""

import numpy as np
import pytest

from fastconv.data import DataError, Samples, append_transformed_copy
from fastconv.plans.operation import AugmentSpec, InputSpec, RandomSpec

augmentation = pytest.importorskip("fastconv.backends.numpy.input")

COUNT, HEIGHT, WIDTH = 50, 6, 5


@pytest.fixture
def samples():
    generator = np.random.default_rng(0)
    images = generator.integers(1, 256, (COUNT, HEIGHT, WIDTH, 2)).astype(np.uint8)
    return Samples(images, generator.integers(0, 10, COUNT))


def spec(batch=16, channels=2, seed=1, **changes):
    return AugmentSpec(InputSpec(batch, HEIGHT, WIDTH, channels), RandomSpec(seed, 3), **changes)


def test_the_originals_come_first_and_the_labels_twice(samples):
    both = append_transformed_copy(samples, spec(flip=True))
    assert len(both) == 2 * COUNT
    assert both.images.dtype == np.uint8
    assert (both.images[:COUNT] == samples.images).all()
    assert both.labels.tolist() == samples.labels.tolist() * 2


def test_without_a_transformation_the_copy_is_exact(samples):
    both = append_transformed_copy(samples, spec())
    assert (both.images[COUNT:] == samples.images).all()


def test_a_flip_mirrors_some_images_and_leaves_the_others(samples):
    copies = append_transformed_copy(samples, spec(flip=True)).images[COUNT:]
    mirrored = 0
    for image, copy in zip(samples.images, copies, strict=True):
        is_mirrored = (copy == image[:, ::-1]).all()
        assert is_mirrored or (copy == image).all()
        mirrored += is_mirrored
    # Of 50 fair coins, fewer than 10 or more than 40 heads have a chance of 1 in 100 000.
    assert 10 <= mirrored <= 40


def test_every_chunk_has_draws_of_its_own(samples):
    same = Samples(np.repeat(samples.images[:1], COUNT, axis=0), samples.labels)
    copies = append_transformed_copy(same, spec(batch=10, flip=True, crop=2)).images[COUNT:]
    chunks = {copies[start : start + 10].tobytes() for start in range(0, COUNT, 10)}
    assert len(chunks) == 5


def test_values_are_rounded_to_the_nearest_and_clipped(samples, monkeypatch):
    values = np.array([-3.0, 0.4, 0.6, 254.4, 254.6, 300.0], np.float32)

    def augment(spec, x, step, y, workspace):
        y.reshape(-1)[:] = np.resize(values, y.size)

    monkeypatch.setattr(augmentation, "augment_images", augment)
    copies = append_transformed_copy(samples, spec(batch=COUNT)).images[COUNT:]
    assert copies.ravel()[:6].tolist() == [0, 0, 1, 254, 255, 255]


def test_the_chunks_and_steps_given_to_the_kernel_are_those_documented(samples, monkeypatch):
    seen = []

    def augment(spec, x, step, y, workspace):
        seen.append((spec.input.batch, x.shape, int(step[0]), x.dtype.name))
        y[...] = x

    monkeypatch.setattr(augmentation, "augment_images", augment)
    append_transformed_copy(samples, spec(batch=20), first_step=7)
    shapes = [(20, HEIGHT, WIDTH, 2)] * 2 + [(10, HEIGHT, WIDTH, 2)]
    assert seen == [
        (shape[0], shape, step, "float32") for shape, step in zip(shapes, (7, 8, 9), strict=True)
    ]


def test_the_seed_decides_the_copies(samples):
    draws = [
        append_transformed_copy(samples, spec(seed=seed, rotation=20.0)).images.tobytes()
        for seed in (1, 1, 2)
    ]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


def test_images_of_another_size_or_type_are_refused(samples):
    with pytest.raises(DataError, match=r"\(6, 5, 2\) but augment_spec.input is for \(6, 5, 3\)"):
        append_transformed_copy(samples, spec(channels=3))
    floating = Samples(samples.images.astype(np.float32), samples.labels)
    with pytest.raises(DataError, match="float32 images; expected uint8"):
        append_transformed_copy(floating, spec())
    with pytest.raises(ValueError, match=r"input\.batch is 0"):
        append_transformed_copy(samples, spec(batch=0))
