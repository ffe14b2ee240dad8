"""Instructions of 3x3 convolutions by Winograd's minimal filtering, F(2x2, 3x3).

16 products in place of 36, for transforms that add and halve. It is used in plans alone: an
infinity or a NaN reaches outputs beside those that the formula sends it to, which the public
functions promise not to do; and the sums are rounded in another order. See
``kernels/cpu/winograd.h``.
"""

from __future__ import annotations

from fastconv.backends.compiled.instructions.builder import (
    Builder,
    Images,
    Taps,
    UnpackedWeights,
)
from fastconv.backends.compiled.instructions.choices import STORE
from fastconv.backends.compiled.instructions.instruction import LoweredKernel, Pointer, Target
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import threads_for_elements, threads_for_product
from fastconv.backends.compiled.rules.subpixel_phases import reach
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


def is_profitable(spec: ConvSpec, target: Target, dtype: str, *, backwards: bool = False) -> bool:
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
    builder: Builder, a: Images, weights: Pointer, strides: tuple[int, int, int], c: Images,
    bias: Pointer | None, flops: int,
) -> None:  # fmt: skip
    """Transform weights, given the strides of the kernel's rows and columns and of inputs."""
    inputs, outputs, lanes = a.channels, c.channels, builder.lanes
    vectors = 2 if outputs % (2 * lanes) == 0 else 1
    place = inputs * outputs + lanes  # no multiple of 4 KiB, which would be one set of a cache
    transformed = builder.scratch(_PLACES * place)
    builder.add(
        Kernel.WINOGRAD_WEIGHTS, w=weights, transformed=transformed,
        outputs=outputs, inputs=inputs, vectors=vectors, w_down=strides[0], w_across=strides[1],
        w_input=strides[2], place=place,
        max_threads=min(inputs, threads_for_elements(_PLACES * inputs * outputs)),
    )  # fmt: skip
    tiles = c.height // 2 * (c.width // 2)
    together = min(tiles, _tiles_together(builder.target, inputs, vectors))
    pieces = c.samples * -(-tiles // together) * (outputs // (vectors * lanes))
    builder.add(
        Kernel.WINOGRAD_TILES, a=a.pointer, b=transformed, c=c.pointer, bias=bias,
        samples=c.samples, tile_rows=c.height // 2, tiles=c.width // 2, vectors=vectors,
        outputs=outputs, together=together, a_sample=a.sample, a_row=a.row, a_column=a.pixel,
        c_sample=c.sample, c_row=c.row, c_column=c.pixel, inputs=inputs, epilogue=STORE,
        place=place, slope=0.0,
        max_threads=threads_for_product(flops, pieces),
    )  # fmt: skip


def conv2d_forward(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments x, w, b, y."""
    builder = Builder(str(types[0]), target)
    a = builder.pad(Images.dense(Pointer(0), spec.x_shape), spec.padding)
    pixel = spec.in_channels * spec.out_channels
    bias = None if types[2] is None else Pointer(2)
    strides = 3 * pixel, pixel, spec.out_channels
    c = Images.dense(Pointer(3), spec.y_shape)
    _convolution(builder, a, Pointer(1), strides, c, bias, spec.flops)
    return builder.lowered()


def conv2d_backward_data(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments dy, w, dx: the weights are flipped and transposed first."""
    builder = Builder(str(types[0]), target)
    padding = reach(spec, 0), reach(spec, 1)
    a = builder.pad(Images.dense(Pointer(0), spec.y_shape), padding)
    inputs, outputs = spec.out_channels, spec.in_channels
    pixel = inputs * outputs
    last = Pointer(1, 8 * pixel * builder.itemsize)
    source = UnpackedWeights(last, pixel, inputs, -3 * pixel, -pixel, 1)
    packed = builder.pack(source, Taps(3, 3, inputs), outputs, 1, outputs // builder.lanes)
    strides = 3 * pixel, pixel, outputs
    c = Images.dense(Pointer(2), spec.x_shape)
    _convolution(builder, a, packed.pointer, strides, c, None, spec.flops)
    return builder.lowered()
