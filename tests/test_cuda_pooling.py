"""A convolution, an activation and a max pooling in one launch: the bits of three."""

import math

import numpy as np
import pytest
from cuda_on_host import HostDevice, standing_in
from cuda_steps import made_plan, stepped, unfused

from fastconv.backends.cupy import activation, conv, fused_kernels, pool, products, run
from fastconv.backends.cupy.fusion import fuse
from fastconv.backends.cupy.products import ENOUGH_BLOCKS, CountedWorkspace
from fastconv.backends.cupy.sources import TILES
from fastconv.backends.reference import conv as reference_conv
from fastconv.backends.reference import pool as reference_pool
from fastconv.layers import Conv2D, Dense, Flatten, LeakyReLU, MaxPool2D, ReLU
from fastconv.network import Sequential
from fastconv.plans.operation import ActivationSpec, OptimizerSpec
from fastconv.plans.plan import Plan
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Preprocessing
from fastconv.recipe import load_recipe
from fastconv.spec import ConvSpec, PoolSpec

SPECS = [
    ConvSpec.parse(line)
    for line in (
        "g1mb2ic3ih8iw6oc5kh3kw3sh1sw1ph1pw1dh1dw1",
        "g1mb1ic3ih12iw12oc17kh3kw3sh1sw1ph0pw0dh1dw1",  # 25 windows: a tile that is not full
        "g1mb3ic17ih9iw9oc40kh2kw2sh1sw1ph0pw0dh1dw1",
        "g1mb1ic32ih6iw6oc24kh3kw3sh1sw1ph1pw1dh1dw1",  # in parts
        "g1mb2ic4ih16iw12oc70kh3kw3sh2sw2ph1pw1dh1dw1",
        "g2mb2ic32ih6iw4oc36kh3kw3sh1sw1ph1pw1dh1dw1",
    )
]
PRECISIONS = ("float32", "tf32", "bf16")


@pytest.fixture(autouse=True)
def device():
    with standing_in(HostDevice()) as made:
        yield made


def pool_of(spec):
    shape = spec.batch, spec.out_channels, spec.out_height, spec.out_width
    return PoolSpec(*shape, kernel=(2, 2), stride=(2, 2))


def drawn(spec, dtype, integers=False):
    rng = np.random.default_rng(4)

    def draw(*shape):
        if integers:
            return rng.integers(-3, 4, shape).astype(dtype)
        return rng.standard_normal(shape).astype(dtype)

    return draw(*spec.x_shape), draw(*spec.w_shape), draw(spec.out_channels)


def workspace_of(spec, dtype, precision):
    size = conv.workspace_bytes("conv2d_forward", spec, dtype)
    counters = np.zeros(ENOUGH_BLOCKS, np.int32)
    return CountedWorkspace(np.full(size, 0xFF, np.uint8), counters, precision)


def results_of(spec, dtype):
    made = pool_of(spec)
    y, pooled = np.full(spec.y_shape, np.nan, dtype), np.full(made.y_shape, np.nan, dtype)
    return y, pooled, np.full(made.y_shape, -1, np.int32)


def at_once(spec, active, arrays, precision="float32", stores_y=True):
    y, pooled, where = results_of(spec, arrays[0].dtype)
    workspace = workspace_of(spec, y.dtype, precision)
    kept = y if stores_y else None
    fused_kernels.pooled_conv2d_forward(spec, active, *arrays, kept, pooled, where, workspace)  # type: ignore[call-arg]
    assert not workspace.counters.any()
    return y, pooled, where


def one_by_one(spec, active, arrays, precision="float32"):
    y, pooled, where = results_of(spec, arrays[0].dtype)
    conv.conv2d_forward(spec, *arrays, y, workspace_of(spec, y.dtype, precision))  # type: ignore[call-arg]
    activation.activation_forward(active, y, y, None)
    pool.max_pool2d_forward(pool_of(spec), y, pooled, where, None)
    return y, pooled, where


def assert_same_bits(ours, expected):
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def activation_of(spec, kind="relu", alpha=0.0):
    return ActivationSpec(kind, math.prod(spec.y_shape), alpha)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_one_launch_gives_the_bits_of_three(device, spec, precision):
    arrays, active = drawn(spec, np.float32), activation_of(spec)
    ours = at_once(spec, active, arrays, precision)
    assert len(device.launched) == 1
    assert_same_bits(ours, one_by_one(spec, active, arrays, precision))


@pytest.mark.slow
@pytest.mark.parametrize("tile", TILES["float32"][1:], ids=str)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("spec", SPECS[1::2], ids=str)
def test_large_tiles_pool_too(device, spec, precision, tile, monkeypatch):
    arrays, active = drawn(spec, np.float32), activation_of(spec, "leaky_relu", 0.1)
    monkeypatch.setattr(products, "division_of", lambda *_: (tile, 1))
    assert_same_bits(
        at_once(spec, active, arrays, precision), one_by_one(spec, active, arrays, precision)
    )
    rows, columns = tile
    made = [kernel for _, kernel, _, _ in device.launched if "::" in kernel]
    assert len(made) == 2
    assert all(f"<float, {rows}, {columns}, " in kernel for kernel in made)


@pytest.mark.parametrize("kind", ["tanh", "gelu", "softplus"])
def test_long_formulas_pool_too(kind):
    spec = SPECS[2]
    arrays, active = drawn(spec, np.float32), activation_of(spec, kind)
    assert_same_bits(at_once(spec, active, arrays), one_by_one(spec, active, arrays))


