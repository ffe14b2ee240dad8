"""CUDA kernels in orders of blocks and threads that are drawn: ``python -m tests.cuda_schedules``.

    python -m tests.cuda_schedules --schedules 200
    python -m tests.cuda_schedules --schedules 20 --family norm. --sanitized

Each number draws a spec of the family, its data and a schedule: the results must be those of the
oracle, and have the bits that they have when blocks and threads come one after the other. A barrier
that is missing shows wherever it matters who was first. Products are made as in a step too, whose
last block adds up the parts, in every precision. The family block_steps has whole networks instead,
whose steps one block makes. With ``--sanitized`` the sources are compiled with
the sanitizers of memory and of undefined behaviour.
"""

import argparse
import functools
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from cuda_blocks import draw_block, steps_in_a_block
from cuda_on_host import standing_in
from fuzz_specs import _ONE_BY_ONE, _largest_term
from kernel_calls import calls_of
from random_networks import Seeded
from random_specs import FAMILIES
from step_runners import CUDA_BLOCK, assert_steps_agree
from tolerances import assert_close
from watched import CUDA_ON_HOST, host_device, run

from fastconv.plans.operation import OptimizerSpec

_PRODUCTS = ("conv.", "dense.")
_PRECISIONS = (None, "float32", "tf32", "bf16")
NAMES = tuple(starts for _, _, starts in FAMILIES)
"""Families of kernels, by the beginnings of their names."""
BLOCKS = "block_steps"
"""The family of networks whose steps one block makes."""


def _case(choose, starts):
    """A kernel of a family, its spec, a dtype, and how products are made."""
    draw = next(draw for _, draw, names in FAMILIES if names == starts)
    spec = draw(choose)
    possible = [kernel for kernel in _ONE_BY_ONE if kernel.startswith(tuple(starts.split()))]
    if isinstance(spec, OptimizerSpec):
        name = "momentum" if spec.kind == "nesterov" else spec.kind
        possible = [f"optim.{name}_update"]
    kernel = choose.one_of(possible)
    precision = choose.one_of(_PRECISIONS) if kernel.startswith(_PRODUCTS) else None
    dtype = np.float32 if precision in ("tf32", "bf16") else choose.one_of((np.float32, np.float64))
    return kernel, spec, dtype, precision


def run_in(call, precision, schedule):
    """Run a call on the host in place of a GPU, in the order of a schedule."""
    device = host_device()
    device.schedule = schedule
    try:
        return run(CUDA_ON_HOST, call, precision=precision)
    finally:
        device.schedule = 0


def check_schedule(choose, starts, number):
    """Assert that a drawn kernel of a family does in a drawn order what it does in their own.

    Parameters
    ----------
    choose
        Draws the case (``random_networks.py``).
    starts
        The family.
    number
        Of the schedule, and of the data; 0 or more.

    Returns
    -------
    int
        Calls that were made.
    """
    kernel, spec, dtype, precision = _case(choose, starts)
    calls = calls_of(kernel, spec, dtype, seed=number)
    with np.errstate(all="ignore"):
        for call in calls:
            label = f"{call}, number {number}"
            in_order, drawn = (run_in(call, precision, schedule) for schedule in (0, number + 1))
            for name, actual in drawn.items():
                np.testing.assert_array_equal(
                    _bits(actual), _bits(in_order[name]), err_msg=f"{label}: {name}"
                )
            if precision in ("tf32", "bf16"):
                continue
            expected = run("reference", call.in_float64())
            for name, actual in in_order.items():
                scale = max(call.scale_of(name), _largest_term(call))
                assert_close(
                    actual, expected[name], kernel, f"{label}: {name}", scale=scale, most=2
                )
    return len(calls)


def check_block(choose, number):
    """Assert that a block makes the steps of a drawn network in a drawn order as in their own.

    Parameters
    ----------
    choose, number
        As for :func:`check_schedule`.

    Returns
    -------
    int
        Networks that were trained.
    """
    case = draw_block(choose)
    expected, found = steps_in_a_block(case), steps_in_a_block(case, number + 1)
    for name, array in expected.items():
        assert np.array_equal(_bits(found[name]), _bits(array)), (case, name, number)
    with standing_in(host_device()):
        assert_steps_agree(case, CUDA_BLOCK)
    return 1


def _bits(array):
    """Numbers of which a NaN equals itself."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _sanitized(arguments):
    """Run the same command in a process that has the sanitizers."""
    from sanitized_engine import variables

    environment = {**os.environ, **variables(), "FASTCONV_CUDA_SANITIZED": "1"}
    command = [sys.executable, "-m", "tests.cuda_schedules", *arguments]
    return subprocess.run(command, env=environment, check=False).returncode


def main(arguments=None):
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser("python -m tests.cuda_schedules", description=__doc__)
    add = parser.add_argument
    add("--schedules", type=int, default=200, help="of each family")
    add("--first", type=int, default=0, help="number of the first schedule")
    add(
        "--family",
        choices=(*NAMES, BLOCKS),
        action="append",
        help="this one; all where none is named",
    )
    add("--sanitized", action="store_true", help="with the sanitizers of memory and of C++")
    options = parser.parse_args(arguments)
    if options.sanitized and not os.environ.get("FASTCONV_CUDA_SANITIZED"):
        return _sanitized(sys.argv[1:] if arguments is None else arguments)
    failures = 0
    for starts in options.family or (*NAMES, BLOCKS):
        check = (
            check_block if starts == BLOCKS else functools.partial(check_schedule, starts=starts)
        )
        began, calls = time.monotonic(), 0
        for number in range(options.first, options.first + options.schedules):
            try:
                calls += check(Seeded(7, number), number=number)
            except AssertionError as fault:
                failures += 1
                print(f"--family {starts!r} --first {number} --schedules 1: {fault}", flush=True)
        seconds = time.monotonic() - began
        print(
            f"{starts}: {options.schedules} schedules, {calls} calls, {seconds:.0f} s", flush=True
        )
    print(f"{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
