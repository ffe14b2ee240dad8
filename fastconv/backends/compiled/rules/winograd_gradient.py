"""Instructions of weight gradients of 3x3 convolutions by minimal filtering.

F(3x3, 2x2) has 16 products in place of 36, F(3x3, 4x4) 36 in place of 144; see
``kernels/cpu/winograd_gradient.h``. They are used in plans alone, for the reasons of
:mod:`fastconv.backends.compiled.rules.winograd`.
"""

from __future__ import annotations

from typing import NamedTuple

from fastconv.backends.compiled.instructions.builder import Builder, Images
from fastconv.backends.compiled.instructions.choices import STORE
from fastconv.backends.compiled.instructions.instruction import LoweredKernel, Pointer, Target
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import threads_for_elements, threads_for_product
from fastconv.backends.compiled.rules.tiles import even_part, most_rows
from fastconv.backends.compiled.rules.winograd import WORTH_TILES, seen_image
from fastconv.spec import ConvSpec

Types = tuple[str | None, ...]

_ELEMENTS = 32768
"""Elements of the transformed pixels and outputs of a row of places, and tiles of them, as in the C
kernel."""
_MOST_TILES = 64
_LEAST_TILES = {2: 16, 4: 64}
"""Tiles that a sum runs over from which the products outweigh the transforms, and the sums that go
to memory and back, by the side of a tile."""
_LEAST_TOGETHER = 16
"""Tiles that are taken together from which that is so."""
_MOST_PARTS = 4
_MOST_BYTES = {2: 512 * 1024, 4: 640 * 1024}
"""Bytes of the sums of a part: what L2 holds beside the images. More of them are made block by
block of inputs and outputs, whose transforms are made again for each."""
_LEAST_TILES_OF_BLOCKS = 256
"""Tiles from which so many sums that go to memory and back cost less than is gained."""


class _Tiles(NamedTuple):
    """Tiles of ``side`` x ``side`` outputs, and the inputs and outputs of a block of their sums."""

    side: int
    rows: int
    across: int
    inputs: int
    outputs: int

    @property
    def places(self) -> int:
        return (self.side + 2) ** 2

    @property
    def products(self) -> int:
        """Those of an image, for each input and output."""
        return self.places * self.rows * self.across

    @property
    def together(self) -> int:
        """How many are taken together at most."""
        of_a_tile = (self.side + 2) * (self.inputs + self.outputs) + self.outputs
        return min(_MOST_TILES, _ELEMENTS // of_a_tile)


def _tiles_of(spec: ConvSpec, side: int, lanes: int, itemsize: int) -> _Tiles:
    """Tiles whose sums are in blocks, the larger side halved until they fit in L2."""
    inputs, outputs = spec.in_channels, spec.out_channels
    while (side + 2) ** 2 * inputs * outputs * itemsize > _MOST_BYTES[side]:
        halves = inputs % (2 * lanes) == 0, outputs % (4 * lanes) == 0
        if halves[0] and (inputs >= outputs or not halves[1]):
            inputs //= 2
        elif halves[1]:
            outputs //= 2
        else:
            break
    return _Tiles(side, -(-spec.out_height // side), -(-spec.out_width // side), inputs, outputs)


def _is_worth(spec: ConvSpec, tiles: _Tiles, itemsize: int) -> bool:
    whole = (tiles.inputs, tiles.outputs) == (spec.in_channels, spec.out_channels)
    least = _LEAST_TILES[tiles.side] if whole else _LEAST_TILES_OF_BLOCKS
    return (
        spec.batch * tiles.rows * tiles.across >= least
        and tiles.products <= WORTH_TILES * 9 * spec.out_height * spec.out_width
        and tiles.together >= _LEAST_TOGETHER
        and tiles.places * tiles.inputs * tiles.outputs * itemsize <= _MOST_BYTES[tiles.side]
    )


def _chosen(spec: ConvSpec, lanes: int, itemsize: int) -> _Tiles | None:
    """The tiles of a gradient: of 4x4 outputs where they have fewer products, of 2x2, or none."""
    small, large = (_tiles_of(spec, side, lanes, itemsize) for side in (2, 4))
    if large.products <= WORTH_TILES * small.products and _is_worth(spec, large, itemsize):
        return large
    return small if _is_worth(spec, small, itemsize) else None


def is_profitable(spec: ConvSpec, target: Target, dtype: str) -> bool:
    """Whether a weight gradient is done so."""
    lanes = target.lanes(dtype)
    return (
        lanes > 1
        and spec.kernel == (3, 3)
        and spec.stride == spec.dilation == (1, 1)
        and spec.groups == 1
        and spec.in_channels % lanes == spec.out_channels % lanes == 0
        and _chosen(spec, lanes, target.vector_bytes // lanes) is not None
    )


def conv2d_backward_weight(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments dy, x, dw, db."""
    builder = Builder(str(types[0]), target)
    a = Images.dense(Pointer(1), spec.x_shape)
    dy = Images.dense(Pointer(0), spec.y_shape)
    inputs, outputs, lanes = spec.in_channels, spec.out_channels, builder.lanes
    tiles = _chosen(spec, lanes, builder.itemsize) or _tiles_of(spec, 2, lanes, builder.itemsize)
    vectors = 2 if tiles.outputs % (2 * lanes) == 0 else 1
    parts = min(spec.batch, _MOST_PARTS)
    size, of_part = (
        tiles.places * inputs * outputs, -(-spec.batch // parts) * tiles.rows * tiles.across
    )  # fmt: skip
    together = even_part(of_part, tiles.together)
    sums = builder.scratch(parts * size)
    db = bias_sums = None
    if types[3] is not None:
        db, bias_sums = Pointer(3), builder.scratch(parts * outputs * 8 // builder.itemsize)
    for k in range(0, inputs, tiles.inputs):
        for j in range(0, outputs, tiles.outputs):
            biases = None
            if bias_sums is not None and k == 0:
                biases = bias_sums.skip(j * 8)
            builder.add(
                Kernel.WINOGRAD_WEIGHT_SUMS, a=a.pointer.skip(k * builder.itemsize),
                dy=dy.pointer.skip(j * builder.itemsize),
                sums=sums.skip((k * outputs + j) * builder.itemsize), bias_sums=biases,
                side=tiles.side, samples=spec.batch, tile_rows=tiles.rows, tiles=tiles.across,
                vectors=vectors, outputs=tiles.outputs,
                tile_inputs=even_part(tiles.inputs, most_rows(target, vectors)),
                **seen_image(a, spec.padding),
                dy_sample=dy.sample, dy_row=dy.row, dy_column=dy.pixel,
                dy_height=spec.out_height, dy_width=spec.out_width,
                inputs=tiles.inputs, parts=parts, together=together,
                sums_row=outputs, sums_place=inputs * outputs,
                max_threads=threads_for_product(spec.flops, parts * (tiles.side + 2)),
            )  # fmt: skip
    builder.add(
        Kernel.WINOGRAD_WEIGHT_GRADIENT, sums=sums, bias_sums=bias_sums, dw=Pointer(2), db=db,
        side=tiles.side, inputs=inputs, outputs=outputs, parts=parts, epilogue=STORE,
        decay=0.0, bias_decay=0.0,
        max_threads=min(inputs * outputs // lanes, threads_for_elements(parts * size)),
    )  # fmt: skip
    return builder.lowered()
