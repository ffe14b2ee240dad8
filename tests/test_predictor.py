"""What a Predictor promises: right scores, plans that are kept, and nothing built or allocated."""

from __future__ import annotations

import copy
import pickle
import threading
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastconv
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.selection import NAMES, backend_state, load_module
from fastconv.data import DataError, Samples
from fastconv.execution import network_on_backend
from fastconv.inference import Inference
from fastconv.layers import BatchNorm, Conv2D, ConvTranspose2D, Dense, Dropout, Flatten, ReLU
from fastconv.optimizers import Optimizer
from fastconv.preprocessing import Preprocessing
from fastconv.recipe import load_recipe
from fastconv.schedules import Constant

BACKENDS = [name for name in NAMES if name != "cupy" and backend_state(name).works]
COMPILED = [name for name in BACKENDS if name != "numpy"]
SHAPE, CLASSES = (4, 3, 2), 3


def made_network(dtype="float32", classes=CLASSES, shape=SHAPE):
    layers = [Flatten(), Dropout(0.5), Dense(classes)]
    return fastconv.Sequential(layers, input_shape=shape, seed=1, dtype=dtype)


def made_images(count, seed=0, shape=SHAPE):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def made_predictor(network=None, backend="numpy", **options):
    options.setdefault("preprocessing", Preprocessing("scale"))
    return fastconv.Predictor(network or made_network(), backend=backend, **options)


def by_hand(network, images, factor=1 / 255):
    shape = len(images), np.prod(network.input_shape)
    x = factor * images.reshape(shape).astype(np.float64)
    return x @ network["dense_1.weight"].astype(float) + network["dense_1.bias"].astype(float)


