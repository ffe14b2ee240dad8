"""Records of depthwise convolutions of NCHW images: a filter over each plane.

A plane is one channel of one sample. Its rows are copied to lines on the stack, some at a time,
with zeros for the padding; how many rows, columns and taps at a time is chosen here, so that the
lines stay in the first-level cache.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from fastconv.backends.compiled.instructions.record import Pointer
from fastconv.backends.compiled.instructions.recorder import STORE, Recorder
from fastconv.backends.compiled.rules.phases import phases_of
from fastconv.backends.compiled.rules.split import parts_of, parts_of_product
from fastconv.spec import ConvSpec, Pair

_COST = 4
"""As for other depthwise convolutions: an operation takes as long as this many of a product."""
_LINES_BYTES = 24576
"""Of the copied rows; ``kernels/cpu/planes.h`` has as many."""
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
"""Of a tile: they share what is loaded."""
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


class Tile(NamedTuple):
    """What is done at once, and the lines for it: integers 20 to 26 of a record."""

    columns: int
    rows: int
    down: int
    across: int
    line_step: int
    phases: int
    length: int


def _rounded(size: int, lanes: int) -> int:
    return -(-size // lanes) * lanes


def _tile(rows: Axis, columns: Axis, lanes: int, capacity: int, most_taps: int) -> Tile:
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
                return Tile(
                    width, min(most, _rounded(high, _ROWS)), down, across, step, phases, length
                )
            width = _rounded(width // 2, lanes) if width > lanes else 0
    raise AssertionError("lines of one tap always fit")


def _add(
    recorder: Recorder, kernel: str, pointers: tuple[Pointer | None, ...], spec: ConvSpec,
    size: Pair, rows: Axis, columns: Axis, spacing: int, weights: tuple[int, int, int],
    other: Pair, together: Pair | None = None, *, barrier: bool = True,
) -> None:  # fmt: skip
    """Add a record: planes of ``size`` that are copied, and ``other``, strides of the others.

    ``together``: of a weight gradient, parts of the samples, and channels that are done at once.
    """
    taps = rows.taps * columns.taps
    most_taps = taps + 1 if together is None else _MOST_SUMS // together[1] - 1
    tile = _tile(rows, columns, recorder.lanes, _capacity(recorder), most_taps)
    if together is None:
        pieces = spec.batch * spec.in_channels * -(-rows.outputs // tile.rows)
    else:
        groups = -(-rows.taps // tile.down) * -(-columns.taps // tile.across)
        pieces = together[0] * -(-spec.in_channels // together[1]) * groups
    operations = spec.batch * spec.in_channels * rows.outputs * columns.outputs * (2 * taps + 1)
    recorder.add(
        kernel, pointers,
        spec.batch, spec.in_channels, *size, rows.outputs, columns.outputs,
        rows.taps, columns.taps, rows.dilation, columns.dilation, rows.stride, columns.stride,
        spacing, rows.before, columns.before, *weights, *other, *tile, *(together or ()),
        parts=parts_of_product(operations * _COST, pieces),
        barrier=barrier,
    )  # fmt: skip


def _capacity(recorder: Recorder) -> int:
    """Elements of the lines; behind them, whole vectors are written."""
    return _LINES_BYTES // recorder.itemsize - 4 * recorder.lanes


def _axes(spec: ConvSpec) -> tuple[Axis, Axis]:
    rows, columns = (
        Axis(outputs, spec.kernel[axis], spec.dilation[axis], spec.stride[axis], before)
        for axis, (outputs, before) in enumerate(
            zip((spec.out_height, spec.out_width), (p[0] for p in spec.padding), strict=True)
        )
    )
    return rows, columns


def are_planes(spec: ConvSpec) -> bool:
    """Whether each channel has one filter of its own, in a plane of its own."""
    return spec.groups == spec.in_channels == spec.out_channels


def forward(
    recorder: Recorder, spec: ConvSpec, x: Pointer, w: Pointer, b: Pointer | None, y: Pointer
) -> None:
    """Add the records of ``y``."""
    kh, kw = spec.kernel
    _add(
        recorder, "plane_products", (x, w, b, y), spec, (spec.height, spec.width), *_axes(spec), 1,
        (kh * kw, kw, 1), (spec.out_width, spec.out_height * spec.out_width),
    )  # fmt: skip


def data_gradient(
    recorder: Recorder, spec: ConvSpec, dy: Pointer, w: Pointer, b: Pointer | None, dx: Pointer
) -> None:
    """Add the records of ``dx``, plus ``b`` for a transposed convolution.

    A convolution of dy with the taps backwards, by phases of the rows. Between the columns of dy
    there are as many zeros as the stride leaves out.
    """
    kh, kw = spec.kernel
    before = (kw - 1) * spec.dilation[1] - spec.padding[1][0]
    columns = Axis(spec.width, kw, spec.dilation[1], 1, before)
    for phase in phases_of(spec, 0):
        rows = Axis(phase.pixels, phase.taps, phase.step, 1, -phase.first)
        last = w.skip((phase.last * kw + kw - 1) * recorder.itemsize)
        first = dx.skip(phase.offset * spec.width * recorder.itemsize)
        _add(
            recorder, "plane_products",
            (dy, last, b, first),
            spec, (spec.out_height, spec.out_width), rows, columns, spec.stride[1],
            (kh * kw, -phase.spacing * kw, -1),
            (spec.stride[0] * spec.width, spec.height * spec.width),
            barrier=False,
        )  # fmt: skip
    recorder.set_barrier(True)


def weight_gradient(
    recorder: Recorder, spec: ConvSpec, x: Pointer, dy: Pointer, dw: Pointer, db: Pointer | None
) -> None:
    """Add the records of ``dw`` and ``db``; parts of the samples are added in the end."""
    kh, kw = spec.kernel
    plane_bytes = max(1, spec.height * spec.width * recorder.itemsize)
    together = max(1, min(_RUN_BYTES // plane_bytes, _MOST_SUMS // (kh * kw + 1)))
    parts = max(1, min(spec.batch, _PIECES // -(-spec.in_channels // together)))
    sizes = kh * kw * spec.in_channels, spec.in_channels
    results = dw, db
    sums: tuple[Pointer | None, ...] = results
    if parts > 1:
        sums = tuple(recorder.take(parts * size) for size in sizes)
        sums = sums[0], None if db is None else sums[1]
    _add(
        recorder, "plane_weight_products", (x, dy, *sums),
        spec, (spec.height, spec.width), *_axes(spec), 1, (kh * kw, kw, 1),
        (spec.out_width, spec.out_height * spec.out_width), (parts, together),
    )  # fmt: skip
    for source, result, size in zip(sums, results, sizes, strict=True):
        if parts > 1 and result is not None:
            recorder.add(
                "add_parts", (source, None, result), size, size, parts, STORE,
                reals=(0.0,), parts=parts_of(size * parts), barrier=False,
            )  # fmt: skip
    recorder.set_barrier(True)
