"""Vectors as values of kernels: as many numbers as a register holds, with the operators of numbers.

A loop over an array takes ``lanes_of(dtype)`` elements at a time and says how many there are::

    for i in range(first, end, lanes):
        count = min(lanes, end - i)
        store(y, i, load(x, i, count) * 2, count)

So the end of an array is computed by the same instructions as the rest, whichever thread comes to
it, and an output may be an input without a word on overlaps. In plain Python (see
:mod:`fastconv.backends.numba.pointers`) a vector is a NumPy array. Loads and stores are in
:mod:`fastconv.backends.numba.vector_memory`, functions of vectors in
:mod:`fastconv.backends.numba.vector_functions`.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import (
    lower_builtin,
    lower_cast,
    models,
    register_model,
)

from fastconv.backends.numba.instruction_set import target
from fastconv.backends.numba.numba_internals import AbstractTemplate, infer_global, signature
from fastconv.backends.numba.pointers import WORD, Instructions, compiled_as


def _lanes_of(_: Any, dtype: Any) -> tuple[Any, Instructions]:
    lanes = target().lanes(dtype.instance_type.name)

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return WORD(lanes)

    return types.int64(dtype), write


@compiled_as(_lanes_of)
def lanes_of(dtype: Any) -> int:
    """Elements of a vector."""
    return target().lanes(np.dtype(dtype).name)


FLAGS = ("nsz", "contract")


"""A product and a sum may become one instruction; NaN and infinities carry through."""


class Vector(types.Type):  # type: ignore[misc]
    """The type of a vector, for Numba.

    Parameters
    ----------
    dtype
        Numba's type of an element; boolean for the result of a comparison.
    lanes
        Number of elements.
    """

    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype = dtype
        self.lanes = lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")


def llvm_element(dtype: Any) -> Any:
    """LLVM's type of an element."""
    if dtype == types.boolean:
        return ir.IntType(1)
    if isinstance(dtype, types.Integer):
        return ir.IntType(dtype.bitwidth)
    return ir.FloatType() if dtype == types.float32 else ir.DoubleType()


def llvm_type(vector: Any) -> Any:
    """LLVM's type of a vector."""
    return ir.VectorType(llvm_element(vector.dtype), vector.lanes)


class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, vector: Any) -> None:
        super().__init__(manager, vector, llvm_type(vector))


register_model(Vector)(_VectorModel)


def write_spread(builder: Any, kind: Any, value: Any) -> Any:
    """Write instructions for a vector of the same element in every lane."""
    number = ir.IntType(32)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, number(0))
    zeros = ir.Constant(ir.VectorType(number, kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros)


def number_to_vector(context: Any, builder: Any, number: Any, vector: Any, value: Any) -> Any:
    """Write instructions that spread a number, as the dtype of the vector."""
    return write_spread(
        builder, llvm_type(vector), context.cast(builder, value, number, vector.dtype)
    )


lower_cast(types.Number, Vector)(number_to_vector)


# Operators. A number beside a vector becomes a vector of it.


def _operands(arguments: tuple[Any, ...]) -> Any:
    vectors = [each for each in arguments if isinstance(each, Vector)]
    others = [each for each in arguments if not isinstance(each, Vector)]
    alike = vectors and all(each == vectors[0] for each in vectors)
    return vectors[0] if alike and all(isinstance(o, types.Number) for o in others) else None


def _define(symbol: Any, of_floats: str, of_integers: str, compares: bool = False) -> None:
    """Let an operator of Python work on vectors, by the names of its instructions."""

    class Template(AbstractTemplate):  # type: ignore[misc]
        def generic(self, arguments: Any, keywords: Any) -> Any:
            kind = _operands(arguments)
            if kind is None or len(arguments) != 2:
                return None
            result = Vector(types.boolean, kind.lanes) if compares else kind
            return signature(result, kind, kind)

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        dtype = signature.args[0].dtype
        if isinstance(dtype, types.Float):
            if compares:
                # Only != is true of a NaN.
                unordered = of_floats == "!="
                compare = builder.fcmp_unordered if unordered else builder.fcmp_ordered
                return compare(of_floats, *values)
            return getattr(builder, of_floats)(*values, flags=FLAGS)
        if compares:
            compare = builder.icmp_signed if dtype.signed else builder.icmp_unsigned
            return compare(of_floats, *values)
        instruction = of_integers
        if symbol is operator.rshift and dtype.signed:
            instruction = "ashr"
        return getattr(builder, instruction)(*values)

    infer_global(symbol)(Template)
    lower_builtin(symbol, Vector, Vector)(write)


for _symbol, _of_floats, _of_integers in (
    (operator.add, "fadd", "add"),
    (operator.sub, "fsub", "sub"),
    (operator.mul, "fmul", "mul"),
    (operator.truediv, "fdiv", ""),
    (operator.and_, "", "and_"),
    (operator.or_, "", "or_"),
    (operator.xor, "", "xor"),
    (operator.lshift, "", "shl"),
    (operator.rshift, "", "lshr"),
):
    _define(_symbol, _of_floats, _of_integers)


for _symbol, _name in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
    (operator.ne, "!="),
):
    _define(_symbol, _name, "", compares=True)