# Scores.


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("count", [0, 1, 2, 16, 255, 256, 257, 600])
def test_scores_are_those_by_hand_for_any_number_of_images(backend, count):
    predictor, images = made_predictor(backend=backend), made_images(count)
    for found in (predictor(images), predictor.predict(images), predictor(images)):
        assert found.shape == (count, CLASSES)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, by_hand(predictor.network, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("own", ["float32", "float64"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_whole_numbers_of_any_type_have_the_same_scores(backend, own, dtype):
    predictor, images = made_predictor(made_network(own), backend), made_images(20)
    found = predictor(images.astype(dtype))
    assert found.dtype == own
    np.testing.assert_allclose(found, by_hand(predictor.network, images), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found, predictor(images))


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_may_lie_in_memory_in_any_way(backend):
    predictor, images = made_predictor(backend=backend), made_images(12)
    expected = by_hand(predictor.network, images[::-3])
    np.testing.assert_allclose(predictor(images[::-3]), expected, rtol=1e-4, atol=1e-5)
    turned = np.asfortranarray(images).astype(np.float64)
    expected = by_hand(predictor.network, images)
    np.testing.assert_allclose(predictor(turned), expected, rtol=1e-4, atol=1e-5)


def test_numbers_too_large_for_the_network_are_infinite_without_a_warning(recwarn):
    predictor = made_predictor(preprocessing=Preprocessing())
    assert not np.isfinite(predictor(np.full((1, *SHAPE), 1e300))).any()
    assert not recwarn.list


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_happens_to_a_batch_before_the_first_layer_happens_here_too(backend):
    mean, std = np.array([9.0, 7.0]), np.array([3.0, 5.0])
    preprocessing = Preprocessing("standardize", mean=mean, std=std)
    predictor = made_predictor(backend=backend, preprocessing=preprocessing)
    images = made_images(5)
    expected = by_hand(predictor.network, (images - mean) / std, factor=1)
    np.testing.assert_allclose(predictor(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(6, 5), (6, 1, 1, 5)])
def test_vectors_of_features_may_be_images_of_one_pixel(shape):
    network = fastconv.Sequential([Dense(CLASSES)], input_shape=(5,))
    x = np.random.default_rng(0).normal(size=shape)
    found = made_predictor(network)(x)
    np.testing.assert_allclose(found, by_hand(network, x), rtol=1e-4, atol=1e-5)


def test_an_output_may_be_an_image():
    network = fastconv.Sequential([Conv2D(2, 1), ReLU()], input_shape=SHAPE)
    images = made_images(5).astype(np.float32)
    kernel = network["conv2d_1.weight"].reshape(SHAPE[2], 2)
    expected = np.maximum(images @ kernel + network["conv2d_1.bias"], 0)
    found = made_predictor(network, preprocessing=Preprocessing())(images)
    assert found.shape == (5, 4, 3, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_parameters_are_read_as_they_are_at_each_call(backend):
    predictor, images = made_predictor(backend=backend), made_images(3)
    predictor(images)
    predictor.network["dense_1.weight"][...] = 0
    predictor.network["dense_1.bias"][...] = (1, -2, 3)
    np.testing.assert_array_equal(predictor(images), np.tile([1.0, -2.0, 3.0], (3, 1)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_scores_stay_what_they_were_when_others_are_predicted(backend):
    predictor = made_predictor(backend=backend)
    first = predictor(made_images(4))
    kept = first.copy()
    predictor(made_images(4, seed=1))
    np.testing.assert_array_equal(first, kept)


# Plans.


@pytest.fixture
def built(monkeypatch):
    """The batch sizes of the plans that are built."""
    sizes = []

    def build_plan(network, batch, *arguments):
        sizes.append(batch)
        return build(network, batch, *arguments)

    build = network_on_backend.build_plan
    monkeypatch.setattr(network_on_backend, "build_plan", build_plan)
    return sizes


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_plan_is_built_once_for_each_size_of_a_batch(backend, built):
    predictor = made_predictor(backend=backend)
    for _ in range(3):
        for count in (1, 16, 1, 256, 600):
            predictor(made_images(count))
    assert built == [1, 16, 256, 600 - 2 * 256]


def test_an_inference_and_a_trainer_keep_their_plans_too(built):
    inference = Inference(made_network(), backend="numpy")
    samples = Samples(made_images(10), np.zeros(10, np.int64))
    trainer = fastconv.Trainer(
        made_network(), samples, loss="softmax_cross_entropy", optimizer=Optimizer("sgd"),
        schedule=Constant(0.1), batch_size=5, backend="numpy",
    )  # fmt: skip
    for predict in (inference.predict, trainer.predict, trainer.predictor):
        for _ in range(3):
            predict(made_images(7))
    assert built == [5, 7, 7]


def test_eight_plans_are_kept_and_no_more(built, monkeypatch):
    run, there = load_module("numpy", "run"), weakref.WeakSet()

    class Counted(run.Runner):  # type: ignore[name-defined]
        def __init__(self, *arguments):
            super().__init__(*arguments)
            there.add(self)

    monkeypatch.setattr(run, "Runner", Counted)
    predictor = made_predictor()
    for count in range(1, 12):
        predictor(made_images(count))
    assert len(there) == 8
    del built[:]
    for count in (11, 4):
        predictor(made_images(count))
    assert built == []  # of the last eight
    predictor(made_images(3))
    assert built == [3]


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_a_second_prediction_allocates_its_result_alone(backend, dtype):
    """Between images of 4 MiB (as float32) and scores of 250 KiB, nothing else of size."""
    shape, classes = (128, 128, 1), 1000
    predictor = made_predictor(made_network(classes=classes, shape=shape), backend)
    images = made_images(64, shape=shape).astype(dtype)
    kept = predictor(images)
    tracemalloc.start()  # NumPy tells it of every array's memory
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        found = predictor(images)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.nbytes == 64 * classes * 4
    assert found.nbytes <= peak - before < found.nbytes + 4096  # and Python's own small objects
    np.testing.assert_array_equal(found, kept)


def test_one_image_of_lenet5_allocates_its_ten_scores_alone():
    network = load_recipe("lenet5").make_network((28, 28, 1))
    predictor = made_predictor(network, COMPILED[0])
    image = made_images(1, shape=(28, 28, 1))
    predictor(image)
    filters = [tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)]
    tracemalloc.start()
    try:
        kept = [predictor(image) for _ in range(50)]
        memory = tracemalloc.take_snapshot().filter_traces(filters).traces
        assert [trace.size for trace in memory] == [40] * len(kept)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        predictor(image)
        assert tracemalloc.get_traced_memory()[1] - before < 2048
    finally:
        tracemalloc.stop()


# Threads.


@pytest.mark.parametrize("backend", BACKENDS)
def test_predictions_from_many_threads_are_those_of_one(backend):
    predictor = made_predictor(backend=backend)
    batches = [made_images(count, seed) for seed, count in enumerate((1, 1, 1, 7, 7, 300))]
    expected = [predictor(images) for images in batches]

    def look(number):
        which = number % len(batches)
        np.testing.assert_array_equal(predictor(batches[which]), expected[which])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(look, range(600)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_prediction_beside_training_is_of_the_network_behind_some_step(backend):
    samples = Samples(made_images(500), np.arange(500) % CLASSES)
    image = made_images(1, seed=2)

    def made_trainer():
        return fastconv.Trainer(
            made_network(), samples, loss="softmax_cross_entropy", optimizer=Optimizer("sgd"),
            schedule=Constant(0.5), batch_size=5, backend=backend,
            preprocessing=Preprocessing("scale"),
        )  # fmt: skip

    twin = made_trainer()
    every = [by_hand(twin.network, image)]
    for _ in range(twin.steps_per_epoch):
        twin.train(1)
        every.append(by_hand(twin.network, image))
    trainer, found, begun = made_trainer(), [], threading.Event()

    def look():
        while trainer.step < trainer.steps_per_epoch:
            found.append(trainer.predictor(image))
            begun.set()

    thread = threading.Thread(target=look)
    thread.start()
    begun.wait()
    while trainer.step < trainer.steps_per_epoch:
        trainer.train(1)
    thread.join()
    distances = np.abs(np.array(every) - np.array(found)[:, None]).max(axis=(2, 3)).min(axis=1)
    assert distances.max() < 1e-4


# What is refused.


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (np.zeros(SHAPE, np.uint8), r"shape \(4, 3, 2\); expected \(N, 4, 3, 2\).*numpy.newaxis"),
        (np.zeros((2, 2, 4, 3), np.uint8), r"shape \(2, 2, 4, 3\); .*use images.reshape"),
        (np.zeros((2, 24), np.uint8), r"shape \(2, 24\); expected \(N, 4, 3, 2\)"),
        (np.zeros((), np.uint8), r"shape \(\); expected \(N, 4, 3, 2\)"),
        (np.zeros((1, *SHAPE), np.int64), "dtype <i8; expected native uint8, float32 or float64"),
        (np.zeros((1, *SHAPE), ">f4"), "dtype >f4; expected native"),
        (np.zeros((1, *SHAPE), bool), r"dtype \|b1; .*use images.astype"),
        (np.zeros((1, *SHAPE)).tolist(), r"images is a list; .*use numpy.asarray\(images\)"),
        (None, "images is a NoneType; expected a NumPy array"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(images, told):
    with pytest.raises(DataError, match=f"Predictor: .*{told}") as caught:
        made_predictor()(images)
    assert "\n" not in str(caught.value)


def test_a_preprocessing_that_does_not_fit_is_refused():
    preprocessing = Preprocessing("standardize", mean=np.zeros(3), std=np.ones(3))
    with pytest.raises(DataError, match=r"mean has 3 values; expected 2 \(one for each channel\)"):
        made_predictor(preprocessing=preprocessing)


# Elsewhere.


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
@pytest.mark.parametrize("kind", [fastconv.Predictor, Inference])
def test_it_can_be_sent_to_another_process(kind, copied):
    made, images = kind(made_network(), backend="numpy"), made_images(3)
    made.network["dense_1.bias"][...] = (1, -2, 3)
    expected = made.predict(images)
    again = copied(made)
    made.network["dense_1.bias"][...] = 0  # a copy of its own
    np.testing.assert_array_equal(again.predict(images), expected)
    assert again.config == made.config


# Frozen.


def convolutions(seed=1):
    """A network whose weights are packed, transformed, and read as they lie."""
    layers = [
        Conv2D(32), ReLU(), Conv2D(32), ReLU(), Conv2D(48, kernel=1), ConvTranspose2D(17, stride=2),
        BatchNorm(), Conv2D(24, stride=2), Flatten(), Dense(CLASSES),
    ]  # fmt: skip
    return fastconv.Sequential(layers, input_shape=(12, 8, 3), seed=seed)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("count", [1, 5, 32])
def test_a_frozen_predictor_has_the_bits_of_one_that_is_not(backend, count):
    images, network = made_images(count, shape=(12, 8, 3)), convolutions()
    expected = made_predictor(network, backend)(images)
    frozen = made_predictor(network, backend, frozen=True)
    for _ in range(3):
        np.testing.assert_array_equal(frozen(images), expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_frozen_predictor_keeps_its_parameters_until_it_is_told_of_others(backend):
    images, network = made_images(3, shape=(12, 8, 3)), convolutions()
    frozen = made_predictor(network, backend, frozen=True)
    before = frozen(images)
    network.parameters[...] = convolutions(seed=2).parameters
    network.state[...] += 0.5
    np.testing.assert_array_equal(frozen(images), before)
    of_another_plan = frozen(made_images(7, shape=(12, 8, 3)))[:3]
    np.testing.assert_allclose(of_another_plan, before, rtol=1e-4, atol=1e-5)
    frozen.parameters_changed()
    after = made_predictor(network, backend)(images)
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_array_equal(frozen(images), after)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_predictor_that_is_not_frozen_sees_each_step_of_training(backend):
    samples = Samples(made_images(8), np.arange(8) % CLASSES)
    trainer = fastconv.Trainer(
        made_network(), samples, loss="softmax_cross_entropy", optimizer=Optimizer("sgd"),
        schedule=Constant(0.5), batch_size=4, backend=backend,
        preprocessing=Preprocessing("scale"),
    )  # fmt: skip
    apart = made_predictor(trainer.network, backend)
    for _ in range(3):
        trainer.train(1)
        for predictor in (apart, trainer.predictor):
            predictor.parameters_changed()  # they know
            found = predictor(samples.images)
            expected = by_hand(trainer.network, samples.images)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", COMPILED)
def test_weights_of_a_frozen_predictor_are_packed_once(backend):
    images, network = made_images(2, shape=(12, 8, 3)), convolutions()

    def kernels(predictor):
        predictor(images)
        (plan,) = predictor._idle
        return {str(each.kernel) for each in plan._runner.instructions}

    packing = {Kernel.PACK_WEIGHTS, Kernel.WINOGRAD_WEIGHTS}
    assert packing & kernels(made_predictor(network, backend))
    assert not packing & kernels(made_predictor(network, backend, frozen=True))


def test_parameters_that_change_meanwhile_are_seen_by_none_or_all_of_a_prediction():
    network, image = made_network(), made_images(1)
    images = np.repeat(image, 600, axis=0)  # three turns
    predictor = made_predictor(network, COMPILED[0], frozen=True)
    stop = threading.Event()

    def change():
        while not stop.is_set():
            network["dense_1.weight"][...] *= -1
            predictor.parameters_changed()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(200):
            found = predictor(images)
            np.testing.assert_allclose(found, np.tile(found[0], (600, 1)), rtol=1e-4, atol=1e-5)
    finally:
        stop.set()
        thread.join()


def test_a_frozen_predictor_sends_its_own_parameters_elsewhere():
    network, images = made_network(), made_images(3)
    predictor = made_predictor(network, frozen=True)
    expected = predictor(images)
    network.parameters[...] = 3
    again = pickle.loads(pickle.dumps(predictor))
    assert again.frozen
    np.testing.assert_array_equal(again(images), expected)
    assert (network.parameters == 3).all()  # nothing of the network changed on the way
