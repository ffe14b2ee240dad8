"""Loss and gradient at a vector of parameters, for optimisers that others wrote."""

import copy
import pickle
import threading
import tracemalloc

import numpy as np
import pytest
from backend_states import say_that
from cuda_on_host import HostDevice, standing_in
from network_functions import (
    BACKENDS,
    CASES,
    CLASSES,
    NETWORKS,
    N,
    flat_gradient_of_torch,
    made_batch,
    made_network,
    outputs_of_torch,
)
from numpy.testing import assert_allclose, assert_array_equal
from optional_torch import functional, needs_torch, torch
from scipy.optimize import minimize
from vectorised_reference import VectorisedRunner

import fastconv
from fastconv.data import DataError, Samples
from fastconv.execution import network_on_backend
from fastconv.layers import BatchNorm, Conv2D, Dense, Flatten, Tanh
from fastconv.network import NetworkError
from fastconv.network_function import NetworkFunction
from fastconv.optimizers import Optimizer
from fastconv.plans.loss import Loss
from fastconv.plans.plan_builder import Purpose, Source, build_plan

BACKEND = pytest.mark.parametrize("backend", BACKENDS)
WEIGHTS = np.array([0.0, 1, 2, 0.5, 1, 3])


def by_reference(network, images, labels, loss="softmax_cross_entropy"):
    """The mean loss and its gradient as the oracle's kernels make them, in training mode."""
    loss, size = Loss.of(loss), len(images)
    purpose = Purpose(True, True, loss)
    plan = build_plan(network, size, purpose, Source(size, "float64"))
    shared = {
        "images": images.reshape(size, *(1, 1, *network.input_shape)[-3:]),
        "labels": labels, "targets": labels, "parameters": network.parameters,
        "state": network.state.copy(), "gradients": np.zeros_like(network.parameters),
        **loss.constants("float64"),
    }  # fmt: skip
    loss_sum, _, count, *weight = VectorisedRunner(plan, shared).run(np.arange(size)[None])
    return loss_sum / (weight[0] if weight else count), shared["gradients"]


def by_torch(network, images, labels, *, training=True, step=0, weights=None):
    """The mean loss and its gradient by PyTorch's own differentiation."""
    scores, arrays = outputs_of_torch(network, images, training=training, step=step)
    losses = functional.cross_entropy(scores, torch.from_numpy(labels), reduction="none")
    own = torch.ones(len(losses)) if weights is None else torch.from_numpy(weights)
    value = (losses * own).sum() / own.sum()
    value.backward()
    return float(value.detach()), flat_gradient_of_torch(network, arrays)


# The right numbers.


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_loss_and_gradient_are_those_of_the_oracle(name, backend):
    network = made_network(name)
    images, labels = made_batch(network)
    expected, expected_gradient = by_reference(network, images, labels)
    value, gradient = network.value_and_gradient(None, images, labels, backend=backend)
    assert_allclose(value, expected, rtol=1e-12)
    assert_allclose(gradient, expected_gradient, rtol=1e-9, atol=1e-12)


@BACKEND
@pytest.mark.parametrize(
    "loss",
    [
        Loss(class_weights=(1.0, 3.0, 0.5), label_smoothing=0.1),
        "mean_squared_error",
        Loss("huber", delta=0.5),
        "binary_cross_entropy_with_logits",
    ],
)
def test_other_losses_are_those_of_the_oracle(loss, backend):
    network = made_network("dense")
    images, labels = made_batch(network)
    if not Loss.of(loss).takes_labels:
        labels = np.random.default_rng(2).uniform(size=(N, CLASSES))
    expected, expected_gradient = by_reference(network, images, labels, loss)
    value, gradient = network.value_and_gradient(
        None, images, labels.tolist(), loss=loss, backend=backend
    )
    assert_allclose(value, expected, rtol=1e-12)
    assert_allclose(gradient, expected_gradient, rtol=1e-9, atol=1e-12)


