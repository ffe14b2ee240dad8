"""Collecting the records of one launch: copies, packed weights, products."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.record import (
    WORKSPACE,
    Launch,
    Pointer,
    Record,
    Target,
)
from fastconv.backends.compiled.rules.layout import transposition
from fastconv.backends.compiled.rules.split import parts_of, parts_of_product
from fastconv.backends.compiled.rules.tiles import Tile

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""
NEAR_BYTES = 256 * 1024
"""Packed weights of at most this size are taken to stay in the second-level cache of a core."""

START_ZERO, START_BIAS, START_C, START_ROWS = 0, 1, 2, 3
"""What the sums of a tile start from; a bias goes with the columns of C, or with its rows."""
STORE, LEAKY_RELU, LEAKY_GRADIENT, UPDATE = 0, 1, 2, 3
"""What becomes of them."""

Sides = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Images:
    """Where images are in memory: an address, sizes, and strides in elements."""

    pointer: Pointer
    samples: int
    height: int
    width: int
    channels: int
    sample: int
    row: int
    pixel: int

    @classmethod
    def dense(cls, pointer: Pointer, shape: tuple[int, ...]) -> Images:
        """NHWC without gaps."""
        n, h, w, c = shape
        return cls(pointer, n, h, w, c, h * w * c, w * c, c)

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.samples * self.height * self.width

    @property
    def has_gaps(self) -> bool:
        """Whether the pixels are not all at one distance."""
        return self.row != self.width * self.pixel or self.sample != self.height * self.row

    def at(self, row: int, column: int, dtype: str) -> Images:
        """Begin at another pixel; it may be one of the padding."""
        elements = row * self.row + column * self.pixel
        return replace(self, pointer=self.pointer.skip(elements * np.dtype(dtype).itemsize))

    def as_rows(self, length: int) -> Images:
        """See the pixels of images without gaps as rows of one image; the last may be shorter."""
        pixels, step = self.pixels, self.pixel
        rows, length = -(-pixels // length), min(length, pixels)
        return Images(
            self.pointer, 1, rows, length, self.channels, rows * length * step, length * step, step
        )


@dataclass(frozen=True, slots=True)
class Weights:
    """The B of a product: weights as ``conv_tiles`` reads them.

    ``depth_stride`` 0 means packed; then ``tap1`` and ``tap2`` count steps of depth, else elements.
    """

    pointer: Pointer
    depth_stride: int
    block: int
    group: int
    tap1: int
    tap2: int


@dataclass(frozen=True, slots=True)
class Source:
    """Weights in memory: where, and strides in elements; taps may go backwards."""

    pointer: Pointer
    group: int
    output: int
    down: int
    across: int
    depth: int


@dataclass(frozen=True, slots=True)
class Taps:
    """What a sum runs over: taps down and across with their strides in A, and their depth."""

    down: int
    across: int
    depth: int
    a_down: int = 0
    a_across: int = 0


@dataclass(slots=True)
class Recorder:
    """The records of one launch, and its workspace."""

    dtype: str
    target: Target
    records: list[Record] = field(default_factory=list)
    _bytes: int = 0
    _taken: list[tuple[int, Pointer]] = field(default_factory=list)
    _next: int = 0
    _packed: dict[tuple[Any, ...], Weights] = field(default_factory=dict)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return np.dtype(self.dtype).itemsize

    @property
    def lanes(self) -> int:
        """Elements of a vector."""
        return self.target.lanes(self.dtype)

    def launch(self) -> Launch:
        """Return what has been collected."""
        return Launch(tuple(self.records), self._bytes)

    def add(
        self,
        kernel: str,
        pointers: tuple[Pointer | None, ...],
        *integers: int,
        reals: tuple[float, ...] = (),
        parts: int = 1,
        barrier: bool = True,
    ) -> None:
        """Add a record."""
        record = Record(kernel, self.dtype, pointers, integers, reals, parts, barrier)
        self.records.append(record)

    def set_barrier(self, barrier: bool) -> None:
        """Say whether threads wait for each other behind the last record."""
        self.records[-1] = replace(self.records[-1], barrier=barrier)

    def take(self, elements: int) -> Pointer:
        """Return a piece of the workspace, on cache lines of its own, until :meth:`take_again`."""
        while self._next < len(self._taken):
            size, pointer = self._taken[self._next]
            self._next += 1
            if size >= elements:
                return pointer
        pointer = self.take_for_good(elements)
        self._taken.append((elements, pointer))
        self._next = len(self._taken)
        return pointer

    def take_for_good(self, elements: int) -> Pointer:
        """Return a piece of the workspace that nothing else of this launch gets."""
        pointer = Pointer(WORKSPACE, self._bytes)
        self._bytes += -(-elements * self.itemsize // ALIGNMENT) * ALIGNMENT
        return pointer

    def take_again(self) -> None:
        """Let what is recorded from now on use the pieces that were taken so far, in their order.

        What is the same work on other samples finds its memory in the caches.
        """
        self._next = 0

    def transpose(
        self, x: Pointer, y: Pointer, matrices: int, rows: int, columns: int,
        x_period: int = 1, y_period: int = 1,
    ) -> None:  # fmt: skip
        """Add a transposition of matrices: see :func:`fastconv.backends.compiled.rules.layout.transposition`."""
        self.records.append(
            transposition(self.dtype, x, y, matrices, rows, columns, x_period, y_period)
        )

    def sum_pixels(self, images: Pointer, total: Pointer, pixels: int, channels: int) -> None:
        """Add the sum of each channel over NHWC images."""
        parts = min(parts_of(pixels * channels), -(-channels // self.lanes))
        self.add("sum_pixels", (images, total), pixels, channels, parts=parts)

    def add_to(self, total: Pointer, more: Pointer, size: int) -> None:
        """Add elements to others."""
        self.add(
            "add_parts", (more, total, total), size, size, 1, STORE,
            reals=(0.0,), parts=parts_of(size),
        )  # fmt: skip

    def pad(self, images: Images, padding: Sides, channels: int | None = None) -> Images:
        """Copy images without gaps into zeros, and return the copy; or the images themselves.

        ``channels``: of the copy, as many as the images have or more.
        """
        (top, bottom), (left, right) = padding
        channels = channels or images.channels
        if not (top or bottom or left or right) and channels == images.channels:
            return images
        height, width = images.height + top + bottom, images.width + left + right
        shape = images.samples, height, width, channels
        place = self.take(math.prod(shape))
        self.add(
            "pad_images", (images.pointer, place),
            images.samples, images.height, images.width, images.channels,
            height, width, channels, top, left,
            parts=parts_of(math.prod(shape)),
        )  # fmt: skip
        return Images.dense(place, shape)

    def pack(
        self, source: Source, taps: Taps, outputs: int, groups: int, vectors: int,
        *, barrier: bool = True,
    ) -> Weights:  # fmt: skip
        """Copy weights into blocks of ``vectors`` vectors of outputs; once for a launch."""
        key = source, taps, outputs, groups, vectors
        if key in self._packed:
            return self._packed[key]
        count = taps.down * taps.across * taps.depth
        block, group = count * vectors * self.lanes, count * -(-outputs // self.lanes) * self.lanes
        place = self.take_for_good(groups * group)
        blocks = -(-outputs // (vectors * self.lanes))
        self.add(
            "pack_weights", (source.pointer, place),
            groups, vectors, outputs, taps.down, taps.across, taps.depth,
            source.group, source.output, source.down, source.across, source.depth, group, block,
            parts=min(parts_of(groups * group, 4), max(1, groups * blocks * taps.down)),
            barrier=barrier,
        )  # fmt: skip
        weights = Weights(place, 0, block, group, taps.across * taps.depth, taps.depth)
        self._packed[key] = weights
        return weights

    def product(
        self,
        a: Images,
        taps: Taps,
        weights: Weights,
        c: Images,
        outputs: int,
        tile: Tile,
        groups: int = 1,
        *,
        bias: Pointer | None = None,
        last_row: int | None = None,
        group_of_c: int | None = None,
        add: bool = False,
        barrier: bool = True,
    ) -> None:
        """Add one ``conv_tiles``.

        Parameters
        ----------
        a
            With the strides from one pixel of ``c`` to the next.
        taps, outputs
            Depth and outputs are those of one group.
        weights, tile
            The weights, packed for this tile.
        c
            Where the results go.
        last_row
            Pixels of the last row of c, where they are fewer.
        group_of_c
            From the results of a group to those of the next; they lie side by side by default.
        add
            Add to what is there.
        """
        blocks = -(-outputs // (tile.vectors * self.lanes))
        per_pixel = taps.down * taps.across * taps.depth * outputs * groups
        near = per_pixel * self.itemsize <= NEAR_BYTES
        self.add(
            "conv_tiles", (a.pointer, weights.pointer, c.pointer, bias),
            c.samples, c.height, c.width, tile.vectors, outputs, tile.rows,
            a.sample, a.row, a.pixel, c.sample, c.row, c.pixel,
            taps.down, taps.a_down, weights.tap1, taps.across, taps.a_across, weights.tap2,
            taps.depth, weights.depth_stride, weights.block,
            groups, taps.depth, weights.group, outputs if group_of_c is None else group_of_c,
            START_C if add else START_ZERO if bias is None else START_BIAS, STORE, 0 if near else 1,
            c.width if last_row is None else last_row,
            reals=(0.0,),
            parts=parts_of_product(
                2 * c.pixels * per_pixel, c.samples * c.height * blocks * groups
            ),
            barrier=barrier,
        )  # fmt: skip
