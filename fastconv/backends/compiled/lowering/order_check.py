"""Whether instructions do what a plan says, in an order and with barriers that keep threads apart.

Two things are checked of the instructions that a plan became. That every read finds the value that
the plan's own order gives it: :mod:`fastconv.plans.plan_check`. And that between two barriers no
thread writes what another one reads or writes: what one thread does alone stays in its order, all
else must lie apart. A step follows the one before it, so that the last instructions and the first
are neighbours too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from fastconv.backends.compiled.instructions.effects import Region, effects_of
from fastconv.backends.compiled.instructions.instruction import Instruction, Target
from fastconv.backends.compiled.lowering.lowering import Lowered
from fastconv.plans.plan import Plan
from fastconv.plans.plan_check import Access, PlanError, Step, check_steps

_GRAIN = 4
"""Bytes of an element of memory beside the plan's buffers."""


def check_lowered(plan: Plan, lowered: Lowered, target: Target) -> None:
    """Check the instructions of a plan.

    Raises
    ------
    PlanError
        If an instruction reads another value than the plan's order gives it, reaches beyond its
        arrays, or meets what another thread does at the same time.
    """
    steps = [
        _step(plan, lowered, instruction, origins, lowered.holds.get(number, ()), target)
        for number, (instruction, origins) in enumerate(
            zip(lowered.instructions, lowered.origins, strict=True)
        )
    ]
    prepared = [
        _step(plan, lowered, instruction, origins, (), target)
        for instruction, origins in zip(lowered.preparation, lowered.prepared_for, strict=True)
    ]
    sizes = {-1 - n: -(-size // _GRAIN) for n, size in enumerate(lowered.memory_bytes)}
    check_steps(plan, [*prepared, *steps], sizes)
    check_barriers(lowered.preparation, prepared)
    check_barriers(lowered.instructions, steps)
    _check_prepared(plan, prepared, steps)


def _check_prepared(plan: Plan, prepared: Sequence[Step], steps: Sequence[Step]) -> None:
    """Check that every step finds what the preparation made, and that it would make that again."""
    for maker in prepared:
        for read in maker.reads:
            if read.memory >= 0 and not plan.buffers[read.memory].constant:
                name = plan.buffers[read.memory].name
                raise PlanError(f"the preparation ({maker.name}) reads {name}, no constant")
        for number, step in enumerate(steps):
            if _meet(step.writes, maker.writes) or _meet(step.writes, maker.reads):
                raise PlanError(
                    f"step {number} ({step.name}) writes what the preparation ({maker.name}) "
                    f"reads or made for all steps"
                )


def check_barriers(instructions: Sequence[Instruction], steps: Sequence[Step]) -> None:
    """Check that no two instructions between the same barriers meet, but in one thread.

    Raises
    ------
    PlanError
        If two do.
    """
    for stretch in _stretches(instructions):
        for first, second in combinations(stretch, 2):
            if (
                first == second
                or instructions[first].max_threads == instructions[second].max_threads == 1
            ):
                continue
            one, other = steps[first], steps[second]
            if (
                _meet(one.writes, other.writes)
                or _meet(one.writes, other.reads)
                or _meet(one.reads, other.writes)
            ):
                raise PlanError(
                    f"instructions {first} ({one.name}) and {second} ({other.name}) have no "
                    f"barrier between them, and one writes what the other reads or writes"
                )


def _stretches(instructions: Sequence[Instruction]) -> list[list[int]]:
    """The instructions between two barriers, by number; a step's end meets its beginning."""
    stretches: list[list[int]] = [[]]
    for number, instruction in enumerate(instructions):
        stretches[-1].append(number)
        if instruction.barrier:
            stretches.append([])
    last = stretches.pop()
    if stretches:
        stretches[0] = last + stretches[0]
    else:
        stretches = [last]
    return stretches


def _meet(some: Sequence[Access], others: Sequence[Access]) -> bool:
    return any(access.meets(other) for access in some for other in others)


def _step(
    plan: Plan, lowered: Lowered, instruction: Instruction, origins: tuple[int, ...],
    holds: tuple[tuple[int, int], ...], target: Target,
) -> Step:  # fmt: skip
    effects = effects_of(instruction, instruction.lanes(target))
    reads = tuple(_access(plan, lowered, region) for region in effects.reads)
    written = (*effects.writes, *effects.scratch)
    writes = tuple(_access(plan, lowered, region) for region in written)
    return Step(instruction.kernel, origins, reads, writes, holds=holds)


def _access(plan: Plan, lowered: Lowered, region: Region) -> Access:
    """The part of a buffer that a region is, in elements of that buffer."""
    argument, offset = region.pointer
    if argument < 0:
        memory, first, grain = argument, 0, _GRAIN
        whole = lowered.memory_bytes[-1 - argument]
    else:
        memory, first = plan.memory_of(argument) or (-1, 0)
        grain = np.dtype(plan.buffers[memory].dtype).itemsize
        whole = math.prod(plan.buffers[argument].shape) * grain
    if region.sizes is None:
        return Access(memory, first + offset // grain, ((whole - offset) // grain,), (1,))
    start = first * grain + offset + region.start * region.itemsize
    if region.itemsize == grain:
        return Access(memory, start // grain, region.sizes, region.strides)
    if region.itemsize % grain == 0:
        times = region.itemsize // grain
        strides = tuple(stride * times for stride in region.strides)
        return Access(memory, start // grain, (*region.sizes, times), (*strides, 1))
    if len(region.sizes) > 1:
        raise ValueError(
            f"a region has elements of {region.itemsize} bytes in rows, in a buffer of {grain}"
        )
    count = -(-region.sizes[0] * region.itemsize // grain)
    return Access(memory, start // grain, (count,), (1,))
