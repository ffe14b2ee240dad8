"""What is frozen costs nothing: a plan leaves out what only frozen parameters need."""

from collections import Counter
from fnmatch import fnmatchcase

import numpy as np
import pytest

from fastconv import Sequential, Trainer
from fastconv.backends.selection import backend_state
from fastconv.data import Samples
from fastconv.layers import (
    AvgPool2D,
    BatchNorm,
    Conv1D,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Flatten,
    GroupNorm,
    LayerNorm,
    MaxPool2D,
    PReLU,
    ReLU,
    Reshape,
    Residual,
    ScaleAndShift,
    SeparableConv2D,
    Tanh,
)
from fastconv.optimizers import Optimizer, ParameterGroup
from fastconv.plans.plan_builder import Purpose, Source, build_plan

BACKENDS = [name for name in ("numpy", "numba", "cython") if backend_state(name).works]
SHAPE = (8, 8, 3)
TRUNK = [Conv2D(4, padding=1), BatchNorm(), ReLU(), MaxPool2D(2), Conv2D(5), ReLU(), Flatten()]
NETWORKS = {
    "plain": [*TRUNK, Dense(6), Tanh(), Dense(4)],
    "normalised": [
        Conv2D(4, bias=False), GroupNorm(2), PReLU(True), ConvTranspose2D(3), ScaleAndShift(),
        LayerNorm(), SeparableConv2D(4), Flatten(), Dense(4),
    ],
    "branches": [
        Conv2D(4, padding=1), Residual([Conv2D(4, padding=1), BatchNorm(), ReLU()], []),
        Conv2D(4, 1), ReLU(), Flatten(), Dense(4),
    ],
}  # fmt: skip
FROZEN = {
    "plain": ["conv2d_*", "*.weight", "*.bias", "dense_2.*", "batch_norm_1.*", "*.gamma",
              "conv2d_1.weight", "dense_1.*", "*[!2].*"],
    "normalised": ["conv*", "*.weight", "*.gamma", "*.beta", "prelu_1.*", "*depthwise_weight",
                   "*pointwise_weight", "separable_conv2d_1.*", "scale_and_shift_1.weight",
                   "*norm_1.*"],
    "branches": ["residual_1.*", "conv2d_*", "*.bias", "conv2d_1.*", "dense_1.*"],
}  # fmt: skip
CASES = [(name, pattern) for name, patterns in FROZEN.items() for pattern in patterns]


def make_samples():
    generator = np.random.default_rng(2)
    images = generator.normal(size=(12, *SHAPE)).astype(np.float32)
    return Samples(images, generator.integers(0, 4, 12))


def trained(layers, pattern, backend, *, kind="momentum", clip_norm=None, **options):
    optimizer = Optimizer(
        kind, weight_decay=0.01, clip_norm=clip_norm,
        groups=(ParameterGroup(pattern, frozen=True),),
    )  # fmt: skip
    trainer = Trainer(
        Sequential(layers, SHAPE, seed=1), make_samples(), loss="softmax_cross_entropy",
        optimizer=optimizer, schedule=0.05, backend=backend, **{"batch_size": 4, **options},
    )  # fmt: skip
    for _ in range(2):
        trainer.train(3)
    trainer.update_network()
    return trainer


@pytest.fixture
def compute_all(monkeypatch):
    """Let trainers make plans with all gradients, as if nothing were frozen."""

    def switch():
        def purpose(*arguments, untrained, **options):
            return Purpose(*arguments, **options)

        monkeypatch.setattr("fastconv.trainer.Purpose", purpose)

    return switch


def calls_of(trainer):
    return Counter(call.kernel for call in trainer.runner.plan.calls)


def assert_same_arrays(trainer, expected, frozen):
    network = trainer.network
    start = Sequential(network.layers, SHAPE, seed=1).named_arrays()
    for name, array in network.named_arrays().items():
        np.testing.assert_array_equal(array, expected.network[name], err_msg=name)
        if network.places[name].buffer == "parameters":
            assert (array == start[name]).all() == fnmatchcase(name, frozen), name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "pattern"), CASES)
