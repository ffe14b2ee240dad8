"""Scoring the same samples again and again: runners that are kept while they are of use."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv.data import Samples
from fastconv.execution.interrupts import DeferredInterrupts
from fastconv.execution.pace import Pace
from fastconv.execution.uploads import Arrays

_BATCH = 256
_MOST = 4
"""Evaluators that are kept: for the training, validation and test parts, and one more."""


def evaluation_batches(samples: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield (indices of shape (steps, batch), batch): all full batches, then a short one.

    Examples
    --------
    >>> [indices.shape for indices, batch in evaluation_batches(600)]
    [(2, 256), (1, 88)]
    """
    order = np.arange(samples, dtype=np.int64)
    full = samples // _BATCH * _BATCH
    for part, batch in ((order[:full], _BATCH), (order[full:], samples - full)):
        if len(part):
            yield part.reshape(-1, batch), batch


class Evaluator:
    """Evaluator of some samples.

    Parameters
    ----------
    samples
        How many.
    arrays
        The samples where the backend computes, which this keeps there.
    make_runner
        Makes the runner of an inference plan with a loss, for a size of a batch.
    steps_together
        As for :class:`fastconv.execution.pace.Pace`.
    """

    def __init__(
        self,
        samples: int,
        arrays: Arrays,
        make_runner: Callable[[int], Any],
        steps_together: int = 1,
    ) -> None:
        self._arrays = arrays
        self._parts = [
            (order, make_runner(batch), Pace(steps_together))
            for order, batch in evaluation_batches(samples)
        ]

    def run(
        self,
        interrupts: DeferredInterrupts,
        read: Callable[[NDArray[np.int64], Any], None] | None = None,
    ) -> NDArray[np.float64]:
        """Return the statistics over all samples, and let interrupts through in between.

        Parameters
        ----------
        interrupts
            Those to let through.
        read
            Is given the indices of each batch, and the runner behind it; None: nobody reads, and
            batches are run together.
        """
        total = np.zeros(4)
        for order, runner, pace in self._parts:
            done = 0
            while done < len(order):
                began = time.perf_counter()
                rows = order[done : done + (1 if read else pace.steps)]
                statistics = runner.run(rows, continues=done > 0)
                if read is None:
                    pace.measure(len(rows), time.perf_counter() - began)
                else:
                    read(rows[0], runner)
                done += len(rows)
                interrupts.let_through()
            # Three numbers, and a fourth where samples have weights.
            total = total[: statistics.size] + statistics
        return total


class RecentEvaluators:
    """The evaluators of the samples that were scored last, as long as these are there."""

    def __init__(self) -> None:
        # Oldest use first. Nothing here keeps samples alive.
        self._kept: weakref.WeakKeyDictionary[Samples, Evaluator] = weakref.WeakKeyDictionary()

    def find(self, samples: Samples, make: Callable[[Samples], Evaluator]) -> Evaluator:
        """Return the evaluator of these samples, made if there is none; others may be dropped."""
        evaluator = self._kept.pop(samples, None)
        if evaluator is None:
            evaluator = make(samples)
        self._kept[samples] = evaluator
        while len(self._kept) > _MOST:
            del self._kept[next(iter(self._kept))]
        return evaluator
