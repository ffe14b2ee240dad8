"""A cache that is bounded by bytes: of what single calls became, for the next call of the same."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

Made = TypeVar("Made")

_MOST_ENTRIES = 1024
_MOST_BYTES = 2**26


def cached_by_bytes(
    bytes_of: Callable[[Any], int],
) -> Callable[[Callable[..., Made]], Callable[..., Made]]:
    """Keep what a function makes, as long as all of it is no more than 64 MiB.

    A call of a convolution with a large stride has many instructions: a count of entries says
    nothing of their memory. All are dropped at once, so that a hit costs what it costs
    ``functools.lru_cache``.

    Parameters
    ----------
    bytes_of
        Gives the bytes of what was made, about.

    Examples
    --------
    >>> @cached_by_bytes(len)
    ... def zeros(size):
    ...     return bytes(size)
    >>> zeros(3) is zeros(3)
    True
    """

    def decorate(make: Callable[..., Made]) -> Callable[..., Made]:
        total = 0

        @functools.lru_cache(maxsize=_MOST_ENTRIES)
        def kept(*key: object) -> Made:
            nonlocal total
            made = make(*key)
            size = bytes_of(made)
            total += size
            if total > _MOST_BYTES:
                kept.cache_clear()
                total = size
            return made

        return functools.wraps(make)(kept)

    return decorate
