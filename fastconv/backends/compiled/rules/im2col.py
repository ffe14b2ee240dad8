"""Instructions of convolutions of NCHW images as products of weights and the im2col matrix.

The weights are read as they lie and the outputs written where they belong, which pays where a
change of layout would cost much of the time: of large weights for few pixels, or of many pixels
that few channels go into. The matrix is as many times as large as the images as there are taps, but
only some of it is there at a time.
"""

from __future__ import annotations

import math

from fastconv.backends.compiled.instructions.builder import Builder
from fastconv.backends.compiled.instructions.instruction import Pointer, Target
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import threads_for_product
from fastconv.backends.compiled.rules.tiles import choose_tile
from fastconv.spec import ConvSpec

_ELEMENTS = 16384
"""Elements of the matrix that are there at a time, as in the C kernel."""
_PIXELS = 64
"""Pixels that are done together, at least, where there are as many: they share what is read of the
weights."""
_FEW_PRODUCTS = 64
"""Products of an output up to which changes of layout take much of the time."""
_WEIGHTS_OVER_IMAGES = 16
"""Times that the weights are larger than the images from which they are not worth a copy."""
_PIECES = 16
"""Pieces of work that are enough for the threads of a machine to share."""
_OUTPUTS_OF_A_PIECE = 128
"""Outputs of a piece, at least: each piece makes its part of the matrix."""


def is_profitable(spec: ConvSpec, target: Target, dtype: str) -> bool:
    """Whether a forward pass is done so."""
    if target.lanes(dtype) == 1 or spec.batch == 0:
        return False
    depth = spec.in_channels // spec.groups * math.prod(spec.kernel)
    outputs = spec.out_channels // spec.groups
    images = math.prod(spec.x_shape) + math.prod(spec.y_shape)
    return (
        (depth <= _FEW_PRODUCTS and depth <= outputs)
        or (spec.kernel == (1, 1) and spec.stride != (1, 1) and 2 * depth <= outputs)
        or math.prod(spec.w_shape) > _WEIGHTS_OVER_IMAGES * images
    )


def forward(
    builder: Builder,
    spec: ConvSpec,
    x: Pointer,
    w: Pointer,
    b: Pointer | None,
    y: Pointer,
) -> None:
    """Add the instructions of ``y``."""
    (kh, kw), outputs = spec.kernel, spec.out_channels // spec.groups
    channels, pixels = spec.in_channels // spec.groups, spec.out_height * spec.out_width
    depth = channels * kh * kw
    tile = choose_tile(outputs, pixels, builder.target, builder.dtype)
    width = tile.vectors * builder.lanes
    blocks = -(-pixels // width)
    least = min(blocks, -(-_PIXELS // width)) * width
    deep = min(depth, _ELEMENTS // least)
    deep = -(-depth // -(-depth // deep))
    together = min(blocks, _ELEMENTS // (deep * width)) * width
    images = spec.batch * spec.groups * -(-pixels // together)
    tiles = -(-outputs // tile.rows)
    parts = min(-(-_PIECES // images), max(1, outputs // _OUTPUTS_OF_A_PIECE))
    of_a_piece = -(-tiles // parts) * tile.rows
    builder.add(
        Kernel.IM2COL_TILES, x=x, w=w, y=y, bias=b,
        samples=spec.batch, channels=channels, height=spec.height, width=spec.width,
        rows=spec.out_height, columns=spec.out_width, taps_down=kh, taps_across=kw,
        stride_down=spec.stride[0], stride_across=spec.stride[1],
        dilation_down=spec.dilation[0], dilation_across=spec.dilation[1],
        top=spec.padding[0][0], left=spec.padding[1][0], groups=spec.groups, outputs=outputs,
        vectors=tile.vectors, tile_rows=tile.rows, pixels_together=together, depth_together=deep,
        outputs_together=of_a_piece,
        max_threads=threads_for_product(spec.flops, images * -(-outputs // of_a_piece)),
    )  # fmt: skip
