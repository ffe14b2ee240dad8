"""What trainers and inferences promise to programs that keep them: threads, memory, live data."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastconv
from fastconv.backends.selection import NAMES, backend_state, load_module
from fastconv.data import DataError, Samples
from fastconv.execution.config import ExecutionConfig
from fastconv.execution.network_access import NetworkAccess
from fastconv.inference import Inference
from fastconv.layers import Dense, Dropout, Flatten, LogSoftmax, Softmax, Tanh
from fastconv.network import NetworkError
from fastconv.optimizers import Optimizer
from fastconv.preprocessing import Preprocessing
from fastconv.schedules import Constant
from fastconv.training_loop import fit

BACKENDS = [name for name in NAMES if name != "cupy" and backend_state(name).works]
SHAPE, FEATURES, CLASSES = (4, 3, 2), 24, 3
CROSS_ENTROPY, SQUARES = "softmax_cross_entropy", "mean_squared_error"


def made_samples(count: int = 20, seed: int = 0) -> Samples:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, *SHAPE), np.uint8)
    return Samples(images, generator.integers(0, CLASSES, count))


def made_network(*tail, seed: int = 1) -> fastconv.Sequential:
    return fastconv.Sequential([Flatten(), Dense(CLASSES), *tail], input_shape=SHAPE, seed=seed)


def made_inference(network=None, **options) -> Inference:
    options.setdefault("preprocessing", Preprocessing("scale"))
    config = ExecutionConfig(options.pop("backend", None))
    return Inference(network or made_network(), config=config, **options)


def made_trainer(samples, network=None, lr: float = 0.5, **options) -> fastconv.Trainer:
    options.setdefault("preprocessing", Preprocessing("scale"))
    options.setdefault("loss", CROSS_ENTROPY)
    return fastconv.Trainer(
        network or made_network(), samples, optimizer=Optimizer("sgd"), schedule=Constant(lr),
        batch_size=5, **options,
    )  # fmt: skip


def scores_by_hand(network, images) -> np.ndarray:
    x = images.reshape(len(images), -1) / 255.0
    return x @ network["dense_1.weight"].astype(float) + network["dense_1.bias"].astype(float)


def loss_by_hand(network, samples) -> float:
    scores = scores_by_hand(network, samples.images)
    wanted = scores[np.arange(len(scores)), samples.labels]
    return float((np.log(np.exp(scores).sum(axis=1)) - wanted).mean())


# Scores beside the score.


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("count", [1, 20, 256, 600])  # batches of 256, and a last short one
def test_an_evaluation_gives_the_scores_that_it_saw(backend, count):
    network, samples = made_network(), made_samples(count)
    inference = made_inference(network, backend=backend)
    plain = inference.evaluate(samples)
    scores = inference.empty_scores(samples)
    scores[...] = np.nan
    assert inference.evaluate(samples, scores=scores) == plain  # the same bits
    np.testing.assert_allclose(
        scores, scores_by_hand(network, samples.images), rtol=1e-5, atol=1e-5
    )
    assert inference.evaluate(samples) == plain


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_regression_gives_its_scores_too(backend):
    network = made_network()
    inference = made_inference(network, backend=backend, loss=SQUARES)
    images = made_samples(300).images
    samples = Samples(images, np.zeros((300, CLASSES), np.float32))
    scores = inference.empty_scores(samples)
    inference.evaluate(samples, scores=scores)
    np.testing.assert_allclose(scores, scores_by_hand(network, images), rtol=1e-5, atol=1e-5)


# Threads.


@pytest.mark.parametrize("backend", BACKENDS)
def test_evaluations_and_predictions_from_many_threads_are_those_of_one(backend):
    inference = made_inference(backend=backend)
    parts = [made_samples(count, seed) for seed, count in enumerate((600, 300, 300, 7, 256, 20))]
    expected = [loss_by_hand(inference.network, samples) for samples in parts]
    scores = [scores_by_hand(inference.network, samples.images) for samples in parts]

    def look(number):
        which = number % len(parts)
        if number % 7 == 0:
            found = inference.predict(parts[which].images)
            np.testing.assert_allclose(found, scores[which], rtol=1e-4, atol=1e-4)
        return which, inference.evaluate(parts[which])

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(look, range(120)))
    for which, score in found:
        assert score.samples == len(parts[which])
        assert score.loss == pytest.approx(expected[which], rel=1e-4)
        assert score == inference.evaluate(parts[which])  # to the last bit


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_evaluation_beside_training_is_of_the_network_behind_some_step(backend):
    samples, held = made_samples(500), made_samples(300, 1)
    twin = made_trainer(samples, backend=backend)
    losses = {loss_by_hand(twin.network, held)}
    for _ in range(twin.steps_per_epoch):
        twin.train(1)
        losses.add(loss_by_hand(twin.network, held))
    trainer = made_trainer(samples, backend=backend)
    found, begun = [], threading.Event()

    def evaluate():
        while trainer.step < trainer.steps_per_epoch:
            found.append(trainer.evaluate(held).loss)
            begun.set()

    thread = threading.Thread(target=evaluate)
    thread.start()
    begun.wait()
    while trainer.step < trainer.steps_per_epoch:
        trainer.train(1)
    thread.join()
    every = np.array(sorted(losses))
    for loss in found:
        assert np.abs(every - loss).min() < 1e-5 * loss
    np.testing.assert_array_equal(trainer.network.parameters, twin.network.parameters)


def test_whoever_waits_for_a_network_is_let_in_before_who_comes_again():
    access, order = NetworkAccess(), []

    def read():
        with access.reading():
            order.append("reader")

    access.begin_writing(lambda: None)
    reader = threading.Thread(target=read)
    reader.start()
    while not access._door.locked():  # until it waits
        pass
    access.end_writing()
    access.begin_writing(lambda: None)
    order.append("writer")
    access.end_writing()
    reader.join()
    assert order == ["reader", "writer"]


def test_readers_of_a_network_are_there_together_and_a_writer_is_alone():
    access, there = NetworkAccess(), threading.Barrier(2, timeout=10)

    def read():
        with access.reading():
            there.wait()  # broken if one had to wait for the other

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert not there.broken

    class Enough(Exception):
        pass

    def give_up():
        raise Enough

    with access.reading(), pytest.raises(Enough):
        access.begin_writing(give_up)
    access.begin_writing(give_up)  # nobody is left behind
    access.end_writing()


# Memory.


class _Runners:
    """Counts the runners of a backend that were made, and those that are there."""

    def __init__(self, monkeypatch, backend: str) -> None:
        run = load_module(backend, "run")
        made = self._made = []

        class Counted(run.Runner):  # type: ignore[name-defined]
            def __init__(self, *arguments) -> None:
                super().__init__(*arguments)
                made.append(weakref.ref(self))

        monkeypatch.setattr(run, "Runner", Counted)

    @property
    def made(self) -> int:
        return len(self._made)

    @property
    def there(self) -> int:
        return sum(runner() is not None for runner in self._made)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_kept_of_samples_goes_with_them(backend, monkeypatch):
    gc.disable()  # it goes at once, not when the collector comes by
    try:
        runners = _Runners(monkeypatch, backend)
        inference = made_inference(backend=backend)
        for seed in range(5):
            inference.evaluate(made_samples(300, seed))
            assert runners.there == 0
        samples = made_samples(300)
        images = weakref.ref(samples.images)
        inference.evaluate(samples)
        assert runners.there == 2  # for whole batches and for the rest
        del samples
        assert runners.there == 0
        assert images() is None
    finally:
        gc.enable()


def test_a_few_samples_are_kept_ready_and_no_more(monkeypatch):
    runners = _Runners(monkeypatch, "numpy")
    inference = made_inference(backend="numpy")
    many = [made_samples(10, seed) for seed in range(9)]
    for samples in many:
        inference.evaluate(samples)
    assert runners.there == 4
    made = runners.made
    inference.evaluate(many[-1])
    inference.evaluate(many[-4])
    assert runners.made == made
    inference.evaluate(many[0])  # in place of the one that was used longest ago
    inference.evaluate(many[-1])
    assert runners.made == made + 1
    assert runners.there == 4


def test_a_training_run_makes_the_runners_of_its_validation_once(monkeypatch):
    runners = _Runners(monkeypatch, "numpy")
    trainer = made_trainer(made_samples(), backend="numpy")
    fit(trainer, 12, validation=made_samples(300, 1), record_every=1)
    assert runners.made == 3


def test_samples_are_copied_to_a_device_once(monkeypatch):
    """A backend on the host stands for a device: it copies what is brought to it."""
    run = load_module("numpy", "run")
    copied = []

    def to_device(array):
        copied.append(array.shape)
        return array.copy()

    monkeypatch.setattr(run, "IS_ON_HOST", False)
    monkeypatch.setattr(run, "to_device", to_device)
    training, held = made_samples(20), made_samples(30, 1)
    trainer = made_trainer(training, backend="numpy")
    for _ in range(3):
        trainer.evaluate(training)
        trainer.evaluate(held)
    for seed in range(4):
        trainer.evaluate(made_samples(10, seed))
    trainer.evaluate(training)  # the runner is made again, the copy is the trainer's
    assert copied.count((20, *SHAPE)) == 1
    assert copied.count((30, *SHAPE)) == 1
    assert copied.count((10, *SHAPE)) == 4


# Arrays that are written to between two calls.

DTYPES = ["uint8", "float32", "float64"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_images_that_change_are_seen_by_evaluation_and_training(backend, dtype):
    made = made_samples(300)
    samples = Samples(made.images.astype(dtype), made.labels)
    trainer = made_trainer(samples, backend=backend, lr=1e-9)
    expected = loss_by_hand(trainer.network, samples)
    assert trainer.evaluate(samples).loss == pytest.approx(expected, rel=1e-4)
    trainer.train(1)
    samples.images[...] = 0  # all scores are 0
    assert trainer.evaluate(samples).loss == pytest.approx(np.log(CLASSES), rel=1e-5)
    assert trainer.train(2).loss == pytest.approx(np.log(CLASSES), rel=1e-5)
    samples.images[...] = 7
    expected = loss_by_hand(trainer.network, samples)
    assert trainer.evaluate(samples).loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("image_dtype", DTYPES)
def test_targets_that_change_are_seen_by_evaluation_and_training(backend, dtype, image_dtype):
    images = np.zeros((300, *SHAPE), image_dtype)
    samples = Samples(images, np.ones((300, CLASSES), dtype))
    trainer = made_trainer(samples, backend=backend, lr=1e-9, loss=SQUARES)
    assert trainer.evaluate(samples).loss == pytest.approx(1, rel=1e-6)  # all scores are 0
    assert trainer.train(1).loss == pytest.approx(1, rel=1e-6)
    samples.labels[...] = (1.5, 0, 3)
    assert trainer.evaluate(samples).loss == pytest.approx((1.5**2 + 3**2) / 3, rel=1e-6)
    assert trainer.train(2).loss == pytest.approx((1.5**2 + 3**2) / 3, rel=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("own", DTYPES[1:])
def test_images_of_either_size_of_numbers_teach_the_same(backend, own):
    """Whole numbers are the same in all dtypes, and so is what is learned from them."""
    made, learned = made_samples(), []
    for dtype in DTYPES:
        network = fastconv.Sequential(
            [Flatten(), Dense(CLASSES)], input_shape=SHAPE, seed=1, dtype=own
        )
        trainer = made_trainer(
            Samples(made.images.astype(dtype), made.labels), network, backend=backend
        )
        trainer.train(4)
        learned.append(network.parameters.copy())
    np.testing.assert_array_equal(learned[0], learned[1])
    np.testing.assert_array_equal(learned[0], learned[2])


# Labels that are none of the classes by then.


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("label", [-1, CLASSES, 1000, 10**12, -(2**63), 2**63 - 1])
def test_labels_that_leave_the_classes_are_refused_before_an_epoch(backend, label):
    samples = made_samples()
    trainer = made_trainer(samples, backend=backend)
    before = trainer.network.parameters.copy()
    samples.labels[:] = label
    with pytest.raises(DataError, match=f"the labels go from {label} to {label}; expected 0 to 2"):
        trainer.train(2)
    assert trainer.step == 0
    np.testing.assert_array_equal(trainer.network.parameters, before)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("label", [-1, CLASSES, 10**12])
@pytest.mark.parametrize(("tail", "loss"), [((), CROSS_ENTROPY), ((LogSoftmax(),), "nll")])
def test_labels_that_leave_the_classes_within_an_epoch_are_refused(backend, label, tail, loss):
    samples = made_samples()
    trainer = made_trainer(samples, made_network(*tail), backend=backend, loss=loss)
    trainer.train(1)
    samples.labels[::2] = label
    with pytest.raises(DataError, match="expected 0 to 2"):
        trainer.train(2)
    assert trainer.step == 3  # counted, for they were made
    assert np.isfinite(trainer.network.parameters).all()
    with pytest.raises(DataError, match="expected 0 to 2"):
        trainer.evaluate(samples)
    samples.labels[:] = 1
    assert np.isfinite(trainer.train(1).loss)
    assert np.isfinite(trainer.evaluate(samples).loss)


# Losses and what they take.


@pytest.mark.parametrize(
    ("tail", "loss", "told"),
    [
        ([Softmax()], CROSS_ENTROPY, "has its own softmax; leave the last softmax layer out"),
        ([Softmax(), Flatten()], CROSS_ENTROPY, "has its own softmax"),
        ([Softmax(), Dropout(0.5)], CROSS_ENTROPY, "has its own softmax"),
        ([], "nll", "end with log_softmax, not dense"),
        ([Softmax()], "nll", "end with log_softmax, not softmax"),
        ([LogSoftmax(), Tanh()], "nll", "end with log_softmax, not tanh"),
        ([LogSoftmax(), Dropout(0.5)], "nll", "end with log_softmax, not dropout"),
    ],
)
def test_a_loss_on_what_it_does_not_take_is_refused(tail, loss, told):
    network = made_network(*tail)
    for make in (
        lambda: made_inference(network, loss=loss),
        lambda: made_trainer(made_samples(), network, loss=loss),
    ):
        with pytest.raises(NetworkError, match=told):
            make()


@pytest.mark.parametrize(
    ("tail", "loss"),
    [
        ([], CROSS_ENTROPY),
        ([LogSoftmax()], CROSS_ENTROPY),  # of log-probabilities it gives these again
        ([LogSoftmax()], "nll"),
        ([LogSoftmax(), Flatten()], "nll"),
        ([Softmax(), Dense(CLASSES)], CROSS_ENTROPY),
    ],
)
def test_a_loss_on_what_it_takes_is_allowed(tail, loss):
    samples = made_samples()
    trainer = made_trainer(samples, made_network(*tail), loss=loss)
    if not tail or tail[0] == LogSoftmax():
        expected = loss_by_hand(trainer.network, samples)
        assert trainer.evaluate(samples).loss == pytest.approx(expected, rel=1e-4)
    trainer.train(2)


def test_squares_of_probabilities_are_allowed():
    samples = Samples(made_samples().images, np.full((20, CLASSES), 1 / 3, np.float32))
    assert made_trainer(samples, made_network(Softmax()), loss=SQUARES).train(1).loss < 1


def test_a_loss_that_there_is_not_is_named():
    with pytest.raises(ValueError, match="loss is 'hinge'; expected one of softmax_cross_entropy"):
        made_inference(loss="hinge")