@pytest.mark.parametrize("spec", SPECS[:4], ids=str)
def test_double_precision_pools_too(spec):
    arrays, active = drawn(spec, np.float64), activation_of(spec, "tanh")
    assert_same_bits(at_once(spec, active, arrays), one_by_one(spec, active, arrays))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_integers_give_what_the_reference_gives(spec, precision):
    arrays = drawn(spec, np.float32, integers=True)
    y, pooled, where = results_of(spec, np.float32)
    reference_conv.conv2d_forward(spec, *arrays, y, None)  # type: ignore[call-arg]
    y = np.maximum(y, 0)
    reference_pool.max_pool2d_forward(pool_of(spec), y, pooled, where, None)
    ties = y.reshape(-1, spec.out_height // 2, 2, spec.out_width // 2, 2, spec.out_channels)
    assert (ties.max(axis=(2, 4)) == 0).any()  # all four are equal: the first one counts
    assert_same_bits(at_once(spec, activation_of(spec), arrays, precision), (y, pooled, where))


def test_the_first_nan_of_a_window_is_its_largest():
    spec = SPECS[0]
    x, w, b = drawn(spec, np.float32)
    x[0, 3, 2, 1], x[1, 5, 5, 0], x[1, 0, 0, 2] = np.nan, np.inf, -np.inf
    ours = at_once(spec, activation_of(spec), (x, w, b))
    assert np.isnan(ours[1]).any()
    assert_same_bits(ours, one_by_one(spec, activation_of(spec), (x, w, b)))


def test_what_nobody_reads_is_not_stored():
    spec = SPECS[1]
    arrays, active = drawn(spec, np.float32), activation_of(spec)
    y, *pooled = at_once(spec, active, arrays, stores_y=False)
    assert np.isnan(y).all()
    assert_same_bits(pooled, at_once(spec, active, arrays)[1:])


# In plans.


def made_network(first=(2, 1), groups=1, pooling=None):
    layers = [Conv2D(6, kernel=first), ReLU(), pooling or MaxPool2D(2),
              Conv2D(40, kernel=3, padding="same", groups=groups), LeakyReLU(0.1), MaxPool2D(2),
              Flatten(), Dense(3)]  # fmt: skip
    return Sequential(layers, (9, 8, 2), seed=1)


def names_of(device):
    return [kernel.partition("<")[0] for _, kernel, _, _ in device.launched]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("trains", [True, False], ids=["training", "evaluation"])
def test_steps_have_the_bits_of_single_kernels(device, trains, precision, monkeypatch):
    network = made_network()
    plan = made_plan(network, trains=trains)
    fused = stepped(plan, network, precision)
    # In evaluation the second result lies where the input of its convolution does.
    assert names_of(device).count("pooled_conv2d_forward") == 3 * (2 if trains else 1)
    assert names_of(device).count("max_pool2d_forward") == 3 * (0 if trains else 1)
    monkeypatch.setattr(run, "fuse", unfused)
    assert_same_bits(fused, stepped(plan, network, precision))


def pooled_calls(plan):
    return [each for each in fuse(plan) if each.function is fused_kernels.pooled_conv2d_forward]


@pytest.mark.parametrize("trains", [True, False])
def test_what_was_activated_is_stored_where_a_later_call_reads_it(trains):
    calls = pooled_calls(made_plan(made_network(), trains=trains))
    assert [len(each.origins) for each in calls] == [3, 3][: 2 if trains else 1]
    # The gradient of an activation needs its result.
    assert all((each.arguments[3] is not None) == trains for each in calls)


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (made_network(first=3), 0),  # 7 x 6 pixels: the last row is in no window, and 3 x 3
        (made_network(pooling=MaxPool2D(3, stride=1)), 1),
        (made_network(groups=2), 2),
        (Sequential([Conv2D(4, kernel=(2, 1), groups=2), ReLU(), MaxPool2D(2), Flatten(), Dense(3)],
                    (9, 8, 2)), 0),  # summed directly
    ],
)  # fmt: skip
def test_other_windows_and_small_groups_are_pooled_by_themselves(network, count):
    assert len(pooled_calls(made_plan(network))) == count


def test_results_that_lie_on_an_input_are_pooled_by_themselves():
    plan = made_plan(made_network())
    (number,) = (each.origins[0] for each in pooled_calls(plan)[:1])
    calls = list(plan.calls)
    conv_call, pool_call = calls[number], calls[number + 2]
    x, _, where = pool_call.arguments
    there = type(pool_call)(pool_call.kernel, pool_call.spec, (x, conv_call.arguments[0], where))
    calls[number + 2] = there
    overlapping = Plan(plan.batch, plan.dtype, plan.buffers, tuple(calls))
    assert len(pooled_calls(overlapping)) == 1


@pytest.mark.parametrize(
    ("recipe", "shape", "launches"),
    [("cifar10-deep", (32, 32, 3), 24), ("mnist-strided", (28, 28, 1), 13),
     ("lenet5", (28, 28, 1), 21)],
)  # fmt: skip
def test_the_launches_of_a_step_are_as_many_as_the_documents_say(device, recipe, shape, launches):
    loaded = load_recipe(recipe)
    network = Sequential(loaded.make_layers(), shape, seed=1)
    size = network.parameters.size
    purpose = Purpose(True, True, loaded.loss, OptimizerSpec("sgd", size, size, size))
    source = Source(4, "uint8", Preprocessing("min_max"))
    plan = build_plan(network, 1, purpose, source)
    arrays = {"parameters": network.parameters, "gradients": np.zeros_like(network.parameters),
              "state": network.state, "images": np.zeros((4, *shape), np.uint8),
              "labels": np.zeros(4, np.int64)}  # fmt: skip
    run.Runner(plan, arrays).run(np.zeros((1, 1), np.int64), np.zeros(1))
    assert len(device.launched) == launches
