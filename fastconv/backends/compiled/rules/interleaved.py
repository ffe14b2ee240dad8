"""Records of convolutions with few channels and many samples: samples in the lanes of a vector.

Images are ``[samples / lanes][height][width][channel][lane]``. To everything that treats channels
alike, elementwise kernels, pooling, copies into padding, they are ``samples / lanes`` images of
``channels * lanes`` channels. A convolution of 8 channels leaves half of a vector of 16 unused; of
interleaved samples, it uses all of it, and no weights are copied.
"""

from __future__ import annotations

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
from fastconv.backends.compiled.rules.phases import Phase, phases_of, reach
from fastconv.backends.compiled.rules.split import parts_of, parts_of_product
from fastconv.backends.compiled.rules.tiles import even_part
from fastconv.plans.operation import InputSpec
from fastconv.spec import ConvSpec

Types = tuple[str | None, ...]

_MOST_PIXELS = {
    32: {1: 4, 2: 4, 3: 4, 4: 4, 5: 4, 6: 4, 7: 3, 8: 3},
    16: {1: 4, 2: 4, 3: 4, 4: 3, 5: 2, 6: 2, 7: 1, 8: 1},
}
"""Pixels (or inputs) of the largest tile by registers and outputs: the engines have these tiles and
all that are smaller."""
_WASTE_WORTH_INTERLEAVING = 0.25
"""Part of the lanes that NHWC leaves unused, from which interleaving pays."""
_NEAR_BYTES = 32 * 1024
"""Bytes of x and dy that are taken through all tiles of the weight gradient: they stay in the
first-level cache of a core."""
_MOST_PARTS = 4
"""Parts of the samples, each with a weight gradient of its own: fixed, so that the number of
threads never changes a sum."""


