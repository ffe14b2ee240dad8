"""Normalisation of each sample by its own statistics: by hand, by PyTorch, by differences."""

import numpy as np
import pytest
from layer_results import assert_layer, network_of, results_of, results_of_torch
from numpy.testing import assert_allclose

import fastconv
from fastconv.backends.reference import group_norm
from fastconv.backends.selection import backend_state
from fastconv.data import Samples
from fastconv.layers import BatchNorm, Conv2D, Dense, Flatten, GroupNorm, InstanceNorm, LayerNorm
from fastconv.network import NetworkError, Sequential
from fastconv.plans.norm_operation import GroupNormSpec
from fastconv.spec import SpecError

torch = pytest.importorskip("torch")
functional = torch.nn.functional

BACKENDS = [name for name in ("numpy", "cython", "numba") if backend_state(name).works]
BACKEND = pytest.mark.parametrize("backend", BACKENDS)
RNG = np.random.default_rng(2)
IMAGES = RNG.standard_normal((3, 5, 4, 6))
ROWS = RNG.standard_normal((4, 7))
NORMS: dict[str, tuple] = {
    "layer norm of images": (
        LayerNorm(),
        lambda x, gamma, beta: functional.layer_norm(
            x.permute(0, 2, 3, 1), (5, 4, 6), gamma, beta
        ).permute(0, 3, 1, 2),
        IMAGES,
        ("gamma", "beta"),
    ),
    "layer norm of pixels without bias": (
        LayerNorm(6, eps=1e-3, bias=False),
        lambda x, gamma: functional.layer_norm(
            x.permute(0, 2, 3, 1), (6,), gamma, None, 1e-3
        ).permute(0, 3, 1, 2),
        IMAGES,
        ("gamma",),
    ),
    "group norm": (
        GroupNorm(3, eps=1e-3),
        lambda x, gamma, beta: functional.group_norm(x, 3, gamma, beta, 1e-3),
        IMAGES,
        ("gamma", "beta"),
    ),
    "instance norm": (InstanceNorm(), lambda x: functional.instance_norm(x), IMAGES, ()),
    "instance norm with parameters": (
        InstanceNorm(affine=True),
        lambda x, gamma, beta: functional.instance_norm(x, weight=gamma, bias=beta),
        IMAGES,
        ("gamma", "beta"),
    ),
    "layer norm of features": (
        LayerNorm(),
        lambda x, gamma, beta: functional.layer_norm(x, (7,), gamma, beta),
        ROWS,
        ("gamma", "beta"),
    ),
    "layer norm without parameters": (
        LayerNorm(elementwise_affine=False),
        lambda x: functional.layer_norm(x, (7,)),
        ROWS,
        (),
    ),
}


def test_a_group_is_normalised_by_hand():
    # The group of channels 0 and 1 holds 1, 2, 3, 6: mean 3, variance 14/4; with 1/2 the std is 2.
    x = np.array([[[1.0, 2, 5], [3, 6, 5]]])[..., :2].copy()
    y, mean, inverse = np.empty_like(x), np.empty((1, 1)), np.empty((1, 1))
    spec = GroupNormSpec(1, 2, 2, 1, 0.5)
    scale, offset = np.array([2.0, 4.0]), np.array([1.0, 0.0])
    group_norm.group_norm_forward(spec, x, scale, offset, y, mean, inverse, None)
    assert y.tolist() == [[[-1, -2], [1, 6]]]
    assert (mean.item(), inverse.item()) == (3, 0.5)


@BACKEND
@pytest.mark.parametrize("name", NORMS)
def test_output_and_gradients_are_those_of_pytorch(backend, name):
    layer, function, x, parameters = NORMS[name]
    assert_layer(backend, layer, function, x, parameters)


@pytest.mark.parametrize("name", NORMS)
def test_gradients_are_the_derivatives(name):
    layer, _, x, _ = NORMS[name]
    network = Sequential([layer, Flatten(), Dense(3), layer_of_rows(layer)], x.shape[1:])
    check = fastconv.check_gradients(network, (x, np.arange(len(x)) % 3), verbose=False)
    assert check.passed, str(check)


def layer_of_rows(layer):
    """Something that passes gradients on to the layer in front."""
    return LayerNorm() if isinstance(layer, LayerNorm) else Dense(3)


@BACKEND
def test_training_steps_are_those_of_the_reference(backend):
    layers = [LayerNorm(6), Flatten(), Dense(5), LayerNorm(), Dense(3)]
    network = Sequential(layers, IMAGES.shape[1:])
    check = fastconv.check_step(
        network, (IMAGES, np.arange(3)), fastconv.optimizers.Optimizer("momentum"), rate=0.1,
        backend=backend, verbose=False,
    )  # fmt: skip
    assert check.passed, str(check)


@BACKEND
def test_a_large_mean_does_not_swallow_the_variance(backend):
    # Numbers around 2000 are 1.2e-4 apart in float32, their squares 0.25.
    x = (2000 + RNG.standard_normal((2, 4000))).astype(np.float32)
    _, mean, inverse_std = fastconv.layer_norm(x, 4000, backend=backend)
    exact = x.astype(np.float64)
    assert_allclose(inverse_std, 1 / np.sqrt(exact.var(axis=1) + 1e-5), rtol=1e-5)
    assert_allclose(mean, exact.mean(axis=1), rtol=0, atol=1.3e-4)


