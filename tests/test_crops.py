"""Crops with mirrored edges, resized parts and alternating flips, by the meaning of each."""

import numpy as np
import pytest
from optional_torch import needs_torch, torch

from fastconv.backends.reference.augment import crop_images
from fastconv.data import Samples
from fastconv.layers import Conv2D, Dense, Flatten
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.augmentation import CropSpec
from fastconv.plans.operation import InputSpec, RandomSpec
from fastconv.preprocessing import Augmentation
from fastconv.recipe import load_recipe
from fastconv.schedules import Constant
from fastconv.spec import SpecError
from fastconv.trainer import Trainer

COUNT = 60
SIZE = InputSpec(COUNT, 6, 5, 3)
X = np.random.default_rng(0).uniform(20, 200, SIZE.x_shape)
RANDOM = RandomSpec(7, 1)


def cropped(step=3, x=X, indices=None, **options):
    y = np.empty(x.shape)
    indices = np.arange(COUNT) if indices is None else indices
    crop_images(CropSpec(SIZE, RANDOM, **options), x, indices, np.array([step]), y, None)
    return y


def test_a_reflected_crop_is_a_window_of_what_numpy_pads_by_reflection():
    y = cropped(crop=2)
    found = set()
    for image, before in zip(y, X, strict=True):
        padded = np.pad(before, ((2, 2), (2, 2), (0, 0)), mode="reflect")
        windows = {(i, j): padded[i : i + 6, j : j + 5] for i in range(5) for j in range(5)}
        matches = [place for place, window in windows.items() if (window == image).all()]
        assert len(matches) == 1
        found.update(matches)
    assert len(found) > 15  # of 25 places


@needs_torch
def test_a_resized_part_is_what_pytorch_interpolates():
    y = cropped(least_area=0.2)
    spec = CropSpec(SIZE, RANDOM, least_area=0.2)
    matched = 0
    for image, before in zip(y, X, strict=True):
        parts = [
            (top, left, rows, columns)
            for rows in range(1, 7) for columns in range(1, 6)
            if rows * columns > 0.2 * 30 / 2
            for top in range(7 - rows) for left in range(6 - columns)
        ]  # fmt: skip
        for top, left, rows, columns in parts:
            part = torch.tensor(before[top : top + rows, left : left + columns]).permute(2, 0, 1)
            resized = torch.nn.functional.interpolate(
                part[None], size=(6, 5), mode="bilinear", align_corners=False
            )[0].permute(1, 2, 0).numpy()  # fmt: skip
            if np.allclose(resized, image, rtol=0, atol=1e-9):
                matched += 1
                break
        if matched >= 12:  # a search through all parts takes its time
            break
    assert matched >= 12
    assert spec.part((0.0, 0.5, 0.0, 0.0))[2:] == (2, 2)  # a fifth of 30 pixels, about square


def test_the_area_of_resized_parts_spreads_from_the_least_share_to_the_whole():
    spec = CropSpec(InputSpec(1, 100, 100, 1), RANDOM, least_area=0.25)
    draws = np.random.default_rng(1).uniform(size=(2000, 4))
    parts = np.array([spec.part(tuple(u)) for u in draws])
    areas, ratios = parts[:, 2] * parts[:, 3] / 1e4, parts[:, 3] / parts[:, 2]
    assert areas.min() > 0.24
    assert areas.max() > 0.9
    assert 0.74 < ratios.min() < 0.77
    assert 1.3 < ratios.max() < 1.35
    assert (parts[:, 0] + parts[:, 2] <= 100).all()
    assert (parts[:, 1] + parts[:, 3] <= 100).all()


