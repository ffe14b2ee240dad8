"""Running a plan: a Python loop over bound calls."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping

import numpy as np

from fastconv.backends.host_arrays import IS_ON_HOST as IS_ON_HOST
from fastconv.backends.host_arrays import to_device as to_device
from fastconv.backends.host_arrays import to_host as to_host
from fastconv.backends.host_arrays import write as write
from fastconv.plans.plan import Plan


class Runner:
    """A plan with its buffers allocated and its calls bound.

    Parameters
    ----------
    plan
        What to run.
    shared
        Arrays for the buffers that the plan marks as shared, by name.
    threads
        Not used: how many threads the matrix products take is a setting of the BLAS library, for
        the whole process (OPENBLAS_NUM_THREADS, or threadpoolctl, which the command lines use).

    Attributes
    ----------
    origins
        For each thing that is timed, the numbers of the plan's calls that it does: here one each.
    """

    def __init__(
        self, plan: Plan, shared: Mapping[str, np.ndarray], threads: int | None = None
    ) -> None:
        self.plan = plan
        self.origins: tuple[tuple[int, ...], ...] = tuple((n,) for n in range(len(plan.calls)))
        self._arrays: list[np.ndarray] = plan.allocate(shared, np.zeros)
        self._calls = self._bind()
        self._indices = self.buffer("indices")
        self._rate = self.buffer("rate")
        self._step = self.buffer("step")
        has_loss = any(buffer.name == "statistics" for buffer in plan.buffers)
        self._statistics = self.buffer("statistics") if has_loss else None
        names = [call.kernel.partition(".")[0] for call in plan.calls]
        updates = [number for number, name in enumerate(names) if name in ("optim", "gradient")]
        self._update = updates[0] if updates else len(names)
        # What a step adds to before its update; all else is written again.
        added_to = {buffer.name for buffer in plan.buffers} & {"statistics", "state"}
        self._added_to = [self.buffer(name) for name in sorted(added_to)]

    def _bind(self) -> list[Callable[[], None]]:
        """Bind each kernel to its spec, its arrays and one workspace that all share."""
        kernels, size = self.plan.kernels_of(self.plan.calls, __package__)
        workspace = np.zeros(size, np.uint8)
        bound: list[Callable[[], None]] = []
        for kernel, call in zip(kernels, self.plan.calls, strict=True):
            arrays = [None if n is None else self._arrays[n] for n in call.arguments]
            bound.append(functools.partial(kernel, call.spec, *arrays, workspace))
        return bound

    @property
    def memory_bytes(self) -> int:
        """Bytes of the arrays that this runner allocated, without the shared ones."""
        return self.plan.memory_bytes

    def buffer(self, name: str) -> np.ndarray:
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
            Called between the calls of a single step; what it raises leaves everything as it was
            before that step.

        Returns
        -------
        ndarray or None
            The plan's statistics over these steps, float64 (3,): sum of losses, correct,
            samples; None if it has no loss.
        """
        self.plan.check_order(np.asarray(order, np.int64))
        self._step[0] = first_step
        if self._statistics is not None and not continues:
            self._statistics.fill(0)
        # What is not finite is carried through and seen in the loss; NumPy need not warn of it.
        with np.errstate(all="ignore"):
            for number, indices in enumerate(order):
                self._indices[...] = indices
                if rates is not None:
                    self._rate[...] = rates[number]
                if nanoseconds is not None:
                    self._time_calls(nanoseconds)
                elif meanwhile is not None and len(order) == 1:
                    self._make_calls(meanwhile)
                else:
                    for call in self._calls:
                        call()
                self._step[0] += 1
        return None if self._statistics is None else self._statistics.copy()

    def forward(self, order: np.ndarray, step: int = 0) -> None:
        """Make the calls up to the outputs, of a plan whose backward pass begins with a gradient.

        Parameters
        ----------
        order
            int64 (1, batch): which samples make the batch.
        step
            Its number: random numbers depend on it.
        """
        self._step[0], self._indices[...] = step, order[0]
        with np.errstate(all="ignore"):
            for call in self._calls[: self.plan.backward_start]:
                call()

    def backward(self) -> None:
        """Make the calls from the gradient of the outputs on; as often as there is another one."""
        with np.errstate(all="ignore"):
            for call in self._calls[self.plan.backward_start :]:
                call()

    def _make_calls(self, meanwhile: Callable[[], None]) -> None:
        """Make the calls of one step, or of none if something is raised before the update."""
        before = [array.copy() for array in self._added_to]
        try:
            for call in self._calls[: self._update]:
                call()
                meanwhile()
        except BaseException:
            for array, values in zip(self._added_to, before, strict=True):
                array[...] = values
            raise
        for call in self._calls[self._update :]:
            call()

    def _time_calls(self, nanoseconds: np.ndarray) -> None:
        """Make the calls of one step, and add the time of each."""
        before = time.perf_counter_ns()
        for number, call in enumerate(self._calls):
            call()
            after = time.perf_counter_ns()
            nanoseconds[number] += after - before
            before = after
