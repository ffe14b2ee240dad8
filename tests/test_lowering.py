"""Whole steps of every backend against the oracle: the plan's own calls, one by one, in float64.

A backend may fuse calls, keep other layouts and leave work out that gives zeros; the numbers stay.
"""

import functools
import importlib

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastconv.backends.selection import NAMES, backend_state
from fastconv.layers import (
    AvgPool2D,
    BatchNorm,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Residual,
    Scale,
    Sigmoid,
    Tanh,
)
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Preprocessing

SAMPLES = 12
HEAD = (Flatten(), Dense(16), ReLU(), Dense(5))
NETWORKS = {
    # The backward passes of the second convolution run over what the pool took.
    "pooled": ((12, 12, 8), (Conv2D(16), LeakyReLU(0.1), Conv2D(8), LeakyReLU(0.2), MaxPool2D(2))),
    "pooled without activations": ((9, 10, 8), (Conv2D(8), Conv2D(24), MaxPool2D(2))),
    "pooled first": ((8, 8, 16), (Conv2D(8), ReLU(), MaxPool2D(2))),
    "pool before activation": ((8, 8, 8), (Conv2D(8), MaxPool2D(2), ReLU(), Conv2D(8), ReLU())),
    "pool before sigmoid": ((8, 8, 8), (Conv2D(8), LeakyReLU(0.3), MaxPool2D(2), Sigmoid())),
    "overlapping pool": ((9, 9, 8), (Conv2D(8), ReLU(), MaxPool2D(3, 2))),
    "strided": ((9, 9, 1), (Conv2D(8, 3, 2), LeakyReLU(0.01), Conv2D(4, 3, 2), LeakyReLU(0.01))),
    "padded": ((6, 6, 3), (Conv2D(8, padding=1), ReLU(), Conv2D(5, padding=1), MaxPool2D(2))),
    "grouped": ((7, 7, 4), (Conv2D(4, groups=4), ReLU(), Conv2D(6, groups=2, dilation=2), ReLU())),
    "normalised": ((6, 6, 3), (Conv2D(8, bias=False), BatchNorm(), ReLU(), Dropout(0.5))),
    # Even sizes and whole vectors of channels: fewer products, forward and in the data gradient.
    "minimal filtering": (
        (10, 12, 16),
        (Conv2D(16, padding=1), LeakyReLU(0.2), Conv2D(32), ReLU(), Conv2D(16, padding=(0, 1))),
    ),
    # Phases of the second convolution's data gradient lie side by side.
    "strided, in the middle": (
        (9, 10, 2),
        (Conv2D(2, 3, padding=1), LeakyReLU(0.3), Conv2D(6, 7, 2, padding=3), LeakyReLU(0.1)),
    ),
    # Two convolutions read the gradient of the pool.
    "pooled sum": (
        (12, 12, 16),
        (Conv2D(16), ReLU(), Residual([Conv2D(16)], [Conv2D(16)]), MaxPool2D(2), LeakyReLU(0.1)),
    ),
    "residual blocks": (
        (8, 8, 16),
        (
            Residual([Conv2D(16, padding=1, bias=False), BatchNorm(), ReLU(), Conv2D(16, 1)]),
            ReLU(),
            Residual([Conv2D(8, 3, 2, 1), ReLU(), Conv2D(8, 1)], shortcut=[Conv2D(8, 1, 2)]),
            LeakyReLU(0.1),
        ),
    ),
    # Batch normalisations end with the sum of their block, whose other branch is as it came or is
    # normalised too, and with the activation behind it.
    "sums of normalised branches": (
        (8, 6, 3),
        (
            Conv2D(20, padding=1, bias=False),
            BatchNorm(),
            LeakyReLU(0.1),
            Residual([Conv2D(20, padding=1, bias=False), BatchNorm()]),
            ReLU(),
            Residual(
                [Conv2D(32, 3, 2, 1, bias=False), BatchNorm()],
                shortcut=[Conv2D(32, 1, 2, bias=False), BatchNorm()],
            ),
            LeakyReLU(0.2),
            Residual([Conv2D(32, 1), BatchNorm()], shortcut=[BatchNorm()]),
            Residual([BatchNorm()]),
        ),
    ),
    "squeeze and excitation": (
        (6, 7, 8),
        (
            Conv2D(16),
            Scale([GlobalAvgPool2D(), Dense(4), ReLU(), Dense(16), Sigmoid()]),
            Scale([Conv2D(16, 1), Tanh()]),
        ),
    ),
    "few channels in branches": (
        (13, 12, 1),
        (
            Conv2D(6),
            ReLU(),
            Residual([Conv2D(6, 3, padding=1), LeakyReLU(0.1)]),
            Concatenate([MaxPool2D(3, 1, 1), Conv2D(3, 1)], [Conv2D(4, 1), ReLU()], []),
            MaxPool2D(2),
        ),
    ),
    # Samples are batch_blocked at batch 16, from the first convolution to the head, or in between.
    "few channels": (
        (13, 12, 1),
        (Conv2D(6), ReLU(), MaxPool2D(2), Conv2D(5, 2, padding=1), LeakyReLU(0.1), AvgPool2D(2)),
    ),
    "few channels behind many": (
        (10, 10, 3),
        (Conv2D(16), MaxPool2D(2), ReLU(), Conv2D(5), BatchNorm(), Tanh(), Conv2D(6, padding=1)),
    ),
    "few channels before a dropout": ((6, 7, 2), (Conv2D(3, groups=1), Dropout(0.3), Conv2D(3))),
    "dense": ((4, 4, 2), ()),
    "wide dense": ((4, 8, 2), (Flatten(), Dense(32), LeakyReLU(0.1))),
}
OPTIMIZERS = {
    "sgd": Optimizer("sgd", l2=0.01, weight_decay=0.02),
    "momentum": Optimizer("momentum", momentum=0.8),
    "adam": Optimizer("adam"),
}
WORKING = [name for name in NAMES if backend_state(name).works]


