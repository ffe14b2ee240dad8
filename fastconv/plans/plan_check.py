"""Whether rewritten plans and instruction streams do what the plan says: every read, every value.

The plan's own order says whose value each call reads: of which call's output, or of what was there
before the step. A rewritten plan, or instructions that a plan became, are walked with the same
memory; each element remembers the call whose value it holds. A read that finds another value than
the plan's own order gives it is an error, and so is a result that differs in the end.

The walk is over addresses alone and says nothing about arithmetic. It is made where
``FASTCONV_CHECK=1`` is set, for every plan that is made ready to run.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastconv.plans.effects import Span, effects_of
from fastconv.plans.plan import Plan
from fastconv.plans.rewriting import Rewritten, results_of

_Values = NDArray[np.int32]
"""For each element of a memory, whose value it holds: 0 what was there before the step, n the
output of call n - 1 of the plan, -n what step n - 1 made for itself."""


class PlanError(RuntimeError):
    """A rewritten plan does not do what the plan says: which step, and which memory."""


def is_wanted() -> bool:
    """Whether FASTCONV_CHECK asks for plans to be checked."""
    return os.environ.get("FASTCONV_CHECK", "") not in ("", "0")


@dataclass(frozen=True, slots=True)
class Access:
    """Elements of a memory, in rows at equal distances.

    Parameters
    ----------
    memory
        Its number.
    start
        The first one.
    sizes, strides
        How many there are along each axis, and elements from one to the next.
    """

    memory: int
    start: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def run(cls, span: Span) -> Access:
        """Return a run of memory as what is accessed."""
        return cls(span.memory, span.start, (span.stop - span.start,), (1,))

    @property
    def first(self) -> int:
        """The first element, of lowest address."""
        pairs = zip(self.sizes, self.strides, strict=True)
        return self.start + sum(min(0, stride) * (size - 1) for size, stride in pairs)

    @property
    def end(self) -> int:
        """One behind the last element, of highest address."""
        pairs = zip(self.sizes, self.strides, strict=True)
        return self.start + 1 + sum(max(0, stride) * (size - 1) for size, stride in pairs)

    @property
    def is_empty(self) -> bool:
        """Whether there is no element."""
        return not all(self.sizes)

    def of(self, values: NDArray[np.generic], first: int = 0) -> NDArray[np.generic]:
        """Return a view of the elements within an array that begins with element ``first``."""
        itemsize = values.itemsize
        return np.lib.stride_tricks.as_strided(
            values[self.start - first :],
            self.sizes,
            tuple(stride * itemsize for stride in self.strides),
        )

    def meets(self, other: Access) -> bool:
        """Whether an element is in both."""
        if self.memory != other.memory or self.is_empty or other.is_empty:
            return False
        first, end = max(self.first, other.first), min(self.end, other.end)
        if first >= end:
            return False
        if len(self.sizes) == 1 and self.strides == (1,) and other.strides == (1,):
            return True
        low, high = min(self.first, other.first), max(self.end, other.end)
        there = np.zeros(high - low, bool)
        self.of(there, low)[...] = True
        return bool(other.of(there, low).any())


@dataclass(frozen=True, slots=True)
class Step:
    """One of the things that are done in order: a call of a rewritten plan, or a instruction.

    Parameters
    ----------
    name
        For people.
    origins
        Numbers of the plan's calls that it does, or a part of them.
    reads, writes
        What it accesses.
    copies
        It copies all of what it reads to what it writes, in another layout.
    holds
        Memory that none of its calls reads, with the number of the call whose output must be there.
    """

    name: str
    origins: tuple[int, ...]
    reads: tuple[Access, ...]
    writes: tuple[Access, ...]
    copies: bool = False
    holds: tuple[tuple[int, int], ...] = ()


class _Memory:
    """Whose value each element holds; a memory that nobody has written holds what was there."""

    def __init__(self, sizes: Mapping[int, int]) -> None:
        self.sizes = sizes
        self._values: dict[int, _Values] = {}

    def view(self, access: Access) -> _Values:
        """Return whose values some elements hold."""
        if access.memory not in self._values:
            self._values[access.memory] = np.zeros(self.sizes[access.memory], np.int32)
        view: _Values = access.of(self._values[access.memory])  # type: ignore[assignment]
        return view

    def read(self, access: Access) -> _Values:
        """Return whose values some elements hold; a single one where all are alike."""
        if access.memory not in self._values:
            return np.zeros(1, np.int32)
        found = self.view(access)
        first = found.flat[0]
        return np.full(1, first, np.int32) if (found == first).all() else found

    def write(self, access: Access, value: int) -> None:
        """Let some elements hold a value."""
        self.view(access)[...] = value


@dataclass(frozen=True, slots=True)
class _Read:
    """One read of a call of the plan: from where to where, and whose values are there."""

    start: int
    stop: int
    values: _Values


class _Order:
    """The plan's own order: whose value each call reads, what it writes, and what remains."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sizes = {
            number: math.prod(buffer.shape)
            for number, buffer in enumerate(plan.buffers)
            if buffer.parent is None
        }
        self.reads: list[dict[int, list[_Read]]] = []
        self.writes: list[set[int]] = []
        self._spans: list[tuple[Span, ...]] = []
        memory = _Memory(self.sizes)
        for number, call in enumerate(plan.calls):
            effects = effects_of(plan, call)
            found: dict[int, list[_Read]] = {}
            for span in effects.reads:
                if span.stop > span.start:
                    values = memory.read(Access.run(span)).copy()
                    found.setdefault(span.memory, []).append(_Read(span.start, span.stop, values))
            self.reads.append(found)
            self.writes.append({span.memory for span in effects.writes})
            self._spans.append(tuple(effects.writes))
            for span in effects.writes:
                if span.stop > span.start:
                    memory.write(Access.run(span), number + 1)
        self.results = [
            (span, memory.read(Access.run(span)).copy())
            for span in results_of(plan)
            if span.stop > span.start
        ]

    def may_write(self, call: int, access: Access) -> bool:
        """Whether a call writes between the first and the last element of an access."""
        return any(
            span.memory == access.memory and span.start < access.end and access.first < span.stop
            for span in self._spans[call]
        )

    def name_of(self, memory: int) -> str:
        """The name of a buffer, or of memory beside the plan's."""
        inside = 0 <= memory < len(self.plan.buffers)
        return self.plan.buffers[memory].name if inside else f"memory {memory} beside the plan"

    def writer(self, value: int, steps: Sequence[Step]) -> str:
        """Say whose a value is."""
        if value == 0:
            return "what was there before the step"
        if value < 0:
            return f"what step {-value - 1} ({steps[-value - 1].name}) made for itself"
        return f"the output of call {value - 1} ({self.plan.calls[value - 1].kernel})"


