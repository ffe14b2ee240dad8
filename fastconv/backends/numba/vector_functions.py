"""Functions of vectors: roots, polynomials, bits, and one number from all lanes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from fastconv.backends.numba.numba_internals import cgutils
from fastconv.backends.numba.pointers import WORD, Instructions, compiled_as
from fastconv.backends.numba.vectors import FLAGS, Vector, llvm_type, suffix_of, write_spread


def _high_product(_: Any, a: Any, factor: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        wide = ir.VectorType(WORD, a.lanes)
        both = builder.zext(values[0], wide), write_spread(builder, wide, values[1])
        shift = ir.Constant(wide, [32] * a.lanes)
        return builder.trunc(builder.lshr(builder.mul(*both), shift), llvm_type(a))

    return a(a, types.uint64), write


@compiled_as(_high_product)
def high_product(a: Any, factor: int) -> Any:
    """The upper 32 bits of a product of 32-bit integers."""
    return (a.astype(np.uint64) * np.uint64(factor) >> np.uint64(32)).astype(np.uint32)


def _bits_of(_: Any, vector: Any) -> tuple[Any, Instructions]:
    result = Vector(types.int32 if vector.dtype == types.float32 else types.int64, vector.lanes)

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], llvm_type(result))

    return result(vector), write


@compiled_as(_bits_of)
def bits_of(vector: Any) -> Any:
    """Floats as the integers that have the same bits."""
    return vector.view(np.dtype(f"i{vector.itemsize}"))


def _power_of_two(_: Any, exponent: Any) -> tuple[Any, Instructions]:
    single = exponent.dtype == types.int32
    result = Vector(types.float32 if single else types.float64, exponent.lanes)
    bias, mantissa = (127, 23) if single else (1023, 52)

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = llvm_type(exponent)
        biased = builder.add(values[0], ir.Constant(kind, [bias] * exponent.lanes))
        bits = builder.shl(biased, ir.Constant(kind, [mantissa] * exponent.lanes))
        return builder.bitcast(bits, llvm_type(result))

    return result(exponent), write


@compiled_as(_power_of_two)
def power_of_two(exponent: Any) -> Any:
    """2^exponent of integers that are as wide as the result, where it is a normal number."""
    return np.ldexp(np.ones(1, f"f{exponent.itemsize}"), exponent)


def _call(builder: Any, name: str, vector: Any, values: Any) -> Any:
    """Write a call of one of LLVM's functions of numbers, of vectors of one type."""
    kind = llvm_type(vector)
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(kind, [kind] * len(values)),
        f"llvm.{name}.v{vector.lanes}{suffix_of(vector.dtype)}",
    )
    return builder.call(function, values)


def _multiply_add(_: Any, a: Any, b: Any, c: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _call(builder, "fma", a, values)

    return a(a, a, a), write


@compiled_as(_multiply_add)
def multiply_add(a: Any, b: Any, c: Any) -> Any:
    """``a * b + c``, rounded once."""
    return a * b + c


def _square_root(_: Any, vector: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _call(builder, "sqrt", vector, values)

    return vector(vector), write


@compiled_as(_square_root)
def square_root(vector: Any) -> Any:
    """The square root of each lane."""
    return np.sqrt(vector)


def of_its_dtype(of_float32: float, of_float64: float) -> Callable[[Any], Any]:
    """Make a function that gives a constant for the dtype of a vector, in every lane."""

    def emit(_: Any, vector: Any) -> tuple[Any, Instructions]:
        number = of_float32 if vector.dtype == types.float32 else of_float64

        def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return ir.Constant(llvm_type(vector), [number] * vector.lanes)

        return vector(vector), write

    @compiled_as(emit)
    def constant(vector: Any) -> Any:
        return vector.dtype.type(of_float32 if vector.itemsize == 4 else of_float64)

    return constant


def polynomial_of(
    of_float32: tuple[float, ...], of_float64: tuple[float, ...]
) -> Callable[[Any], Any]:
    """Make a function that evaluates a polynomial, its highest coefficient first."""

    def emit(_: Any, vector: Any) -> tuple[Any, Instructions]:
        coefficients = of_float32 if vector.dtype == types.float32 else of_float64

        def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            terms = [ir.Constant(llvm_type(vector), [each] * vector.lanes) for each in coefficients]
            total = terms[0]
            for term in terms[1:]:
                product = builder.fmul(total, values[0], flags=FLAGS)
                total = builder.fadd(product, term, flags=FLAGS)
            return total

        return vector(vector), write

    @compiled_as(emit)
    def polynomial(vector: Any) -> Any:
        return np.polyval(
            np.array(of_float32 if vector.itemsize == 4 else of_float64, vector.dtype), vector
        )

    return polynomial


def _joined(builder: Any, vector: Any, join: Callable[[Any, Any], Any]) -> Any:
    """One number from the lanes: halves are joined until one is left."""
    number = ir.IntType(32)
    while (lanes := vector.type.count) > 1:
        halves = [
            builder.shuffle_vector(
                vector,
                ir.Constant(vector.type, ir.Undefined),
                ir.Constant(
                    ir.VectorType(number, lanes // 2), list(range(first, first + lanes // 2))
                ),
            )
            for first in (0, lanes // 2)
        ]
        vector = join(*halves)
    return builder.extract_element(vector, number(0))


def _sum_of_lanes(_: Any, vector: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return _joined(builder, values[0], builder.fadd)

    return vector.dtype(vector), write


@compiled_as(_sum_of_lanes)
def sum_of_lanes(vector: Any) -> Any:
    """The sum."""
    return vector.sum()


def _even_lanes(_: Any, a: Any, b: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        order = ir.Constant(
            ir.VectorType(ir.IntType(32), a.lanes), [2 * lane for lane in range(a.lanes)]
        )
        return builder.shuffle_vector(values[0], values[1], order)

    return a(a, b), write


@compiled_as(_even_lanes)
def even_lanes(a: Any, b: Any) -> Any:
    """The lanes with even numbers of two vectors, one behind the other."""
    return np.concatenate((a[::2], b[::2]))


def _largest_lane(_: Any, vector: Any) -> tuple[Any, Instructions]:
    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        def larger(a: Any, b: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        return _joined(builder, values[0], larger)

    return vector.dtype(vector), write


@compiled_as(_largest_lane)
def largest_lane(vector: Any) -> Any:
    """The largest lane; NaN is for others to find."""
    return vector.max()
