"""Worker processes, and how many there may be."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType

from fastconv.search.definition import SearchError
from fastconv.search.worker import (
    ConfigError,
    Done,
    IntermediateValue,
    Lost,
    Message,
    Order,
    Prune,
    Ready,
    Stop,
    Task,
    WorkerConfig,
    WorkerCrash,
    work,
)

_PATIENCE_SECONDS, _PACE_SECONDS = 20.0, 0.2
"""For workers that were told to stop: an evaluation is not interrupted."""


def share_cores(cores: int, jobs: int | None, threads: int | None, *, on_device: bool) -> int:
    """Return how many processes work side by side.

    Parameters
    ----------
    cores
        That there are.
    jobs, threads
        Processes and threads of each, as they were asked for.
    on_device
        Whether the work is done on one GPU, which processes had to share.

    Raises
    ------
    SearchError
        If that is more than there are.

    Examples
    --------
    >>> share_cores(8, None, 2, on_device=False)
    4
    """
    each = threads or 1
    if each > cores:
        raise SearchError(f"--threads is {each} but there are {cores} cores; give at most {cores}")
    if jobs is None:
        return 1 if on_device else cores // each
    if jobs * each > cores:
        fewer = f"--jobs {cores // each}"
        if jobs <= cores:
            fewer += f" or --threads {cores // jobs}"
        raise SearchError(
            f"--jobs {jobs} with {each} thread{'s' if each != 1 else ''} each are {jobs * each} "
            f"threads but there are {cores} cores; give {fewer}"
        )
    return jobs


@dataclass
class _Worker:
    """A process, its connection, and the trial that it trains."""

    process: SpawnProcess
    connection: Connection[Order, Message]
    is_ready: bool = False
    task: Task | None = None


class Pool:
    """Processes that train trials.

    Use it as a context: at its end no process is left.

    Parameters
    ----------
    config
        What is the same in all trials.
    jobs
        Number of processes.

    Attributes
    ----------
    backend
        That trains, once a worker is ready.
    """

    def __init__(self, config: WorkerConfig, jobs: int) -> None:
        self.backend = ""
        self._workers: list[_Worker] = []
        # Not forked: threads, and what a backend holds, do not survive it.
        context = multiprocessing.get_context("spawn")
        for _ in range(jobs):
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs, config), daemon=True)
            process.start()
            theirs.close()
            self._workers.append(_Worker(process, ours))

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()

    @property
    def running(self) -> list[int]:
        """Numbers of the trials that are trained."""
        return [worker.task.number for worker in self._workers if worker.task is not None]

    def has_free_worker(self) -> bool:
        """Whether a worker waits for a trial."""
        return any(worker.is_ready and worker.task is None for worker in self._workers)

    def start(self, task: Task) -> None:
        """Give a trial to a worker that is free."""
        worker = next(each for each in self._workers if each.is_ready and each.task is None)
        worker.task = task
        self._send(worker, task)

    def prune(self, number: int) -> None:
        """Have a trial given up."""
        for worker in self._workers:
            if worker.task is not None and worker.task.number == number:
                self._send(worker, Prune(number))

    def messages(self, seconds: float) -> Iterator[IntermediateValue | Done | Lost]:
        """Wait so long for what the workers say; return it.

        Raises
        ------
        SearchError
            If the search cannot be made, or a worker was ended from outside.
        RuntimeError
            If the program has a mistake; with the traceback.
        """
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection), seconds):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                message = worker.connection.recv()
            except (EOFError, ConnectionResetError):
                raise self._lost(worker) from None
            if isinstance(message, ConfigError):
                raise SearchError(message.reason)
            if isinstance(message, WorkerCrash):
                raise RuntimeError(f"a worker broke off:\n{message.text}")
            if isinstance(message, Ready):
                worker.is_ready, self.backend = True, message.backend
                continue
            if isinstance(message, Done):
                worker.task = None
            yield message

    def stop(self) -> None:
        """Tell all workers to give up, and wait until they have."""
        for worker in self._workers:
            if worker.is_ready:
                self._send(worker, Stop())
            else:
                worker.process.kill()  # it has begun nothing
        left = {worker.connection: worker for worker in self._workers}
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while left and time.monotonic() < deadline:
            for connection in wait(list(left), _PACE_SECONDS):
                worker = left[connection]  # type: ignore[index]
                # What they still say is not wanted, but would fill the pipe up.
                try:
                    worker.connection.recv()
                except (EOFError, OSError):
                    del left[worker.connection]

    def _send(self, worker: _Worker, order: Order) -> None:
        # One that is gone says so in its next message.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            worker.connection.send(order)

    def _lost(self, worker: _Worker) -> SearchError:
        worker.process.join()
        code = worker.process.exitcode
        return SearchError(
            f"a worker process ended with code {code}"
            f"{' (killed, perhaps for want of memory)' if code == -9 else ''}; give fewer --jobs; "
            f"the same command goes on where this one stopped"
        )
