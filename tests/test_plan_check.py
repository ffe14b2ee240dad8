"""Rewritten plans and their instructions follow the plan's own order: planted faults show."""

import importlib
import inspect
from dataclasses import replace

import numpy as np
import pytest

from fastconv.backends.compiled.instructions.choices import LEAKY_RELU
from fastconv.backends.compiled.instructions.instruction import Instruction, Target, arrays
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.lowering import lowering
from fastconv.backends.compiled.lowering.batch_blocking import block_batches
from fastconv.backends.compiled.lowering.lowering import lower
from fastconv.backends.compiled.lowering.order_check import check_barriers, check_lowered
from fastconv.backends.compiled.lowering.reordering import reorder
from fastconv.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Residual,
    Sigmoid,
)  # fmt: skip
from fastconv.network import Sequential
from fastconv.optimizers import Optimizer
from fastconv.plans.effects import ACCESS, access_of, argument_of, effects_of
from fastconv.plans.plan import Buffer, Call, Plan
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.plans.plan_check import Access, PlanError, Step, check_rewritten
from fastconv.plans.rewriting import Rewriting, Rewritten
from fastconv.preprocessing import Preprocessing

AVX512 = Target("avx512", 64, 32, masks=True)
TARGETS = [AVX512, Target("avx2", 32, 16), Target("sse2", 16, 16), Target("plain", 0, 8)]
TARGET = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)

SMALL = (
    Conv2D(1, kernel=1, bias=False), Conv2D(1, kernel=1, bias=False),
    Conv2D(2, kernel=2, bias=False), ReLU(), GlobalAvgPool2D(),
)  # fmt: skip
"""At batch 16 the last convolution has its samples in lanes, and those below it have not."""
NETWORKS = {
    "samples in lanes": (SMALL, (2, 2, 1), 2),
    "behind pools": (
        (Conv2D(16), ReLU(), Conv2D(32), LeakyReLU(0.1), MaxPool2D(2), Conv2D(32), ReLU(),
         MaxPool2D(2), Flatten(), Dense(64), ReLU(), Dense(10)),
        (18, 18, 3), 10,
    ),
    "phases and Winograd": (
        (Conv2D(32, padding=1), ReLU(), Conv2D(32, padding=1), BatchNorm(), ReLU(),
         Conv2D(3, kernel=4, stride=2, padding=1), ConvTranspose2D(16, stride=2), Sigmoid(),
         AvgPool2D(2), Flatten(), Dense(10)),
        (12, 12, 4), 10,
    ),
    "sums of norms": (
        (Conv2D(16, padding=1), BatchNorm(), ReLU(),
         Residual([Conv2D(16, padding=1), BatchNorm()]), ReLU(),
         Residual([Conv2D(32, 3, 2, 1), BatchNorm()], shortcut=[Conv2D(32, 1, 2), BatchNorm()]),
         ReLU(), GlobalAvgPool2D(), Dense(10)),
        (12, 12, 3), 10,
    ),
    "strided colours": (
        (Conv2D(32, kernel=1), Conv2D(3, kernel=1), Conv2D(64, kernel=4, stride=2, padding=1),
         LeakyReLU(0.2), Dropout(0.5), Conv2D(8, groups=8), Flatten(), Dense(10)),
        (16, 16, 2), 10,
    ),
}  # fmt: skip


def plan_of(name, batch=16, kind="sgd", dtype="float32", **purpose):
    layers, shape, outputs = NETWORKS[name]
    network = Sequential(layers, shape, dtype=dtype)
    rule = Optimizer(kind, l2=0.01).spec(network) if kind else None
    wanted = Purpose(True, True, "softmax_cross_entropy", rule, **purpose)
    assert network.output_shape == (outputs,)
    return build_plan(network, batch, wanted, Source(50, "uint8", Preprocessing("scale")))


def rewritten(plan, target=AVX512):
    """The stages of a plan on its way to instructions."""
    first = reorder(plan)
    second = block_batches(first.plan, target)
    return first, second, lower(second.plan, target)


@TARGET
@pytest.mark.parametrize("kind", ["sgd", "momentum", "adam", None])
@pytest.mark.parametrize("batch", [1, 3, 16, 32])
@pytest.mark.parametrize("name", NETWORKS)
def test_rewritten_plans_and_their_instructions_do_what_the_plan_says(name, batch, kind, target):
    for dtype in ("float32", "float64"):
        plan = plan_of(name, batch, kind, dtype, input_gradient=kind is None)
        first, second, lowered = rewritten(plan, target)
        check_rewritten(plan, first)
        check_rewritten(first.plan, second)
        check_lowered(second.plan, lowered, target)


