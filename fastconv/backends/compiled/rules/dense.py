"""Records of dense layers: 1x1 convolutions over the samples of a batch, but for a few samples.

A few samples are bound by reading the weights. Their sum over the inputs is cut into parts, so that
the thread that reads some rows of the weights in the forward pass finds them in its cache in the
backward pass; and the data gradient reads the weights as they lie, without transposing them.
"""

from __future__ import annotations

from fastconv.backends.compiled import conv
from fastconv.backends.compiled.instructions.record import Launch, Pointer, Target
from fastconv.backends.compiled.instructions.recorder import STORE, Images, Recorder, Taps, Weights
from fastconv.backends.compiled.rules.split import parts_of, parts_of_product
from fastconv.backends.compiled.rules.tiles import choose_tile
from fastconv.spec import ConvSpec, DenseSpec

FEW_SAMPLES = 3
"""Samples up to which the sum over the inputs is cut into parts."""
SAMPLES_WORTH_TRANSPOSING = 16
"""Samples from which the data gradient transposes the weights."""
_MOST_PARTS = 16
_LEAST_ROWS = 32


def _parts_of_inputs(spec: DenseSpec, lanes: int) -> int:
    """Parts into which the sum over the inputs is cut; 1: not at all."""
    if not 1 <= spec.batch <= FEW_SAMPLES or spec.outputs % lanes:
        return 1
    for parts in range(_MOST_PARTS, 1, -1):
        if spec.inputs % parts == 0 and spec.inputs // parts >= _LEAST_ROWS:
            return parts
    return 1


def dense_forward(spec: DenseSpec, types: conv.Types, target: Target) -> Launch:
    """Arguments x, w, b, y."""
    recorder = Recorder(str(types[0]), target)
    parts = _parts_of_inputs(spec, recorder.lanes)
    if parts == 1:
        convolution = ConvSpec(spec.batch, spec.inputs, 1, 1, spec.outputs, kernel=(1, 1))
        return conv.conv2d_forward(convolution, types, target)
    rows, size = spec.inputs // parts, spec.batch * spec.outputs
    place = recorder.take(parts * size)
    tile = choose_tile(spec.batch, spec.outputs, target, recorder.dtype)
    weights = Weights(
        Pointer(1), spec.outputs, tile.vectors * recorder.lanes, rows * spec.outputs, 0, 0
    )
    recorder.product(
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
    recorder.add(
        "add_parts", (place, b, Pointer(3)), size, spec.outputs, parts, STORE,
        reals=(0.0,), parts=parts_of(size * parts),
    )  # fmt: skip
    return recorder.launch()


def dense_backward_data(spec: DenseSpec, types: conv.Types, target: Target) -> Launch:
    """Arguments dy, w, dx."""
    if spec.batch >= SAMPLES_WORTH_TRANSPOSING:
        convolution = ConvSpec(spec.batch, spec.inputs, 1, 1, spec.outputs, kernel=(1, 1))
        return conv.conv2d_backward_data(convolution, types, target)
    recorder = Recorder(str(types[0]), target)
    recorder.add(
        "row_products", (Pointer(0), Pointer(1), Pointer(2)),
        spec.batch, spec.inputs, spec.outputs, spec.outputs, spec.outputs, spec.inputs,
        parts=parts_of_product(spec.flops, -(-spec.inputs // 4)),
    )  # fmt: skip
    return recorder.launch()


def dense_backward_weight(spec: DenseSpec, types: conv.Types, target: Target) -> Launch:
    """Arguments dy, x, dw, db: the samples are the pixels of one image, which the sums run over."""
    if spec.batch == 0:
        convolution = ConvSpec(0, spec.inputs, 1, 1, spec.outputs, kernel=(1, 1))
    else:
        convolution = ConvSpec(1, spec.inputs, 1, spec.batch, spec.outputs, kernel=(1, 1))
    return conv.conv2d_backward_weight(convolution, types, target)
