"""Recipes after published records: their numbers are those of the sources, and short runs learn."""

import os
from pathlib import Path

import numpy as np
import pytest

from fastconv.data import load
from fastconv.execution.config import ExecutionConfig
from fastconv.layers import Conv2D, Dense
from fastconv.network import Sequential
from fastconv.recipe import load_recipe
from fastconv.runs.experiment import prepare

DATA = os.environ.get("FASTCONV_DATA")


def needs(dataset):
    there = DATA is not None and (Path(DATA) / dataset).is_dir()
    return pytest.mark.skipif(not there, reason=f"no {dataset} in the folder FASTCONV_DATA")


def test_cifar10_94_has_the_layers_of_airbench94():
    layers = load_recipe("cifar10-94").make_layers()
    filters = [layer.filters for layer in layers if isinstance(layer, Conv2D)]
    assert filters == [24, 64, 64, 256, 256, 256, 256]
    network = Sequential(layers, (32, 32, 3))
    weights = 24 * 3 * 2**2 + 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256) + 256 * 10
    biases = 24 + 2 * (64 + 256 + 256)
    assert network.parameter_count == weights + biases
    assert network.output_shape == (10,)


def test_cifar10_94_has_the_rates_and_decays_of_airbench94():
    recipe = load_recipe("cifar10-94")
    steps = recipe.epochs * recipe.steps_per_epoch(50000)
    assert steps == 200
    schedule = recipe.schedule.schedule(recipe.optimizer.lr, steps // recipe.epochs, steps)
    np.testing.assert_allclose(schedule.rates([0, 100, 199]), [0.24, 0.12, 0.24 / 200])
    network = recipe.make_network((32, 32, 3))
    places = network.places
    found = {}
    for stretch in recipe.optimizer.update(network).stretches:
        inside = [
            name for name, place in places.items()
            if place.buffer == "parameters"
            and stretch.start <= place.offset < stretch.start + stretch.spec.size
        ]  # fmt: skip
        found |= dict.fromkeys(inside, stretch)
    assert "conv2d_1.weight" not in found  # whitening filters stay
    assert {name for name, each in found.items() if each.muon} == {
        f"conv2d_{number}.weight" for number in range(2, 8)
    }
    # The source's loss is a sum over 2000 images, and its decay for each image 2e-6.
    betas = [f"batch_norm_{number}.beta" for number in range(1, 7)]
    own_rates = {"dense_1.weight": 0.67, **dict.fromkeys(["conv2d_1.bias", *betas], 0.053)}
    for name, rate in own_rates.items():
        spec = found[name].spec
        assert (spec.kind, spec.momentum) == ("nesterov", 0.85)
        assert 0.24 * spec.rate_factor == pytest.approx(2000 * rate, rel=1e-3)
        assert 0.24 * spec.rate_factor * spec.coupled_decay == pytest.approx(0.004, rel=1e-3)


@needs("cifar10")
@pytest.mark.slow
def test_cifar10_94_learns_within_some_small_steps():
    dataset = load("cifar10", DATA)
    # A twentieth of its batch: rates of a mean are for the images that it is over.
    recipe = load_recipe("cifar10-94", [("batch_size", 100), ("data.training_samples", 2000)])
    trainer = prepare(recipe, data_dir=DATA, config=ExecutionConfig("cython")).trainer
    trainer.train(20)
    images, labels = dataset.test.images[:500], dataset.test.labels[:500]
    before = trainer.network["conv2d_1.weight"].copy()
    accuracy = (trainer.predict(images).argmax(axis=1) == labels).mean()
    assert accuracy > 0.25  # a guess is right in one of ten
    trainer.update_network()
    np.testing.assert_array_equal(trainer.network["conv2d_1.weight"], before)


def test_mnist_99_has_the_layers_of_its_source():
    layers = load_recipe("mnist-99").make_layers()
    convolutions = [(la.filters, la.kernel) for la in layers if isinstance(la, Conv2D)]
    assert convolutions == [(24, 5), (32, 3)]
    assert [layer.units for layer in layers if isinstance(layer, Dense)] == [256, 10]


@needs("mnist")
@pytest.mark.slow
def test_mnist_99_is_right_for_98_of_100_digits_after_its_epoch():
    recipe = load_recipe("mnist-99")
    experiment = prepare(recipe, data_dir=DATA, config=ExecutionConfig("cython"))
    trainer = experiment.trainer
    trainer.train(trainer.steps_left_in_epoch())
    assert trainer.step == experiment.steps == 235
    # The mean of many seeds is 99 %: docs/recipes.md.
    assert trainer.evaluate(experiment.dataset.test).accuracy > 0.985
