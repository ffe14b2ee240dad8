"""Number of threads that a piece of work is worth."""

from __future__ import annotations

ELEMENTS_WORTH_A_THREAD = 8192
"""Elements of elementwise work below which another thread costs more than it gives: a barrier is
0.1 to 0.2 microseconds, and the elements come from the other core's cache."""
FLOPS_WORTH_A_THREAD = 100_000
"""The same for products: about a microsecond of work."""
_ELEMENTS_OF_A_BLOCK = 1024
"""Elements whose squares are summed at once, as in ``kernels/cpu/gradient.h``."""


def blocks_of(size: int) -> int:
    """Return the number of sums of squares of ``size`` elements."""
    return -(-size // _ELEMENTS_OF_A_BLOCK)


def threads_for_elements(elements: int, cost: int = 1) -> int:
    """Threads worth using for elementwise work; ``cost`` counts an expensive element as several."""
    return max(1, elements * cost // ELEMENTS_WORTH_A_THREAD)


def threads_for_product(flops: int, tasks: int) -> int:
    """Threads worth using for a product that falls into ``tasks`` pieces."""
    return max(1, min(tasks, flops // FLOPS_WORTH_A_THREAD))
