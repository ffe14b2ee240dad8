"""Training steps whose batch is made in shards, by one worker or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastconv.backends.selection import BackendError
from fastconv.data_parallel.group import Group
from fastconv.data_parallel.shared_memory import SharedMemoryGroup
from fastconv.execution.network_on_backend import NetworkOnBackend
from fastconv.plans.plan_builder import Purpose, build_update_plan
from fastconv.preprocessing import Augmentation
from fastconv.spec import SpecError

_NO_SAMPLES = np.zeros((1, 1), np.int64)
"""The order of a plan that only updates."""


@dataclass(frozen=True)
class _Steps:
    """To the other workers: make these steps."""

    order: NDArray[np.int64]
    rates: NDArray[np.float64]
    first_step: int


@dataclass(frozen=True)
class _Arrays:
    """To the other workers: go on from here."""

    arrays: dict[str, NDArray[Any]]


class Passes(Protocol):
    """Passes of a worker's shards, forward and backward."""

    def run(self, batch: NDArray[np.int64], step: int) -> None:
        """Make them, and write gradients, state and statistics where the group has room for them.

        Parameters
        ----------
        batch
            int64 (shards, samples): which samples make each shard.
        step
            Number of the step.
        """


class PassesApart:
    """Passes one after the other, of shards that know nothing of each other.

    Parameters
    ----------
    runner
        The backend's, of the plan of a shard, which leaves its gradients.
    gradients, state
        That the plan shares.
    group
        The workers.
    shards
        How many make a batch.
    """

    def __init__(
        self,
        runner: Any,
        gradients: NDArray[Any],
        state: NDArray[Any],
        group: Group,
        shards: int,
    ) -> None:
        self._runner, self._group, self._shards = runner, group, shards
        self._gradients, self._state, self._before = gradients, state, state.copy()

    def run(self, batch: NDArray[np.int64], step: int) -> None:
        """Make them; parameters as for :class:`Passes`."""
        self._before[...] = self._state
        for shard in self._group.own:
            self._state[...] = self._before
            # Random numbers follow from the step that a plan is told: one for each shard.
            told = step * self._shards + shard
            counted = self._runner.run(batch[shard : shard + 1], None, told)
            self._group.write(shard, self._gradients, self._state, counted)


class ShardedRunner:
    """Makes the steps of a plan in shards; it stands in for the backend's runner.

    A step: the gradients of each shard, as of a batch of its own; their mean, along a tree that
    depends on the number of shards alone; and the update. Running statistics of batch normalisation
    are averaged in the same way. Each shard has random numbers of its own. So what comes out
    depends on the shards, and not on who makes them.

    The first worker says what to do, and the others do it in :meth:`serve`; all hold the whole
    network, and update it.

    Parameters
    ----------
    passes
        Of this worker's shards.
    update
        The backend's runner of the plan of the update alone.
    arrays
        What the steps change, by name: gradients, parameters, state, moments, averages.
    shards
        How many make a batch.
    group
        The workers.
    counts
        Numbers of the statistics.

    Attributes
    ----------
    is_current
        Whether the other workers have the same arrays; who changes the first one's says that they
        have not.
    """

    def __init__(
        self,
        passes: Passes,
        update: Any,
        arrays: Mapping[str, NDArray[Any]],
        shards: int,
        group: Group,
        counts: int,
    ) -> None:
        self._passes, self._update, self._group = passes, update, group
        self._gradients, self._state = arrays["gradients"], arrays["state"]
        self._arrays = {name: array for name, array in arrays.items() if name != "gradients"}
        self._shards = shards
        self._statistics = np.zeros(counts)
        self.is_current = group.size == 1

    @property
    def workers(self) -> int:
        """Number of workers."""
        return self._group.size

    def buffer(self, name: str) -> NDArray[Any]:
        """Return the statistics over the steps, the one buffer that all shards have in common.

        Raises
        ------
        KeyError
            For any other.
        """
        return {"statistics": self._statistics}[name]

    def run(
        self,
        order: NDArray[np.int64],
        rates: NDArray[np.float64],
        first_step: int = 0,
        *,
        continues: bool = False,
        meanwhile: Callable[[], None] | None = None,
    ) -> NDArray[np.float64]:
        """Run one step for each row of ``order``, on all workers.

        Parameters
        ----------
        order
            int64 (steps, batch): which samples make each step's batch; the first shard has the
            first of them.
        rates
            float64 (steps,): the learning rates.
        first_step
            Number of the first step.
        continues
            Whether the statistics go on from those of the last run.
        meanwhile
            Not used: all workers finish a step.

        Raises
        ------
        WorkerLost
            If one is gone.
        """
        self._group.is_busy = True
        if not self.is_current:
            self._group.broadcast(_Arrays({n: np.array(a) for n, a in self._arrays.items()}))
            self.is_current = True
        if self._group.size > 1:
            self._group.broadcast(_Steps(np.asarray(order), np.asarray(rates), first_step))
        if not continues:
            self._statistics.fill(0)
        self._make(order, rates, first_step)
        self._group.is_busy = False
        return self._statistics.copy()

    def serve(self) -> None:
        """Do what the first worker says, until it says no more."""
        while (message := self._group.broadcast()) is not None:
            if isinstance(message, _Arrays):
                for name, array in message.arrays.items():
                    self._arrays[name][...] = array
            else:
                self._make(message.order, message.rates, message.first_step)

    def _make(self, order: NDArray[np.int64], rates: NDArray[np.float64], first_step: int) -> None:
        group, size = self._group, self._gradients.size
        shards = np.asarray(order, np.int64).reshape(len(order), self._shards, -1)
        for number, batch in enumerate(shards):
            step = first_step + number
            self._passes.run(batch, step)
            self._statistics += group.mean()[: self._statistics.size]
            self._gradients[...], self._state[...] = group.total[:size], group.total[size:]
            self._update.run(_NO_SAMPLES, rates[number : number + 1], step)


