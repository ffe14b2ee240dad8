"""What CUDA kernels compute does not depend on which thread or block is first.

``python -m tests.cuda_schedules`` draws many more schedules, and runs them under the sanitizers.
"""

import ctypes
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cuda_on_host import HostDevice, check_arguments, compile_source, library_of, standing_in
from cuda_schedules import NAMES, check_schedule, run_in
from cuda_steps import made_plan, stepped
from hypothesis import given
from hypothesis import strategies as st
from kernel_calls import calls_of, specs_of
from random_networks import Hypothesis, Seeded
from sanitized_engine import BuildError, library
from test_properties import drawn
from watched import CUDA_ON_HOST, host_device, run

from fastconv import Sequential
from fastconv.backends.cupy.kernel_sources import kernel_folder
from fastconv.backends.cupy.sources import instances_of
from fastconv.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU

SCHEDULES = 5


@pytest.mark.parametrize("family", NAMES)
def test_a_drawn_order_of_threads_and_blocks_changes_no_bit(family):
    numbers = range(SCHEDULES)
    assert sum(check_schedule(Seeded(7, n), family, n) for n in numbers) >= SCHEDULES


@drawn(30)
@given(data=st.data())
def test_kernels_of_drawn_shapes_agree_with_the_oracle(data):
    choose = Hypothesis(data.draw)
    check_schedule(choose, choose.one_of(NAMES), choose.integer(0, 1000))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_fused_steps_have_the_same_bits_in_every_order(precision):
    layers = [Conv2D(4, padding=1), ReLU(), MaxPool2D(2), Flatten(), Dense(3)]
    results = []
    for schedule in (0, 3, 4):
        network = Sequential(layers, (9, 8, 2), seed=1)
        with standing_in(HostDevice(schedule)):
            results.append(stepped(made_plan(network), network, precision))
    for other in results[1:]:
        for array, expected in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(array, expected)


# Barriers that are missing

PLANTED = {
    # The source, where the kernel begins, which barrier from there on, and what calls it.
    "broadcast": ("augment.cu", "augment.cu", "void crop_images(", 0, "augment.crop_images"),
    "rows": (
        "group_norm.cu", "group_norm.cu", "group_norm_backward_parameters(", 0,
        "group_norm.group_norm_backward_parameters",
    ),
    "tiles": ("dense.cu", "product.cuh", "#pragma once", 0, "dense.dense_forward"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_missing_barrier_is_found_by_a_drawn_order(name, tmp_path, monkeypatch):
    device = host_device()  # skips where there is no compiler
    source, changed, start, number, kernel = PLANTED[name]
    for path in kernel_folder().glob("*.cu*"):
        shutil.copy(path, tmp_path)
    before, mark, rest = (tmp_path / changed).read_text("utf-8").partition(start)
    barriers = rest.split("__syncthreads();")
    assert mark
    assert len(barriers) > number + 1
    barriers[number : number + 2] = [";".join(barriers[number : number + 2])]
    (tmp_path / changed).write_text(before + mark + "__syncthreads();".join(barriers), "utf-8")
    # Products in large tiles have libraries of their own, and take the compiler long.
    start, plain = kernel.partition(".")[2], f"{source.removesuffix('.cu')}.so"
    every = [each for each in instances_of(source, "float32") if each.startswith(start)]
    own = [each for each in every if library_of(source, each) == plain]
    compile_source(source, own, tmp_path / "wrong.so", sources=tmp_path)

    spec = max(specs_of(kernel), key=size_of)
    call = calls_of(kernel, spec, np.float32)[0]
    expected = run(CUDA_ON_HOST, call)
    wrong, right = ctypes.CDLL(str(tmp_path / "wrong.so")), device._library_of

    def planted(of, instance):
        return wrong if of == source else right(of, instance)

    monkeypatch.setattr(device, "_library_of", planted)

    def is_right(schedule):
        found = run_in(call, None, schedule)
        return all(np.array_equal(found[key], expected[key]) for key in expected)

    assert not all(is_right(schedule) for schedule in range(1, SCHEDULES + 1))
    if name == "broadcast":
        # The thread that writes is the first of all, where each has its turn.
        assert is_right(0)


def size_of(spec):
    """About how much there is to do."""
    inputs = getattr(spec, "inputs", 0)
    return inputs * spec.batch if inputs else math.prod(getattr(spec, "x_shape", None) or (1,))


WIDTHS = ("int32", "float64", "float32*", "uint8*")


def test_a_launch_with_a_number_of_another_width_is_found():
    right = [np.int32(1), np.float64(1), np.zeros(3, np.float32), None]
    check_arguments("kernel", WIDTHS, right)
    check_arguments("kernel", WIDTHS, [*right[:2], np.zeros(12, np.uint8), right[3]])  # plain bytes
    for place, wrong in ((0, np.int64(1)), (1, np.int32(1)), (2, np.zeros(3)), (3, np.int32(0))):
        with pytest.raises(AssertionError, match=f"argument {place} is"):
            check_arguments("kernel", WIDTHS, [*right[:place], wrong, *right[place + 1 :]])
    with pytest.raises(AssertionError, match="3 arguments"):
        check_arguments("kernel", WIDTHS, right[:3])


def sanitized(*arguments):
    command = [sys.executable, "-m", "tests.cuda_schedules", "--sanitized", *arguments]
    folder = Path(__file__).parent.parent
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=900
    )


@pytest.mark.nightly
def test_kernels_keep_to_their_memory_and_to_defined_cplusplus(tmp_path):
    host_device()  # skips where there is no compiler
    try:
        library("libasan.so")
    except BuildError as fault:
        pytest.skip(str(fault))
    done = sanitized("--schedules", "3")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.count(": 3 schedules") == len(NAMES) + 1  # and whole steps