@pytest.mark.parametrize("training", [True, False])
def test_norms_end_with_the_sums_and_the_activations_behind_them(training):
    layers, shape, _ = NETWORKS["sums of norms"]
    network = Sequential(layers, shape)
    rule = Optimizer("sgd").spec(network) if training else None
    purpose = Purpose(training, training, "softmax_cross_entropy", rule)
    plan = build_plan(network, 16, purpose, Source(50, "uint8", Preprocessing("scale")))
    lowered = rewritten(plan)[-1]
    norms = [each for each in lowered.instructions if each.kernel == Kernel.NORM_APPLY]
    fused = [(n.pointers.addend is not None, n.integers.epilogue == LEAKY_RELU) for n in norms]
    assert fused == [(False, True), (True, True), (False, False), (True, True)]
    first = lowered.instructions[: lowered.instructions.index(norms[-1])]
    assert not {Kernel.MERGE_ELEMENTS, Kernel.ACTIVATION_FORWARD} & {each.kernel for each in first}


def test_an_input_gradient_in_lanes_is_brought_back():
    plan = plan_of("samples in lanes", kind=None, input_gradient=True)
    rows = (Conv2D(2, kernel=2, bias=False), ReLU(), GlobalAvgPool2D())
    network = Sequential(rows, (2, 2, 1))
    wanted = Purpose(True, True, "softmax_cross_entropy", input_gradient=True)
    plan = build_plan(network, 16, wanted, Source(50, "uint8"))
    found = block_batches(plan, AVX512).plan
    last = found.calls[-1]
    assert last.kernel == "batch_blocked.transpose_images"
    assert found.memory_of(last.arguments[1]) == found.memory_of(found.number_of("input.gradient"))


# The faults that were there, and others of their kind, planted


def moved(plan, position, to):
    """The plan with a call at another place, legal or not."""
    calls = list(plan.calls)
    calls.insert(to, calls.pop(position))
    origins = list(range(len(calls)))
    origins.insert(to, origins.pop(position))
    return Rewritten(replace(plan, calls=tuple(calls)), tuple((n,) for n in origins))


def position_of(plan, kernel, number=0):
    return [n for n, call in enumerate(plan.calls) if call.kernel == kernel][number]


def test_an_update_before_the_data_gradient_is_found():
    """Weights that the same step has already updated: what plain gradient descent once used."""
    plan = plan_of("samples in lanes")
    _, second, lowered = rewritten(plan)
    check_lowered(second.plan, lowered, AVX512)
    kernels = [instruction.kernel for instruction in lowered.instructions]
    update = kernels.index("conv_weight_tiles")  # of the second layer, whose data gradient
    product = max(n for n, kernel in enumerate(kernels[:update]) if kernel == "conv_tiles")
    order = list(range(len(kernels)))
    order.insert(product - 1, order.pop(update))  # in front of it and of the copy of its weights
    planted = replace(
        lowered,
        instructions=tuple(lowered.instructions[n] for n in order),
        origins=tuple(lowered.origins[n] for n in order),
    )
    with pytest.raises(PlanError, match=r"pack_weights\) reads parameters and finds the output of"):
        check_lowered(second.plan, planted, AVX512)


def test_the_order_of_a_plan_decides_whether_an_update_may_be_fused():
    """With a weight gradient in front of the data gradient, the update stays at the end."""
    plan = plan_of("samples in lanes")
    data = position_of(plan, "conv.conv2d_backward_data", 1)
    assert plan.calls[data + 1].spec == plan.calls[data].spec  # the weight gradient of that layer
    other = moved(plan, data + 1, data)
    check_rewritten(plan, other)
    second = block_batches(other.plan, AVX512)
    lowered = lower(second.plan, AVX512)
    check_lowered(second.plan, lowered, AVX512)
    assert updated_in_weight_gradients(rewritten(plan)[2]) == 2
    assert updated_in_weight_gradients(lowered) == 1


def updated_in_weight_gradients(lowered):
    return sum(
        instruction.kernel == Kernel.CONV_WEIGHT_TILES and instruction.pointers.rate is not None
        for instruction in lowered.instructions
    )