@BACKEND
def test_layer_norm_of_arrays_is_that_of_pytorch(backend):
    x, dy = RNG.standard_normal((2, 3, 4, 5)), RNG.standard_normal((2, 3, 4, 5))
    gamma, beta = RNG.standard_normal((4, 5)), RNG.standard_normal((4, 5))
    y, mean, inverse = fastconv.layer_norm(x, (4, 5), gamma, beta, backend=backend)
    found = fastconv.layer_norm_backward(dy, x, (4, 5), gamma, mean, inverse, backend=backend)
    given = [torch.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
    wanted = functional.layer_norm(given[0], (4, 5), given[1], given[2])
    wanted.backward(torch.tensor(dy))
    assert_allclose(y, wanted.detach().numpy(), rtol=1e-10, atol=1e-12)
    for array, tensor in zip(found, given, strict=True):
        assert_allclose(array, tensor.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: fastconv.layer_norm(ROWS, 6), "normalized_shape is .6,.; expected the last sizes"),
        (lambda: fastconv.layer_norm(ROWS, 7, ROWS), "gamma has shape"),
        (lambda: fastconv.layer_norm(ROWS, 7, eps=0.0), "layer_norm: eps is 0.0; expected more"),
        (lambda: GroupNormSpec(1, 1, 6, 4), "groups is 4; expected a divisor of the 6 channels"),
    ],
)
def test_arguments_that_do_not_fit_are_named(make, what):
    with pytest.raises((ValueError, SpecError), match=what):
        make()


def test_a_shape_that_is_not_the_end_of_a_sample_is_named():
    with pytest.raises(NetworkError, match=r"layer_norm.*normalized_shape is 5; expected the last"):
        Sequential([LayerNorm(5)], (4, 4, 6))


@BACKEND
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_group_norm_of_arrays_is_that_of_pytorch(backend, layout):
    x, dy = RNG.standard_normal((2, 6, 3, 4)), RNG.standard_normal((2, 6, 3, 4))
    gamma, beta = RNG.standard_normal(6), RNG.standard_normal(6)
    turned = (lambda a: a.transpose(0, 2, 3, 1)) if layout == "NHWC" else (lambda a: a)
    options = {"layout": layout, "backend": backend}
    y, mean, inverse = fastconv.group_norm(turned(x), 3, gamma, beta, **options)
    found = fastconv.group_norm_backward(turned(dy), turned(x), 3, gamma, mean, inverse, **options)
    given = [torch.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
    wanted = functional.group_norm(given[0], 3, given[1], given[2])
    wanted.backward(torch.tensor(dy))
    assert_allclose(y, turned(wanted.detach().numpy()), rtol=1e-10, atol=1e-12)
    assert_allclose(found[0], turned(given[0].grad.numpy()), rtol=1e-9, atol=1e-12)
    for array, tensor in zip(found[1:], given[1:], strict=True):
        assert_allclose(array, tensor.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_groups_that_do_not_divide_the_channels_are_named():
    expected = "num_groups is 4; expected a divisor of the 6 channels"
    with pytest.raises(NetworkError, match=expected):
        Sequential([GroupNorm(4)], (4, 4, 6))
    with pytest.raises(SpecError, match=f"group_norm: {expected}"):
        fastconv.group_norm(np.ones((2, 6)), 4)


def test_an_instance_of_one_pixel_is_refused():
    with pytest.raises(NetworkError, match="more than one pixel"):
        Sequential([InstanceNorm()], (1, 1, 6))


@BACKEND
@pytest.mark.parametrize("trained", ["gamma", "beta", "none"])
def test_a_batch_norm_leaves_alone_what_it_does_not_train(backend, trained):
    layer = BatchNorm(train_scale=trained == "gamma", train_bias=trained == "beta")
    x = RNG.standard_normal((4, 3, 3, 2))
    network = network_of(Conv2D(5, kernel=1), layer, input_shape=(3, 3, 2))
    names = ("gamma", "beta", "running_mean", "running_variance")
    before = {name: network[f"batch_norm_1.{name}"].copy() for name in names}
    weight, bias = network["conv2d_1.weight"], network["conv2d_1.bias"]
    target = RNG.standard_normal((4, 45))

    def by_torch(images, w, b, gamma, beta):
        y = functional.conv2d(images, w.permute(3, 2, 0, 1), b)
        return functional.batch_norm(y, None, None, gamma, beta, training=True)

    own = {"gamma": before["gamma"], "beta": before["beta"], "w": weight, "b": bias}
    y, dx, gradients = results_of(backend, network, x, target)
    wanted_y, wanted_dx, wanted = results_of_torch(by_torch, x, target, **own)
    assert_allclose(y, wanted_y, rtol=1e-9, atol=1e-11)
    assert_allclose(dx, wanted_dx, rtol=1e-8, atol=1e-11)
    assert_allclose(gradients["conv2d_1.weight"], wanted["w"], rtol=1e-8, atol=1e-11)
    found = {name.rpartition(".")[2] for name in gradients if name.startswith("batch_norm")}
    assert found == {trained} - {"none"}
    for name in found:
        assert_allclose(gradients[f"batch_norm_1.{name}"], wanted[name], rtol=1e-8, atol=1e-11)


def test_parameters_that_are_not_trained_stay_in_training_and_are_kept_in_files():
    network = Sequential([Dense(3), BatchNorm(train_scale=False), Dense(2)], (4,))
    assert network.parameter_count == 4 * 3 + 3 + 3 + 3 * 2 + 2
    network["batch_norm_1.gamma"][...] = 2.5
    trainer = fastconv.Trainer(
        network, Samples(RNG.standard_normal((8, 1, 1, 4)), np.arange(8) % 2),
        loss="softmax_cross_entropy", optimizer=fastconv.optimizers.Optimizer("adam"),
        schedule=fastconv.schedules.Constant(0.1), batch_size=4, backend="numpy",
    )  # fmt: skip
    trainer.train(2)
    assert (network["batch_norm_1.gamma"] == 2.5).all()
    assert (network["batch_norm_1.beta"] != 0).any()
    assert "batch_norm_1.gamma" in network.named_arrays()