def plan_and_arrays(network_name, batch, optimizer, dtype="float64", backward_only=False):
    """A training plan with the arrays that it shares, always the same ones."""
    shape, layers = NETWORKS[network_name]
    network = Sequential((*layers, *HEAD), shape, seed=3, dtype=dtype)
    rule = None if backward_only else OPTIMIZERS[optimizer].spec(network)
    purpose = Purpose(True, True, "softmax_cross_entropy", rule)
    source = Source(SAMPLES, "uint8", Preprocessing("min_max"))
    plan = build_plan(network, batch, purpose, source, seed=7)
    rng = np.random.default_rng(5)
    size = network.parameters.size
    # Between two parameters there may be a gap of zeros, which nobody reads.
    noise = np.zeros(size)
    for place in network.places.values():
        if place.buffer == "parameters":
            count = int(np.prod(place.parameter.shape))
            noise[place.offset : place.offset + count] = 0.1 * rng.standard_normal(count)
    shared = {
        "images": rng.integers(0, 256, (SAMPLES, *shape)).astype(np.uint8),
        "labels": rng.integers(0, 5, SAMPLES),
        "parameters": network.parameters + noise.astype(dtype),
        "state": network.state.copy(),
        "gradients": np.zeros(size, dtype),
        "first_moment": np.zeros(size, dtype),
        "second_moment": np.zeros(size, dtype),
    }
    return plan, {name: array for name, array in shared.items() if name in names_of(plan)}


def names_of(plan):
    """The names of the buffers that a plan shares."""
    return {buffer.name for buffer in plan.buffers if buffer.shared}


def run_oracle(plan, shared, order, rates, first_step, place=None):
    """Walk the plan's calls with the reference's kernels; ``place`` gets the arrays by name."""
    arrays = []
    for buffer in plan.buffers:
        if buffer.shared:
            arrays.append(shared[buffer.name])
        elif buffer.parent is None:
            arrays.append(np.zeros(buffer.shape, buffer.dtype))
        else:
            flat = arrays[buffer.parent].reshape(-1)
            size = int(np.prod(buffer.shape))
            arrays.append(flat[buffer.offset : buffer.offset + size].reshape(buffer.shape))
    place = {} if place is None else place
    place.update({buffer.name: array for buffer, array in zip(plan.buffers, arrays, strict=True)})
    for number, indices in enumerate(order):
        place["indices"][:] = indices
        place["rate"][:] = rates[number]
        place["step"][:] = first_step + number
        for call in plan.calls:
            module, _, name = call.kernel.partition(".")
            kernel = getattr(importlib.import_module(f"fastconv.backends.reference.{module}"), name)
            kernel(call.spec, *[None if n is None else arrays[n] for n in call.arguments], None)
    return place.get("statistics")


def run_backend(backend, plan, shared, order, rates, first_step, threads=2):
    """Run the same steps on a backend."""
    run = importlib.import_module(f"fastconv.backends.{backend}.run")
    runner = run.Runner(plan, shared, threads)
    return runner.run(order, rates, first_step)


