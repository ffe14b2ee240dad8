"""Running a plan as an instruction stream: one call of the engine for many steps."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.compiled.instructions.builder import ALIGNMENT
from fastconv.backends.compiled.instructions.instruction import Instruction, Target, encode
from fastconv.backends.compiled.lowering.batch_blocking import block_batches
from fastconv.backends.compiled.lowering.lowering import lower
from fastconv.backends.compiled.lowering.order_check import check_lowered
from fastconv.backends.compiled.lowering.reordering import reorder
from fastconv.backends.compiled.threads import default_threads
from fastconv.plans.plan import Plan
from fastconv.plans.plan_check import check_rewritten, is_wanted


class Engine(Protocol):
    """Functions of a compiled backend that run streams."""

    @property
    def tiles_of(self) -> Callable[[Instruction], int] | None:
        """Gives the address of the tiles of an instruction, where they are compiled for it."""

    def target(self) -> Target:
        """Return the instruction set in use."""

    def address_of(self, kernel: str, dtype: str) -> int:
        """Return the address of a compiled kernel."""

    def run_stream(
        self,
        stream: NDArray[np.int64],
        steps: int,
        threads: int,
        nanoseconds: NDArray[np.int64] | None = None,
    ) -> int:
        """Run a stream ``steps`` times; return the number of threads it ran on."""


def aligned(shape: Sequence[int], dtype: str) -> np.ndarray:
    """Return an array of zeros that begins at a cache line."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