@needs_torch
@BACKEND
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_loss_and_gradient_are_those_of_pytorch_in_both_modes(name, training, backend):
    network = made_network(name)
    images, labels = made_batch(network)
    expected, expected_gradient = by_torch(network, images, labels, training=training, step=7)
    value, gradient = network.value_and_gradient(
        None, images, labels, training=training, step=7, backend=backend
    )
    assert_allclose(value, expected, rtol=1e-9)
    assert_allclose(gradient, expected_gradient, rtol=1e-7, atol=1e-10)


@needs_torch
@BACKEND
def test_samples_count_by_their_weights_as_in_pytorch(backend):
    network = made_network("dense")
    images, labels = made_batch(network)
    expected, expected_gradient = by_torch(network, images, labels, weights=WEIGHTS)
    value, gradient = network.value_and_gradient(
        None, images, labels, sample_weights=WEIGHTS, backend=backend
    )
    assert_allclose(value, expected, rtol=1e-12)
    assert_allclose(gradient, expected_gradient, rtol=1e-9, atol=1e-12)


@BACKEND
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["normalised", "dropped", "branches"])
def test_the_gradient_is_the_slope_along_any_direction(name, training, backend):
    network = made_network(name)
    images, labels = made_batch(network)
    theta, h = network.parameters.copy(), 1e-6

    def value(theta):
        return network.value_and_gradient(
            theta, images, labels, training=training, step=3, backend=backend
        )[0]

    _, gradient = network.value_and_gradient(
        theta, images, labels, training=training, step=3, backend=backend
    )
    for direction in np.random.default_rng(1).normal(size=(3, theta.size)):
        slope = (value(theta + h * direction) - value(theta - h * direction)) / (2 * h)
        assert_allclose(gradient @ direction, slope, rtol=1e-6, atol=1e-8)


@BACKEND
@pytest.mark.parametrize("size", [1, 4, 5, 6, 100])
def test_parts_of_the_samples_have_the_mean_of_all(size, backend):
    network = made_network("convolutions")
    images, labels = made_batch(network)
    given = {"sample_weights": WEIGHTS, "backend": backend}
    value, gradient = network.value_and_gradient(None, images, labels, **given)
    out = np.full(network.parameters.size, np.nan)
    parts = network.value_and_gradient(None, images, labels, batch_size=size, out=out, **given)
    assert parts[0] == pytest.approx(value, rel=1e-12)
    assert_allclose(out, gradient, rtol=1e-9, atol=1e-12)


def test_by_hand():
    """Scores (0, log 3): probabilities 1/4 and 3/4, a loss of log 4 where the first is right."""
    network = fastconv.Sequential([Dense(2)], input_shape=(1,), dtype="float64")
    theta = np.zeros_like(network.parameters)
    network.gradient_views(theta)["dense_1.bias"][...] = 0, np.log(3)
    value, gradient = network.value_and_gradient(theta, np.array([[2.0]]), [0])
    assert value == pytest.approx(np.log(4))
    views = network.gradient_views(gradient)
    assert_allclose(views["dense_1.bias"], [-0.75, 0.75])
    assert_allclose(views["dense_1.weight"], [[-1.5, 1.5]])


@BACKEND
def test_in_float32_it_is_within_its_precision(backend):
    network = made_network("convolutions", "float32")
    images, labels = made_batch(network)
    double = made_network("convolutions")
    double.parameters[...] = network.parameters
    expected, expected_gradient = by_reference(double, images, labels)
    value, gradient = network.value_and_gradient(None, images, labels, backend=backend)
    assert gradient.dtype == np.float32
    assert_allclose(value, expected, rtol=1e-5)
    assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-6)


# What it leaves behind.


