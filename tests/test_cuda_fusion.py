"""Calls that one launch makes in place of several: which, and that nothing else comes of it."""

import numpy as np
import pytest
from cuda_on_host import HostDevice, standing_in
from cuda_steps import made_plan, stepped, unfused

from fastconv.backends.cupy import fused_kernels, loss, products, run
from fastconv.backends.cupy.fusion import fuse
from fastconv.backends.cupy.products import CountedWorkspace
from fastconv.layers import (
    ELU,
    GELU,
    SELU,
    AvgPool2D,
    Concatenate,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool2D,
    HardSigmoid,
    HardSwish,
    LeakyReLU,
    MaxPool2D,
    Mish,
    ReLU,
    ReLU6,
    Residual,
    Scale,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
)  # fmt: skip
from fastconv.network import Sequential
from fastconv.plans.operation import LossSpec


@pytest.fixture(autouse=True)
def device():
    with standing_in(HostDevice()) as made:
        yield made


def made_network(activation, pool, groups=1):
    layers = [Conv2D(4, padding="same"), activation, Conv2D(4, groups=groups), activation, pool,
              Flatten(), Dense(6), activation, Dense(3)]  # fmt: skip
    return Sequential(layers, (9, 8, 2), seed=1)


ACTIVATIONS = [ReLU(), LeakyReLU(0.1), ELU(), SELU(), Sigmoid(), Tanh(), Softplus(),
               GELU(), GELU("tanh"), SiLU(), HardSigmoid(), HardSwish(), ReLU6(),
               Softsign(), Mish()]  # fmt: skip


