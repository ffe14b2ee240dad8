"""Products of batch-blocked images in registers, as LLVM instructions.

As in :mod:`fastconv.backends.numba.tile_instructions`, whose words a call has too: the tiles of
``kernels/cpu/batch_blocked.h``. A tile has ``outputs`` times ``pixels`` sums, each a vector of one
value of as many samples as there are lanes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from fastconv.backends.compiled.instructions.choices import INIT_C, LEAKY_GRADIENT, LEAKY_RELU
from fastconv.backends.numba.instruction_set import target
from fastconv.backends.numba.numba_internals import cgutils
from fastconv.backends.numba.pointers import WORD, Instructions, Pointer, compiled_as, offset
from fastconv.backends.numba.tile_instructions import (
    A_RUN1,
    A_RUN2,
    A_STRIDE,
    B_RUN1,
    B_RUN2,
    B_STEP,
    BIAS,
    C_ROW,
    DEPTH,
    EPILOGUE,
    INIT,
    OTHER,
    RUNS1,
    RUNS2,
    SLOPE,
    A,
    B,
    C,
    Words,
    write_choice,
    write_product,
    write_runs,
)
from fastconv.backends.numba.vector_memory import write_load, write_store
from fastconv.backends.numba.vectors import (
    FLAGS,
    Vector,
    lanes_of,
    llvm_element,
    llvm_type,
    write_spread,
)


class _Tile:
    """Parts of both tiles: sums by output and pixel (or input)."""

    def __init__(
        self, builder: Any, address: Any, vector: Vector, pixels: int, outputs: int
    ) -> None:
        self.builder, self.vector = builder, vector
        self.pixels, self.outputs = pixels, outputs
        self.kind = llvm_type(vector)
        self.words = Words(builder, address, llvm_element(vector.dtype))
        self.c, self.c_pixel = self.words.place(C), self.words.word(C_ROW)
        self.stride, self.b_step = self.words.word(A_STRIDE), self.words.word(B_STEP)
        # LLVM keeps them in registers.
        self.sums = {
            (q, p): cgutils.alloca_once(builder, self.kind)
            for q in range(outputs)
            for p in range(pixels)
        }

    def load(self, start: Any, elements: Any) -> Any:
        """Write instructions that load a vector some elements behind a pointer."""
        return write_load(self.builder, self.builder.gep(start, [elements]), self.vector)

    def store(self, start: Any, elements: Any, value: Any) -> None:
        """Write instructions that store a vector there."""
        write_store(self.builder, value, self.builder.gep(start, [elements]), self.vector)

    def vectors(self, count: int) -> Any:
        """Elements of so many vectors."""
        return WORD(count * self.vector.lanes)

    def of_pixel(self, q: int, p: int) -> Any:
        """Address of an output of a pixel of C."""
        return self.builder.add(self.builder.mul(self.c_pixel, WORD(p)), self.vectors(q))

    def add(self, values: list[Any], q: int, factor: Any) -> None:
        """Write instructions that add to all sums of an output."""
        for p, value in enumerate(values):
            write_product(self.builder, self.sums[q, p], factor, value)


class _Product(_Tile):
    """Writes ``c[p][q] = bias[q] + sum over runs and k of a[k + p] b[k][q]``: b are scalars."""

    def write(self) -> None:
        builder, words = self.builder, self.words
        bias = words.place(BIAS)
        with builder.if_else(words.equals(BIAS, 0)) as (then, otherwise):
            with then:
                for total in self.sums.values():
                    builder.store(ir.Constant(self.kind, None), total)
            with otherwise:
                for q in range(self.outputs):
                    value = builder.load(builder.gep(bias, [WORD(q)]))
                    first = write_spread(builder, self.kind, value)
                    for p in range(self.pixels):
                        builder.store(first, self.sums[q, p])
        write_runs(words, self._step)
        self._finish()
        for (q, p), total in self.sums.items():
            self.store(self.c, self.of_pixel(q, p), builder.load(total))

    def _step(self, a: Any, b: Any, k: Any, _way: int) -> None:
        builder = self.builder
        a = builder.gep(a, [builder.mul(k, self.vectors(1))])
        values = [self.load(a, builder.mul(self.stride, WORD(p))) for p in range(self.pixels)]
        b = builder.gep(b, [builder.mul(k, self.b_step)])
        for q in range(self.outputs):
            factor = builder.load(builder.gep(b, [WORD(q)]))
            self.add(values, q, write_spread(builder, self.kind, factor))

    def _finish(self) -> None:
        builder, words = self.builder, self.words
        zero = ir.Constant(self.kind, None)
        with builder.if_then(words.equals(EPILOGUE, LEAKY_RELU)):
            slope = words.spread(SLOPE, self.kind)
            for total in self.sums.values():
                positive = builder.fcmp_ordered(">", builder.load(total), zero)
                write_choice(builder, total, positive, slope)
        with builder.if_then(words.equals(EPILOGUE, LEAKY_GRADIENT)):
            slope, other = words.spread(SLOPE, self.kind), words.place(OTHER)
            for (q, p), total in self.sums.items():
                passed = builder.fcmp_ordered(">", self.load(other, self.of_pixel(q, p)), zero)
                write_choice(builder, total, passed, slope)


class _Moments(_Tile):
    """Writes ``c[q][p] (+)= sum over runs and pixels of a[p] b[q]``: all are vectors."""

    def write(self) -> None:
        builder = self.builder
        places = {place: self.vectors(number) for number, place in enumerate(self.sums)}
        for total in self.sums.values():
            builder.store(ir.Constant(self.kind, None), total)
        write_runs(self.words, self._step)
        with builder.if_then(self.words.equals(INIT, INIT_C)):
            for place, total in self.sums.items():
                before = self.load(self.c, places[place])
                builder.store(builder.fadd(builder.load(total), before, flags=FLAGS), total)
        for place, total in self.sums.items():
            self.store(self.c, places[place], builder.load(total))

    def _step(self, a: Any, b: Any, k: Any, _way: int) -> None:
        builder = self.builder
        a = builder.gep(a, [builder.mul(k, self.stride)])
        values = [self.load(a, self.vectors(p)) for p in range(self.pixels)]
        b = builder.gep(b, [builder.mul(k, self.b_step)])
        for q in range(self.outputs):
            self.add(values, q, self.load(b, self.vectors(q)))


def _tile_of(writer: type[_Product | _Moments]) -> Any:
    def emit(_: Any, tile: Any, pixels: Any, outputs: Any, dtype: Any) -> tuple[Any, Instructions]:
        number = dtype.instance_type
        vector = Vector(number, target().lanes(number.name))

        def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            size = pixels.literal_value, outputs.literal_value
            writer(builder, values[0], vector, *size).write()
            return context.get_dummy_value()

        return types.none(types.int64, pixels, outputs, dtype), write

    return emit


class _Call:
    """A call of a tile in plain Python."""

    def __init__(self, tile: int, dtype: Any) -> None:
        self.words, self.reals = Pointer(tile, np.int64), Pointer(tile, np.float64)
        self.dtype, self.lanes = np.dtype(dtype), lanes_of(dtype)

    def word(self, number: int) -> int:
        return int(self.words[number])

    def elements(self, start: int, first: int, count: int) -> np.ndarray:
        """Some of the elements that begin where a word says."""
        place = self.word(start) + first * self.dtype.itemsize
        return Pointer(place, self.dtype).elements(count)

    def vectors(self, start: int, first: int, count: int) -> np.ndarray:
        return self.elements(start, first, count * self.lanes).reshape(count, self.lanes)

    def steps(self) -> list[tuple[int, int, int]]:
        """Addresses where the runs of a and b begin, and k."""
        return [
            (
                run1 * self.word(A_RUN1) + run2 * self.word(A_RUN2),
                run1 * self.word(B_RUN1) + run2 * self.word(B_RUN2),
                k,
            )
            for run1 in range(self.word(RUNS1))
            for run2 in range(self.word(RUNS2))
            for k in range(self.word(DEPTH))
        ]


@compiled_as(_tile_of(_Product), prefer_literal=True)
def batch_blocked_product(tile: int, pixels: int, outputs: int, dtype: Any) -> None:
    """``c[p][q] = bias[q] + sum over runs and k of a[k + p] b[k][q]``, b scalars."""
    call = _Call(tile, dtype)
    sums = np.zeros((pixels, outputs, call.lanes), dtype)
    if call.word(BIAS):
        sums += call.elements(BIAS, 0, outputs)[:, None]
    for a, b, k in call.steps():
        factors = call.elements(B, b + k * call.word(B_STEP), outputs)[:, None]
        for p in range(pixels):
            place = a + k * call.lanes + p * call.word(A_STRIDE)
            sums[p] += factors * call.elements(A, place, call.lanes)
    for p in range(pixels):
        test, slope = sums[p], call.dtype.type(call.reals[SLOPE])
        if call.word(EPILOGUE) == LEAKY_GRADIENT:
            test = call.vectors(OTHER, p * call.word(C_ROW), outputs)
        if call.word(EPILOGUE) in (LEAKY_RELU, LEAKY_GRADIENT):
            sums[p] = np.where(test > 0, sums[p], sums[p] * slope)
        call.vectors(C, p * call.word(C_ROW), outputs)[:] = sums[p]


@compiled_as(_tile_of(_Moments), prefer_literal=True)
def batch_blocked_moments(tile: int, pixels: int, outputs: int, dtype: Any) -> None:
    """``c[q][p] (+)= sum over runs and k of a[k][p] b[k][q]``, all vectors."""
    call = _Call(tile, dtype)
    c = call.vectors(C, 0, outputs * pixels).reshape(outputs, pixels, call.lanes)
    sums = np.zeros_like(c)
    for a, b, k in call.steps():
        factors = call.vectors(B, b + k * call.word(B_STEP), outputs)
        sums += factors[:, None] * call.vectors(A, a + k * call.word(A_STRIDE), pixels)
    c[:] = c + sums if call.word(INIT) == INIT_C else sums


def _sums_of_lanes(_: Any, source: Any, first: Any, to: Any, at: Any) -> tuple[Any, Instructions]:
    vector = Vector(source.dtype, target().lanes(source.dtype.name))
    lanes = vector.lanes

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        source, first, to, at = values
        kind = ir.VectorType(ir.IntType(32), lanes)
        start = builder.gep(source, [first])
        v = [
            write_load(builder, builder.gep(start, [WORD(i * lanes)]), vector) for i in range(lanes)
        ]
        half = 1
        while half < lanes:
            of_second = [bool(lane & half) for lane in range(lanes)]
            masks = (
                [lane + lanes * second for lane, second in enumerate(of_second)],
                [
                    lane + lanes - half if second else lane + half
                    for lane, second in enumerate(of_second)
                ],
            )
            for i in range(0, lanes, 2 * half):
                a, b = (
                    builder.shuffle_vector(v[i], v[i + half], ir.Constant(kind, mask))
                    for mask in masks
                )
                v[i] = builder.fadd(a, b, flags=FLAGS)
            half *= 2
        write_store(builder, v[0], builder.gep(to, [at]), vector)
        return context.get_dummy_value()

    return types.none(source, types.int64, to, types.int64), write


@compiled_as(_sums_of_lanes)
def sums_of_lanes(source: Any, first: int, to: Any, at: int) -> None:
    """Store the sum of the lanes of each of as many vectors as there are lanes.

    In each of log2(lanes) rounds, two vectors become one: a lane holds a sum of lanes of the one or
    of the other.
    """
    lanes = lanes_of(source.dtype)
    sums = offset(source, first).elements(lanes * lanes).reshape(lanes, lanes)
    while sums.shape[1] > 1:
        sums = sums[:, ::2] + sums[:, 1::2]
    offset(to, at).elements(lanes)[:] = sums[:, 0]