def test_theta_stays_in_the_network_and_gaps_have_no_gradient():
    network = made_network("dense", "float32")
    images, labels = made_batch(network)
    theta = np.random.default_rng(0).normal(size=network.parameters.size)  # gaps too
    _, gradient = network.value_and_gradient(theta, images, labels)
    assert_array_equal(network.parameters, theta.astype(np.float32))
    assert gradient.dtype == np.float64  # as theta, which SciPy wants
    named = np.zeros(theta.size, bool)
    for view in network.gradient_views(named).values():
        view[...] = True
    assert not gradient[~named].any()
    assert (~named).any()


def test_training_mode_brings_the_statistics_on_as_a_training_step_does():
    network = made_network("normalised")
    images, labels = made_batch(network)
    trained = copy.deepcopy(network)
    trainer = fastconv.Trainer(
        trained, Samples(images, labels), loss="softmax_cross_entropy", optimizer="sgd",
        schedule=0.1, batch_size=N, backend="numpy",
    )  # fmt: skip
    trainer.train(1)
    before = network.state.copy()
    network.value_and_gradient(None, images, labels, training=False, backend="numpy")
    assert_array_equal(network.state, before)
    network.value_and_gradient(None, images, labels, backend="numpy")
    assert not np.array_equal(network.state, before)
    assert_allclose(network.state, trained.state, rtol=1e-12)  # samples in another order


def test_the_same_step_drops_the_same_and_another_one_others():
    network = made_network("dropped")
    images, labels = made_batch(network)
    found = [
        network.value_and_gradient(None, images, labels, seed=seed, step=step)[0]
        for seed, step in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    assert found[0] == found[1]
    assert len(set(found)) == 3


@BACKEND
def test_a_loop_of_ones_own_makes_the_steps_of_a_trainer(backend):
    """Gradient descent in three lines, beside the engine's own updates."""
    network = made_network("convolutions", "float32")
    images, labels = made_batch(network)
    trained = copy.deepcopy(network)
    trainer = fastconv.Trainer(
        trained, Samples(images, labels), loss="softmax_cross_entropy",
        optimizer=Optimizer("sgd"), schedule=0.1, batch_size=N, backend=backend,
    )  # fmt: skip
    gradient = np.empty_like(network.parameters)
    for _ in range(5):
        trainer.train(1)
        network.value_and_gradient(None, images, labels, out=gradient, backend=backend)
        network.parameters -= 0.1 * gradient
    assert_allclose(network.parameters, trained.parameters, rtol=1e-4, atol=1e-5)


# Plans that are kept, and nothing that is allocated.


@pytest.fixture
def built(monkeypatch):
    """The batch sizes of the plans that are built."""
    sizes, build = [], network_on_backend.build_plan

    def build_plan(network, batch, *arguments):
        sizes.append(batch)
        return build(network, batch, *arguments)

    monkeypatch.setattr(network_on_backend, "build_plan", build_plan)
    return sizes


def test_a_plan_is_built_once_for_each_size_of_a_batch(built):
    network = made_network("dense")
    images, labels = made_batch(network)
    for _ in range(3):
        for count in (6, 4):
            network.value_and_gradient(None, images[:count], labels[:count])
    assert built == [6, 4]


@BACKEND
def test_a_second_call_allocates_nothing_of_size(backend):
    """Between images of 1 MiB and a gradient of 4 MiB: the objects of Python alone."""
    network = fastconv.Sequential([Flatten(), Dense(1000), Tanh(), Dense(9)], (32, 32, 1))
    images = np.random.default_rng(0).normal(size=(64, 32, 32, 1))
    labels = np.arange(64) % 9
    theta, gradient = network.parameters.astype(float), np.empty(network.parameters.shape)
    options = {"out": gradient, "backend": backend}
    for _ in range(2):
        network.value_and_gradient(theta, images, labels, **options)
    kept = gradient.copy()
    tracemalloc.start()  # NumPy tells it of every array's memory
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        _, found = network.value_and_gradient(theta, images, labels, **options)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Kernels of the numpy backend have temporary arrays, of buffers that NumPy casts through.
    assert peak - before < (16_384 if backend != "numpy" else 131_072)
    assert found is gradient
    assert_array_equal(gradient, kept)


def test_gradients_that_were_returned_stay_what_they_were():
    network = made_network("dense")
    images, labels = made_batch(network)
    _, first = network.value_and_gradient(None, images, labels)
    kept = first.copy()
    network.value_and_gradient(2 * network.parameters, images, labels)
    assert_array_equal(first, kept)


# SciPy.


@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "CG"])
def test_scipy_finds_the_least_loss_of_a_convex_problem(method):
    """Logistic regression with a penalty: the minimum is where SciPy finds it by plain NumPy."""
    generator = np.random.default_rng(4)
    x = generator.normal(size=(40, 3))
    y = (x @ [1.0, -2.0, 0.5] + generator.normal(size=40) > 0).astype(int)
    network = fastconv.Sequential([Dense(2, bias=False)], input_shape=(3,), dtype="float64")

    def penalised(theta):
        value, gradient = network.value_and_gradient(theta, x, y)
        return value + 0.05 * theta @ theta, gradient + 0.1 * theta

    def by_numpy(w):
        margins = x @ w
        losses = np.logaddexp(0, margins) - y * margins
        # Both classes have weights here, w = w1 - w0: the least penalty has them opposite.
        return losses.mean() + 0.05 * 2 * (w / 2) @ (w / 2)

    found = minimize(penalised, network.parameters, jac=True, method=method)
    expected = minimize(by_numpy, np.zeros(3))
    assert found.fun == pytest.approx(expected.fun, abs=1e-7)
    weights = network.gradient_views(found.x)["dense_1.weight"]
    assert_allclose(weights[:, 1] - weights[:, 0], expected.x, atol=1e-3)