def flips_of(y, x=X):
    """Which images are mirrored; each is either that or the same."""
    mirrored = (y == x[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (mirrored ^ (y == x).all(axis=(1, 2, 3))).all()
    return mirrored


def test_alternating_flips_show_each_sample_both_ways_in_two_epochs():
    options = {"flip": "alternating", "steps_per_epoch": 4}
    first = flips_of(cropped(step=1, **options))
    assert 18 <= first.sum() <= 42
    assert (flips_of(cropped(step=3, **options)) == first).all()
    assert (flips_of(cropped(step=4, **options)) == ~first).all()
    assert (flips_of(cropped(step=7, **options)) == ~first).all()
    assert (flips_of(cropped(step=8, **options)) == first).all()


def test_an_alternating_flip_is_the_samples_own_wherever_it_is_in_a_batch():
    order = np.random.default_rng(2).permutation(COUNT)
    options = {"flip": "alternating", "steps_per_epoch": 4}
    shuffled = flips_of(cropped(x=X[order], indices=order, **options), X[order])
    assert (shuffled == flips_of(cropped(**options))[order]).all()


def test_random_flips_are_drawn_anew_in_every_step():
    first, second = (flips_of(cropped(step=step, flip="random")) for step in (3, 4))
    assert 18 <= first.sum() <= 42
    assert 10 <= (first != second).sum() <= 50


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"crop_padding": "reflect"}, "crop_padding is 'reflect'; expected 'zero' without a crop"),
        ({"crop": 1, "crop_padding": "edge"}, "expected 'zero' or 'reflect'"),
        ({"crop": 1, "resized_crop": 0.5}, "resized_crop is 0.5; expected 0 beside crop"),
        ({"flip": True, "alternating_flip": True}, "expected false beside flip"),
        ({"resized_crop": 1.5}, "resized_crop is 1.5; expected 0 to 1"),
    ],
)
def test_what_does_not_go_together_is_named(options, said):
    with pytest.raises(SpecError, match=said):
        Augmentation(**options)


def test_images_can_be_mirrored_as_far_as_they_reach():
    with pytest.raises(SpecError, match="crop is 5; expected 0 to 4, as far as images"):
        CropSpec(SIZE, RANDOM, crop=5)


def samples_of(count=26):
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (count, 6, 5, 3), np.uint8)
    return Samples(images, generator.integers(0, 3, count))


@pytest.mark.parametrize("backend", ["numba", "cython"])
@pytest.mark.parametrize(
    "changes",
    [
        Augmentation(alternating_flip=True, crop=2, crop_padding="reflect", rotation=5),
        Augmentation(flip=True, resized_crop=0.3, cutout=2),
        Augmentation(alternating_flip=True, crop=2),
    ],
    ids=["reflected", "resized", "zero"],
)
def test_training_on_cropped_images_is_the_same_on_every_backend(backend, changes):
    made = []
    for name in ("numpy", backend):
        network = Sequential([Conv2D(4), Flatten(), Dense(3)], (6, 5, 3), dtype="float64")
        trainer = Trainer(
            network, samples_of(), loss="softmax_cross_entropy", optimizer=Optimizer("momentum"),
            schedule=Constant(0.01), batch_size=8, preprocessing="scale", augmentation=changes,
            backend=name,
        )  # fmt: skip
        for _ in range(3):
            trainer.train(3)
        made.append(network.parameters)
    np.testing.assert_allclose(made[1], made[0], rtol=0, atol=1e-12)


def test_a_recipe_says_the_crops():
    settings = [
        ("augmentation.crop", 1), ("augmentation.crop_padding", "reflect"),
        ("augmentation.alternating_flip", True),
    ]  # fmt: skip
    recipe = load_recipe("digits", settings)
    found = recipe.augmentation.augmentation()
    assert (found.mirrored_crop, found.kind_of_flip) == (1, "alternating")
    recipe.augmentation.check_images((8, 8, 1))
    with pytest.raises(ValueError, match=r"augmentation\.crop is 1; expected 0 to 0"):
        recipe.augmentation.check_images((1, 8, 1))
    with pytest.raises(ValueError, match=r"mixup does nothing under augmentation.mode = 'append'"):
        load_recipe("digits", [("augmentation.mode", "append"), ("augmentation.mixup", 0.2)])