def check_steps(
    plan: Plan,
    steps: Sequence[Step],
    sizes: Mapping[int, int] | None = None,
    twins: Mapping[int, int] | None = None,
) -> None:
    """Check that steps do what a plan does.

    Parameters
    ----------
    plan
        The plan, in its own order.
    steps
        What is done in its place, in their order.
    sizes
        Elements of memory beside the plan's buffers, by number.
    twins
        Buffers beside the plan's that hold what a buffer of the plan holds there, in another
        layout.

    Raises
    ------
    PlanError
        If a step reads a value that the plan's order does not give it, reaches beyond its arrays,
        or if another value than the plan's remains in a result.
    """
    order, twins = _Order(plan), twins or {}
    memory = _Memory({**order.sizes, **(sizes or {})})
    for number, step in enumerate(steps):
        copied: _Values | None = None
        for access in step.reads:
            if not access.is_empty:
                _check_inside(order, memory, number, step, access)
                copied = memory.read(access)
                if not step.copies:
                    _check_read(order, number, step, steps, access, copied, twins)
        for access in step.writes:
            if access.is_empty:
                continue
            _check_inside(order, memory, number, step, access)
            if step.copies:
                if copied is None or copied.size != 1:
                    raise PlanError(f"step {number} ({step.name}) copies values of several calls")
                memory.write(access, int(copied.flat[0]))
                continue
            owner = twins.get(access.memory, access.memory)
            calls = [call for call in step.origins if owner in order.writes[call]]
            if owner == access.memory:
                # Updates of a weight and of a bias, say, which one step makes, write apart.
                calls = [call for call in calls if order.may_write(call, access)] or calls
            memory.write(access, max(calls) + 1 if calls else -(number + 1))
    for span, expected in order.results:
        found = memory.read(Access.run(span))
        differs = np.broadcast_to(found != expected, (span.stop - span.start,))
        if differs.any():
            place = int(differs.argmax())
            theirs, ours = (
                order.writer(int(np.broadcast_to(each, differs.shape)[place]), steps)
                for each in (found, expected)
            )
            raise PlanError(
                f"in the end {order.name_of(span.memory)} holds {theirs}; by the plan it is {ours}"
            )