def test_scipy_takes_the_method_itself():
    network = made_network("dense")
    images, labels = made_batch(network)
    found = minimize(
        network.value_and_gradient, network.parameters, args=(images, labels), jac=True,
        method="L-BFGS-B", options={"maxiter": 200},
    )  # fmt: skip
    assert found.fun < 0.01  # six samples are learned by heart
    network.parameters[...] = found.x
    assert (network(images).argmax(axis=1) == labels).all()


# Copies, threads, other arrays.


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))]
)
def test_a_copy_of_a_network_computes_with_its_own_arrays(copied):
    network = made_network("dense")
    images, labels = made_batch(network)
    value, _ = network.value_and_gradient(None, images, labels)
    other = copied(network)
    other.parameters = 0 * network.parameters
    assert other.value_and_gradient(None, images, labels)[0] == pytest.approx(np.log(CLASSES))
    assert not other(images).any()
    assert network.value_and_gradient(None, images, labels)[0] == value


def test_threads_take_turns():
    network = made_network("dense")
    images, labels = made_batch(network)
    thetas = np.random.default_rng(0).normal(size=(4, network.parameters.size))
    expected = [network.value_and_gradient(theta, images, labels)[0] for theta in thetas]
    found = {}

    def ask(number):
        found[number] = {
            network.value_and_gradient(thetas[number], images, labels)[0] for _ in range(50)
        }

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: {value} for number, value in enumerate(expected)}


def test_bytes_are_preprocessed_where_a_function_is_made_so():
    network = made_network("convolutions")
    images = np.random.default_rng(0).integers(0, 256, (N, *network.input_shape), np.uint8)
    labels = made_batch(network)[1]
    function = NetworkFunction(network, backend="numpy", preprocessing="scale")
    value, gradient = function.value_and_gradient(None, images, labels)
    expected, expected_gradient = by_reference(network, images / 255, labels)
    assert value == pytest.approx(expected)
    assert_allclose(gradient, expected_gradient, rtol=1e-9, atol=1e-12)
    assert_allclose(function(images), network(images / 255), rtol=1e-9, atol=1e-12)
    sent = pickle.loads(pickle.dumps(function))
    assert_array_equal(sent.value_and_gradient(None, images, labels)[1], gradient)


