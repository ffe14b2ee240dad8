"""Training: what is visited, what is counted, what is reported, and what is learned."""

import itertools
import os
import time
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from fastconv.backends.selection import backend_state, load_module
from fastconv.data import DataError, Samples, epoch_order, load
from fastconv.execution.config import ExecutionConfig
from fastconv.inference import Score
from fastconv.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Sigmoid,
)
from fastconv.network import NetworkError, Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Augmentation, Preprocessing
from fastconv.recipe import load_recipe
from fastconv.recipes.schema import RecipeError
from fastconv.runs.experiment import prepare, summarize
from fastconv.schedules import Constant, Step
from fastconv.trainer import Trainer
from fastconv.training_loop import fit

DATA = os.environ.get("FASTCONV_DATA")
CROSS_ENTROPY = "softmax_cross_entropy"


def needs(dataset):
    there = DATA is not None and (Path(DATA) / dataset).is_dir()
    return pytest.mark.skipif(not there, reason=f"no {dataset} in the folder FASTCONV_DATA")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Products this small gain nothing from threads, and lose much where cores are busy."""
    with threadpool_limits(1):
        yield


def make_samples(count=23, seed=0):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 5, 4, 2), np.uint8)
    return Samples(images, generator.integers(0, 3, count))


def make_network(seed=1, layers=None, dtype="float64"):
    layers = layers or [Conv2D(3), ReLU(), Flatten(), Dense(3)]
    return Sequential(layers, (5, 4, 2), seed=seed, dtype=dtype)


def make_trainer(samples=None, network=None, **options):
    defaults = {
        "loss": CROSS_ENTROPY,
        "optimizer": Optimizer("momentum", l2=0.01),
        "schedule": Constant(0.05),
        "batch_size": 4,
        "preprocessing": Preprocessing("scale"),
        "seed": 7,
        "backend": "numpy",
    }
    samples = make_samples() if samples is None else samples
    network = make_network() if network is None else network
    return Trainer(network, samples, **{**defaults, **options})


def losses_by_hand(network, samples, indices):
    """Losses and right answers of the network as it is, in plain NumPy."""
    x = samples.images[indices].astype(np.float64) / 255
    w, b = network["conv2d_1.weight"], network["conv2d_1.bias"]
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    hidden = np.maximum(np.einsum("nijcab,abco->nijo", windows, w) + b, 0)
    scores = hidden.reshape(len(x), -1) @ network["dense_1.weight"] + network["dense_1.bias"]
    labels = samples.labels[indices]
    losses = np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(x)), labels]
    return losses, scores.argmax(axis=1) == labels


def assert_same(one, other):
    """Scores over the same samples, whose losses may be added in another order."""
    assert one.loss == pytest.approx(other.loss, rel=1e-12)
    assert (one.correct, one.samples) == (other.correct, other.samples)


class Watch:
    """Notes what the training loop tells."""

    def __init__(self):
        self.steps, self.records = [], []

    def on_steps(self, step, epoch, score):
        self.steps.append((step, epoch, score))

    def on_record(self, record):
        self.records.append(record)


# Reproducibility.


def weights_after(steps=12, **options):
    network = make_network(
        layers=[Conv2D(3), BatchNorm(), ReLU(), Dropout(0.2), Flatten(), Dense(3)], dtype="float32"
    )
    trainer = make_trainer(
        network=network, augmentation=Augmentation(flip=True, crop=1, rotation=10), **options
    )
    fit(trainer, steps)
    return np.concatenate([network.parameters, network.state])


def test_the_same_seed_gives_the_same_weights_bit_for_bit():
    np.testing.assert_array_equal(weights_after(), weights_after())


def test_another_seed_gives_other_weights():
    assert not np.array_equal(weights_after(seed=7), weights_after(seed=8))


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_a_recipe_run_twice_gives_the_same_weights(seed):
    def run():
        settings = [("seed", seed), ("epochs", 1), ("augmentation.rotation", 10)]
        experiment = prepare(load_recipe("digits", settings), config=ExecutionConfig("numpy"))
        fit(experiment.trainer, 20)
        return experiment.trainer.network.parameters.copy()

    np.testing.assert_array_equal(run(), run())


def test_the_seed_of_a_recipe_is_that_of_the_weights_too():
    first, second = (
        prepare(load_recipe("digits", [("seed", seed)])).trainer.network.parameters
        for seed in (0, 1)
    )
    assert not np.array_equal(first, second)


def test_steps_in_pieces_are_the_steps_at_once():
    whole, pieces = make_trainer(), make_trainer()
    whole.train(5)
    scores = [pieces.train(count) for count in (1, 3, 1)]
    np.testing.assert_array_equal(whole.network.parameters, pieces.network.parameters)
    assert sum(score.samples for score in scores) == 20


def test_validation_on_the_way_changes_nothing_of_the_training():
    plain, validated = make_trainer(), make_trainer()
    fit(plain, 12)
    fit(validated, 12, validation=make_samples(9, 3), record_every=2)
    np.testing.assert_array_equal(plain.network.parameters, validated.network.parameters)


# The order of the samples.


def visited(trainer, epochs):
    """Numbers of the samples in each step, as the plan gathered them."""
    rows = []
    for _ in range(epochs * trainer.steps_per_epoch):
        trainer.train(1)
        rows.append(trainer._runner.buffer("indices").tolist())
    return rows


def test_an_epoch_visits_every_sample_once():
    trainer = make_trainer(make_samples(24))
    rows = visited(trainer, 2)
    assert trainer.steps_per_epoch == 6
    first, second = (list(itertools.chain(*rows[part : part + 6])) for part in (0, 6))
    assert sorted(first) == sorted(second) == list(range(24))
    assert first != second
    assert first != list(range(24))


def test_a_last_short_batch_is_dropped_but_not_always_the_same_samples():
    trainer = make_trainer(make_samples(23))
    rows = visited(trainer, 3)
    assert trainer.steps_per_epoch == 5
    dropped = []
    for epoch in range(3):
        seen = list(itertools.chain(*rows[5 * epoch : 5 * epoch + 5]))
        assert len(seen) == len(set(seen)) == 20
        dropped.append(frozenset(range(23)) - set(seen))
        assert seen == epoch_order(23, 7, epoch)[:20].tolist()
    assert len(set(dropped)) > 1


def test_a_batch_as_large_as_the_data_is_allowed():
    trainer = make_trainer(make_samples(6), batch_size=6)
    assert sorted(visited(trainer, 1)[0]) == list(range(6))


def test_images_keep_their_labels():
    numbers = np.arange(8)
    images = np.zeros((8, 5, 4, 2), np.uint8)
    images[:, 0, 0, 0] = numbers
    trainer = make_trainer(Samples(images, numbers % 3), preprocessing=Preprocessing("none"))
    for _ in range(4):
        trainer.train(1)
        seen = trainer._runner.buffer("input")[:, 0, 0, 0]
        assert (trainer._runner.buffer("label") == seen % 3).all()


# What is counted.


def test_running_means_count_each_batch_before_its_update():
    samples = make_samples()
    trainer = make_trainer(samples)
    loss = correct = 0.0
    for step in range(5):
        chosen = epoch_order(23, 7, 0)[4 * step : 4 * step + 4]
        losses, right = losses_by_hand(trainer.network, samples, chosen)
        score = trainer.train(1)
        assert score.loss == pytest.approx(losses.mean(), rel=1e-12)
        assert score.accuracy == right.mean()
        loss, correct = loss + losses.sum(), correct + right.sum()
    whole = make_trainer(samples).train(5)
    assert whole.loss == pytest.approx(loss / 20, rel=1e-12)
    assert whole.accuracy == correct / 20
    assert whole.samples == 20


def test_losses_are_without_the_penalty():
    samples = make_samples()
    trainer = make_trainer(samples, optimizer=Optimizer(l2=100.0))
    losses, _ = losses_by_hand(trainer.network, samples, epoch_order(23, 7, 0)[:4])
    assert trainer.train(1).loss == pytest.approx(losses.mean(), rel=1e-12)


@pytest.mark.parametrize("count", [1, 10, 255, 256, 257, 600])
def test_evaluation_counts_every_sample_with_a_last_short_batch(count):
    samples = make_samples(count, 5)
    trainer = make_trainer()
    losses, right = losses_by_hand(trainer.network, samples, np.arange(count))
    before = trainer.network.parameters.copy()
    for _ in range(2):  # the plans are made once and used again
        score = trainer.evaluate(samples)
        assert score.samples == count
        assert score.loss == pytest.approx(losses.mean(), rel=1e-12)
        assert score.accuracy == right.mean()
    np.testing.assert_array_equal(trainer.network.parameters, before)


def test_evaluation_is_of_the_network_as_it_is_now():
    samples = make_samples(20, 5)
    trainer = make_trainer()
    first = trainer.evaluate(samples)
    trainer.train(5)
    second = trainer.evaluate(samples)
    losses, _ = losses_by_hand(trainer.network, samples, np.arange(20))
    assert second.loss == pytest.approx(losses.mean(), rel=1e-12)
    assert second.loss != first.loss


def test_evaluation_neither_drops_nor_augments():
    layers = [Dropout(0.9), Conv2D(3), ReLU(), Dropout(0.9), Flatten(), Dense(3)]
    samples = make_samples(20, 5)
    trainer = make_trainer(
        network=make_network(layers=layers), augmentation=Augmentation(flip=True, cutout=4)
    )
    losses, _ = losses_by_hand(trainer.network, samples, np.arange(20))
    assert trainer.evaluate(samples).loss == pytest.approx(losses.mean(), rel=1e-12)


def test_the_score_of_a_regression_has_no_accuracy():
    generator = np.random.default_rng(0)
    targets = generator.normal(size=(12, 3))
    samples = Samples(generator.normal(size=(12, 5, 4, 2)), targets)
    network = make_network(layers=[Flatten(), Dense(3)])
    trainer = make_trainer(
        samples, network, loss="mean_squared_error", preprocessing=Preprocessing("none")
    )
    flat = samples.images.reshape(12, -1)
    guesses = flat @ network["dense_1.weight"] + network["dense_1.bias"]
    expected = ((guesses - targets) ** 2).mean()
    score = trainer.evaluate(samples)
    assert score.loss == pytest.approx(expected, rel=1e-12)
    assert score.accuracy is None
    watch = Watch()
    result = fit(trainer, 9, validation=samples, observer=watch)
    assert result.training.accuracy is None
    assert result.training.loss < expected
    assert watch.records[0].validation.accuracy is None


def test_scores_add_up():
    total = Score(3.0, 1.0, 4.0) + Score(1.0, 3.0, 4.0)
    assert (total.loss, total.accuracy, total.samples) == (0.5, 0.5, 8.0)
    assert np.isnan(Score(0.0, 0.0, 0.0).loss)
    assert Score(0.0, 0.0, 0.0).accuracy is None


# The loop: how long, which lines, which means.


def test_a_run_of_several_epochs_reports_the_mean_of_the_last():
    trainer, twin = make_trainer(), make_trainer()
    result = fit(trainer, 15)
    twin.train(5)
    twin.train(5)
    assert_same(result.training, twin.train(5))
    assert result.stopped == "completed"
    assert trainer.step == 15
    np.testing.assert_array_equal(trainer.network.parameters, twin.network.parameters)


def test_a_run_shorter_than_an_epoch_reports_the_mean_of_all_its_steps():
    trainer, twin = make_trainer(), make_trainer()
    result = fit(trainer, 3, is_shortened=True)
    assert_same(result.training, twin.train(3))
    assert result.stopped == "steps"


def test_steps_go_over_as_many_epochs_as_they_need():
    trainer, twin = make_trainer(), make_trainer()
    watch = Watch()
    result = fit(trainer, 12, is_shortened=True, observer=watch)
    assert trainer.step == 12
    assert [(e.step, e.epoch) for e in result.history] == [(5, 1), (10, 2), (12, 3)]
    for count in (5, 5):
        twin.train(count)
    # The third epoch is unfinished: the mean is over what there is of it.
    assert_same(result.training, twin.train(2))
    assert result.history == watch.records


def test_lines_count_steps_and_do_not_care_for_epochs():
    result = fit(make_trainer(), 14, record_every=3)
    assert [(e.step, e.epoch) for e in result.history] == [
        (3, 1), (6, 2), (9, 2), (12, 3), (14, 3),
    ]  # fmt: skip
    assert [e.training.samples for e in result.history] == [12, 12, 12, 12, 8]


def test_lines_hold_the_validation_of_the_network_after_that_many_updates():
    validation = make_samples(9, 3)
    result = fit(make_trainer(), 10, validation=validation, record_every=4)
    twin = make_trainer()
    for record in result.history:
        while twin.step < record.step:
            twin.train(1)
        assert record.validation == twin.evaluate(validation)
    assert [record.step for record in result.history] == [4, 8, 10]
    assert result.validation == result.history[-1].validation


def test_without_validation_lines_have_none():
    result = fit(make_trainer(), 5)
    assert result.validation is None
    assert [record.validation for record in result.history] == [None]


def test_lines_give_the_rate_of_the_last_update_before_them():
    trainer = make_trainer(schedule=Step(0.8, every=4, factor=0.5))
    result = fit(trainer, 10, record_every=2)
    assert [record.learning_rate for record in result.history] == [0.8, 0.8, 0.4, 0.4, 0.2]


def test_the_times_of_the_lines_do_not_overlap():
    trainer, validation = make_trainer(), make_samples(50, 3)
    began = time.perf_counter()
    result = fit(trainer, 10, validation=validation, record_every=1)
    whole = time.perf_counter() - began
    assert all(record.seconds > 0 for record in result.history)
    assert sum(record.seconds for record in result.history) <= whole
    in_training = [record.train_seconds for record in result.history]
    assert in_training == sorted(in_training)
    # Validation counts in the one and not in the other.
    assert sum(record.seconds for record in result.history) > in_training[-1]


def test_the_observer_sees_the_mean_of_the_epoch_so_far():
    watch = Watch()
    fit(make_trainer(), 10, observer=watch)
    for step, epoch, score in watch.steps:
        assert epoch == (step - 1) // 5 + 1
        assert score.samples == 4 * (step - 5 * (epoch - 1))
    assert watch.steps[-1][0] == 10


def test_an_interruption_ends_the_run_with_what_there_is():
    asked = iter([False, True])
    validation = make_samples(9, 3)
    trainer = make_trainer(make_samples(4000), batch_size=1)
    result = fit(trainer, 9000, validation=validation, is_interrupted=lambda: next(asked))
    assert result.stopped == "interrupted"
    assert 2 <= trainer.step < 100
    assert result.history[-1].step == trainer.step
    assert result.history[-1].validation is None  # soon means without another evaluation


def test_a_loss_that_is_not_finite_ends_the_run():
    network = make_network()
    network["dense_1.bias"][1] = np.nan
    result = fit(make_trainer(network=network), 20, validation=make_samples(9, 3))
    assert result.stopped == "diverged"
    assert np.isnan(result.training.loss)
    assert result.history[-1].step < 20


@pytest.mark.parametrize("lr", [1e20, 1e300])
def test_a_rate_that_is_far_too_large_diverges_without_a_warning(lr):
    layers = [Conv2D(3), LeakyReLU(), Flatten(), Dense(8), LeakyReLU(), Dense(3)]
    trainer = make_trainer(
        network=make_network(layers=layers, dtype="float32"),
        optimizer=Optimizer("sgd"),
        loss=CROSS_ENTROPY,
        schedule=Constant(lr),
        preprocessing=Preprocessing("none"),
    )
    assert fit(trainer, 200).stopped == "diverged"  # warnings are errors here


def test_a_trainer_takes_no_steps_beyond_its_epoch():
    trainer = make_trainer()
    for steps in (0, 6, -1):
        with pytest.raises(ValueError, match=f"steps is {steps}; expected 1 to 5"):
            trainer.train(steps)
    trainer.train(4)
    assert trainer.steps_left_in_epoch() == 1
    trainer.train(1)
    assert (trainer.epoch, trainer.steps_left_in_epoch()) == (1, 5)


# Mistakes.


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"batch_size": 0}, "batch size is 0; expected an integer of 1 or more"),
        ({"batch_size": 24}, "batch size is 24 but there are 23 training samples"),
        ({"loss": "mean_squared_error"}, "labels are class numbers"),
        ({"network": Sequential([Flatten(), Dense(3)], (4, 5, 2))}, r"\(5, 4, 2\).*\(4, 5, 2\)"),
        ({"network": Sequential([Flatten(), Dense(3)], (40,))}, r"\(5, 4, 2\).*\(40,\)"),
        ({"network": Sequential([Conv2D(3)], (5, 4, 2))}, r"output is \(3, 2, 3\); expected a vec"),
        (
            {"samples": Samples(np.zeros((9, 5, 4, 2)), np.zeros((9, 3)))},
            "softmax_cross_entropy but the data set's labels are targets",
        ),
    ],
)
def test_data_that_does_not_fit_is_refused(options, told):
    with pytest.raises(DataError, match=told):
        make_trainer(**options)


@pytest.mark.parametrize(
    ("settings", "kind", "told"),
    [
        ([("batch_size", 1298)], DataError, "batch size is 1298 but there are 1297"),
        ([("layers.6.units", 7)], NetworkError, r"output is \(7,\) but digits has 10 classes"),
        ([("layers.0.kernel", 11)], NetworkError, "spans 11.*only 10"),
        ([("data.validation", 1297)], DataError, "data.validation is 1297 but there are 1297"),
        ([("data.training_batches", ["data_batch_1"])], RecipeError, "batches does nothing under"),
        ([("data.curve_seed", 1)], RecipeError, "data.curve_seed does nothing"),
        ([("data.dataset", "curve"), ("data.test_noise", -1)], RecipeError, "test_noise is -1"),
        ([("data.training_samples", 1298)], DataError, "1298 but there are 1297 training samples"),
        (
            [("preprocessing.kind", "standardize"), ("preprocessing.mean", [0.5, 0.5]),
             ("preprocessing.std", [1, 1])],
            DataError,
            "preprocessing mean has 2 values; expected 1 ",
        ),
        (
            [("data.dataset", "cifar10"), ("data.training_batches", ["data_batch_9"])],
            RecipeError,
            "data_batch_9",
        ),
    ],
)  # fmt: skip
def test_recipes_that_do_not_fit_their_data_are_refused(settings, kind, told, tmp_path):
    with pytest.raises(kind, match=told):
        prepare(load_recipe("digits", settings), data_dir=tmp_path)


# From a recipe to an experiment.


def test_validation_is_held_out_of_the_training_part():
    digits = load("digits")
    held = prepare(load_recipe("digits", [("data.validation", 97)]))
    assert len(held.dataset.training) == 1200
    np.testing.assert_array_equal(held.dataset.validation.labels, digits.training.labels[-97:])
    assert held.steps == 20 * (1200 // 32)
    none = prepare(load_recipe("digits", [("data.validation", 0)]))
    assert none.dataset.validation is None
    assert len(none.dataset.training) == 1297
    own = prepare(load_recipe("digits"))
    assert len(own.dataset.validation) == len(digits.validation) == 200


def test_the_first_training_samples_are_those_that_are_left_after_validation():
    digits = load("digits").training
    settings = [("data.validation", 97), ("data.training_samples", 50)]
    dataset = prepare(load_recipe("digits", settings)).dataset
    np.testing.assert_array_equal(dataset.training.images, digits.images[:50])
    np.testing.assert_array_equal(dataset.training.labels, digits.labels[:50])
    np.testing.assert_array_equal(dataset.validation.labels, digits.labels[-97:])
    kept = prepare(load_recipe("digits", [("data.training_samples", 1297)])).dataset
    assert len(kept.training) == 1297
    assert len(kept.validation) == 200


def test_an_appended_copy_doubles_the_training_set():
    settings = [("augmentation.mode", "append"), ("augmentation.rotation", 15)]
    experiment = prepare(load_recipe("digits", settings))
    images = experiment.dataset.training.images
    assert len(images) == 2 * 1297
    np.testing.assert_array_equal(images[:1297], load("digits").training.images)
    assert not np.array_equal(images[1297:], images[:1297])
    labels = experiment.dataset.training.labels
    np.testing.assert_array_equal(labels[1297:], labels[:1297])
    assert len(experiment.dataset.test) == 300


def test_standardised_pixels_have_mean_zero_and_deviation_one():
    settings = [("preprocessing.kind", "standardize"), ("preprocessing.per", "channel")]
    recipe = load_recipe("digits", [*settings, ("batch_size", 1297)])
    trainer = prepare(recipe, config=ExecutionConfig("numpy")).trainer
    trainer.train(1)
    x = trainer._runner.buffer("input").astype(np.float64)
    assert x.mean() == pytest.approx(0, abs=1e-5)
    assert x.std() == pytest.approx(1, abs=1e-5)


def test_given_means_are_of_pixels_up_to_one():
    settings = [
        ("preprocessing.kind", "standardize"),
        ("preprocessing.mean", [0.5]),
        ("preprocessing.std", [0.25]),
        ("batch_size", 1297),
    ]
    experiment = prepare(load_recipe("digits", settings), config=ExecutionConfig("numpy"))
    experiment.trainer.train(1)
    runner = experiment.trainer._runner
    raw = experiment.dataset.training.images[runner.buffer("indices")]
    expected = (raw / 255 - 0.5) / 0.25
    np.testing.assert_allclose(runner.buffer("input"), expected, atol=1e-5)


def test_a_schedule_has_the_recipes_own_length():
    settings = [("schedule.kind", "cosine"), ("optimizer.lr", 0.1), ("schedule.final", 0)]
    schedule = prepare(load_recipe("digits", settings)).trainer.schedule
    assert schedule.rates([0, 400, 800]) == pytest.approx([0.1, 0.05, 0])  # 20 epochs of 40


def test_the_summary_of_a_run_follows_from_its_parts():
    experiment = prepare(
        load_recipe("digits", [("optimizer.l2", 0.5)]), config=ExecutionConfig("numpy", 3)
    )
    trainer, dataset = experiment.trainer, experiment.dataset
    result = fit(trainer, 50, validation=dataset.validation, is_shortened=True)
    test, final = trainer.evaluate(dataset.test), trainer.evaluate(dataset.training)
    numbers = summarize(experiment, result, test=test, train_final=final)
    assert {"recipe": "digits", "backend": "numpy", "threads": 3, "batch_size": 32, "seed": 0,
            "steps": 50, "epochs": 1.25, "parameters": 9930, "stopped": "steps"}.items() <= (
        numbers.items()
    )  # fmt: skip
    assert numbers["step_ms"] == pytest.approx(1000 * numbers["train_seconds"] / 50)
    assert numbers["samples_per_second"] == pytest.approx(1600 / numbers["train_seconds"])
    assert numbers["train_loss"] == result.training.loss
    assert numbers["train_loss_final"] == final.loss
    assert numbers["train_accuracy_final"] == final.accuracy
    assert numbers["validation_accuracy"] == result.validation.accuracy
    assert numbers["test_loss"] == test.loss
    weights = [a for name, a in trainer.network.named_arrays().items() if "weight" in name]
    squares = sum(float((w.astype(np.float64) ** 2).sum()) for w in weights)
    assert numbers["penalty"] == pytest.approx(0.5 * squares, rel=1e-12)
    assert numbers["peak_rss_mib"] is None or numbers["peak_rss_mib"] > 10
    again = prepare(load_recipe("digits"), config=ExecutionConfig("numpy"))
    numbers = summarize(again, fit(again.trainer, 3), test=None, train_final=None)
    for key in ("validation_loss", "validation_accuracy", "test_loss", "test_accuracy",
                "train_loss_final", "train_accuracy_final"):  # fmt: skip
        assert numbers[key] is None


def test_a_plan_that_is_replayed_with_a_rate_of_zero_changes_nothing():
    network = make_network()
    spec = Optimizer("sgd", l2=0.1, weight_decay=0.1, decay_mode="decoupled").spec(network)
    samples = make_samples()
    plan = build_plan(network, 4, Purpose(True, True, CROSS_ENTROPY, spec), Source(23))
    before = network.parameters.copy()
    runner = load_module("numpy", "run").Runner(
        plan,
        {"images": samples.images, "labels": samples.labels, "parameters": network.parameters,
         "state": network.state, "gradients": np.zeros_like(network.parameters)},
    )  # fmt: skip
    runner.run(np.arange(8).reshape(2, 4), np.zeros(2))
    np.testing.assert_array_equal(network.parameters, before)


# What is learned.


def test_the_digits_recipe_gets_97_percent_of_the_test_right():
    experiment = prepare(load_recipe("digits"), config=ExecutionConfig("numpy"))
    dataset, trainer = experiment.dataset, experiment.trainer
    result = fit(trainer, experiment.steps, validation=dataset.validation)
    assert result.stopped == "completed"
    assert result.training.accuracy > 0.99
    assert result.validation.accuracy >= 0.97
    assert trainer.evaluate(dataset.test).accuracy >= 0.97


def test_a_regression_learns_a_linear_map():
    generator = np.random.default_rng(0)
    x, w = generator.normal(size=(200, 1, 1, 4)), generator.normal(size=(4, 2))
    samples = Samples(x, x[:, 0, 0] @ w + 3)
    network = Sequential([Dense(2)], (4,), dtype="float64")
    trainer = Trainer(
        network, samples, loss="mean_squared_error", optimizer=Optimizer("sgd"),
        schedule=Constant(0.1), batch_size=10, backend="numpy",
    )  # fmt: skip
    fit(trainer, 800)
    np.testing.assert_allclose(network["dense_1.weight"], w, atol=1e-6)
    np.testing.assert_allclose(network["dense_1.bias"], 3, atol=1e-6)


def test_exclusive_or_is_learned():
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32).reshape(4, 1, 1, 2)
    samples = Samples(x, np.array([0, 1, 1, 0]))
    network = Sequential([Dense(8), Sigmoid(), Dense(2)], (2,), seed=2)
    trainer = Trainer(
        network, samples, loss=CROSS_ENTROPY, optimizer=Optimizer("adam"),
        schedule=Constant(0.05), batch_size=4, backend="numpy",
    )  # fmt: skip
    fit(trainer, 400)
    assert trainer.evaluate(samples).accuracy == 1.0


@needs("mnist")
def test_mnist_strided_learns_from_4000_images():
    experiment = prepare(load_recipe("mnist-strided"), config=ExecutionConfig("numpy"))
    result = fit(experiment.trainer, 4000, record_every=1000, is_shortened=True)
    losses = [record.training.loss for record in result.history]
    assert losses == sorted(losses, reverse=True)
    # Chance is 10 %; the whole recipe is 55000 images.
    assert experiment.trainer.evaluate(experiment.dataset.test).accuracy > 0.8


@pytest.mark.slow
@needs("cifar10")
def test_the_loss_of_cifar10_deep_falls():
    experiment = prepare(
        load_recipe("cifar10-deep", [("batch_size", 100)]), config=ExecutionConfig("numpy")
    )
    result = fit(experiment.trainer, 20, record_every=5, is_shortened=True)
    losses = [record.training.loss for record in result.history]
    # The first is that of weights of std 0.1, above chance (log 10 = 2.303).
    assert losses[0] > 2.303
    assert losses[-1] < 0.9 * losses[0]
    assert all(np.isfinite(losses))


@pytest.mark.parametrize("backend", ["numpy", "numba", "cython"])
def test_three_convolutions_learn_the_digits_by_plain_gradient_descent(backend):
    """What updates in the wrong order once kept the compiled backends from."""
    if not backend_state(backend).works:
        pytest.skip(backend_state(backend).reason)
    digits = load("digits")
    layers = [Conv2D(8, padding=1), ReLU(), Conv2D(16, padding=1), ReLU(), MaxPool2D(2),
              Conv2D(16, padding=1), ReLU(), Flatten(), Dense(10)]  # fmt: skip
    trainer = Trainer(
        Sequential(layers, digits.image_shape, seed=0), digits.training,
        loss="softmax_cross_entropy", optimizer=Optimizer("sgd"), schedule=Constant(0.2),
        batch_size=16, preprocessing=Preprocessing("min_max"), backend=backend,
    )  # fmt: skip
    fit(trainer, 15 * trainer.steps_per_epoch)
    assert trainer.evaluate(digits.test).accuracy >= 0.97
