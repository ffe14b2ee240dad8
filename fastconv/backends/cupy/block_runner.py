"""Running plans in blocks: the steps of many networks in one launch, a block for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fastconv.backends.cupy.block_plan import (
    COPY,
    INSTRUCTION,
    PIECE,
    THREADS,
    Instruction,
    NotInABlock,
    SharedMemory,
    instructions_of,
    place_in_shared,
)
from fastconv.backends.cupy.device import Array, device
from fastconv.backends.cupy.fusion import fuse
from fastconv.backends.cupy.launches import MOST_ROWS_OF_BLOCKS, launch
from fastconv.plans.effects import effects_of
from fastconv.plans.plan import Plan
from fastconv.plans.plan_check import check_rewritten, is_wanted
from fastconv.plans.rewriting import Rewriting, activation_gradients_behind_data_gradients

_CYCLES_OF_A_MICROSECOND = 1750.0
"""Of an H200 under load, as :mod:`fastconv.profiling.cards` has it."""
_MICROSECONDS_OF_A_LAUNCH = 1.5
"""What a launch of a graph takes at the least, with its trips to memory."""
_MOST_MICROSECONDS = 20000.0
"""Steps that take longer would keep Ctrl-C waiting."""
_STATIC_SHARED_BYTES = 1024
"""What the kernel declares itself, and what the card keeps for itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Steps of one network that are made in a launch with those of others.

    Parameters
    ----------
    runner
        Of the network.
    order, rates, first_step, continues
        As :meth:`BlockRunner.run` takes them.
    """

    runner: BlockRunner
    order: np.ndarray
    rates: np.ndarray
    first_step: int = 0
    continues: bool = False


class BlockRunner:
    """A plan whose steps one block of the card makes, in one launch with those of other networks.

    Parameters
    ----------
    plan
        What to run.
    shared
        Arrays for the buffers that the plan marks as shared, by name.
    threads
        Not used.

    Attributes
    ----------
    origins
        One thing that is timed: all calls of the plan.
    shared_bytes
        Shared memory of the block.
    cycles
        About how many a step takes.

    Raises
    ------
    NotInABlock
        If the plan calls what a block has no instruction for; then nothing was allocated.
    MemoryError
        If the device has no room for the plan's buffers.
    """

    def __init__(self, plan: Plan, shared: Mapping[str, Array], threads: int | None = None) -> None:
        self.plan, instructions = rewritten_in_a_block(plan)
        card = device()
        places = place_in_shared(
            self.plan, instructions, card.shared_bytes_of_a_block - _STATIC_SHARED_BYTES
        )
        self.origins = (tuple(range(len(self.plan.calls))),)
        self.shared_bytes = places.size
        self.cycles = sum(each.cycles for each in instructions)
        try:
            self._arrays: list[Array] = self.plan.allocate(shared, card.arrays.zeros)
            self._place = _Places(self.plan, self._arrays, places)
            table, copies = self._table(instructions), self._copies(places)
            self._table_there, self._copies_there = _bring(table), _bring(copies)
        except MemoryError as fault:
            raise MemoryError(
                f"one of many networks, of batch size {plan.batch}, needs {plan.memory_bytes} "
                f"bytes on the device, which has no room for them ({fault}); train fewer networks "
                f"at a time, or use a smaller batch size"
            ) from fault
        self._counts = len(table), len(copies)
        card.synchronize()

    @property
    def memory_bytes(self) -> int:
        """Bytes of the arrays that this runner allocated, without the shared ones."""
        return self.plan.memory_bytes

    @property
    def launches(self) -> str:
        """Way in which steps are launched, for people."""
        return "a block for each network, of a launch for all"

    def buffer(self, name: str) -> Array:
        """Return the array of the buffer with this name."""
        return self._arrays[self.plan.number_of(name)]

    def run(
        self,
        order: np.ndarray,
        rates: np.ndarray | None = None,
        first_step: int = 0,
        nanoseconds: np.ndarray | None = None,
        *,
        continues: bool = False,
        meanwhile: Callable[[], None] | None = None,
    ) -> np.ndarray:
        """Run one step for each row of ``order``, in a launch for this network alone.

        Parameters
        ----------
        order, rates, first_step, continues, meanwhile
            As for :meth:`fastconv.backends.cupy.run.Runner.run`.
        nanoseconds
            int64 (1,): the time of the launch is added to it.

        Returns
        -------
        ndarray
            The plan's statistics, float64 (3,).
        """
        piece = self.piece(order, rates, first_step, continues=continues)
        if nanoseconds is None:
            return run_together([piece])[0]
        made: list[np.ndarray] = []
        nanoseconds[0] += device().nanoseconds_of(lambda: made.extend(run_together([piece])))
        return made[0]

    def piece(
        self,
        order: np.ndarray,
        rates: np.ndarray | None = None,
        first_step: int = 0,
        *,
        continues: bool = False,
    ) -> Piece:
        """Return steps for :func:`run_together`; parameters as for :meth:`run`."""
        order = np.ascontiguousarray(order, np.int64)
        numbers = math.prod(self.plan.buffers[self.plan.number_of("rate")].shape)
        if rates is None:
            rates = np.zeros((len(order), numbers))
        rates = np.ascontiguousarray(rates, np.float64).reshape(len(order), numbers)
        return Piece(self, order, rates, first_step, continues)

    def _table(self, instructions: Sequence[Instruction]) -> np.ndarray:
        table = np.zeros(len(instructions), INSTRUCTION)
        for row, each in zip(table, instructions, strict=True):
            row["operation"] = each.operation
            row["numbers"][: len(each.numbers)] = each.numbers
            row["reals"][: len(each.reals)] = each.reals
            places = [self._place(number) for number in each.buffers]
            row["places"][: len(places)] = places
            if each.seed is not None:
                row["places"][len(places)] = each.seed
        return table

    def _copies(self, places: SharedMemory) -> np.ndarray:
        """What is brought to shared memory before the steps, and what back behind them."""
        written = {
            span.memory for call in self.plan.calls for span in effects_of(self.plan, call).writes
        }
        kept = [n for n in places.offsets if self.plan.buffers[n].shared]
        copies = np.zeros(len(kept), COPY)
        for row, number in zip(copies, kept, strict=True):
            array = self._arrays[number]
            row["place"] = self._place(number)
            row["address"] = device().address_of(array)
            row["words"] = array.nbytes // 4
            row["stores"] = number in written
        return copies

    def table_of(self, piece: Piece, order: int, rates: int) -> np.ndarray:
        """Return the row of a launch for a piece, whose order and rates lie at these addresses."""
        row = np.zeros(1, PIECE)
        for name in ("indices", "rate", "step"):
            row[name] = self._place(self.plan.number_of(name))
        row["instructions"] = device().address_of(self._table_there)
        row["copies"] = device().address_of(self._copies_there)
        row["instruction_count"], row["copy_count"] = self._counts
        row["order"], row["rates"], row["first_step"] = order, rates, piece.first_step
        row["steps"], row["samples"] = piece.order.shape
        row["rate_numbers"] = piece.rates.shape[1]
        return row


class _Places:
    """Where a buffer lies, as instructions say it."""

    def __init__(self, plan: Plan, arrays: Sequence[Array], shared: SharedMemory) -> None:
        self._plan, self._arrays, self._shared = plan, arrays, shared

    def __call__(self, number: int | None) -> int:
        memory = self._plan.memory_of(number)
        if memory is None or number is None:
            return 0
        owner, elements = memory
        offset = self._shared.offsets.get(owner)
        if offset is None:
            return device().address_of(self._arrays[number])
        size = np.dtype(self._plan.buffers[owner].dtype).itemsize
        return 2 * (offset + elements * size) + 1


def rewritten_in_a_block(plan: Plan) -> tuple[Plan, list[Instruction]]:
    """Return a plan as a block makes it, and its instructions.

    Raises
    ------
    NotInABlock
        If it calls what a block has no instruction for.
    """
    order = Rewriting(plan)
    activation_gradients_behind_data_gradients(order)
    if is_wanted():
        check_rewritten(plan, order.finish())
    return order.plan, instructions_of(order.plan)


def pays_in_a_block(plan: Plan, networks: int) -> bool:
    """Whether blocks should make steps of so many networks sooner than one graph after the other.

    Both times are estimates: of a block's by its instructions, of a graph's by its launches, which
    is too little for networks that are large.

    Parameters
    ----------
    plan
        Of one of the networks.
    networks
        How many there are.
    """
    try:
        rewritten, instructions = rewritten_in_a_block(plan)
    except NotInABlock:
        return False
    microseconds = sum(each.cycles for each in instructions) / _CYCLES_OF_A_MICROSECOND
    # A launch more begins the step.
    of_a_graph = (len(fuse(rewritten)) + 1) * _MICROSECONDS_OF_A_LAUNCH
    return microseconds < min(networks * of_a_graph, _MOST_MICROSECONDS)


def run_together(pieces: Sequence[Piece]) -> list[np.ndarray]:
    """Make steps of several networks in one launch, a block for each.

    Parameters
    ----------
    pieces
        Of different runners, 1 or more; their numbers of steps may differ, and so may their
        networks.

    Returns
    -------
    list of ndarray
        The statistics of each, as :meth:`BlockRunner.run` returns them.
    """
    made: dict[int, np.ndarray] = {}
    for dtype in dict.fromkeys(each.runner.plan.dtype for each in pieces):
        # The kernel is compiled for one dtype.
        alike = [n for n, each in enumerate(pieces) if each.runner.plan.dtype == dtype]
        for start in range(0, len(alike), MOST_ROWS_OF_BLOCKS):
            numbers = alike[start : start + MOST_ROWS_OF_BLOCKS]
            statistics = _run_together([pieces[n] for n in numbers])
            made |= zip(numbers, statistics, strict=True)
    return [made[number] for number in range(len(pieces))]


def _run_together(pieces: Sequence[Piece]) -> list[np.ndarray]:
    card = device()
    order = _bring(np.concatenate([each.order.reshape(-1) for each in pieces]))
    rates = _bring(np.concatenate([each.rates.reshape(-1) for each in pieces]))
    at, rates_at = card.address_of(order), card.address_of(rates)
    rows = []
    for each in pieces:
        rows.append(each.runner.table_of(each, at, rates_at))
        at += each.order.nbytes
        rates_at += each.rates.nbytes
        if not each.continues:
            each.runner.buffer("statistics").fill(0)
    table = _bring(np.concatenate(rows))
    launch(
        "block_steps.block_steps", (1, len(pieces)), (THREADS,), table,
        dtype=pieces[0].runner.plan.dtype,
        shared_bytes=max(each.runner.shared_bytes for each in pieces),
    )  # fmt: skip
    card.synchronize()
    return [card.to_host(each.runner.buffer("statistics")) for each in pieces]


def _bring(table: np.ndarray) -> Array:
    """Bring the bytes of an array to the device."""
    return device().arrays.array(table.view(np.uint8).reshape(-1))