# CUDA, on the host.


@pytest.fixture
def device(monkeypatch):
    say_that(monkeypatch, "cupy", works=True, reason="the host in place of a GPU")
    with standing_in(HostDevice()) as made:
        yield made


@pytest.mark.parametrize("training", [True, False])
def test_cuda_sources_give_the_loss_and_the_gradient_of_the_host(device, training):
    layers = [Conv2D(3), BatchNorm(), Tanh(), Flatten(), Dense(CLASSES)]
    made = [fastconv.Sequential(layers, (5, 5, 2), seed=1) for _ in range(2)]
    images, labels = made_batch(made[0])
    theta = made[0].parameters + 0.25
    ours, host = (
        network.value_and_gradient(theta, images, labels, training=training, backend=backend)
        for network, backend in zip(made, ("cupy", "numpy"), strict=True)
    )
    assert device.launched
    assert ours[0] == pytest.approx(host[0], rel=1e-5)
    assert_allclose(ours[1], host[1], rtol=1e-3, atol=1e-5)
    assert_allclose(made[0].state, made[1].state, rtol=1e-5)


# What is refused.


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"theta": np.zeros(3)}, r"theta has shape \(3,\); expected \(67,\).*parameters.copy\(\)"),
        ({"images": [[1.0]]}, "images is a list; expected a NumPy array"),
        ({"images": np.zeros((N, 4))}, r"images has shape \(6, 4\); expected \(N, 5\)"),
        ({"images": np.zeros((N, 5), int)}, "dtype <i8; expected native uint8, float32 or float"),
        ({"images": np.zeros((0, 5)), "labels": []}, "expected"),
        ({"labels": [0, 1]}, r"labels has shape \(2,\); expected \(6,\)"),
        ({"labels": [0, 1, 2, 3, 0, 0]}, "labels holds 3; expected 0 to 2"),
        ({"labels": [0.5] * N}, "labels is float64; expected an array of integers"),
        ({"loss": "hinge"}, "loss is 'hinge'; expected one of"),
        ({"loss": "mean_squared_error"}, r"labels has shape \(6,\); expected \(6, 3\)"),
        ({"loss": "nll"}, "nll takes log-probabilities; end with log_softmax"),
        ({"out": np.zeros(3)}, r"out is float64 of shape \(3,\); expected a writable"),
        ({"out": [0.0]}, "out is a list; expected a writable"),
        ({"step": -1}, "step is -1; expected an integer of 0 or more"),
        ({"batch_size": 0}, "batch_size is 0; expected an integer of 1 or more"),
        ({"seed": 0.5}, "seed is 0.5; expected an integer of 0 or more"),
        ({"sample_weights": [1, 2]}, r"sample_weights has shape \(2,\); expected \(6,\)"),
        ({"sample_weights": [1, 1, 1, 1, 1, -1]}, "sample_weights holds a value that is no finite"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(change, told):
    network = made_network("dense")
    images, labels = made_batch(network)
    given = {"theta": None, "images": images, "labels": labels, **change}
    with pytest.raises((ValueError, TypeError), match=told) as caught:
        network.value_and_gradient(**given)
    assert "value_and_gradient: " in str(caught.value) or "loss" in change
    assert "\n" not in str(caught.value)


def test_a_loss_wants_a_vector():
    network = fastconv.Sequential([Conv2D(2)], (5, 5, 1))
    with pytest.raises(NetworkError, match=r"output is \(3, 3, 2\); expected a vector.*use vjp"):
        network.value_and_gradient(
            None, np.zeros((1, 5, 5, 1)), np.zeros((1, 3, 3, 2)), loss="mean_squared_error"
        )


def test_no_images_are_refused():
    with pytest.raises(DataError, match="images is empty; expected one image or more"):
        made_network("dense").vjp(np.zeros((0, 5)))