class StreamRunner:
    """A plan with its buffers allocated and its instruction stream made.

    Parameters
    ----------
    plan
        What to run.
    shared
        Arrays for the buffers that the plan marks as shared, by name. What is made of constant ones
        alone is made now.
    threads
        How many threads may take part; None: FASTCONV_THREADS, else all cores of this process.
    precision
        "float32", or with the engine of C "bf16": what factors of products are rounded to.

    Attributes
    ----------
    engine
        Of the backend: each has a class of its own with it.
    """

    engine: ClassVar[Engine]

    def __init__(
        self,
        plan: Plan,
        shared: Mapping[str, np.ndarray],
        threads: int | None = None,
        precision: str = "float32",
    ) -> None:
        engine = self.engine
        reordered = reorder(plan)
        batch_blocked = block_batches(reordered.plan, engine.target())
        lowered = lower(batch_blocked.plan, engine.target(), precision)
        if is_wanted():
            check_rewritten(plan, reordered)
            check_rewritten(reordered.plan, batch_blocked)
            check_lowered(batch_blocked.plan, lowered, engine.target())
        self.plan = plan = batch_blocked.plan
        self.threads = threads or default_threads()
        self.instructions: tuple[Instruction, ...] = lowered.instructions
        self.origins: tuple[tuple[int, ...], ...] = lowered.origins
        self._arrays: list[np.ndarray] = plan.allocate(shared, aligned)
        self._more = [aligned((size,), "uint8") for size in lowered.memory_bytes]
        self._first_step = np.zeros(1, np.int64)
        # The order that the stream points to, checked, if nobody can change it.
        self._pointed_order: np.ndarray | None = None
        self._stream, relocations = encode(self.instructions, engine.address_of, engine.tiles_of)
        self._relocate(relocations)
        self._prepare(lowered.preparation)
        self._samples = plan.samples_of_a_step
        names = [buffer.name for buffer in plan.buffers]
        self._statistics = self.buffer("statistics") if "statistics" in names else None

    def _prepare(self, instructions: Sequence[Instruction]) -> None:
        """Run what depends on constant buffers alone."""
        stream, relocations = encode(instructions, self.engine.address_of, self.engine.tiles_of)
        for number, word, argument, offset in relocations.tolist():
            stream[number, word] = self._array(argument).ctypes.data + offset
        self.engine.run_stream(stream, 1, self.threads)

    def _relocate(self, relocations: NDArray[np.int64]) -> None:
        """Write addresses into the stream; remember those that change with every run."""
        moving = {self.plan.number_of(name): name for name in ("indices", "rate", "step")}
        self._moving: dict[str, list[tuple[int, int, int]]] = {name: [] for name in moving.values()}
        addresses: dict[int, int] = {}
        for number, word, argument, offset in relocations.tolist():
            owner, start = (argument, 0) if argument < 0 else self._memory_of(argument)
            if owner in moving:
                self._moving[moving[owner]].append((number, word, start))
                continue
            if argument not in addresses:
                addresses[argument] = self._array(argument).ctypes.data
            self._stream[number, word] = addresses[argument] + offset
        self._point("step", self._first_step)

    def _memory_of(self, argument: int) -> tuple[int, int]:
        """The buffer that owns the memory of one, and elements into it."""
        return self.plan.memory_of(argument) or (argument, 0)

    def _array(self, argument: int) -> np.ndarray:
        """Buffers of the plan by number; memory that the lowering added as -1, -2, ..."""
        return self._more[-1 - argument] if argument < 0 else self._arrays[argument]

    @property
    def memory_bytes(self) -> int:
        """Bytes of the arrays that this runner allocated, without the shared ones."""
        return self.plan.memory_bytes + sum(array.nbytes for array in self._more)

    def buffer(self, name: str) -> np.ndarray:
        """Return the array of the buffer with this name.

        Raises
        ------
        KeyError
            If there is none, or it changes its place with every run.
        """
        if name in self._moving:
            raise KeyError(name)
        return self._arrays[self.plan.number_of(name)]

    def run(
        self,
        order: np.ndarray,
        rates: np.ndarray | None = None,
        first_step: int = 0,
        nanoseconds: NDArray[np.int64] | None = None,
        *,
        continues: bool = False,
        meanwhile: Callable[[], None] | None = None,
    ) -> np.ndarray | None:
        """Run one step for each row of ``order``, in one call of the engine.

        Parameters
        ----------
        order
            int64 (steps, batch): which samples make each step's batch.
        rates
            float64 (steps,): the learning rates, for a plan that updates; (steps, 2) with the
            momenta behind them, where these are scheduled; (steps, schedules, 1 or 2) where some
            parameters have schedules of their own.
        first_step
            Number of the first step: random numbers and Adam's bias correction depend on it.
        nanoseconds
            int64 (instructions,): the time of each instruction is added to it.
        continues
            Whether the statistics go on from those of the last run: steps in several runs then
            have the bits of the same steps in one.
        meanwhile
            Not used: a run is one call of the engine.

        Returns
        -------
        ndarray or None
            The plan's statistics over these steps, float64 (3,): sum of losses, correct,
            samples; None if it has no loss.

        Raises
        ------
        IndexError
            If a batch is of samples that there are not.
        """
        steps = len(order)
        if order is not self._pointed_order:
            given, order = order, np.ascontiguousarray(order, np.int64)
            self.plan.check_order(order)
            if self._samples > self.plan.batch:
                # A kernel finds the batch of a step right behind that of the step before.
                parts = order.reshape(steps, -1, self.plan.batch)
                order = np.ascontiguousarray(parts.transpose(1, 0, 2))
            self._point("indices", order, steps)
            self._pointed_order = given if given is order and not order.flags.writeable else None
        if rates is not None:
            if np.ndim(rates) == 3:
                # A kernel finds the rate of a step right behind that of the step before.
                rates = np.transpose(rates, (1, 0, 2))
            rates = np.ascontiguousarray(rates, np.float64)
            self._point("rate", rates, steps)
        self._first_step[0] = first_step
        if self._statistics is not None and not continues:
            self._statistics.fill(0)
        self.engine.run_stream(self._stream, steps, self.threads, nanoseconds)
        return None if self._statistics is None else self._statistics.copy()

    def forward(self, order: np.ndarray, step: int = 0) -> None:
        """Run instructions up to the outputs, of a plan whose backward pass is given a gradient.

        Parameters
        ----------
        order
            int64 (1, batch): which samples make the batch.
        step
            Its number: random numbers depend on it.
        """
        self._order_of_pass = np.ascontiguousarray(order, np.int64)  # kept until backward
        self._point("indices", self._order_of_pass)
        self._pointed_order = None
        self._first_step[0] = step
        self.engine.run_stream(self._stream[: self._backward_start], 1, self.threads)

    def backward(self) -> None:
        """Run those from the gradient of the outputs on; as often as there is another one."""
        self.engine.run_stream(self._stream[self._backward_start :], 1, self.threads)

    @functools.cached_property
    def _backward_start(self) -> int:
        """Number of the instruction that takes the gradient of the outputs in."""
        given = self.plan.number_of("output_gradient")
        return next(n for n, each in enumerate(self.instructions) if each.points_to(given))

    def _point(self, name: str, array: np.ndarray, steps: int = 1) -> None:
        address = array.ctypes.data
        for number, word, start in self._moving[name]:
            self._stream[number, word] = address + start * steps * array.itemsize
