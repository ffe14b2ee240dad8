"""Workers on one host or many, started by ``mpiexec``: mpi4py carries what they exchange."""

from __future__ import annotations

import atexit
import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._extras import missing_extra
from fastconv.data_parallel.group import Group

_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_LOCAL_SIZES = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")
"""What mpiexec of Open MPI, MPICH and Intel MPI tell each of their processes."""
_MESSAGE = 1
_SHORTEST_SLEEP, _LONGEST_SLEEP = 2e-5, 2e-3
"""Seconds between looks for a message: waiting in MPI itself would take a whole core."""


def size_of_world() -> int:
    """Return the number of processes that mpiexec started together; 1 where there was none.

    Examples
    --------
    >>> size_of_world() >= 1
    True
    """
    return _told(_SIZES)


def size_on_this_host() -> int:
    """Return how many of these are on this host; all of them where that is not told."""
    return _told(_LOCAL_SIZES, otherwise=size_of_world())


def _told(names: tuple[str, ...], otherwise: int = 1) -> int:
    for name in names:
        text = os.environ.get(name, "")
        if text.isdecimal() and int(text) >= 1:
            return int(text)
    return otherwise


class MPIGroup(Group):
    """Group of all processes of an ``mpiexec``.

    One that ends before its time ends the others too: mpiexec sees to that.

    Raises
    ------
    MissingExtra
        If mpi4py is not installed.
    """

    def __init__(self) -> None:
        try:
            from mpi4py import MPI  # type: ignore[import-not-found,unused-ignore]
        except ModuleNotFoundError as fault:
            raise missing_extra("fastconv under mpiexec", fault) from None
        self._mpi, self._world = MPI, MPI.COMM_WORLD
        super().__init__(self._world.Get_rank(), self._world.Get_size())

    def row(self, shard: int) -> NDArray[np.floating]:
        """Return where one of this worker's shards writes its row."""
        row: NDArray[np.floating] = self._rows[shard - self.own.start]
        return row

    def counts(self, shard: int) -> NDArray[np.float64]:
        """Return where one of this worker's shards writes its numbers."""
        counts: NDArray[np.float64] = self._own_numbers[shard - self.own.start]
        return counts

    def broadcast(self, message: Any = None) -> Any:
        """Give the first worker's message to all; the others wait for it, and return it."""
        if self.rank == 0:
            for other in range(1, self.size):
                self._world.send(message, dest=other, tag=_MESSAGE)
            return message
        seconds = _SHORTEST_SLEEP
        while not self._world.iprobe(source=0, tag=_MESSAGE):
            time.sleep(seconds)
            seconds = min(2 * seconds, _LONGEST_SLEEP)
        return self._world.recv(source=0, tag=_MESSAGE)

    def fail(self, reason: str) -> None:
        """End all workers at once."""
        self._world.Abort(1)

    def close(self) -> None:
        """Let the other workers end: all at once, once it is said why, if they wait in a step."""
        if self.is_busy:
            atexit.register(self._world.Abort, 1)
        else:
            self.broadcast(None)

    def _allocate(self, shards: int, columns: int, dtype: np.dtype[Any], counts: int) -> None:
        own, nodes = len(self.own), [len(each) for each in self._nodes]
        widths = [segment.stop - segment.start for segment in self._segments]
        self._rows = np.zeros((own, columns), dtype)
        self.total = np.zeros(columns, dtype)
        self._own_numbers, self._numbers = np.zeros((own, counts)), np.zeros((shards, counts))
        sent = [nodes[self.rank] * width for width in widths]
        received = [count * widths[self.rank] for count in nodes]
        self._sent, self._sent_counts = np.zeros(sum(sent), dtype), sent
        self._received, self._received_counts = np.zeros(sum(received), dtype), received
        self._widths = widths
        self._number_counts = [len(owned) * counts for owned in self._owners]

    def _exchange(self) -> tuple[dict[int, NDArray[np.floating]], NDArray[np.float64]]:
        place = 0
        for segment in self._segments:
            for first, _ in self._nodes[self.rank]:
                part = self.row(first)[segment]
                self._sent[place : place + part.size] = part
                place += part.size
        self._world.Alltoallv(
            [self._sent, self._sent_counts], [self._received, self._received_counts]
        )
        numbers = self._gather_counts()
        width = self._widths[self.rank]
        firsts = [first for nodes in self._nodes for first, _ in nodes]
        rows = {
            first: self._received[number * width : (number + 1) * width]
            for number, first in enumerate(firsts)
        }
        return rows, numbers

    def _gather_counts(self) -> NDArray[np.float64]:
        self._world.Allgatherv(self._own_numbers, [self._numbers, self._number_counts])
        return self._numbers.copy()

    def _complete(self) -> None:
        self._world.Allgatherv(self._mpi.IN_PLACE, [self.total, self._widths])
