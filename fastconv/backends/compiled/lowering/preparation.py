"""Instructions that depend on constant buffers alone: they run once, not in every step.

A convolution packs or transforms its weights before it multiplies. Where a plan says that nobody
changes the weights (:attr:`fastconv.plans.plan.Buffer.constant`), what packs them is taken out of
the step. The packed weights get memory of their own in place of the workspace, which all kernels of
a step share, so that they are there in the next step. All else stays: results have the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from fastconv.backends.compiled.instructions.builder import ALIGNMENT
from fastconv.backends.compiled.instructions.effects import Region, effects_of
from fastconv.backends.compiled.instructions.instruction import (
    WORKSPACE,
    Instruction,
    LoweredKernel,
    Pointer,
    Target,
)
from fastconv.plans.plan import Buffer, Plan

PREPARED = WORKSPACE - 1
"""Number of the memory of what is prepared, behind the workspace."""
_ENDLESS = 1 << 62
"""End of an array whose size is not known."""


class _Piece(NamedTuple):
    """Bytes of a kernel's workspace, and where they lie in the memory of what is prepared."""

    start: int
    stop: int
    place: int

    def holds(self, start: int, stop: int) -> bool:
        return self.start <= start and stop <= self.stop


@dataclass(slots=True)
class Preparation:
    """What is prepared for the steps of a plan.

    Parameters
    ----------
    plan
        The plan.
    target
        The instruction set.

    Attributes
    ----------
    instructions
        In the order in which they run.
    origins
        For each of them, the numbers of the plan's calls that it does a part of.
    memory_bytes
        Bytes of what they make.
    """

    plan: Plan
    target: Target
    instructions: list[Instruction] = field(default_factory=list)
    origins: list[tuple[int, ...]] = field(default_factory=list)
    memory_bytes: int = 0

    def without_prepared(
        self, instructions: Sequence[Instruction], origins: tuple[int, ...]
    ) -> list[Instruction]:
        """Return what is left of a kernel's instructions for each step.

        Parameters
        ----------
        instructions
            Of one kernel of the contract; their pointers count buffers of the plan, or are into
            the workspace.
        origins
            The numbers of the plan's calls that they do.
        """
        spans = [_Spans.of(each, self.target) for each in instructions]
        pieces: list[_Piece] = []
        chosen: set[int] = set()
        for number, (instruction, own) in enumerate(zip(instructions, spans, strict=True)):
            others = (*spans[:number], *spans[number + 1 :])
            if instruction.condition is None and self._is_constant(own, pieces, others):
                chosen.add(number)
                pieces += [self._allocate(start, stop) for _, start, stop in own.writes]
        left: list[Instruction] = []
        for number, instruction in enumerate(instructions):
            moved = _moved(instruction, pieces)
            if number in chosen:
                self.instructions.append(moved)
                self.origins.append(origins)
                if left and instruction.barrier:
                    left[-1] = replace(left[-1], barrier=True)
            else:
                left.append(moved)
        return left

    def _is_constant(self, own: _Spans, pieces: Iterable[_Piece], others: Iterable[_Spans]) -> bool:
        """Whether an instruction makes the same in every step, where nobody else writes."""
        return (
            bool(own.reads and own.writes)
            and all(
                any(piece.holds(start, stop) for piece in pieces)
                if argument == WORKSPACE
                else self._is_buffer_constant(argument)
                for argument, start, stop in own.reads
            )
            and all(
                argument == WORKSPACE
                and not any(other.writes_into(start, stop) for other in others)
                for argument, start, stop in own.writes
            )
        )

    def _is_buffer_constant(self, number: int) -> bool:
        owner, _ = self.plan.memory_of(number) or (number, 0)
        return self.plan.buffers[owner].constant

    def _allocate(self, start: int, stop: int) -> _Piece:
        piece = _Piece(start, stop, self.memory_bytes)
        self.memory_bytes += -(-(stop - start) // ALIGNMENT) * ALIGNMENT
        return piece


class PreparedKernel(NamedTuple):
    """A kernel whose weights are packed before it is called.

    Parameters
    ----------
    instructions
        Those that pack, into memory of number :data:`PREPARED`.
    memory_bytes
        Bytes of it.
    left
        What is left of the kernel.
    """

    instructions: tuple[Instruction, ...]
    memory_bytes: int
    left: tuple[Instruction, ...]


def prepare_kernel(
    lowered: LoweredKernel, types: tuple[str | None, ...], number: int, target: Target
) -> PreparedKernel:
    """Take out of one kernel what depends on a constant array alone.

    Parameters
    ----------
    lowered
        The kernel of the contract.
    types
        Names of the dtypes of its arrays, without the workspace.
    number
        Which of them is constant.
    target
        The instruction set.
    """
    buffers = tuple(
        Buffer(str(each), (1,), dtype or "float32", constant=each == number)
        for each, dtype in enumerate(types)
    )
    preparation = Preparation(Plan(1, buffers[0].dtype, buffers, ()), target)
    left = preparation.without_prepared(lowered.instructions, ())
    made = tuple(preparation.instructions)
    return PreparedKernel(made, preparation.memory_bytes, tuple(left))


class _Spans(NamedTuple):
    """Reads and writes of an instruction: argument, first byte and the byte behind the last."""

    reads: tuple[tuple[int, int, int], ...]
    writes: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, instruction: Instruction, target: Target) -> _Spans:
        effects = effects_of(instruction, instruction.lanes(target))
        return cls(
            tuple(_span(region) for region in effects.reads),
            tuple(_span(region) for region in (*effects.writes, *effects.scratch)),
        )

    def writes_into(self, start: int, stop: int) -> bool:
        """Whether a byte of the workspace from ``start`` to ``stop`` is written."""
        return any(
            argument == WORKSPACE and first < stop and start < last
            for argument, first, last in self.writes
        )


def _span(region: Region) -> tuple[int, int, int]:
    """The bytes of a region, first to last; of a whole array, no end is known."""
    argument, offset = region.pointer
    if region.sizes is None:
        return argument, offset, _ENDLESS
    pairs = list(zip(region.sizes, region.strides, strict=True))
    first = region.start + sum(min(0, stride) * (size - 1) for size, stride in pairs)
    last = region.start + sum(max(0, stride) * (size - 1) for size, stride in pairs)
    return argument, offset + first * region.itemsize, offset + (last + 1) * region.itemsize


def _moved(instruction: Instruction, pieces: Sequence[_Piece]) -> Instruction:
    """Let pointers into pieces of the workspace be into the memory of what is prepared."""

    def moved(pointer: Pointer) -> Pointer:
        if pointer.argument != WORKSPACE:
            return pointer
        for piece in pieces:
            if piece.start <= pointer.offset < piece.stop:
                return Pointer(PREPARED, piece.place + pointer.offset - piece.start)
        return pointer

    return instruction.with_pointers(moved) if pieces else instruction
