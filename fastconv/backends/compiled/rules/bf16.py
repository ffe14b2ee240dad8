"""Instructions of convolutions and dense layers whose products have factors of bf16.

Arrays stay float32: kernels round what they multiply on its way into the caches, and sum in
float32. Products of few rows, columns or terms, where tiles of 16 by 16 with sums over 32 would be
empty for the most part, are left to the rules of float32, and so are depthwise ones.

Where the channels of a group fill steps of 32 factors, an image is read as it lies, a band of rows
at a time; else the patches of 32 pixels are copied. See ``kernels/cpu/bf16_conv.h``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fastconv.backends.compiled.instructions.builder import Builder, UnpackedWeights
from fastconv.backends.compiled.instructions.choices import STORE
from fastconv.backends.compiled.instructions.instruction import LoweredKernel, Pointer, Target
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.conv import is_pointwise
from fastconv.backends.compiled.rules.split import threads_for_elements, threads_for_product
from fastconv.backends.compiled.rules.subpixel_phases import (
    SubpixelPhase,
    subpixel_phases,
    weights_of_phase,
)
from fastconv.spec import ConvSpec, DenseSpec

Types = tuple[str | None, ...]

_TILE = 16
_STEP = 32
"""Rows and columns of a tile, and factors of one step of its sums."""
_LEAST_ROWS, _LEAST_COLUMNS, _LEAST_TERMS = 16, 8, 16
"""Sizes of a product from which it is made so; those of the cupy backend."""
_MOST_STEPS = 512
"""Steps of a sum, as in the C kernel."""
_BAND_BYTES = 96 * 1024
"""Bytes of a band of rounded rows: what L2 holds beside the weights."""
_MOST_BAND_BYTES = 1 << 20
"""Bytes of a row of pixels from which on the rules of float32 take over."""
_TURNED_BYTES = 40 * 1024
"""Bytes of transposed images and pairs of dy, which are read once for each tap: what L1 holds."""
_PIXELS_TOGETHER = 512
"""Pixels that stand for a row, of a product over all pixels."""
_PIECES = 16
"""Pieces of work, or parts of the samples of a weight gradient, that keep threads busy."""
_SUMS_BYTES = 4 << 20
"""Bytes of the sums of all parts."""
_MOST_THREADS = 64
"""Threads that have memory of their own for what they round."""


class _Sizes(NamedTuple):
    """Rows, columns and terms of the product of a group."""

    rows: int
    columns: int
    terms: int

    def fill_tiles(self) -> bool:
        return (
            self.rows >= _LEAST_ROWS
            and self.columns >= _LEAST_COLUMNS
            and self.terms >= _LEAST_TERMS
        )


def _convolution(spec: ConvSpec | DenseSpec) -> ConvSpec:
    """A dense layer as a 1x1 convolution."""
    if isinstance(spec, DenseSpec):
        return ConvSpec(spec.batch, spec.inputs, 1, 1, spec.outputs, kernel=(1, 1))
    return spec


def is_profitable(function: str, spec: ConvSpec | DenseSpec) -> bool:
    """Whether one of the functions below makes a kernel of the contract for float32 arrays.

    Parameters
    ----------
    function
        Its name here, "conv2d_forward", say.
    spec
        Its spec.
    """
    spec = _convolution(spec)
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    taps = spec.kernel[0] * spec.kernel[1]
    seen, made = spec.height * spec.width, spec.out_height * spec.out_width
    if inputs == 1 and spec.groups > 1:
        return False
    kind = _KINDS[function]
    if kind is _forward:
        sizes, deepest = _Sizes(spec.batch * made, outputs, taps * inputs), taps * inputs
    elif kind is _data_gradient:
        sizes, deepest = _Sizes(spec.batch * seen, inputs, taps * outputs), taps * outputs
    else:
        sizes, deepest = _Sizes(taps * inputs, outputs, spec.batch * made), taps * inputs
    widest = max(spec.width + sum(spec.padding[1]), spec.out_width + 2 * spec.kernel[1])
    deepest_row = 2 * _STEP if is_pointwise(spec) else spec.kernel[0] * widest
    return (
        sizes.fill_tiles()
        and -(-deepest // _STEP) <= _MOST_STEPS
        and 2 * deepest_row * max(spec.in_channels, spec.out_channels) <= _MOST_BAND_BYTES
    )


class _Patches(NamedTuple):
    """The fields of the kernels that say what outputs see of images."""

    samples: int
    height: int
    width: int
    channels: int
    rows: int
    columns: int
    last_columns: int
    taps_down: int
    taps_across: int
    depth: int
    stride_down: int
    stride_across: int
    dilation_down: int
    dilation_across: int
    top: int
    left: int
    groups: int
    outputs: int

    @property
    def terms(self) -> int:
        return self.taps_down * self.taps_across * self.depth

    @property
    def steps(self) -> int:
        return -(-self.terms // _STEP)

    @property
    def pitch(self) -> int:
        """Pixels of a row of A that the outputs of a row see."""
        across = (self.taps_across - 1) * self.dilation_across
        return (self.columns - 1) * self.stride_across + across + 1

    def rows_seen(self, rows: int) -> int:
        """Rows of A that so many rows of outputs see."""
        return (rows - 1) * self.stride_down + (self.taps_down - 1) * self.dilation_down + 1

    def flops(self) -> int:
        pixels = self.samples * self.rows * self.columns
        return 2 * pixels * self.groups * self.outputs * self.terms


def _patches(spec: ConvSpec, pixels_together: int) -> _Patches:
    """What the outputs of a convolution see of x; of a 1x1 one, pixels make rows of their own."""
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    kh, kw = spec.kernel
    samples, height, width = spec.batch, spec.height, spec.width
    rows, columns, last = spec.out_height, spec.out_width, spec.out_width
    if is_pointwise(spec):
        samples, pixels = 1, spec.batch * height * width
        width = columns = min(pixels, pixels_together)
        height = rows = -(-pixels // columns)
        last = pixels - (rows - 1) * columns
    return _Patches(
        samples, height, width, spec.in_channels, rows, columns, last, kh, kw, inputs,
        *spec.stride, *spec.dilation, spec.padding[0][0], spec.padding[1][0], spec.groups, outputs,
    )  # fmt: skip


def _pixels_of_a_row(channels: int) -> int:
    """Pixels of a 1x1 convolution that are rounded together: whole blocks of 32."""
    return max(1, min(4, _BAND_BYTES // (2 * _STEP * channels))) * _STEP


def _pack(
    builder: Builder, source: UnpackedWeights, patches: _Patches, *, barrier: bool = True
) -> Pointer:
    blocks = -(-patches.outputs // _TILE)
    pieces = patches.groups * blocks * patches.steps
    packed = builder.allocate(pieces * _TILE * _STEP // 2)
    builder.add(
        Kernel.BF16_PACK_WEIGHTS, w=source.pointer, packed=packed, groups=patches.groups,
        outputs=patches.outputs, taps_down=patches.taps_down, taps_across=patches.taps_across,
        depth=patches.depth, w_group=source.group, w_output=source.output, w_down=source.down,
        w_across=source.across, w_depth=source.depth, barrier=barrier,
        max_threads=min(pieces, threads_for_elements(pieces * _TILE * _STEP)),
    )  # fmt: skip
    return packed


def _tiles(
    builder: Builder, patches: _Patches, a: Pointer, packed: Pointer, c: Pointer,
    strides: tuple[int, int, int], bias: Pointer | None, *, barrier: bool = True,
) -> None:  # fmt: skip
    """Add a product; ``strides`` are those of C from sample to sample, row and column."""
    by_bands = patches.depth % _STEP == 0
    behind = (2 * _TILE - 1) * patches.stride_across * patches.channels
    rows = patches.rows
    if by_bands:
        most = rows
        while most > 1 and 2 * _band_elements(patches, most) > _BAND_BYTES:
            most = -(-most // 2)
        rows = most
    # A few samples are cut into bands for the threads.
    rows = max(1, min(rows, -(-patches.rows * patches.samples // _PIECES)))
    if by_bands:
        patch, elements = 0, _band_elements(patches, rows) + behind
    else:
        patch = elements = 2 * _TILE * patches.steps * _STEP
    scratch_thread = _whole_lines(patch + -(-elements // 2))
    pieces = patches.samples * -(-patches.rows // rows)
    threads = min(_MOST_THREADS, threads_for_product(patches.flops(), pieces))
    builder.add(
        Kernel.BF16_TILES, a=a, packed=packed, c=c, bias=bias,
        scratch=builder.scratch(threads * scratch_thread), **patches._asdict(),
        c_sample=strides[0], c_row=strides[1], c_column=strides[2], c_group=patches.outputs,
        packed_group=-(-patches.outputs // _TILE) * patches.steps * _TILE * _STEP, band_rows=rows,
        by_bands=by_bands, patch_elements=patch, scratch_thread=scratch_thread, epilogue=STORE,
        slope=0.0, max_threads=threads, barrier=barrier,
    )  # fmt: skip


def _band_elements(patches: _Patches, rows: int) -> int:
    return patches.rows_seen(rows) * patches.pitch * patches.channels


def _whole_lines(elements: int) -> int:
    """Elements of float32 that fill cache lines."""
    return -(-elements // _TILE) * _TILE


def _forward(builder: Builder, spec: ConvSpec, *arrays: Pointer | None) -> None:
    x, w, b, y = arrays
    assert x is not None
    assert w is not None
    assert y is not None
    patches = _patches(spec, _pixels_of_a_row(spec.in_channels))
    pixel = spec.out_channels
    down = spec.kernel[1] * patches.depth * pixel
    source = UnpackedWeights(w, patches.outputs, 1, down, patches.depth * pixel, pixel)
    packed = _pack(builder, source, patches)
    row = patches.columns * pixel
    _tiles(builder, patches, x, packed, y, (patches.rows * row, row, pixel), b)


def _data_gradient(builder: Builder, spec: ConvSpec, *arrays: Pointer | None) -> None:
    """A convolution of dy for each sub-pixel phase of the stride, its taps last to first."""
    dy, w, b, dx = arrays
    assert dy is not None
    assert w is not None
    assert dx is not None
    phases = [
        (down, across) for down in subpixel_phases(spec, 0) for across in subpixel_phases(spec, 1)
    ]
    made = [(*pair, _phase(spec, *pair)) for pair in phases]
    packed = [_packed_backwards(builder, spec, w, *each) for each in made]
    builder.set_barrier(True)
    pixel, row = spec.in_channels, spec.width * spec.in_channels
    for (down, across, patches), weights in zip(made, packed, strict=True):
        c = dx.skip((down.offset * row + across.offset * pixel) * builder.itemsize)
        strides = spec.height * row, spec.stride[0] * row, spec.stride[1] * pixel
        if is_pointwise(spec):
            strides = 0, patches.columns * pixel, pixel
        # Each phase has scratch memory of its own: they need not wait for each other.
        _tiles(builder, patches, dy, weights, c, strides, b, barrier=False)
    builder.set_barrier(True)


def _phase(spec: ConvSpec, down: SubpixelPhase, across: SubpixelPhase) -> _Patches:
    inputs, outputs = spec.in_channels // spec.groups, spec.out_channels // spec.groups
    if is_pointwise(spec):
        turned = ConvSpec(
            spec.batch, spec.out_channels, spec.height, spec.width, spec.in_channels,
            kernel=(1, 1), groups=spec.groups,
        )  # fmt: skip
        return _patches(turned, _pixels_of_a_row(spec.out_channels))
    taps = down.taps, across.taps, outputs
    if not (down.taps and across.taps):
        taps = 1, 1, 0  # pixels that no output sees: sums of nothing
    return _Patches(
        spec.batch, spec.out_height, spec.out_width, spec.out_channels, down.pixels, across.pixels,
        across.pixels, *taps, 1, 1, down.step, across.step, -down.first, -across.first,
        spec.groups, inputs,
    )  # fmt: skip


def _packed_backwards(
    builder: Builder, spec: ConvSpec, w: Pointer, down: SubpixelPhase, across: SubpixelPhase,
    patches: _Patches,
) -> Pointer:  # fmt: skip
    source = weights_of_phase(spec, w, builder.itemsize, down, across)
    return _pack(builder, source, patches, barrier=False)


class _Units(NamedTuple):
    """How a weight gradient goes through the pixels: see the kernel."""

    band_rows: int
    depth_block: int
    together: int
    parts: int
    scratch: int


def _units(patches: _Patches, by_bands: bool) -> _Units:
    depth = patches.steps * _STEP
    columns = -(-patches.outputs // _TILE) * _TILE
    if by_bands:
        depth = _depth_block(patches)

    def sizes(rows: int) -> tuple[int, int]:
        """Pixels of dy and of the transposed image, of a band."""
        pitch = patches.pitch if by_bands else patches.columns
        seen = patches.rows_seen(rows) if by_bands else rows
        pixels = (rows - 1) * pitch + patches.columns
        return -(-pixels // _STEP) * _STEP, -(-seen * pitch // _STEP) * _STEP

    def size(rows: int) -> int:
        pixels, turned = sizes(rows)
        return 2 * (pixels * columns + turned * depth)

    rows = patches.rows
    while rows > 1 and size(rows) > _TURNED_BYTES:
        rows -= 1
    bands = -(-patches.rows // rows)
    rows = -(-patches.rows // bands)
    units = patches.samples * bands
    of_sums = 4 * patches.groups * patches.steps * _STEP * columns
    parts = max(1, min(_PIECES, units, _SUMS_BYTES // of_sums))
    pixels, turned = sizes(rows)
    together = max(
        1, min(_TURNED_BYTES // size(rows), units // parts, _MOST_STEPS * _STEP // pixels)
    )
    line = together * turned + 3 * _STEP
    return _Units(rows, depth, together, parts, depth * line + together * pixels * columns)


def _depth_block(patches: _Patches) -> int:
    """Channels that are done together: a part of them where the samples make few pieces."""
    most = 64
    if patches.samples == 1:
        most = max(most, patches.depth // _PIECES)
    return max(
        block for block in range(_STEP, patches.depth + 1, _STEP)
        if patches.depth % block == 0 and block <= most
    )  # fmt: skip


def _weight_gradient(builder: Builder, spec: ConvSpec, *arrays: Pointer | None) -> None:
    x, dy, dw, db = arrays
    assert dw is not None
    columns = -(-(spec.out_channels // spec.groups) // _TILE) * _TILE
    together = max(1, min(_PIXELS_TOGETHER, _BAND_BYTES // (2 * columns)) // _STEP) * _STEP
    patches = _patches(spec, together)
    by_bands = patches.depth % _STEP == 0 and spec.stride == (1, 1)
    units = _units(patches, by_bands)
    patch = 0 if by_bands else _STEP * patches.steps * _STEP
    sums = builder.scratch(units.parts * patches.groups * patches.steps * _STEP * columns)
    bias_sums = None
    if db is not None:
        bias_sums = builder.scratch(units.parts * spec.out_channels * 8 // builder.itemsize)
    pieces = units.parts * patches.groups
    if by_bands:
        pieces *= patches.depth // units.depth_block
    threads = min(_MOST_THREADS, threads_for_product(patches.flops(), pieces))
    scratch_thread = _whole_lines(patch + -(-units.scratch // 2))
    builder.add(
        Kernel.BF16_WEIGHT_SUMS, a=x, dy=dy, sums=sums, bias_sums=bias_sums,
        scratch=builder.scratch(threads * scratch_thread), **patches._asdict(),
        parts=units.parts, together=units.together, depth_block=units.depth_block,
        band_rows=units.band_rows, by_bands=by_bands, patch_elements=patch,
        scratch_thread=scratch_thread, max_threads=threads,
    )  # fmt: skip
    size = patches.groups * patches.terms * patches.outputs
    builder.add(
        Kernel.BF16_WEIGHT_GRADIENT, sums=sums, bias_sums=bias_sums, dw=dw, db=db,
        groups=patches.groups, rows=patches.terms, outputs=patches.outputs, parts=units.parts,
        epilogue=STORE, decay=0.0, bias_decay=0.0,
        max_threads=min(patches.groups * patches.terms, threads_for_elements(units.parts * size)),
    )  # fmt: skip


def _lowered(make: Any, spec: ConvSpec | DenseSpec, target: Target, *arrays: Any) -> LoweredKernel:
    builder = Builder("float32", target)
    make(builder, _convolution(spec), *arrays)
    return builder.lowered()


def _optional(types: Types, number: int) -> Pointer | None:
    return None if types[number] is None else Pointer(number)


def conv2d_forward(spec: ConvSpec | DenseSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments x, w, b, y."""
    return _lowered(_forward, spec, target, Pointer(0), Pointer(1), _optional(types, 2), Pointer(3))


