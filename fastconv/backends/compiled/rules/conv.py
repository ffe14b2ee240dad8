"""Instructions of convolutions: which kernel, which tile, which copies, by written rules.

* Depthwise (every group has one input channel): vectors over channels,
  :mod:`fastconv.backends.compiled.rules.depthwise`.
* Everything else: ``conv_tiles`` and ``conv_weight_tiles``, the batch-reduce product. Padding is a
  copy into zeros. 1x1 with stride 1 is one product over all pixels. The data gradient is a
  convolution of dy with the flipped and transposed weights, by sub-pixel phases.
* Weights are packed by blocks of outputs unless they lie so already, or there are too few pixels
  to pay for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from fastconv.backends.compiled.instructions.builder import (
    Builder,
    Images,
    Taps,
    UnpackedWeights,
    Weights,
)
from fastconv.backends.compiled.instructions.choices import STORE
from fastconv.backends.compiled.instructions.instruction import LoweredKernel, Pointer, Target
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules import batch_blocked, depthwise, merged_subpixel_phases
from fastconv.backends.compiled.rules.split import threads_for_product
from fastconv.backends.compiled.rules.subpixel_phases import (
    SubpixelPhase,
    reach,
    subpixel_phases,
    weights_of_phase,
)
from fastconv.backends.compiled.rules.tiles import RegisterTile, choose_tile
from fastconv.spec import ConvSpec

Types = tuple[str | None, ...]

PIXELS_WORTH_PACKING = 48
"""Output pixels from which packing the weights is profitable."""
_SAMPLES_BYTES = 256 * 1024
"""Bytes of x and dy that a thread takes through all tiles of the weight gradient at a time."""
_ROW_PIXELS = 112
"""Pixels of a row where 1x1 convolutions cut their pixels again: a multiple of 14 and 28, a piece
of work of some microseconds."""


def is_pointwise(spec: ConvSpec) -> bool:
    """Whether every output pixel is made of the input pixel at its place."""
    return spec.kernel == (1, 1) and spec.stride == (1, 1) and spec.padding == ((0, 0), (0, 0))


def _is_batch_blocked(builder: Builder, spec: ConvSpec) -> bool:
    return batch_blocked.is_profitable(spec, spec.out_channels, builder.target, builder.dtype)


def _packs(builder: Builder, spec: ConvSpec) -> bool:
    """Whether a forward pass may read weights in blocks."""
    return not (depthwise.is_depthwise(spec) or _is_batch_blocked(builder, spec))


def _merges_taps(spec: ConvSpec) -> bool:
    """Whether the taps of a row of the kernel are one run of memory."""
    return spec.groups == 1 and spec.dilation_width == 1


def _to_batch_blocked(builder: Builder, images: Pointer, shape: tuple[int, ...]) -> Pointer:
    lanes, size = builder.lanes, math.prod(shape[1:])
    place = builder.scratch(math.prod(shape))
    builder.transpose(images, place, shape[0] // lanes, lanes, size)
    return place


def _from_batch_blocked(
    builder: Builder, place: Pointer, images: Pointer, shape: tuple[int, ...]
) -> None:
    lanes, size = builder.lanes, math.prod(shape[1:])
    builder.transpose(place, images, shape[0] // lanes, size, lanes)


@dataclass(slots=True)
class WeightsOIHW:
    """Weights in OIHW, and what they are transposed to: once for a kernel, when it is wanted."""

    builder: Builder
    spec: ConvSpec
    pointer: Pointer
    _made: dict[int, Pointer] = field(default_factory=dict)

    def hwio(self) -> Pointer:
        """Return them in HWIO."""
        return self._in_blocks(self.spec.out_channels)

    def packed(self, vectors: int) -> Weights | None:
        """Return them by blocks of whole vectors of outputs; None where that needs another copy."""
        width = vectors * self.builder.lanes
        if self.spec.groups > 1 or self.spec.out_channels % width:
            return None
        (kh, kw), inputs = self.spec.kernel, self.spec.in_channels
        block = kh * kw * inputs * width
        group = kh * kw * inputs * self.spec.out_channels
        return Weights(self._in_blocks(width), 0, block, group, kw * inputs, inputs)

    def _in_blocks(self, width: int) -> Pointer:
        """Transpose each block of filters, to (tap, input, output)."""
        if width not in self._made:
            spec, taps = self.spec, math.prod(self.spec.kernel)
            inputs = spec.in_channels // spec.groups
            place = self._made[width] = self.builder.allocate(math.prod(spec.w_shape))
            self.builder.transpose(
                self.pointer, place, spec.out_channels // width, width, inputs * taps,
                y_period=taps if inputs > 1 else 1,
            )  # fmt: skip
        return self._made[width]


def forward(
    builder: Builder,
    spec: ConvSpec,
    x: Pointer,
    w: Pointer | WeightsOIHW,
    b: Pointer | None,
    y: Pointer,
) -> None:
    """Add the instructions of ``y``; of weights in OIHW, those that put them in order too."""
    if isinstance(w, WeightsOIHW) and not _packs(builder, spec):
        w = w.hwio()
    if isinstance(w, Pointer) and depthwise.is_depthwise(spec):
        depthwise.forward(builder, spec, x, w, b, y)
        return
    if isinstance(w, Pointer) and _is_batch_blocked(builder, spec):
        x_lanes = _to_batch_blocked(builder, x, spec.x_shape)
        y_lanes = builder.scratch(math.prod(spec.y_shape))
        batch_blocked.forward(builder, spec, x_lanes, w, b, y_lanes)
        _from_batch_blocked(builder, y_lanes, y, spec.y_shape)
        return
    images = builder.pad(Images.dense(x, spec.x_shape), spec.padding)
    c = Images.dense(y, spec.y_shape)
    kh, kw = spec.kernel
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    if _merges_taps(spec):
        taps = Taps(kh, 1, kw * inputs, spec.dilation_height * images.row)
    else:
        across = spec.dilation_width * images.pixel
        taps = Taps(kh, kw, inputs, spec.dilation_height * images.row, across)
    a = replace(images, row=images.row * spec.stride[0], pixel=images.pixel * spec.stride[1])
    last = None
    if is_pointwise(spec):
        last = c.pixels % _ROW_PIXELS or None
        a, c = a.as_rows(_ROW_PIXELS), c.as_rows(_ROW_PIXELS)
    distance = a.pixel * builder.itemsize
    tile = choose_tile(c.width, outputs, builder.target, builder.dtype, distance=distance)
    weights = w.packed(tile.vectors) if isinstance(w, WeightsOIHW) else None
    if weights is None:
        place = w if isinstance(w, Pointer) else w.hwio()
        pixel = spec.out_channels  # from one input of a tap to the next
        source = UnpackedWeights(place, outputs, 1, kw * inputs * pixel, inputs * pixel, pixel)
        weights = _weights(builder, spec, source, taps, outputs, tile.vectors, c.pixels)
    builder.product(a, taps, weights, c, outputs, tile, spec.groups, bias=b, last_row=last)


def _weights(
    builder: Builder, spec: ConvSpec, source: UnpackedWeights, taps: Taps, outputs: int, vectors:
    int, pixels: int,
) -> Weights:  # fmt: skip
    """Pack the weights, or take them as they lie."""
    width = vectors * builder.lanes
    lie_packed = spec.groups == 1 and outputs <= width
    whole = outputs % builder.lanes == 0 or builder.target.reads_parts(vectors * pixels)
    if whole and (lie_packed or pixels < PIXELS_WORTH_PACKING):
        return Weights(
            source.pointer, source.depth, width, source.group, source.down, source.across
        )
    return builder.pack(source, taps, outputs, spec.groups, vectors)


def data_gradient(
    builder: Builder,
    spec: ConvSpec,
    dy: Pointer,
    w: Pointer,
    b: Pointer | None,
    dx: Pointer,
) -> None:
    """Add the instructions of ``dx``, plus ``b`` for a transposed convolution."""
    if depthwise.is_depthwise(spec):
        depthwise.data_gradient(builder, spec, dy, w, b, dx)
        return
    if batch_blocked.is_profitable(spec, spec.in_channels, builder.target, builder.dtype):
        dy_lanes = _to_batch_blocked(builder, dy, spec.y_shape)
        dx_lanes = builder.scratch(math.prod(spec.x_shape))
        batch_blocked.data_gradient(builder, spec, dy_lanes, w, b, dx_lanes)
        _from_batch_blocked(builder, dx_lanes, dx, spec.x_shape)
        return
    if b is None and merged_subpixel_phases.is_profitable(builder, spec):
        merged_subpixel_phases.data_gradient(builder, spec, dy, w, dx)
        return
    padding = reach(spec, 0), reach(spec, 1)
    a = builder.pad(Images.dense(dy, spec.y_shape), padding)
    result = Images.dense(dx, spec.x_shape)
    pairs = [
        (down, across) for down in subpixel_phases(spec, 0) for across in subpixel_phases(spec, 1)
    ]
    packed = [_packed_backwards(builder, spec, w, a, result, *pair) for pair in pairs]
    builder.set_barrier(True)
    # The sub-pixel phases write different pixels: no barrier between them.
    for (down, across), (taps, weights, tile) in zip(pairs, packed, strict=True):
        c = result.at(down.offset, across.offset, builder.dtype)
        c = replace(
            c, height=down.pixels, width=across.pixels,
            row=spec.stride[0] * c.row, pixel=spec.stride[1] * c.pixel,
        )  # fmt: skip
        from_ = a.at(down.first + padding[0][0], across.first + padding[1][0], builder.dtype)
        from_ = replace(from_, height=down.pixels, width=across.pixels)
        last = None
        if is_pointwise(spec):
            last = c.pixels % _ROW_PIXELS or None
            from_, c = from_.as_rows(_ROW_PIXELS), c.as_rows(_ROW_PIXELS)
        builder.product(
            from_, taps, weights, c, result.channels // spec.groups, tile, spec.groups,
            bias=b, last_row=last, barrier=False,
        )  # fmt: skip
    builder.set_barrier(True)


def _packed_backwards(
    builder: Builder, spec: ConvSpec, w: Pointer, a: Images, result: Images,
    down: SubpixelPhase, across: SubpixelPhase,
) -> tuple[Taps, Weights, RegisterTile]:  # fmt: skip
    """Pack the taps of a sub-pixel phase, last to first, for addresses in dy that go forwards.

    They are packed for the tile that is returned with them.
    """
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    source = weights_of_phase(spec, w, builder.itemsize, down, across)
    none = not (down.taps and across.taps)
    rows = 0 if none else down.taps
    columns = 0 if none else across.taps
    taps = Taps(rows, columns, outputs, down.step * a.row, across.step * a.pixel)
    width = min(_ROW_PIXELS, result.pixels) if is_pointwise(spec) else across.pixels
    tile = choose_tile(width, inputs, builder.target, builder.dtype)
    weights = builder.pack(source, taps, inputs, spec.groups, tile.vectors, barrier=False)
    if spec.groups == 1 and across.step == 1:
        # The taps of a row are one run of memory.
        depth = columns * outputs
        taps, weights = Taps(rows, 1, depth, taps.a_down), replace(weights, down=depth, across=0)
    return taps, weights, tile


def weight_gradient(
    builder: Builder,
    spec: ConvSpec,
    x: Pointer,
    dy: Pointer,
    dw: Pointer,
    db: Pointer | None,
) -> None:
    """Add the instructions of ``dw`` and ``db``."""
    if depthwise.is_depthwise(spec):
        depthwise.weight_gradient(builder, spec, x, dy, dw, db)
        return
    if batch_blocked.is_profitable(spec, spec.out_channels, builder.target, builder.dtype):
        x_lanes = _to_batch_blocked(builder, x, spec.x_shape)
        dy_lanes = _to_batch_blocked(builder, dy, spec.y_shape)
        batch_blocked.weight_gradient(builder, spec, x_lanes, dy_lanes, dw, db)
        return
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    # A vector that begins in the last group may end behind it: a copy has room for it.
    room = spec.out_channels
    if not builder.target.masks:
        room += -outputs % builder.lanes
    a = builder.pad(Images.dense(x, spec.x_shape), spec.padding)
    b = builder.pad(Images.dense(dy, spec.y_shape), ((0, 0), (0, 0)), room)
    kh, kw = spec.kernel
    across, depth = (1, kw * inputs) if _merges_taps(spec) else (kw, inputs)
    rows, columns = (1, b.height * b.width) if is_pointwise(spec) else (b.height, b.width)
    tile = choose_tile(depth, outputs, builder.target, builder.dtype, even=False)
    pieces = spec.groups * kh * across * -(-depth // tile.rows)
    pieces *= -(-outputs // (tile.vectors * builder.lanes))
    together = max(1, _SAMPLES_BYTES // ((a.sample + b.sample) * builder.itemsize))
    pixel = spec.out_channels
    builder.add(
        Kernel.CONV_WEIGHT_TILES, a=a.pointer, dy=b.pointer, dw=dw, db=db,
        samples=spec.batch, rows=rows, columns=columns, vectors=tile.vectors, outputs=outputs,
        tile_rows=tile.rows, a_sample=a.sample, a_row=a.row * spec.stride[0],
        a_column=a.pixel * spec.stride[1], dy_sample=b.sample, dy_row=b.row, dy_column=b.pixel,
        taps_down=kh, a_down=spec.dilation_height * a.row, dw_down=kw * inputs * pixel,
        taps_across=across, a_across=spec.dilation_width * a.pixel, dw_across=inputs * pixel,
        depth=depth, dw_depth=pixel, groups=spec.groups, a_group=inputs, dy_group=outputs,
        dw_group=outputs, together=together, epilogue=STORE, decay=0.0, bias_decay=0.0,
        max_threads=threads_for_product(spec.flops, pieces),
    )  # fmt: skip


def _builder(types: Types, target: Target, spec: ConvSpec, channels: int) -> Builder:
    """Begin a pass whose vectors run over so many channels."""
    dtype = str(types[0])
    if depthwise.is_depthwise(spec) or batch_blocked.is_profitable(spec, channels, target, dtype):
        return Builder(dtype, target)
    return Builder(dtype, target.fitting(channels // spec.groups, dtype))


def _optional(types: Types, number: int) -> Pointer | None:
    return None if types[number] is None else Pointer(number)


def conv2d_forward(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments x, w, b, y."""
    builder = _builder(types, target, spec, spec.out_channels)
    forward(builder, spec, Pointer(0), Pointer(1), _optional(types, 2), Pointer(3))
    return builder.lowered()


