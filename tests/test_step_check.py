"""The check of whole steps: right backends pass, planted faults are found, rounding is no fault."""

from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import fastconv
from fastconv.backends.numpy import activation, conv, dropout, loss, norm, optim, run
from fastconv.backends.reference.run import Runner
from fastconv.backends.selection import NAMES, backend_state
from fastconv.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    LogSoftmax,
    MaxPool2D,
    ReLU,
    Tanh,
)
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.plan import Call, Plan
from fastconv.preprocessing import Augmentation, Preprocessing
from fastconv.spec import ConvSpec, DenseSpec, PoolSpec
from fastconv.step_check.rounding import RoundedRunner, longest_sum
from fastconv.step_check.step_comparison import ArrayCheck, StepCheck
from fastconv.step_check.training_steps import TrainingSteps

WORKING = [name for name in NAMES if backend_state(name).works]
IMAGE = (7, 6, 2)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Products this small gain nothing from threads, and lose much where cores are busy."""
    with threadpool_limits(1):
        yield


def convolutional(dtype="float32"):
    layers = [Conv2D(3, bias=False), BatchNorm(), Tanh(), Conv2D(2, 2), Flatten(), Dense(4)]
    network = Sequential(layers, IMAGE, seed=1, dtype=dtype)
    # Biases that start at 0 would hide what decay does to them.
    for name, array in network.named_arrays().items():
        if name.endswith(("bias", "beta")):
            array[...] = np.linspace(-1, 1, array.size)
    return network


def make_batch(network, count=5):
    generator = np.random.default_rng(4)
    images = generator.normal(size=(count, *network.input_shape))
    return images, generator.integers(0, network.output_shape[0], count)


def check(network=None, optimizer=None, backend="numpy", count=5, **options):
    network = network or convolutional()
    return fastconv.check_step(
        network, make_batch(network, count), optimizer or Optimizer(), backend=backend,
        verbose=False, **options,
    )  # fmt: skip


def marked(found):
    """Names of the arrays that differ, as the table has them."""
    lines = str(found).splitlines()
    return {line.partition("  ")[0] for line in lines if "<-- differs" in line}


# What is right passes.


@pytest.mark.parametrize("kind", ["sgd", "momentum", "nesterov", "adam", "adamw"])
@pytest.mark.parametrize("backend", WORKING)
def test_a_right_backend_passes_with_every_update(backend, kind):
    found = check(optimizer=Optimizer(kind, l2=0.01, weight_decay=0.1), backend=backend)
    assert found.passed, str(found)
    assert found.error <= 1
    assert (found.backend, found.steps, found.batch_size) == (backend, 3, 5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tolerances_are_near_the_rounding_of_the_dtype(dtype):
    found = check(convolutional(dtype))
    assert found.passed, str(found)
    epsilon = np.finfo(dtype).eps
    for row in found.rows:
        if row.name.endswith(("weight", "bias")):
            assert row.tolerance < 100 * epsilon, row


def test_dropout_augmentation_and_preprocessing_are_those_of_the_training():
    layers = [Dropout(0.2), Conv2D(3), ReLU(), MaxPool2D(2), Flatten(), Dropout(0.4), Dense(4)]
    network = Sequential(layers, IMAGE, seed=1)
    images = np.random.default_rng(0).integers(0, 256, (10, *IMAGE)).astype(np.uint8)
    found = fastconv.check_step(
        network, (images, np.arange(10) % 4), Optimizer("adam"), batch_size=4, first_step=7,
        preprocessing=Preprocessing("scale"), augmentation=Augmentation(flip=True, crop=1), seed=3,
        rate=[0.1, 0.01, 0.001], verbose=False,
    )  # fmt: skip
    assert found.passed, str(found)


def test_a_step_is_what_it_is_by_hand():
    network = Sequential([Dense(1, bias=False)], (1,), dtype="float64")
    network["dense_1.weight"][...] = 3
    steps = TrainingSteps(
        network, np.full((1, 1, 1, 1), 2.0), np.array([[5.0]]), "mean_squared_error",
        Optimizer("sgd"), 1, np.array([0.25, 0.125]),
    )  # fmt: skip
    first, second = steps.made_by(Runner)
    # y = 6, the loss (6 - 5)^2, its gradient 2 * 1 * 2; then w = 2, y = 4 and the gradient -4.
    assert (first["parameters"][0], first["loss"][0]) == (2.0, 1.0)
    assert (second["parameters"][0], second["loss"][0]) == (2.5, 1.0)


def test_all_arrays_of_a_training_are_compared():
    found = check(optimizer=Optimizer("adam"))
    parameters = [
        "conv2d_1.weight", "conv2d_2.weight", "dense_1.weight", "batch_norm_1.gamma",
        "batch_norm_1.beta", "conv2d_2.bias", "dense_1.bias",
    ]  # fmt: skip
    assert [row.name for row in found.rows] == [
        *parameters,
        *(f"{name} first moment" for name in parameters),
        *(f"{name} second moment" for name in parameters),
        "batch_norm_1.running_mean", "batch_norm_1.running_variance", "loss", "correct",
    ]  # fmt: skip
    rows = {row.name: row for row in found.rows}
    # In each of three steps, and once more after all of them in one call.
    assert rows["conv2d_1.weight"].compared + rows["conv2d_1.weight"].undecided == 4 * 54
    assert [row.name for row in check(optimizer=Optimizer("sgd")).rows] == [
        *parameters, "batch_norm_1.running_mean", "batch_norm_1.running_variance", "loss",
        "correct",
    ]  # fmt: skip


def test_the_network_is_not_changed():
    network = convolutional()
    before = network.parameters.copy(), network.state.copy()
    check(network)
    np.testing.assert_array_equal(network.parameters, before[0])
    np.testing.assert_array_equal(network.state, before[1])


def test_a_network_without_parameters_passes():
    network = Sequential([Flatten(), LogSoftmax()], (2, 2, 1))
    found = check(network, loss="nll")
    assert found.passed
    assert [row.name for row in found.rows] == ["loss", "correct"]


# Faults that are found.


def spoil(monkeypatch, module, kernel, after):
    """Let a kernel of the numpy backend do something else when it is done."""
    right = getattr(module, kernel)

    def spoiled(spec, *arrays):
        kept = [None if array is None else array.copy() for array in arrays]
        right(spec, *arrays)
        after(spec, kept, arrays)

    monkeypatch.setattr(module, kernel, spoiled)


def test_a_parameter_whose_update_is_skipped_is_found(monkeypatch):
    network = convolutional()
    place = network.places["dense_1.bias"]

    def skip(spec, before, after):
        after[0][place.offset : place.end] = before[0][place.offset : place.end]

    spoil(monkeypatch, optim, "sgd_update", skip)
    found = check(network)
    assert not found.passed
    assert found.rows[6].name == "dense_1.bias"
    assert "dense_1.bias" in marked(found)
    first = [row for row in check(network, steps=1).rows if row.error > 1]
    assert [row.name for row in first] == ["dense_1.bias"]


class UpdateFirst(run.Runner):
    """Updates the second convolution before the gradient of its input is computed."""

    def __init__(self, plan, shared, threads=None):
        calls = list(plan.calls)
        optimizer = calls.pop()
        weight = next(c for c in calls if c.kernel == "conv.conv2d_backward_weight")
        updates = {}
        for number, buffer in enumerate(plan.buffers):
            if buffer.name.endswith(".gradient") and buffer.parent == optimizer.arguments[1]:
                size = int(np.prod(buffer.shape))
                names = [b.name for b in plan.buffers]
                own = names.index(buffer.name.removesuffix(".gradient"))
                spec = replace(optimizer.spec, size=size, weights=0, decayed=0)
                call = Call("optim.sgd_update", spec, (own, number, optimizer.arguments[2]))
                updates[number] = call
        early = updates.pop(weight.arguments[2])
        calls.remove(weight)
        data = next(n for n, c in enumerate(calls) if c.kernel == "conv.conv2d_backward_data")
        calls[data:data] = [weight, early]
        calls += updates.values()
        super().__init__(Plan(plan.batch, plan.dtype, plan.buffers, tuple(calls)), shared)


def test_an_update_before_the_data_gradient_is_found(monkeypatch):
    monkeypatch.setattr(run, "Runner", UpdateFirst)
    found = check(steps=1, rate=0.1)
    assert marked(found) >= {"conv2d_1.weight", "batch_norm_1.gamma", "batch_norm_1.beta"}
    # What lies behind it, and its own update, are as they should be.
    assert not marked(found) & {"conv2d_2.weight", "conv2d_2.bias", "dense_1.weight", "loss"}


@pytest.mark.parametrize("mode", ["coupled", "decoupled"])
def test_decay_of_biases_that_should_not_decay_is_found(monkeypatch, mode):
    right = optim.sgd_update

    def too_much(spec, *arrays):
        right(replace(spec, decayed=spec.size), *arrays)

    monkeypatch.setattr(optim, "sgd_update", too_much)
    found = check(optimizer=Optimizer("sgd", weight_decay=0.01, decay_mode=mode), steps=1)
    assert marked(found) == {
        "batch_norm_1.gamma", "batch_norm_1.beta", "conv2d_2.bias", "dense_1.bias",
    }  # fmt: skip


def test_a_count_of_steps_that_stands_still_is_found(monkeypatch):
    right = optim.adam_update
    monkeypatch.setattr(
        optim, "adam_update", lambda s, w, d, m, v, rate, t, o: right(s, w, d, m, v, rate, 0 * t, o)
    )
    assert check(optimizer=Optimizer("adam"), steps=1).passed
    found = check(optimizer=Optimizer("adam"), steps=2)
    assert "dense_1.weight" in marked(found)
    assert all(row.step == 2 for row in found.rows if row.error > 1)


class FirstStepAgain(run.Runner):
    """Forgets to count within a call; from call to call it is right."""

    def _time_calls(self, nanoseconds):
        raise NotImplementedError

    def run(self, order, rates=None, first_step=0, nanoseconds=None):  # type: ignore[override]
        parts = [
            super(FirstStepAgain, self).run(order[n : n + 1], rates[n : n + 1], first_step)
            for n in range(len(order))
        ]
        return np.sum(parts, axis=0)


@pytest.mark.parametrize("optimizer", [Optimizer("adam"), Optimizer("sgd")], ids=["adam", "sgd"])
def test_steps_that_are_wrong_only_in_one_call_are_found(monkeypatch, optimizer):
    monkeypatch.setattr(run, "Runner", FirstStepAgain)
    layers = [Flatten(), Dense(6), Dropout(0.5), Dense(4)]
    found = check(Sequential(layers, IMAGE, seed=1), optimizer)
    assert "dense_1.weight" in marked(found)


@pytest.mark.parametrize("which", [3, 4])
def test_running_statistics_that_are_not_updated_are_found(monkeypatch, which):
    def restore(spec, before, after):
        after[which][...] = before[which]

    spoil(monkeypatch, norm, "batch_norm_forward_training", restore)
    name = {3: "batch_norm_1.running_mean", 4: "batch_norm_1.running_variance"}[which]
    assert marked(check()) == {name}


def test_a_biased_running_variance_is_found(monkeypatch):
    def biased(spec, before, after):
        rows = before[0].reshape(spec.rows, spec.channels).astype(np.float64)
        old = before[4].astype(np.float64)
        after[4][...] = (1 - spec.momentum) * old + spec.momentum * rows.var(axis=0)

    spoil(monkeypatch, norm, "batch_norm_forward_training", biased)
    assert marked(check()) == {"batch_norm_1.running_variance"}


@pytest.mark.parametrize(
    ("module", "kernel", "after", "wrong"),
    [
        (conv, "conv2d_backward_data", lambda s, b, a: a[2].__imul__(1.0001), "conv2d_1.weight"),
        (loss, "sum_losses", lambda s, b, a: a[1].__iadd__(1e-3), "loss"),
        (loss, "count_correct", lambda s, b, a: a[2].__iadd__(1), "correct"),
        (optim, "sgd_update", lambda s, b, a: a[0][-1:].__iadd__(1e-5), "dense_1.bias"),
        (activation, "activation_backward", lambda s, b, a: a[3].__iadd__(1e-5),
         "batch_norm_1.beta"),
    ],
    ids=["a ten-thousandth", "loss", "correct", "a little", "offset"],
)  # fmt: skip
def test_small_faults_are_found_in_float32(monkeypatch, module, kernel, after, wrong):
    spoil(monkeypatch, module, kernel, after)
    assert wrong in marked(check(rate=0.1))


def test_a_mask_that_is_drawn_anew_for_the_backward_pass_is_found(monkeypatch):
    spoil(monkeypatch, dropout, "dropout_backward", lambda s, b, a: np.copyto(a[2], b[0] * s.scale))
    layers = [Flatten(), Dense(6), Dropout(0.5), Dense(4)]
    assert "dense_1.weight" in marked(check(Sequential(layers, IMAGE, seed=1)))


def test_numbers_between_two_parameters_are_found(monkeypatch):
    network = convolutional()
    gap = network.places["dense_1.weight"].offset - 1
    assert gap == network.places["conv2d_2.weight"].end + 7  # nobody's
    spoil(monkeypatch, optim, "sgd_update", lambda s, b, a: a[0].__setitem__(gap, 1.0))
    assert marked(check(network)) == {"gap before dense_1.weight"}


def test_a_number_that_is_none_is_found(monkeypatch):
    spoil(monkeypatch, optim, "sgd_update", lambda s, b, a: a[0].__setitem__(0, np.nan))
    found = check(steps=1)
    assert marked(found) == {"conv2d_1.weight"}
    assert found.error == np.inf


# What rounding may do.


def test_adam_on_a_gradient_of_zero_is_not_decided_in_float32():
    # A bias in front of batch normalisation has no gradient, but for rounding.
    layers = [Conv2D(3), BatchNorm(), Tanh(), Flatten(), Dense(4)]
    found = check(Sequential(layers, IMAGE, seed=1), Optimizer("adam"))
    assert not found.passed
    assert not found.differs
    assert found.summary.startswith("NOT PROVEN: 3 steps of 5 samples on numpy agree")
    assert found.summary.endswith("rounding decides all of conv2d_1.bias")
    (line,) = [x for x in str(found).splitlines() if x.startswith("conv2d_1.bias  ")]
    assert line.endswith("<-- not compared")
    # Gradient descent takes a step of what rounding makes, and float64 rounds less than epsilon.
    assert check(Sequential(layers, IMAGE, seed=1), Optimizer("sgd")).passed
    network = Sequential(layers, IMAGE, seed=1, dtype="float64")
    assert check(network, Optimizer("adam")).passed


@pytest.mark.parametrize("rate", [1e30, 1e200])
def test_steps_that_diverge_are_undecided(rate):
    # The first is beyond float32 alone, the second beyond float64 too.
    network = Sequential([Flatten(), Dense(3), Dense(2)], IMAGE, seed=1)
    images, _ = make_batch(network)
    found = fastconv.check_step(
        network, (images, np.ones((5, 2))), Optimizer(), loss="mean_squared_error", rate=rate,
        backend="numpy", verbose=False,
    )  # fmt: skip
    assert not found.differs
    assert not found.passed
    assert found.summary.startswith("NOT PROVEN")
    assert {row.compared for row in found.rows} == {0}


def test_a_relu_of_nearly_nothing_is_undecided_and_the_rest_is_compared():
    network = Sequential([Dense(3), ReLU(), Dense(2)], (2,), seed=1)
    network["dense_1.weight"][...] = [[1, 1, 1], [-1, 1, -1]]
    network["dense_1.bias"][...] = [0, 0, 1]
    network["dense_2.weight"][0] = [-5, 5]
    # 0.1 - 0.1 and 0.1 - 0.10000001 are on either side of 0 for rounding; 0.2 is not.
    x = np.array([[0.1, 0.1], [0.1, 0.10000001]], np.float32)
    found = fastconv.check_step(
        network, (x, np.array([0, 1])), Optimizer(), steps=1, verbose=False, backend="numpy"
    )
    rows = {row.name: row for row in found.rows}
    assert rows["dense_1.bias"].undecided == 2  # of the first unit, in both ways of running
    assert rows["dense_1.bias"].compared == 4
    assert not found.differs


def test_nearly_equal_pixels_of_a_max_pool_are_taken_either_way():
    spec = PoolSpec(1, 1, 1, 2, kernel=(1, 2), stride=(1, 2))
    network = Sequential([MaxPool2D((1, 2)), Flatten()], (1, 2, 1), dtype="float64")
    x, where = np.array([1.0, 1.0 + 1e-9]).reshape(1, 1, 2, 1), set()
    for sign in (1, -1):
        steps = TrainingSteps(
            network, x, np.array([0]), "softmax_cross_entropy", Optimizer(), 1, np.ones(1)
        )
        runner = RoundedRunner(
            steps.plan("float64"), steps.arrays("float64"), seed=0, sign=sign, epsilon=1e-7
        )
        runner.run(steps.order, steps.rates)
        where.add(int(runner.buffer("max_pool2d_1.argmax").item()))
    assert where == {0, 1}
    assert longest_sum(Call("pool.max_pool2d_forward", spec, ())) == 2


@pytest.mark.parametrize(
    ("kernel", "spec", "terms"),
    [
        ("conv.conv2d_forward", ConvSpec(2, 4, 5, 6, 8, (3, 2), groups=2), 3 * 2 * 4),
        ("conv.conv2d_backward_weight", ConvSpec(2, 4, 5, 6, 8, (3, 2)), 2 * 5 * 6),
        ("dense.dense_forward", DenseSpec(2, 30, 4), 30),
        ("dense.dense_backward_data", DenseSpec(2, 30, 4), 4),
        ("dense.dense_backward_weight", DenseSpec(2, 30, 4), 2),
        ("optim.sgd_update", Optimizer().spec(Sequential([Dense(3)], (2,))), 1),
    ],
)
def test_the_longest_sum_of_a_call_is_counted(kernel, spec, terms):
    assert longest_sum(Call(kernel, spec, ())) == terms


def test_errors_are_drawn_only_where_something_is_computed():
    network = convolutional("float64")
    images, labels = make_batch(network)
    steps = TrainingSteps(
        network, images, labels, "softmax_cross_entropy", Optimizer(), 5, np.full(1, 0.1)
    )
    arrays = steps.arrays("float64")
    runner = RoundedRunner(steps.plan("float64"), arrays, seed=0, sign=1, epsilon=1e-7)
    runner.run(steps.order, steps.rates)
    np.testing.assert_array_equal(arrays["images"], images)
    (exact,) = steps.made_by(Runner)
    off = np.abs(arrays["parameters"] - exact["parameters"])
    assert 1e-9 < off.max() < 1e-5


# How it is said.


def test_the_check_prints_a_table(capsys):
    network = convolutional()
    found = fastconv.check_step(network, make_batch(network), Optimizer(), backend="numpy")
    assert capsys.readouterr().out == f"{found}\n"
    lines = str(found).splitlines()
    assert lines[0].split() == [
        "array", "compared", "undecided", "step", "difference", "tolerance", "backend",
        "reference",
    ]  # fmt: skip
    assert lines[-1].startswith("passed: 3 steps of 5 samples on numpy are those of the reference")
    check(network)
    assert capsys.readouterr().out == ""


def test_the_verdict_follows_from_the_rows():
    def verdict(compared, difference, tolerance=1e-6):
        row = ArrayCheck("dense_1.bias", compared, 0, 2, 1.0, 1.0, difference, tolerance)
        return StepCheck((row,), "cython", 3, 4, 4)

    assert verdict(3, 1e-6).passed
    assert not verdict(3, 1.1e-6).passed
    assert verdict(3, 1.1e-6).differs
    assert verdict(3, 0.0, 0.0).passed
    assert verdict(3, 1e-30, 0.0).differs
    assert verdict(0, 1e-9).summary.startswith("NOT PROVEN")
    assert verdict(3, 1.1e-6).summary == (
        "FAILED: 3 steps of 4 samples on cython are not those of the reference: dense_1.bias is 1 "
        "after step 2, expected 1 (difference 1.1e-06, tolerance 1.0e-06)"
    )


@pytest.mark.parametrize(("asked", "checked"), [(32, 32), (33, 17), (48, 16), (100, 20), (128, 16)])
def test_a_large_batch_is_checked_in_part_and_that_is_said(asked, checked):
    network = Sequential([Dense(2)], (3,), seed=1)
    found = check(network, count=asked)
    assert (found.batch_size, found.asked_batch_size) == (checked, asked)
    said = f"{asked} samples" if asked == checked else f"{checked} of {asked} samples"
    assert f"3 steps of {said} on numpy" in found.summary


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": np.zeros((2, *IMAGE))}, "batch must be a pair"),
        ({"batch": (np.zeros((2, 6, 7, 2)), np.zeros(2, int))}, r"images has .*\(N, 7, 6, 2\)"),
        ({"batch": (np.zeros((0, *IMAGE)), np.zeros(0, int))}, "images has shape"),
        ({"batch": (np.zeros((2, *IMAGE)), np.array([0, 4]))}, "labels holds 4; expected 0 to 3"),
        ({"loss": "hinge"}, "loss is 'hinge'; expected one of softmax_cross_entropy, nll"),
        ({"loss": "mean_squared_error"}, "labels has shape"),
        ({"steps": 0}, "steps is 0; expected 1 or more"),
        ({"batch_size": 0}, "batch_size is 0; expected 1 or more"),
        ({"most_samples": 8}, "most_samples is 8; expected 32 or more"),
        ({"rate": [0.1, 0.2]}, "rate has shape .*3 of them, one for each step"),
        ({"network": Sequential([Conv2D(3)], IMAGE)}, "end it with flatten and dense"),
    ],
)  # fmt: skip
def test_mistakes_are_named(options, message):
    given = {"batch": make_batch(convolutional(), 2), "network": convolutional(), **options}
    network, batch = given.pop("network"), given.pop("batch")
    with pytest.raises(ValueError, match=f"^check_step: .*{message}"):
        fastconv.check_step(network, batch, Optimizer(), verbose=False, **given)


def test_an_unknown_backend_is_named():
    with pytest.raises(fastconv.BackendError, match="did you mean 'numpy'"):
        check(backend="nump")
