"""Plans that are rewritten before they run: samples in lanes, gradients of activations first.

That the numbers stay is in test_lowering.py, for whole networks.
"""

import math

import pytest

from fastconv.backends.compiled.instructions.instruction import Target
from fastconv.backends.compiled.lowering.batch_blocking import block_batches
from fastconv.backends.compiled.lowering.reordering import reorder
from fastconv.backends.compiled.rules import batch_blocked
from fastconv.layers import Conv2D, Dense, Flatten, LeakyReLU, MaxPool2D, ReLU, Sigmoid
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Preprocessing
from fastconv.spec import ConvSpec

AVX512 = Target("avx512", 64, 32, masks=True)
PLAIN = Target("plain", 0, 16)
FEW = (Conv2D(6, 5), ReLU(), MaxPool2D(2), Conv2D(16, 5), ReLU(), MaxPool2D(2))


def training_plan(layers, shape, batch, dtype="float32"):
    network = Sequential((*layers, Flatten(), Dense(10)), shape, dtype=dtype)
    rule = Optimizer("adam").spec(network)
    source = Source(100, "uint8", Preprocessing("min_max"))
    purpose = Purpose(True, True, "softmax_cross_entropy", rule)
    return build_plan(network, batch, purpose, source)


def kernels(plan):
    return [call.kernel for call in plan.calls]


def test_images_of_few_channels_are_transposed_only_at_the_ends():
    plan = block_batches(training_plan(FEW, (28, 28, 1), 32), AVX512).plan
    assert not [kernel for kernel in kernels(plan) if kernel.startswith("conv.")]
    transposed = [call for call in plan.calls if call.kernel == "batch_blocked.transpose_images"]
    names = [tuple(plan.buffers[n].name for n in call.arguments) for call in transposed]
    assert [call.spec.x_shape[:3] for call in transposed] == [  # type: ignore[attr-defined]
        (2, 16, 784),  # the batch, to lanes
        (2, 256, 16),  # the last pool's output, back, for the dense layer
        (2, 16, 256),  # its gradient, to lanes
    ]
    assert names[0] == ("input", "input.batch_blocked")


@pytest.mark.parametrize(("outputs", "together"), [(32, 16), (61, 16), (62, 1), (64, 1)])
def test_images_of_many_channels_on_both_sides_are_not_transposed(outputs, together):
    # 6 pixels of 16 samples, 24 inputs and 61 outputs take 32640 of L1's 32768 bytes.
    spec = ConvSpec(32, 24, 32, 32, outputs, (3, 3), padding=((1, 1), (1, 1)))
    either = spec.in_channels, spec.out_channels
    found = batch_blocked.samples_together(spec, *either, target=AVX512, dtype="float32")
    assert found == together


def test_pools_and_activations_between_see_images_of_more_channels():
    plan = block_batches(training_plan(FEW, (28, 28, 1), 32), AVX512).plan
    pools = [call.spec for call in plan.calls if call.kernel == "pool.max_pool2d_forward"]
    assert [(spec.batch, spec.channels) for spec in pools] == [(2, 6 * 16), (2, 16 * 16)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("batch", "target", "layers"),
    [
        (31, AVX512, FEW),  # not a multiple of 16 lanes
        (8, AVX512, FEW),
        (32, PLAIN, FEW),  # no vectors
        (32, AVX512, (Conv2D(32), ReLU(), Conv2D(32))),  # channels fill vectors
    ],
)
def test_other_plans_stay_as_they_are(batch, target, layers):
    plan = training_plan(layers, (28, 28, 1), batch)
    assert block_batches(plan, target).plan is plan


def test_scores_in_lanes_are_brought_back_at_the_end():
    network = Sequential((Conv2D(5), MaxPool2D(2)), (8, 8, 1))
    source = Source(100, "uint8", Preprocessing("min_max"))
    built = build_plan(network, 16, Purpose(False, False, None), source)
    plan = block_batches(built, AVX512).plan
    last = plan.calls[-1]
    assert last.kernel == "batch_blocked.transpose_images"
    scores = plan.buffers[plan.number_of("scores")]
    names = [plan.buffers[number].name for number in last.arguments]
    assert names[0].startswith("max_pool2d_1")
    assert names[1] == "scores"
    assert last.spec.x_shape[:3] == (1, math.prod(scores.shape[1:]), 16)  # type: ignore[attr-defined]


def backward_of(plan):
    return [
        (call.kernel, getattr(call.spec, "size", None))
        for call in reorder(plan).plan.calls
        if call.kernel.endswith("_backward") and call.kernel.startswith(("pool.", "activation."))
    ]


def test_the_gradient_of_a_relu_runs_over_what_the_pool_took():
    plan = training_plan((Conv2D(6), LeakyReLU(0.2), MaxPool2D(2)), (8, 8, 1), 3)
    assert backward_of(plan) == [
        ("activation.activation_backward", 3 * 3 * 3 * 6),
        ("pool.max_pool2d_backward", None),
    ]


@pytest.mark.parametrize(
    "layers",
    [
        (Conv2D(6), Sigmoid(), MaxPool2D(2)),  # the gradient needs more than a sign
        (Conv2D(6), ReLU(), MaxPool2D(2), Sigmoid()),  # the pool's output is no longer there
    ],
)
def test_other_gradients_stay_behind_the_pool(layers):
    found = backward_of(training_plan(layers, (8, 8, 1), 3))
    assert found[-2:] == [
        ("pool.max_pool2d_backward", None),
        ("activation.activation_backward", 3 * 6 * 6 * 6),
    ]