def conv2d_backward_data(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments dy, w, dx."""
    builder = _builder(types, target, spec, spec.in_channels)
    data_gradient(builder, spec, Pointer(0), Pointer(1), None, Pointer(2))
    return builder.lowered()


def conv2d_backward_weight(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments dy, x, dw, db."""
    builder = _builder(types, target, spec, spec.out_channels)
    weight_gradient(builder, spec, Pointer(1), Pointer(0), Pointer(2), _optional(types, 3))
    return builder.lowered()


def conv_transpose2d_forward(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments x, w, b, y: the data gradient, with a bias."""
    builder = _builder(types, target, spec, spec.in_channels)
    data_gradient(builder, spec, Pointer(0), Pointer(1), _optional(types, 2), Pointer(3))
    return builder.lowered()


def conv_transpose2d_backward_data(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments dy, w, dx: the forward pass."""
    builder = _builder(types, target, spec, spec.out_channels)
    forward(builder, spec, Pointer(0), Pointer(1), None, Pointer(2))
    return builder.lowered()


def conv_transpose2d_backward_weight(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments dy, x, dw, db: the roles of dy and x are exchanged."""
    builder = _builder(types, target, spec, spec.out_channels)
    weight_gradient(builder, spec, Pointer(0), Pointer(1), Pointer(2), None)
    if types[3] is not None:
        pixels = spec.batch * spec.height * spec.width
        builder.sum_pixels(Pointer(0), Pointer(3), pixels, spec.in_channels)
    return builder.lowered()
