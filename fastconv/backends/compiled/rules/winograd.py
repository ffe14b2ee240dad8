"""Instructions of 3x3 convolutions by Winograd's minimal filtering, F(2x2, 3x3) or F(4x4, 3x3).

For tiles of 2x2 outputs 16 products in place of 36, for tiles of 4x4 36 in place of 144, and
transforms; the sums are rounded in another order. See ``kernels/cpu/winograd.h``.

An infinity or a NaN reaches outputs beside those that the formula sends it to, which the public
functions promise not to do. Each input pixel is in some output, so that then one of the outputs is
not finite: they are looked through, and made again by direct sums where one is not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fastconv.backends.compiled.instructions.builder import (
    Builder,
    Images,
    Sides,
    Taps,
    UnpackedWeights,
    Weights,
)
from fastconv.backends.compiled.instructions.choices import STORE
from fastconv.backends.compiled.instructions.instruction import LoweredKernel, Pointer, Target
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.instructions.layout import CONDITION_WORDS
from fastconv.backends.compiled.rules import conv
from fastconv.backends.compiled.rules.split import threads_for_elements, threads_for_product
from fastconv.backends.compiled.rules.tiles import (
    RegisterTile,
    even_part,
    most_rows,
)
from fastconv.spec import ConvSpec

Types = tuple[str | None, ...]

_ELEMENTS = 1024
"""Elements of the transformed pixels of one place, and tiles that wait, as in the C kernel."""
_MOST_TILES = 14
_LEAST_TILES = 4
_LEAST_VECTORS = 2
_LEAST_INPUTS = 16
"""Vectors of inputs, or inputs, from which the products outweigh the transforms; vectors where the
weights are those of one call."""
_LEAST_LARGE_TILES = 64
"""Tiles of 4x4 outputs, of all images, from which their larger weights are worth transforming."""
_WORTH_LARGE_TILES = 0.75
"""Part of the products of tiles of 2x2 outputs that they may have."""
WORTH_TILES = 0.75
"""Part of the products of direct sums that tiles may have, where not all outputs of a tile are in
the image."""
_MOST_INPUTS_AT_ONCE = {2: 128, 4: 64}
"""Inputs up to which transforms and products are one instruction in a call, by the side of a tile:
beyond, it has so few tiles at a time that it waits for the weights."""
_MOST_INPUTS_OF_A_SUM = 128
"""Inputs that are summed one after the other for a tile of 4x4 outputs, which loses more digits for
longer sums: those are made in parts, or there are tiles of 2x2 outputs."""
_BYTES_AT_ONCE = {2: 4 << 20, 4: 8 << 20}
"""Bytes of transformed pixels and sums that are there at a time, by the side of a tile."""
_MOST_LARGE_WEIGHTS = 1 << 16
"""Weights, inputs times outputs, up to which they are worth being 36 times as many in memory."""
_TILES_WORTH_TRANSFORMING = 48
"""Tiles from which the weights are worth transforming for one call."""


def _tiles_together(target: Target, inputs: int, vectors: int) -> int:
    return min(_MOST_TILES, most_rows(target, vectors), _ELEMENTS // inputs)


def _places(side: int) -> int:
    """Products of a tile for each input and output."""
    return (side + 2) ** 2


def _sizes(spec: ConvSpec, backwards: bool) -> tuple[int, int, int]:
    """Channels that are summed over, and height and width of what is made."""
    if backwards:
        return spec.out_channels, spec.height, spec.width
    return spec.in_channels, spec.out_height, spec.out_width


def _tiles_of(height: int, width: int, side: int) -> int:
    """Tiles of an image; the last ones may be outside of it in part."""
    return -(-height // side) * -(-width // side)


def _side(spec: ConvSpec, backwards: bool, *, in_parts: bool = False) -> int:
    """Outputs of a tile, down and across: 4 where errors allow it and it has fewer products.

    ``in_parts``: transforms and products may be instructions of their own.
    """
    inputs, height, width = _sizes(spec, backwards)
    small, large = (_places(side) * _tiles_of(height, width, side) for side in (2, 4))
    is_apart = in_parts and inputs > _MOST_INPUTS_AT_ONCE[4]
    least = _TILES_WORTH_TRANSFORMING if is_apart else _LEAST_LARGE_TILES
    is_large = (
        spec.in_channels * spec.out_channels <= _MOST_LARGE_WEIGHTS
        and (is_apart or inputs <= _MOST_INPUTS_OF_A_SUM)
        and spec.batch * _tiles_of(height, width, 4) >= least
        and large <= _WORTH_LARGE_TILES * small
    )
    return 4 if is_large else 2


def _suits(spec: ConvSpec, lanes: int) -> bool:
    """Whether it is a convolution of this kind, with whole vectors of channels."""
    return (
        lanes > 1
        and spec.kernel == (3, 3)
        and spec.stride == spec.dilation == (1, 1)
        and spec.groups == 1
        and spec.in_channels % lanes == spec.out_channels % lanes == 0
    )


def is_profitable(spec: ConvSpec, target: Target, dtype: str, *, backwards: bool = False) -> bool:
    """Whether a forward pass, or backwards a data gradient, is done so."""
    inputs, height, width = _sizes(spec, backwards)
    lanes, side = target.lanes(dtype), _side(spec, backwards)
    tiles = spec.batch * _tiles_of(height, width, side)
    return (
        _suits(spec, lanes)
        and inputs >= min(_LEAST_VECTORS * lanes, _LEAST_INPUTS)
        and _places(side) * tiles <= WORTH_TILES * 9 * spec.batch * height * width
        and min(tiles, _tiles_together(target, inputs, 1)) >= _LEAST_TILES
    )


class TransformedWeights(NamedTuple):
    """Weights of all places in blocks of ``vectors`` vectors, ``place`` from one to the next."""

    pointer: Pointer
    side: int
    vectors: int
    place: int


def _transform(
    builder: Builder, weights: Pointer, strides: tuple[int, int, int], inputs: int, outputs: int,
    side: int,
) -> TransformedWeights:  # fmt: skip
    """Transform weights, given the strides of the kernel's rows and columns and of inputs."""
    lanes = builder.lanes
    vectors = 2 if outputs % (2 * lanes) == 0 else 1
    place = inputs * outputs + lanes  # no multiple of 4 KiB, which would be one set of a cache
    transformed = builder.allocate(_places(side) * place)
    builder.add(
        Kernel.WINOGRAD_WEIGHTS, w=weights, transformed=transformed, side=side,
        outputs=outputs, inputs=inputs, vectors=vectors, w_down=strides[0], w_across=strides[1],
        w_input=strides[2], place=place,
        max_threads=min(inputs, threads_for_elements(_places(side) * inputs * outputs)),
    )  # fmt: skip
    return TransformedWeights(transformed, side, vectors, place)


