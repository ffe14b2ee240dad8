"""First weights that are not drawn alone: the identity, whitening filters, groups by names."""

import re

import numpy as np
import pytest

from fastconv.data import Dataset, Samples
from fastconv.initializers import Dirac, Glorot, He, LeCun, Normal, Whitening
from fastconv.layers import Conv2D, Dense, Flatten
from fastconv.network import Sequential
from fastconv.preprocessing import Preprocessing
from fastconv.recipe import parse_setting, read_recipe, set_keys
from fastconv.recipes.schema import RecipeError
from fastconv.runs.experiment import prepare
from fastconv.spec import SpecError

GENERATOR = np.random.default_rng(7)


def smooth_images(count=400, channels=3):
    """Neighbouring pixels and channels are nearly the same, as in photographs."""
    noise = np.random.default_rng(1).normal(size=(count, 9, 9, channels))
    blurred = noise + np.roll(noise, 1, axis=1) + np.roll(noise, 1, axis=2)
    return (blurred + blurred.mean(axis=-1, keepdims=True))[:, 1:, 1:]


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 4), (4, 9), (9, 4)])
def test_a_dirac_convolution_passes_its_input_on(inputs, outputs):
    network = Sequential(
        [Conv2D(outputs, 3, padding=1, bias=False)], (5, 6, inputs), initializer=Dirac(He())
    )
    images = GENERATOR.normal(size=(2, 5, 6, inputs)).astype(np.float32)
    same = min(inputs, outputs)
    np.testing.assert_array_equal(network(images, backend="numpy")[..., :same], images[..., :same])


def test_the_filters_behind_the_identity_are_those_of_the_rest():
    shape, fans = (3, 3, 2, 5), (18, 45)
    drawn = LeCun().draw(np.random.default_rng(3), shape, *fans)
    dirac = Dirac(LeCun()).draw(np.random.default_rng(3), shape, *fans)
    np.testing.assert_array_equal(dirac[..., 2:], drawn[..., 2:])


def test_whitened_patches_are_uncorrelated_and_of_variance_one():
    images = smooth_images()
    weights = Whitening(images, epsilon=1e-12).draw(GENERATOR, (2, 2, 3, 24), 12, 96)
    # The patches by two loops: a convolution without padding.
    found = np.stack([
        np.einsum("nhwc,hwco->no", images[:, row : row + 2, column : column + 2], weights)
        for row in range(7) for column in range(7)
    ]).reshape(-1, 24)  # fmt: skip
    np.testing.assert_allclose(found.T[:12] @ found[:, :12] / len(found), np.eye(12), atol=1e-8)
    np.testing.assert_array_equal(found[:, 12:], -found[:, :12])


def test_the_first_whitening_filters_are_those_of_the_largest_variance_which_epsilon_limits():
    images = smooth_images()
    few = Whitening(images).draw(GENERATOR, (2, 2, 3, 8), 12, 32)
    every = Whitening(images).draw(GENERATOR, (2, 2, 3, 24), 12, 96)
    np.testing.assert_array_equal(few[..., :4], every[..., :4])
    norms = np.linalg.norm(every.reshape(12, 24), axis=0)[:12]
    assert (np.diff(norms) >= 0).all()  # what varies less is multiplied by more
    blunt = Whitening(images, epsilon=100.0).draw(GENERATOR, (2, 2, 3, 24), 12, 96)
    assert np.linalg.norm(blunt.reshape(12, 24), axis=0).max() <= 0.1  # 1 / sqrt(100)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Whitening(np.ones((4, 4))), "Whitening: images is (4, 4); expected (N, height"),
        (lambda: Whitening(smooth_images(), epsilon=0.0), "epsilon is 0.0; expected more than 0"),
        (lambda: Whitening(smooth_images()).draw(GENERATOR, (2, 2, 4, 8), 1, 1),
         "shape is (2, 2, 4, 8); expected HWIO with 3 inputs"),
        (lambda: Whitening(smooth_images()).draw(GENERATOR, (2, 2, 3, 26), 1, 1),
         "filters is 26; expected an even number of them, at most 24"),
        (lambda: Whitening(smooth_images()).draw(GENERATOR, (2, 2, 3, 7), 1, 1), "filters is 7"),
        (lambda: Dirac().draw(GENERATOR, (20, 10), 1, 1), "shape is (20, 10); expected HWIO"),
        (lambda: Sequential([Dense(2)], (3,), initializer={"conv*": He()}),
         "initializer is 'conv*'; expected a pattern of some of dense_1.weight"),
    ],
)  # fmt: skip
def test_impossible_first_weights_are_refused(make, told):
    with pytest.raises(SpecError, match=re.escape(told)):
        make()


