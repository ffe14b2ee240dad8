"""Vectors from memory and to it: whole ones, or only the first lanes at the end of an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from fastconv.backends.numba.instruction_set import target
from fastconv.backends.numba.numba_internals import cgutils
from fastconv.backends.numba.pointers import Instructions, compiled_as
from fastconv.backends.numba.vectors import (
    Vector,
    lanes_of,
    llvm_element,
    llvm_type,
    suffix_of,
    write_spread,
)


def _place(builder: Any, start: Any, index: Any, vector: Any) -> Any:
    return builder.bitcast(builder.gep(start, [index]), llvm_type(vector).as_pointer())


CACHE_LINE_BYTES = 64


def first_lanes(builder: Any, vector: Any, count: Any) -> Any:
    """Write instructions for a mask of the first ``count`` lanes."""
    number = ir.IntType(32)
    kind = ir.VectorType(number, vector.lanes)
    all_counts = write_spread(builder, kind, builder.trunc(count, number))
    return builder.icmp_signed("<", ir.Constant(kind, list(range(vector.lanes))), all_counts)


def _masked(builder: Any, name: str, vector: Any, result: Any, kinds: Any) -> Any:
    full = f"llvm.masked.{name}.v{vector.lanes}{suffix_of(vector.dtype)}.p0"
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, kinds), full)


def write_load(builder: Any, place: Any, vector: Any, mask: Any = None) -> Any:
    """Write instructions that load a vector from a pointer to elements; 0 where a mask is false."""
    kind, size = llvm_type(vector), vector.dtype.bitwidth // 8
    place = builder.bitcast(place, kind.as_pointer())
    if mask is None:
        return builder.load(place, align=size)
    arguments = place.type, ir.IntType(32), mask.type, kind
    masked = _masked(builder, "load", vector, kind, arguments)
    return builder.call(masked, (place, ir.IntType(32)(size), mask, ir.Constant(kind, None)))


def write_store(builder: Any, value: Any, place: Any, vector: Any, mask: Any = None) -> None:
    """Write instructions that store a vector to a pointer to elements, where a mask is true."""
    size = vector.dtype.bitwidth // 8
    place = builder.bitcast(place, value.type.as_pointer())
    if mask is None:
        builder.store(value, place, align=size)
        return
    arguments = value.type, place.type, ir.IntType(32), mask.type
    masked = _masked(builder, "store", vector, ir.VoidType(), arguments)
    builder.call(masked, (value, place, ir.IntType(32)(size), mask))


def _loading(start: Any, lanes: int) -> tuple[Any, Instructions]:
    """Signature and instructions of a load; its last value is for the other lanes."""
    vector = Vector(start.dtype, lanes)

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        start, index, count, rest = values
        kind, size = llvm_type(vector), vector.dtype.bitwidth // 8
        place = _place(builder, start, index, vector)

        def load_some() -> Any:
            mask = first_lanes(builder, vector, count)
            arguments = place.type, ir.IntType(32), mask.type, kind
            masked = _masked(builder, "load", vector, kind, arguments)
            filled = write_spread(builder, kind, rest)
            return builder.call(masked, (place, ir.IntType(32)(size), mask, filled))

        if target().masks:
            # It costs no more than a whole load, and no branch.
            return load_some()
        whole = builder.icmp_signed("==", count, count.type(vector.lanes))
        with builder.if_else(whole, likely=True) as (then, otherwise):
            with then:
                everything = builder.load(place, align=size)
                from_then = builder.block
            with otherwise:
                some = load_some()
                from_otherwise = builder.block
        result = builder.phi(kind)
        result.add_incoming(everything, from_then)
        result.add_incoming(some, from_otherwise)
        return result

    return vector(start, types.int64, types.int64, vector.dtype), write


def _load_or(_: Any, start: Any, index: Any, count: Any, rest: Any) -> tuple[Any, Instructions]:
    return _loading(start, target().lanes(start.dtype.name))


@compiled_as(_load_or)
def load_or(start: Any, index: int, count: int, rest: Any) -> Any:
    """The first ``count`` lanes from memory, ``rest`` in the others; ``count`` is at least 1."""
    lanes = np.full(lanes_of(start.dtype), rest, start.dtype)
    lanes[:count] = [start[index + lane] for lane in range(count)]
    return lanes


def _loading_or_zero(start: Any, lanes: int, *more: Any) -> tuple[Any, Instructions]:
    with_rest, write_with_rest = _loading(start, lanes)

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        zero = ir.Constant(llvm_element(start.dtype), 0)
        return write_with_rest(context, builder, with_rest, (*values[:3], zero))

    return with_rest.return_type(*with_rest.args[:3], *more), write


def _load(_: Any, start: Any, index: Any, count: Any) -> tuple[Any, Instructions]:
    return _loading_or_zero(start, target().lanes(start.dtype.name))


@compiled_as(_load)
def load(start: Any, index: int, count: int) -> Any:
    """The first ``count`` lanes from memory, 0 in the others; ``count`` may be 0."""
    return load_or(start, index, count, 0)


def _load_beside(
    _: Any, start: Any, index: Any, count: Any, dtype: Any
) -> tuple[Any, Instructions]:
    return _loading_or_zero(start, target().lanes(dtype.instance_type.name), dtype)


@compiled_as(_load_beside)
def load_beside(start: Any, index: int, count: int, dtype: Any) -> Any:
    """:func:`load` of as many lanes as vectors of ``dtype`` have, whatever the type in memory."""
    lanes = np.zeros(lanes_of(dtype), start.dtype)
    lanes[:count] = [start[index + lane] for lane in range(count)]
    return lanes


def _store(_: Any, start: Any, index: Any, vector: Any, count: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        start, index, value, count = values
        place = _place(builder, start, index, vector)
        whole = builder.icmp_signed("==", count, count.type(vector.lanes))
        with builder.if_else(whole, likely=True) as (then, otherwise):
            with then:
                write_store(builder, value, place, vector)
            with otherwise:
                mask = first_lanes(builder, vector, count)
                write_store(builder, value, place, vector, mask)
        return context.get_dummy_value()

    return types.none(start, types.int64, vector, types.int64), write


@compiled_as(_store)
def store(start: Any, index: int, vector: Any, count: int) -> None:
    """The first ``count`` lanes to memory; ``count`` is at least 1."""
    for lane in range(count):
        start[index + lane] = vector[lane]


def _store_interleaved(
    _: Any, start: Any, index: Any, a: Any, b: Any, c: Any, d: Any
) -> tuple[Any, Instructions]:
    lanes = a.lanes

    def joined(builder: Any, first: Any, second: Any, order: list[int]) -> Any:
        number = ir.IntType(32)
        mask = ir.Constant(ir.VectorType(number, len(order)), order)
        return builder.shuffle_vector(first, second, mask)

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        start, index, *rest = values
        in_turn = list(range(2 * lanes))
        pairs = [joined(builder, rest[i], rest[i + 1], in_turn) for i in (0, 2)]
        order = [part * lanes + lane for lane in range(lanes) for part in range(4)]
        everything = joined(builder, pairs[0], pairs[1], order)
        place = builder.bitcast(builder.gep(start, [index]), everything.type.as_pointer())
        builder.store(everything, place, align=a.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(start, types.int64, a, a, a, a), write


@compiled_as(_store_interleaved)
def store_interleaved(start: Any, index: int, a: Any, b: Any, c: Any, d: Any) -> None:
    """Lane 0 of four vectors to memory, then lane 1, and so on."""
    for place, value in enumerate(np.stack([a, b, c, d], axis=1).reshape(-1)):
        start[index + place] = value


def write_prefetch(builder: Any, place: Any) -> None:
    """Write an instruction that asks for what is at a pointer."""
    number = ir.IntType(32)
    place = builder.bitcast(place, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), (place.type, number, number, number))
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    # To be read, and to stay in all caches; of data.
    builder.call(prefetch, (place, number(0), number(3), number(1)))


def _ask_for(_: Any, start: Any, index: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        write_prefetch(builder, builder.gep(values[0], [values[1]]))
        return context.get_dummy_value()

    return types.none(start, types.int64), write


@compiled_as(_ask_for)
def ask_for(start: Any, index: int) -> None:
    """Ask for memory that is read or written soon; it need not be the array's."""
