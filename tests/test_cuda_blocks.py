"""Steps that one block makes, and many networks in one launch, on the host in place of a card."""

import ctypes
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from backend_states import say_that
from cuda_blocks import draw_block, steps_in_a_block
from cuda_on_host import HostDevice, compile_source, standing_in
from cuda_schedules import check_block
from random_networks import Case, Seeded
from step_runners import CUDA_BLOCK, assert_steps_agree
from watched import host_device

from fastconv.backends.cupy.block_plan import (
    NotInABlock,
    Operation,
    instructions_of,
    place_in_shared,
)
from fastconv.backends.cupy.block_runner import (
    BlockRunner,
    pays_in_a_block,
    rewritten_in_a_block,
    run_together,
)
from fastconv.backends.cupy.kernel_sources import kernel_folder, kernel_source
from fastconv.backends.numpy.run import Runner as NumpyRunner
from fastconv.data import Samples
from fastconv.execution.config import ExecutionConfig
from fastconv.layers import (
    GELU,
    AvgPool2D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    LeakyReLU,
    MaxPool2D,
    ReLU,
)
from fastconv.momentum_schedules import OneCycleMomentum
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.preprocessing import Preprocessing
from fastconv.profiling.step_profile import synthetic_dataset
from fastconv.recipe import load_recipe
from fastconv.runs.experiment import prepare
from fastconv.schedules import Constant
from fastconv.trainer import Trainer


@pytest.fixture
def device():
    with standing_in(HostDevice()) as made:
        yield made


def numpy_runner(recipe, *settings):
    """A runner of a recipe's training, and copies of the arrays that it begins with."""
    loaded = load_recipe(recipe, settings)
    data = synthetic_dataset(loaded, 60)
    trainer = prepare(loaded, dataset=data, config=ExecutionConfig("numpy")).trainer
    return beginning_of(trainer)


def beginning_of(trainer):
    plan = trainer.runner.plan
    shared = {b.name: np.array(trainer.runner.buffer(b.name)) for b in plan.buffers if b.shared}
    assert isinstance(trainer.runner, NumpyRunner)
    return trainer.runner, shared


def batches(runner, steps, seed=0):
    return np.random.default_rng(seed).integers(0, 40, (steps, runner.plan.batch))


def assert_agrees(made, expected, rtol):
    for buffer in expected.plan.buffers:
        if buffer.shared and buffer.name != "images":
            ours, theirs = made.buffer(buffer.name), expected.buffer(buffer.name)
            np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol, err_msg=buffer.name)


@pytest.mark.parametrize(
    ("recipe", "settings", "steps"),
    [
        ("mnist-strided", (), 12),
        ("mnist-strided", (("batch_size", 5), ("optimizer.kind", "momentum")), 4),
        ("lenet5", (("batch_size", 3),), 3),
        ("digits", (("batch_size", 8),), 3),
    ],
)
def test_a_block_trains_shipped_recipes_as_numpy_does(device, recipe, settings, steps):
    numpy, shared = numpy_runner(recipe, *settings)
    runner = BlockRunner(numpy.plan, shared)
    order, rates = batches(numpy, steps), np.geomspace(0.02, 0.001, steps)
    first, rest = order[:2], order[2:]
    runner.run(first, rates[:2])
    sums = runner.run(rest, rates[2:], 2, continues=True)
    expected = numpy.run(order, rates)
    np.testing.assert_allclose(sums, expected, rtol=1e-5)
    assert_agrees(runner, numpy, 1e-4)
    assert [launched[1] for launched in device.launched] == ["block_steps<float>"] * 2


