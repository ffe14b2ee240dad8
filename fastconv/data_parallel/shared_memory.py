"""Workers on one host: processes with memory that all of them see."""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastconv._errors import WorkerLost
from fastconv.data_parallel.group import Group, GroupError

_MEMORY_FILES = "/dev/shm"
_LINE = 64
"""Bytes of a cache line."""


class Process(Protocol):
    """What is asked of a process of :mod:`multiprocessing`."""

    @property
    def exitcode(self) -> int | None:
        """How it ended; None while it runs."""

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""

    def kill(self) -> None:
        """End it."""


class SharedMemoryGroup(Group):
    """Group of processes that share memory, and a pipe from the first to each of the others.

    A process that is gone, however it ended, closes its end of a pipe, and whoever waits for it is
    told at once.

    Parameters
    ----------
    rank, size
        As for :class:`Group`.
    connections
        Of the first worker, one to each of the others in order; of another one, that to the first.
    processes
        The others', for the first one.

    Examples
    --------
    >>> group = SharedMemoryGroup(0, 1, ())
    >>> group.allocate(2, 3, "float32", 1)
    >>> for shard in group.own:
    ...     group.row(shard)[...] = shard
    ...     group.counts(shard)[...] = 1
    >>> group.mean(), group.total
    (array([2.]), array([0.5, 0.5, 0.5], dtype=float32))
    """

    def __init__(
        self,
        rank: int,
        size: int,
        connections: Sequence[Connection[Any, Any]],
        processes: Sequence[Process] = (),
    ) -> None:
        super().__init__(rank, size)
        self._connections, self._processes = connections, processes

    def row(self, shard: int) -> NDArray[np.floating]:
        """Return where a shard writes its row."""
        row: NDArray[np.floating] = self._rows[shard]
        return row

    def counts(self, shard: int) -> NDArray[np.float64]:
        """Return where a shard writes its numbers."""
        counts: NDArray[np.float64] = self._numbers[shard]
        return counts

    def broadcast(self, message: Any = None) -> Any:
        """Give the first worker's message to all; the others wait for it, and return it."""
        if self.rank:
            return self._connections[0].recv()
        for other, connection in enumerate(self._connections, start=1):
            with self._watched(other):
                connection.send(message)
        return message

    def fail(self, reason: str) -> None:
        """Tell the first worker why this one ends, in one line."""
        with contextlib.suppress(OSError):
            self._connections[0].send_bytes(reason.encode())

    def close(self) -> None:
        """Let the other workers end, and see that they do."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.send(None)
            connection.close()
        for process in self._processes:
            process.join(1.0)
            process.kill()
            process.join()

    def _allocate(self, shards: int, columns: int, dtype: np.dtype[Any], counts: int) -> None:
        width = -(-columns * dtype.itemsize // _LINE) * _LINE
        size = (shards + 1) * width + shards * counts * 8
        memory = self._memory(size)
        rows = memory[: (shards + 1) * width].reshape(shards + 1, width)
        self._rows = rows[:shards, : columns * dtype.itemsize].view(dtype)
        self.total = rows[shards, : columns * dtype.itemsize].view(dtype)
        self._numbers = memory[(shards + 1) * width :].view(np.float64).reshape(shards, counts)

    def _memory(self, size: int) -> NDArray[np.uint8]:
        """Memory of all workers: a file that no folder names any more once all have it."""
        if self.size == 1:
            return np.zeros(size, np.uint8)
        folder = _MEMORY_FILES if os.path.isdir(_MEMORY_FILES) else None
        if self.rank:
            path = self.broadcast()
            if path is None:
                raise EOFError  # the first worker has ended
            with open(path, "r+b") as file:
                memory = np.frombuffer(mmap.mmap(file.fileno(), size), np.uint8)
            self._wait_for_all()
            return memory
        handle, path = tempfile.mkstemp(prefix="fastconv-", dir=folder)
        try:
            try:
                if sys.platform == "linux":
                    os.posix_fallocate(handle, 0, size)  # truncating gives memory that is not there
                else:
                    os.ftruncate(handle, size)
            except OSError as fault:
                raise GroupError(
                    f"shards is {len(self._leaves)}: {os.path.dirname(path)} has no room for the "
                    f"{size / 2**20:.0f} MiB that {self.size} workers share ({fault.strerror}); "
                    f"use fewer shards, or mpiexec"
                ) from None
            memory = np.frombuffer(mmap.mmap(handle, size), np.uint8)
            self.broadcast(path)
            self._wait_for_all()
        finally:
            os.close(handle)
            with contextlib.suppress(OSError):
                os.unlink(path)
        return memory

    def _exchange(self) -> tuple[dict[int, NDArray[np.floating]], NDArray[np.float64]]:
        self._wait_for_all()
        segment = self._segments[self.rank]
        rows = {first: self._rows[first, segment] for nodes in self._nodes for first, _ in nodes}
        return rows, self._numbers.copy()

    def _gather_counts(self) -> NDArray[np.float64]:
        self._wait_for_all()
        numbers = self._numbers.copy()
        self._wait_for_all()  # before somebody writes others
        return numbers

    def _complete(self) -> None:
        self._wait_for_all()

    def _wait_for_all(self) -> None:
        """Wait until every worker is here."""
        if self.rank:
            self._connections[0].send_bytes(b"")
            self._connections[0].recv_bytes()
            return
        for other, connection in enumerate(self._connections, start=1):
            with self._watched(other):
                reason = connection.recv_bytes()
            if reason:
                raise WorkerLost(f"worker {other} of {self.size}: {reason.decode()}")
        for other, connection in enumerate(self._connections, start=1):
            with self._watched(other):
                connection.send_bytes(b"")

    @contextlib.contextmanager
    def _watched(self, other: int) -> Any:
        """Say which worker is gone where a pipe says that it is."""
        try:
            yield
        except (EOFError, OSError):
            # It may have said why.
            with contextlib.suppress(EOFError, OSError):
                if reason := self._connections[other - 1].recv_bytes():
                    raise WorkerLost(f"worker {other} of {self.size}: {reason.decode()}") from None
            process = self._processes[other - 1]
            process.join(1.0)
            code = process.exitcode
            why = " (killed, perhaps for want of memory)" if code == -9 else ""
            raise WorkerLost(
                f"worker {other} of {self.size} ended with exit code {code}{why}"
            ) from None