def _waste(channels: int, lanes: int) -> float:
    return 1 - channels / (-(-channels // lanes) * lanes)


def pays(spec: ConvSpec, channels: int, target: Target, dtype: str) -> bool:
    """Whether a pass whose vectors run over so many channels interleaves samples instead.

    Their number must be a multiple of the lanes, and NHWC leave enough of the lanes unused.
    """
    lanes = target.lanes(dtype)
    depthwise = spec.groups > 1 and spec.groups == spec.in_channels
    # What a transposition costs must be little beside the products.
    worth = spec.kernel[0] * spec.kernel[1] > 1 and not depthwise
    if not worth or lanes == 1 or spec.batch == 0 or spec.batch % lanes:
        return False
    return _waste(channels // spec.groups, lanes) >= _WASTE_WORTH_INTERLEAVING


def samples_together(spec: ConvSpec, target: Target, dtype: str) -> int:
    """Samples that a pass of a convolution interleaves, of a batch that is a multiple; else 1."""
    either = (spec.in_channels, spec.out_channels)
    pay = any(pays(spec, channels, target, dtype) for channels in either)
    return target.lanes(dtype) if pay else 1


def interleaved_images(pointer: Pointer, shape: tuple[int, ...], lanes: int) -> Images:
    """Interleaved images of an NHWC shape, as NHWC images of more channels."""
    n, h, w, c = shape
    return Images.dense(pointer, (n // lanes, h, w, c * lanes))


def _tile(recorder: Recorder, outputs: int, others: int) -> tuple[int, int]:
    """Outputs and pixels (or inputs) of a tile."""
    most = _MOST_PIXELS[32 if recorder.target.registers >= 32 else 16]
    wide = even_part(outputs, 8 if recorder.target.registers >= 32 else 6)
    return wide, max(1, even_part(others, most[wide]))


def _taps(spec: ConvSpec, images: Images, inputs: int) -> Taps:
    return Taps(
        spec.kernel[0], spec.kernel[1], inputs,
        spec.dilation[0] * images.row, spec.dilation[1] * images.pixel,
    )  # fmt: skip


def _product(
    recorder: Recorder, spec: ConvSpec, a: Images, taps: Taps, weights: Weights, c: Images,
    outputs: int, rows: tuple[int, int],
    columns: tuple[int, int], group_of_c: int, *,
    bias: Pointer | None, barrier: bool = True,
) -> None:  # fmt: skip
    wide, pixels = _tile(recorder, outputs, c.width)
    flops = 2 * recorder.lanes * c.pixels * taps.down * taps.across * taps.depth * outputs
    recorder.add(
        "interleaved_tiles", (a.pointer, weights.pointer, c.pointer, bias),
        c.samples, c.height, c.width, wide, outputs, pixels,
        a.sample, a.row, a.pixel, c.sample, c.row, c.pixel,
        taps.down, taps.a_down, weights.tap1, taps.across, taps.a_across, weights.tap2,
        taps.depth, weights.depth_stride,
        spec.groups, taps.depth * recorder.lanes, weights.group, group_of_c,
        STORE, *rows, *columns,
        reals=(0.0,),
        parts=parts_of_product(flops * spec.groups, c.samples * c.height),
        barrier=barrier,
    )  # fmt: skip


def forward(
    recorder: Recorder, spec: ConvSpec, x: Pointer, w: Pointer, b: Pointer | None, y: Pointer
) -> None:
    """Add the records of ``y``; x and y are interleaved."""
    lanes = recorder.lanes
    images = interleaved_images(x, spec.x_shape, lanes)
    padded = recorder.pad(images, ((0, 0), spec.padding[1]))
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    taps = _taps(spec, padded, inputs)
    pixel = spec.out_channels  # from one input of a tap to the next
    weights = Weights(w, pixel, 0, outputs, spec.kernel[1] * inputs * pixel, inputs * pixel)
    a = replace(padded, row=padded.row * spec.stride[0], pixel=padded.pixel * spec.stride[1])
    c = interleaved_images(y, spec.y_shape, lanes)
    rows = -spec.padding[0][0] * padded.row, padded.sample
    columns = -spec.padding[1][0] * images.pixel, images.row
    _product(recorder, spec, a, taps, weights, c, outputs, rows, columns, outputs * lanes, bias=b)


def data_gradient(
    recorder: Recorder, spec: ConvSpec, dy: Pointer, w: Pointer, b: Pointer | None, dx: Pointer
) -> None:
    """Add the records of ``dx``, phase by phase of the stride; dy and dx are interleaved."""
    lanes = recorder.lanes
    across = reach(spec, 1)
    a = recorder.pad(interleaved_images(dy, spec.y_shape, lanes), ((0, 0), across))
    result = interleaved_images(dx, spec.x_shape, lanes)
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    pairs = [(down, side) for down in phases_of(spec, 0) for side in phases_of(spec, 1)]
    packed = [_packed_backwards(recorder, spec, w, *pair) for pair in pairs]
    recorder.set_barrier(True)
    for (down, side), weights in zip(pairs, packed, strict=True):
        c = replace(
            result.at(down.offset, side.offset, recorder.dtype),
            height=down.pixels, width=side.pixels,
            row=spec.stride[0] * result.row, pixel=spec.stride[1] * result.pixel,
        )  # fmt: skip
        none = not (down.taps and side.taps)
        taps = Taps(
            0 if none else down.taps, 0 if none else side.taps, outputs,
            down.step * a.row, side.step * a.pixel,
        )  # fmt: skip
        from_ = a.at(0, side.first + across[0], recorder.dtype)
        rows = down.first * a.row, a.sample
        _product(
            recorder, spec, from_, taps, weights, c, inputs, rows,
            (side.first * a.pixel, spec.out_width * a.pixel), inputs * lanes,
            bias=b, barrier=False,
        )  # fmt: skip
    recorder.set_barrier(True)


def _packed_backwards(
    recorder: Recorder, spec: ConvSpec, w: Pointer, down: Phase, side: Phase
) -> Weights:
    """Pack the taps of a phase, last to first, with inputs and outputs exchanged."""
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    kw, pixel = spec.kernel[1], spec.out_channels
    offset = (down.last * kw + side.last) * inputs * pixel * recorder.itemsize
    source = Source(
        w.skip(offset), outputs, pixel,
        -down.spacing * kw * inputs * pixel, -side.spacing * inputs * pixel, 1,
    )  # fmt: skip
    none = not (down.taps and side.taps)
    taps = Taps(0 if none else down.taps, 0 if none else side.taps, outputs)
    vectors = -(-inputs // recorder.lanes)
    packed = recorder.pack(source, taps, inputs, spec.groups, vectors)
    recorder.set_barrier(False)
    wide = vectors * recorder.lanes
    return Weights(
        packed.pointer, wide, 0, packed.group, taps.across * outputs * wide, outputs * wide
    )


def weight_gradient(
    recorder: Recorder, spec: ConvSpec, x: Pointer, dy: Pointer, dw: Pointer, db: Pointer | None
) -> None:
    """Add the records of ``dw`` and ``db``; x and dy are interleaved."""
    lanes = recorder.lanes
    a = recorder.pad(interleaved_images(x, spec.x_shape, lanes), ((0, 0), spec.padding[1]))
    b = interleaved_images(dy, spec.y_shape, lanes)
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    kh, kw = spec.kernel
    merges = spec.groups == 1 and spec.dilation[1] == 1
    across, depth = (1, kw * inputs) if merges else (kw, inputs)
    wide, high = _tile(recorder, outputs, depth)
    tiles = spec.groups * kh * across * -(-depth // high) * -(-outputs // wide)
    bias_tiles = spec.groups * -(-outputs // wide)
    parts = min(b.samples, _MOST_PARTS)
    size = kh * kw * inputs * spec.out_channels
    # The lanes of as many vectors as there are lanes are summed together, also of fewer.
    sums = recorder.take((parts * (tiles + bias_tiles) * wide * high + lanes) * lanes)
    place, place_b = dw, db
    if parts > 1:
        place = recorder.take(parts * size)
        place_b = None if db is None else recorder.take(parts * spec.out_channels)
    row_bytes = (a.row + b.row // spec.out_channels * wide) * recorder.itemsize
    pixel = spec.out_channels
    recorder.add(
        "interleaved_weight_tiles",
        (a.pointer, b.pointer, place, place_b, sums),
        b.samples, b.height, b.width, wide, outputs, high,
        a.sample, a.row * spec.stride[0], a.pixel * spec.stride[1], b.sample, b.row, b.pixel,
        kh, spec.dilation[0] * a.row, kw * inputs * pixel,
        across, spec.dilation[1] * a.pixel, inputs * pixel,
        depth, pixel, spec.groups, inputs * lanes, outputs * lanes, outputs,
        parts, -spec.padding[0][0] * a.row, a.sample,
        max(1, _NEAR_BYTES // row_bytes), size,
        parts=parts_of_product(spec.flops, parts * (tiles + bias_tiles)),
    )  # fmt: skip
    if parts > 1:
        for source, to, count in ((place, dw, size), (place_b, db, spec.out_channels)):
            if source is None or to is None:
                continue
            recorder.add(
                "add_parts", (source, None, to), count, count, parts, STORE,
                reals=(0.0,), parts=parts_of(count * parts), barrier=False,
            )  # fmt: skip
        recorder.set_barrier(True)


def transpose_images(spec: InputSpec, types: Types, target: Target) -> Launch:
    """Arguments x, y; the places of a max pool, int32, are moved as any four bytes."""
    recorder = Recorder("float32" if types[0] == "int32" else str(types[0]), target)
    recorder.transpose(Pointer(0), Pointer(1), spec.batch, spec.height, spec.width)
    return recorder.launch()


def conv2d_forward(spec: ConvSpec, types: Types, target: Target) -> Launch:
    """Arguments x, w, b, y; x and y are interleaved."""
    recorder = Recorder(str(types[0]), target)
    bias = None if types[2] is None else Pointer(2)
    forward(recorder, spec, Pointer(0), Pointer(1), bias, Pointer(3))
    return recorder.launch()


def conv2d_backward_data(spec: ConvSpec, types: Types, target: Target) -> Launch:
    """Arguments dy, w, dx; dy and dx are interleaved."""
    recorder = Recorder(str(types[0]), target)
    data_gradient(recorder, spec, Pointer(0), Pointer(1), None, Pointer(2))
    return recorder.launch()


def conv2d_backward_weight(spec: ConvSpec, types: Types, target: Target) -> Launch:
    """Arguments dy, x, dw, db; dy and x are interleaved."""
    recorder = Recorder(str(types[0]), target)
    db = None if types[3] is None else Pointer(3)
    weight_gradient(recorder, spec, Pointer(1), Pointer(0), Pointer(2), db)
    return recorder.launch()
