"""Outputs, and the gradients that follow from a gradient of theirs: for loops of one's own."""

import gc
import math

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
from optional_torch import needs_torch, torch
from random_networks import Seeded, draw_case
from vectorised_reference import VectorisedRunner

import fastconv
from fastconv.execution import network_on_backend
from fastconv.layers import Conv2D, ConvTranspose2D, Dense, LeakyReLU, MaxPool2D, ReLU
from fastconv.plans.plan_builder import Purpose, Source, build_plan

BACKEND = pytest.mark.parametrize("backend", BACKENDS)


def made_dy(outputs):
    return np.random.default_rng(8).normal(size=outputs.shape)


def by_reference(network, images, dy_of, training=True):
    """Outputs and gradients as the oracle's kernels make them."""
    size = len(images)
    purpose = Purpose(training, True, None, input_gradient=True, given_gradient=True)
    plan = build_plan(network, size, purpose, Source(size, "float64"))
    given = np.zeros((size, *network.output_shape))
    shared = {
        "images": images.reshape(size, *(1, 1, *network.input_shape)[-3:]),
        "parameters": network.parameters, "state": network.state.copy(),
        "gradients": np.zeros_like(network.parameters), "output_gradient": given,
        **{b.name: np.ones(b.shape) for b in plan.buffers if b.name.startswith("ones.")},
    }  # fmt: skip
    runner = VectorisedRunner(plan, shared)
    runner.forward(np.arange(size)[None])
    outputs = runner.buffer("outputs").copy()
    given[...] = dy_of(outputs)
    runner.backward()
    return outputs, shared["gradients"], runner.buffer("input.gradient")


# The right numbers.


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "backend"), CASES)
def test_outputs_and_gradients_are_those_of_the_oracle(name, training, backend):
    network = made_network(name)
    images, _ = made_batch(network)
    expected = by_reference(network, images, made_dy, training)
    outputs, pullback = network.vjp(images, training=training, input_gradient=True, backend=backend)
    gradient, dx = pullback(made_dy(outputs))
    for ours, theirs in zip((outputs, gradient, dx), expected, strict=True):
        assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@needs_torch
@BACKEND
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_and_gradients_are_those_of_pytorch(name, training, backend):
    network = made_network(name)
    images, _ = made_batch(network)
    x = torch.from_numpy(images).requires_grad_()
    expected, arrays = outputs_of_torch(network, x, training=training, seed=0, step=5)
    outputs, pullback = network.vjp(
        images, training=training, step=5, input_gradient=True, backend=backend
    )
    dy = made_dy(outputs)
    expected.backward(torch.from_numpy(dy))
    gradient, dx = pullback(dy)
    assert_allclose(outputs, expected.detach().numpy(), rtol=1e-7, atol=1e-10)
    assert_allclose(gradient, flat_gradient_of_torch(network, arrays), rtol=1e-7, atol=1e-10)
    assert_allclose(dx, x.grad.numpy(), rtol=1e-7, atol=1e-10)


IMAGES = {
    # Samples in the lanes of vectors, in the compiled backends: 8 channels, a batch of 32.
    "few channels": [Conv2D(8, padding=1), ReLU(), Conv2D(8, padding=1)],
    "ends with an activation": [Conv2D(8, padding=1), LeakyReLU(0.1)],
    "an encoder and a decoder": [
        Conv2D(16, padding=1), ReLU(), MaxPool2D(2), ConvTranspose2D(3, 2, stride=2)
    ],
}  # fmt: skip


@BACKEND
@pytest.mark.parametrize("name", IMAGES)
def test_outputs_may_be_images(name, backend):
    network = fastconv.Sequential(IMAGES[name], (8, 8, 3), seed=2)
    images = np.random.default_rng(0).normal(size=(32, 8, 8, 3))
    double = fastconv.Sequential(IMAGES[name], (8, 8, 3), dtype="float64")
    double.parameters[...] = network.parameters
    expected = by_reference(double, images, made_dy)
    outputs, pullback = network.vjp(images, input_gradient=True, backend=backend)
    assert outputs.shape == (32, *network.output_shape)
    gradient, dx = pullback(made_dy(outputs))
    assert_allclose(network(images, backend=backend), outputs, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip((outputs, gradient, dx), expected, strict=True):
        scale = np.abs(theirs).max()
        assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5 * scale)