def test_the_first_pattern_that_fits_a_weight_draws_it_and_he_draws_the_others():
    layers = [Conv2D(8, 3), Conv2D(8, 3), Flatten(), Dense(400)]

    def made(initializer):
        return Sequential(layers, (9, 9, 8), initializer=initializer, seed=5)

    network = made({"conv2d_2.weight": Normal(0.0), "conv2d_*": Dirac()})
    assert (network["conv2d_2.weight"] == 0).all()
    assert (network["conv2d_1.weight"][1, 1] == np.eye(8)).all()
    assert network["dense_1.weight"].std() == pytest.approx((2 / 200) ** 0.5, rel=0.02)
    # One rule for all is what it always was.
    np.testing.assert_array_equal(made({"*": Glorot()}).parameters, made(Glorot()).parameters)


RECIPE = {
    "name": "whitened", "epochs": 1, "batch_size": 8, "data": {"dataset": "cifar10"},
    "layers": [
        {"kind": "conv2d", "filters": 24, "kernel": 2},
        {"kind": "conv2d", "filters": 24, "kernel": 3},
        {"kind": "flatten"}, {"kind": "dense", "units": 2},
    ],
    "initialization": {
        "kind": "lecun",
        "groups": [
            {"names": "conv2d_1.weight", "kind": "whitening"},
            {"names": "conv2d_*.weight", "kind": "dirac"},
            {"names": "dense_1.weight", "kind": "normal", "std": 1.0},
        ],
    },
}  # fmt: skip


def test_a_recipe_whitens_the_preprocessed_training_images():
    images = GENERATOR.integers(0, 256, (30, 6, 6, 3)).astype(np.uint8)
    samples = Samples(images, np.arange(30) % 2)
    dataset = Dataset("made", samples, samples, ("a", "b"))
    recipe = read_recipe(RECIPE)
    assert read_recipe(recipe.table()).initialization == recipe.initialization
    network = prepare(recipe, dataset=dataset).trainer.network
    expected = Whitening(images / 255).draw(GENERATOR, (2, 2, 3, 24), 12, 96)
    np.testing.assert_allclose(network["conv2d_1.weight"], expected, rtol=0, atol=1e-4)
    assert (network["conv2d_2.weight"][1, 1] == np.eye(24)).all()
    assert network["dense_1.weight"].std() == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("[{names = 'conv2d_1.weight', kind = 'dirac', epsilon = 1.0}]",
         "initialization.groups.0.epsilon does nothing under initialization.groups.0.kind = "
         "'dirac'; leave it out, or set initialization.groups.0.kind to 'whitening'"),
        ("[{names = 'conv2d_1.weight', kind = 'whitening', epsilon = 0.0}]",
         "initialization.groups.0.epsilon is 0.0; expected more than 0"),
        ("[{names = 'conv2d_1.weight', kind = 'normal', std = -1.0}]",
         "initialization.groups.0.std is -1.0; expected 0 or more"),
    ],
)  # fmt: skip
def test_keys_of_first_weights_that_cannot_be_are_refused(setting, told):
    table = {**RECIPE, "initialization": {"kind": "he"}}
    set_keys(table, [parse_setting(f"initialization.groups={setting}")])
    with pytest.raises(RecipeError, match=re.escape(told)):
        read_recipe(table)


@pytest.mark.parametrize("per", ["channel", "feature"])
def test_preprocessing_by_hand_is_what_a_step_does(per):
    images = GENERATOR.integers(0, 256, (5, 4, 3, 2)).astype(np.uint8)
    shape = (2,) if per == "channel" else (4, 3, 2)
    mean, std = GENERATOR.uniform(1, 2, shape), GENERATOR.uniform(1, 2, shape)
    flat = images.reshape(5, -1).astype(float)
    ranges = flat.min(axis=1)[:, None], flat.max(axis=1)[:, None]
    expected = {
        "none": images,
        "scale": images / 255,
        "min_max": ((flat - ranges[0]) / (ranges[1] - ranges[0])).reshape(images.shape),
        "standardize": (images - mean) / std,
    }
    for kind, values in expected.items():
        preprocessing = Preprocessing(kind, mean=mean, std=std)
        np.testing.assert_allclose(preprocessing.apply(images), values, rtol=1e-12, err_msg=kind)
