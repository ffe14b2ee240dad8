"""Sums over shards in an order that does not depend on who has which of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Node: TypeAlias = tuple[int, int]
"""Shards from the first to one past the last, whose sum is one number of the tree."""


def middle_of(first: int, end: int) -> int:
    """Return where a node divides: the largest power of 2 below its size belongs to the left.

    Examples
    --------
    >>> middle_of(0, 8), middle_of(0, 6), middle_of(4, 7)
    (4, 4, 6)
    """
    return first + (1 << (end - first - 1).bit_length() - 1)


def nodes_within(first: int, end: int, own: Node) -> Iterator[Node]:
    """Yield the largest nodes of a tree all of whose shards lie in a stretch.

    Parameters
    ----------
    first, end
        The node at the top.
    own
        The stretch.

    Examples
    --------
    >>> list(nodes_within(0, 8, (2, 8)))
    [(2, 4), (4, 8)]
    """
    if own[0] <= first and end <= own[1]:
        yield first, end
    elif own[0] < end and first < own[1]:
        middle = middle_of(first, end)
        yield from nodes_within(first, middle, own)
        yield from nodes_within(middle, end, own)


def add_up(
    rows: Mapping[int, NDArray[np.floating]], known: Collection[Node], first: int, end: int
) -> NDArray[np.floating]:
    """Return the sum of a node; rows are overwritten by the sums that they begin.

    Parameters
    ----------
    rows
        By the first shard of each node that is known, its sum.
    known
        The nodes whose sums are there.
    first, end
        The node.

    Examples
    --------
    >>> rows = {0: np.array([1.0]), 1: np.array([2.0]), 2: np.array([4.0])}
    >>> add_up(rows, {(0, 1), (1, 2), (2, 3)}, 0, 3)
    array([7.])
    """
    if (first, end) in known:
        return rows[first]
    middle = middle_of(first, end)
    left, right = add_up(rows, known, first, middle), add_up(rows, known, middle, end)
    np.add(left, right, out=left)
    return left
