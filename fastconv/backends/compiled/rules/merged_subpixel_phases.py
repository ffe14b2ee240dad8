"""Data gradients of strided convolutions with few input channels: column phases side by side.

The phases of :mod:`fastconv.backends.compiled.rules.subpixel_phases` would fill 3 lanes of 16 for
the colours of an image. Pixels ``stride * i`` to ``stride * i + stride - 1`` of a row lie side by
side in NHWC, and the pixel ``i + d`` of dy reaches all of them for most d: one product of ``stride
* channels`` columns then does the column phases together. Where only some of the phases have a tap,
a second product adds theirs: nothing is multiplied by a zero in place of a weight, which would turn
an infinity into a NaN.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

from fastconv.backends.compiled.instructions.builder import (
    Builder,
    Images,
    Taps,
    Weights,
)
from fastconv.backends.compiled.instructions.instruction import Pointer
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import threads_for_elements
from fastconv.backends.compiled.rules.subpixel_phases import SubpixelPhase, reach, subpixel_phases
from fastconv.backends.compiled.rules.tiles import choose_tile
from fastconv.spec import ConvSpec

_WORTH_MERGING = 1.25
"""Multiple of the products that the separate phases must take."""


def _reached(spec: ConvSpec) -> list[tuple[range, range]]:
    """Return columns d of dy, beside i, with the column phases that they reach: all of them first.

    SubpixelPhase p gets from dy's column ``i + d`` the tap ``p + padding - stride * d``.
    """
    stride, left, taps = spec.stride[1], spec.padding[1][0], spec.kernel[1]
    found: list[tuple[int, range]] = []
    for d in range(-((taps - 1 - left) // stride), (stride - 1 + left) // stride + 1):
        first = left - stride * d
        phases = range(max(0, -first), min(stride, taps - first))
        if phases:
            found.append((d, phases))
    groups = []
    for phases, group in groupby(found, key=lambda each: each[1]):
        columns = [d for d, _ in group]
        groups.append((range(columns[0], columns[-1] + 1), phases))
    return sorted(groups, key=lambda each: len(each[1]), reverse=True)


def is_profitable(builder: Builder, spec: ConvSpec) -> bool:
    """Whether merged column phases are possible, and take fewer products."""
    stride = spec.stride[1]
    if spec.groups > 1 or stride == 1 or spec.dilation_width > 1 or spec.width % stride:
        return False
    groups = _reached(spec)
    if not groups or len(groups[0][1]) < stride:
        return False

    def vectors(channels: int) -> int:
        return -(-channels // builder.lanes)

    merged = sum(len(d) * vectors(len(phases) * spec.in_channels) for d, phases in groups)
    separate = sum(phase.taps for phase in subpixel_phases(spec, 1)) * vectors(spec.in_channels)
    return merged * _WORTH_MERGING <= separate


def data_gradient(builder: Builder, spec: ConvSpec, dy: Pointer, w: Pointer, dx: Pointer) -> None:
    """Add the instructions of ``dx``."""
    padding = reach(spec, 0), reach(spec, 1)
    a = builder.pad(Images.dense(dy, spec.y_shape), padding)
    result = Images.dense(dx, spec.x_shape)
    groups, rows = _reached(spec), subpixel_phases(spec, 0)
    stride = spec.stride[1]
    packed = [
        [_pack(builder, spec, w, down, columns, phases) for down in rows]
        for columns, phases in groups
    ]
    builder.set_barrier(True)
    for number, (columns, phases) in enumerate(groups):
        outputs = len(phases) * spec.in_channels
        for down, (weights, vectors) in zip(rows, packed[number], strict=True):
            if number and not down.taps:
                continue
            c = result.at(down.offset, phases[0], builder.dtype)
            c = replace(
                c, height=down.pixels, width=spec.width // stride,
                row=spec.stride[0] * c.row, pixel=stride * c.pixel,
            )  # fmt: skip
            top = down.first + padding[0][0] if down.taps else 0
            from_ = a.at(top, columns[0] + padding[1][0], builder.dtype)
            from_ = replace(from_, height=c.height, width=c.width)
            depth = len(columns) * spec.out_channels
            taps = Taps(down.taps, 1, depth, down.step * a.row)
            tile = choose_tile(c.width, outputs, builder.target, builder.dtype)
            assert tile.vectors == vectors
            builder.product(from_, taps, weights, c, outputs, tile, add=number > 0, barrier=False)
        builder.set_barrier(True)


def _pack(
    builder: Builder,
    spec: ConvSpec,
    w: Pointer,
    down: SubpixelPhase,
    columns: range,
    phases: range,
) -> tuple[Weights, int]:
    """Pack the taps of a row phase and some column phases, inputs and outputs exchanged."""
    stride, kw, inputs, depth = spec.stride[1], spec.kernel[1], spec.in_channels, spec.out_channels
    outputs = len(phases) * inputs
    width = spec.width // stride
    vectors = choose_tile(width, outputs, builder.target, builder.dtype).vectors
    count = down.taps * len(columns) * depth
    block = count * vectors * builder.lanes
    place = builder.scratch(count * -(-outputs // builder.lanes) * builder.lanes)
    first = phases[0] + spec.padding[1][0] - stride * columns[0]
    row = kw * inputs * depth
    builder.add(
        Kernel.PACK_SUBPIXEL_PHASES,
        w=w.skip(down.last * row * builder.itemsize), packed=place,
        vectors=vectors, phases=len(phases), inputs=inputs,
        taps_down=down.taps, taps_across=len(columns), depth=depth,
        w_down=-down.spacing * row, w_across=inputs * depth, w_input=depth,
        first=first, step=-stride, packed_block=block,
        max_threads=min(threads_for_elements(count * outputs, 4), max(1, down.taps * len(columns))),
        barrier=False,
    )  # fmt: skip
    return Weights(place, 0, block, 0, len(columns) * depth, 0), vectors
