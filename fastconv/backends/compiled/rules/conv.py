"""Records of convolutions: which kernel, which tile, which copies, by written rules.

* Depthwise (every group has one input channel): vectors over channels,
  :mod:`fastconv.backends.compiled.rules.depthwise`.
* Everything else: ``conv_tiles`` and ``conv_weight_tiles``, the batch-reduce product. Padding is a
  copy into zeros. 1x1 with stride 1 is one product over all pixels. The data gradient is a
  convolution of dy with the flipped and transposed weights, phase by phase of the stride.
* Weights are packed by blocks of outputs unless they lie so already, or there are too few pixels
  to pay for it.
"""

from __future__ import annotations

import math
from dataclasses import replace

from fastconv.backends.compiled.instructions.record import Launch, Pointer, Target
from fastconv.backends.compiled.instructions.recorder import (
    STORE,
    Images,
    Recorder,
    Source,
    Taps,
    Weights,
)
from fastconv.backends.compiled.rules import depthwise, interleaved, merged_phases
from fastconv.backends.compiled.rules.phases import Phase, phases_of, reach
from fastconv.backends.compiled.rules.split import parts_of_product
from fastconv.backends.compiled.rules.tiles import Tile, choose_tile
from fastconv.spec import ConvSpec

Types = tuple[str | None, ...]

PIXELS_WORTH_PACKING = 48
"""Output pixels from which packing the weights pays."""
_SAMPLES_BYTES = 256 * 1024
"""Bytes of x and dy that a thread takes through all tiles of the weight gradient at a time."""
_ROW_PIXELS = 112
"""Pixels of a row where 1x1 convolutions cut their pixels anew: a multiple of 14 and 28, a piece of
work of some microseconds."""


def is_pointwise(spec: ConvSpec) -> bool:
    """Whether every output pixel is made of the input pixel at its place."""
    return spec.kernel == (1, 1) and spec.stride == (1, 1) and spec.padding == ((0, 0), (0, 0))


def _merges_taps(spec: ConvSpec) -> bool:
    """Whether the taps of a row of the kernel are one run of memory."""
    return spec.groups == 1 and spec.dilation[1] == 1