@pytest.mark.parametrize(
    ("kernel", "number", "to", "told"),
    [
        ("conv.conv2d_forward", 1, 1, "reads conv2d_1 "),
        ("optim.sgd_update", 0, 15, "reads gradients"),
        ("loss.sum_losses", 0, 0, "reads losses"),
        ("conv.conv2d_backward_data", 0, 18, r"reads conv2d_3\.dx\.memory"),
        ("input.gather_images", 0, 3, "reads input "),
    ],
)
def test_calls_in_another_order_are_found(kernel, number, to, told):
    plan = plan_of("samples in lanes")
    with pytest.raises(PlanError, match=told):
        check_rewritten(plan, moved(plan, position_of(plan, kernel, number), to))


def test_a_copy_that_is_missing_is_found():
    plan = plan_of("samples in lanes")
    _, second, _ = rewritten(plan)
    copies = [n for n, origins in enumerate(second.origins) if not origins]
    assert len(copies) == 4
    for number in copies:
        calls, origins = list(second.plan.calls), list(second.origins)
        del calls[number], origins[number]
        planted = replace(
            second, plan=replace(second.plan, calls=tuple(calls)), origins=tuple(origins)
        )
        with pytest.raises(PlanError, match="finds what was there before the step"):
            check_rewritten(reorder(plan).plan, planted)


def test_a_call_that_is_missing_is_found():
    plan = plan_of("behind pools", kind="adam")
    for number in range(len(plan.calls)):
        calls = plan.calls[:number] + plan.calls[number + 1 :]
        origins = tuple((n,) for n in range(len(plan.calls)) if n != number)
        with pytest.raises(PlanError):
            check_rewritten(plan, Rewritten(replace(plan, calls=calls), origins))


def test_an_instruction_that_is_missing_is_found():
    for name in NETWORKS:
        _, second, lowered = rewritten(plan_of(name, 16))
        for number in range(len(lowered.instructions)):
            planted = replace(
                lowered,
                instructions=lowered.instructions[:number] + lowered.instructions[number + 1 :],
                origins=lowered.origins[:number] + lowered.origins[number + 1 :],
                holds={n - (n > number): h for n, h in lowered.holds.items() if n != number},
            )
            with pytest.raises(PlanError):
                check_lowered(second.plan, planted, AVX512)


def without_barrier(lowered, number):
    instructions = list(lowered.instructions)
    instructions[number] = replace(instructions[number], barrier=False)
    return replace(lowered, instructions=tuple(instructions))


RACES = {
    # What is rewritten: a network, a batch, and the instruction behind which its barrier is left
    # out.
    "a fused update": ("behind pools", 1, "conv_weight_tiles"),
    "a fused activation": ("phases and Winograd", 16, "winograd_tiles"),
    "padding": ("phases and Winograd", 16, "pad_images"),
    "packed weights": ("strided colours", 3, "pack_subpixel_phases"),
    "phases side by side": ("strided colours", 3, "conv_tiles"),
    "transformed weights": ("phases and Winograd", 16, "winograd_weights"),
    "samples in lanes": ("samples in lanes", 16, "transpose"),
    "gradients in lanes": ("samples in lanes", 16, "batch_blocked_tiles"),
    "lists behind a pool": ("behind pools", 16, "pooled_data_tiles"),
    "gradients behind a pool": ("behind pools", 16, "transpose_weights"),
    "sums of a norm": ("phases and Winograd", 16, "norm_sums"),
    "a dense layer at once": ("behind pools", 1, "dense_backward_update"),
}


@pytest.fixture
def all_barriers(monkeypatch):
    """Instructions for plans of any size, as if every one of them had work for several threads."""
    monkeypatch.setattr(lowering, "_without_idle_barriers", list)

    def made(name, batch):
        _, second, lowered = rewritten(plan_of(name, batch))
        wide = tuple(
            replace(instruction, max_threads=max(2, instruction.max_threads))
            for instruction in lowered.instructions
        )
        return second.plan, replace(lowered, instructions=wide)

    return made


def races(plan, lowered, numbers):
    """Those of some barriers without which the check finds that threads meet."""
    found = []
    for number in numbers:
        try:
            check_lowered(plan, without_barrier(lowered, number), AVX512)
        except PlanError as fault:
            if "have no barrier between them" in str(fault):
                found.append(number)
    return found


@pytest.mark.parametrize("case", RACES)
def test_a_barrier_that_is_missing_is_found(case, all_barriers):
    name, batch, kernel = RACES[case]
    plan, lowered = all_barriers(name, batch)
    check_lowered(plan, lowered, AVX512)
    numbers = [
        n for n, instruction in enumerate(lowered.instructions) if instruction.kernel == kernel
    ]
    numbers = [
        next(m for m in range(n, len(lowered.instructions)) if lowered.instructions[m].barrier)
        for n in numbers
    ]  # the barrier that ends the stretch of each
    assert races(plan, lowered, numbers)