def trainer_with_every_instruction(optimizer, preprocessing, images, dtype="float64", **more):
    layers = [
        Conv2D(6, padding=1, groups=2), LeakyReLU(0.1), AvgPool2D(3, stride=2, padding=1),
        Conv2D(5, kernel=3, stride=(2, 1), dilation=(1, 2), padding=2), GELU(), MaxPool2D(2),
        Dropout(0.3), Conv2D(7, kernel=1, bias=False), ReLU(), GlobalAvgPool2D(), Dense(3),
    ]  # fmt: skip
    network = Sequential(layers, (13, 11, 4), seed=2, dtype=dtype)
    samples = Samples(images, np.random.default_rng(1).integers(0, 3, len(images)))
    return Trainer(
        network, samples, loss="softmax_cross_entropy", optimizer=optimizer, batch_size=6,
        schedule=Constant(0.05), preprocessing=preprocessing, seed=11, backend="numpy", **more,
    )  # fmt: skip


BYTES = np.random.default_rng(0).integers(0, 256, (40, 13, 11, 4), np.uint8)
FLOATS = np.random.default_rng(0).normal(size=(40, 13, 11, 4))
MEAN, STD = np.linspace(90, 150, 4), np.linspace(40, 70, 4)


@pytest.mark.parametrize(
    ("optimizer", "preprocessing", "images", "more"),
    [
        (Optimizer("sgd", l2=0.01), Preprocessing("standardize", mean=MEAN, std=STD), BYTES, {}),
        (Optimizer("nesterov", weight_decay=0.02), Preprocessing("min_max"), BYTES, {}),
        (Optimizer("momentum", averaged=True), None, FLOATS,
         {"momentum_schedule": OneCycleMomentum(9)}),
        (Optimizer("adamw", weight_decay=0.1), Preprocessing("scale"), BYTES, {}),
        (Optimizer("adam"), None, FLOATS, {"momentum_schedule": OneCycleMomentum(9)}),
    ],
    ids=["sgd", "nesterov", "averaged", "adamw", "scheduled"],
)  # fmt: skip
def test_every_instruction_does_in_float64_what_numpy_does(
    device, optimizer, preprocessing, images, more
):
    trainer = trainer_with_every_instruction(optimizer, preprocessing, images, **more)
    numpy, shared = beginning_of(trainer)
    runner = BlockRunner(numpy.plan, shared)
    order, rates = batches(numpy, 4), trainer.rates_and_momenta(np.arange(4))
    sums, expected = runner.run(order, rates, 7), numpy.run(order, rates, 7)
    np.testing.assert_allclose(sums, expected, rtol=1e-10)
    assert_agrees(runner, numpy, 1e-9)


def test_all_instructions_were_among_those():
    trainer = trainer_with_every_instruction(Optimizer("sgd"), None, FLOATS)
    _, instructions = rewritten_in_a_block(trainer.runner.plan)
    made = {each.operation for each in instructions}
    by_others = {
        Operation.GATHER_BYTES, Operation.SCALE, Operation.STANDARDIZE, Operation.MIN_MAX,
        Operation.MOMENTUM, Operation.ADAM,
    }  # fmt: skip
    # The fifth layer keeps its input: it is activated, and its gradient taken, by itself.
    assert made | by_others == set(Operation)


def test_operations_have_the_numbers_of_the_kernels():
    (names,) = re.findall(r"enum Operation \{(.*?)\};", kernel_source("block_steps.cu"), re.S)
    assert names.replace(",", " ").split() == [each.name for each in Operation]


@pytest.mark.parametrize("number", range(4, 12))
def test_drawn_networks_train_as_the_reference_does(number):
    case = draw_block(Seeded(7, number))
    with standing_in(host_device()):
        assert_steps_agree(case, CUDA_BLOCK)


# Shared memory.


def test_where_arrays_lie_changes_no_bit(device, monkeypatch):
    results = []
    for room in (227 * 1024, 30_000, 1024):
        monkeypatch.setattr(device, "shared_bytes_of_a_block", room)
        numpy, shared = numpy_runner("mnist-strided")
        runner = BlockRunner(numpy.plan, shared)
        assert runner.shared_bytes <= room
        results.append([runner.run(batches(numpy, 5), np.full(5, 0.01)), runner.buffer("gradients"),
                        runner.buffer("parameters")])  # fmt: skip
        sizes = runner.shared_bytes, len(runner.plan.buffers)
    assert sizes[0] == 0
    for other in results[1:]:
        for array, expected in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(array, expected)


