"""A search from its first trial to its last: stages, workers, and what is shown of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import optuna

from fastconv.search.definition import Search, dimension_table
from fastconv.search.outcome import Outcome, Trial, best_of
from fastconv.search.pool import Pool
from fastconv.search.space import Space
from fastconv.search.study import Stage, stored_space, study_name
from fastconv.search.worker import IntermediateValue, Lost, Task, WorkerConfig

if TYPE_CHECKING:
    from fastconv.search.executors import ExecutorPool

_PACE_SECONDS = 0.2
"""Seconds within which Ctrl-C is answered."""
_LIFE_SECONDS = 15.0
"""Seconds between signs of life of this process, and looks for those that show none."""


class Watcher(Protocol):
    """Is told what happens; see :mod:`fastconv.search.display`."""

    def on_stage(self, stage: int, found: Sequence[Trial], wanted: int, space: Space) -> None:
        """A stage begins, or is taken up again."""
        ...

    def on_trial(self, trial: Trial, finished: int, wanted: int) -> None:
        """A trial of this process ended."""
        ...

    def on_wait(self) -> None:
        """Nothing is left to do but to wait for the trials of other processes."""
        ...


class Engine:
    """Runs a search.

    Parameters
    ----------
    search
        What is searched.
    storage
        Where the trials are kept.
    is_alone
        Whether no other process uses the storage.
    config, jobs
        Of the workers.
    watcher
        Is told what happens.
    is_interrupted
        Asked all the while.
    executor
        Where trials are trained, one of :data:`fastconv.search.executors.EXECUTORS`; None:
        processes of the search's own.

    Attributes
    ----------
    interrupted
        Whether the search was stopped before its end.
    """

    def __init__(
        self,
        search: Search,
        storage: optuna.storages.RDBStorage,
        *,
        is_alone: bool,
        config: WorkerConfig,
        jobs: int,
        watcher: Watcher,
        is_interrupted: Callable[[], bool],
        executor: str | None = None,
    ) -> None:
        self._search, self._storage, self._is_alone = search, storage, is_alone
        self._config, self._jobs = config, jobs
        self._watcher, self._is_interrupted = watcher, is_interrupted
        self._stages: list[Stage] = []
        self._pool: Pool | ExecutorPool | None = None
        self._executor, self._lost = executor, set[tuple[int, int]]()
        self.interrupted = False

    def open(self) -> None:
        """Find the study, or begin it.

        Raises
        ------
        SearchError
            If there is another of this name.
        """
        definition = self._search.definition
        self._take_up(0, definition.space, definition.first_trials)

    def run(self) -> None:
        """Make the trials that are missing, after :meth:`open`.

        Raises
        ------
        SearchError
            If the search cannot be made, or a worker was ended from outside.
        """
        definition = self._search.definition
        first = self._stages[0]
        with contextlib.ExitStack() as pools:
            if not self._run_stage(first, pools) or definition.finer is None:
                return
            name = study_name(definition, 1)
            space = stored_space(self._storage, name) or self._finer_space(first)
            if space is not None:
                self._run_stage(self._take_up(1, space, definition.finer.trials), pools)

    def outcome(self) -> Outcome:
        """Return the trials so far, also those of other machines."""
        definition = self._search.definition
        wanted = definition.first_trials + (definition.finer.trials if definition.finer else 0)
        trials = [trial for stage in self._stages for trial in stage.finished()]
        return Outcome(self._search, tuple(trials), wanted, self._stages[-1].backend)

    def _take_up(self, number: int, space: Space, wanted: int) -> Stage:
        identity = self._search.identity()
        if number:
            assert self._search.definition.finer is not None  # else there is one stage
            identity["space"] = {key: dimension_table(each) for key, each in space.items()}
            identity["best"] = self._search.definition.finer.best
        stage = Stage(self._storage, self._search.definition, number, space, wanted, identity)
        stage.fail_interrupted(is_alone=self._is_alone)
        self._stages.append(stage)
        return stage

    def _finer_space(self, first: Stage) -> Space | None:
        """The range of the best, or None if no trial came to a result."""
        definition = self._search.definition
        assert definition.finer is not None  # else nobody asks
        best = best_of(first.finished(), definition.is_maximised)[: definition.finer.best]
        if not best:
            return None
        return {
            key: dimension.narrowed([trial.settings[key] for trial in best])
            for key, dimension in definition.space.items()
        }

    def _run_stage(self, stage: Stage, pools: contextlib.ExitStack) -> bool:
        """Make the trials of a stage; return whether all of them are there."""
        found = stage.finished()
        self._watcher.on_stage(stage.number, found, stage.wanted, stage.space)
        missing = stage.wanted - len(found)
        if missing <= 0:
            return True
        if self._pool is None:
            # The workers of the first stage stay for the second: they have the data.
            finer = self._search.definition.finer
            most = max(missing, finer.trials if finer is not None else 0)
            pool = self._pool = self._make_pool(min(self._jobs, most))
            pools.enter_context(pool)
        try:
            self._work(stage, self._pool)
            if self.interrupted:
                self._pool.stop()
        finally:
            stage.give_up()
            stage.keep_backend(self._pool.backend)
        return not self.interrupted

    def _make_pool(self, jobs: int) -> Pool | ExecutorPool:
        if self._executor is None:
            return Pool(self._config, jobs)
        from fastconv.search.executors import EXECUTORS, ExecutorPool

        return ExecutorPool(self._config, jobs, EXECUTORS[self._executor](jobs))

    def _take_loss(self, stage: Stage, number: int) -> None:
        """Have a trial made again whose worker is gone; one that loses another is given up."""
        draw = stage.number, stage.index_of(number)
        if draw not in self._lost:
            self._lost.add(draw)
            stage.repeat(number)
            return
        trial = stage.tell(number, "impossible", (), 0.0, "its worker ended, twice")
        self._watcher.on_trial(trial, len(stage.finished()), stage.wanted)

    def _work(self, stage: Stage, pool: Pool | ExecutorPool) -> None:
        shown = time.monotonic()
        is_waiting = False
        while True:
            if self._is_interrupted():
                self.interrupted = True
                return
            if time.monotonic() - shown > _LIFE_SECONDS:
                shown = time.monotonic()
                stage.record_heartbeats()
                if not self._is_alone:
                    stage.fail_interrupted(is_alone=False)
            while pool.has_free_worker() and (asked := stage.ask()) is not None:
                pool.start(Task(*asked))
            if not pool.running and stage.is_complete():
                return
            if not pool.running and pool.has_free_worker() and not is_waiting:
                is_waiting = True
                self._watcher.on_wait()
            for message in pool.messages(_PACE_SECONDS):
                if isinstance(message, IntermediateValue):
                    if stage.report(message.number, message.line, message.value):
                        pool.prune(message.number)
                elif isinstance(message, Lost):
                    self._take_loss(stage, message.number)
                elif message.state is not None:
                    trial = stage.tell(
                        message.number,
                        message.state,
                        message.scores,
                        message.seconds,
                        message.reason,
                        message.training_scores,
                    )
                    self._watcher.on_trial(trial, len(stage.finished()), stage.wanted)
