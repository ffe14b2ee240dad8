"""Running a plan: its launches recorded as a graph of many steps, and replayed."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Mapping

import numpy as np

from fastconv.backends.cupy.block_runner import (
    BlockRunner,
    pays_in_a_block,
)
from fastconv.backends.cupy.block_runner import run_together as run_together
from fastconv.backends.cupy.device import Array, Recording, device
from fastconv.backends.cupy.fusion import check_fused, fuse
from fastconv.backends.cupy.launches import THREADS, launch
from fastconv.backends.cupy.products import ENOUGH_BLOCKS, CountedWorkspace
from fastconv.plans.effects import effects_of
from fastconv.plans.plan import Plan
from fastconv.plans.plan_check import check_rewritten, is_wanted
from fastconv.plans.rewriting import Rewriting, activation_gradients_behind_data_gradients

STEPS_OF_A_GRAPH = 16
"""Steps that the longer of two recordings holds; the other one holds one."""
_GRAPHS_VARIABLE = "FASTCONV_CUDA_GRAPHS"
_BLOCKS_VARIABLE = "FASTCONV_CUDA_BLOCKS"
_REPEATS = 20
"""How often a kernel is made to be timed: one takes less than a clock's tick, or a launch."""
LEAST_CAPABILITY = (8, 0)
"""Least compute capability of a device whose tensor cores take tf32 and bf16."""
IS_ON_HOST = False
"""Whether plans use the host's arrays where they lie."""
_MOST_STEPS = 1024
"""Steps whose rows of the order are on the device at a time."""


def to_device(array: np.ndarray) -> Array:
    """Return a copy of the array on the device."""
    copied = device().arrays.array(array)
    # The runner's stream must not read it before it is there.
    device().synchronize()
    return copied


def to_host(array: Array) -> np.ndarray:
    """Return a copy of the array on the host."""
    return device().to_host(array)


def write(array: np.ndarray, target: Array) -> None:
    """Write an array of the host over one of the device.

    Parameters
    ----------
    array
        Numbers that the target's dtype need not hold: they are rounded, or infinite.
    target
        As :func:`to_device` returned it, of the array's shape.
    """
    with np.errstate(over="ignore"):
        there = device().arrays.asarray(np.ascontiguousarray(array, target.dtype))
    target[...] = there
    # The runner's stream must not read it before it is there.
    device().synchronize()


def use_device(number: int) -> None:
    """Compute on the CUDA device of this number from here on.

    Raises
    ------
    ValueError
        If there is none.
    """
    device().use(number)


def check_precision(precision: str, dtype: str = "float32") -> None:
    """Check that products of a dtype can be made in a precision on the current device.

    Raises
    ------
    ValueError
        If not.
    """
    if precision == "float32":
        return
    if dtype != "float32":
        raise ValueError(
            f"precision is {precision}, which is for float32; the network is {dtype}: make it "
            f"float32, or use --precision float32"
        )
    capability = device().compute_capability
    if capability < LEAST_CAPABILITY:
        (major, minor), (own, its) = LEAST_CAPABILITY, capability
        raise ValueError(
            f"precision is {precision}; it needs a device of compute capability {major}.{minor} or "
            f"more (this one has {own}.{its}); use --precision float32"
        )


def make_runner(
    plan: Plan,
    shared: Mapping[str, Array],
    threads: int | None = None,
    precision: str = "float32",
) -> Runner | BlockRunner:
    """Return a :class:`Runner`, or where FASTCONV_CUDA_BLOCKS=1 asks for it one block's.

    That is for steps which one block should make sooner than a graph, by the same estimates as for
    many networks. Parameters as for :class:`Runner`.
    """
    is_asked_for = _switch(_BLOCKS_VARIABLE, "0") and precision == "float32"
    made = runner_together(plan, shared, 1) if is_asked_for else None
    return made or Runner(plan, shared, threads, precision)


def networks_together() -> int:
    """Return how many networks are trained at once: each multiprocessor takes one."""
    return device().multiprocessors


def runner_together(plan: Plan, shared: Mapping[str, Array], networks: int) -> BlockRunner | None:
    """Return a runner whose steps :func:`run_together` makes with those of other networks.

    Parameters
    ----------
    plan, shared
        As for :class:`Runner`.
    networks
        How many take part.

    Returns
    -------
    BlockRunner or None
        None for a plan that one block does not make, or for which graphs, one network after
        another, should be faster.
    """
    updates = any(call.kernel.startswith("optim.") for call in plan.calls)
    if not updates or not pays_in_a_block(plan, networks):
        return None
    return BlockRunner(plan, shared)


