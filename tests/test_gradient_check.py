"""The gradient check: right networks pass, wrong kernels are found, kinks are counted."""

import re

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import fastconv
from fastconv.backends.numpy import conv, dense, norm
from fastconv.gradient_check import GradientCheck, ParameterCheck
from fastconv.layers import (
    ELU,
    SELU,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    LeakyReLU,
    LogSoftmax,
    MaxPool2D,
    ReLU,
    Sigmoid,
    Softmax,
    Softplus,
    Tanh,
)
from fastconv.network import Sequential
from fastconv.recipe import load_recipe

CROSS_ENTROPY, NLL, SQUARES = "softmax_cross_entropy", "nll", "mean_squared_error"
IMAGE = (7, 6, 2)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Products this small gain nothing from threads, and lose much where cores are busy."""
    with threadpool_limits(1):
        yield


def make_batch(network, loss=CROSS_ENTROPY, count=3):
    generator = np.random.default_rng(4)
    outputs = network.output_shape[0]
    labels = generator.integers(0, outputs, count)
    targets = generator.normal(size=(count, outputs))
    return generator.normal(size=(count, *network.input_shape)), (
        targets if loss == SQUARES else labels
    )


def smooth():
    return Sequential([Conv2D(3), Tanh(), Flatten(), Dense(4)], IMAGE, seed=1)


@pytest.mark.parametrize(
    ("layers", "loss"),
    [
        ([Conv2D(3, padding=1), Tanh(), Flatten(), Dense(4)], CROSS_ENTROPY),
        ([Conv2D(4, (2, 3), stride=2, padding=1, dilation=(1, 2), groups=2), Sigmoid(), Flatten(),
          Dense(4)], CROSS_ENTROPY),
        ([ConvTranspose2D(3, 3, stride=2, padding=1), Softplus(), GlobalAvgPool2D()],
         CROSS_ENTROPY),
        ([Conv2D(3), ReLU(), MaxPool2D(2), Flatten(), Dense(4)], CROSS_ENTROPY),
        ([Conv2D(3), LeakyReLU(0.1), AvgPool2D(2, 1, 1, False, False), Flatten(), Dense(4)],
         CROSS_ENTROPY),
        ([Conv2D(3), BatchNorm(), ELU(), Flatten(), Dense(4), BatchNorm(), SELU(), Dense(3)],
         CROSS_ENTROPY),
        ([Conv2D(3), Dropout(0.3), Tanh(), Flatten(), Dropout(0.5), Dense(4)], CROSS_ENTROPY),
        ([Flatten(), Dense(5), Softmax(), Dense(3), LogSoftmax()], NLL),
        ([Flatten(), Dense(5), Tanh(), Dense(3)], SQUARES),
        ([Flatten(), Dense(5), Tanh(), Dense(3), Softmax()], SQUARES),
    ],
    ids=lambda value: "-".join(type(layer).__name__ for layer in value)
    if isinstance(value, list) else "",
)  # fmt: skip
def test_every_layer_and_loss_agrees_with_differences(layers, loss):
    network = Sequential(layers, IMAGE, seed=1)
    check = fastconv.check_gradients(
        network, *make_batch(network, loss), loss=loss, verbose=False, backend="numpy"
    )
    assert check.passed, str(check)
    assert {row.name for row in check.rows} == {
        name for name, place in network.places.items() if place.buffer == "parameters"
    }
    assert all(row.checked > 0 for row in check.rows)


@pytest.mark.parametrize(("name", "shape"), [("digits", (8, 8, 1)), ("mnist-strided", (28, 28, 1))])
def test_the_networks_of_small_recipes_agree_with_differences(name, shape):
    network = Sequential(load_recipe(name).make_layers(), shape)
    check = fastconv.check_gradients(
        network, *make_batch(network, count=2), samples=4, verbose=False, backend="numpy"
    )
    assert check.passed, str(check)


def test_what_can_be_compared_in_cifar10_deep_agrees_with_differences():
    network = Sequential(load_recipe("cifar10-deep").make_layers(), (32, 32, 3))
    check = fastconv.check_gradients(
        network, *make_batch(network, count=1), samples=4, verbose=False, backend="numpy"
    )
    # A weight of the first layers moves so many pixels that some pooling changes sides.
    assert check.error <= check.tolerance, str(check)
    compared = {row.name for row in check.rows if row.checked == 4}
    assert {"conv2d_4.weight", "dense_1.weight", "dense_1.bias", "dense_2.weight"} <= compared


def test_a_residual_network_of_two_hundred_thousand_units_is_proven():
    network = Sequential(load_recipe("cifar10-resnet20").make_layers(), (32, 32, 3))
    batch = make_batch(network, count=2)
    check = fastconv.check_gradients(network, *batch, samples=1, verbose=False)
    assert check.passed, str(check)
    assert sum(row.checked for row in check.rows) == len(check.rows) == 65


def test_the_check_prints_a_table(capsys):
    network = smooth()
    check = fastconv.check_gradients(network, *make_batch(network))
    printed = capsys.readouterr().out
    assert printed == f"{check}\n"
    lines = printed.splitlines()
    head = re.split("  +", lines[0])
    assert head == ["parameter", "checked", "kinks", "error", "analytic", "numerical"]
    assert [line.split()[0] for line in lines[2:6]] == [
        "conv2d_1.weight", "dense_1.weight", "conv2d_1.bias", "dense_1.bias",
    ]  # fmt: skip
    assert lines[-1].startswith("passed: largest error")
    assert "differs" not in printed


def test_verbose_false_prints_nothing(capsys):
    network = smooth()
    fastconv.check_gradients(network, *make_batch(network), verbose=False)
    assert capsys.readouterr().out == ""


def test_the_network_is_not_changed():
    network = Sequential([Conv2D(3), BatchNorm(), Flatten(), Dense(4)], IMAGE, seed=1)
    before = network.parameters.copy(), network.state.copy()
    fastconv.check_gradients(network, *make_batch(network), verbose=False)
    np.testing.assert_array_equal(network.parameters, before[0])
    np.testing.assert_array_equal(network.state, before[1])
    assert network.parameters.dtype == np.float32


def test_small_parameters_are_checked_in_full_and_large_ones_in_part():
    network = smooth()
    check = fastconv.check_gradients(network, *make_batch(network), samples=10, verbose=False)
    checked = {row.name: row.checked + row.kinks for row in check.rows}
    assert checked == {
        "conv2d_1.weight": 10, "dense_1.weight": 10, "conv2d_1.bias": 3, "dense_1.bias": 4,
    }  # fmt: skip


def marked(check):
    return {line.split()[0] for line in str(check).splitlines() if "<-- differs" in line}


@pytest.mark.parametrize(
    ("module", "kernel", "spoil", "wrong"),
    [
        (conv, "conv2d_backward_weight", lambda out: out.__imul__(1.001), {"conv2d_2.weight",
                                                                           "conv2d_1.weight"}),
        (dense, "dense_backward_weight", lambda out: out.__imul__(-1), {"dense_1.weight"}),
        # A wrong data gradient spoils all that lies in front of it, and nothing behind.
        (conv, "conv2d_backward_data", lambda out: out.__iadd__(0.01), {"conv2d_1.weight",
                                                                        "conv2d_1.bias"}),
        (dense, "dense_backward_data", lambda out: out.__imul__(2), {
            "conv2d_1.weight", "conv2d_1.bias", "conv2d_2.weight", "conv2d_2.bias",
            "batch_norm_1.gamma", "batch_norm_1.beta"}),
    ],
    ids=["conv weight", "dense weight", "conv data", "dense data"],
)  # fmt: skip
def test_a_wrong_kernel_fails_and_the_table_says_where(monkeypatch, module, kernel, spoil, wrong):
    right = getattr(module, kernel)
    outputs_from = {"backward_weight": 3, "backward_data": 3}[kernel.split("_", 1)[1]]

    def spoiled(*arguments):
        right(*arguments)
        spoil(arguments[outputs_from])

    monkeypatch.setattr(module, kernel, spoiled)
    layers = [Conv2D(3), Tanh(), Conv2D(2), BatchNorm(), Tanh(), Flatten(), Dense(4)]
    network = Sequential(layers, IMAGE, seed=1)
    check = fastconv.check_gradients(network, *make_batch(network), verbose=False, backend="numpy")
    assert not check.passed
    # A bias in front of batch normalisation has no gradient: nothing to tell right from wrong.
    assert marked(check) - {"conv2d_2.bias"} == wrong - {"conv2d_2.bias"}
    assert "FAILED: largest error" in str(check)


def test_a_bias_gradient_that_is_forgotten_is_found(monkeypatch):
    right = dense.dense_backward_weight

    def forgetful(spec, dy, x, dw, db, workspace):
        right(spec, dy, x, dw, None, workspace)
        db[...] = 0

    monkeypatch.setattr(dense, "dense_backward_weight", forgetful)
    network = smooth()
    check = fastconv.check_gradients(network, *make_batch(network), verbose=False, backend="numpy")
    assert marked(check) == {"dense_1.bias"}


def test_batch_statistics_that_are_taken_for_constants_are_found(monkeypatch):
    def as_if_constant(spec, dy, x, gamma, mean, inverse, dx, dgamma, dbeta, workspace):
        rows = dy.reshape(-1, spec.channels)
        standard = (x.reshape(rows.shape) - mean) * inverse
        dgamma[...], dbeta[...] = (rows * standard).sum(axis=0), rows.sum(axis=0)
        dx[...] = dy * gamma * inverse

    monkeypatch.setattr(norm, "batch_norm_backward", as_if_constant)
    layers = [Conv2D(3), BatchNorm(), Tanh(), Flatten(), Dense(4)]
    network = Sequential(layers, IMAGE, seed=1)
    check = fastconv.check_gradients(network, *make_batch(network), verbose=False, backend="numpy")
    assert {"conv2d_1.weight"} <= marked(check) <= {"conv2d_1.weight", "conv2d_1.bias"}


def test_kinks_are_counted_and_left_out():
    network = Sequential([Dense(6), ReLU(), Dense(3)], (4,), seed=1)
    # Of inputs of 0 the first layer gives its biases: two of them are exactly on the kink.
    network["dense_1.bias"][...] = [0, 1, 2, -1, 0, 3]
    check = fastconv.check_gradients(network, np.zeros((2, 4)), np.array([0, 2]), verbose=False)
    rows = {row.name: row for row in check.rows}
    assert (rows["dense_1.bias"].checked, rows["dense_1.bias"].kinks) == (4, 2)
    assert rows["dense_2.bias"].kinks == rows["dense_2.weight"].kinks == 0
    assert check.passed
    (line,) = [line for line in str(check).splitlines() if line.startswith("dense_1.bias")]
    assert line.split()[1:3] == ["4", "2"]


def test_a_parameter_with_kinks_alone_has_not_passed():
    network = Sequential([Dense(1), ReLU(), Dense(3)], (1,), seed=1)
    network["dense_1.weight"][...], network["dense_1.bias"][...] = -1, 1  # 1 - 1 * 1 is the kink
    check = fastconv.check_gradients(network, np.ones((2, 1)), np.array([0, 2]), verbose=False)
    assert not check.passed
    (line,) = [line for line in str(check).splitlines() if line.startswith("dense_1.bias")]
    assert line.endswith("<-- not compared")


def test_biases_of_zero_over_even_ground_are_moved_for_the_comparison_and_it_is_said():
    network = Sequential([Dense(2), ReLU(), Dense(3)], (4,), seed=1)
    before = network.parameters.copy()
    check = fastconv.check_gradients(network, np.zeros((2, 4)), np.array([0, 2]), verbose=False)
    assert check.passed
    assert all(row.checked for row in check.rows)
    assert "compared at biases drawn from a normal distribution of std 0.1" in str(check)
    assert np.array_equal(network.parameters, before)


MANY_UNITS = (Conv2D(8, padding=1), ReLU(), Conv2D(8, padding=1), ReLU(), MaxPool2D(),
              GlobalAvgPool2D(), Dense(4))  # fmt: skip
"""On pictures of 24 x 24: 9216 units, some of which change sides within every step of 4e-5."""


def check_of_many_units(*, samples=3):
    network = Sequential(MANY_UNITS, (24, 24, 3), seed=1)
    batch = make_batch(network, count=2)
    return fastconv.check_gradients(
        network, *batch, samples=samples, verbose=False, backend="numpy"
    )


def test_weights_that_move_many_units_are_compared_in_smaller_steps():
    check = check_of_many_units()
    assert check.passed, str(check)
    row = check.rows[0]
    assert (row.name, row.checked, row.coarse) == ("conv2d_1.weight", 3, 3)
    assert "elements were compared to four digits: within larger steps than 1e-05" in str(check)


def test_a_thousandth_too_much_is_found_in_smaller_steps_too(monkeypatch):
    right = conv.conv2d_backward_weight

    def spoiled(spec, dy, x, dw, *others):
        right(spec, dy, x, dw, *others)
        if spec.in_channels == 3:
            dw *= 1.001

    monkeypatch.setattr(conv, "conv2d_backward_weight", spoiled)
    check = check_of_many_units()
    assert marked(check) == {"conv2d_1.weight"}


def test_the_same_seed_checks_the_same_elements():
    network = smooth()
    batch = make_batch(network)
    first, second = (fastconv.check_gradients(network, *batch, verbose=False) for _ in range(2))
    assert first == second


def test_the_tolerance_decides():
    row = ParameterCheck("w", 3, 0, 1e-5, 1.0, 1.00002)
    assert GradientCheck((row,), 1e-4).passed
    assert not GradientCheck((row,), 1e-6).passed
    assert GradientCheck((row,), 1e-6).error == 1e-5


def test_a_network_without_parameters_has_a_table_too():
    network = Sequential([GlobalAvgPool2D()], IMAGE)
    check = fastconv.check_gradients(network, *make_batch(network), verbose=False)
    assert check.rows == ()
    assert "passed" in str(check)


@pytest.mark.parametrize("shape", [(3, 7, 6), (3, 6, 7, 2), (7, 6, 2), (3,)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"check_gradients: images has shape .*\(N, 7, 6, 2\)"):
        fastconv.check_gradients(smooth(), np.zeros(shape), np.zeros(3, np.int64))


def test_the_verdict_tells_kinks_from_differences():
    def verdict(checked: int, error: float) -> str:
        row = ParameterCheck("dense_1.weight", checked, 1, error, 0.0, 0.0)
        return str(GradientCheck((row,), 1e-7)).splitlines()[-1].partition(":")[0]

    assert verdict(checked=1, error=1e-9) == "passed"
    assert verdict(checked=1, error=1e-3) == "FAILED"
    assert verdict(checked=0, error=0.0) == "NOT PROVEN"
