"""Work of an instruction in numbers: multiplications, tiles, lanes and copies."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from fastconv.backends.compiled.instructions.instruction import Instruction, Target
from fastconv.backends.compiled.instructions.kernels import Kernel

_NOT_PRODUCTS = frozenset(
    {
        Kernel.PAD_IMAGES, Kernel.PACK_WEIGHTS, Kernel.PACK_SUBPIXEL_PHASES, Kernel.TRANSPOSE,
        Kernel.SPREAD_CHANNELS, Kernel.ADD_PARTS, Kernel.SUM_PIXELS, Kernel.WINOGRAD_WEIGHTS,
        Kernel.WINOGRAD_WEIGHT_GRADIENT, Kernel.BF16_PACK_WEIGHTS, Kernel.BF16_WEIGHT_GRADIENT,
    }
)  # fmt: skip
"""Kernels beside the products of convolutions and dense layers."""


class TileUse(NamedTuple):
    """Sums in registers, and how well they fill them.

    Parameters
    ----------
    rows, vectors
        The largest tile of an instruction: rows times vectors of sums.
    outputs
        Output channels of a group, which the vectors hold; 0 where they hold samples.
    lanes
        Elements of the vectors that these outputs take.
    """

    rows: int
    vectors: int
    outputs: int = 0
    lanes: int = 0


def is_product(instruction: Instruction) -> bool:
    """Whether an instruction of a layer with weights multiplies; else it copies or adds."""
    return instruction.kernel not in _NOT_PRODUCTS


def multiplications(instruction: Instruction) -> int:
    """Multiplications of a product, zeros of the padding included.

    They tell how the products of one call share its work; 1 where a call has a single one anyway.
    """
    n = instruction.integers
    if instruction.kernel in (Kernel.CONV_TILES, Kernel.BATCH_BLOCKED_TILES):
        return math.prod(
            (n.samples, n.rows, n.columns, n.outputs, n.taps_down, n.taps_across, n.depth, n.groups)
        )
    if instruction.kernel == Kernel.DEPTHWISE_TILES:
        return math.prod((n.samples, n.channels, n.rows, n.columns, n.taps_down, n.taps_across))
    return 1


def tile_of(instruction: Instruction, target: Target) -> TileUse | None:
    """Return the tile of a product that is done in tiles, else None."""
    n = instruction.integers
    if instruction.kernel == Kernel.BATCH_BLOCKED_TILES:
        return TileUse(n.tile_pixels, n.tile_outputs)
    if instruction.kernel == Kernel.BATCH_BLOCKED_WEIGHT_TILES:
        return TileUse(n.tile_inputs, n.tile_outputs)
    if instruction.kernel == Kernel.WINOGRAD_TILES:
        return TileUse(n.together, n.vectors, n.outputs, n.outputs)
    if instruction.kernel == Kernel.WINOGRAD_WEIGHT_SUMS:
        return TileUse(n.tile_inputs, n.vectors, n.outputs, n.outputs)
    if instruction.kernel in (Kernel.CONV_TILES, Kernel.CONV_WEIGHT_TILES):
        lanes = instruction.lanes(target)
        return TileUse(n.tile_rows, n.vectors, n.outputs, -(-n.outputs // lanes) * lanes)
    return None


def copied_bytes(instruction: Instruction) -> int:
    """Bytes of the copy that an instruction makes: padded images, packed weights, more channels."""
    n: Any = instruction.integers
    sizes: tuple[int, ...] = ()
    if instruction.kernel == Kernel.PAD_IMAGES:
        sizes = n.samples, n.out_height, n.out_width, n.out_channels
    elif instruction.kernel == Kernel.PACK_WEIGHTS:
        sizes = n.groups, n.packed_group
    elif instruction.kernel == Kernel.PACK_SUBPIXEL_PHASES:
        sizes = n.phases, n.inputs, n.taps_down, n.taps_across, n.depth
    elif instruction.kernel == Kernel.TRANSPOSE:
        sizes = n.matrices, n.rows, n.columns
    elif instruction.kernel == Kernel.SPREAD_CHANNELS and not n.adds:
        sizes = n.pixels, n.channels, n.times
    itemsize = 4 if instruction.dtype == "float32" else 8
    return itemsize * math.prod(sizes) if sizes else 0
