"""One small product in registers, as LLVM instructions: the tile of ``kernels/cpu/gemm.h``.

``C[m, n] = start + sum over r1, r2, k of A[r1, r2, k, m] B[r1, r2, k, n]``: the sum runs over
``runs1`` times ``runs2`` runs of ``depth`` steps, and ``rows`` times ``vectors`` sums stay in
registers until all are done. Georganas et al., "High-Performance Deep Learning via a Single
Building Block" (arXiv:1906.06440).

Numba would keep an array of sums in memory, and a variable for each sum is no code to be read: so
the instructions are written here. A call of a tile is :data:`TILE_WORDS` words in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from fastconv.backends.compiled.instructions.choices import (
    INIT_BIAS,
    INIT_C,
    INIT_ROW_BIAS,
    LEAKY_GRADIENT,
    LEAKY_RELU,
    UPDATE,
)
from fastconv.backends.numba.instruction_set import target
from fastconv.backends.numba.numba_internals import cgutils
from fastconv.backends.numba.pointers import WORD, Instructions, Pointer, compiled_as
from fastconv.backends.numba.vector_memory import (
    first_lanes,
    write_load,
    write_prefetch,
    write_store,
)
from fastconv.backends.numba.vectors import FLAGS, Vector, llvm_element, llvm_type, write_spread

A, B, BIAS, C, OTHER = range(5)
"""Addresses; OTHER has the strides of C."""
RUNS1, A_RUN1, B_RUN1, RUNS2, A_RUN2, B_RUN2, DEPTH = range(5, 12)
A_STRIDE, B_STEP, C_ROW = range(12, 15)
"""Strides in elements, of A from row to row along depth, from step to step along rows."""
COLUMNS, INIT, EPILOGUE = range(15, 18)
"""Columns of C, at most ``vectors`` vectors; INIT_ZERO and so on; STORE and so on."""
SLOPE, KEEP, RATE = range(18, 21)
"""float64."""
TILE_WORDS = 24


class Words:
    """The words of a call, as values."""

    def __init__(self, builder: Any, address: Any, element: Any) -> None:
        self.builder, self.element = builder, element
        self.start = builder.inttoptr(address, WORD.as_pointer())

    def word(self, number: int) -> Any:
        """Write instructions for an integer."""
        return self.builder.load(self.builder.gep(self.start, [WORD(number)]))

    def place(self, number: int, element: Any = None) -> Any:
        """Write instructions for a pointer to elements."""
        kind = (element or self.element).as_pointer()
        return self.builder.inttoptr(self.word(number), kind)

    def spread(self, number: int, kind: Any) -> Any:
        """Write instructions for a vector of a float64."""
        value = self.builder.bitcast(self.word(number), ir.DoubleType())
        if self.element != ir.DoubleType():
            value = self.builder.fptrunc(value, self.element)
        return write_spread(self.builder, kind, value)

    def equals(self, number: int, value: int) -> Any:
        """Write instructions for whether an integer has a value."""
        return self.builder.icmp_signed("==", self.word(number), WORD(value))


def write_product(builder: Any, total: Any, factor: Any, value: Any) -> None:
    """Write instructions that add a product to a sum in a register."""
    product = builder.fmul(factor, value, flags=FLAGS)
    builder.store(builder.fadd(builder.load(total), product, flags=FLAGS), total)


def write_choice(builder: Any, total: Any, mask: Any, slope: Any) -> None:
    """Write instructions that multiply a sum in a register by the slope where a mask is false."""
    value = builder.load(total)
    smaller = builder.fmul(value, slope, flags=FLAGS)
    builder.store(builder.select(mask, value, smaller), total)


def write_runs(words: Words, step: Callable[[Any, Any, Any, int], None], ways: int = 1) -> None:
    """Write the loops over runs and depth.

    ``step`` gets where A and B of a run begin, k, and which of the ``ways`` takes its turn.
    """
    builder = words.builder
    a, b, depth = words.place(A), words.place(B), words.word(DEPTH)
    runs = [[words.word(each) for each in run] for run in
            ((RUNS1, A_RUN1, B_RUN1), (RUNS2, A_RUN2, B_RUN2))]  # fmt: skip
    with cgutils.for_range(builder, runs[0][0]) as outer:
        a1 = builder.gep(a, [builder.mul(outer.index, runs[0][1])])
        b1 = builder.gep(b, [builder.mul(outer.index, runs[0][2])])
        with cgutils.for_range(builder, runs[1][0]) as inner:
            a2 = builder.gep(a1, [builder.mul(inner.index, runs[1][1])])
            b2 = builder.gep(b1, [builder.mul(inner.index, runs[1][2])])
            done = builder.sub(depth, builder.urem(depth, WORD(ways)))
            if ways > 1:
                with cgutils.for_range_slice(builder, WORD(0), done, WORD(ways)) as (first, _):
                    for way in range(ways):
                        step(a2, b2, builder.add(first, WORD(way)), way)
            start = done if ways > 1 else WORD(0)
            with cgutils.for_range_slice(builder, start, depth, WORD(1)) as (k, _):
                step(a2, b2, k, 0)


class _Tile:
    """Writes one tile."""

    def __init__(
        self, builder: Any, address: Any, vector: Vector, rows: int, vectors: int, deep: bool
    ) -> None:
        self.builder, self.vector, self.deep = builder, vector, deep
        self.kind = llvm_type(vector)
        self.words = Words(builder, address, llvm_element(vector.dtype))
        self.places = [(row, v) for row in range(rows) for v in range(vectors)]
        self.rows, self.vectors = rows, vectors
        # A product waits for the sum that it is added to: few sums take turns with others.
        ways = 4 if rows * vectors <= 2 else 2 if rows * vectors <= 4 else 1
        # LLVM keeps them in registers.
        self.sums_of_ways = [
            {place: cgutils.alloca_once(builder, self.kind) for place in self.places}
            for _ in range(ways)
        ]
        self.sums = self.sums_of_ways[0]
        self.c, self.c_row = self.words.place(C), self.words.word(C_ROW)
        self.last = builder.sub(self.words.word(COLUMNS), WORD((vectors - 1) * vector.lanes))
        self.mask = first_lanes(builder, vector, self.last) if vector.lanes > 1 else None

    def _at(self, start: Any, row: int, v: int) -> Any:
        """Address of a vector of something with the strides of C."""
        elements = self.builder.mul(self.c_row, WORD(row))
        return self.builder.gep(start, [self.builder.add(elements, WORD(v * self.vector.lanes))])

    def _load(self, place: Any, v: int) -> Any:
        mask = self.mask if v == self.vectors - 1 else None
        return write_load(self.builder, place, self.vector, mask)

    def begin(self) -> None:
        """Give the sums their first values."""
        builder, words = self.builder, self.words
        start = words.place(BIAS)
        zero = ir.Constant(self.kind, None)
        first = [cgutils.alloca_once(builder, self.kind) for _ in range(self.vectors)]
        for each in first:
            builder.store(zero, each)
        with builder.if_then(words.equals(INIT, INIT_BIAS)):
            for v, each in enumerate(first):
                place = builder.gep(start, [WORD(v * self.vector.lanes)])
                builder.store(self._load(place, v), each)
        for row, v in self.places:
            builder.store(builder.load(first[v]), self.sums[row, v])
        with builder.if_then(words.equals(INIT, INIT_ROW_BIAS)):
            for row, v in self.places:
                value = builder.load(builder.gep(start, [WORD(row)]))
                builder.store(write_spread(builder, self.kind, value), self.sums[row, v])
        # Outputs of the forward pass, long out of the caches: they come while the sums are made.
        with builder.if_then(words.equals(EPILOGUE, LEAKY_GRADIENT)):
            for row, v in self.places:
                write_prefetch(builder, self._at(words.place(OTHER), row, v))

    def add(self) -> None:
        """Run through all runs."""
        builder, ways = self.builder, len(self.sums_of_ways)
        stride, b_step = self.words.word(A_STRIDE), self.words.word(B_STEP)
        zero = ir.Constant(self.kind, None)
        for more in self.sums_of_ways[1:]:
            for total in more.values():
                builder.store(zero, total)
        write_runs(self.words, lambda a, b, k, way: self._step(a, b, k, way, stride, b_step), ways)
        while ways > 1:
            ways //= 2
            for way in range(ways):
                for place, total in self.sums_of_ways[way].items():
                    other = builder.load(self.sums_of_ways[way + ways][place])
                    builder.store(builder.fadd(builder.load(total), other, flags=FLAGS), total)
        # Added last: a sum of many small products is lost on a large one that it starts from.
        with builder.if_then(self.words.equals(INIT, INIT_C)):
            for (row, v), total in self.sums.items():
                before = self._load(self._at(self.c, row, v), v)
                builder.store(builder.fadd(builder.load(total), before, flags=FLAGS), total)

    def _step(self, a: Any, b: Any, k: Any, way: int, stride: Any, b_step: Any) -> None:
        builder, lanes = self.builder, self.vector.lanes
        b = builder.gep(b, [builder.mul(k, b_step)])
        values = []
        for v in range(self.vectors):
            place = builder.gep(b, [WORD(v * lanes)])
            # Where a masked load costs little, B may end within a vector.
            loaded = (
                self._load(place, v)
                if target().reads_parts(self.rows * self.vectors)
                else write_load(builder, place, self.vector)
            )
            values.append(loaded)
        for row in range(self.rows):
            if self.deep:
                place = builder.gep(a, [builder.add(builder.mul(stride, WORD(row)), k)])
            else:
                place = builder.gep(a, [builder.add(builder.mul(k, stride), WORD(row))])
            factor = write_spread(builder, self.kind, builder.load(place))
            for v, value in enumerate(values):
                write_product(builder, self.sums_of_ways[way][row, v], factor, value)

    def finish(self) -> None:
        """Make of the sums what becomes of them, and store that."""
        builder, words = self.builder, self.words
        zero = ir.Constant(self.kind, None)
        with builder.if_then(words.equals(EPILOGUE, LEAKY_RELU)):
            slope = words.spread(SLOPE, self.kind)
            for total in self.sums.values():
                positive = builder.fcmp_ordered(">", builder.load(total), zero)
                write_choice(builder, total, positive, slope)
        with builder.if_then(words.equals(EPILOGUE, LEAKY_GRADIENT)):
            slope, other = words.spread(SLOPE, self.kind), words.place(OTHER)
            for (row, v), total in self.sums.items():
                passed = self._load(self._at(other, row, v), v)
                mask = builder.fcmp_ordered(">", passed, zero)
                write_choice(builder, total, mask, slope)
        with builder.if_then(words.equals(EPILOGUE, UPDATE)):
            keep, rate = words.spread(KEEP, self.kind), words.spread(RATE, self.kind)
            for (row, v), total in self.sums.items():
                before = self._load(self._at(self.c, row, v), v)
                kept = builder.fmul(keep, before, flags=FLAGS)
                step = builder.fmul(rate, builder.load(total), flags=FLAGS)
                builder.store(builder.fsub(kept, step, flags=FLAGS), total)
        if self.mask is None:
            self._store(None)
            return
        # Masked stores are slow on some processors.
        whole = builder.icmp_signed("==", self.last, WORD(self.vector.lanes))
        with builder.if_else(whole) as (then, otherwise):
            with then:
                self._store(None)
            with otherwise:
                self._store(self.mask)

    def _store(self, mask: Any) -> None:
        for (row, v), total in self.sums.items():
            value, place = self.builder.load(total), self._at(self.c, row, v)
            last = mask if v == self.vectors - 1 else None
            write_store(self.builder, value, place, self.vector, last)


def _product(
    _: Any, tile: Any, rows: Any, vectors: Any, deep: Any, dtype: Any
) -> tuple[Any, Instructions]:
    number = dtype.instance_type
    vector = Vector(number, target().lanes(number.name))

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        made = _Tile(
            builder, values[0], vector, rows.literal_value, vectors.literal_value,
            bool(deep.literal_value),
        )  # fmt: skip
        made.begin()
        made.add()
        made.finish()
        return context.get_dummy_value()

    return types.none(types.int64, rows, vectors, deep, dtype), write


@compiled_as(_product, prefer_literal=True)
def product(tile: int, rows: int, vectors: int, deep: int, dtype: Any) -> None:
    """Compute the tile at an address: ``deep`` is 1 along depth, 0 along rows."""
    words, reals = Pointer(tile, np.int64), Pointer(tile, np.float64)
    columns, c_row = int(words[COLUMNS]), int(words[C_ROW])
    size = np.dtype(dtype).itemsize

    def elements(start: int, first: int, count: int) -> np.ndarray:
        return Pointer(int(words[start]) + first * size, dtype).elements(count)

    c = [elements(C, row * c_row, columns) for row in range(rows)]
    sums = np.zeros((rows, columns), dtype)
    if words[INIT] == INIT_BIAS:
        sums[:] = elements(BIAS, 0, columns)
    elif words[INIT] == INIT_ROW_BIAS:
        sums[:] = elements(BIAS, 0, rows)[:, None]
    stride = int(words[A_STRIDE])
    for run1 in range(words[RUNS1]):
        for run2 in range(words[RUNS2]):
            first_a = int(run1 * words[A_RUN1] + run2 * words[A_RUN2])
            first_b = int(run1 * words[B_RUN1] + run2 * words[B_RUN2])
            for k in range(words[DEPTH]):
                if deep:
                    last = elements(A, first_a + k, (rows - 1) * stride + 1)
                    factors = last[::stride] if stride else last.repeat(rows)
                else:
                    factors = elements(A, first_a + k * stride, rows)
                sums += np.outer(factors, elements(B, first_b + k * int(words[B_STEP]), columns))
    if words[INIT] == INIT_C:
        sums += c
    if words[EPILOGUE] == LEAKY_RELU:
        sums = np.where(sums > 0, sums, sums * dtype(reals[SLOPE]))
    elif words[EPILOGUE] == LEAKY_GRADIENT:
        for row in range(rows):
            passed = elements(OTHER, row * c_row, columns) > 0
            sums[row] = np.where(passed, sums[row], sums[row] * dtype(reals[SLOPE]))
    elif words[EPILOGUE] == UPDATE:
        sums = dtype(reals[KEEP]) * np.array(c) - dtype(reals[RATE]) * sums
    for row in range(rows):
        c[row][:] = sums[row]
