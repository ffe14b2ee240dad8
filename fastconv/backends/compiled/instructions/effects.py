"""Reads and writes of an instruction's kernel: byte for byte, for every thread together.

Writes are exact, down to the strides: instructions that write neighbouring pixels of one image do
not meet. Reads are runs from the first to the last element; what lies between belongs to the same
array. That both are true of the compiled kernels is tested by running them over guarded memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.choices import (
    INIT_BIAS,
    INIT_C,
    INIT_ROW_BIAS,
    LEAKY_GRADIENT,
    UPDATE,
)
from fastconv.backends.compiled.instructions.instruction import Instruction, Pointer
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.instructions.layout import CONDITION_WORDS
from fastconv.backends.compiled.instructions.layouts.rows import ROWS_OF_A_BLOCK
from fastconv.backends.compiled.rules.split import blocks_of

_Axis = tuple[int, int]
"""A size and a stride, in elements."""


@dataclass(frozen=True, slots=True)
class Region:
    """Elements in memory, in rows at equal distances.

    Parameters
    ----------
    pointer
        Where they are counted from.
    itemsize
        Bytes of an element.
    start
        The first one, in elements behind the pointer.
    sizes, strides
        How many there are along each axis, and elements from one to the next; None: all of the
        array that the pointer is the beginning of.
    """

    pointer: Pointer
    itemsize: int
    start: int = 0
    sizes: tuple[int, ...] | None = None
    strides: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class InstructionEffects:
    """Reads and writes of an instruction.

    Parameters
    ----------
    reads, writes
        What it updates is in both; what it writes, it writes whole.
    scratch
        What it may write for itself, and nothing reads after it.
    """

    reads: tuple[Region, ...]
    writes: tuple[Region, ...]
    scratch: tuple[Region, ...] = ()


class _Collector:
    """The regions of one instruction; pointers go by name, and null ones are passed over."""

    def __init__(self, instruction: Instruction, lanes: int) -> None:
        self.instruction = instruction
        self.lanes = lanes
        self.n = instruction.integers
        self.reads: list[Region] = []
        self.writes: list[Region] = []
        self.scratch: list[Region] = []

    def _region(
        self, name: str, axes: tuple[_Axis, ...], start: int, dtype: str | None
    ) -> Region | None:
        pointer = getattr(self.instruction.pointers, name)
        if pointer is None or not all(size > 0 for size, _ in axes):
            return None
        itemsize = np.dtype(dtype or self.instruction.dtype).itemsize
        sizes, strides = zip(*axes, strict=True)
        return Region(pointer, itemsize, start, sizes, strides)

    def reads_run(self, name: str, count: int, dtype: str | None = None) -> None:
        """Read ``count`` elements from the pointer on."""
        if region := self._region(name, ((count, 1),), 0, dtype):
            self.reads.append(region)

    def writes_run(self, name: str, count: int, dtype: str | None = None) -> None:
        """Write ``count`` elements from the pointer on."""
        if region := self._region(name, ((count, 1),), 0, dtype):
            self.writes.append(region)

    def updates_run(self, name: str, count: int, dtype: str | None = None) -> None:
        """Read and write ``count`` elements from the pointer on."""
        self.reads_run(name, count, dtype)
        self.writes_run(name, count, dtype)

    def scratch_run(self, name: str, count: int) -> None:
        """Use ``count`` elements from the pointer on."""
        if region := self._region(name, ((count, 1),), 0, None):
            self.scratch.append(region)

    def reads_all(self, name: str, dtype: str | None = None) -> None:
        """Read anything of the array that begins at the pointer."""
        if pointer := getattr(self.instruction.pointers, name):
            itemsize = np.dtype(dtype or self.instruction.dtype).itemsize
            self.reads.append(Region(pointer, itemsize))

    def reads_reach(self, name: str, *axes: _Axis, start: int = 0) -> None:
        """Read from the first to the last of these elements; strides may be negative."""
        if all(size > 0 for size, _ in axes):
            first = start + sum(min(0, stride) * (size - 1) for size, stride in axes)
            last = start + sum(max(0, stride) * (size - 1) for size, stride in axes)
            if region := self._region(name, ((last + 1 - first, 1),), first, None):
                self.reads.append(region)

    def reads_axes(self, name: str, *axes: _Axis, start: int = 0) -> None:
        """Read just these elements."""
        if region := self._region(name, axes, start, None):
            self.reads.append(region)

    def writes_axes(
        self, name: str, *axes: _Axis, start: int = 0, dtype: str | None = None
    ) -> None:
        """Write just these elements."""
        if region := self._region(name, axes, start, dtype):
            self.writes.append(region)

    def rate_and_update(self, *runs: tuple[str, int]) -> None:
        """Write parameters, or where the instruction ends with an update, update them at a rate."""
        updates = getattr(self.n, "epilogue", UPDATE) == UPDATE
        for name, count in runs:
            if updates:
                self.updates_run(name, count)
            else:
                self.writes_run(name, count)
        if updates:
            self.reads_run("rate", 1, "float64")


_Effects = Callable[[_Collector], None]
_KERNELS: dict[Kernel, _Effects] = {}


def _kernel(*kernels: Kernel) -> Callable[[_Effects], _Effects]:
    def register(function: _Effects) -> _Effects:
        for kernel in kernels:
            _KERNELS[kernel] = function
        return function

    return register


@functools.lru_cache(maxsize=4096)
def effects_of(instruction: Instruction, lanes: int) -> InstructionEffects:
    """Return what an instruction reads and writes.

    Parameters
    ----------
    instruction
        The instruction.
    lanes
        Elements of a vector of the instruction's dtype: packed weights are filled up to whole
        vectors.

    Raises
    ------
    KeyError
        If the kernel has not declared it.
    """
    collector = _Collector(instruction, lanes)
    _KERNELS[instruction.kernel](collector)
    if instruction.condition is not None:
        collector.reads.append(Region(instruction.condition, 8, 0, (CONDITION_WORDS,), (1,)))
    return InstructionEffects(
        tuple(collector.reads), tuple(collector.writes), tuple(collector.scratch)
    )


# Products


def _bands_of_c(n: Any) -> Iterator[tuple[int, int, int]]:
    """Yield the first row, rows and columns of what ``conv_tiles`` writes of each sample."""
    if n.rows > 1:
        yield 0, n.rows - 1, n.columns
    if n.rows > 0:
        yield n.rows - 1, 1, n.last_columns


def _writes_band(at: _Collector, first: int, rows: int, columns: int) -> tuple[_Axis, ...]:
    """Write such rows and columns of each sample, and read there what an epilogue takes besides."""
    n = at.n
    axes = (
        (n.samples, n.c_sample), (rows, n.c_row), (columns, n.c_column),
        (n.groups, n.c_group), (n.outputs, 1),
    )  # fmt: skip
    at.writes_axes("c", *axes, start=first * n.c_row)
    at.reads_axes("other", *axes, start=first * n.c_row)
    return axes


@_kernel(Kernel.CONV_TILES)
def _conv_tiles(at: _Collector) -> None:
    n = at.n
    for first, rows, columns in _bands_of_c(n):
        axes = _writes_band(at, first, rows, columns)
        if n.accumulator_init == INIT_C:
            at.reads_axes("c", *axes, start=first * n.c_row)
        at.reads_reach(
            "a", (n.samples, n.a_sample), (rows, n.a_row), (columns, n.a_column),
            (n.groups, n.a_group), (n.taps_down, n.a_down), (n.taps_across, n.a_across),
            (n.depth, 1), start=first * n.a_row,
        )  # fmt: skip
    if n.accumulator_init == INIT_BIAS:
        at.reads_run("bias", n.groups * n.outputs)
    elif n.accumulator_init == INIT_ROW_BIAS:
        at.reads_run("bias", max(n.columns, n.last_columns))
    width = n.vectors * at.lanes
    blocks = -(-n.outputs // width)
    last = n.outputs - (blocks - 1) * width
    groups, whole = (n.groups, n.b_group), (blocks, n.b_block)
    if n.b_depth:
        at.reads_reach(
            "b", groups, whole, (n.taps_down, n.b_down), (n.taps_across, n.b_across),
            (n.depth, n.b_depth), (last, 1),
        )  # fmt: skip
    else:
        wide = -(-last // at.lanes) * at.lanes
        taps = (n.taps_down, n.b_down * wide), (n.taps_across, n.b_across * wide)
        at.reads_reach("b", groups, whole, *taps, (n.depth * wide, 1))


def _reads_of_weight_gradient(at: _Collector, lanes: int, *, clipped: bool) -> None:
    n = at.n
    down = _places_inside(n, n.taps_down) if clipped else (0, (n.taps_down - 1) * n.a_down)
    rows = (1, 0) if clipped else (n.rows, n.a_row)
    if down is not None and n.rows:
        start, end = down
        at.reads_reach(
            "a", (n.samples, n.a_sample), rows, (n.columns, n.a_column), (n.groups, n.a_group),
            (2, end - start), (n.taps_across, n.a_across), (n.depth * lanes, 1), start=start,
        )  # fmt: skip
    at.reads_reach(
        "dy", (n.samples, n.dy_sample), (n.rows, n.dy_row), (n.columns, n.dy_column),
        (n.groups, n.dy_group), (n.outputs * lanes, 1),
    )  # fmt: skip


def _places_inside(n: Any, taps: int) -> tuple[int, int] | None:
    """The first and the last place of a row and a tap that is inside of batch-blocked images."""
    places = [
        n.first_row + row * n.a_row + tap * n.a_down for row in range(n.rows) for tap in range(taps)
    ]
    inside = [place for place in places if 0 <= place < n.image]
    return (min(inside), max(inside)) if inside else None


@_kernel(Kernel.CONV_WEIGHT_TILES)
def _conv_weight_tiles(at: _Collector) -> None:
    n = at.n
    axes = (
        (n.groups, n.dw_group), (n.taps_down, n.dw_down), (n.taps_across, n.dw_across),
        (n.depth, n.dw_depth), (n.outputs, 1),
    )  # fmt: skip
    at.writes_axes("dw", *axes)
    if n.epilogue == UPDATE:
        at.reads_axes("dw", *axes)
    at.rate_and_update(("db", n.groups * n.outputs))
    _reads_of_weight_gradient(at, 1, clipped=False)


@_kernel(Kernel.BATCH_BLOCKED_TILES)
def _batch_blocked_tiles(at: _Collector) -> None:
    n = at.n
    axes = (
        (n.samples, n.c_sample), (n.rows, n.c_row), (n.columns, n.c_column),
        (n.groups, n.c_group), (n.outputs * at.lanes, 1),
    )  # fmt: skip
    at.writes_axes("c", *axes)
    at.reads_axes("other", *axes)
    at.reads_run("bias", n.groups * n.outputs)
    at.reads_reach(
        "b", (n.groups, n.b_group), (n.taps_down, n.b_down), (n.taps_across, n.b_across),
        (n.depth, n.b_depth), (n.outputs, 1),
    )  # fmt: skip
    rows, columns = _places_inside(n, n.taps_down), _columns_read(n)
    if rows and columns and n.depth:
        at.reads_reach(
            "a", (n.samples, n.a_sample), (2, rows[1] - rows[0]), (2, columns[1] - columns[0]),
            (n.groups, n.a_group), (n.depth * at.lanes, 1),
            start=rows[0] - n.first_column + columns[0],
        )  # fmt: skip


def _columns_read(n: Any) -> tuple[int, int] | None:
    """The first and the last column that tiles of ``batch_blocked_tiles`` read, from a row's begin.

    A tap is left out where no pixel of a tile is inside of the image; else all of them take it.
    """
    read = []
    for column in range(0, n.columns, n.tile_pixels):
        pixels = min(n.tile_pixels, n.columns - column)
        for tap in range(n.taps_across):
            first = n.first_column + column * n.a_column + tap * n.a_across
            last = first + (pixels - 1) * n.a_column
            if last >= 0 and first < n.image_row:
                read += [first, last]
    return (min(read), max(read)) if read else None


@_kernel(Kernel.BATCH_BLOCKED_WEIGHT_TILES)
def _batch_blocked_weight_tiles(at: _Collector) -> None:
    n = at.n
    at.writes_axes(
        "dw", (n.parts, n.dw_part), (n.groups, n.dw_group), (n.taps_down, n.dw_down),
        (n.taps_across, n.dw_across), (n.depth, n.dw_depth), (n.outputs, 1),
    )  # fmt: skip
    at.writes_run("db", n.parts * n.groups * n.outputs)
    blocks = -(-n.outputs // n.tile_outputs)
    tiles = n.groups * n.taps_down * n.taps_across * -(-n.depth // n.tile_inputs) * blocks
    if at.instruction.pointers.db is not None:
        tiles += n.groups * blocks
    # The sums of the last few lanes are made of whole vectors.
    at.scratch_run("sums", (n.parts * tiles * n.tile_outputs * n.tile_inputs + at.lanes) * at.lanes)
    _reads_of_weight_gradient(at, at.lanes, clipped=True)


@_kernel(Kernel.IM2COL_TILES)
def _im2col_tiles(at: _Collector) -> None:
    n = at.n
    outputs = n.groups * n.outputs
    at.reads_run("x", n.samples * n.groups * n.channels * n.height * n.width)
    at.reads_run("w", outputs * n.channels * n.taps_down * n.taps_across)
    at.reads_run("bias", outputs)
    at.writes_run("y", n.samples * outputs * n.rows * n.columns)


@_kernel(Kernel.WINOGRAD_WEIGHTS)
def _winograd_weights(at: _Collector) -> None:
    n = at.n
    at.reads_reach("w", (3, n.w_down), (3, n.w_across), (n.inputs, n.w_input), (n.outputs, 1))
    at.writes_axes("transformed", ((n.side + 2) ** 2, n.place), (n.inputs * n.outputs, 1))


def _reads_seen_pixels(at: _Collector, first_sample: int, samples: int, side: int) -> None:
    """Read what tiles of ``side`` outputs see of some images: two rows and columns more."""
    n = at.n
    rows, columns = (
        (max(0, -before), min(size, side * tiles + 2 - before))
        for before, size, tiles in (
            (n.top, n.height, n.tile_rows), (n.left, n.width, n.tiles)
        )
    )  # fmt: skip
    at.reads_reach(
        "a", (samples, n.a_sample), (rows[1] - rows[0], n.a_row),
        (columns[1] - columns[0], n.a_column), (n.inputs, 1),
        start=first_sample * n.a_sample + rows[0] * n.a_row + columns[0] * n.a_column,
    )  # fmt: skip


@_kernel(Kernel.WINOGRAD_TILES)
def _winograd_tiles(at: _Collector) -> None:
    n = at.n
    axes = (
        (n.samples, n.c_sample), (n.c_height, n.c_row), (n.c_width, n.c_column), (n.outputs, 1)
    )  # fmt: skip
    at.writes_axes("c", *axes)
    at.reads_axes("other", *axes)
    at.reads_run("bias", n.outputs)
    at.reads_axes("b", ((n.side + 2) ** 2, n.place), (n.inputs * n.outputs, 1))
    _reads_seen_pixels(at, 0, n.samples, n.side)


@_kernel(Kernel.WINOGRAD_PIXELS)
def _winograd_pixels(at: _Collector) -> None:
    n = at.n
    last = n.first + n.count - 1
    of_sample = n.tile_rows * n.tiles
    first_sample, last_sample = n.first // of_sample, last // of_sample
    _reads_seen_pixels(at, first_sample, last_sample - first_sample + 1, n.side)
    at.writes_run("transformed", (n.side + 2) ** 2 * n.count * n.inputs)


@_kernel(Kernel.WINOGRAD_OUTPUTS)
def _winograd_outputs(at: _Collector) -> None:
    n = at.n
    at.reads_run("sums", n.parts * (n.side + 2) ** 2 * n.count * n.outputs)
    at.reads_run("bias", n.outputs)
    # Row by row of tiles: the first and the last of them may be written in part.
    for row in range(n.first // n.tiles, (n.first + n.count - 1) // n.tiles + 1):
        begin = max(n.first, row * n.tiles)
        end = min(n.first + n.count, (row + 1) * n.tiles)
        down, across = row % n.tile_rows * n.side, (begin - row * n.tiles) * n.side
        high = min(n.side, n.c_height - down)
        wide = min((end - begin) * n.side, n.c_width - across)
        start = row // n.tile_rows * n.c_sample + down * n.c_row + across * n.c_column
        at.writes_axes("c", (high, n.c_row), (wide, n.c_column), (n.outputs, 1), start=start)


@_kernel(Kernel.FIND_NOT_FINITE)
def _find_not_finite(at: _Collector) -> None:
    at.reads_run("x", at.n.size)
    at.writes_run("found", CONDITION_WORDS, "int64")


@_kernel(Kernel.WINOGRAD_WEIGHT_SUMS)
def _winograd_weight_sums(at: _Collector) -> None:
    n = at.n
    _reads_seen_pixels(at, 0, n.samples, n.side)
    at.reads_reach(
        "dy", (n.samples, n.dy_sample), (n.dy_height, n.dy_row), (n.dy_width, n.dy_column),
        (n.outputs, 1),
    )  # fmt: skip
    places = n.parts * (n.side + 2) ** 2
    at.writes_axes("sums", (places, n.sums_place), (n.inputs, n.sums_row), (n.outputs, 1))
    at.writes_axes("bias_sums", (n.parts, n.sums_row), (n.outputs, 1), dtype="float64")


@_kernel(Kernel.WINOGRAD_WEIGHT_GRADIENT)
def _winograd_weight_gradient(at: _Collector) -> None:
    n = at.n
    at.reads_run("sums", n.parts * (n.side + 2) ** 2 * n.inputs * n.outputs)
    at.reads_run("bias_sums", n.parts * n.outputs, "float64")
    biases = 0 if at.instruction.pointers.bias_sums is None else n.outputs
    at.rate_and_update(("dw", 9 * n.inputs * n.outputs), ("db", biases))


@_kernel(Kernel.ROW_PRODUCTS)
def _row_products(at: _Collector) -> None:
    n = at.n
    at.reads_reach("a", (n.a_rows, n.a_row), (n.depth, 1))
    at.reads_reach("b", (n.b_rows, n.b_row), (n.depth, 1))
    at.writes_axes("c", (n.a_rows, n.c_row), (n.b_rows, 1))


@_kernel(Kernel.ADD_PARTS)
def _add_parts(at: _Collector) -> None:
    n = at.n
    at.reads_run("terms", n.parts * n.size)
    at.reads_run("b", n.b_size)
    at.writes_run("y", n.size)


@_kernel(Kernel.DENSE_BACKWARD_UPDATE)
def _dense_backward_update(at: _Collector) -> None:
    n = at.n
    at.reads_run("dy", n.outputs)
    at.reads_run("x", n.inputs)
    at.writes_run("dx", n.inputs)
    at.updates_run("w", n.inputs * n.outputs)
    at.updates_run("b", n.outputs)
    at.reads_run("rate", 1, "float64")
    if n.epilogue == LEAKY_GRADIENT:
        at.reads_run("other", n.inputs)


# Copies


@_kernel(Kernel.PAD_IMAGES)
def _pad_images(at: _Collector) -> None:
    n = at.n
    at.reads_run("x", n.samples * n.height * n.width * n.channels)
    at.writes_run("y", n.samples * n.out_height * n.out_width * n.out_channels)


@_kernel(Kernel.PACK_WEIGHTS)
def _pack_weights(at: _Collector) -> None:
    n = at.n
    at.reads_reach(
        "w", (n.groups, n.w_group), (n.outputs, n.w_output), (n.taps_down, n.w_down),
        (n.taps_across, n.w_across), (n.depth, n.w_depth),
    )  # fmt: skip
    count = n.taps_down * n.taps_across * n.depth
    wide = -(-n.outputs // at.lanes) * at.lanes
    at.writes_axes("packed", (n.groups, n.packed_group), (count * wide, 1))


@_kernel(Kernel.PACK_SUBPIXEL_PHASES)
def _pack_subpixel_phases(at: _Collector) -> None:
    n = at.n
    at.reads_reach(
        "w", (n.taps_down, n.w_down), (n.taps_across, n.step * n.w_across),
        (n.phases, n.w_across), (n.inputs, n.w_input), (n.depth, 1), start=n.first * n.w_across,
    )  # fmt: skip
    count = n.taps_down * n.taps_across * n.depth
    wide = -(-n.phases * n.inputs // at.lanes) * at.lanes
    at.writes_run("packed", count * wide)


@_kernel(Kernel.TRANSPOSE)
def _transpose(at: _Collector) -> None:
    size = at.n.matrices * at.n.rows * at.n.columns
    at.reads_run("x", size)
    at.writes_run("y", size)


@_kernel(Kernel.SPREAD_CHANNELS)
def _spread_channels(at: _Collector) -> None:
    n = at.n
    few = n.pixels * n.channels
    read, written = (few * n.times, few) if n.adds else (few, few * n.times)
    at.reads_run("x", read)
    at.writes_run("y", written)
    at.reads_run("b", n.channels)


@_kernel(Kernel.SUM_PIXELS)
def _sum_pixels(at: _Collector) -> None:
    at.reads_run("x", at.n.pixels * at.n.channels)
    at.writes_run("total", at.n.channels)


# Depthwise convolutions


@_kernel(Kernel.DEPTHWISE_TILES)
def _depthwise_tiles(at: _Collector) -> None:
    n = at.n
    row, channels = n.y_width * n.channels, n.channels
    at.writes_axes(
        "y", (n.samples, n.y_height * row), (n.rows, n.row_step * row),
        (n.columns, n.column_step * channels), (channels, 1),
        start=n.first_row * row + n.first_column * channels,
    )  # fmt: skip
    at.reads_run("b", channels)
    at.reads_reach("w", (n.taps_down, n.w_down), (n.taps_across, n.w_across), (channels, 1))
    at.reads_run("x", n.samples * n.height * n.width * channels)


@_kernel(Kernel.DEPTHWISE_WEIGHT_TILES)
def _depthwise_weight_tiles(at: _Collector) -> None:
    n = at.n
    at.reads_run("x", n.samples * n.height * n.width * n.channels)
    at.reads_run("dy", n.samples * n.rows * n.columns * n.channels)
    at.writes_run("dw", n.taps_down * n.taps_across * n.channels)
    at.writes_run("db", n.channels)


@_kernel(Kernel.PLANE_PRODUCTS)
def _plane_products(at: _Collector) -> None:
    n = at.n
    at.writes_axes(
        "y", (n.samples * n.channels, n.other_plane), (n.rows, n.other_row), (n.columns, 1)
    )
    at.reads_run("x", n.samples * n.channels * n.height * n.width)
    at.reads_run("b", n.channels)
    at.reads_reach(
        "w", (n.channels, n.w_channel), (n.taps_down, n.w_down), (n.taps_across, n.w_across)
    )


@_kernel(Kernel.PLANE_WEIGHT_PRODUCTS)
def _plane_weight_products(at: _Collector) -> None:
    n = at.n
    at.reads_run("x", n.samples * n.channels * n.height * n.width)
    at.reads_reach(
        "dy", (n.samples * n.channels, n.other_plane), (n.rows, n.other_row), (n.columns, 1)
    )
    at.writes_axes(
        "dw", (n.parts * n.channels, n.w_channel), (n.taps_down, n.w_down),
        (n.taps_across, n.w_across),
    )  # fmt: skip
    at.writes_run("db", n.parts * n.channels)


# Behind a max pool


@_kernel(Kernel.POOLED_LISTS)
def _pooled_lists(at: _Collector) -> None:
    n = at.n
    pixels = n.samples * n.rows * n.columns
    size = pixels * n.channels
    at.reads_run("dy", size)
    at.reads_run("argmax", size, "int32")
    at.reads_run("y", size)
    for name in ("gradient", "sorted_gradient"):
        at.writes_run(name, size)
    for name in ("offset", "channel"):
        at.writes_run(name, size, "int32")
    at.writes_run("count", 4 * pixels, "int32")


@_kernel(Kernel.POOLED_WEIGHT_TILES)
def _pooled_weight_tiles(at: _Collector) -> None:
    n = at.n
    size = n.samples * n.pixels * n.channels
    at.reads_run("x", n.samples * n.x_sample)
    at.reads_run("gradient", size)
    at.reads_run("offset", size, "int32")
    at.writes_run("dw", n.channels * n.taps_down * n.vectors * at.lanes)
    at.writes_run("db", n.channels)


@_kernel(Kernel.POOLED_DATA_TILES)
def _pooled_data_tiles(at: _Collector) -> None:
    n = at.n
    pixels, images = n.samples * n.rows * n.columns, n.samples * n.height * n.width * n.inputs
    at.reads_run("gradient", pixels * n.channels)
    at.reads_run("channel", pixels * n.channels, "int32")
    at.reads_run("count", 4 * pixels, "int32")
    at.reads_run("w", 9 * n.inputs * n.channels)
    at.writes_run("dx", images)
    if n.epilogue == LEAKY_GRADIENT:
        at.reads_run("other", images)


@_kernel(Kernel.TRANSPOSE_WEIGHTS)
def _transpose_weights(at: _Collector) -> None:
    n = at.n
    at.reads_run("sums", n.depth * n.outputs)
    at.reads_run("bias_sums", n.outputs)
    at.rate_and_update(("dw", n.depth * n.outputs))
    if at.instruction.pointers.bias_sums is not None:
        at.rate_and_update(("db", n.outputs))


# The input


@_kernel(Kernel.GATHER_IMAGES, Kernel.GATHER_MIN_MAX_IMAGES)
def _gather_images(at: _Collector) -> None:
    n = at.n
    itemsize = getattr(n, "itemsize", 1)  # the other kernel takes bytes only
    at.reads_all("images", {1: "uint8", 4: "float32", 8: "float64"}[itemsize])
    at.reads_run("indices", n.batch, "int64")
    at.writes_run("x", n.batch * n.elements)


@_kernel(Kernel.GATHER_ROWS)
def _gather_rows(at: _Collector) -> None:
    n = at.n
    at.reads_all("rows", "uint8")
    at.reads_run("indices", n.batch, "int64")
    at.writes_run("y", n.batch * n.bytes, "uint8")


@_kernel(Kernel.SCALE_IMAGES)
def _scale_images(at: _Collector) -> None:
    at.reads_run("x", at.n.size)
    at.reads_run("factor", 1, "float64")
    at.writes_run("y", at.n.size)


@_kernel(Kernel.STANDARDIZE_IMAGES)
def _standardize_images(at: _Collector) -> None:
    n = at.n
    at.reads_run("x", n.rows * n.period)
    at.reads_run("mean", n.period)
    at.reads_run("std", n.period)
    at.writes_run("y", n.rows * n.period)


@_kernel(Kernel.MIN_MAX_IMAGES)
def _min_max_images(at: _Collector) -> None:
    at.reads_run("x", at.n.batch * at.n.elements)
    at.writes_run("y", at.n.batch * at.n.elements)


@_kernel(Kernel.AUGMENT_IMAGES)
def _augment_images(at: _Collector) -> None:
    n = at.n
    size = n.batch * n.height * n.width * n.channels
    at.reads_run("x", size)
    at.reads_run("step", 1, "int64")
    at.writes_run("y", size)


@_kernel(Kernel.RANDOM_WORDS)
def _random_words(at: _Collector) -> None:
    at.reads_run("step", 1, "int64")
    at.writes_run("words", at.n.count, "uint32")


# Elementwise, and over rows


@_kernel(Kernel.DROPOUT_FORWARD)
def _dropout_forward(at: _Collector) -> None:
    at.reads_run("x", at.n.size)
    at.reads_run("step", 1, "int64")
    at.writes_run("mask", at.n.size, "uint8")
    at.writes_run("y", at.n.size)


@_kernel(Kernel.DROPOUT_BACKWARD)
def _dropout_backward(at: _Collector) -> None:
    at.reads_run("dy", at.n.size)
    at.reads_run("mask", at.n.size, "uint8")
    at.writes_run("dx", at.n.size)


@_kernel(Kernel.DROP_CHANNELS)
def _drop_channels(at: _Collector) -> None:
    size = at.n.batch * at.n.pixels * at.n.channels
    at.reads_run("x", size)
    at.reads_run("mask", at.n.batch * at.n.channels, "uint8")
    at.writes_run("y", size)


@_kernel(Kernel.RESAMPLE_FORWARD, Kernel.RESAMPLE_BACKWARD)
def _resample(at: _Collector) -> None:
    large = at.n.batch * at.n.out_height * at.n.out_width * at.n.channels
    small = at.n.batch * at.n.height * at.n.width * at.n.channels
    if at.instruction.kernel == Kernel.RESAMPLE_FORWARD:
        at.reads_run("x", small)
        at.writes_run("y", large)
    else:
        at.reads_run("dy", large)
        at.writes_run("dx", small)


@_kernel(Kernel.ACTIVATION_FORWARD, Kernel.FORMULA_FORWARD)
def _activation_forward(at: _Collector) -> None:
    at.reads_run("x", at.n.size)
    at.writes_run("y", at.n.size)


@_kernel(Kernel.ACTIVATION_BACKWARD)
def _activation_backward(at: _Collector) -> None:
    at.reads_run("dy", at.n.size)
    at.reads_run("y", at.n.size)
    at.writes_run("dx", at.n.size)


@_kernel(Kernel.FORMULA_BACKWARD)
def _formula_backward(at: _Collector) -> None:
    at.reads_run("dy", at.n.size)
    at.reads_run("kept", at.n.size)
    at.writes_run("dx", at.n.size)


@_kernel(Kernel.ELEMENTWISE)
def _elementwise(at: _Collector) -> None:
    at.reads_run("dy", at.n.size)
    at.reads_run("x", at.n.size)
    at.writes_run("y", at.n.size)


@_kernel(Kernel.PRELU_FORWARD)
def _prelu_forward(at: _Collector) -> None:
    at.reads_run("x", at.n.rows * at.n.channels)
    at.reads_run("slope", at.n.slopes)
    at.writes_run("y", at.n.rows * at.n.channels)


@_kernel(Kernel.PRELU_BACKWARD)
def _prelu_backward(at: _Collector) -> None:
    size = at.n.rows * at.n.channels
    at.reads_run("dy", size)
    at.reads_run("x", size)
    at.reads_run("slope", at.n.slopes)
    at.writes_run("dx", size)
    at.writes_run("sums", -(-at.n.rows // ROWS_OF_A_BLOCK) * at.n.channels, "float64")


@_kernel(Kernel.PRELU_SLOPES)
def _prelu_slopes(at: _Collector) -> None:
    at.reads_run("sums", -(-at.n.rows // ROWS_OF_A_BLOCK) * at.n.channels, "float64")
    at.writes_run("dslope", at.n.slopes)


@_kernel(Kernel.SOFTMAX_FORWARD, Kernel.LOG_SOFTMAX_FORWARD)
def _softmax_forward(at: _Collector) -> None:
    size = at.n.rows * at.n.classes
    at.reads_run("x", size)
    at.writes_run("y", size)
    if at.instruction.kernel == Kernel.LOG_SOFTMAX_FORWARD:
        at.scratch_run("powers", size)


@_kernel(Kernel.SOFTMAX_BACKWARD, Kernel.LOG_SOFTMAX_BACKWARD)
def _softmax_backward(at: _Collector) -> None:
    size = at.n.rows * at.n.classes
    at.reads_run("dy", size)
    at.reads_run("y", size)
    at.writes_run("dx", size)
    if at.instruction.kernel == Kernel.LOG_SOFTMAX_BACKWARD:
        at.scratch_run("powers", size)


# Pooling


def _sizes_of_pool(n: Any) -> tuple[int, int]:
    """Elements of the images, and of what is pooled."""
    each = n.batch * n.channels
    return each * n.height * n.width, each * n.out_height * n.out_width


@_kernel(Kernel.MAX_POOL2D_FORWARD, Kernel.AVG_POOL2D_FORWARD)
def _pool_forward(at: _Collector) -> None:
    large, small = _sizes_of_pool(at.n)
    at.reads_run("x", large)
    at.writes_run("y", small)
    if at.instruction.kernel == Kernel.MAX_POOL2D_FORWARD:
        at.writes_run("argmax", small, "int32")


@_kernel(Kernel.MAX_POOL2D_BACKWARD, Kernel.MAX_POOL2D_BACKWARD_PAIRS, Kernel.AVG_POOL2D_BACKWARD)
def _pool_backward(at: _Collector) -> None:
    large, small = _sizes_of_pool(at.n)
    at.reads_run("dy", small)
    if at.instruction.kernel != Kernel.AVG_POOL2D_BACKWARD:
        at.reads_run("argmax", small, "int32")
    at.writes_run("dx", large)


@_kernel(Kernel.GLOBAL_AVG_POOL2D_FORWARD)
def _global_avg_pool2d_forward(at: _Collector) -> None:
    n = at.n
    at.reads_run("x", n.batch * n.pixels * n.channels)
    at.writes_run("y", n.batch * n.channels)


@_kernel(Kernel.GLOBAL_AVG_POOL2D_BACKWARD)
def _global_avg_pool2d_backward(at: _Collector) -> None:
    n = at.n
    at.reads_run("dy", n.batch * n.channels)
    at.writes_run("dx", n.batch * n.height * n.width * n.channels)


# Two arrays that become one


@_kernel(Kernel.MERGE_ELEMENTS)
def _merge_elements(at: _Collector) -> None:
    n = at.n
    size = n.rows * n.channels
    at.reads_run("x1", size)
    at.reads_run("x2", n.rows // n.pixels * n.channels if n.pixels else size)
    at.reads_run("other", size)
    at.writes_run("y", size)


@_kernel(Kernel.SUM_OF_EACH_IMAGE)
def _sum_of_each_image(at: _Collector) -> None:
    n = at.n
    at.reads_run("dy", n.batch * n.pixels * n.channels)
    at.reads_run("x1", n.batch * n.pixels * n.channels)
    at.writes_run("total", n.batch * n.channels)


@_kernel(Kernel.COPY_ROWS)
def _copy_rows(at: _Collector) -> None:
    n = at.n
    at.reads_reach("x", (n.rows, n.x_row), (n.columns, 1))
    at.writes_axes("y", (n.rows, n.y_row), (n.columns, 1))


# Normalisation


def _sums_of_blocks(n: Any) -> int:
    blocks: int = -(-n.rows // ROWS_OF_A_BLOCK)
    return 2 * blocks * int(n.channels)


def _reads_channels(at: _Collector, *names: str, times: int = 1) -> None:
    for name in names:
        at.reads_run(name, times * at.n.channels)


@_kernel(Kernel.GROUP_NORM_FORWARD)
def _group_norm_forward(at: _Collector) -> None:
    size = at.n.batch * at.n.pixels * at.n.channels
    at.reads_run("x", size)
    _reads_channels(at, "gamma", "beta")
    at.writes_run("y", size)
    at.writes_run("mean", at.n.batch * at.n.groups)
    at.writes_run("inverse_std", at.n.batch * at.n.groups)


@_kernel(Kernel.GROUP_NORM_BACKWARD_DATA, Kernel.GROUP_NORM_BACKWARD_PARAMETERS)
def _group_norm_backward(at: _Collector) -> None:
    size = at.n.batch * at.n.pixels * at.n.channels
    at.reads_run("dy", size)
    at.reads_run("x", size)
    at.reads_run("mean", at.n.batch * at.n.groups)
    at.reads_run("inverse_std", at.n.batch * at.n.groups)
    if at.instruction.kernel == Kernel.GROUP_NORM_BACKWARD_DATA:
        _reads_channels(at, "gamma")
        at.writes_run("dx", size)
    else:
        at.writes_run("dgamma", at.n.channels)
        at.writes_run("dbeta", at.n.channels)


@_kernel(Kernel.NORM_SUMS)
def _norm_sums(at: _Collector) -> None:
    at.reads_run("x", at.n.rows * at.n.channels)
    at.writes_run("sums", _sums_of_blocks(at.n), "float64")


@_kernel(Kernel.NORM_STATISTICS)
def _norm_statistics(at: _Collector) -> None:
    at.reads_run("sums", _sums_of_blocks(at.n), "float64")
    _reads_channels(at, "gamma")
    for name in ("running_mean", "running_variance"):
        at.updates_run(name, at.n.channels)
    for name in ("mean", "inverse_std", "factor"):
        at.writes_run(name, at.n.channels)


@_kernel(Kernel.NORM_FACTOR)
def _norm_factor(at: _Collector) -> None:
    _reads_channels(at, "gamma", "variance")
    at.writes_run("factor", at.n.channels)


@_kernel(Kernel.NORM_APPLY)
def _norm_apply(at: _Collector) -> None:
    size = at.n.rows * at.n.channels
    at.reads_run("x", size)
    at.reads_run("addend", size)
    _reads_channels(at, "mean", "factor", "beta")
    at.writes_run("y", size)


@_kernel(Kernel.NORM_GRADIENT_SUMS)
def _norm_gradient_sums(at: _Collector) -> None:
    size = at.n.rows * at.n.channels
    at.reads_run("dy", size)
    at.reads_run("x", size)
    _reads_channels(at, "mean", "inverse_std")
    at.writes_run("sums", _sums_of_blocks(at.n), "float64")


@_kernel(Kernel.NORM_GRADIENTS)
def _norm_gradients(at: _Collector) -> None:
    at.reads_run("sums", _sums_of_blocks(at.n), "float64")
    _reads_channels(at, "gamma", "inverse_std")
    for name in ("dgamma", "dbeta", "factor"):
        at.writes_run(name, at.n.channels)
    at.writes_run("means", 2 * at.n.channels)


@_kernel(Kernel.NORM_BACKWARD_DATA)
def _norm_backward_data(at: _Collector) -> None:
    size = at.n.rows * at.n.channels
    at.reads_run("dy", size)
    at.reads_run("x", size)
    _reads_channels(at, "mean", "inverse_std", "factor")
    _reads_channels(at, "means", times=2)
    at.writes_run("dx", size)


@_kernel(Kernel.JITTER_IMAGES)
def _jitter_images(at: _Collector) -> None:
    at.reads_run("step", 1, "int64")
    at.updates_run("x", at.n.batch * at.n.height * at.n.width * at.n.channels)


@_kernel(Kernel.CROP_IMAGES)
def _crop_images(at: _Collector) -> None:
    size = at.n.batch * at.n.height * at.n.width * at.n.channels
    at.reads_run("x", size)
    at.reads_run("indices", at.n.batch, "int64")
    at.reads_run("step", 1, "int64")
    at.writes_run("y", size)


@_kernel(Kernel.MIX_IMAGES)
def _mix_images(at: _Collector) -> None:
    size = at.n.batch * at.n.height * at.n.width * at.n.channels
    at.reads_run("x", size)
    at.reads_run("step", 1, "int64")
    at.writes_run("y", size)
    at.writes_run("partners", at.n.batch, "int64")
    at.writes_run("shares", at.n.batch)


@_kernel(Kernel.MIX_ROWS)
def _mix_rows(at: _Collector) -> None:
    at.reads_run("rows", at.n.batch * at.n.elements)
    at.reads_run("partners", at.n.batch, "int64")
    at.reads_run("shares", at.n.batch)
    at.writes_run("y", at.n.batch * at.n.elements)


# Losses and updates


@_kernel(Kernel.SOFTMAX_CROSS_ENTROPY_FORWARD, Kernel.NLL_FORWARD)
def _losses_of_classes(at: _Collector) -> None:
    at.reads_run("scores", at.n.batch * at.n.outputs)
    at.reads_run("labels", at.n.batch, "int64")
    at.writes_run("losses", at.n.batch)
    if at.instruction.kernel == Kernel.SOFTMAX_CROSS_ENTROPY_FORWARD:
        at.writes_run("probabilities", at.n.batch * at.n.outputs)


@_kernel(Kernel.SOFTMAX_CROSS_ENTROPY_BACKWARD, Kernel.NLL_BACKWARD)
def _gradient_of_classes(at: _Collector) -> None:
    if at.instruction.kernel == Kernel.SOFTMAX_CROSS_ENTROPY_BACKWARD:
        at.reads_run("probabilities", at.n.batch * at.n.outputs)
    at.reads_run("labels", at.n.batch, "int64")
    at.writes_run("dscores", at.n.batch * at.n.outputs)


@_kernel(Kernel.MEAN_SQUARED_ERROR_FORWARD, Kernel.ELEMENTWISE_LOSS_FORWARD)
def _losses_of_targets(at: _Collector) -> None:
    at.reads_run("y", at.n.batch * at.n.outputs)
    at.reads_run("target", at.n.batch * at.n.outputs)
    at.writes_run("losses", at.n.batch)


@_kernel(Kernel.MEAN_SQUARED_ERROR_BACKWARD, Kernel.ELEMENTWISE_LOSS_BACKWARD)
def _gradient_of_targets(at: _Collector) -> None:
    at.reads_run("y", at.n.size)
    at.reads_run("target", at.n.size)
    at.writes_run("dy", at.n.size)


@_kernel(Kernel.ONE_HOT)
def _one_hot(at: _Collector) -> None:
    at.reads_run("labels", at.n.batch, "int64")
    at.writes_run("targets", at.n.batch * at.n.outputs)


@_kernel(Kernel.SOFT_CROSS_ENTROPY_FORWARD, Kernel.SOFT_CROSS_ENTROPY_BACKWARD)
def _soft_cross_entropy(at: _Collector) -> None:
    size, forward = at.n.batch * at.n.outputs, Kernel.SOFT_CROSS_ENTROPY_FORWARD
    at.reads_run("targets", size)
    at.reads_run("class_weights", at.n.outputs)
    if at.instruction.kernel == forward:
        at.reads_run("scores", size)
        at.writes_run("losses", at.n.batch)
        at.writes_run("probabilities", size)
    else:
        at.reads_run("probabilities", size)
        at.writes_run("dscores", size)


@_kernel(Kernel.LABEL_WEIGHTS)
def _label_weights(at: _Collector) -> None:
    at.reads_run("labels", at.n.batch, "int64")
    at.reads_run("class_weights", at.n.outputs)
    at.reads_run("sample_weights", at.n.batch)
    at.writes_run("counted", at.n.batch, "int64")
    at.writes_run("factors", at.n.batch)
    at.writes_run("weights", at.n.batch)


@_kernel(Kernel.WEIGH_LOSSES)
def _weigh_losses(at: _Collector) -> None:
    at.reads_run("factors", at.n.batch)
    at.updates_run("losses", at.n.batch)


@_kernel(Kernel.WEIGH_GRADIENTS)
def _weigh_gradients(at: _Collector) -> None:
    at.reads_run("factors", at.n.batch)
    at.reads_run("weights", at.n.batch)
    at.updates_run("dscores", at.n.batch * at.n.outputs)


@_kernel(Kernel.SUM_WEIGHTED_LOSSES)
def _sum_weighted_losses(at: _Collector) -> None:
    for name in ("losses", "factors", "weights"):
        at.reads_run(name, at.n.batch)
    at.updates_run("statistics", 4, "float64")


@_kernel(Kernel.SUM_LOSSES)
def _sum_losses(at: _Collector) -> None:
    at.reads_run("losses", at.n.batch)
    at.updates_run("statistics", 3, "float64")


@_kernel(Kernel.COUNT_CORRECT)
def _count_correct(at: _Collector) -> None:
    at.reads_run("scores", at.n.batch * at.n.outputs)
    at.reads_run("labels", at.n.batch, "int64")
    at.updates_run("statistics", 3, "float64")


_STATE = {
    Kernel.MOMENTUM_UPDATE: ("m",),
    Kernel.ADAM_UPDATE: ("m", "v"),
    Kernel.RMSPROP_UPDATE: ("v", "mean", "m"),
    Kernel.ADAGRAD_UPDATE: ("v",),
    Kernel.NADAM_UPDATE: ("m", "v"),
}
"""What an update keeps from step to step, beside the parameters."""
_COUNTING = (Kernel.ADAM_UPDATE, Kernel.NADAM_UPDATE)


@_kernel(
    Kernel.SGD_UPDATE, Kernel.MOMENTUM_UPDATE, Kernel.ADAM_UPDATE, Kernel.RMSPROP_UPDATE,
    Kernel.ADAGRAD_UPDATE, Kernel.NADAM_UPDATE,
)  # fmt: skip
def _optimizer_update(at: _Collector) -> None:
    size = at.n.size
    at.reads_run("dw", size)
    for name in _STATE.get(at.instruction.kernel, ()):
        at.updates_run(name, size)
    at.updates_run("w", size)
    at.reads_run("rate", 2 if getattr(at.n, "scheduled", 0) else 1, "float64")
    if at.instruction.kernel in _COUNTING:
        at.reads_run("step", 1, "int64")


@_kernel(Kernel.LAMB_DIRECTION)
def _lamb_direction(at: _Collector) -> None:
    for name in ("w", "dw"):
        at.reads_run(name, at.n.size)
    for name in ("m", "v"):
        at.updates_run(name, at.n.size)
    at.reads_run("step", 1, "int64")
    at.writes_run("u", at.n.size)


@_kernel(Kernel.LAMB_APPLY)
def _lamb_apply(at: _Collector) -> None:
    at.reads_run("u", at.n.size)
    for name in ("w_sums", "u_sums"):
        at.reads_run(name, blocks_of(at.n.size), "float64")
    at.reads_run("rate", 1, "float64")
    at.updates_run("w", at.n.size)


@_kernel(Kernel.LOOKAHEAD_UPDATE)
def _lookahead_update(at: _Collector) -> None:
    at.updates_run("w", at.n.size)
    at.updates_run("slow", at.n.size)
    at.reads_run("step", 1, "int64")


# Gradients before the update


@_kernel(Kernel.SQUARED_SUMS)
def _squared_sums(at: _Collector) -> None:
    at.reads_run("x", at.n.size)
    at.writes_run("sums", blocks_of(at.n.size), "float64")


@_kernel(Kernel.SCALE_BY_NORM)
def _scale_by_norm(at: _Collector) -> None:
    at.reads_run("sums", blocks_of(at.n.size), "float64")
    at.updates_run("x", at.n.size)


@_kernel(Kernel.CLIP_BY_VALUE)
def _clip_by_value(at: _Collector) -> None:
    at.updates_run("x", at.n.size)


@_kernel(Kernel.ACCUMULATE)
def _accumulate(at: _Collector) -> None:
    at.reads_run("dw", at.n.size)
    if at.instruction.reals.keep:
        at.updates_run("total", at.n.size)
    else:
        at.writes_run("total", at.n.size)


@_kernel(Kernel.MUON_DIRECTION)
def _muon_direction(at: _Collector) -> None:
    at.reads_run("dw", at.n.size)
    at.updates_run("m", at.n.size)
    at.writes_run("direction", at.n.size)


@_kernel(Kernel.NEWTON_SCHULZ_POLYNOMIAL)
def _newton_schulz_polynomial(at: _Collector) -> None:
    for name in ("gram", "square"):
        at.reads_run(name, at.n.rows**2)
    at.writes_run("polynomial", at.n.rows**2)


# Products of bf16


def _reads_patches(at: _Collector) -> None:
    n = at.n
    rows_before = (n.height - 1) * n.width + min(n.width, n.last_columns)
    whole = n.height * n.width if n.last_columns == n.columns else rows_before
    at.reads_run("a", n.samples * whole * n.channels)


@_kernel(Kernel.BF16_PACK_WEIGHTS)
def _bf16_pack_weights(at: _Collector) -> None:
    n = at.n
    at.reads_reach(
        "w", (n.groups, n.w_group), (n.outputs, n.w_output), (n.taps_down, n.w_down),
        (n.taps_across, n.w_across), (n.depth, n.w_depth),
    )  # fmt: skip
    steps = -(-n.taps_down * n.taps_across * n.depth // 32)
    at.writes_run("packed", n.groups * -(-n.outputs // 16) * steps * 512, "uint16")


@_kernel(Kernel.BF16_TILES)
def _bf16_tiles(at: _Collector) -> None:
    n = at.n
    for band in _bands_of_c(n):
        _writes_band(at, *band)
    _reads_patches(at)
    at.reads_run("bias", n.groups * n.outputs)
    at.reads_run("packed", n.groups * n.packed_group, "uint16")
    at.scratch_run("scratch", at.instruction.max_threads * n.scratch_thread)


def _bf16_sums(n: Any, rows: int) -> int:
    """Elements of the sums of a weight gradient, which fill tiles."""
    return int(n.parts * n.groups * (-(-rows // 32) * 32) * (-(-n.outputs // 16) * 16))


@_kernel(Kernel.BF16_WEIGHT_SUMS)
def _bf16_weight_sums(at: _Collector) -> None:
    n = at.n
    _reads_patches(at)
    pixels = (n.rows - 1) * n.columns + n.last_columns
    at.reads_run("dy", n.samples * pixels * n.groups * n.outputs)
    at.writes_run("sums", _bf16_sums(n, n.taps_down * n.taps_across * n.depth))
    at.writes_run("bias_sums", n.parts * n.groups * n.outputs, "float64")
    at.scratch_run("scratch", at.instruction.max_threads * n.scratch_thread)


@_kernel(Kernel.BF16_WEIGHT_GRADIENT)
def _bf16_weight_gradient(at: _Collector) -> None:
    n = at.n
    at.reads_run("sums", _bf16_sums(n, n.rows))
    at.reads_run("bias_sums", n.parts * n.groups * n.outputs, "float64")
    biases = 0 if at.instruction.pointers.bias_sums is None else n.groups * n.outputs
    at.rate_and_update(("dw", n.groups * n.rows * n.outputs), ("db", biases))