@pytest.mark.parametrize("pool", [MaxPool2D(2), AvgPool2D(2)], ids=["max", "avg"])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda layer: type(layer).__name__)
def test_fused_steps_give_the_bits_of_single_kernels(activation, pool, monkeypatch):
    network = made_network(activation, pool)
    plan = made_plan(network)
    fused = stepped(plan, network)
    monkeypatch.setattr(run, "fuse", unfused)
    for ours, expected in zip(fused, stepped(plan, network), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_a_batch_that_is_gathered_and_scaled_at_once_has_the_same_bits(device, monkeypatch):
    network = made_network(ReLU(), MaxPool2D(2))
    plan = made_plan(network, preprocessing="min_max")
    fused = stepped(plan, network)
    assert "gather_min_max<float>" in {kernel for _, kernel, _, _ in device.launched}
    monkeypatch.setattr(run, "fuse", unfused)
    for ours, expected in zip(fused, stepped(plan, network), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_groups_of_few_channels_are_fused_too(monkeypatch):
    network = made_network(Tanh(), MaxPool2D(2), groups=4)
    plan = made_plan(network)
    fused = stepped(plan, network)
    monkeypatch.setattr(run, "fuse", unfused)
    for ours, expected in zip(fused, stepped(plan, network), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_the_last_block_of_a_tile_adds_the_parts_up_as_a_launch_of_its_own_would(
    device, monkeypatch
):
    made = []

    def counted(memory, counters, precision):
        made.append(counters)
        return products.CountedWorkspace(memory, counters, precision)

    monkeypatch.setattr(run, "CountedWorkspace", counted)
    # Deep enough for sums in parts.
    layers = [Conv2D(20, padding="same"), ReLU(), Conv2D(40), Flatten(), Dense(300), Dense(3)]
    network = Sequential(layers, (9, 8, 2), seed=1)
    plan = made_plan(network)
    ours = stepped(plan, network)
    assert not [kernel for _, kernel, _, _ in device.launched if "_parts" in kernel]
    assert not made[0].any()
    monkeypatch.setattr(run, "CountedWorkspace", lambda memory, *_: memory)
    expected = stepped(plan, network)
    kernels = {kernel for _, kernel, _, _ in device.launched if "_parts" in kernel}
    assert {kernel.partition("<")[0] for kernel in kernels} >= {
        "conv2d_forward_parts", "conv2d_backward_weight_parts", "conv2d_backward_data_parts",
        "dense_forward_parts", "dense_backward_data_parts",
    }  # fmt: skip
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_activation_is_made_by_the_kernel_before_it(device):
    network = made_network(ReLU(), MaxPool2D(2))
    plan = made_plan(network)
    stepped(plan, network)
    names = {kernel.partition("<")[0] for _, kernel, _, _ in device.launched}
    assert not names & {"activation_forward", "activation_backward", "sum_losses", "count_correct"}
    assert "softmax_cross_entropy" in names


def test_every_call_of_a_plan_is_made_once_and_in_order():
    plan = made_plan(made_network(ReLU(), MaxPool2D(2)))
    origins = [origin for fused in fuse(plan) for origin in fused.origins]
    assert origins == list(range(len(plan.calls)))
    assert len(fuse(plan)) < len(plan.calls)


def test_an_activation_that_leaves_its_input_as_it_is_is_a_launch_of_its_own():
    # Somebody else may read what the convolution made.
    network = Sequential([Conv2D(3), ReLU(), Flatten(), Dense(3)], (9, 8, 2), seed=1)
    plan = made_plan(network)
    number = next(
        n for n, c in enumerate(plan.calls) if c.kernel == "activation.activation_forward"
    )
    call = plan.calls[number]
    elsewhere = plan.number_of("input")
    calls = list(plan.calls)
    calls[number] = type(call)(call.kernel, call.spec, (call.arguments[0], elsewhere))
    apart = type(plan)(plan.batch, plan.dtype, plan.buffers, tuple(calls))
    assert (number,) in [fused.origins for fused in fuse(apart)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("batch", "outputs"), [(1, 10), (9, 3), (20, 100), (3, 1), (70, 4)])
def test_a_loss_in_one_launch_is_that_of_four(batch, outputs, dtype):
    rng = np.random.default_rng(batch)
    spec = LossSpec(batch, outputs)
    scores = 3 * rng.standard_normal((batch, outputs)).astype(dtype)
    scores[:, -1] = scores[:, 0]  # ties: the first one counts
    if batch == 9:
        scores[3, 1], scores[4, 2], scores[5, 0] = np.nan, np.inf, -np.inf
    labels = rng.integers(0, outputs, batch)

    def room():
        empty = [np.full(batch, 7, dtype), np.full((batch, outputs), 7, dtype)]
        return [*empty, np.full((batch, outputs), 7, dtype), np.array([1.0, 2.0, 3.0])]

    losses, probabilities, dscores, statistics = at_once = room()
    counters = np.zeros(1, np.int32)
    room_of_blocks = np.full(loss.workspace_bytes("count_correct", spec, dtype), 255, np.uint8)
    workspace = CountedWorkspace(room_of_blocks, counters)
    fused_kernels.softmax_cross_entropy(spec, scores, labels, *at_once, workspace)  # type: ignore[call-arg]
    assert counters == 0  # for the next step
    expected = room()
    loss.count_correct(spec, scores, labels, expected[3], None)
    loss.softmax_cross_entropy_forward(spec, scores, labels, expected[0], expected[1], None)
    loss.softmax_cross_entropy_backward(spec, expected[1], labels, expected[2], None)
    loss.sum_losses(spec, expected[0], expected[3], None)
    np.testing.assert_array_equal(losses, expected[0])
    np.testing.assert_array_equal(probabilities, expected[1])
    np.testing.assert_array_equal(dscores, expected[2])
    np.testing.assert_allclose(statistics, expected[3], rtol=1e-14)


def test_fused_steps_of_branches_give_the_bits_of_single_kernels(monkeypatch):
    layers = [
        Conv2D(4, padding=1), ReLU(),
        Residual([Conv2D(4, padding=1), ReLU(), Conv2D(4, padding=1)]), MaxPool2D(2),
        Concatenate([Conv2D(3, 1), ReLU()], [], [Conv2D(2, 1), Tanh()]),
        Scale([GlobalAvgPool2D(), Dense(9), Sigmoid()]), Residual([ReLU()], [Conv2D(9, 1)]),
        Flatten(), Dense(3),
    ]  # fmt: skip
    network = Sequential(layers, (9, 8, 2), seed=1)
    plan = made_plan(network)
    fused = stepped(plan, network)
    monkeypatch.setattr(run, "fuse", unfused)
    for ours, expected in zip(fused, stepped(plan, network), strict=True):
        np.testing.assert_array_equal(ours, expected)
