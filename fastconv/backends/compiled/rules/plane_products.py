"""Instructions of depthwise convolutions of NCHW images: a filter over each plane.

A plane is one channel of one sample. Its rows are copied to lines on the stack, some at a time,
with zeros for the padding; how many rows, columns and taps at a time is chosen here, so that the
lines stay in the first-level cache.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fastconv.backends.compiled.instructions.builder import Builder
from fastconv.backends.compiled.instructions.instruction import Pointer
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.split import threads_for_product
from fastconv.backends.compiled.rules.subpixel_phases import subpixel_phases
from fastconv.spec import ConvSpec, Pair

_COST = 4
"""Cost as of other depthwise convolutions: an operation takes as long as this many of a product."""
_LINES_BYTES = 24576
"""Bytes of the copied rows; ``kernels/cpu/planes.h`` has as many."""
_MOST_COLUMNS = 256
"""Columns that are done at once, at most: rows to share lines are worth more."""
_MOST_ACROSS = 32
_MOST_SUMS = 128
"""Taps across, and sums of a weight gradient, that are done at once, at most."""
_MOST_PHASES = 8
_RUN_BYTES = 8192
"""Planes of a sample that are taken together in a weight gradient, where they are small: as far as
memory is read ahead."""
_ROWS = 4
"""Rows of a tile, which share what is loaded."""
_PIECES = 32
"""Pieces of a weight gradient below which samples are split too: a fixed number of parts, so
that the number of threads never changes a sum."""


class Axis(NamedTuple):
    """A convolution along one axis.

    Parameters
    ----------
    outputs
        Output pixels.
    taps, dilation, stride, before
        Taps and the distance between them, distance between outputs, padding in front.
    """

    outputs: int
    taps: int
    dilation: int
    stride: int
    before: int


class PlaneTile(NamedTuple):
    """Rows, columns and taps that are done at once, and the lines for them."""

    columns: int
    rows: int
    down: int
    across: int
    line_step: int
    phases: int
    length: int


def _rounded(size: int, lanes: int) -> int:
    return -(-size // lanes) * lanes


def _tile(rows: Axis, columns: Axis, lanes: int, capacity: int, most_taps: int) -> PlaneTile:
    """Choose the largest tile whose lines fit; a single tap of one vector always does."""
    whole = max(1, rows.taps), min(_MOST_ACROSS, max(1, columns.taps))
    for down, across in (whole, (1, whole[1]), (1, 1)):
        if down * across > most_taps:
            continue
        step = rows.stride if down == 1 else math.gcd(rows.stride, rows.dilation)
        reach = (across - 1) * columns.dilation
        phases = 1 if columns.dilation % columns.stride == 0 else min(columns.stride, reach + 1)
        if phases > _MOST_PHASES:
            continue
        width = min(_rounded(max(1, columns.outputs), lanes), _MOST_COLUMNS)
        while width >= lanes:
            length = _rounded(width + reach // columns.stride, lanes)
            lines = capacity // (phases * length)
            most = (lines - 1 - (down - 1) * rows.dilation // step) // (rows.stride // step) + 1
            if lines > 0 and most >= min(_ROWS, max(1, rows.outputs)):
                bands = -(-max(1, rows.outputs) // most)
                high = -(-max(1, rows.outputs) // bands)
                return PlaneTile(
                    width, min(most, _rounded(high, _ROWS)), down, across, step, phases, length
                )
            width = _rounded(width // 2, lanes) if width > lanes else 0
    raise AssertionError("lines of one tap always fit")


def _add(
    builder: Builder, kernel: Kernel, pointers: dict[str, Pointer | None], spec: ConvSpec,
    size: Pair, rows: Axis, columns: Axis, spacing: int, weights: tuple[int, int, int],
    other: Pair, together: Pair | None = None, *, barrier: bool = True,
) -> None:  # fmt: skip
    """Add an instruction: planes of ``size`` that are copied, and ``other``, strides of the others.

    ``together``: of a weight gradient, parts of the samples, and channels that are done at once.
    """
    taps, parts = rows.taps * columns.taps, {}
    most_taps = taps + 1 if together is None else _MOST_SUMS // together[1] - 1
    tile = _tile(rows, columns, builder.lanes, _capacity(builder), most_taps)
    if together is None:
        pieces = spec.batch * spec.in_channels * -(-rows.outputs // tile.rows)
    else:
        groups = -(-rows.taps // tile.down) * -(-columns.taps // tile.across)
        pieces = together[0] * -(-spec.in_channels // together[1]) * groups
        parts = {"parts": together[0], "together": together[1]}
    operations = spec.batch * spec.in_channels * rows.outputs * columns.outputs * (2 * taps + 1)
    builder.add(
        kernel, **pointers,
        samples=spec.batch, channels=spec.in_channels, height=size[0], width=size[1],
        rows=rows.outputs, columns=columns.outputs,
        taps_down=rows.taps, taps_across=columns.taps,
        dilation_down=rows.dilation, dilation_across=columns.dilation,
        stride_down=rows.stride, stride_across=columns.stride,
        spacing=spacing, top=rows.before, left=columns.before,
        w_channel=weights[0], w_down=weights[1], w_across=weights[2],
        other_row=other[0], other_plane=other[1],
        tile_columns=tile.columns, tile_rows=tile.rows, tile_down=tile.down,
        tile_across=tile.across, line_step=tile.line_step, phases=tile.phases,
        length=tile.length, **parts,
        max_threads=threads_for_product(operations * _COST, pieces),
        barrier=barrier,
    )  # fmt: skip


def _capacity(builder: Builder) -> int:
    """Elements of the lines; behind them, whole vectors are written."""
    return _LINES_BYTES // builder.itemsize - 4 * builder.lanes


def _axes(spec: ConvSpec) -> tuple[Axis, Axis]:
    rows, columns = (
        Axis(outputs, spec.kernel[axis], spec.dilation[axis], spec.stride[axis], before)
        for axis, (outputs, before) in enumerate(
            zip((spec.out_height, spec.out_width), (p[0] for p in spec.padding), strict=True)
        )
    )
    return rows, columns


def has_one_filter_per_channel(spec: ConvSpec) -> bool:
    """Whether each channel has one filter of its own, in a plane of its own."""
    return spec.groups == spec.in_channels == spec.out_channels


def forward(
    builder: Builder,
    spec: ConvSpec,
    x: Pointer,
    w: Pointer,
    b: Pointer | None,
    y: Pointer,
) -> None:
    """Add the instructions of ``y``."""
    kh, kw = spec.kernel
    _add(
        builder, Kernel.PLANE_PRODUCTS, {"x": x, "w": w, "b": b, "y": y}, spec, (spec.height,
        spec.width), *_axes(spec), 1, (kh * kw, kw, 1), (spec.out_width, spec.out_height *
        spec.out_width),
    )  # fmt: skip


def data_gradient(
    builder: Builder,
    spec: ConvSpec,
    dy: Pointer,
    w: Pointer,
    b: Pointer | None,
    dx: Pointer,
) -> None:
    """Add the instructions of ``dx``, plus ``b`` for a transposed convolution.

    A convolution of dy with the taps backwards, by sub-pixel phases of the rows. Between the
    columns of dy there are as many zeros as the stride leaves out.
    """
    kh, kw = spec.kernel
    before = (kw - 1) * spec.dilation_width - spec.padding[1][0]
    columns = Axis(spec.width, kw, spec.dilation_width, 1, before)
    for phase in subpixel_phases(spec, 0):
        rows = Axis(phase.pixels, phase.taps, phase.step, 1, -phase.first)
        last = w.skip((phase.last * kw + kw - 1) * builder.itemsize)
        first = dx.skip(phase.offset * spec.width * builder.itemsize)
        _add(
            builder, Kernel.PLANE_PRODUCTS, {"x": dy, "w": last, "b": b, "y": first},
            spec, (spec.out_height, spec.out_width), rows, columns, spec.stride[1],
            (kh * kw, -phase.spacing * kw, -1),
            (spec.stride[0] * spec.width, spec.height * spec.width),
            barrier=False,
        )  # fmt: skip
    builder.set_barrier(True)


def weight_gradient(
    builder: Builder,
    spec: ConvSpec,
    x: Pointer,
    dy: Pointer,
    dw: Pointer,
    db: Pointer | None,
) -> None:
    """Add the instructions of ``dw`` and ``db``; parts of the samples are added in the end."""
    kh, kw = spec.kernel
    plane_bytes = max(1, spec.height * spec.width * builder.itemsize)
    together = max(1, min(_RUN_BYTES // plane_bytes, _MOST_SUMS // (kh * kw + 1)))
    parts = max(1, min(spec.batch, _PIECES // -(-spec.in_channels // together)))
    sizes = kh * kw * spec.in_channels, spec.in_channels
    results = dw, db
    sums: tuple[Pointer | None, ...] = results
    if parts > 1:
        sums = tuple(builder.scratch(parts * size) for size in sizes)
        sums = sums[0], None if db is None else sums[1]
    _add(
        builder, Kernel.PLANE_WEIGHT_PRODUCTS, {"x": x, "dy": dy, "dw": sums[0], "db": sums[1]},
        spec, (spec.height, spec.width), *_axes(spec), 1, (kh * kw, kw, 1),
        (spec.out_width, spec.out_height * spec.out_width), (parts, together),
    )  # fmt: skip
    for source, result, size in zip(sums, results, sizes, strict=True):
        if parts > 1 and result is not None:
            assert source is not None
            builder.add_parts(source, parts, size, result, barrier=False)
    builder.set_barrier(True)
