"""What a record does, in numbers: multiplications, tiles, lanes and copies, read from its integers.

The integers of each kernel are listed above it in ``kernels/cpu``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fastconv.backends.compiled.instructions.record import Record, Target

_NOT_PRODUCTS = frozenset(
    {
        *("pad_images", "pack_weights", "pack_phases", "transpose", "spread_channels"),
        *("add_parts", "sum_pixels", "winograd_weights", "winograd_weight_gradient"),
    }
)
"""Kernels beside the products of convolutions and dense layers."""
_TILES = frozenset({"conv_tiles", "conv_weight_tiles"})
_WINOGRAD = frozenset({"winograd_tiles", "winograd_weight_sums"})
"""Tiles whose outputs are whole vectors."""
_INTERLEAVED = frozenset({"interleaved_tiles", "interleaved_weight_tiles"})
"""Tiles whose vectors hold samples."""


class Tile(NamedTuple):
    """Sums in registers, and how well they fill them.

    Parameters
    ----------
    rows, vectors
        The largest tile of a record: rows times vectors of sums.
    outputs
        Output channels of a group, which the vectors hold; 0 where they hold samples.
    lanes
        Elements of the vectors that these outputs take.
    """

    rows: int
    vectors: int
    outputs: int = 0
    lanes: int = 0


def is_product(record: Record) -> bool:
    """Whether a record of a convolution or a dense layer multiplies; else it copies or adds."""
    return record.kernel not in _NOT_PRODUCTS


def multiplications(record: Record) -> int:
    """Multiplications of a product, zeros of the padding included.

    They tell how the products of one call share its work; 1 where a call has a single one anyway.
    """
    n = record.integers
    if record.kernel == "conv_tiles":
        return math.prod((n[0], n[1], n[2], n[4], n[12], n[15], n[18], n[21]))
    if record.kernel == "interleaved_tiles":
        return math.prod((n[0], n[1], n[2], n[4], n[12], n[15], n[18], n[20]))
    if record.kernel == "depthwise_tiles":
        return math.prod((n[0], n[1], *n[4:8]))
    return 1


def tile_of(record: Record, target: Target) -> Tile | None:
    """Return the tile of a product that is done in tiles, else None."""
    if record.kernel in _INTERLEAVED:
        return Tile(record.integers[5], record.integers[3])
    if record.kernel in _WINOGRAD:
        outputs = record.integers[4]
        return Tile(record.integers[5], record.integers[3], outputs, outputs)
    if record.kernel not in _TILES:
        return None
    outputs, lanes = record.integers[4], target.lanes(record.dtype)
    return Tile(record.integers[5], record.integers[3], outputs, -(-outputs // lanes) * lanes)


def copied_bytes(record: Record) -> int:
    """Bytes of the copy that a record makes: padded images, packed weights, repeated channels."""
    n, itemsize = record.integers, 4 if record.dtype == "float32" else 8
    if record.kernel == "pad_images":
        return itemsize * math.prod((n[0], *n[4:7]))
    if record.kernel == "pack_weights":
        return itemsize * n[0] * n[11]
    if record.kernel == "pack_phases":
        return itemsize * math.prod(n[1:6])
    if record.kernel == "transpose":
        return itemsize * math.prod(n[:3])
    if record.kernel == "spread_channels" and not n[3]:
        return itemsize * math.prod(n[:3])
    return 0