def test_parameters_have_the_bits_of_a_plan_with_all_gradients(name, pattern, backend, compute_all):
    trainer = trained(NETWORKS[name], pattern, backend)
    compute_all()
    expected = trained(NETWORKS[name], pattern, backend)
    assert_same_arrays(trainer, expected, pattern)
    assert sum(calls_of(trainer).values()) <= sum(calls_of(expected).values())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "options",
    [
        {"clip_norm": 0.1}, {"kind": "adam"}, {"accumulate": 2, "batch_size": 2}, {"shards": 2},
        {"average": 0.9},
    ],
    ids=lambda options: next(iter(options)),
)  # fmt: skip
def test_so_they_have_beside_other_options(options, backend, compute_all):
    trainer = trained(NETWORKS["plain"], "conv2d_*", backend, **options)
    compute_all()
    expected = trained(NETWORKS["plain"], "conv2d_*", backend, **options)
    assert_same_arrays(trainer, expected, "conv2d_*")


def test_layers_of_rows_leave_out_what_is_frozen(compute_all):
    layers = [AvgPool2D((8, 1)), Reshape((8, 3)), Conv1D(4), ReLU(), Conv1D(4), Flatten(), Dense(4)]
    trainer = trained(layers, "conv1d_*", "numpy")
    assert not any("conv2d_backward" in kernel for kernel in calls_of(trainer))
    compute_all()
    assert_same_arrays(trainer, trained(layers, "conv1d_*", "numpy"), "conv1d_*")


def counted(layers, pattern):
    network = Sequential(layers, SHAPE)
    update = Optimizer(groups=(ParameterGroup(pattern, frozen=True),)).update(network)
    untrained = getattr(update, "frozen", ())
    purpose = Purpose(True, True, "softmax_cross_entropy", update, untrained=untrained)
    plan = build_plan(network, 4, purpose, Source(12))
    kernels = [call.kernel for call in plan.calls]
    found = Counter(k.partition(".")[2] for k in kernels if "_backward" in k)
    return plan, {k: n for k, n in found.items() if not k.startswith("softmax")}


def test_a_frozen_trunk_has_no_backward_pass():
    _, calls = counted(NETWORKS["plain"], "[cb]*")
    assert calls == {
        "dense_backward_weight": 2, "dense_backward_data": 1, "activation_backward": 1,
    }  # fmt: skip


def test_nothing_frozen_leaves_nothing_out():
    network = Sequential(NETWORKS["plain"], SHAPE)
    plan = build_plan(network, 4, Purpose(True, True, "softmax_cross_entropy"), Source(12))
    calls = Counter(call.kernel.partition(".")[2] for call in plan.calls)
    assert (calls["conv2d_backward_weight"], calls["conv2d_backward_data"]) == (2, 1)
    assert (calls["dense_backward_weight"], calls["dense_backward_data"]) == (2, 2)


def test_frozen_layers_above_trained_ones_have_data_gradients_alone():
    _, calls = counted(NETWORKS["plain"], "dense_*")
    assert (calls.get("dense_backward_weight", 0), calls["dense_backward_data"]) == (0, 2)
    assert (calls["conv2d_backward_weight"], calls["conv2d_backward_data"]) == (2, 1)


def test_trained_layers_below_nothing_have_no_data_gradient():
    _, calls = counted(NETWORKS["plain"], "conv2d_1.*")
    # What is normalised behind the first convolution is still trained.
    assert calls["conv2d_backward_data"] == calls["conv2d_backward_weight"] == 1
    assert calls["batch_norm_backward"] == 1


def test_a_branch_that_is_frozen_has_none_either():
    layers = [Residual([Conv2D(3, padding=1)], [Conv2D(3, 1)]), Flatten(), Dense(4)]
    _, calls = counted(layers, "residual_1.shortcut*")
    assert calls["conv2d_backward_weight"] == 1


def test_the_memory_of_a_frozen_trunk_is_used_again():
    plan, _ = counted(NETWORKS["plain"], "[cb]*")
    whole, _ = counted(NETWORKS["plain"], "dense_2.bias")
    assert plan.memory_bytes < 0.6 * whole.memory_bytes


def test_a_gradient_that_is_made_beside_another_one_goes_nowhere():
    plan, _ = counted([Conv2D(4), BatchNorm(), Flatten(), Dense(4)], "batch_norm_1.gamma")
    assert [b.name for b in plan.buffers if b.name.endswith("unused")] == [
        "batch_norm_1.gamma.unused"
    ]
