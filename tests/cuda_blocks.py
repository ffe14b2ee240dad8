"""Drawn networks whose steps one block of a card makes, on the host in place of a card."""

import numpy as np
from cuda_on_host import standing_in
from random_networks import draw_case
from step_runners import CUDA_BLOCK, make_runner
from watched import host_device

from fastconv.backends.cupy.block_plan import NotInABlock
from fastconv.backends.cupy.block_runner import rewritten_in_a_block

_TRIES = 200
COMPARED = ("parameters", "state", "gradients", "first_moment", "second_moment")


class _Covered(Exception):
    """A block makes it."""


def is_covered(case):
    """Whether a block has instructions for all that a case does."""

    def probe(plan, shared):
        rewritten_in_a_block(plan)
        raise _Covered

    try:
        case.steps().made_by(probe)
    except NotInABlock:
        return False
    except _Covered:
        return True
    raise AssertionError("a case without a plan")


def draw_block(choose):
    """Draw a case that a block makes."""
    return next(filter(is_covered, (draw_case(choose) for _ in range(_TRIES))))


def steps_in_a_block(case, schedule=0):
    """What a block has in its arrays after the steps of a case, in the order of a schedule."""
    device = host_device()
    runners = []

    def made(plan, shared):
        runners.append(make_runner(CUDA_BLOCK, plan, shared, 1))
        return runners[-1]

    with standing_in(device):
        device.schedule = schedule
        try:
            case.steps().made_by(made, at_once=True)
            (runner,) = runners
            names = {buffer.name for buffer in runner.plan.buffers}
            kept = {n: np.array(runner.buffer(n)) for n in COMPARED if n in names}
            return kept | {"statistics": np.array(runner.buffer("statistics"))}
        finally:
            device.schedule = 0