def conv2d_backward_data(spec: ConvSpec | DenseSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments dy, w, dx."""
    return _lowered(_data_gradient, spec, target, Pointer(0), Pointer(1), None, Pointer(2))


def conv2d_backward_weight(
    spec: ConvSpec | DenseSpec, types: Types, target: Target
) -> LoweredKernel:
    """Arguments dy, x, dw, db."""
    return _lowered(
        _weight_gradient, spec, target, Pointer(1), Pointer(0), Pointer(2), _optional(types, 3)
    )


def conv_transpose2d_forward(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments x, w, b, y: the data gradient, with a bias."""
    return _lowered(
        _data_gradient, spec, target, Pointer(0), Pointer(1), _optional(types, 2), Pointer(3)
    )


def conv_transpose2d_backward_data(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments dy, w, dx: the forward pass."""
    return _lowered(_forward, spec, target, Pointer(0), Pointer(1), None, Pointer(2))


def conv_transpose2d_backward_weight(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments dy, x, dw, db: the roles of dy and x are exchanged."""
    builder = Builder("float32", target)
    _weight_gradient(builder, spec, Pointer(0), Pointer(1), Pointer(2), None)
    if types[3] is not None:
        pixels = spec.batch * spec.height * spec.width
        builder.sum_pixels(Pointer(0), Pointer(3), pixels, spec.in_channels)
    return builder.lowered()


dense_forward = conv2d_forward
dense_backward_data = conv2d_backward_data
dense_backward_weight = conv2d_backward_weight

_KINDS = {
    "conv2d_forward": _forward,
    "conv2d_backward_data": _data_gradient,
    "conv2d_backward_weight": _weight_gradient,
    "conv_transpose2d_forward": _data_gradient,
    "conv_transpose2d_backward_data": _forward,
    "conv_transpose2d_backward_weight": _weight_gradient,
    "dense_forward": _forward,
    "dense_backward_data": _data_gradient,
    "dense_backward_weight": _weight_gradient,
}
