"""Verification: what it reads, what it compares with, and the faults that it finds."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv.backends.selection import backend_state, load_module
from fastconv.recipe import load_recipe
from fastconv.spec import ConvSpec, DenseSpec, PoolSpec
from fastconv.verify.__main__ import main
from fastconv.verify.check import Subject, check_problem
from fastconv.verify.kernel_calls import calls_of
from fastconv.verify.oracle import by_taps, expected, of_reference
from fastconv.verify.problems import (
    Problem,
    ProblemError,
    descriptor_of,
    is_descriptor,
    parse_descriptor,
    read_list,
)
from fastconv.verify.processes import Work, run
from fastconv.verify.random_problems import draw_problem
from fastconv.verify.recipe_steps import check_recipe, problems_of
from fastconv.verify.shapes import HARD_SHAPES
from fastconv.verify.tolerances import excess

TREE = Path(fastconv.__file__).parent.parent


# What it reads. Expected specs are worked out by hand from benchdnn's rules.


@pytest.mark.parametrize(
    ("descriptor", "spec"),
    [
        # The width is like the height, and dh0 is a dense kernel.
        ("mb1_ic3oc16_ih32oh32kh3sh1dh0ph1", "g1mb1ic3ih32iw32oc16kh3kw3sh1sw1ph1pw1dh1dw1"),
        # A batch of 2; the output asks for one row and column more than ph0: 13 - 3 + 1 is 11.
        ('ic3oc1_ih13oh12kh3ph0_n"tail"', "g1mb2ic3ih13iw13oc1kh3kw3sh1sw1ph0,1pw0,1dh1dw1"),
        # (120 - 1) * 2 + 3 - 240 = 1 row of padding in all, at the top.
        ("g4ic8oc4_ih240oh120kh3sh2ph1", "g4mb2ic8ih240iw240oc4kh3kw3sh2sw2ph1,0pw1,0dh1dw1"),
        # Padding from the output: (5 - 1) * 1 + 3 - 5 = 2.
        ("ic3oc4_ih5oh5kh3", "g1mb2ic3ih5iw5oc4kh3kw3sh1sw1ph1pw1dh1dw1"),
        # Width alone is one row; dh1 leaves a pixel out between taps.
        ("g1ic3oc17_iw8kw3pw1sw2", "g1mb2ic3ih1iw8oc17kh1kw3sh1sw2ph0pw1dh1dw1"),
        ("mb1ic2oc2ih9iw8kh3kw2dh1dw2", "g1mb1ic2ih9iw8oc2kh3kw2sh1sw1ph0pw0dh2dw3"),
    ],
)
def test_a_descriptor_is_read_as_benchdnn_reads_it(descriptor, spec):
    assert str(parse_descriptor(descriptor).spec) == spec


def test_descriptors_of_pools_and_dense_layers():
    pool = PoolSpec(1, 8, 28, 28, (2, 2), (2, 2))
    assert parse_descriptor("mb1ic8_ih28kh2sh2").spec == pool
    assert parse_descriptor("mb1ic8_ih28oh14kh2sh2ph0").spec == pool
    assert parse_descriptor("mb17ic33oc65").spec == DenseSpec(17, 33, 65)
    assert parse_descriptor("mb2ic16ih3iw4oc5").spec == DenseSpec(2, 192, 5)
    assert parse_descriptor('ic1oc2ih5kh3n"named"').name == "named"


@pytest.mark.parametrize(
    ("descriptor", "told"),
    [
        ("mb1ic3_oc4", None),
        ("mb1ic3oc4_kh3", "has no ih; add it"),
        ("mb1ic3oc4_ih5kh3zz2", "'zz2' is no pair of a name and a number"),
        ("mb1ic3oc4_ih9oh4kh3ph0", "oh is 4 but the convolution gives 7 with ph0"),
        ("mb1ic3oc4_ih2kh3", "the kernel spans 3 in height but the padded input has only 2"),
        ("ic3oc16_id5kd3pd1", "has a depth"),
        ("g2mb1ic3oc4_ih5kh3", "groups is 2; expected a number that divides"),
        ("mb1ic3oc4_ih5kh3sh0", "stride is"),
    ],
)
def test_what_is_no_problem_is_said_in_one_line(descriptor, told):
    assert is_descriptor(descriptor)
    if told is None:
        assert parse_descriptor(descriptor).spec == DenseSpec(1, 3, 4)
        return
    with pytest.raises(ProblemError, match=told) as fault:
        parse_descriptor(descriptor)
    assert len(str(fault.value).splitlines()) == 1


def test_every_problem_is_read_back_from_its_descriptor():
    drawn = [draw_problem(5, number).spec for number in range(300)]
    for spec in (*HARD_SHAPES, *drawn):
        assert parse_descriptor(descriptor_of(spec)).spec == spec


def test_a_list_of_problems_is_read_with_its_options(tmp_path):
    (tmp_path / "inner").write_text('mb9ic4oc4_ih5kh3_n"inner"\n', encoding="utf-8")
    (tmp_path / "list").write_text(
        """
        # two shapes, and one of three dimensions
        --reset --cfg=f32
        --mb=3 --dir=FWD_B,BWD_D
        ic3oc4_ih5kh3ph1_n"first"  # a remark
        mb1ic3oc4_ih5kh1
        ic3oc16_id5od5kd3pd1_n"3d"
        --mb=0
        mb1ic3oc4_ih5kh1
        --attr-post-ops=relu
        --batch=inner
        """,
        encoding="utf-8",
    )
    found = read_list(str(tmp_path / "list"))
    assert [(p.spec.batch, p.spec.kernel[0], p.name) for p in found.problems] == [
        (3, 3, "first"), (3, 1, ""), (1, 1, ""), (9, 3, "inner"),
    ]  # fmt: skip
    assert [r.partition(": ")[2] for r in found.remarks] == [
        'ic3oc16_id5od5kd3pd1_n"3d" has three dimensions: passed over',
        "--attr-post-ops=relu passed over",
    ]
    (tmp_path / "wrong").write_text("ic3oc4_ih5kh3\nnonsense\n", encoding="utf-8")
    with pytest.raises(ProblemError, match=r"wrong, line 2: problem 'nonsense'"):
        read_list(str(tmp_path / "wrong"))


def test_a_recipe_is_its_layers():
    assert [problem.descriptor for problem in problems_of(load_recipe("digits"))] == [
        "g1mb32_ic1ih8iw8_oc16oh8ow8_kh3kw3_sh1sw1_ph1pw1_dh0dw0",
        "g1mb32_ic16ih8iw8_oc32oh8ow8_kh3kw3_sh1sw1_ph1pw1_dh0dw0",
        "mb32ic32ih8iw8kh2kw2sh2sw2ph0pw0cm0ip1",
        "mb32ic512oc10",
    ]


# What it compares with.


@pytest.mark.parametrize("spec", [s for s in HARD_SHAPES if isinstance(s, ConvSpec)][::2], ids=str)
def test_sums_a_tap_at_a_time_are_those_of_the_reference(spec):
    if spec.out_height * spec.out_width * spec.groups > 300:
        pytest.skip("the reference's loops would take seconds")
    for call in calls_of(spec, "float64", integers=True):
        reference = of_reference(call)
        for name, array in by_taps(call).items():
            np.testing.assert_array_equal(array, reference[name], err_msg=f"{call}: {name}")


def test_sums_of_large_dense_layers_are_those_of_the_reference():
    for call in calls_of(DenseSpec(31, 60, 150), "float64", integers=True):
        reference = of_reference(call)
        for name, array in expected(call).items():
            np.testing.assert_array_equal(array, reference[name], err_msg=name)


def test_an_error_counts_in_multiples_of_what_is_allowed():
    wanted = np.array([1.0, -4.0])
    epsilon = np.finfo(np.float32).eps
    got = np.array([1.0 + 64 * epsilon, -4.0], np.float32)
    # 16 epsilons of the largest, 4, are 64 epsilons.
    assert excess(got, wanted, "conv.conv2d_forward").tolist() == [1.0, 0.0]


# Sound backends.

FEW = ("mb2ic3oc17_ih6kh3ph1", "g17mb1ic17oc17_ih5kh3ph1", "mb3ic7oc9",
       "mb2ic17ih6iw6kh2kw2sh2sw2ph0pw0cm0ip1")  # fmt: skip


def works(backend):
    return pytest.param(
        backend,
        marks=[] if backend_state(backend).works else pytest.mark.skip(reason="not built here"),
    )


@pytest.mark.parametrize("descriptor", FEW)
@pytest.mark.parametrize("backend", ["numpy", works("cython")])
def test_a_sound_backend_has_no_failures(backend, descriptor):
    threads = (1, 2, 3) if backend == "cython" else (1,)
    tally = check_problem(Subject(backend, "", threads), parse_descriptor(descriptor))
    assert tally.failures == []
    # A convolution: forward twice (with and without bias), data, weights twice, as many of the
    # transposed one; planes: forward twice, backward 5 (db left out of two), and the transposed.
    calls = {ConvSpec: 24, DenseSpec: 5, PoolSpec: 4}
    assert tally.calls == 4 * calls[type(parse_descriptor(descriptor).spec)]  # dtypes x numbers


@pytest.mark.skipif(not backend_state("cython").works, reason="not built here")
def test_the_steps_of_a_sound_recipe_have_no_failures():
    recipe = load_recipe("digits", [("batch_size", 4)])
    tally = check_recipe(Subject("cython", "", (1, 2)), recipe, "digits")
    assert tally.failures == []


# Faults, planted: each is found within a minute, from nothing but drawn problems, and told.


def faults_of(backend, threads, kernel):
    """Failures of the first drawn problems, up to the first one that has any."""
    began = time.monotonic()
    for number in range(10_000):
        problem = draw_problem(1, number)
        found = check_problem(Subject(backend, "", threads), problem, dtypes=("float32",))
        if found.failures:
            return found.failures
        assert time.monotonic() - began < 60, "not found within a minute"
    raise AssertionError("not found")


def planted(monkeypatch, backend, kernel, spoil):
    """Have a kernel of a backend go wrong: ``spoil`` is given its spec and arrays behind it."""
    module_name, _, name = kernel.partition(".")
    module = load_module(backend, module_name)
    sound = getattr(module, name)

    def wrong(spec, *arrays):
        sound(spec, *arrays)
        spoil(spec, *arrays)

    monkeypatch.setattr(module, name, wrong)


def test_an_edge_that_is_one_off_is_found(monkeypatch):
    def spoil(spec, x, w, b, y, workspace):
        if spec.padding[1][1] and spec.out_width > 1:  # the last column, as if shifted by one
            y[:, :, -1] = y[:, :, -2]

    planted(monkeypatch, "numpy", "conv.conv2d_forward", spoil)
    failure = faults_of("numpy", (1,), "conv.conv2d_forward")[0]
    assert failure.kernel == "conv.conv2d_forward"
    assert f", {parse_descriptor(failure.problem).spec.out_width - 1}, " in failure.what
    assert failure.reproducer == (
        f"python -m fastconv.verify --backend numpy --threads 1 --kernel conv.conv2d_forward "
        f"--dtype float32 {failure.problem}"
    )


@pytest.mark.skipif(not backend_state("cython").works, reason="not built here")
def test_a_lost_remainder_of_channels_is_found(monkeypatch):
    def spoil(spec, dy, w, dx, workspace):
        rest = spec.in_channels % 16
        if spec.in_channels > 16 and rest:
            dx[..., -rest:] = 0

    planted(monkeypatch, "cython", "conv.conv2d_backward_data", spoil)
    failures = faults_of("cython", (1, 2), "conv.conv2d_backward_data")
    assert {failure.kernel for failure in failures} == {"conv.conv2d_backward_data"}
    assert parse_descriptor(failures[0].problem).spec.in_channels % 16


@pytest.mark.skipif(not backend_state("cython").works, reason="not built here")
def test_a_sum_whose_order_depends_on_the_threads_is_found(monkeypatch):
    """An instruction stream whose last bits are another on two threads than on one."""
    from fastconv.backends.compiled.threads import default_threads
    from fastconv.backends.cython import engine

    sound = engine.execute

    def racing(kernel, spec, *arrays):
        sound(kernel, spec, *arrays)
        if kernel == "dense.dense_backward_weight" and default_threads() > 1:
            dw = arrays[2]
            dw[...] = np.nextafter(dw, np.float32(np.inf))

    monkeypatch.setattr(engine, "execute", racing)
    failures = faults_of("cython", (1, 2), "dense.dense_backward_weight")
    assert failures[0].kernel == "dense.dense_backward_weight"
    told = {failure.what for failure in failures}
    assert told & {"dw has other bits on another number of threads"}, told
    assert {failure.threads for failure in failures} == {2}


def test_memory_that_is_not_a_kernels_to_write_is_found(monkeypatch):
    def spoil(spec, x, w, b, y, workspace):
        x.reshape(-1)[:1] += 1

    planted(monkeypatch, "numpy", "dense.dense_forward", spoil)
    failures = check_problem(Subject("numpy"), Problem(DenseSpec(2, 3, 4))).failures
    assert {f.what for f in failures} == {
        "MemoryFault: dense.dense_forward DenseSpec(batch=2, inputs=3, outputs=4): x was changed",
        "MemoryFault: dense.dense_forward DenseSpec(batch=2, inputs=3, outputs=4) without b: "
        "x was changed",
    }


# Processes and the command.


def test_a_kernel_that_ends_its_process_is_found_and_the_rest_is_checked(monkeypatch, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "from fastconv.backends.numpy import dense\n"
        "sound = dense.dense_forward\n"
        "def ending(spec, *arrays):\n"
        "    if spec.batch == 3: os.kill(os.getpid(), 11)\n"
        "    sound(spec, *arrays)\n"
        "dense.dense_forward = ending\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    outcome = run(Work(Subject("numpy"), ("mb2ic3oc4", "mb3ic3oc4", "mb4ic3oc4")))
    (failure,) = outcome.failures
    assert (failure.problem, failure.what) == ("mb3ic3oc4", "the process ended with SIGSEGV")
    assert outcome.checked == 3


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "fastconv.verify", *arguments],
        env={**os.environ, "PYTHONPATH": str(TREE), **environment},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_the_command_reports_every_instruction_set_with_the_configuration(tmp_path):
    file = tmp_path / "report.txt"
    done = command(
        "mb2ic5oc6_ih5kh3ph1", "--backend", "numpy", "--report", str(file), "--json", "-"
    )
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    assert table["failures"] == []
    assert [each["calls"] for each in table["subjects"]] == [96]
    text = file.read_text(encoding="utf-8")
    assert text.startswith("fastconv.verify: no failure in 96 calls\n")
    assert f"\nfastconv {fastconv.__version__}, Python 3" in text  # show_config's


@pytest.mark.skipif(not backend_state("cython").works, reason="not built here")
def test_each_instruction_set_is_a_subject_of_its_own():
    from fastconv.backends.cython import _engine

    sets = [each["name"] for each in _engine.instruction_sets()]
    done = command("mb1ic3oc4", "--backend", "cython", "--dtype", "float32", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert [each["isa"] for each in json.loads(done.stdout)["subjects"]] == sets


def test_what_cannot_be_verified_is_one_line(capsys, tmp_path):
    for arguments, told in (
        (["mb1ic3oc4_ih2kh3"], "the kernel spans 3"),
        (["digit"], "did you mean 'digits'"),
        (["mb1ic3oc4", "--kernel", "conv2d"], "--kernel is 'conv2d'; expected one of conv.conv2d"),
        (["mb1ic3oc4", "--isa", "avx9", "--backend", "numpy"], "no backend has it here"),
        (["mb1ic3oc4", "--minutes", "0"], "--minutes is 0; expected more than 0"),
    ):
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        (line,) = captured.err.splitlines()
        assert line.startswith("fastconv.verify: ")
        assert told in line
