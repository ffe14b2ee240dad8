"""Instructions of dense layers: 1x1 convolutions over the samples, but for a few of them.

A few samples are bound by reading the weights. Their sum over the inputs is cut into parts, so that
the thread that reads some rows of the weights in the forward pass finds them in its cache in the
backward pass; and the data gradient reads the weights as they lie, without transposing them.
"""

from __future__ import annotations

from fastconv.backends.compiled.instructions.builder import (
    Builder,
    Images,
    Taps,
    Weights,
)
from fastconv.backends.compiled.instructions.choices import STORE
from fastconv.backends.compiled.instructions.instruction import LoweredKernel, Pointer, Target
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules import conv
from fastconv.backends.compiled.rules.split import threads_for_product
from fastconv.backends.compiled.rules.tiles import RegisterTile, choose_tile
from fastconv.spec import ConvSpec, DenseSpec

FEW_SAMPLES = 3
"""Samples up to which the sum over the inputs is cut into parts."""
SAMPLES_WORTH_TRANSPOSING = 16
"""Samples from which the data gradient transposes the weights."""
_MOST_PARTS = 16
_LEAST_ROWS = 32
_SAMPLES_WORTH_PARTS = 4096
"""Samples from which the weight gradient of a small layer is cut into parts of the batch."""
_PARTS_OF_SAMPLES = 4


def _parts_of_inputs(spec: DenseSpec, lanes: int) -> int:
    """Parts into which the sum over the inputs is cut; 1: not at all."""
    if not 1 <= spec.batch <= FEW_SAMPLES or spec.outputs % lanes:
        return 1
    for parts in range(_MOST_PARTS, 1, -1):
        if spec.inputs % parts == 0 and spec.inputs // parts >= _LEAST_ROWS:
            return parts
    return 1


def dense_forward(spec: DenseSpec, types: conv.Types, target: Target) -> LoweredKernel:
    """Arguments x, w, b, y."""
    builder = Builder(str(types[0]), target)
    parts = _parts_of_inputs(spec, builder.lanes)
    if parts == 1:
        convolution = ConvSpec(spec.batch, spec.inputs, 1, 1, spec.outputs, kernel=(1, 1))
        return conv.conv2d_forward(convolution, types, target)
    rows, size = spec.inputs // parts, spec.batch * spec.outputs
    place = builder.scratch(parts * size)
    tile = choose_tile(spec.batch, spec.outputs, target, builder.dtype)
    weights = Weights(
        Pointer(1), spec.outputs, tile.vectors * builder.lanes, rows * spec.outputs, 0, 0
    )
    builder.product(
        Images(Pointer(0), 1, 1, spec.batch, spec.inputs, 0, 0, spec.inputs),
        Taps(1, 1, rows),
        weights,
        Images(place, 1, 1, spec.batch, spec.outputs, 0, 0, spec.outputs),
        spec.outputs,
        tile,
        parts,
        group_of_c=size,
    )
    b = None if types[2] is None else Pointer(2)
    builder.add_parts(place, parts, size, Pointer(3), b=b, b_size=spec.outputs)
    return builder.lowered()


def dense_backward_data(spec: DenseSpec, types: conv.Types, target: Target) -> LoweredKernel:
    """Arguments dy, w, dx."""
    if spec.batch >= SAMPLES_WORTH_TRANSPOSING:
        convolution = ConvSpec(spec.batch, spec.inputs, 1, 1, spec.outputs, kernel=(1, 1))
        return conv.conv2d_backward_data(convolution, types, target)
    builder = Builder(str(types[0]), target)
    builder.add(
        Kernel.ROW_PRODUCTS, a=Pointer(0), b=Pointer(1), c=Pointer(2),
        a_rows=spec.batch, b_rows=spec.inputs, depth=spec.outputs,
        a_row=spec.outputs, b_row=spec.outputs, c_row=spec.inputs,
        max_threads=threads_for_product(spec.flops, -(-spec.inputs // 4)),
    )  # fmt: skip
    return builder.lowered()


def dense_backward_weight(spec: DenseSpec, types: conv.Types, target: Target) -> LoweredKernel:
    """Arguments dy, x, dw, db: the samples are the pixels of one image, which the sums run over."""
    if _is_cut_by_samples(spec, str(types[0]), target):
        return _weight_gradient_in_parts(spec, types, target)
    if spec.batch == 0:
        convolution = ConvSpec(0, spec.inputs, 1, 1, spec.outputs, kernel=(1, 1))
    else:
        convolution = ConvSpec(1, spec.inputs, 1, spec.batch, spec.outputs, kernel=(1, 1))
    return conv.conv2d_backward_weight(convolution, types, target)


def _pieces_of_weights(spec: DenseSpec, tile: RegisterTile, lanes: int) -> int:
    """Tiles of a weight gradient, which threads share."""
    return -(-spec.inputs // tile.rows) * -(-spec.outputs // (tile.vectors * lanes))


def _is_cut_by_samples(spec: DenseSpec, dtype: str, target: Target) -> bool:
    """Whether a weight gradient has too few tiles for the threads, and samples enough to cut."""
    if spec.batch < _SAMPLES_WORTH_PARTS or spec.batch % _PARTS_OF_SAMPLES:
        return False
    own = target.fitting(spec.outputs, dtype)
    lanes = own.lanes(dtype)
    if not own.masks and spec.outputs % lanes:
        return False  # whose vectors end behind a row
    tile = choose_tile(spec.inputs, spec.outputs, own, dtype, even=False)
    return _pieces_of_weights(spec, tile, lanes) < _PARTS_OF_SAMPLES


def _weight_gradient_in_parts(spec: DenseSpec, types: conv.Types, target: Target) -> LoweredKernel:
    """Gradients of parts of the batch, as those of groups, and their sums in order.

    How many parts there are follows from the spec alone: any number of threads makes the same bits.
    """
    builder = Builder(str(types[0]), target.fitting(spec.outputs, str(types[0])))
    parts, size = _PARTS_OF_SAMPLES, spec.inputs * spec.outputs
    samples = spec.batch // parts
    dw = builder.allocate(parts * size)
    db = None if types[3] is None else builder.allocate(parts * spec.outputs)
    tile = choose_tile(spec.inputs, spec.outputs, builder.target, builder.dtype, even=False)
    pieces = parts * _pieces_of_weights(spec, tile, builder.lanes)
    builder.add(
        Kernel.CONV_WEIGHT_TILES, a=Pointer(1), dy=Pointer(0), dw=dw, db=db,
        samples=1, rows=1, columns=samples, vectors=tile.vectors, outputs=spec.outputs,
        tile_rows=tile.rows, a_sample=spec.batch * spec.inputs, a_row=spec.batch * spec.inputs,
        a_column=spec.inputs, dy_sample=spec.batch * spec.outputs,
        dy_row=spec.batch * spec.outputs, dy_column=spec.outputs,
        taps_down=1, a_down=0, dw_down=size, taps_across=1, a_across=0, dw_across=size,
        depth=spec.inputs, dw_depth=spec.outputs, groups=parts, a_group=samples * spec.inputs,
        dy_group=samples * spec.outputs, dw_group=size, together=1, epilogue=STORE, decay=0.0,
        bias_decay=0.0, max_threads=threads_for_product(spec.flops, pieces),
    )  # fmt: skip
    builder.add_parts(dw, parts, size, Pointer(2))
    if db is not None:
        builder.add_parts(db, parts, spec.outputs, Pointer(3))
    return builder.lowered()
