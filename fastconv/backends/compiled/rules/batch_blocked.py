"""Instructions of convolutions with few channels: samples in the lanes of a vector.

Images are ``[samples / lanes][height][width][channel][lane]``. To everything that treats channels
alike, elementwise kernels, pooling, copies into padding, they are ``samples / lanes`` images of
``channels * lanes`` channels. A convolution of 8 channels leaves half of a vector of 16 unused; of
batch-blocked samples, it uses all of it, and no weights are copied.
"""

from __future__ import annotations

from dataclasses import replace

from fastconv.backends.compiled.instructions.builder import (
    Builder,
    Images,
    Taps,
    Weights,
)
from fastconv.backends.compiled.instructions.choices import STORE
from fastconv.backends.compiled.instructions.instruction import LoweredKernel, Pointer, Target
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import threads_for_product
from fastconv.backends.compiled.rules.subpixel_phases import (
    SubpixelPhase,
    reach,
    subpixel_phases,
    weights_of_phase,
)
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
_WASTE_WORTH_BLOCKING = 0.25
"""Part of the lanes that NHWC leaves unused, from which a transposition is worth it."""
_L1_BYTES = 32 * 1024
"""Bytes of x and dy that are taken through all tiles of the weight gradient: they stay in the
first-level cache of a core."""
_LEAST_PIXELS = 6
"""Pixels of x and dy in the first-level cache below which a weight gradient mostly moves its sums,
which are vectors: 24 inputs and 64 outputs have 5, and run at a third of the rate of NHWC."""
_MOST_PARTS = 4
"""Parts of the samples, each with a weight gradient of its own: fixed, so that the number of
threads never changes a sum."""