def seen_image(a: Images, padding: Sides) -> dict[str, Any]:
    """Return the fields of images that tiles see from a padding of zeros on: nothing is copied."""
    return {
        "a_sample": a.sample, "a_row": a.row, "a_column": a.pixel,
        "height": a.height, "width": a.width, "top": padding[0][0], "left": padding[1][0],
    }  # fmt: skip


def _written_image(c: Images, side: int) -> dict[str, Any]:
    """Return the fields of images that tiles write."""
    return {
        "side": side, "tile_rows": -(-c.height // side), "tiles": -(-c.width // side),
        "c_sample": c.sample, "c_row": c.row, "c_column": c.pixel,
        "c_height": c.height, "c_width": c.width,
    }  # fmt: skip


def _products(
    builder: Builder, a: Images, padding: Sides, weights: TransformedWeights, c: Images,
    bias: Pointer | None, flops: int,
) -> None:  # fmt: skip
    """Add a convolution as one instruction."""
    inputs, outputs, lanes = a.channels, c.channels, builder.lanes
    transformed, side, vectors, place = weights
    tiles = c.samples * _tiles_of(c.height, c.width, side)
    together = min(tiles, _tiles_together(builder.target, inputs, vectors))
    pieces = -(-tiles // together) * (outputs // (vectors * lanes))
    builder.add(
        Kernel.WINOGRAD_TILES, a=a.pointer, b=transformed, c=c.pointer, bias=bias,
        samples=c.samples, vectors=vectors, outputs=outputs, together=together,
        **seen_image(a, padding), **_written_image(c, side), inputs=inputs, epilogue=STORE,
        place=place, slope=0.0,
        max_threads=threads_for_product(flops, pieces),
    )  # fmt: skip


def _products_in_parts(
    builder: Builder, a: Images, padding: Sides, weights: TransformedWeights, c: Images,
    bias: Pointer | None,
) -> None:  # fmt: skip
    """Add a convolution as transforms and products of some tiles after the other."""
    inputs, outputs, side = a.channels, c.channels, weights.side
    places, written = _places(side), _written_image(c, side)
    tiles = c.samples * _tiles_of(c.height, c.width, side)
    parts = -(-inputs // _MOST_INPUTS_OF_A_SUM) if side == 4 else 1
    most = max(1, _BYTES_AT_ONCE[side] // (places * (inputs + parts * outputs) * builder.itemsize))
    most = even_part(tiles, most)
    transformed = builder.scratch(places * most * inputs)
    sums = builder.scratch(parts * places * most * outputs)
    for first in range(0, tiles, most):
        count = min(most, tiles - first)
        builder.add(
            Kernel.WINOGRAD_PIXELS, a=a.pointer, transformed=transformed, side=side, first=first,
            count=count, tile_rows=written["tile_rows"], tiles=written["tiles"],
            **seen_image(a, padding), inputs=inputs,
            max_threads=threads_for_elements(2 * places * count * inputs),
        )  # fmt: skip
        rows = even_part(count, most_rows(builder.target, weights.vectors))
        block = weights.vectors * builder.lanes
        for part in range(parts):
            k, end = (inputs * each // parts for each in (part, part + 1))
            room = sums.skip(part * places * count * outputs * builder.itemsize)
            builder.product(
                Images(
                    transformed.skip(k * builder.itemsize), 1, 1, count, end - k, 0, 0, inputs
                ),
                Taps(1, 1, end - k),
                Weights(
                    weights.pointer.skip(k * block * builder.itemsize), 0, inputs * block,
                    weights.place, 0, 0,
                ),
                Images(room, 1, 1, count, outputs, 0, 0, outputs), outputs,
                RegisterTile(rows, weights.vectors), places,
                group_of_a=count * inputs, group_of_c=count * outputs, barrier=part == parts - 1,
            )  # fmt: skip
        builder.add(
            Kernel.WINOGRAD_OUTPUTS, sums=sums, c=c.pointer, bias=bias, first=first, count=count,
            **written, outputs=outputs, parts=parts,
            max_threads=threads_for_elements(2 * places * count * outputs),
        )  # fmt: skip


def is_profitable_once(
    spec: ConvSpec, target: Target, dtype: str, *, backwards: bool = False
) -> bool:
    """Whether :func:`checked_forward`, or backwards the gradient, pays for weights of one call."""
    inputs, height, width = _sizes(spec, backwards)
    lanes = target.lanes(dtype)
    return (
        _suits(spec, lanes)
        and inputs >= _LEAST_VECTORS * lanes
        and spec.batch * _tiles_of(height, width, 2) >= _TILES_WORTH_TRANSFORMING
    )


def transform(
    builder: Builder, spec: ConvSpec, w: Pointer, *, backwards: bool = False,
    in_parts: bool = False,
) -> TransformedWeights:  # fmt: skip
    """Add the transformation of weights in HWIO; backwards, they are flipped and transposed.

    ``in_parts``: for a convolution whose transforms and products may be instructions of their own.
    """
    inputs, outputs = spec.in_channels, spec.out_channels
    side = _side(spec, backwards, in_parts=in_parts)
    pixel = inputs * outputs
    if not backwards:
        return _transform(builder, w, (3 * pixel, pixel, outputs), inputs, outputs, side)
    flipped = _flipped(builder, spec, w)
    return _transform(builder, flipped, (3 * pixel, pixel, inputs), outputs, inputs, side)


def _flipped(builder: Builder, spec: ConvSpec, w: Pointer) -> Pointer:
    inputs, outputs = spec.out_channels, spec.in_channels
    pixel = inputs * outputs
    source = UnpackedWeights(
        w.skip(8 * pixel * builder.itemsize), pixel, inputs, -3 * pixel, -pixel, 1
    )
    return builder.pack(source, Taps(3, 3, inputs), outputs, 1, outputs // builder.lanes).pointer


def checked_forward(
    builder: Builder, spec: ConvSpec, x: Pointer, w: Pointer, transformed: TransformedWeights,
    b: Pointer | None, y: Pointer,
) -> None:  # fmt: skip
    """Add the instructions of ``y`` in NHWC, and of direct sums for where it is not finite."""
    images = Images.dense(x, spec.x_shape)
    result = Images.dense(y, spec.y_shape)
    found = _checked(builder, images, spec.padding, transformed, b, result, spec.flops)
    with builder.only_if(found):
        conv.forward(builder, spec, x, w, b, y)


def checked_data_gradient(
    builder: Builder, spec: ConvSpec, dy: Pointer, w: Pointer, transformed: TransformedWeights,
    b: Pointer | None, dx: Pointer,
) -> None:  # fmt: skip
    """The same for ``dx``, plus ``b`` for a transposed convolution."""
    images = Images.dense(dy, spec.y_shape)
    result = Images.dense(dx, spec.x_shape)
    found = _checked(
        builder, images, _padding_of_gradient(spec), transformed, b, result, spec.flops
    )
    with builder.only_if(found):
        conv.data_gradient(builder, spec, dy, w, b, dx)


def _padding_of_gradient(spec: ConvSpec) -> Sides:
    """Zeros around dy; padding of more than two pixels leaves pixels of dy out."""
    (top, bottom), (left, right) = spec.padding
    return (2 - top, 2 - bottom), (2 - left, 2 - right)


def _checked(
    builder: Builder, images: Images, padding: Sides, transformed: TransformedWeights,
    bias: Pointer | None, result: Images, flops: int,
) -> Pointer:  # fmt: skip
    """Add a convolution, and return where it says whether something is not finite."""
    if images.channels <= _MOST_INPUTS_AT_ONCE[transformed.side]:
        _products(builder, images, padding, transformed, result, bias, flops)
    else:
        _products_in_parts(builder, images, padding, transformed, result, bias)
    size = result.pixels * result.channels
    found = builder.scratch(CONDITION_WORDS * 8 // builder.itemsize)
    builder.add(
        Kernel.FIND_NOT_FINITE, x=result.pointer, found=found, size=size,
        max_threads=min(CONDITION_WORDS, threads_for_elements(size)),
    )  # fmt: skip
    return found


def conv2d_forward(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments x, w, b, y."""
    builder = Builder(str(types[0]), target)
    a = Images.dense(Pointer(0), spec.x_shape)
    bias = None if types[2] is None else Pointer(2)
    weights = transform(builder, spec, Pointer(1))
    c = Images.dense(Pointer(3), spec.y_shape)
    _products(builder, a, spec.padding, weights, c, bias, spec.flops)
    return builder.lowered()


def conv2d_backward_data(spec: ConvSpec, types: Types, target: Target) -> LoweredKernel:
    """Arguments dy, w, dx: the weights are flipped and transposed first."""
    builder = Builder(str(types[0]), target)
    a = Images.dense(Pointer(0), spec.y_shape)
    weights = transform(builder, spec, Pointer(1), backwards=True)
    c = Images.dense(Pointer(2), spec.x_shape)
    _products(builder, a, _padding_of_gradient(spec), weights, c, None, spec.flops)
    return builder.lowered()