class _OfOneVector(AbstractTemplate):  # type: ignore[misc]
    def generic(self, arguments: Any, keywords: Any) -> Any:
        return signature(arguments[0], *arguments) if isinstance(arguments[0], Vector) else None


class _Negative(_OfOneVector):
    pass


def _negative(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    return builder.fneg(values[0])


infer_global(operator.neg)(_Negative)
lower_builtin(operator.neg, Vector)(_negative)


class _Not(_OfOneVector):
    pass


def _not(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    return builder.not_(values[0])


infer_global(operator.invert)(_Not)
lower_builtin(operator.invert, Vector)(_not)


def suffix_of(dtype: Any) -> str:
    """The end of the names of LLVM's functions of an element type."""
    return f"{'i' if isinstance(dtype, types.Integer) else 'f'}{dtype.bitwidth}"


# What else kernels do with vectors.


def _spread_as(_: Any, value: Any, dtype: Any) -> tuple[Any, Instructions]:
    number = dtype.instance_type
    vector = Vector(number, target().lanes(number.name))

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return number_to_vector(context, builder, signature.args[0], vector, values[0])

    return vector(value, dtype), write


@compiled_as(_spread_as)
def spread(value: Any, dtype: Any) -> Any:
    """A vector of ``dtype`` with the same number in every lane."""
    return np.full(lanes_of(dtype), value, dtype)


def _spread_beside(_: Any, value: Any, number: Any, dtype: Any) -> tuple[Any, Instructions]:
    vector = Vector(number.instance_type, target().lanes(dtype.instance_type.name))

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return number_to_vector(context, builder, signature.args[0], vector, values[0])

    return vector(value, number, dtype), write


@compiled_as(_spread_beside)
def spread_beside(value: Any, number: Any, dtype: Any) -> Any:
    """:func:`spread` of the type ``number`` in as many lanes as vectors of ``dtype`` have."""
    return np.full(lanes_of(dtype), value, number)


def _count_from(_: Any, start: Any, dtype: Any) -> tuple[Any, Instructions]:
    vector = Vector(dtype.instance_type, target().lanes(dtype.instance_type.name))

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        first = number_to_vector(context, builder, start, vector, values[0])
        return builder.add(first, ir.Constant(llvm_type(vector), list(range(vector.lanes))))

    return vector(start, dtype), write


@compiled_as(_count_from)
def count_from(start: int, dtype: Any) -> Any:
    """The integers ``start, start + 1, ...``."""
    return np.arange(start, start + lanes_of(dtype)).astype(dtype)


def _select(_: Any, mask: Any, a: Any, b: Any) -> tuple[Any, Instructions]:
    kind = _operands((a, b))

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.select(*values)

    return kind(mask, kind, kind), write


@compiled_as(_select)
def select(mask: Any, a: Any, b: Any) -> Any:
    """``a`` where the mask is true, else ``b``; one of them may be a number."""
    return np.where(mask, a, b)


def _as_dtype(_: Any, vector: Any, dtype: Any) -> tuple[Any, Instructions]:
    result = Vector(dtype.instance_type, vector.lanes)
    floats = [isinstance(each.dtype, types.Float) for each in (vector, result)]

    def write(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = llvm_type(result)
        if floats == [False, False]:
            return builder.zext(values[0], kind)
        if floats == [False, True]:
            whole = builder.sitofp if vector.dtype.signed else builder.uitofp
            return whole(values[0], kind)
        change = result.dtype.bitwidth - vector.dtype.bitwidth
        if change == 0:
            return values[0]
        return (builder.fpext if change > 0 else builder.fptrunc)(values[0], kind)

    return result(vector, dtype), write


@compiled_as(_as_dtype)
def as_dtype(vector: Any, dtype: Any) -> Any:
    """The numbers of a vector as floats, or those of a comparison as 0 and 1, in as many lanes."""
    return vector.astype(dtype)