@pytest.mark.parametrize("name", NETWORKS)
def test_most_barriers_keep_neighbours_apart(name, all_barriers):
    """So that leaving out one of them is found; the others keep what is further off apart."""
    plan, lowered = all_barriers(name, 16)
    kept = [n for n, instruction in enumerate(lowered.instructions) if instruction.barrier]
    assert len(races(plan, lowered, kept)) >= 0.5 * len(kept)


def test_instructions_of_one_thread_need_no_barriers():
    _, second, lowered = rewritten(plan_of("samples in lanes", 16))
    assert all(instruction.max_threads == 1 for instruction in lowered.instructions)
    assert sum(instruction.barrier for instruction in lowered.instructions) == 1
    check_lowered(second.plan, lowered, AVX512)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch", [1, 16])
def test_nothing_of_a_step_writes_what_was_prepared_for_all_of_them(name, batch):
    """The check sees it where a step's kernel is sent to where the packed weights are."""
    layers, shape, _ = NETWORKS[name]
    network = Sequential(layers, input_shape=shape)
    purpose = Purpose(training=False, backward=False, loss=None, frozen=True)
    plan = build_plan(network, batch, purpose, Source(batch))
    lowered = lower(plan, AVX512)
    check_lowered(plan, lowered, AVX512)
    packing = {Kernel.PACK_WEIGHTS, Kernel.WINOGRAD_WEIGHTS}
    assert not packing & {each.kernel for each in lowered.instructions}
    if not lowered.preparation:
        return
    place = lowered.preparation[0].pointers[1]
    planted = [each.with_pointers(lambda _: place) for each in lowered.instructions[-1:]]
    spoiled = replace(lowered, instructions=(*lowered.instructions[:-1], *planted))
    with pytest.raises(PlanError):
        check_lowered(plan, spoiled, AVX512)
    changing = replace(plan, buffers=tuple(replace(b, constant=False) for b in plan.buffers))
    with pytest.raises(PlanError, match="reads parameters, no constant"):
        check_lowered(changing, lowered, AVX512)


def test_a_step_meets_the_next_one():
    """Without a barrier at the end, the last instruction runs beside the next step's first."""
    first = Instruction.of(
        Kernel.SUM_LOSSES, "float32", **arrays("losses", "statistics"), batch=4, max_threads=2
    )
    last = replace(first, barrier=False)
    run = Access(0, 0, (4,), (1,))
    steps = [Step("first", (0,), (run,), ()), Step("last", (1,), (), (run,))]
    check_barriers([first, first], steps)
    with pytest.raises(PlanError, match=r"instructions 1 \(last\) and 0 \(first\) have no barrier"):
        check_barriers([first, last], steps)
    check_barriers([replace(first, max_threads=1), replace(last, max_threads=1)], steps)


def test_neighbouring_pixels_do_not_meet():
    even, odd = (Access(0, start, (3, 2), (8, 4)) for start in (0, 2))
    assert not even.meets(odd)
    assert even.meets(replace(odd, start=4))
    assert not even.meets(replace(even, memory=1))
    assert not even.meets(replace(even, sizes=(3, 0)))


def test_an_instruction_that_reaches_beyond_its_array_is_found():
    _, second, lowered = rewritten(plan_of("samples in lanes", 16))
    instructions = list(lowered.instructions)
    number = [instruction.kernel for instruction in instructions].index(
        Kernel.SOFTMAX_CROSS_ENTROPY_FORWARD
    )
    batch = instructions[number].integers.batch
    instructions[number] = instructions[number].with_fields(batch=batch + 1)
    with pytest.raises(PlanError, match="reaches elements 0 to 34 of"):
        check_lowered(second.plan, replace(lowered, instructions=tuple(instructions)), AVX512)


# Legal moves


def three_calls():
    buffers = tuple(Buffer(name, (4,), "float32") for name in "abcd")
    calls = (
        Call("activation.softmax_forward", None, (0, 1)),
        Call("activation.softmax_forward", None, (1, 2)),
        Call("activation.softmax_forward", None, (0, 3)),
    )
    return Plan(1, "float32", buffers, calls)


