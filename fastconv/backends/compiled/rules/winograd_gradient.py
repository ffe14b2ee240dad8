"""Instructions of weight gradients of 3x3 convolutions by minimal filtering, F(3x3, 2x2).

16 products in place of 36, for transforms that add and halve; see
``kernels/cpu/winograd_gradient.h``. It is used in plans alone, for the reasons of
:mod:`fastconv.backends.compiled.rules.winograd`.
"""

from __future__ import annotations

from fastconv.backends.compiled.instructions.builder import Builder, Images
from fastconv.backends.compiled.instructions.choices import STORE
from fastconv.backends.compiled.instructions.instruction import LoweredKernel, Pointer, Target
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import threads_for_elements, threads_for_product
from fastconv.backends.compiled.rules.tiles import even_part, most_rows
from fastconv.backends.compiled.rules.winograd import seen_image
from fastconv.spec import ConvSpec

Types = tuple[str | None, ...]

_PLACES = 16
_ROWS_OF_PLACES = 4
_ELEMENTS = 4096
"""Elements of the transformed pixels and outputs of one place, and tiles of them, as in the C
kernel."""
_MOST_TILES = 64
_LEAST_TILES = 16
"""Tiles that a sum runs over, and that are taken together, from which the products outweigh the
transforms, and the sums that go to memory and back."""
_MOST_PARTS = 4
_MOST_BYTES = 512 * 1024
"""Bytes of the sums of a part: what L2 holds beside the images. More of them are made block by
block of inputs and outputs, whose transforms are made again for each."""
_LEAST_TILES_OF_BLOCKS = 256
"""Tiles from which so many sums that go to memory and back cost less than is gained."""


def _tiles_together(inputs: int, outputs: int) -> int:
    return min(_MOST_TILES, _ELEMENTS // (inputs + outputs))


def _block(inputs: int, outputs: int, lanes: int, itemsize: int) -> tuple[int, int]:
    """Inputs and outputs of a block, the larger halved until their sums fit in L2."""
    while _PLACES * inputs * outputs * itemsize > _MOST_BYTES:
        halves = inputs % (2 * lanes) == 0, outputs % (4 * lanes) == 0
        if halves[0] and (inputs >= outputs or not halves[1]):
            inputs //= 2
        elif halves[1]:
            outputs //= 2
        else:
            break
    return inputs, outputs


def is_profitable(spec: ConvSpec, target: Target, dtype: str) -> bool:
    """Whether a weight gradient is done so."""
    lanes = target.lanes(dtype)
    inputs, outputs = spec.in_channels, spec.out_channels
    tiles = spec.batch * (spec.out_height // 2) * (spec.out_width // 2)
    if lanes == 1:
        return False
    itemsize = target.vector_bytes // lanes
    block = _block(inputs, outputs, lanes, itemsize)
    least = _LEAST_TILES if block == (inputs, outputs) else _LEAST_TILES_OF_BLOCKS
    return (
        tiles >= least
        and spec.kernel == (3, 3)
        and spec.stride == spec.dilation == (1, 1)
        and spec.groups == 1
        and spec.out_height % 2 == spec.out_width % 2 == 0
        and inputs % lanes == outputs % lanes == 0
        and _tiles_together(*block) >= _LEAST_TILES
        and _PLACES * block[0] * block[1] * itemsize <= _MOST_BYTES
    )


def conv2d_backward_weight(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments dy, x, dw, db."""
    builder = Builder(str(types[0]), target)
    a = Images.dense(Pointer(1), spec.x_shape)
    dy = Images.dense(Pointer(0), spec.y_shape)
    inputs, outputs, lanes = spec.in_channels, spec.out_channels, builder.lanes
    block_inputs, block_outputs = _block(inputs, outputs, lanes, builder.itemsize)
    vectors = 2 if block_outputs % (2 * lanes) == 0 else 1
    rows, across = spec.out_height // 2, spec.out_width // 2
    parts = min(spec.batch, _MOST_PARTS)
    size, of_part = _PLACES * inputs * outputs, -(-spec.batch // parts) * rows * across
    together = even_part(of_part, _tiles_together(block_inputs, block_outputs))
    sums = builder.scratch(parts * size)
    db = bias_sums = None
    if types[3] is not None:
        db, bias_sums = Pointer(3), builder.scratch(parts * outputs * 8 // builder.itemsize)
    for k in range(0, inputs, block_inputs):
        for j in range(0, outputs, block_outputs):
            biases = None
            if bias_sums is not None and k == 0:
                biases = bias_sums.skip(j * 8)
            builder.add(
                Kernel.WINOGRAD_WEIGHT_SUMS, a=a.pointer.skip(k * builder.itemsize),
                dy=dy.pointer.skip(j * builder.itemsize),
                sums=sums.skip((k * outputs + j) * builder.itemsize), bias_sums=biases,
                samples=spec.batch, tile_rows=rows, tiles=across, vectors=vectors,
                outputs=block_outputs,
                tile_inputs=even_part(block_inputs, most_rows(target, vectors)),
                **seen_image(a, spec.padding),
                dy_sample=dy.sample, dy_row=dy.row, dy_column=dy.pixel,
                inputs=block_inputs, parts=parts, together=together,
                sums_row=outputs, sums_place=inputs * outputs,
                max_threads=threads_for_product(spec.flops, parts * _ROWS_OF_PLACES),
            )  # fmt: skip
    builder.add(
        Kernel.WINOGRAD_WEIGHT_GRADIENT, sums=sums, bias_sums=bias_sums, dw=Pointer(2), db=db,
        inputs=inputs, outputs=outputs, parts=parts, epilogue=STORE, decay=0.0, bias_decay=0.0,
        max_threads=min(inputs * outputs // lanes, threads_for_elements(parts * size)),
    )  # fmt: skip
    return builder.lowered()