def make_sharded_runner(
    placed: NetworkOnBackend,
    shards: int,
    group: Group | None,
    batch_size: int,
    purpose: Purpose,
    arrays: Mapping[str, Any],
    *,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    steps_per_epoch: int = 1,
    sync_batch_norm: bool = False,
) -> ShardedRunner:
    """Make the runner of a training plan in shards.

    Parameters
    ----------
    placed
        The network where a backend computes.
    shards
        How many make a batch.
    group
        The workers; None for one.
    batch_size
        Samples of a batch.
    purpose, arrays, augmentation, seed, steps_per_epoch
        As for :meth:`NetworkOnBackend.make_runner`; of the whole step.
    sync_batch_norm
        Whether batch normalisation takes all shards together.

    Raises
    ------
    SpecError
        If the shards do not divide the batch, or there are several passes.
    BackendError
        If the backend does not compute on the host.
    """
    if shards < 1 or batch_size % shards:
        expected = f"a number that divides the batch size, {batch_size}"
        raise SpecError("Trainer", "shards", shards, expected)
    if purpose.accumulate != 1:
        expected = "1 beside shards, which are passes of their own; use more shards"
        raise SpecError("Trainer", "accumulate", purpose.accumulate, expected)
    if not placed.run_module.IS_ON_HOST:
        raise BackendError(
            f"shards is {shards} and the backend is {placed.config.backend}; expected one of the "
            f"host; use --backend cython, or leave shards and --workers out"
        )
    assert purpose.optimizer is not None  # of a training
    group = SharedMemoryGroup(0, 1, ()) if group is None else group
    changed = {
        name: array
        for name, array in (placed.flat_arrays | dict(arrays)).items()
        if name in _CHANGED
    }
    of_shard = replace(purpose, optimizer=None)
    plan = placed.make_plan(
        batch_size // shards, of_shard, arrays, augmentation=augmentation, seed=seed,
        steps_per_epoch=steps_per_epoch * shards,  # it is told a step for each shard
    )  # fmt: skip
    shared = placed.shared_arrays(of_shard, arrays)
    counts = plan.buffers[plan.number_of("statistics")].shape[0]
    gradients, state = changed["gradients"], changed["state"]
    columns = gradients.size + state.size
    passes: Passes
    if sync_batch_norm:
        from fastconv.data_parallel.gathered_norm import GatheredNormPasses, most_sums

        group.allocate(shards, columns, gradients.dtype, max(counts, most_sums(plan)))
        passes = GatheredNormPasses(plan, shared, placed.config.backend, group, shards)
    else:
        group.allocate(shards, columns, gradients.dtype, counts)
        runner = placed.config.make_runner(plan, shared)
        passes = PassesApart(runner, gradients, state, group, shards)
    update_plan = build_update_plan(placed.network, purpose.optimizer)
    update = placed.config.make_runner(update_plan, changed)
    return ShardedRunner(passes, update, changed, shards, group, counts)


_CHANGED = (
    "gradients", "parameters", "state", "first_moment", "second_moment", "gradient_mean",
    "average_parameters", "average_state", "slow_weights",
)  # fmt: skip
