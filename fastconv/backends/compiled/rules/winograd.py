"""Records of 3x3 convolutions by Winograd's minimal filtering, F(2x2, 3x3).

16 products in place of 36, for transforms that add and halve. It is used in plans alone: an
infinity or a NaN reaches outputs beside those that the formula sends it to, which the public
functions promise not to do; and the sums are rounded in another order. See
``kernels/cpu/winograd.h``.
"""

from __future__ import annotations

from fastconv.backends.compiled.instructions.record import Launch, Pointer, Target
from fastconv.backends.compiled.instructions.recorder import STORE, Images, Recorder, Source, Taps
from fastconv.backends.compiled.rules.phases import reach
from fastconv.backends.compiled.rules.split import parts_of, parts_of_product
from fastconv.backends.compiled.rules.tiles import most_rows
from fastconv.spec import ConvSpec

Types = tuple[str | None, ...]

_PLACES = 16
_ELEMENTS = 1024
"""Elements of the transformed pixels of one place, and tiles that wait, as in the C kernel."""
_MOST_TILES = 14
_LEAST_TILES = 4
_LEAST_VECTORS = 2
"""Vectors of inputs from which the products outweigh the transforms."""


def _tiles_together(target: Target, inputs: int, vectors: int) -> int:
    return min(_MOST_TILES, most_rows(target, vectors), _ELEMENTS // inputs)


def pays(spec: ConvSpec, target: Target, dtype: str, *, backwards: bool = False) -> bool:
    """Whether a forward pass, or backwards a data gradient, is done so."""
    lanes = target.lanes(dtype)
    inputs, outputs = spec.in_channels, spec.out_channels
    height, width = spec.out_height, spec.out_width
    if backwards:
        inputs, outputs, height, width = outputs, inputs, spec.height, spec.width
    return (
        lanes > 1
        and spec.kernel == (3, 3)
        and spec.stride == spec.dilation == (1, 1)
        and spec.groups == 1
        and spec.batch > 0
        and height % 2 == width % 2 == 0
        and inputs % lanes == outputs % lanes == 0
        and inputs >= _LEAST_VECTORS * lanes
        and min(height // 2 * (width // 2), _tiles_together(target, inputs, 1)) >= _LEAST_TILES
    )


def _convolution(
    recorder: Recorder, a: Images, weights: Pointer, strides: tuple[int, int, int], c: Images,
    bias: Pointer | None, flops: int,
) -> None:  # fmt: skip
    """Transform weights, given the strides of the kernel's rows and columns and of inputs."""
    inputs, outputs, lanes = a.channels, c.channels, recorder.lanes
    vectors = 2 if outputs % (2 * lanes) == 0 else 1
    place = inputs * outputs + lanes  # no multiple of 4 KiB, which would be one set of a cache
    transformed = recorder.take(_PLACES * place)
    recorder.add(
        "winograd_weights", (weights, transformed), outputs, inputs, vectors, *strides, place,
        parts=min(inputs, parts_of(_PLACES * inputs * outputs)),
    )  # fmt: skip
    tiles = c.height // 2 * (c.width // 2)
    together = min(tiles, _tiles_together(recorder.target, inputs, vectors))
    pieces = c.samples * -(-tiles // together) * (outputs // (vectors * lanes))
    recorder.add(
        "winograd_tiles", (a.pointer, transformed, c.pointer, bias),
        c.samples, c.height // 2, c.width // 2, vectors, outputs, together,
        a.sample, a.row, a.pixel, c.sample, c.row, c.pixel, inputs, STORE, place,
        reals=(0.0,), parts=parts_of_product(flops, pieces),
    )  # fmt: skip


def conv2d_forward(spec: ConvSpec, types: Types, target: Target) -> Launch:
    """Arguments x, w, b, y."""
    recorder = Recorder(str(types[0]), target)
    a = recorder.pad(Images.dense(Pointer(0), spec.x_shape), spec.padding)
    pixel = spec.in_channels * spec.out_channels
    bias = None if types[2] is None else Pointer(2)
    strides = 3 * pixel, pixel, spec.out_channels
    c = Images.dense(Pointer(3), spec.y_shape)
    _convolution(recorder, a, Pointer(1), strides, c, bias, spec.flops)
    return recorder.launch()


def conv2d_backward_data(spec: ConvSpec, types: Types, target: Target) -> Launch:
    """Arguments dy, w, dx: the weights are turned around and transposed first."""
    recorder = Recorder(str(types[0]), target)
    padding = reach(spec, 0), reach(spec, 1)
    a = recorder.pad(Images.dense(Pointer(0), spec.y_shape), padding)
    inputs, outputs = spec.out_channels, spec.in_channels
    pixel = inputs * outputs
    last = Pointer(1, 8 * pixel * recorder.itemsize)
    source = Source(last, pixel, inputs, -3 * pixel, -pixel, 1)
    packed = recorder.pack(source, Taps(3, 3, inputs), outputs, 1, outputs // recorder.lanes)
    strides = 3 * pixel, pixel, outputs
    c = Images.dense(Pointer(2), spec.x_shape)
    _convolution(recorder, a, packed.pointer, strides, c, None, spec.flops)
    return recorder.launch()