class Runner:
    """A plan with its buffers allocated and its calls bound.

    Parameters
    ----------
    plan
        What to run.
    shared
        Arrays for the buffers that the plan marks as shared, by name.
    threads
        Not used.
    precision
        "float32", or what the factors of products are rounded to, for tensor cores: "tf32" or
        "bf16". Sums and all that is in memory stay float32.

    Attributes
    ----------
    origins
        For each thing that is timed, the numbers of the plan's calls that it does: a kernel's, and
        those of the activation that it does besides.

    Raises
    ------
    MemoryError
        If the device has no room for the plan's buffers.
    ValueError
        If the device, or the plan's dtype, is not for the precision.
    """

    def __init__(
        self,
        plan: Plan,
        shared: Mapping[str, Array],
        threads: int | None = None,
        precision: str = "float32",
    ) -> None:
        check_precision(precision, plan.dtype)
        order = Rewriting(plan)
        activation_gradients_behind_data_gradients(order)
        self.plan = order.plan
        self._precision = precision
        self._fused = fuse(self.plan)
        if is_wanted():
            check_rewritten(plan, order.finish())
            check_fused(self.plan, self._fused)
        self.origins: tuple[tuple[int, ...], ...] = tuple(each.origins for each in self._fused)
        self._device = device()
        self._stream = self._device.stream()
        try:
            self._arrays: list[Array] = plan.allocate(shared, self._zeros)
            self._calls = self._bind()
            self._order = self._zeros((_MOST_STEPS, plan.samples_of_a_step), "int64")
            rates = math.prod(plan.buffers[plan.number_of("rate")].shape)
            self._rates = self._zeros((_MOST_STEPS, rates), "float64")
            self._first, self._next = self._zeros((1,), "int64"), self._zeros((1,), "int64")
        except MemoryError as fault:
            raise MemoryError(
                f"batch size {plan.batch} needs {plan.memory_bytes} bytes on the device, which has "
                f"no room for them ({fault}); use a smaller batch size"
            ) from fault
        self._step, self._indices, self._rate = map(self.buffer, ("step", "indices", "rate"))
        has_loss = any(buffer.name == "statistics" for buffer in plan.buffers)
        self._statistics = self.buffer("statistics") if has_loss else None
        self._recordings: dict[int, Recording] = {}
        self._repeated: dict[int, Recording | None] = {}
        self._why_not = ""
        # What was filled with zeros on the current stream is used on another.
        self._device.synchronize()
        self._prepare()

    def _zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        return self._device.arrays.zeros(shape, dtype)

    def _bind(self) -> list[Callable[[], None]]:
        """Bind each kernel to its spec, its arrays and one workspace that all share."""
        kernels, size = self.plan.kernels_of((each.call for each in self._fused), __package__)
        counters = self._zeros((ENOUGH_BLOCKS,), "int32")
        workspace = CountedWorkspace(self._zeros((size,), "uint8"), counters, self._precision)
        return [
            fused.bind(kernel, self._arrays, workspace)
            for kernel, fused in zip(kernels, self._fused, strict=True)
        ]

    @property
    def memory_bytes(self) -> int:
        """Bytes of the arrays that this runner allocated, without the shared ones."""
        return self.plan.memory_bytes

    def _prepare(self) -> None:
        """Load and record what a step launches: no step waits for it, no training time has it."""
        with self._stream:
            self._device.load(self._one_step)
            if not _graphs_are_wanted():
                self._why_not = f": {_GRAPHS_VARIABLE} is 0"
            elif not self._has_pause:
                for steps in (STEPS_OF_A_GRAPH, 1):
                    made = self._device.record(functools.partial(self._make_steps, steps))
                    if made is None:
                        self._why_not = ": no CUDA graph could be recorded"
                        break
                    self._recordings[steps] = made

    @property
    def _has_pause(self) -> bool:
        return any(buffer.name == "output_gradient" for buffer in self.plan.buffers)

    @property
    def steps_of_a_graph(self) -> int:
        """Steps that the longest graph holds; 1 where launches go to the stream one by one."""
        return max(self._recordings, default=1)

    @property
    def launches(self) -> str:
        """Way in which steps are launched, for people."""
        if self._recordings:
            return f"CUDA graphs of {' and '.join(map(str, self._recordings))} steps"
        return f"one by one{self._why_not}"

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
    ) -> np.ndarray | None:
        """Run one step for each row of ``order``.

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
            int64, one for each of ``origins``: the time of each call is added to it.

        continues
            Whether the statistics go on from those of the last run: steps in several runs then
            have the bits of the same steps in one.
        meanwhile
            Not used: the device is ahead of the host.

        Returns
        -------
        ndarray or None
            The plan's statistics over these steps, float64 (3,): sum of losses, correct,
            samples; None if it has no loss.
        """
        order = np.ascontiguousarray(order, np.int64)
        if rates is None:
            rates = np.zeros((len(order), self._rates.shape[1]))
        rates = np.ascontiguousarray(rates, np.float64)
        with self._stream:
            if self._statistics is not None and not continues:
                self._statistics.fill(0)
            for start in range(0, len(order), _MOST_STEPS):
                part = slice(start, start + _MOST_STEPS)
                self._bring(order[part], rates[part], first_step + start)
                self._run_steps(len(order[part]), nanoseconds)
            self._device.synchronize()
            return None if self._statistics is None else self._device.to_host(self._statistics)

    def forward(self, order: np.ndarray, step: int = 0) -> None:
        """Make the launches up to the outputs, of a plan whose backward pass is given a gradient.

        Parameters
        ----------
        order
            int64 (1, batch): which samples make the batch.
        step
            Its number: random numbers depend on it.
        """
        with self._stream:
            self._bring(np.ascontiguousarray(order, np.int64), np.zeros(1), step)
            self._begin_step()
            for call in self._calls[: self._backward_start]:
                call()
            self._device.synchronize()

    def backward(self) -> None:
        """Make those from the gradient of the outputs on; as often as there is another one."""
        with self._stream:
            for call in self._calls[self._backward_start :]:
                call()
            self._device.synchronize()

    @property
    def _backward_start(self) -> int:
        """Number of the launches that take the gradient of the outputs in."""
        start = self.plan.backward_start
        return next(n for n, origins in enumerate(self.origins) if start in origins)

    def _bring(self, order: np.ndarray, rates: np.ndarray, first_step: int) -> None:
        """Bring to the device what the next steps read."""
        arrays = self._device.arrays
        steps = len(order)
        self._order[:steps] = arrays.asarray(order)
        self._rates[:steps] = arrays.asarray(rates.reshape(steps, -1))
        # A copy; to fill with a number, CuPy would compile a kernel.
        first = arrays.asarray(np.array([first_step]))
        self._first[:] = first
        self._next[:] = first

    def _run_steps(self, steps: int, nanoseconds: np.ndarray | None) -> None:
        if nanoseconds is not None:
            for _ in range(steps):
                self._time_step(nanoseconds)
            return
        for together, recording in self._recordings.items():
            for _ in range(steps // together):
                recording.replay()
            steps %= together
        self._make_steps(steps)

    def _make_steps(self, steps: int) -> None:
        for _ in range(steps):
            self._one_step()

    def _begin_step(self) -> None:
        launch(
            "run.begin_step", (1,), (THREADS,), self.plan.samples_of_a_step, self._order,
            int(self._rates.shape[1]), self._rates, self._first, self._next, self._indices,
            self._rate, self._step,
        )  # fmt: skip

    def _one_step(self) -> None:
        self._begin_step()
        for call in self._calls:
            call()

    def _time_step(self, nanoseconds: np.ndarray) -> None:
        """Make the calls of one step, and add the time of each; without graphs, launches too."""
        self._begin_step()
        if not self._recordings:
            for number, call in enumerate(self._calls):
                nanoseconds[number] += self._device.nanoseconds_of(call)
            return
        for number, call in enumerate(self._calls):
            # It is made often, and then once as if nothing had been.
            kept = [(array, array.copy()) for array in self._written_by(number)]
            nanoseconds[number] += self._time(number, call)
            for array, before in kept:
                array[...] = before
            call()

    def _time(self, number: int, call: Callable[[], None]) -> int:
        """Nanoseconds of a call, of many in a graph."""
        if number not in self._repeated:

            def repeat() -> None:
                for _ in range(_REPEATS):
                    call()

            self._repeated[number] = self._device.record(repeat)
        recording = self._repeated[number]
        if recording is None:
            return self._device.nanoseconds_of(call)
        return round(self._device.nanoseconds_of(recording.replay) / _REPEATS)

    def _written_by(self, number: int) -> list[Array]:
        """Arrays that a call changes."""
        calls = (self.plan.calls[origin] for origin in self._fused[number].origins)
        spans = [span for call in calls for span in effects_of(self.plan, call).writes]
        return [self._arrays[memory] for memory in dict.fromkeys(span.memory for span in spans)]


def _graphs_are_wanted() -> bool:
    """Whether steps are recorded; the environment may say no, to look for faults."""
    return _switch(_GRAPHS_VARIABLE, "1")


def _switch(variable: str, default: str) -> bool:
    """Whether a variable of the environment is 1, or else 0."""
    value = os.environ.get(variable, default)
    if value not in ("0", "1"):
        raise ValueError(f"{variable} is {value!r}; expected 0 or 1")
    return value == "1"