def order_of(batch):
    """Two batches with repetitions."""
    return np.random.default_rng(1).integers(0, SAMPLES, (2, batch))


RATES = np.array([0.1, 0.05])


@functools.cache
def after_oracle(name, batch, optimizer, steps=2, *, first_step=4, backward_only=False):
    """Arrays and statistics after steps of the oracle, the same for all backends."""
    plan, arrays = plan_and_arrays(name, batch, optimizer, backward_only=backward_only)
    order = order_of(batch)[:steps]
    statistics = run_oracle(plan, arrays, order, RATES, first_step)
    for array in arrays.values():
        array.flags.writeable = False
    return arrays, statistics


@pytest.mark.parametrize("batch", [1, 2, 9, 16])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("backend", WORKING)
def test_two_steps_of_gradient_descent_are_those_of_the_oracle(backend, name, batch):
    plan, shared = plan_and_arrays(name, batch, "sgd")
    started = shared["parameters"].copy()
    statistics = run_backend(backend, plan, shared, order_of(batch), RATES, 4)
    expected, exact = after_oracle(name, batch, "sgd")
    assert_allclose(statistics, exact, rtol=1e-11)
    assert np.abs(expected["parameters"] - started).max() > 1e-3
    assert_allclose(shared["parameters"], expected["parameters"], rtol=0, atol=1e-12)
    assert_allclose(shared["state"], expected["state"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
@pytest.mark.parametrize("name", ["pooled", "normalised"])
@pytest.mark.parametrize("backend", WORKING)
def test_two_steps_of_other_updates_are_those_of_the_oracle(backend, name, optimizer):
    plan, shared = plan_and_arrays(name, 3, optimizer)
    run_backend(backend, plan, shared, order_of(3), RATES, 4)
    expected, _ = after_oracle(name, 3, optimizer)
    # Adam divides by the root of what may be a rounding error, where a gradient is exactly zero.
    assert_allclose(shared["parameters"], expected["parameters"], rtol=0, atol=1e-8)
    assert_allclose(shared["first_moment"], expected["first_moment"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 9, 16])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("backend", WORKING)
def test_a_plan_that_does_not_update_leaves_the_gradients(backend, name, batch):
    plan, shared = plan_and_arrays(name, batch, "sgd", backward_only=True)
    run_backend(backend, plan, shared, order_of(batch)[:1], RATES, 0)
    expected, _ = after_oracle(name, batch, "sgd", 1, first_step=0, backward_only=True)
    assert np.abs(expected["gradients"]).max() > 1e-3
    assert_allclose(shared["gradients"], expected["gradients"], rtol=0, atol=1e-12)
    assert_array_equal(shared["parameters"], expected["parameters"])


@pytest.mark.parametrize("batch", [1, 9, 32])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("backend", [name for name in WORKING if name in ("cython", "numba")])
def test_the_number_of_threads_changes_no_bit(backend, name, batch):
    results = []
    for threads in (1, 2, 3):
        plan, shared = plan_and_arrays(name, batch, "sgd", dtype="float32")
        statistics = run_backend(backend, plan, shared, order_of(batch), RATES, 0, threads)
        results.append((shared["parameters"], statistics))
    for parameters, statistics in results[1:]:
        assert_array_equal(parameters, results[0][0])
        assert_array_equal(statistics, results[0][1])


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("name", ["strided", "few channels", "few channels behind many"])
@pytest.mark.parametrize("backend", [name for name in NAMES if backend_state(name).works])
def test_scores_are_those_of_the_oracle(backend, name, batch):
    shape, layers = NETWORKS[name]
    network = Sequential(layers, shape, seed=3, dtype="float64")
    source = Source(SAMPLES, "uint8", Preprocessing("min_max"))
    plan = build_plan(network, batch, Purpose(False, False, None), source)
    images = np.random.default_rng(5).integers(0, 256, (SAMPLES, *shape)).astype(np.uint8)
    shared = {"images": images, "parameters": network.parameters, "state": network.state}
    shared = {name: array for name, array in shared.items() if name in names_of(plan)}
    run = importlib.import_module(f"fastconv.backends.{backend}.run")
    runner = run.Runner(plan, shared, 2)
    order = order_of(batch)[:1]
    runner.run(order)
    arrays = {}
    run_oracle(plan, shared, order, RATES, 0, arrays)
    assert np.abs(arrays["scores"]).max() > 1e-2
    assert_allclose(runner.buffer("scores"), arrays["scores"], rtol=0, atol=1e-12)
