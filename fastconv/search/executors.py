"""Trials in the workers of joblib, Dask or Ray, which may be on other machines."""

from __future__ import annotations

import concurrent.futures
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from fastconv._extras import missing_extra
from fastconv.backends.selection import BackendError
from fastconv.data import DataError
from fastconv.network import NetworkError
from fastconv.recipes.schema import RecipeError
from fastconv.search.definition import SearchError
from fastconv.search.worker import (
    ConfigError,
    Done,
    IntermediateValue,
    Lost,
    Message,
    Task,
    Trainings,
    WorkerConfig,
)

_kept: tuple[WorkerConfig, Trainings] | None = None
"""Of the search that this process trained for last, with its data."""


def train_trial(config: WorkerConfig, task: Task) -> Message:
    """Train one trial, in the process of a worker.

    Parameters
    ----------
    config
        What is the same in all trials.
    task
        The trial.
    """
    global _kept
    if threading.current_thread() is threading.main_thread():
        # Ctrl-C reaches every process of a terminal; the one that asks is the one who answers it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    with (
        threadpool_limits(config.execution.threads),
        np.errstate(over="ignore", invalid="ignore", divide="ignore"),
    ):
        if _kept is None or _kept[0] != config:
            trainings = Trainings(config)
            try:
                trainings.check(config.search.first_settings())
            except (RecipeError, DataError, NetworkError, BackendError) as fault:
                return ConfigError(str(fault))
            _kept = config, trainings
        return _kept[1].train(task)