def test_weights_come_first_into_shared_memory():
    plan, instructions = rewritten_in_a_block(numpy_runner("lenet5")[0].plan)
    parameters = plan.number_of("parameters")
    (weights,) = (b.shape[0] * 4 for b in plan.buffers if b.name == "parameters")
    places = place_in_shared(plan, instructions, weights + 1024)
    assert parameters in places.offsets
    assert plan.number_of("images") not in places.offsets
    assert plan.number_of("labels") not in places.offsets
    ends = sorted(places.offsets.values())
    assert all(offset % 16 == 0 for offset in ends)
    assert places.size <= weights + 1024


# Many at once.


def test_networks_of_one_launch_have_the_bits_of_launches_of_their_own(device):
    settings = ("mnist-strided",), ("lenet5", ("batch_size", 2)), ("mnist-strided", ("seed", 5))
    alone, together = [], []
    for made in (alone, together):
        for number, given in enumerate(settings):
            numpy, shared = numpy_runner(*given)
            runner = BlockRunner(numpy.plan, shared)
            steps = number + 2
            made.append(runner.piece(batches(numpy, steps, number), np.full(steps, 0.01)))
    expected = [each.runner.run(each.order, each.rates) for each in alone]
    device.launched.clear()
    found = run_together(together)
    assert [launched[2] for launched in device.launched] == [(1, 3, 1)]
    np.testing.assert_array_equal(found, expected)
    for ours, theirs in zip(together, alone, strict=True):
        for name in ("parameters", "gradients"):
            np.testing.assert_array_equal(
                ours.runner.buffer(name), theirs.runner.buffer(name), err_msg=name
            )
    assert not np.array_equal(
        together[0].runner.buffer("parameters"), together[2].runner.buffer("parameters")
    )


def test_dtypes_have_a_launch_each(device):
    trainer = trainer_with_every_instruction(Optimizer("sgd"), None, FLOATS)
    pieces = []
    for numpy, shared in (numpy_runner("mnist-strided"), beginning_of(trainer)):
        runner = BlockRunner(numpy.plan, shared)
        pieces.append(runner.piece(batches(numpy, 2), np.full(2, 0.01)))
    wide, narrow = run_together(pieces[::-1])
    assert [kernel for _, kernel, _, _ in device.launched] == [
        "block_steps<double>", "block_steps<float>"
    ]  # fmt: skip
    assert (wide[2], narrow[2]) == (12, 2)


def test_a_card_without_room_says_what_to_do(device, monkeypatch):
    def full(shape, dtype):
        raise MemoryError("planted")

    numpy, shared = numpy_runner("mnist-strided")
    monkeypatch.setattr(device, "arrays", SimpleNamespace(zeros=full), raising=False)
    with pytest.raises(MemoryError, match=r"\(planted\); train fewer networks at a time"):
        BlockRunner(numpy.plan, shared)


def test_what_no_block_makes_is_named(device):
    runner, _ = numpy_runner("mnist-batchnorm", ("batch_size", 4))
    with pytest.raises(NotInABlock, match=r"norm\.\w+ is not among what a block makes"):
        BlockRunner(runner.plan, {})
    assert not pays_in_a_block(runner.plan, 132)


def test_blocks_are_for_many_or_small_networks():
    small, large = (numpy_runner(name)[0].plan for name in ("mnist-strided", "lenet5"))
    assert pays_in_a_block(small, 2)
    assert not pays_in_a_block(large, 2)
    assert pays_in_a_block(large, 132)


# One network by one block.


def trainer_on_cupy(recipe, *settings):
    loaded = load_recipe(recipe, settings)
    data = synthetic_dataset(loaded, 60)
    return prepare(loaded, dataset=data, config=ExecutionConfig("cupy")).trainer


@pytest.fixture
def works(monkeypatch, device):
    say_that(monkeypatch, "cupy", works=True, reason="the host in place of a GPU")
    return device


