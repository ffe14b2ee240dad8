"""Collecting the instructions of one kernel of the contract: copies, packed weights, products."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fastconv.backends.compiled.instructions.choices import INIT_BIAS, INIT_C, INIT_ZERO, STORE
from fastconv.backends.compiled.instructions.instruction import (
    WORKSPACE,
    Instruction,
    LoweredKernel,
    Pointer,
    Target,
)
from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.rules.layout import transposition
from fastconv.backends.compiled.rules.split import threads_for_elements, threads_for_product
from fastconv.backends.compiled.rules.tiles import RegisterTile

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""
L2_BYTES = 256 * 1024
"""Packed weights of at most this size are taken to stay in the second-level cache of a core."""

Sides = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Images:
    """Images in memory: an address, sizes, and strides in elements."""

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

    ``depth_stride`` 0 means packed; then ``down`` and ``across`` count steps of depth, else
    elements.
    """

    pointer: Pointer
    depth_stride: int
    block: int
    group: int
    down: int
    across: int


@dataclass(frozen=True, slots=True)
class UnpackedWeights:
    """Weights in memory: where, and strides in elements; taps may go backwards."""

    pointer: Pointer
    group: int
    output: int
    down: int
    across: int
    depth: int


@dataclass(frozen=True, slots=True)
class Taps:
    """Range of a sum: taps down and across with their strides in A, and their depth."""

    down: int
    across: int
    depth: int
    a_down: int = 0
    a_across: int = 0


