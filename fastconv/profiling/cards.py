"""What is known of cards that a step can be predicted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Card:
    """What a model knows of a card.

    Parameters
    ----------
    name
        For people.
    multiprocessors, gigahertz
        How many there are, and their clock under load.
    memory_gb, cache_gb
        Bandwidth of the memory and of the second-level cache, in 1e9 bytes a second.
    cache_bytes
        Size of that cache.
    tensor_products
        Multiplications that a multiprocessor's tensor cores make in a cycle by ``mma.sync``, by
        precision.
    node_microseconds
        From the end of one kernel of a graph to the beginning of the next.
    shared_bytes
        Most shared memory of a block.
    trip_cycles
        Of a load from memory until what waits for it goes on; from the cache it takes half.
    """

    name: str
    multiprocessors: int
    gigahertz: float
    memory_gb: float
    cache_gb: float
    cache_bytes: float
    tensor_products: Mapping[str, int]
    node_microseconds: float
    trip_cycles: int
    shared_bytes: int


CARDS = {
    # NVIDIA's data sheet; for the cache, graphs and mma.sync what others published of the H100.
    "h200": Card(
        "H200 SXM", 132, 1.75, 4800, 5600, 50e6, {"tf32": 640, "bf16": 1280}, 0.8, 700,
        226 * 1024,
    )
}  # fmt: skip
"""Cards by the name that ``--model`` takes."""
