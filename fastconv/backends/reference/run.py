"""Running a plan as it is: its calls one after the other, each by the reference's kernel.

Nothing is fused, reordered or left out, so that what a backend makes of a plan can be compared with
what the plan says. For a network of float64, every array of a step is float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastconv.plans.plan import Call, Plan


def to_device(array: np.ndarray) -> np.ndarray:
    """Return the array where this backend computes: here it is already."""
    return array


def to_host(array: np.ndarray) -> np.ndarray:
    """Return the array as a NumPy array: here it is one already."""
    return array


def write(array: np.ndarray, target: np.ndarray) -> None:
    """Write an array of the host over one where this backend computes.

    Parameters
    ----------
    array
        Numbers that the target's dtype need not hold: they are rounded, or infinite.
    target
        As :func:`to_device` returned it, of the array's shape.
    """
    if array.dtype == target.dtype:
        target[...] = array
    else:
        with np.errstate(over="ignore"):
            target[...] = array


class Runner:
    """A plan with its buffers allocated.

    Parameters
    ----------
    plan
        What to run.
    shared
        Arrays for the buffers that the plan marks as shared, by name.
    threads
        Not used.
    """

    def __init__(
        self, plan: Plan, shared: Mapping[str, np.ndarray], threads: int | None = None
    ) -> None:
        self.plan = plan
        self._arrays: list[np.ndarray] = plan.allocate(shared, np.zeros)
        self._kernels = self.kernels()
        names = [buffer.name for buffer in plan.buffers]
        self._statistics = self.buffer("statistics") if "statistics" in names else None

    def kernels(self) -> list[Callable[..., None]]:
        """Return the kernel of each call."""
        return self.plan.kernels_of(self.plan.calls, __name__.rpartition(".")[0])[0]

    def buffer(self, name: str) -> np.ndarray:
        """Return the array of the buffer with this name."""
        return self._arrays[self.plan.number_of(name)]

    def run(
        self, order: np.ndarray, rates: np.ndarray | None = None, first_step: int = 0
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

        Returns
        -------
        ndarray or None
            The plan's statistics over these steps, float64 (3,): sum of losses, correct,
            samples; None if it has no loss.
        """
        self.buffer("step")[0] = first_step
        if self._statistics is not None:
            self._statistics.fill(0)
        for number, indices in enumerate(order):
            self.buffer("indices")[...] = indices
            if rates is not None:
                self.buffer("rate")[...] = rates[number]
            self._make_calls(0, len(self.plan.calls))
            self.buffer("step")[0] += 1
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
        self.buffer("step")[0] = step
        self.buffer("indices")[...] = order[0]
        self._make_calls(0, self.plan.backward_start)

    def backward(self) -> None:
        """Make the calls from the gradient of the outputs on; as often as there is another one."""
        self._make_calls(self.plan.backward_start, len(self.plan.calls))

    def _make_calls(self, start: int, end: int) -> None:
        for kernel, call in zip(self._kernels[start:end], self.plan.calls[start:end], strict=True):
            self.make_call(kernel, call, [self._array(n) for n in call.arguments])

    def make_call(self, kernel: Callable[..., None], call: Call, arrays: list[Any]) -> None:
        """Make one call; the workspace that kernels end with is not used here."""
        kernel(call.spec, *arrays, None)

    def _array(self, number: int | None) -> np.ndarray | None:
        return None if number is None else self._arrays[number]
