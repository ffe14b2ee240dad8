"""What is left of an epoch behind its whole batches: dropped, or a step of its own."""

import json

import numpy as np
import pytest

from fastconv import train as train_command
from fastconv.backends.selection import backend_state
from fastconv.data import DataError, Samples, epoch_order
from fastconv.execution.checkpoint import CheckpointError
from fastconv.layers import Dense, Flatten
from fastconv.network import Sequential
from fastconv.preprocessing import Augmentation
from fastconv.recipe import load_recipe
from fastconv.spec import SpecError
from fastconv.trainer import Trainer
from fastconv.training_loop import fit

BACKENDS = [name for name in ("numpy", "numba", "cython") if backend_state(name).works]
COUNT, BATCH = 22, 5
RATE = 0.1


def samples_of(count=COUNT):
    generator = np.random.default_rng(0)
    x, target = generator.normal(size=(count, 1, 1, 3)), generator.normal(size=(count, 1))
    return Samples(x, target)


def make_trainer(backend, count=COUNT, last_batch="keep", **more):
    network = Sequential([Dense(1)], (3,), dtype="float64", seed=1)
    return Trainer(
        network, samples_of(count), loss="mean_squared_error", optimizer="sgd", schedule=RATE,
        batch_size=BATCH, last_batch=last_batch, seed=4, backend=backend, **more,
    )  # fmt: skip


def epochs_by_hand(epochs):
    """Least squares by gradient descent: the weights, and the loss of each epoch."""
    network = Sequential([Dense(1)], (3,), dtype="float64", seed=1)
    w, b = (network.named_arrays()[f"dense_1.{name}"].copy() for name in ("weight", "bias"))
    samples, losses = samples_of(), []
    for epoch in range(epochs):
        order, total = epoch_order(COUNT, 4, epoch), 0.0
        for first in range(0, COUNT, BATCH):
            chosen = order[first : first + BATCH]
            x, target = samples.images[chosen].reshape(-1, 3), samples.labels[chosen]
            error = x @ w + b - target
            total += float((error**2).sum())
            w -= RATE * 2 * x.T @ error / len(x)
            b -= RATE * 2 * error.mean(axis=0)
        losses.append(total / COUNT)
    return w, b, losses


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_sample_of_an_epoch_is_learned_and_the_short_step_is_a_mean_of_its_own(backend):
    trainer = make_trainer(backend)
    assert trainer.steps_per_epoch == 5
    result = fit(trainer, 10)
    w, b, losses = epochs_by_hand(2)
    arrays = trainer.network.named_arrays()
    np.testing.assert_allclose(arrays["dense_1.weight"], w, rtol=0, atol=1e-12)
    np.testing.assert_allclose(arrays["dense_1.bias"], b, rtol=0, atol=1e-12)
    np.testing.assert_allclose([r.training.loss for r in result.history], losses, rtol=1e-12)
    assert [r.training.samples for r in result.history] == [COUNT, COUNT]


@pytest.mark.parametrize("backend", BACKENDS)
def test_pieces_and_single_steps_come_out_as_the_whole(backend):
    whole, pieces = make_trainer(backend), make_trainer(backend)
    score = [whole.train(5), whole.train(5)][1]
    pieces.train(2)
    pieces.train(3)
    first = pieces.train(3)
    second = pieces.train(1, since=first)
    third = pieces.train(1, since=second)
    np.testing.assert_array_equal(pieces.network.parameters, whole.network.parameters)
    assert third == score


@pytest.mark.parametrize("stop", [3, 5, 9])
def test_a_training_goes_on_from_a_checkpoint_bit_for_bit(stop):
    whole, begun, rest = (make_trainer("numpy") for _ in range(3))
    fit(whole, 10)
    fit(begun, stop)
    rest.restore(begun.checkpoint())
    fit(rest, 10)
    np.testing.assert_array_equal(rest.network.parameters, whole.network.parameters)
    with pytest.raises(CheckpointError, match="last_batch is keep; the trainer's is drop"):
        make_trainer("numpy", last_batch="drop").restore(begun.checkpoint())


def test_on_step_is_told_the_mean_over_the_samples_of_each_step():
    told = []

    class Listener:
        def on_step(self, trainer, loss):
            told.append(loss)

    result = fit(make_trainer("numpy"), 5, callbacks=[Listener()])
    counts = [5, 5, 5, 5, 2]
    assert np.dot(told, counts) / COUNT == pytest.approx(result.history[0].training.loss)


def test_steps_know_their_samples():
    trainer = make_trainer("numpy")
    assert [trainer.samples_of(1, step) for step in range(6)] == [5, 5, 5, 5, 2, 5]
    assert trainer.samples_of(10) == 2 * COUNT
    dropping = make_trainer("numpy", last_batch="drop")
    assert (dropping.steps_per_epoch, dropping.samples_of(8)) == (4, 40)


def test_a_whole_number_of_batches_needs_no_second_plan():
    trainer = make_trainer("numpy", count=20)
    assert trainer.steps_per_epoch == 4
    assert trainer._short_runner is None


def test_what_does_not_go_together_is_named():
    with pytest.raises(SpecError, match="last_batch is 'pad'; expected 'drop' or 'keep'"):
        make_trainer("numpy", last_batch="pad")
    with pytest.raises(SpecError, match="last_batch is 'keep'; expected 'drop' beside accumulate"):
        make_trainer("numpy", accumulate=2)
    with pytest.raises(DataError, match="batch size is 5 but there are 4 training samples"):
        make_trainer("numpy", count=4)
    with pytest.raises(ValueError, match="last_batch is 'keep' beside accumulate = 2"):
        load_recipe("digits", [("last_batch", "keep"), ("accumulate", 2)])


@pytest.mark.parametrize("backend", BACKENDS)
def test_mixed_and_alternating_images_go_through_the_short_step_too(backend):
    generator = np.random.default_rng(0)
    samples = Samples(
        generator.integers(0, 256, (11, 4, 4, 1), np.uint8), generator.integers(0, 2, 11)
    )
    made = []
    for name in ("numpy", backend):
        network = Sequential([Flatten(), Dense(2)], (4, 4, 1), dtype="float64")
        trainer = Trainer(
            network, samples, loss="softmax_cross_entropy", optimizer="sgd", schedule=0.1,
            batch_size=4, last_batch="keep", preprocessing="scale", backend=name,
            augmentation=Augmentation(mixup=0.3, alternating_flip=True),
        )  # fmt: skip
        fit(trainer, 6)
        made.append(trainer.network.parameters)
    np.testing.assert_allclose(made[1], made[0], rtol=0, atol=1e-12)


def test_a_run_keeps_it_by_its_recipe(tmp_path):
    out = tmp_path / "run"
    arguments = ["--recipe", "digits", "--no-report", "--quiet", "--backend", "numpy"]
    settings = ["--set", "last_batch=keep", "--set", "epochs=1", "--set", "batch_size=1000"]
    assert train_command.main([*arguments, *settings, "--out", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["steps"] == 2
    assert summary["epochs"] == 1
    assert 'last_batch = "keep"' in (out / "recipe.toml").read_text()
