"""Random colours and erasing: what they do to images, by the meaning of each."""

import numpy as np
import pytest

from fastconv.backends.reference.input import jitter_images
from fastconv.data import Samples
from fastconv.layers import Conv2D, Dense, Flatten
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.jitter import JitterSpec
from fastconv.plans.operation import InputSpec, RandomSpec
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Augmentation, Preprocessing
from fastconv.recipe import load_recipe
from fastconv.schedules import Constant
from fastconv.spec import SpecError
from fastconv.trainer import Trainer

COUNT = 60
SIZE = InputSpec(COUNT, 6, 5, 3)
X = np.random.default_rng(0).uniform(20, 200, SIZE.x_shape)
LUMA = np.array([0.299, 0.587, 0.114])


def jittered(step=3, **options):
    y = X.copy()
    jitter_images(JitterSpec(SIZE, RandomSpec(7, 1), **options), y, np.array([step]), None)
    return y


def test_brightness_scales_each_image_by_one_factor_of_its_own():
    ratio = (jittered(brightness=0.4) / X).reshape(COUNT, -1)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-12)
    assert ratio.min() >= 0.6
    assert ratio.max() <= 1.4
    assert np.ptp(ratio[:, 0]) > 0.6  # they spread over the range
    assert abs(ratio[:, 0].mean() - 1) < 0.1


def test_contrast_changes_distances_from_the_mean_luma_which_stays():
    y = jittered(contrast=0.5)
    means = (X @ LUMA).mean(axis=(1, 2))
    np.testing.assert_allclose((y @ LUMA).mean(axis=(1, 2)), means, rtol=1e-12)
    centre = means[:, None, None, None]
    ratio = ((y - centre) / (X - centre)).reshape(COUNT, -1)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1], ratio.shape), rtol=1e-6)
    assert ratio.min() >= 0.5 - 1e-9
    assert ratio.max() <= 1.5 + 1e-9


def test_saturation_keeps_the_luma_of_each_pixel():
    y = jittered(saturation=1.0)
    np.testing.assert_allclose(y @ LUMA, X @ LUMA, rtol=1e-12)
    colour, before = y - (y @ LUMA)[..., None], X - (X @ LUMA)[..., None]
    ratio = (colour / before).reshape(COUNT, -1).mean(axis=1)
    assert ratio.min() >= 0
    assert ratio.max() <= 2
    assert np.ptp(ratio) > 1


def test_erasing_sets_one_rectangle_of_some_images_to_0_and_touches_nothing_else():
    y = jittered(erase=0.5, erase_area=0.4)
    erased = 0
    for image, before in zip(y, X, strict=True):
        hole = (image == 0).all(axis=2)
        np.testing.assert_array_equal(image[~hole], before[~hole])
        if not hole.any():
            continue
        erased += 1
        rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
        assert hole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        # Rounded, each side is within half a pixel of what gives 2 to 40 % of 30 pixels.
        assert (len(rows) - 0.5) * (len(columns) - 0.5) <= 0.4 * 30
    assert 18 <= erased <= 42


def test_every_step_draws_anew_and_the_same_step_the_same():
    assert (jittered(3, brightness=0.5) == jittered(3, brightness=0.5)).all()
    assert (jittered(3, brightness=0.5) != jittered(4, brightness=0.5)).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "erase"])
def test_a_change_out_of_range_is_named(name):
    with pytest.raises(SpecError, match=f"{name} is 1.5; expected 0 to 1"):
        JitterSpec(SIZE, RandomSpec(0, 0), **{name: 1.5})


def plan_with(**options):
    network = Sequential([Conv2D(4), Flatten(), Dense(3)], (6, 5, 3))
    source = Source(9, "uint8", Preprocessing("scale"), Augmentation(**options))
    purpose = Purpose(True, True, "softmax_cross_entropy", Optimizer().spec(network))
    return build_plan(network, 2, purpose, source)


def test_the_plan_has_a_call_for_what_is_asked_for_alone():
    def inputs(plan):
        return [c.kernel for c in plan.calls if c.kernel.endswith(("ment_images", "ter_images"))]

    assert inputs(plan_with()) == []
    assert inputs(plan_with(flip=True)) == ["input.augment_images"]
    assert inputs(plan_with(erase=0.5)) == ["input.jitter_images"]
    both = inputs(plan_with(crop=1, contrast=0.5))
    assert both == ["input.augment_images", "input.jitter_images"]


@pytest.mark.parametrize("backend", ["numba", "cython"])
def test_training_on_jittered_images_is_the_same_on_every_backend(backend):
    generator = np.random.default_rng(1)
    samples = Samples(
        generator.integers(0, 256, (24, 6, 5, 3), np.uint8), generator.integers(0, 3, 24)
    )
    changes = Augmentation(flip=True, brightness=0.4, contrast=0.4, saturation=0.4, erase=0.5)
    made = []
    for name in ("numpy", backend):
        network = Sequential([Conv2D(4), Flatten(), Dense(3)], (6, 5, 3), dtype="float64")
        trainer = Trainer(
            network, samples, loss="softmax_cross_entropy", optimizer=Optimizer("momentum"),
            schedule=Constant(0.01), batch_size=8, preprocessing=Preprocessing("scale"),
            augmentation=changes, backend=name,
        )  # fmt: skip
        for _ in range(4):
            trainer.train(3)
        made.append(network.parameters)
    np.testing.assert_allclose(made[1], made[0], rtol=0, atol=1e-12)


def test_a_recipe_says_the_colours_and_the_erasing():
    settings = [("augmentation.saturation", 0.3), ("augmentation.erase", 0.25)]
    recipe = load_recipe("digits", settings)
    found = recipe.augmentation.augmentation()
    assert (found.saturation, found.erase, found.erase_area) == (0.3, 0.25, 0.33)
    with pytest.raises(ValueError, match=r"erase_area does nothing without augmentation\.erase"):
        load_recipe("digits", [("augmentation.erase_area", 0.2)])
