"""Workers that train one network together, each some shards of every batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastconv._errors import UserError
from fastconv.data_parallel.tree import Node, add_up, nodes_within


class GroupError(UserError, ValueError):
    """A group of workers that cannot be: why, and the fix, in one line."""


class Group:
    """One worker's side of a group; how workers reach each other is a matter of its class.

    A worker has a stretch of the shards. :meth:`mean` adds up what all shards have written along a
    tree that depends on their number alone, so that the result has the same bits for any number of
    workers: each first sums the nodes of the tree that are its own; then every worker gets a
    segment of all these sums, goes on with the tree there, and the segments are brought together.

    Parameters
    ----------
    rank, size
        Number of this worker, and of all workers.

    Attributes
    ----------
    own
        The shards of this worker, once there are some.
    total
        The mean over all shards, complete behind :meth:`mean`.
    is_busy
        Whether the others have been told to make steps that are not all made.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self.own = range(0)
        self.is_busy = False
        self.total: NDArray[np.floating] = np.empty(0)

    def allocate(self, shards: int, columns: int, dtype: DTypeLike, counts: int) -> None:
        """Make room for what shards write; every worker does so with the same numbers.

        Parameters
        ----------
        shards
            How many there are.
        columns, dtype
            Of the row of a shard.
        counts
            Of float64 numbers beside each row, which are added up, not averaged.

        Raises
        ------
        GroupError
            If there are fewer shards than workers, or no memory for their rows.
        """
        if shards < self.size:
            raise GroupError(
                f"shards is {shards}; expected {self.size} or more, one for each worker; use fewer "
                f"workers, or more shards"
            )
        self._owners = [_share(shards, self.size, rank) for rank in range(self.size)]
        self.own = self._owners[self.rank]
        self._shards = shards
        self._leaves = {(shard, shard + 1) for shard in range(shards)}
        self._nodes: list[list[Node]] = [
            list(nodes_within(0, shards, (own.start, own.stop))) for own in self._owners
        ]
        self._segments = [
            slice(part.start, part.stop)
            for part in (_share(columns, self.size, rank) for rank in range(self.size))
        ]
        self._mean_of = np.array(1 / shards, dtype)
        self._allocate(shards, columns, np.dtype(dtype), counts)

    def row(self, shard: int) -> NDArray[np.floating]:
        """Return where one of this worker's shards writes its row."""
        raise NotImplementedError

    def counts(self, shard: int) -> NDArray[np.float64]:
        """Return where one of this worker's shards writes its numbers."""
        raise NotImplementedError

    def write(
        self,
        shard: int,
        gradients: NDArray[Any],
        state: NDArray[Any],
        counted: NDArray[np.float64],
    ) -> None:
        """Write what came of one of this worker's shards.

        Parameters
        ----------
        shard
            Which.
        gradients, state
            Side by side in its row.
        counted
            In front of its numbers.
        """
        row, size = self.row(shard), gradients.size
        row[:size], row[size:] = gradients, state
        self.counts(shard)[: counted.size] = counted

    def mean(self) -> NDArray[np.float64]:
        """Bring the mean of all rows into ``total``, and return the sum of the numbers.

        Every worker calls it, once its shards have written theirs.
        """
        own = {shard: self.row(shard) for shard in self.own}
        for node in self._nodes[self.rank]:
            add_up(own, self._leaves, *node)
        rows, numbers = self._exchange()
        known = {node for nodes in self._nodes for node in nodes}
        total = add_up(rows, known, 0, self._shards)
        np.multiply(total, self._mean_of, out=self.total[self._segments[self.rank]])
        counted = add_up(dict(enumerate(numbers)), self._leaves, 0, self._shards)
        self._complete()
        return np.asarray(counted, np.float64)

    def sum_of_counts(self) -> NDArray[np.float64]:
        """Return the sum of all shards' numbers alone, along the same tree.

        Every worker calls it, once its shards have written theirs, and may then write others.
        """
        numbers = self._gather_counts()
        counted = add_up(dict(enumerate(numbers)), self._leaves, 0, self._shards)
        return np.asarray(counted, np.float64)

    def broadcast(self, message: Any = None) -> Any:
        """Give the first worker's message to all; the others wait for it, and return it."""
        raise NotImplementedError

    def fail(self, reason: str) -> None:
        """Tell the first worker, or all, that this one cannot go on.

        Parameters
        ----------
        reason
            Why, in one line.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Let the other workers end; the first one calls it, when all is done or nothing will be.

        They get None in place of a message.
        """
        raise NotImplementedError

    def _allocate(self, shards: int, columns: int, dtype: np.dtype[Any], counts: int) -> None:
        raise NotImplementedError

    def _exchange(self) -> tuple[dict[int, NDArray[np.floating]], NDArray[np.float64]]:
        """Wait for all; return this worker's segment of all nodes' sums, and a copy of all numbers.

        The segments are this worker's to overwrite.
        """
        raise NotImplementedError

    def _gather_counts(self) -> NDArray[np.float64]:
        """Return a copy of all numbers, once all workers have written theirs."""
        raise NotImplementedError

    def _complete(self) -> None:
        """Bring the segments of ``total`` together."""
        raise NotImplementedError


def _share(count: int, size: int, rank: int) -> range:
    """The part of a worker of things in a row."""
    return range(count * rank // size, count * (rank + 1) // size)
