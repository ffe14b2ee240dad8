"""Whole training steps of a case on every backend and instruction set, beside the reference's."""

import functools

import numpy as np
from random_networks import STEPS
from vectorised_reference import VectorisedRoundedRunner, VectorisedRunner

from fastconv.backends.compiled.instructions.instruction import Target
from fastconv.backends.compiled.runner import StreamRunner
from fastconv.backends.cupy.block_runner import BlockRunner
from fastconv.backends.selection import backend_state, load_module
from fastconv.step_check.step_comparison import StepCheck, compare
from fastconv.step_check.training_steps import ReferenceSteps

CUDA_BLOCK = "a block of the cupy backend"
"""Name of its runner, for a test in which the host stands in for a card."""


class _Engine:
    """The compiled engine at one of its instruction sets."""

    tiles_of = None

    def __init__(self, engine, target):
        self._target, self._addresses = target, engine.kernel_addresses(target.name)
        self.run_stream = engine.run_stream

    def target(self):
        return self._target

    def address_of(self, kernel, dtype):
        return self._addresses[kernel, dtype]

    @property
    def kernels(self):
        """Names and dtypes of all that it has."""
        return sorted(self._addresses)


@functools.cache
def cython_engines():
    """Engines by the names of instruction sets, best first; none where it was not built."""
    if not backend_state("cython").works:
        return {}
    from fastconv.backends.cython import _engine

    found = [Target(**each) for each in _engine.instruction_sets()]
    return {target.name: _Engine(_engine, target) for target in found}


def runner_names():
    """Every backend that steps can be made on here, with each instruction set of the C kernels."""
    numba = ["numba"] if backend_state("numba").works else []
    return ["numpy", *(f"cython {name}" for name in cython_engines()), *numba]


def make_runner(name, plan, shared, threads):
    """Make the runner of a plan on one of :func:`runner_names`, or as a block of a card."""
    if name == CUDA_BLOCK:
        return BlockRunner(plan, shared)
    backend, _, instruction_set = name.partition(" ")
    if instruction_set:
        chosen = {"engine": cython_engines()[instruction_set]}
        return type("Runner", (StreamRunner,), chosen)(plan, shared, threads)
    return load_module(backend, "run").Runner(plan, shared, threads)


def reference_of(case):
    """The steps of a case as the reference's kernels make them, whole arrays at a time."""
    return ReferenceSteps(case.steps(), None, VectorisedRunner, VectorisedRoundedRunner)


def check_steps(case, name, reference=None, seen=None):
    """Make the steps of a case on a runner, and compare them with the reference's.

    They are made one by one on two threads, and in one call on one, with the same bits. ``seen``
    gets the names of the native kernels that ran. Returns the comparison, and what differs in bits.
    """
    reference = reference or reference_of(case)
    steps = reference.steps

    def runner_on(threads, plan, shared):
        runner = make_runner(name, plan, shared, threads)
        if seen is not None:
            seen.update((r.kernel, r.dtype) for r in getattr(runner, "instructions", ()))
        return runner

    each = steps.made_by(functools.partial(runner_on, 2))
    (at_once,) = steps.made_by(functools.partial(runner_on, 1), at_once=True)
    rows = compare(reference, each, at_once)
    compared = ("parameters", "state", "first_moment", "second_moment")
    other_bits = [
        buffer
        for buffer in compared
        if not np.array_equal(each[-1][buffer], at_once[buffer], equal_nan=True)
    ]
    return StepCheck(rows, name, STEPS, case.batch, case.batch), other_bits


def assert_steps_agree(case, name, reference=None, seen=None):
    """Fail with a table and a test to paste where the steps of a case are wrong on a runner."""
    check, other_bits = check_steps(case, name, reference, seen)
    assert not check.differs, f"\n{check}\n\n{case.as_test(name)}"
    assert not other_bits, f"threads change the bits of {other_bits}\n\n{case.as_test(name)}"