def _check_inside(order: _Order, memory: _Memory, number: int, step: Step, access: Access) -> None:
    size = memory.sizes.get(access.memory)
    if size is None or access.first < 0 or access.end > size:
        raise PlanError(
            f"step {number} ({step.name}) reaches elements {access.first} to {access.end} of "
            f"{order.name_of(access.memory)}, which has {size}"
        )


def _check_read(
    order: _Order, number: int, step: Step, steps: Sequence[Step], access: Access,
    found: _Values, twins: Mapping[int, int],
) -> None:  # fmt: skip
    """Check that what a step finds is what one of its calls reads by the plan's order."""
    owner = twins.get(access.memory, access.memory)
    own = [call + 1 for call in step.origins]
    own += [call + 1 for where, call in step.holds if where == owner]
    mine = set(step.origins)
    own += [
        int(value) for value in np.unique(found[found < 0]) if mine & set(steps[-value - 1].origins)
    ]
    right = np.isin(found, own)
    first, end = access.first, access.end
    for call in step.origins:
        for read in order.reads[call].get(owner, ()):
            if read.values.size == 1 and (owner != access.memory or _covers(read, first, end)):
                right = right | (found == read.values.flat[0])
            elif owner == access.memory and _covers(read, first, end):
                right = right | (found == access.of(read.values, read.start))
        if right.all():
            return
    if right.all():
        return
    wrong = np.broadcast_to(found, right.shape)[~right]
    value = int(wrong.flat[0])
    expected = sorted(
        {
            int(each)
            for call in step.origins
            for read in order.reads[call].get(owner, ())
            for each in np.unique(read.values)
        }
    )
    wanted = " or ".join(order.writer(each, steps) for each in expected) or "not to be read"
    raise PlanError(
        f"step {number} ({step.name}) reads {order.name_of(access.memory)} and finds "
        f"{order.writer(value, steps)}; by the plan it is {wanted}"
    )


def _covers(read: _Read, first: int, end: int) -> bool:
    return read.start <= first and end <= read.stop


def check_rewritten(plan: Plan, rewritten: Rewritten) -> None:
    """Check that a rewritten plan does what a plan does.

    Raises
    ------
    PlanError
        If not.
    """
    sizes = {
        number: math.prod(buffer.shape)
        for number, buffer in enumerate(rewritten.plan.buffers)
        if buffer.parent is None and number >= len(plan.buffers)
    }
    steps = []
    calls = zip(rewritten.plan.calls, rewritten.origins, strict=True)
    for number, (call, origins) in enumerate(calls):
        effects = effects_of(rewritten.plan, call)
        reads, writes = (
            tuple(Access.run(span) for span in spans) for spans in (effects.reads, effects.writes)
        )
        holds = rewritten.holds.get(number, ())
        steps.append(Step(call.kernel, origins, reads, writes, not origins, holds))
    check_steps(plan, steps, sizes, rewritten.twins)
