"""Whole training steps of drawn networks: every backend against the reference, and PyTorch.

``python -m tests.random_steps`` does the same for as many networks as there is time for.
"""

import importlib

import numpy as np
import pytest
import random_steps
import vectorised_reference
from hypothesis import HealthCheck, find, given, seed, settings
from hypothesis import strategies as st
from random_networks import Case, Hypothesis, Seeded, draw_case
from step_runners import (
    assert_steps_agree,
    check_steps,
    cython_engines,
    make_runner,
    reference_of,
    runner_names,
)
from threadpoolctl import threadpool_limits
from vectorised_reference import VectorisedRunner

from fastconv.backends.compiled.instructions.kernels import BF16_KERNELS
from fastconv.backends.numpy import optim
from fastconv.backends.selection import backend_state
from fastconv.layers import Conv2D, Flatten, GlobalAvgPool2D, LogSoftmax, MaxPool2D, ReLU
from fastconv.optimizers import Optimizer
from fastconv.plans.loss import LOSSES, Loss
from fastconv.plans.plan_check import PlanError
from fastconv.plans.rewriting import Rewriting
from fastconv.step_check.step_comparison import compare
from fastconv.step_check.training_steps import ReferenceSteps

COMPILED_AHEAD = [name for name in runner_names() if name != "numba"]
PARTS = 6
NOT_IN_TRAINING = {
    "augment_images", "norm_factor", "plane_products", "plane_weight_products", "random_words",
    "nchw_to_nhwc", "nhwc_to_nchw", "elementwise", "find_not_finite", "im2col_tiles",
    "winograd_pixels", "winograd_outputs", "jitter_images", "crop_images", "mix_images", "mix_rows",
}  # fmt: skip
"""Native kernels of public functions, of inference, of augmentation, which is off here, and of
functions that no network draws."""
_OF_OTHER_UPDATES = {
    "accumulate", "adagrad_update", "clip_by_value", "lamb_apply", "lamb_direction",
    "muon_direction", "nadam_update", "newton_schulz_polynomial", "rmsprop_update",
    "scale_by_norm", "squared_sums", "lookahead_update",
}  # fmt: skip
"""Native kernels of update rules that no network draws: test_update_rules.py has their steps."""
_MANY_REGISTERS = {
    "pooled_data_tiles", "pooled_lists", "pooled_weight_tiles", "transpose_weights",
}  # fmt: skip
_VECTORS = {
    "batch_blocked_tiles", "batch_blocked_weight_tiles", "pack_subpixel_phases", "transpose",
    "winograd_tiles", "winograd_weight_gradient", "winograd_weight_sums", "winograd_weights",
}  # fmt: skip
NEEDS = {
    "avx512": set(), "avx512vl": set(), "neon": set(), "avx2": _MANY_REGISTERS,
    "sse2": _MANY_REGISTERS, "plain": _MANY_REGISTERS | _VECTORS,
}  # fmt: skip
"""Kernels that an instruction set has no use for."""


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Products this small gain nothing from threads, and lose much where cores are busy."""
    with threadpool_limits(1):
        yield


@st.composite
def cases(draw, dtypes=("float32", "float64")):
    return draw_case(Hypothesis(draw), dtypes)


def for_drawn_cases(check, part, examples, dtypes=("float32", "float64")):
    """Check cases that are the same in every run, and others in every part."""

    @seed(part)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(dtypes))
    def check_drawn(case):
        check(case)

    check_drawn()


@pytest.mark.parametrize(
    ("part", "examples"),
    [
        *((part, 16) for part in range(PARTS)),
        *(pytest.param(part, 64, marks=pytest.mark.nightly) for part in range(PARTS)),
    ],
)
def test_steps_of_drawn_networks_are_those_of_the_reference(part, examples):
    def check(case):
        reference = reference_of(case)
        for name in COMPILED_AHEAD:
            assert_steps_agree(case, name, reference)

    for_drawn_cases(check, part, examples)


@pytest.mark.parametrize("part", range(2))
@pytest.mark.skipif(not backend_state("numba").works, reason="no Numba")
def test_steps_of_numba_are_those_of_the_reference(part):
    # Few: for every shape, tiles are compiled.
    for_drawn_cases(lambda case: assert_steps_agree(case, "numba"), 100 + part, 6)


def test_the_vectorised_kernels_are_those_of_the_reference():
    kernels = {
        name for name, thing in vars(vectorised_reference).items()
        if not name.startswith("_") and getattr(thing, "__module__", "") == "vectorised_reference"
        and not isinstance(thing, type)
    }  # fmt: skip
    compared, count = set(), 0
    for number in range(1000):
        case = draw_case(Seeded(1, number), ("float64",))
        if case.batch > 4 or np.prod(case.input_shape) > 150:
            continue  # the reference would take its time
        own = {call.kernel.partition(".")[2] for call in case.steps().plan("float64").calls}
        own &= kernels  # the others are the reference's own
        if count >= 30 and own <= compared:
            continue
        count += 1
        compared |= own
        slow = ReferenceSteps(case.steps())
        rows = compare(slow, slow.steps.made_by(VectorisedRunner))
        assert all(row.error <= 1 for row in rows), case
    assert count >= 30
    assert compared == kernels


def test_steps_of_pytorch_are_those_of_the_reference():
    pytest.importorskip("torch")
    tally = random_steps.Tally()
    for number in range(100):
        random_steps.check_network(2, number, ["torch"], tally, ("float64",))
    assert not tally.failures, "\n".join(tally.failures.values())
    assert tally.runs["torch"] > 30


@pytest.mark.skipif(not cython_engines(), reason="no compiled engine")
@pytest.mark.nightly
def test_drawn_networks_reach_every_native_kernel_of_a_step():
    wanted = {
        name: {kernel for kernel, _ in engine.kernels}
        - (NOT_IN_TRAINING | NEEDS[name] | _OF_OTHER_UPDATES | BF16_KERNELS)
        for name, engine in cython_engines().items()
    }
    for number in range(1000):
        steps = draw_case(Seeded(0, number)).steps()
        dtype = steps.network.dtype
        plan = steps.plan(dtype)
        for name in [name for name, lacking in wanted.items() if lacking]:
            runner = make_runner(f"cython {name}", plan, steps.arrays(dtype), 1)
            wanted[name] -= {instruction.kernel for instruction in runner.instructions}
        if not any(wanted.values()):
            break
    assert not any(wanted.values()), wanted


@pytest.mark.parametrize("name", COMPILED_AHEAD)
def test_a_softmax_in_place_of_what_a_max_pool_gave_hides_no_signs(name):
    layers = (Conv2D(1, bias=False), ReLU(), MaxPool2D(), Flatten(), LogSoftmax())
    case = Case(layers, (6, 6, 8), 2, "nll", dtype="float64", seed=1)
    assert_steps_agree(case, name)


# Faults that are found.


@pytest.fixture
def weight_gradients_first(monkeypatch):
    """Layers whose weight gradient comes first, and every move taken for a legal one."""

    def backward(layer, builder, node, dy, dx):
        spec = layer.spec(builder.batch, node.input_shape)
        weight, gradients = node.parameters["weight"], node.gradients
        arrays = node.x, gradients["weight"], gradients.get("bias")
        builder.call("conv.conv2d_backward_weight", spec, dy, *arrays)
        if dx is not None:
            builder.call("conv.conv2d_backward_data", spec, dy, weight, dx)

    monkeypatch.setattr(Conv2D, "backward", backward)
    monkeypatch.setattr(Rewriting, "can_move", lambda *_: True)


PLANTED = Case(
    (Conv2D(1, 1, bias=False), Conv2D(1, 1, bias=False), Conv2D(2, 2), ReLU(),
     GlobalAvgPool2D()),
    (2, 2, 1), 16, rate=0.5,
)  # fmt: skip


def test_updates_that_come_before_the_data_gradient_are_found(weight_gradients_first, monkeypatch):
    monkeypatch.setenv("FASTCONV_CHECK", "0")
    for name in cython_engines():
        check, _ = check_steps(PLANTED, f"cython {name}")
        assert check.differs, f"{name}\n{check}"
        assert check.rows[0].name == "conv2d_1.weight"
        assert check.rows[0].error > 1


def test_the_check_of_plans_finds_them_before_the_first_step(weight_gradients_first, monkeypatch):
    monkeypatch.setenv("FASTCONV_CHECK", "1")
    for name in cython_engines():
        with pytest.raises(PlanError, match=r"reads parameters and finds the output of call \d+"):
            check_steps(PLANTED, f"cython {name}")


@pytest.mark.nightly
def test_a_fault_shrinks_to_a_small_network_and_a_test_to_paste(monkeypatch):
    right = optim.momentum_update

    def forgetful(spec, w, dw, m, rate, workspace):
        kept = w[spec.weights :].copy()
        right(spec, w, dw, m, rate, workspace)
        w[spec.weights :] = kept

    monkeypatch.setattr(optim, "momentum_update", forgetful)

    def is_wrong(case):
        # Other updates do not call it, and are compared by the tests above.
        has_momentum = case.optimizer.kind in ("momentum", "nesterov")
        return has_momentum and check_steps(case, "numpy")[0].differs

    case = find(
        cases(), is_wrong,
        settings=settings(max_examples=100, database=None, deadline=None, derandomize=True),
    )  # fmt: skip
    assert len(case.layers) <= 3
    assert case.batch == 1
    with pytest.raises(AssertionError) as failure:
        assert_steps_agree(case, "numpy")
    text = str(failure.value)
    assert "<-- differs" in text
    # What is printed is a test, and fails as it should.
    source = text[text.index("def test_") :]
    scope = {"assert_steps_agree": assert_steps_agree, "Case": Case, "Optimizer": Optimizer}
    pasted = {}
    exec(source, scope | vars(importlib.import_module("fastconv.layers")), pasted)
    with pytest.raises(AssertionError, match="differs"):
        pasted["test_steps_of_some_steps"]()


def test_the_source_of_a_case_is_the_case():
    for number in range(60):
        case = draw_case(Seeded(3, number))
        layers = importlib.import_module("fastconv.layers")
        names = {name: getattr(layers, name) for name in layers.__all__}
        again = eval(repr(case), {"Case": Case, "Loss": Loss, "Optimizer": Optimizer, **names})
        assert again == case


def test_the_same_number_draws_the_same_network():
    assert draw_case(Seeded(5, 17)) == draw_case(Seeded(5, 17))
    assert len({draw_case(Seeded(5, number)).layers for number in range(40)}) > 30


def test_draws_meet_every_layer_loss_and_update():
    drawn = [draw_case(Seeded(0, number)) for number in range(400)]
    kinds = {layer.kind for case in drawn for layer in case.layers}
    assert kinds == importlib.import_module("fastconv.layers").OWN_KINDS
    assert {Loss.of(case.loss).kind for case in drawn} == set(LOSSES)
    assert {case.optimizer.kind for case in drawn} == {
        "sgd", "momentum", "nesterov", "adam", "adamw",
    }  # fmt: skip
    assert {case.batch for case in drawn} >= {1, 2, 3, 4, 5, 8, 16, 17, 32, 64}
    assert {case.dtype for case in drawn} == {"float32", "float64"}


# The command.


def test_the_command_counts_and_says_what_was_not_reached(capsys, tmp_path):
    arguments = ["--networks", "3", "--runners", "numpy", "--failures", str(tmp_path / "f.py")]
    assert random_steps.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "3 networks; layers: " in printed
    assert "numpy: 3 networks" in printed
    assert printed.endswith("0 failures\n")
    assert not (tmp_path / "f.py").exists()


def test_the_command_keeps_failures_as_tests(monkeypatch):
    monkeypatch.setattr(optim, "sgd_update", lambda *arguments: None)
    tally = random_steps.Tally()
    for number in range(10):
        random_steps.check_network(0, number, ["numpy"], tally)
    assert tally.failures
    for (number, runner), text in tally.failures.items():
        assert runner == "numpy"
        assert f"def test_steps_of_network_{number}():" in text
