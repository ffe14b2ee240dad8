"""Profiles of a step, and of the way to the first one."""

import importlib
import json
import math
import time

import numpy as np
import pytest
from backend_states import say_that
from cuda_on_host import HostDevice, standing_in

from fastconv.backends.compiled.instructions.instruction import Target
from fastconv.backends.compiled.instructions.work import is_product, multiplications
from fastconv.backends.compiled.lowering.lowering import lower
from fastconv.backends.selection import BackendError, backend_state
from fastconv.execution.config import ExecutionConfig
from fastconv.profile import main
from fastconv.profiling import cold_start
from fastconv.profiling.cold_start import PHASES, ColdStartError, measure_cold_start
from fastconv.profiling.step_profile import measure, synthetic_dataset
from fastconv.recipe import load_recipe
from fastconv.runs.experiment import prepare

BACKENDS = ("numpy", "cython", "numba")
TARGETS = [Target("avx512", 64, 32, masks=True), Target("avx2", 32, 16), Target("plain", 0, 16)]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    for name in ("FASTCONV_BACKEND", "FASTCONV_DATA", "FASTCONV_THREADS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def skip_unless_it_works(backend):
    if not backend_state(backend).works:
        pytest.skip(f"{backend}: {backend_state(backend).reason}")


def profile_of(capsys, *arguments):
    """The JSON of a short profile, and what was printed for people."""
    code = main(["--steps", "2", "--repeats", "2", "--json", "-", *arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out), captured.err


def plan_of(name, batch=1):
    recipe = load_recipe(name, [("batch_size", batch)])
    trainer = prepare(
        recipe, dataset=synthetic_dataset(recipe), config=ExecutionConfig("numpy")
    ).trainer
    return trainer.runner.plan


# Steps.


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_profile_names_every_call_of_a_step_in_order(backend, capsys):
    skip_unless_it_works(backend)
    profile, text = profile_of(capsys, "--recipe", "digits", "--backend", backend)
    calls = [call for row in profile["rows"] for call in row["calls"]]
    assert calls[0] == "input.gather_images"
    assert {call.kernel for call in plan_of("digits").calls} == set(calls)
    first = {kernel: calls.index(kernel) for kernel in calls}
    assert (
        first["conv.conv2d_forward"] < first["pool.max_pool2d_forward"]
        < first["dense.dense_forward"] < first["loss.softmax_cross_entropy_backward"]
        < first["pool.max_pool2d_backward"] < first["optim.adam_update"]
    )  # fmt: skip
    for row in profile["rows"]:
        assert row["kernel"] in text.replace("\n", "")


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_operations_of_a_step_are_those_of_the_network(backend, capsys):
    skip_unless_it_works(backend)
    profile, _ = profile_of(capsys, "--recipe", "digits", "--backend", backend, "--batch-size", "8")
    # 8x8 pixels, 3x3 kernels: 1 to 16 and 16 to 32 channels; 4x4x32 inputs to 10 outputs.
    first, second, dense = 2 * 64 * 9 * 16, 2 * 64 * 9 * 16 * 32, 2 * 512 * 10
    # Forward and both gradients, but none of the images.
    expected = 8 * (3 * (first + second + dense) - first) / 1e9
    assert profile["gflop"] == pytest.approx(expected)
    assert sum(row["gflop"] for row in profile["rows"]) == pytest.approx(expected)
    assert profile["gflop_per_second"] == pytest.approx(1e6 * expected / profile["median_step"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_times_shares_and_repeats_fit_together(backend, capsys):
    skip_unless_it_works(backend)
    profile, _ = profile_of(capsys, "--recipe", "digits", "--backend", backend)
    assert (profile["steps"], profile["repeats"]) == (2, 2)
    assert sum(row["share"] for row in profile["rows"]) == pytest.approx(1)
    medians = [row["median_microseconds"] for row in profile["rows"]]
    assert profile["sum_of_rows"] == pytest.approx(sum(medians))
    assert all(row["least_microseconds"] <= row["median_microseconds"] for row in profile["rows"])
    assert 0 < profile["least_step"] <= profile["median_step"]
    assert profile["empty_run"] > 0
    speeds = [row["gflop_per_second"] for row in profile["rows"] if row["gflop"]]
    assert all(speed > 0 for speed in speeds)
    assert len(speeds) >= 8  # three forward, two data gradients, three weight gradients


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_thread_has_no_barriers_to_wait_at(backend, capsys):
    skip_unless_it_works(backend)
    arguments = ("--recipe", "digits", "--backend", backend, "--threads", "1")
    profile, _ = profile_of(capsys, *arguments)
    assert profile["threads"] == 1
    assert {row["threads"] for row in profile["rows"]} == {1}
    assert profile["barriers"] == (None if backend == "numpy" else 0)


def test_barriers_of_a_thread_pool_are_counted_and_timed(capsys):
    skip_unless_it_works("cython")
    arguments = ("--recipe", "cifar10-deep", "--backend", "cython", "--threads", "2")
    profile, text = profile_of(capsys, *arguments)
    assert profile["barriers"] == sum(row["barrier"] for row in profile["rows"])
    assert 0 < profile["barriers"] <= len(profile["rows"])
    assert profile["barrier_nanoseconds"] > 0
    assert f"{profile['barriers']} of {profile['barrier_nanoseconds']:.0f} ns" in text


def test_the_table_names_its_columns_and_sizes(capsys):
    arguments = ["--recipe", "digits", "--backend", "numpy", "--steps", "1", "--repeats", "1"]
    assert main([*arguments, "--threads", "1", "--batch-size", "3"]) == 0
    text = capsys.readouterr().out
    assert "digits, batch size 3, backend numpy, 1 thread: 1 repeat of 1 step" in text
    for word in ("kernel", "median", "minimum", "GFLOP/s", "share", "threads", "barrier"):
        assert (word in text) is (word != "barrier")  # NumPy has no pool of threads
    assert "g1mb3ic16ih8iw8oc32kh3kw3sh1sw1ph1pw1dh1dw1" in text
    assert "step without clock reads" in text


def test_without_a_number_the_steps_follow_from_their_time(capsys):
    assert main(["--recipe", "digits", "--backend", "numpy", "--repeats", "1", "--json", "-"]) == 0
    assert 1 <= json.loads(capsys.readouterr().out)["steps"] <= 1000


def test_a_file_takes_the_numbers(tmp_path, capsys):
    file = tmp_path / "profile.json"
    arguments = ["--recipe", "digits", "--backend", "numpy", "--steps", "1", "--repeats", "1"]
    assert main([*arguments, "--json", str(file)]) == 0
    assert "conv2d_forward" in capsys.readouterr().out
    assert json.loads(file.read_text())["recipe"] == "digits"


def test_a_backend_without_a_clock_is_refused_with_the_fix():
    recipe = load_recipe("digits")
    trainer = prepare(
        recipe, dataset=synthetic_dataset(recipe), config=ExecutionConfig("numpy")
    ).trainer

    class Plain:
        plan = trainer.runner.plan

    trainer._runner = Plain()
    with pytest.raises(BackendError, match="does not time the parts of a step; use --backend"):
        measure(trainer, "digits")


def test_the_synthetic_data_are_the_same_every_time_and_fit_the_batch():
    recipe = load_recipe("cifar10-deep", [("batch_size", 2000)])
    first, again = synthetic_dataset(recipe), synthetic_dataset(recipe)
    assert first.image_shape == (32, 32, 3)
    assert len(first.training) == 2000
    assert len(synthetic_dataset(recipe, 3).training) == 3
    np.testing.assert_array_equal(first.training.images, again.training.images)


def test_a_regression_is_profiled_on_a_regression():
    dataset = synthetic_dataset(load_recipe("regression-selu"), 7)
    assert not dataset.training.has_classes
    assert dataset.training.images.shape == (7, 1, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--recipe", "digit"], "did you mean 'digits'"),
        (["--backend", "numby"], "did you mean 'numpy'"),
        (["--steps", "0"], "--steps: 0; expected 1 or more"),
        (["--repeats", "-1"], "--repeats: -1; expected 1 or more"),
        (["--threads", "0"], "--threads: 0; expected 1 or more"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--json", "."], "--json .: no such folder, or a folder itself"),
        (["--recipe", "lenet5", "--data-dir", "absent", "--backend", "numpy"], "folder absent"),
        (["--epochs", "3"], "unrecognized arguments: --epochs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_exit_code_2_and_one_line(arguments, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(arguments)
    except SystemExit as leaving:
        code = leaving.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.startswith("fastconv.profile: ")
    assert captured.err.count("\n") == 1
    assert told in captured.err


# Which calls a instruction does.


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("batch", [1, 4, 32])
@pytest.mark.parametrize("name", ["cifar10-deep", "mnist-strided", "lenet5"])
def test_every_call_of_a_plan_has_instructions_and_every_instruction_a_call(name, batch, target):
    plan = plan_of(name, batch)
    lowered = lower(plan, target)
    assert len(lowered.origins) == len(lowered.instructions)
    assert all(lowered.origins)
    done = {number for origins in lowered.origins for number in origins}
    assert done == set(range(len(plan.calls)))


def test_a_fused_activation_belongs_to_the_product_and_not_to_the_packing():
    plan = plan_of("cifar10-deep")
    lowered = lower(plan, TARGETS[0])
    kernels = {}
    for instruction, origins in zip(lowered.instructions, lowered.origins, strict=True):
        for number in origins:
            kernels.setdefault(number, []).append(instruction.kernel)
    for number, call in enumerate(plan.calls):
        if call.kernel == "activation.activation_forward":
            assert set(kernels[number]) <= {"conv_tiles", "winograd_tiles", "add_parts"}
    assert any("pack_weights" in names for names in kernels.values())


def test_updates_made_by_weight_gradients_count_as_the_optimizers():
    plan = plan_of("cifar10-deep")
    lowered = lower(plan, TARGETS[0])
    last = len(plan.calls) - 1
    assert plan.calls[last].kernel == "optim.sgd_update"
    updating = [
        instruction.kernel
        for instruction, origins in zip(lowered.instructions, lowered.origins, strict=True)
        if last in origins
    ]
    assert set(updating) == {
        "conv_weight_tiles", "dense_backward_update", "transpose_weights",
        "winograd_weight_gradient",
    }  # fmt: skip
    assert len(updating) == 6  # four convolutions, two dense layers


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_subpixel_phases_of_a_strided_data_gradient_share_its_multiplications(target):
    plan = plan_of("mnist-strided")
    lowered = lower(plan, target)
    (number,) = [n for n, c in enumerate(plan.calls) if c.kernel == "conv.conv2d_backward_data"]
    products = [
        instruction
        for instruction, origins in zip(lowered.instructions, lowered.origins, strict=True)
        if number in origins and is_product(instruction)
    ]
    assert len(products) == 4
    # 13x13 pixels of 8 channels: of each axis 7 pixels are reached by taps 0 and 2, 6 by tap 1.
    taps = {(7, 2), (6, 1)}
    expected = sorted(64 * h * th * w * tw for h, th in taps for w, tw in taps)
    assert sorted(map(multiplications, products)) == expected


# From nothing to the first step.


def test_a_cold_start_is_told_phase_by_phase(capsys):
    arguments = ["--cold", "--recipe", "digits", "--backend", "numpy", "--repeats", "1"]
    assert main([*arguments, "--batch-size", "2", "--threads", "1", "--json", "-"]) == 0
    captured = capsys.readouterr()
    content = json.loads(captured.out)
    (start,) = content["starts"]
    assert content["phases"] == list(PHASES)
    assert (content["batch_size"], content["threads"], start["processes"]) == (2, 1, 1)
    assert len(start["median"]) == len(PHASES)
    assert all(milliseconds > 0 for milliseconds in start["median"])
    assert math.isclose(sum(start["median"]), start["total_median"])
    for phase in PHASES:
        assert phase in captured.err


def test_every_cold_start_is_made_on_the_device_asked_for(capsys, monkeypatch):
    used = []

    def child(arguments, variables):
        """The work of the fresh process, done by this one, where a device can be stood in for."""
        assert set(variables) == {"CUPY_CACHE_DIR"}  # of its own, empty at first
        used.append("a process")
        cold_start.report(time.monotonic(), *arguments)
        return [1.0] * len(PHASES)

    monkeypatch.setattr(cold_start, "_child", child)
    say_that(monkeypatch, "cupy", works=True, reason="the host in place of two GPUs")
    arguments = ["--cold", "--recipe", "mnist-strided", "--backend", "cupy", "--repeats", "2"]
    with standing_in(HostDevice()) as device:
        monkeypatch.setattr(device, "use", used.append)
        assert main([*arguments, "--device", "1"]) == 0
        # The command line itself looks whether there is such a device.
        assert used == [1, "a process", 1, "a process", 1, "a process", 1]
        assert main(arguments) == 0
        assert used[7:] == ["a process"] * 3


def test_a_cold_start_that_fails_says_why_in_one_line():
    with pytest.raises(
        ColdStartError, match=r"first step failed: .*did you mean 'digits'"
    ) as caught:
        measure_cold_start("digit", ExecutionConfig("numpy", 1))
    assert "\n" not in str(caught.value)


def test_nothing_heavy_is_imported_with_the_module_that_times_imports():
    module = importlib.import_module("fastconv.profiling.cold_start")
    assert not hasattr(module, "np")
    assert "numpy" not in {getattr(thing, "__name__", "") for thing in vars(module).values()}