class Executor(Protocol):
    """Runs functions in other processes."""

    def submit(self, function: Callable[..., Message], *arguments: Any) -> Any:
        """Have a function called; return what stands for its result."""

    def wait(self, futures: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Return those that have ended, after so many seconds at most."""

    def result(self, future: Any) -> Message | None:
        """Return a result; None where the worker is gone."""

    def close(self) -> None:
        """End all workers."""


class JoblibExecutor:
    """Executor of joblib's loky processes on this machine, each apart from the others.

    Parameters
    ----------
    jobs
        How many.
    """

    def __init__(self, jobs: int) -> None:
        try:
            from joblib.externals.loky import ProcessPoolExecutor  # type: ignore[import-untyped]
        except ModuleNotFoundError as fault:
            raise missing_extra("fastconv.search --executor joblib", fault) from None
        self._make = ProcessPoolExecutor
        self._free: list[Any] = [None] * jobs
        self._at_work: dict[Any, Any] = {}

    def submit(self, function: Callable[..., Message], *arguments: Any) -> Any:
        """Have a function called; return its future."""
        # A pool of several would be broken as a whole by one that dies.
        pool = self._free.pop() or self._make(max_workers=1)
        future = pool.submit(function, *arguments)
        self._at_work[future] = pool
        return future

    def wait(self, futures: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Return the futures that have ended."""
        done, _ = concurrent.futures.wait(futures, seconds, concurrent.futures.FIRST_COMPLETED)
        return list(done)

    def result(self, future: Any) -> Message | None:
        """Return a result; None where the worker is gone."""
        pool = self._at_work.pop(future)
        try:
            found: Message = future.result()
        except concurrent.futures.process.BrokenProcessPool:
            pool.shutdown(wait=False, kill_workers=True)
            self._free.append(None)
            return None
        self._free.append(pool)
        return found

    def close(self) -> None:
        """End all workers."""
        for pool in filter(None, [*self._free, *self._at_work.values()]):
            pool.shutdown(wait=False, kill_workers=True)


class DaskExecutor:
    """Executor of a Dask cluster: that of ``DASK_SCHEDULER_ADDRESS``, or one on this machine.

    Parameters
    ----------
    jobs
        Workers of the latter.
    """

    def __init__(self, jobs: int) -> None:
        try:
            import dask  # type: ignore[import-not-found,import-untyped,unused-ignore]
            import distributed  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ModuleNotFoundError as fault:
            raise missing_extra("fastconv.search --executor dask", fault) from None
        self._distributed = distributed
        # What kills a worker would kill those after it too.
        dask.config.set({"distributed.scheduler.allowed-failures": 0})
        address = dask.config.get("scheduler-address", None)
        local = {} if address else {"n_workers": jobs, "threads_per_worker": 1}
        self._client = distributed.Client(address, **local)

    def submit(self, function: Callable[..., Message], *arguments: Any) -> Any:
        """Have a function called; return its future."""
        return self._client.submit(function, *arguments, pure=False)

    def wait(self, futures: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Return the futures that have ended."""
        with contextlib.suppress(TimeoutError):
            self._distributed.wait(futures, seconds, "FIRST_COMPLETED")
        return [future for future in futures if future.done()]

    def result(self, future: Any) -> Message | None:
        """Return a result; None where the worker is gone."""
        try:
            found: Message = future.result()
        except self._distributed.KilledWorker:
            return None
        return found

    def close(self) -> None:
        """End the workers that are this search's own."""
        self._client.close()


class RayExecutor:
    """Executor of a Ray cluster: that of ``RAY_ADDRESS``, or one on this machine.

    Parameters
    ----------
    jobs
        Processes of the latter.
    """

    def __init__(self, jobs: int) -> None:
        try:
            import ray  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ModuleNotFoundError as fault:
            raise missing_extra("fastconv.search --executor ray", fault) from None
        self._ray = ray
        if not ray.is_initialized():
            ray.init(num_cpus=jobs, log_to_driver=False, include_dashboard=False)
        self._train = ray.remote(max_retries=0, num_cpus=1)(_call)

    def submit(self, function: Callable[..., Message], *arguments: Any) -> Any:
        """Have a function called; return what stands for its result."""
        return self._train.remote(function, *arguments)

    def wait(self, futures: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Return those that have ended."""
        done, _ = self._ray.wait(list(futures), timeout=seconds)
        found: Sequence[Any] = done
        return found

    def result(self, future: Any) -> Message | None:
        """Return a result; None where the worker is gone."""
        try:
            found: Message = self._ray.get(future)
        except self._ray.exceptions.WorkerCrashedError:
            return None
        return found

    def close(self) -> None:
        """End the workers that are this search's own."""
        self._ray.shutdown()


def _call(function: Callable[..., Message], *arguments: Any) -> Message:
    return function(*arguments)


EXECUTORS: dict[str, Callable[[int], Executor]] = {
    "joblib": JoblibExecutor, "dask": DaskExecutor, "ray": RayExecutor,
}  # fmt: skip


class ExecutorPool:
    """Trials in an executor; it stands in for :class:`fastconv.search.pool.Pool`.

    A worker that dies loses its trial alone: it is made again, by another one.

    Parameters
    ----------
    config
        What is the same in all trials.
    jobs
        How many are trained at once.
    executor
        Runs them.

    Attributes
    ----------
    backend
        That trains.
    """

    def __init__(self, config: WorkerConfig, jobs: int, executor: Executor) -> None:
        self._config, self._jobs, self._executor = config, jobs, executor
        self._futures: dict[Any, int] = {}
        self.backend = config.execution.backend

    def __enter__(self) -> ExecutorPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._executor.close()

    @property
    def running(self) -> list[int]:
        """Numbers of the trials that are trained."""
        return list(self._futures.values())

    def has_free_worker(self) -> bool:
        """Whether another trial may begin."""
        return len(self._futures) < self._jobs

    def start(self, task: Task) -> None:
        """Have a trial trained."""
        self._futures[self._executor.submit(train_trial, self._config, task)] = task.number

    def prune(self, number: int) -> None:
        """Nothing: nothing is told of a trial before its end."""

    def messages(self, seconds: float) -> Iterator[IntermediateValue | Done | Lost]:
        """Wait so long for trials that end; return what they came to.

        Raises
        ------
        SearchError
            If the search cannot be made.
        """
        if not self._futures:
            time.sleep(seconds)
            return
        for future in self._executor.wait(list(self._futures), seconds):
            number = self._futures.pop(future)
            message = self._executor.result(future)
            if isinstance(message, ConfigError):
                raise SearchError(message.reason)
            if message is None:
                yield Lost(number)
            elif isinstance(message, Done):
                yield message

    def stop(self) -> None:
        """Nothing: the workers are ended with the pool."""