def _waste(channels: int, lanes: int) -> float:
    return 1 - channels / (-(-channels // lanes) * lanes)


def is_profitable(spec: ConvSpec, channels: int, target: Target, dtype: str) -> bool:
    """Whether a pass whose vectors run over so many channels takes batch-blocked images instead.

    Their number must be a multiple of the lanes, and NHWC leave enough of the lanes unused.
    """
    lanes = target.lanes(dtype)
    depthwise = spec.groups > 1 and spec.groups == spec.in_channels
    # What a transposition costs must be little beside the products.
    worth = spec.kernel[0] * spec.kernel[1] > 1 and not depthwise
    if not worth or lanes == 1 or spec.batch == 0 or spec.batch % lanes:
        return False
    of_pixel = target.vector_bytes * (spec.in_channels + spec.out_channels) // spec.groups
    if of_pixel * _LEAST_PIXELS > _L1_BYTES:
        return False
    return _waste(channels // spec.groups, lanes) >= _WASTE_WORTH_BLOCKING


def samples_together(spec: ConvSpec, *channels: int, target: Target, dtype: str) -> int:
    """Samples that passes take side by side, of a batch that is a multiple; else 1.

    ``channels`` are those that the vectors of each pass run over.
    """
    is_blocked = any(is_profitable(spec, each, target, dtype) for each in channels)
    return target.lanes(dtype) if is_blocked else 1


def batch_blocked_images(pointer: Pointer, shape: tuple[int, ...], lanes: int) -> Images:
    """Batch-blocked images of an NHWC shape, as NHWC images of more channels."""
    n, h, w, c = shape
    return Images.dense(pointer, (n // lanes, h, w, c * lanes))


def _tile(builder: Builder, outputs: int, others: int) -> tuple[int, int]:
    """Outputs and pixels (or inputs) of a tile."""
    most = _MOST_PIXELS[32 if builder.target.registers >= 32 else 16]
    wide = even_part(outputs, 8 if builder.target.registers >= 32 else 6)
    return wide, max(1, even_part(others, most[wide]))


def _taps(spec: ConvSpec, images: Images, inputs: int) -> Taps:
    return Taps(
        spec.kernel[0], spec.kernel[1], inputs,
        spec.dilation_height * images.row, spec.dilation_width * images.pixel,
    )  # fmt: skip


def _product(
    builder: Builder, spec: ConvSpec, a: Images, taps: Taps, weights: Weights, c: Images,
    outputs: int, rows: tuple[int, int],
    columns: tuple[int, int], group_of_c: int, *,
    bias: Pointer | None, barrier: bool = True,
) -> None:  # fmt: skip
    wide, pixels = _tile(builder, outputs, c.width)
    flops = 2 * builder.lanes * c.pixels * taps.down * taps.across * taps.depth * outputs
    builder.add(
        Kernel.BATCH_BLOCKED_TILES, a=a.pointer, b=weights.pointer, c=c.pointer, bias=bias,
        samples=c.samples, rows=c.height, columns=c.width, tile_outputs=wide, outputs=outputs,
        tile_pixels=pixels, a_sample=a.sample, a_row=a.row, a_column=a.pixel,
        c_sample=c.sample, c_row=c.row, c_column=c.pixel,
        taps_down=taps.down, a_down=taps.a_down, b_down=weights.down,
        taps_across=taps.across, a_across=taps.a_across, b_across=weights.across,
        depth=taps.depth, b_depth=weights.depth_stride, groups=spec.groups,
        a_group=taps.depth * builder.lanes, b_group=weights.group, c_group=group_of_c,
        epilogue=STORE, first_row=rows[0], image=rows[1],
        first_column=columns[0], image_row=columns[1], slope=0.0,
        max_threads=threads_for_product(flops * spec.groups, c.samples * c.height),
        barrier=barrier,
    )  # fmt: skip


def forward(
    builder: Builder,
    spec: ConvSpec,
    x: Pointer,
    w: Pointer,
    b: Pointer | None,
    y: Pointer,
) -> None:
    """Add the instructions of ``y``; x and y are batch-blocked."""
    lanes = builder.lanes
    images = batch_blocked_images(x, spec.x_shape, lanes)
    padded = builder.pad(images, ((0, 0), spec.padding[1]))
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    taps = _taps(spec, padded, inputs)
    pixel = spec.out_channels  # from one input of a tap to the next
    weights = Weights(w, pixel, 0, outputs, spec.kernel[1] * inputs * pixel, inputs * pixel)
    a = replace(padded, row=padded.row * spec.stride[0], pixel=padded.pixel * spec.stride[1])
    c = batch_blocked_images(y, spec.y_shape, lanes)
    rows = -spec.padding[0][0] * padded.row, padded.sample
    columns = -spec.padding[1][0] * images.pixel, images.row
    _product(builder, spec, a, taps, weights, c, outputs, rows, columns, outputs * lanes, bias=b)


def data_gradient(
    builder: Builder,
    spec: ConvSpec,
    dy: Pointer,
    w: Pointer,
    b: Pointer | None,
    dx: Pointer,
) -> None:
    """Add the instructions of ``dx``, by sub-pixel phases; dy and dx are batch-blocked."""
    lanes = builder.lanes
    across = reach(spec, 1)
    a = builder.pad(batch_blocked_images(dy, spec.y_shape, lanes), ((0, 0), across))
    result = batch_blocked_images(dx, spec.x_shape, lanes)
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    pairs = [(down, side) for down in subpixel_phases(spec, 0) for side in subpixel_phases(spec, 1)]
    packed = [_packed_backwards(builder, spec, w, *pair) for pair in pairs]
    builder.set_barrier(True)
    for (down, side), weights in zip(pairs, packed, strict=True):
        c = replace(
            result.at(down.offset, side.offset, builder.dtype),
            height=down.pixels, width=side.pixels,
            row=spec.stride[0] * result.row, pixel=spec.stride[1] * result.pixel,
        )  # fmt: skip
        none = not (down.taps and side.taps)
        taps = Taps(
            0 if none else down.taps, 0 if none else side.taps, outputs,
            down.step * a.row, side.step * a.pixel,
        )  # fmt: skip
        from_ = a.at(0, side.first + across[0], builder.dtype)
        rows = down.first * a.row, a.sample
        _product(
            builder, spec, from_, taps, weights, c, inputs, rows,
            (side.first * a.pixel, spec.out_width * a.pixel), inputs * lanes,
            bias=b, barrier=False,
        )  # fmt: skip
    builder.set_barrier(True)


def _packed_backwards(
    builder: Builder,
    spec: ConvSpec,
    w: Pointer,
    down: SubpixelPhase,
    side: SubpixelPhase,
) -> Weights:
    """Pack the taps of a sub-pixel phase, last to first, with inputs and outputs exchanged."""
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    source = weights_of_phase(spec, w, builder.itemsize, down, side)
    none = not (down.taps and side.taps)
    taps = Taps(0 if none else down.taps, 0 if none else side.taps, outputs)
    vectors = -(-inputs // builder.lanes)
    packed = builder.pack(source, taps, inputs, spec.groups, vectors)
    builder.set_barrier(False)
    wide = vectors * builder.lanes
    return Weights(
        packed.pointer, wide, 0, packed.group, taps.across * outputs * wide, outputs * wide
    )


def weight_gradient(
    builder: Builder,
    spec: ConvSpec,
    x: Pointer,
    dy: Pointer,
    dw: Pointer,
    db: Pointer | None,
) -> None:
    """Add the instructions of ``dw`` and ``db``; x and dy are batch-blocked."""
    lanes = builder.lanes
    a = builder.pad(batch_blocked_images(x, spec.x_shape, lanes), ((0, 0), spec.padding[1]))
    b = batch_blocked_images(dy, spec.y_shape, lanes)
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    kh, kw = spec.kernel
    merges = spec.groups == 1 and spec.dilation_width == 1
    across, depth = (1, kw * inputs) if merges else (kw, inputs)
    wide, high = _tile(builder, outputs, depth)
    tiles = spec.groups * kh * across * -(-depth // high) * -(-outputs // wide)
    bias_tiles = spec.groups * -(-outputs // wide)
    parts = min(b.samples, _MOST_PARTS)
    size = kh * kw * inputs * spec.out_channels
    # The lanes of as many vectors as there are lanes are summed together, also of fewer.
    sums = builder.scratch((parts * (tiles + bias_tiles) * wide * high + lanes) * lanes)
    place, place_b = dw, db
    if parts > 1:
        place = builder.scratch(parts * size)
        place_b = None if db is None else builder.scratch(parts * spec.out_channels)
    row_bytes = (a.row + b.row // spec.out_channels * wide) * builder.itemsize
    pixel = spec.out_channels
    builder.add(
        Kernel.BATCH_BLOCKED_WEIGHT_TILES,
        a=a.pointer, dy=b.pointer, dw=place, db=place_b, sums=sums,
        samples=b.samples, rows=b.height, columns=b.width, tile_outputs=wide, outputs=outputs,
        tile_inputs=high, a_sample=a.sample, a_row=a.row * spec.stride[0],
        a_column=a.pixel * spec.stride[1], dy_sample=b.sample, dy_row=b.row, dy_column=b.pixel,
        taps_down=kh, a_down=spec.dilation_height * a.row, dw_down=kw * inputs * pixel,
        taps_across=across, a_across=spec.dilation_width * a.pixel, dw_across=inputs * pixel,
        depth=depth, dw_depth=pixel, groups=spec.groups, a_group=inputs * lanes,
        dy_group=outputs * lanes, dw_group=outputs, parts=parts,
        first_row=-spec.padding[0][0] * a.row, image=a.sample,
        rows_together=max(1, _L1_BYTES // row_bytes), dw_part=size,
        max_threads=threads_for_product(spec.flops, parts * (tiles + bias_tiles)),
    )  # fmt: skip
    if parts > 1:
        for source, to, count in ((place, dw, size), (place_b, db, spec.out_channels)):
            if source is None or to is None:
                continue
            builder.add_parts(source, parts, count, to, barrier=False)
        builder.set_barrier(True)


def transpose_images(spec: InputSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments x, y; the places of a max pool, int32, are moved as any four bytes."""
    builder = Builder("float32" if types[0] == "int32" else str(types[0]), target)
    builder.transpose(Pointer(0), Pointer(1), spec.batch, spec.height, spec.width)
    return builder.lowered()


def conv2d_forward(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments x, w, b, y; x and y are batch-blocked."""
    builder = Builder(str(types[0]), target)
    bias = None if types[2] is None else Pointer(2)
    forward(builder, spec, Pointer(0), Pointer(1), bias, Pointer(3))
    return builder.lowered()


def conv2d_backward_data(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments dy, w, dx; dy and dx are batch-blocked."""
    builder = Builder(str(types[0]), target)
    data_gradient(builder, spec, Pointer(0), Pointer(1), None, Pointer(2))
    return builder.lowered()


def conv2d_backward_weight(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments dy, x, dw, db; dy and x are batch-blocked."""
    builder = Builder(str(types[0]), target)
    db = None if types[3] is None else Pointer(3)
    weight_gradient(builder, spec, Pointer(1), Pointer(0), Pointer(2), db)
    return builder.lowered()
