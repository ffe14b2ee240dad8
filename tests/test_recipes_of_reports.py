"""The systems of the five course reports: what they state is what their recipes say."""

import os
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from fastconv.data import DATASETS, Dataset, Samples, load
from fastconv.execution.config import ExecutionConfig
from fastconv.layers import Conv2D, Dense
from fastconv.network import Sequential
from fastconv.recipe import load_recipe
from fastconv.runs.experiment import prepare
from fastconv.schedules import Constant
from fastconv.trainer import Trainer
from fastconv.training_loop import fit

DATA = os.environ.get("FASTCONV_DATA")
SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3), "curve": (1,)}

# Weights and biases counted by hand: kernel height x width x channels x filters, inputs x units.
PARAMETERS = {
    "mnist-strided": 9 * 8 + 8 + 9 * 8 * 8 + 8 + 6 * 6 * 8 * 10 + 10,
    "mnist-strided-l2": 9 * 8 + 8 + 9 * 8 * 8 + 8 + 6 * 6 * 8 * 10 + 10,
    "cifar10-strided": 27 * 8 + 8 + 9 * 8 * 8 + 8 + 7 * 7 * 8 * 10 + 10,
    "cifar10-deep": 896 + 9248 + 18496 + 36928 + (5 * 5 * 64 * 256 + 256) + 2570,
    "cifar10-deep-l2": 896 + 9248 + 18496 + 36928 + (5 * 5 * 64 * 256 + 256) + 2570,
    # Without biases before a normalisation.
    "cifar10-deep-tuned": (
        864 + 9216 + 18432 + 36864 + 5 * 5 * 64 * 256 + 2570 + 2 * (32 + 32 + 64 + 64 + 256)
    ),
    "cifar10-softmax": 3072 * 10 + 10,
    "cifar10-softmax-fast": 3072 * 10 + 10,
    "cifar10-softmax-l2": 3072 * 10 + 10,
    "cifar10-softmax-l2-strong": 3072 * 10 + 10,
    "mnist-lenet": 14682,
    "cifar10-lenet": 75 * 16 + 16 + 25 * 16 * 16 + 16 + 8 * 8 * 16 * 10 + 10,
    "cifar10-lenet-improved": (
        75 * 32 + 32 + 25 * 32 * 32 + 32 + 25 * 32 * 64 + 64 + 4 * 4 * 64 * 10 + 10
    ),
    "regression-selu": 16 + 16 + 16 * 64 + 64 + 64 + 1,
    "regression-relu": 16 + 16 + 16 * 64 + 64 + 64 + 1,
    # A scale and a shift for each normalised channel.
    "mnist-batchnorm": (
        25 * 32 + 32 + 25 * 32 * 64 + 64 + 7 * 7 * 64 * 1000 + 1000 + 1000 * 10 + 10
        + 2 * (32 + 64 + 1000)
    ),
    "cifar10-mlp-one-cycle": 3072 * 50 + 50 + 50 * 10 + 10,
    "cifar10-mlp-three-cycles": 3072 * 50 + 50 + 50 * 10 + 10,
    "cifar10-mlp-cyclic": 3072 * 50 + 50 + 50 * 10 + 10,
    "cifar10-mlp-overfit": 3072 * 50 + 50 + 50 * 10 + 10,
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Products this small gain nothing from threads, and lose much where cores are busy."""
    with threadpool_limits(1):
        yield


@pytest.mark.parametrize("name", PARAMETERS)
def test_networks_have_the_parameters_counted_by_hand(name):
    recipe = load_recipe(name)
    network = Sequential(recipe.make_layers(), SHAPES[recipe.data.dataset])
    assert network.parameter_count == PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_descriptions_say_that_a_report_is_behind_them(name):
    assert "report" in load_recipe(name).description or name == "regression-relu"
    assert load_recipe(name).data.dataset in DATASETS


# What the reports state, and the recipes therefore say.

STATED = {
    "mnist-strided": {"epochs": 1, "batch_size": 1, "optimizer.lr": 0.01, "optimizer.l2": 0.0,
                      "validate_every": 1000, "data.validation": 5000},
    "mnist-strided-l2": {"epochs": 1, "batch_size": 1, "optimizer.lr": 0.01, "optimizer.l2": 0.01,
                         "validate_every": 1000, "data.validation": 5000},
    "cifar10-strided": {"epochs": 1, "batch_size": 1, "optimizer.lr": 0.01, "optimizer.l2": 0.0,
                        "data.validation": 0},
    "cifar10-deep": {"epochs": 10, "batch_size": 1, "optimizer.l2": 0.0, "data.validation": 0},
    "cifar10-deep-l2": {"epochs": 10, "batch_size": 1, "optimizer.l2": 0.01, "data.validation": 0},
    "cifar10-softmax": {"epochs": 40, "batch_size": 100, "optimizer.l2": 0.0,
                        "optimizer.lr": 0.001},
    "cifar10-softmax-fast": {"epochs": 40, "batch_size": 100, "optimizer.l2": 0.0,
                             "optimizer.lr": 0.1},
    "cifar10-softmax-l2": {"epochs": 40, "batch_size": 100, "optimizer.l2": 0.1,
                           "optimizer.lr": 0.001},
    "cifar10-softmax-l2-strong": {"epochs": 40, "batch_size": 100, "optimizer.l2": 1.0,
                                  "optimizer.lr": 0.001},
    "mnist-lenet": {"steps": 3000, "batch_size": 16, "data.validation": 2000,
                    "preprocessing.kind": "scale"},
    "cifar10-lenet": {"steps": 5000, "batch_size": 16, "preprocessing.kind": "scale"},
    "cifar10-lenet-improved": {"steps": 5000, "batch_size": 16, "preprocessing.kind": "scale"},
    "regression-selu": {"epochs": 50000, "batch_size": 50, "optimizer.lr": 4e-4,
                        "optimizer.weight_decay": 15e-4, "loss": "mean_squared_error"},
    "mnist-batchnorm": {"batch_size": 128, "data.validation": 12000, "loss": "nll",
                        "preprocessing.mean": (0.1307,), "preprocessing.std": (0.3081,),
                        "augmentation.mode": "append"},
    "cifar10-mlp-one-cycle": {"epochs": 10, "batch_size": 100, "optimizer.l2": 0.01,
                              "schedule.n_s": 500},
    "cifar10-mlp-three-cycles": {"epochs": 48, "batch_size": 100, "optimizer.l2": 0.01,
                                 "schedule.n_s": 800},
    "cifar10-mlp-cyclic": {"epochs": 48, "batch_size": 100, "optimizer.l2": 1.526e-3,
                           "schedule.n_s": 900, "data.validation": 5000},
    "cifar10-mlp-overfit": {"epochs": 200, "batch_size": 10, "optimizer.l2": 0.0,
                            "optimizer.lr": 0.1, "data.training_samples": 50,
                            "data.training_batches": ("data_batch_1",)},
}  # fmt: skip


@pytest.mark.parametrize("name", STATED)
def test_recipes_say_what_the_reports_state(name):
    recipe = load_recipe(name)
    for key, value in STATED[name].items():  # type: ignore[attr-defined]
        found = recipe
        for part in key.split("."):
            found = getattr(found, part)
        assert found == value, key


@pytest.mark.parametrize(
    "name",
    [
        "cifar10-softmax", "cifar10-softmax-fast", "cifar10-softmax-l2",
        "cifar10-softmax-l2-strong", "cifar10-mlp-one-cycle", "cifar10-mlp-three-cycles",
    ],
)  # fmt: skip
def test_the_first_batch_is_trained_on_and_the_second_validates(name):
    data = load_recipe(name).data
    assert data.training_batches == ("data_batch_1",)
    assert data.validation_batches == ("data_batch_2",)


@pytest.mark.parametrize(("plain", "penalized"), [
    ("mnist-strided", "mnist-strided-l2"), ("cifar10-deep", "cifar10-deep-l2"),
])  # fmt: skip
def test_a_penalty_is_all_that_sets_its_recipe_apart(plain, penalized):
    tables = [load_recipe(name).table() for name in (plain, penalized)]
    for table in tables:
        del table["name"], table["description"], table["optimizer"]["l2"]
    assert tables[0] == tables[1]


def test_the_tuned_network_has_the_convolutions_of_the_one_it_is_made_from():
    plain, tuned = (load_recipe(name) for name in ("cifar10-deep", "cifar10-deep-tuned"))
    convolutions = [
        [
            (layer.filters, layer.kernel, layer.stride, layer.padding)
            for layer in recipe.make_layers()
            if isinstance(layer, Conv2D)
        ]
        for recipe in (plain, tuned)
    ]
    assert convolutions[0] == convolutions[1]
    assert tuned.epochs <= 10
    assert tuned.data.validation == 0  # the last training is on all images
    kinds = {layer.kind for layer in tuned.make_layers()}
    assert {"batch_norm", "dropout"} <= kinds
    assert tuned.optimizer.kind.startswith("adam")
    assert tuned.augmentation.augmentation().is_active


def test_the_regressions_differ_in_their_activations_alone():
    selu, relu = (load_recipe(f"regression-{name}") for name in ("selu", "relu"))
    assert [layer.kind for layer in selu.make_layers()] == [
        "dense", "selu", "dense", "sigmoid", "dense"
    ]  # fmt: skip
    assert [layer.kind for layer in relu.make_layers()] == [
        "dense", "relu", "dense", "relu", "dense"
    ]  # fmt: skip
    assert [la.units for la in selu.make_layers() if isinstance(la, Dense)] == [16, 64, 1]
    assert (selu.data, selu.optimizer, selu.epochs) == (relu.data, relu.optimizer, relu.epochs)


# Update rule and rates.


def test_averaged_momentum_with_decay_of_everything_equals_numbers_worked_out_by_hand():
    # One input and one output, w = 2 and b = 1. Each step sees x = 1 with the target 5.
    optimizer = load_recipe(
        "mnist-lenet", [("optimizer.momentum", 0.75), ("optimizer.weight_decay", 0.5)]
    ).optimizer
    network = Sequential([Dense(1)], (1,), dtype="float64")
    network["dense_1.weight"][...] = 2
    network["dense_1.bias"][...] = 1
    samples = Samples(np.ones((1, 1, 1, 1)), np.full((1, 1), 5.0))
    trainer = Trainer(
        network, samples, loss="mean_squared_error", optimizer=optimizer,
        schedule=Constant(0.25), batch_size=1, backend="numpy",
    )  # fmt: skip
    # Gradient of (w + b - 5)^2 = 2 * (-2) = -4; m = 0.25 * -4 = -1:
    # w -= 0.25 * (-1 + 0.5 * 2); b -= 0.25 * (-1 + 0.5 * 1).
    trainer.train(1)
    assert network["dense_1.weight"].item() == pytest.approx(2.0, rel=1e-12)
    assert network["dense_1.bias"].item() == pytest.approx(1.125, rel=1e-12)
    # Gradient 2 * (3.125 - 5) = -3.75; m = 0.75 * -1 + 0.25 * -3.75 = -1.6875:
    # w -= 0.25 * (-1.6875 + 1); b -= 0.25 * (-1.6875 + 0.5625).
    trainer.train(1)
    assert network["dense_1.weight"].item() == pytest.approx(2.171875, rel=1e-12)
    assert network["dense_1.bias"].item() == pytest.approx(1.40625, rel=1e-12)


@pytest.mark.parametrize("name", ["mnist-lenet", "cifar10-lenet", "cifar10-lenet-improved"])
def test_small_cnns_are_trained_by_that_rule(name):
    optimizer = load_recipe(name).optimizer
    assert (optimizer.kind, optimizer.averaged) == ("momentum", True)
    assert (optimizer.decay_mode, optimizer.decay_biases) == ("decoupled", True)
    assert (optimizer.l2, optimizer.weight_decay > 0) == (0.0, True)


@pytest.mark.parametrize(
    ("name", "training", "cycles"),
    [
        ("cifar10-mlp-one-cycle", 10_000, 1),
        ("cifar10-mlp-three-cycles", 10_000, 3),
        ("cifar10-mlp-cyclic", 45_000, 12),
    ],
)
def test_rates_rise_and_fall_in_whole_cycles_as_the_formula_says(name, training, cycles):
    recipe = load_recipe(name)
    per_epoch = training // recipe.batch_size
    total = recipe.epochs * per_epoch
    n_s = recipe.schedule.n_s
    assert total == 2 * n_s * cycles
    rates = recipe.schedule.schedule(recipe.optimizer.lr, per_epoch, total).rates(range(total + 1))
    for t in {*range(0, total + 1, 37), n_s, 2 * n_s, total}:
        cycle, within = divmod(t, 2 * n_s)
        share = within / n_s if within <= n_s else (2 * (cycle + 1) * n_s - t) / n_s
        assert rates[t] == pytest.approx(1e-5 + share * (1e-1 - 1e-5), rel=1e-9)
    assert rates[n_s] == rates.max() == pytest.approx(0.1)


# Short trainings on small data.


def losses_on(dataset, name, settings, steps):
    """Mean losses of the first and the last tenth of a shortened training."""
    experiment = prepare(
        load_recipe(name, settings), dataset=dataset, config=ExecutionConfig("numpy", threads=1)
    )
    result = fit(experiment.trainer, steps, record_every=steps // 10, is_shortened=True)
    return result.history[0].training.loss, result.history[-1].training.loss


@pytest.mark.parametrize(
    ("name", "settings", "steps", "factor"),
    [
        ("mnist-lenet", [], 100, 0.3),
        ("cifar10-lenet-improved", [("steps", 100)], 100, 0.5),
        ("cifar10-softmax", [("optimizer.lr", 0.01)], 200, 0.5),
        ("cifar10-softmax-l2", [("optimizer.lr", 0.01)], 200, 0.6),
        ("cifar10-mlp-one-cycle", [("schedule.n_s", 50)], 100, 0.3),
        ("mnist-batchnorm", [("batch_size", 64), ("epochs", 1)], 40, 0.5),
    ],
)
def test_every_kind_of_system_learns_digits(name, settings, steps, factor):
    first, last = losses_on(load("digits"), name, settings, steps)
    assert last < factor * first


def test_the_tuned_network_learns_colours():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, 320)
    colours = generator.integers(40, 216, (10, 1, 1, 3))
    noise = generator.integers(-40, 40, (320, 16, 16, 3))
    samples = Samples((colours[labels] + noise).astype(np.uint8), labels)
    names = tuple("abcdefghij")
    dataset = Dataset("colours", samples, samples.take([]), names)
    settings = [("epochs", 4), ("data.validation", 0)]
    first, last = losses_on(dataset, "cifar10-deep-tuned", settings, 40)
    assert last < 0.5 * first


@pytest.mark.parametrize("name", ["regression-selu", "regression-relu"])
def test_regressions_learn_the_curve(name):
    settings = [("optimizer.lr", 4e-3)]
    experiment = prepare(load_recipe(name, settings), config=ExecutionConfig("numpy", threads=1))
    dataset = experiment.dataset
    before = experiment.trainer.evaluate(dataset.test).loss
    fit(experiment.trainer, 2000, is_shortened=True)
    after = experiment.trainer.evaluate(dataset.test)
    assert after.accuracy is None
    # The best constant is as wrong as the targets are scattered.
    assert after.loss < 0.5 * dataset.test.labels.var() < before


def test_regressions_leave_their_dark_intervals_out():
    recipe = load_recipe("regression-selu")
    x = prepare(recipe, config=ExecutionConfig("numpy")).dataset.training.images
    assert len(recipe.data.dark_intervals) == 2
    for left, right in recipe.data.dark_intervals:
        assert not ((x > left) & (x < right)).any()


def test_the_convolutions_of_the_batch_normalised_network_keep_the_size():
    layers = load_recipe("mnist-batchnorm").make_layers()
    shapes = Sequential(layers, (28, 28, 1)).shapes
    convolutions = [k for k, layer in enumerate(layers) if isinstance(layer, Conv2D)]
    assert [shapes[k + 1] for k in convolutions] == [(28, 28, 32), (14, 14, 64)]
    kinds = [layer.kind for layer in layers]
    assert kinds.count("batch_norm") == 3
    assert kinds[-2:] == ["dense", "log_softmax"]


@pytest.mark.skipif(
    DATA is None or not (Path(DATA) / "cifar10").is_dir(),
    reason="no cifar10 in the folder FASTCONV_DATA",
)
def test_fifty_images_are_learned_by_heart():
    experiment = prepare(
        load_recipe("cifar10-mlp-overfit"), config=ExecutionConfig("numpy", threads=1)
    )
    assert len(experiment.dataset.training) == 50
    fit(experiment.trainer, experiment.steps)
    assert experiment.trainer.evaluate(experiment.plain_training).correct >= 49