def test_a_call_moves_past_what_it_has_nothing_to_do_with():
    order = Rewriting(three_calls())
    assert order.move(2, 0)
    assert order.origins == ((2,), (0,), (1,))
    assert not order.move(2, 1)  # it reads what the call before it writes
    assert not order.move(1, 2)
    assert order.origins == ((2,), (0,), (1,))


def test_a_call_does_not_move_past_one_that_overwrites_what_it_reads():
    plan = three_calls()
    calls = (*plan.calls[:2], Call("activation.softmax_forward", None, (3, 0)))
    order = Rewriting(replace(plan, calls=calls))
    assert not order.move(2, 0)
    assert order.move(2, 1)


def test_calls_are_replaced_only_if_nobody_sees_the_difference():
    plan = three_calls()
    order = Rewriting(plan)
    # c from a instead of b: a is not what the old call reads, and nobody says what it holds.
    direct = Call("activation.softmax_forward", None, (0, 2))
    assert not order.replace(1, 1, (direct,), holds={})
    # b is read by the second call: it cannot go.
    assert not order.replace(0, 1, (Call("activation.softmax_forward", None, (0, 3)),), holds={})
    # Of both together nobody sees b; what c is made of then is for the caller to know.
    assert order.replace(0, 2, (direct,), holds={})
    assert order.origins == ((0, 1), (2,))


def test_a_part_that_reads_or_writes_something_else_is_no_part():
    plan = three_calls()
    order = Rewriting(plan)
    with pytest.raises(ValueError, match="do not read and write what it does"):
        order.split(0, (plan.calls[2],))
    with pytest.raises(ValueError, match="conflicts with another one"):
        order.split(0, (plan.calls[0], plan.calls[0]))


# What calls declare


def test_every_kernel_of_a_plan_has_declared_what_it_does_with_each_array():
    for name in NETWORKS:
        plan = plan_of(name, 3, "adam")
        for call in plan.calls:
            assert len(access_of(call)) == len(call.arguments)


def test_arrays_of_calls_have_the_names_of_the_contract():
    for kernel, declared in ACCESS.items():
        module, _, function = kernel.partition(".")
        if module == "batch_blocked":  # of the compiled backends alone
            continue
        reference = importlib.import_module(f"fastconv.backends.reference.{module}")
        names = list(inspect.signature(getattr(reference, function)).parameters)
        assert [*declared] == names[1:-1], kernel


def test_an_argument_is_found_by_its_name():
    call = Call("conv.conv2d_backward_weight", None, (10, 11, 12, None))
    assert [argument_of(call, name) for name in ("x", "dw", "db")] == [11, 12, None]
    with pytest.raises(KeyError):
        argument_of(call, "w")


def test_an_access_of_another_length_is_an_error():
    with pytest.raises(ValueError, match=r"min_max_images: 3 arrays; its declared access is 'rw'"):
        access_of(Call("input.min_max_images", None, (0, 1, 2)))


@pytest.mark.parametrize("name", NETWORKS)
def test_calls_write_just_what_they_declare(name, monkeypatch):
    """Every call of a step, made by the NumPy backend over arrays that are looked at."""
    from fastconv.backends.numpy import run

    plan = plan_of(name, 3, "adam")
    rng = np.random.default_rng(0)

    def filled(shape, dtype):
        return np.zeros(shape, dtype)

    shared = {
        buffer.name: (
            rng.integers(0, 2, buffer.shape).astype(buffer.dtype)
            if buffer.name == "labels"
            else np.abs(rng.standard_normal(buffer.shape)).astype(buffer.dtype)
        )
        for buffer in plan.buffers
        if buffer.shared
    }
    runner = run.Runner(plan, shared)
    arrays = runner._arrays
    seen = []

    def watching(call, kernel):
        def made():
            effects = effects_of(plan, call)
            flat = {
                number: arrays[number].reshape(-1)
                for number, buffer in enumerate(plan.buffers)
                if buffer.parent is None
            }
            before = {number: array.copy() for number, array in flat.items()}
            kernel()
            for number, array in flat.items():
                written = np.zeros(len(array), bool)
                for span in effects.writes:
                    if span.memory == number:
                        written[span.start : span.stop] = True
                assert np.array_equal(array[~written], before[number][~written]), call
            seen.append(call.kernel)

        return made

    runner._calls = [
        watching(call, kernel) for call, kernel in zip(plan.calls, runner._calls, strict=True)
    ]
    runner.run(np.arange(3)[None], np.array([0.1]))
    assert seen == [call.kernel for call in plan.calls]
    assert set(seen) <= set(ACCESS)