@dataclass(slots=True)
class Builder:
    """The instructions of one kernel of the contract, and its workspace."""

    dtype: str
    target: Target
    instructions: list[Instruction] = field(default_factory=list)
    _bytes: int = 0
    _pieces: list[tuple[int, Pointer]] = field(default_factory=list)
    _next: int = 0
    _packed: dict[tuple[Any, ...], Weights] = field(default_factory=dict)
    _condition: Pointer | None = None

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return np.dtype(self.dtype).itemsize

    @property
    def lanes(self) -> int:
        """Elements of a vector."""
        return self.target.lanes(self.dtype)

    def lowered(self) -> LoweredKernel:
        """Return what has been collected."""
        return LoweredKernel(tuple(self.instructions), self._bytes)

    def add(
        self,
        kernel: Kernel,
        *,
        max_threads: int = 1,
        barrier: bool = True,
        **fields: Any,
    ) -> None:
        """Add an instruction, its fields by name."""
        self._append(
            Instruction.of(kernel, self.dtype, max_threads=max_threads, barrier=barrier, **fields)
        )

    def _append(self, instruction: Instruction) -> None:
        self.instructions.append(
            replace(instruction, condition=self._condition, is_narrow=self.target.is_narrow)
        )

    @contextmanager
    def only_if(self, condition: Pointer) -> Iterator[None]:
        """Let what is added inside run only where one of the 16 words there is not 0."""
        self._condition = condition
        try:
            yield
        finally:
            self._condition = None

    def set_barrier(self, barrier: bool) -> None:
        """Say whether threads wait for each other behind the last instruction."""
        self.instructions[-1] = replace(self.instructions[-1], barrier=barrier)

    def scratch(self, elements: int) -> Pointer:
        """Return a piece of the workspace, on its own cache lines, until :meth:`reset_scratch`."""
        while self._next < len(self._pieces):
            size, pointer = self._pieces[self._next]
            self._next += 1
            if size >= elements:
                return pointer
        pointer = self.allocate(elements)
        self._pieces.append((elements, pointer))
        self._next = len(self._pieces)
        return pointer

    def allocate(self, elements: int) -> Pointer:
        """Return a piece of the workspace that nothing else of the kernel gets."""
        pointer = Pointer(WORKSPACE, self._bytes)
        self._bytes += -(-elements * self.itemsize // ALIGNMENT) * ALIGNMENT
        return pointer

    def reset_scratch(self) -> None:
        """Let what follows use the scratch memory that was handed out so far, in its order.

        What is the same work on other samples finds its memory in the caches.
        """
        self._next = 0

    def transpose(
        self, x: Pointer, y: Pointer, matrices: int, rows: int, columns: int,
        x_period: int = 1, y_period: int = 1,
    ) -> None:  # fmt: skip
        """Add a transposition of matrices, as :func:`.layout.transposition` makes it."""
        self._append(transposition(self.dtype, x, y, matrices, rows, columns, x_period, y_period))

    def sum_pixels(self, images: Pointer, total: Pointer, pixels: int, channels: int) -> None:
        """Add the sum of each channel over NHWC images."""
        self.add(
            Kernel.SUM_PIXELS, x=images, total=total, pixels=pixels, channels=channels,
            max_threads=min(threads_for_elements(pixels * channels), -(-channels // self.lanes)),
        )  # fmt: skip

    def add_to(self, total: Pointer, more: Pointer, size: int) -> None:
        """Add elements to others."""
        self.add_parts(more, 1, size, total, b=total)

    def add_parts(
        self, terms: Pointer, parts: int, size: int, y: Pointer, *,
        b: Pointer | None = None, b_size: int | None = None, barrier: bool = True,
    ) -> None:  # fmt: skip
        """Add the sum of parts of the same size, and of ``b`` as often as it goes into them."""
        self.add(
            Kernel.ADD_PARTS, terms=terms, b=b, y=y, size=size,
            b_size=size if b_size is None else b_size, parts=parts, epilogue=STORE, slope=0.0,
            max_threads=threads_for_elements(size * parts), barrier=barrier,
        )  # fmt: skip

    def pad(
        self, images: Images, padding: Sides, channels: int | None = None, to: Pointer | None = None
    ) -> Images:
        """Copy images without gaps into zeros, and return the copy; or the images themselves.

        Parameters
        ----------
        images
            What is copied.
        padding
            Pixels on each side; negative: pixels that are left out.
        channels
            Channels of the copy, as many as the images have or more.
        to
            Where the copy goes.
        """
        (top, bottom), (left, right) = padding
        channels = channels or images.channels
        if not (top or bottom or left or right) and channels == images.channels:
            return images
        height, width = images.height + top + bottom, images.width + left + right
        shape = images.samples, height, width, channels
        place = self.scratch(math.prod(shape)) if to is None else to
        self.add(
            Kernel.PAD_IMAGES, x=images.pointer, y=place, samples=images.samples,
            height=images.height, width=images.width, channels=images.channels,
            out_height=height, out_width=width, out_channels=channels, top=top, left=left,
            max_threads=threads_for_elements(math.prod(shape)),
        )  # fmt: skip
        return Images.dense(place, shape)

    def pack(
        self, source: UnpackedWeights, taps: Taps, outputs: int, groups: int, vectors: int,
        *, barrier: bool = True,
    ) -> Weights:  # fmt: skip
        """Copy weights into blocks of ``vectors`` vectors of outputs; once for a kernel.

        Under a condition it is done each time, to the same place.
        """
        key = source, taps, outputs, groups, vectors, self._condition is None
        before = self._packed.get(key)
        if before is not None and self._condition is None:
            return before
        count = taps.down * taps.across * taps.depth
        block, group = count * vectors * self.lanes, count * -(-outputs // self.lanes) * self.lanes
        place = self.allocate(groups * group) if before is None else before.pointer
        blocks = -(-outputs // (vectors * self.lanes))
        self.add(
            Kernel.PACK_WEIGHTS, w=source.pointer, packed=place,
            groups=groups, vectors=vectors, outputs=outputs,
            taps_down=taps.down, taps_across=taps.across, depth=taps.depth,
            w_group=source.group, w_output=source.output, w_down=source.down,
            w_across=source.across, w_depth=source.depth, packed_group=group, packed_block=block,
            max_threads=min(
                threads_for_elements(groups * group, 4), max(1, groups * blocks * taps.down)
            ),
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
        tile: RegisterTile,
        groups: int = 1,
        *,
        bias: Pointer | None = None,
        last_row: int | None = None,
        group_of_a: int | None = None,
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
        group_of_a
            From what a group reads to what the next one does; they lie side by side by default.
        group_of_c
            From the results of a group to those of the next; they lie side by side by default.
        add
            Add to what is there.
        """
        blocks = -(-outputs // (tile.vectors * self.lanes))
        per_pixel = taps.down * taps.across * taps.depth * outputs * groups
        fits_in_l2 = per_pixel * self.itemsize <= L2_BYTES
        self.add(
            Kernel.CONV_TILES, a=a.pointer, b=weights.pointer, c=c.pointer, bias=bias,
            samples=c.samples, rows=c.height, columns=c.width, vectors=tile.vectors,
            outputs=outputs, tile_rows=tile.rows,
            a_sample=a.sample, a_row=a.row, a_column=a.pixel,
            c_sample=c.sample, c_row=c.row, c_column=c.pixel,
            taps_down=taps.down, a_down=taps.a_down, b_down=weights.down,
            taps_across=taps.across, a_across=taps.a_across, b_across=weights.across,
            depth=taps.depth, b_depth=weights.depth_stride, b_block=weights.block,
            groups=groups, a_group=taps.depth if group_of_a is None else group_of_a,
            b_group=weights.group,
            c_group=outputs if group_of_c is None else group_of_c,
            accumulator_init=INIT_C if add else INIT_ZERO if bias is None else INIT_BIAS,
            epilogue=STORE, blocks_outside=0 if fits_in_l2 else 1,
            last_columns=c.width if last_row is None else last_row, slope=0.0,
            max_threads=threads_for_product(
                2 * c.pixels * per_pixel, c.samples * c.height * blocks * groups
            ),
            barrier=barrier,
        )  # fmt: skip