def _interleaved(recorder: Recorder, images: Pointer, shape: tuple[int, ...]) -> Pointer:
    lanes, size = recorder.lanes, math.prod(shape[1:])
    place = recorder.take(math.prod(shape))
    recorder.transpose(images, place, shape[0] // lanes, lanes, size)
    return place


def _deinterleave(
    recorder: Recorder, place: Pointer, images: Pointer, shape: tuple[int, ...]
) -> None:
    lanes, size = recorder.lanes, math.prod(shape[1:])
    recorder.transpose(place, images, shape[0] // lanes, size, lanes)


def forward(
    recorder: Recorder, spec: ConvSpec, x: Pointer, w: Pointer, b: Pointer | None, y: Pointer
) -> None:
    """Add the records of ``y``."""
    if depthwise.is_depthwise(spec):
        depthwise.forward(recorder, spec, x, w, b, y)
        return
    if interleaved.pays(spec, spec.out_channels, recorder.target, recorder.dtype):
        x_lanes = _interleaved(recorder, x, spec.x_shape)
        y_lanes = recorder.take(math.prod(spec.y_shape))
        interleaved.forward(recorder, spec, x_lanes, w, b, y_lanes)
        _deinterleave(recorder, y_lanes, y, spec.y_shape)
        return
    images = recorder.pad(Images.dense(x, spec.x_shape), spec.padding)
    c = Images.dense(y, spec.y_shape)
    kh, kw = spec.kernel
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    if _merges_taps(spec):
        taps = Taps(kh, 1, kw * inputs, spec.dilation[0] * images.row)
    else:
        across = spec.dilation[1] * images.pixel
        taps = Taps(kh, kw, inputs, spec.dilation[0] * images.row, across)
    a = replace(images, row=images.row * spec.stride[0], pixel=images.pixel * spec.stride[1])
    last = None
    if is_pointwise(spec):
        last = c.pixels % _ROW_PIXELS or None
        a, c = a.as_rows(_ROW_PIXELS), c.as_rows(_ROW_PIXELS)
    tile = choose_tile(c.width, outputs, recorder.target, recorder.dtype)
    pixel = spec.out_channels  # from one input of a tap to the next
    source = Source(w, outputs, 1, kw * inputs * pixel, inputs * pixel, pixel)
    weights = _weights(recorder, spec, source, taps, outputs, tile.vectors, c.pixels)
    recorder.product(a, taps, weights, c, outputs, tile, spec.groups, bias=b, last_row=last)


def _weights(
    recorder: Recorder, spec: ConvSpec, source: Source, taps: Taps, outputs: int, vectors: int,
    pixels: int,
) -> Weights:  # fmt: skip
    """Pack the weights, or take them as they lie."""
    width = vectors * recorder.lanes
    lie_packed = spec.groups == 1 and outputs <= width
    whole = outputs % recorder.lanes == 0 or recorder.target.reads_parts(vectors * pixels)
    if whole and (lie_packed or pixels < PIXELS_WORTH_PACKING):
        return Weights(
            source.pointer, source.depth, width, source.group, source.down, source.across
        )
    return recorder.pack(source, taps, outputs, spec.groups, vectors)


def data_gradient(
    recorder: Recorder, spec: ConvSpec, dy: Pointer, w: Pointer, b: Pointer | None, dx: Pointer
) -> None:
    """Add the records of ``dx``, plus ``b`` for a transposed convolution."""
    if depthwise.is_depthwise(spec):
        depthwise.data_gradient(recorder, spec, dy, w, b, dx)
        return
    if interleaved.pays(spec, spec.in_channels, recorder.target, recorder.dtype):
        dy_lanes = _interleaved(recorder, dy, spec.y_shape)
        dx_lanes = recorder.take(math.prod(spec.x_shape))
        interleaved.data_gradient(recorder, spec, dy_lanes, w, b, dx_lanes)
        _deinterleave(recorder, dx_lanes, dx, spec.x_shape)
        return
    if b is None and merged_phases.pays(recorder, spec):
        merged_phases.data_gradient(recorder, spec, dy, w, dx)
        return
    padding = reach(spec, 0), reach(spec, 1)
    a = recorder.pad(Images.dense(dy, spec.y_shape), padding)
    result = Images.dense(dx, spec.x_shape)
    pairs = [(down, across) for down in phases_of(spec, 0) for across in phases_of(spec, 1)]
    packed = [_packed_backwards(recorder, spec, w, a, result, *pair) for pair in pairs]
    recorder.set_barrier(True)
    # The phases write different pixels: no barrier between them.
    for (down, across), (taps, weights, tile) in zip(pairs, packed, strict=True):
        c = result.at(down.offset, across.offset, recorder.dtype)
        c = replace(
            c, height=down.pixels, width=across.pixels,
            row=spec.stride[0] * c.row, pixel=spec.stride[1] * c.pixel,
        )  # fmt: skip
        from_ = a.at(down.first + padding[0][0], across.first + padding[1][0], recorder.dtype)
        from_ = replace(from_, height=down.pixels, width=across.pixels)
        last = None
        if is_pointwise(spec):
            last = c.pixels % _ROW_PIXELS or None
            from_, c = from_.as_rows(_ROW_PIXELS), c.as_rows(_ROW_PIXELS)
        recorder.product(
            from_, taps, weights, c, result.channels // spec.groups, tile, spec.groups,
            bias=b, last_row=last, barrier=False,
        )  # fmt: skip
    recorder.set_barrier(True)


def _packed_backwards(
    recorder: Recorder, spec: ConvSpec, w: Pointer, a: Images, result: Images,
    down: Phase, across: Phase,
) -> tuple[Taps, Weights, Tile]:  # fmt: skip
    """Pack the taps of a phase, last to first, so that addresses in dy go forwards; transposed.

    They are packed for the tile that is returned with them.
    """
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    kw, pixel = spec.kernel[1], spec.out_channels
    offset = (down.last * kw + across.last) * inputs * pixel * recorder.itemsize
    source = Source(
        w.skip(offset), outputs, pixel,
        -down.spacing * kw * inputs * pixel, -across.spacing * inputs * pixel, 1,
    )  # fmt: skip
    none = not (down.taps and across.taps)
    rows = 0 if none else down.taps
    columns = 0 if none else across.taps
    taps = Taps(rows, columns, outputs, down.step * a.row, across.step * a.pixel)
    width = min(_ROW_PIXELS, result.pixels) if is_pointwise(spec) else across.pixels
    tile = choose_tile(width, inputs, recorder.target, recorder.dtype)
    weights = recorder.pack(source, taps, inputs, spec.groups, tile.vectors, barrier=False)
    if spec.groups == 1 and across.step == 1:
        # The taps of a row are one run of memory.
        depth = columns * outputs
        taps, weights = Taps(rows, 1, depth, taps.a_down), replace(weights, tap1=depth, tap2=0)
    return taps, weights, tile


def weight_gradient(
    recorder: Recorder, spec: ConvSpec, x: Pointer, dy: Pointer, dw: Pointer, db: Pointer | None
) -> None:
    """Add the records of ``dw`` and ``db``."""
    if depthwise.is_depthwise(spec):
        depthwise.weight_gradient(recorder, spec, x, dy, dw, db)
        return
    if interleaved.pays(spec, spec.out_channels, recorder.target, recorder.dtype):
        x_lanes = _interleaved(recorder, x, spec.x_shape)
        dy_lanes = _interleaved(recorder, dy, spec.y_shape)
        interleaved.weight_gradient(recorder, spec, x_lanes, dy_lanes, dw, db)
        return
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    # A vector that begins in the last group may end behind it: a copy has room for it.
    room = spec.out_channels
    if not recorder.target.masks:
        room += -outputs % recorder.lanes
    a = recorder.pad(Images.dense(x, spec.x_shape), spec.padding)
    b = recorder.pad(Images.dense(dy, spec.y_shape), ((0, 0), (0, 0)), room)
    kh, kw = spec.kernel
    across, depth = (1, kw * inputs) if _merges_taps(spec) else (kw, inputs)
    rows, columns = (1, b.height * b.width) if is_pointwise(spec) else (b.height, b.width)
    tile = choose_tile(depth, outputs, recorder.target, recorder.dtype, even=False)
    pieces = spec.groups * kh * across * -(-depth // tile.rows)
    pieces *= -(-outputs // (tile.vectors * recorder.lanes))
    together = max(1, _SAMPLES_BYTES // ((a.sample + b.sample) * recorder.itemsize))
    pixel = spec.out_channels
    recorder.add(
        "conv_weight_tiles", (a.pointer, b.pointer, dw, db),
        spec.batch, rows, columns, tile.vectors, outputs, tile.rows,
        a.sample, a.row * spec.stride[0], a.pixel * spec.stride[1], b.sample, b.row, b.pixel,
        kh, spec.dilation[0] * a.row, kw * inputs * pixel,
        across, spec.dilation[1] * a.pixel, inputs * pixel,
        depth, pixel, spec.groups, inputs, outputs, outputs, together, STORE,
        parts=parts_of_product(spec.flops, pieces),
    )  # fmt: skip


def _recorder(types: Types, target: Target) -> Recorder:
    return Recorder(str(types[0]), target)


def _optional(types: Types, number: int) -> Pointer | None:
    return None if types[number] is None else Pointer(number)


def conv2d_forward(spec: ConvSpec, types: Types, target: Target) -> Launch:
    """Arguments x, w, b, y."""
    recorder = _recorder(types, target)
    forward(recorder, spec, Pointer(0), Pointer(1), _optional(types, 2), Pointer(3))
    return recorder.launch()


def conv2d_backward_data(spec: ConvSpec, types: Types, target: Target) -> Launch:
    """Arguments dy, w, dx."""
    recorder = _recorder(types, target)
    data_gradient(recorder, spec, Pointer(0), Pointer(1), None, Pointer(2))
    return recorder.launch()


def conv2d_backward_weight(spec: ConvSpec, types: Types, target: Target) -> Launch:
    """Arguments dy, x, dw, db."""
    recorder = _recorder(types, target)
    weight_gradient(recorder, spec, Pointer(1), Pointer(0), Pointer(2), _optional(types, 3))
    return recorder.launch()


def conv_transpose2d_forward(spec: ConvSpec, types: Types, target: Target) -> Launch:
    """Arguments x, w, b, y: the data gradient, with a bias."""
    recorder = _recorder(types, target)
    data_gradient(recorder, spec, Pointer(0), Pointer(1), _optional(types, 2), Pointer(3))
    return recorder.launch()


def conv_transpose2d_backward_data(spec: ConvSpec, types: Types, target: Target) -> Launch:
    """Arguments dy, w, dx: the forward pass."""
    recorder = _recorder(types, target)
    forward(recorder, spec, Pointer(0), Pointer(1), None, Pointer(2))
    return recorder.launch()


def conv_transpose2d_backward_weight(spec: ConvSpec, types: Types, target: Target) -> Launch:
    """Arguments dy, x, dw, db: the roles of dy and x are exchanged."""
    recorder = _recorder(types, target)
    weight_gradient(recorder, spec, Pointer(0), Pointer(1), Pointer(2), None)
    if types[3] is not None:
        pixels = spec.batch * spec.height * spec.width
        recorder.sum_pixels(Pointer(0), Pointer(3), pixels, spec.in_channels)
    return recorder.launch()
