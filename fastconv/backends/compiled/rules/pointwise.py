"""Instructions of 1x1 convolutions of NCHW images: products of matrices as they lie.

The planes of a sample are a matrix of channels by pixels. The output is the weights times that
matrix, the gradient of the input the transposed weights times that of the output: vectors run over
the pixels, and nothing is copied but the weights. The gradient of the weights sums over the pixels,
for which the gradient of the output is transposed.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

from fastconv.backends.compiled.instructions.builder import Builder
from fastconv.backends.compiled.instructions.choices import (
    INIT_C,
    INIT_ROW_BIAS,
    INIT_ZERO,
    STORE,
)
from fastconv.backends.compiled.instructions.instruction import Pointer, Target
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules import chunks
from fastconv.backends.compiled.rules.conv import is_pointwise
from fastconv.backends.compiled.rules.split import threads_for_product
from fastconv.backends.compiled.rules.tiles import choose_tile
from fastconv.spec import ConvSpec

_MOST_WASTE = 0.25
"""Part of the lanes that the pixels may leave unused."""
_MOST_PIXELS_OF_A_SUM = 8192
"""Pixels whose products are summed in registers; the sums of so many are added in memory."""


def are_products(spec: ConvSpec, target: Target, dtype: str) -> bool:
    """Whether a convolution is products of planes, and their pixels fill vectors."""
    if not is_pointwise(spec) or spec.groups > 1 or spec.batch == 0:
        return False
    lanes, pixels = target.lanes(dtype), spec.height * spec.width
    whole = all(n % lanes == 0 for n in (pixels, spec.in_channels, spec.out_channels))
    waste = 1 - pixels / (-(-pixels // lanes) * lanes)
    return (whole or target.masks) and waste < _MOST_WASTE


def _product(
    builder: Builder, spec: ConvSpec, a: Pointer, b: Pointer, c: Pointer, size: tuple[int, int],
    depth: int, *, bias: Pointer | None = None, runs: tuple[int, int, int] = (1, 0, 0),
    a_row: int | None = None,
    matrices: tuple[int, int, int] = (1, 0, 0), add: bool = False,
) -> None:  # fmt: skip
    """Add C = A B for matrices in order; ``bias`` has an element for each row of C.

    Parameters
    ----------
    size, depth
        Rows and columns of C, and what they sum over.
    runs
        How many products are summed, and from one to the next in A and in B.
    matrices
        How many C there are, and from one to the next of B and of C, all with the same A.
    add
        Add to C.
    """
    rows, columns = size
    step = depth if a_row is None else a_row
    tile = choose_tile(
        rows, columns, builder.target, builder.dtype, distance=step * builder.itemsize
    )
    width = tile.vectors * builder.lanes
    pieces = matrices[0] * -(-columns // width)
    init = INIT_C if add else INIT_ZERO if bias is None else INIT_ROW_BIAS
    builder.add(
        Kernel.CONV_TILES, a=a, b=b, c=c, bias=bias,
        samples=1, rows=1, columns=rows, vectors=tile.vectors, outputs=columns,
        tile_rows=tile.rows, a_sample=0, a_row=0,
        a_column=step, c_sample=0, c_row=0, c_column=columns,
        taps_down=runs[0], a_down=runs[1], b_down=runs[2], taps_across=1, a_across=0, b_across=0,
        depth=depth, b_depth=columns, b_block=width,
        groups=matrices[0], a_group=0, b_group=matrices[1], c_group=matrices[2],
        accumulator_init=init, epilogue=STORE, blocks_outside=1, last_columns=rows, slope=0.0,
        max_threads=threads_for_product(spec.flops, pieces),
    )  # fmt: skip


def forward(
    builder: Builder,
    spec: ConvSpec,
    x: Pointer,
    w: Pointer,
    b: Pointer | None,
    y: Pointer,
) -> None:
    """Add the instructions of ``y``."""
    pixels, inputs, outputs = spec.height * spec.width, spec.in_channels, spec.out_channels
    matrices = spec.batch, inputs * pixels, outputs * pixels
    _product(builder, spec, w, x, y, (outputs, pixels), inputs, bias=b, matrices=matrices)


def data_gradient(
    builder: Builder,
    spec: ConvSpec,
    dy: Pointer,
    w: Pointer,
    b: Pointer | None,
    dx: Pointer,
) -> None:
    """Add the instructions of ``dx``, plus ``b`` for a transposed convolution."""
    pixels, inputs, outputs = spec.height * spec.width, spec.in_channels, spec.out_channels
    transposed = builder.scratch(inputs * outputs)
    builder.transpose(w, transposed, 1, outputs, inputs)
    matrices = spec.batch, outputs * pixels, inputs * pixels
    _product(
        builder, spec, transposed, dy, dx, (inputs, pixels), outputs, bias=b, matrices=matrices
    )


def weight_gradient(
    builder: Builder, spec: ConvSpec, x: Pointer, dy: Pointer, dw: Pointer, db: Pointer | None,
    *, sums_x: bool,
) -> None:  # fmt: skip
    """Add the instructions of ``dw`` and ``db``, chunk by chunk of the samples.

    The images that ``db`` sums are transposed: x, for a transposed convolution, or dy.
    """
    pixels = spec.height * spec.width
    rows, columns = spec.in_channels, spec.out_channels
    other, images = x, dy
    if sums_x:
        rows, columns, other, images = columns, rows, dy, x
    # The rows of dw are the outputs: if they are the columns here, its sides are exchanged.
    sums = dw if sums_x else builder.scratch(rows * columns)
    parts = chunks.chunks_of_batch(spec, builder.itemsize, 1)
    transposed = builder.scratch(parts[0][1].batch * columns * pixels)
    more = builder.scratch(columns)
    for first, part in parts:
        of_rows = other.skip(first * rows * pixels * builder.itemsize)
        of_columns = images.skip(first * columns * pixels * builder.itemsize)
        builder.transpose(of_columns, transposed, part.batch, columns, pixels)
        together = max(1, _MOST_PIXELS_OF_A_SUM // pixels)
        for sample, pixel in itertools.product(
            range(0, part.batch, together), range(0, pixels, _MOST_PIXELS_OF_A_SUM)
        ):
            samples = min(together, part.batch - sample)
            depth = min(_MOST_PIXELS_OF_A_SUM, pixels - pixel)
            sample_start = sample * pixels * builder.itemsize
            pixel_start = pixel * builder.itemsize
            _product(
                builder, replace(part, batch=samples),
                of_rows.skip(rows * sample_start + pixel_start),
                transposed.skip(columns * (sample_start + pixel_start)), sums,
                (rows, columns), depth,
                a_row=pixels, runs=(samples, rows * pixels, columns * pixels),
                add=first + sample + pixel > 0,
            )  # fmt: skip
        if db is not None:
            builder.sum_pixels(transposed, more if first else db, part.batch * pixels, columns)
            if first:
                builder.add_to(db, more, columns)
    if not sums_x:
        builder.transpose(sums, dw, 1, rows, columns)