@pytest.mark.parametrize("training", [True, False])
def test_drawn_networks_have_the_gradients_of_the_oracle(training):
    """Every kind of layer in any order; more of them: ``range(1000)``."""
    for seed in range(10):
        network = draw_case(Seeded(seed), ("float64",)).network()
        images, _ = made_batch(network)
        expected = by_reference(network, images, made_dy, training)
        outputs, pullback = network.vjp(
            images, training=training, input_gradient=True, backend=BACKENDS[-1]
        )
        found = outputs, *pullback(made_dy(outputs))
        # Some gradients are 0 but for rounding: before a normalisation of a constant, say.
        scale = max(np.abs(each).max(initial=1) for each in expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert_allclose(ours, theirs, rtol=1e-7, atol=1e-10 * scale, err_msg=f"seed {seed}")


def test_by_hand():
    """y = w x: the gradient of sum(dy y) by w is sum(dy x), by x it is dy w."""
    network = fastconv.Sequential([Dense(1, bias=False)], (2,), dtype="float64")
    network["dense_1.weight"][...] = [[2.0], [-1.0]]
    outputs, pullback = network.vjp(np.array([[1.0, 3.0], [4.0, 5.0]]), input_gradient=True)
    assert outputs.tolist() == [[-1.0], [3.0]]
    gradient, dx = pullback([[10.0], [100.0]])
    assert network.gradient_views(gradient)["dense_1.weight"].tolist() == [[410.0], [530.0]]
    assert dx.tolist() == [[20.0, -10.0], [200.0, -100.0]]


@BACKEND
def test_a_loss_outside_has_the_gradient_of_the_one_inside(backend):
    network = made_network("normalised")
    images, labels = made_batch(network)
    expected_value, expected = network.value_and_gradient(None, images, labels, backend=backend)
    scores, pullback = network.vjp(images, backend=backend)
    losses, probabilities = fastconv.softmax_cross_entropy(scores, labels)
    gradient = pullback(fastconv.softmax_cross_entropy_backward(probabilities, labels))
    assert losses.mean() == pytest.approx(expected_value)
    assert_allclose(gradient, expected, rtol=1e-12, atol=1e-14)


# Modes.


@needs_torch
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_call_gives_the_outputs_of_pytorch_in_both_modes(name, training):
    network = made_network(name)
    images, _ = made_batch(network)
    expected, _ = outputs_of_torch(network, images, training=training, step=2)
    found = network(images, training=training, step=2)
    assert_allclose(found, expected.detach().numpy(), rtol=1e-7, atol=1e-10)
    assert_array_equal(found, network(images, training=training, step=2))


def test_a_call_is_in_inference_mode_and_changes_nothing():
    network = made_network("normalised")
    images, _ = made_batch(network)
    before = network.state.copy()
    outputs = network(images)
    assert_array_equal(network.state, before)
    assert_array_equal(outputs, fastconv.Predictor(network)(images))
    network(images, training=True)
    assert not np.array_equal(network.state, before)


# As often as one likes, and side by side.


@BACKEND
def test_a_pullback_may_be_called_again_and_is_linear(backend):
    network = made_network("branches")
    images, _ = made_batch(network)
    outputs, pullback = network.vjp(images, input_gradient=True, backend=backend)
    first, second = made_dy(outputs), made_dy(outputs)[::-1].copy()
    (a, da), (b, db), (both, dboth) = map(pullback, (first, second, first + second))
    assert_allclose(both, a + b, rtol=1e-9, atol=1e-12)
    assert_allclose(dboth, da + db, rtol=1e-9, atol=1e-12)
    assert_array_equal(pullback(first)[0], a)  # the same bits, and no sum of both


@BACKEND
def test_two_calls_may_wait_for_their_gradients_at_once(backend):
    """As for two views of the same images, whose outputs are compared."""
    network = made_network("convolutions")
    images, _ = made_batch(network)
    alone = []
    for x in (images, 2 * images):
        outputs, pullback = network.vjp(x, backend=backend)
        alone.append((outputs, pullback(outputs)))
    calls = [network.vjp(x, backend=backend) for x in (images, 2 * images)]
    for (outputs, pullback), (expected, expected_gradient) in zip(calls, alone, strict=True):
        assert_array_equal(outputs, expected)
        assert_array_equal(pullback(outputs), expected_gradient)


def test_plans_are_used_again_when_their_pullbacks_are_gone(monkeypatch):
    built, build = [], network_on_backend.build_plan
    monkeypatch.setattr(
        network_on_backend, "build_plan", lambda *given: built.append(given[1]) or build(*given)
    )
    network = made_network("dense")
    images, _ = made_batch(network)
    for _ in range(5):
        outputs, pullback = network.vjp(images)
        pullback(outputs)
    assert built == [N] * 2  # the last pullback is there while the next one is made
    del pullback
    gc.collect()
    network.vjp(images)
    assert built == [N] * 2


def test_out_takes_the_gradient():
    network = made_network("dense", "float32")
    images, _ = made_batch(network)
    outputs, pullback = network.vjp(images)
    out = np.empty(network.parameters.size)
    assert pullback(outputs, out=out) is out
    assert_array_equal(out, pullback(outputs))


def test_an_autoencoder_learns_in_a_loop_of_ones_own():
    layers = [Conv2D(4, stride=2, padding=1), ReLU(), ConvTranspose2D(1, 2, stride=2)]
    network = fastconv.Sequential(layers, (8, 8, 1), seed=0)
    images = np.random.default_rng(0).random((16, 1, 1, 1)) * np.ones((16, 8, 8, 1))
    errors = []
    for _ in range(30):
        outputs, pullback = network.vjp(images)
        errors.append(float(np.mean((outputs - images) ** 2)))
        network.parameters -= 0.5 * pullback(2 * (outputs - images) / outputs.size)
    assert errors[-1] < errors[0] / 3


# CUDA, on the host.


@pytest.mark.parametrize("training", [True, False])
def test_cuda_sources_give_the_outputs_and_gradients_of_the_host(monkeypatch, training):
    say_that(monkeypatch, "cupy", works=True, reason="the host in place of a GPU")
    network = made_network("normalised", "float32")
    images, _ = made_batch(network)
    options = {"training": training, "input_gradient": True}
    with standing_in(HostDevice()) as device:
        state = network.state.copy()
        ours, our_pullback = network.vjp(images, backend="cupy", **options)
        assert device.launched
        network.state[...] = state
        theirs, their_pullback = network.vjp(images, backend="numpy", **options)
        assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
        for _ in range(2):
            for a, b in zip(our_pullback(ours), their_pullback(ours), strict=True):
                assert_allclose(a, b, rtol=1e-3, atol=1e-4)
        network.parameters *= 2  # the device sees what the host has changed
        assert_allclose(
            network(images, backend="cupy"), network(images, backend="numpy"), rtol=1e-4, atol=1e-5
        )


# What is refused.


def test_a_gradient_of_another_shape_is_refused():
    network = made_network("dense")
    _, pullback = network.vjp(made_batch(network)[0])
    with pytest.raises(ValueError, match=r"pullback: dy has shape \(6,\); expected \(6, 3\)"):
        pullback(np.zeros(math.prod((N,))))
    assert CLASSES == 3


@pytest.mark.parametrize("call", ["__call__", "vjp"])
def test_images_of_another_shape_are_refused(call):
    with pytest.raises(ValueError, match=r"images has shape \(2, 4\); expected \(N, 5\)"):
        getattr(made_network("dense"), call)(np.zeros((2, 4)))