def test_one_block_trains_one_network_where_that_is_asked_for(works, monkeypatch):
    assert not isinstance(trainer_on_cupy("mnist-strided").runner, BlockRunner)
    monkeypatch.setenv("FASTCONV_CUDA_BLOCKS", "1")
    trainer = trainer_on_cupy("mnist-strided")
    works.launched.clear()
    losses = [trainer.train(steps).loss for steps in (1, 5, 9)]
    kernels = [kernel for _, kernel, _, _ in works.launched]
    assert set(kernels) == {"block_steps<float>"}
    loaded = load_recipe("mnist-strided")
    data = synthetic_dataset(loaded, 60)
    expected = prepare(loaded, dataset=data, config=ExecutionConfig("numpy")).trainer
    theirs = [expected.train(steps).loss for steps in (1, 5, 9)]
    np.testing.assert_allclose(losses, theirs, rtol=1e-4)
    nanoseconds = np.zeros(1, np.int64)
    trainer.runner.run(np.zeros((2, 1), np.int64), np.zeros(2), nanoseconds=nanoseconds)
    assert nanoseconds[0] > 0
    # A graph should be sooner.
    assert not isinstance(trainer_on_cupy("lenet5").runner, BlockRunner)


def test_the_switch_is_0_or_1(works, monkeypatch):
    monkeypatch.setenv("FASTCONV_CUDA_BLOCKS", "yes")
    with pytest.raises(ValueError, match="FASTCONV_CUDA_BLOCKS is 'yes'; expected 0 or 1"):
        trainer_on_cupy("mnist-strided")


# Orders of threads.


@pytest.mark.parametrize("number", range(4))
def test_a_drawn_order_of_threads_changes_no_bit_of_a_block(number):
    assert check_block(Seeded(7, number), number) == 1


BARRIERS = {
    "begins": ("make<T>(piece", 0), "between": ("make<T>(piece", 1), "scales": ("case ADAM", 1),
}  # fmt: skip
"""Where to look in the kernel, and whether for the barrier in front (0) or behind (1)."""


@pytest.mark.parametrize("name", BARRIERS)
def test_a_missing_barrier_of_a_block_is_found(name, tmp_path, monkeypatch):
    device = host_device()  # skips where there is no compiler
    for path in kernel_folder().glob("*.cu*"):
        shutil.copy(path, tmp_path)
    mark, behind = BARRIERS[name]
    text = (tmp_path / "block_steps.cu").read_text("utf-8")
    place = text.index(mark)
    barrier = "__syncthreads();"
    at = text.index(barrier, place) if behind else text.rindex(barrier, 0, place)
    changed = text[:at] + text[at + len(barrier) :]
    (tmp_path / "block_steps.cu").write_text(changed, "utf-8")
    library = tmp_path / "wrong.so"
    compile_source("block_steps.cu", ["block_steps<float>"], library, sources=tmp_path)

    layers = Conv2D(3, kernel=3), ReLU(), Flatten(), Dense(4)
    case = Case(layers, (6, 6, 2), 3, optimizer=Optimizer("adam"))
    expected = steps_in_a_block(case)
    wrong, right = ctypes.CDLL(str(library)), device._library_of

    def planted(source, instance):
        return wrong if source == "block_steps.cu" else right(source, instance)

    monkeypatch.setattr(device, "_library_of", planted)

    def is_right(schedule):
        found = steps_in_a_block(case, schedule)
        return all(np.array_equal(found[key], expected[key]) for key in expected)

    assert not all(is_right(schedule) for schedule in range(1, 6))


def test_a_plan_without_a_loss_is_not_for_a_block():
    runner, _ = numpy_runner("mnist-strided")
    plan = runner.plan
    buffers = tuple(b for b in plan.buffers if b.name != "statistics")
    with pytest.raises(NotInABlock, match="without a loss"):
        instructions_of(type(plan)(plan.batch, plan.dtype, buffers, ()))
