"""Plans of the C interface in functions that Numba compiles: found, checked and run by address.

Nothing here runs Python but the first time that a plan is needed. Functions of the engine are
called by their names, so that compiled functions can be kept on disk (``cache=True``):
:func:`why_not` tells LLVM where they are in this process.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from llvmlite import binding, ir
from numba import njit, types
from numba.core.errors import TypingError
from numba.core.targetconfig import ConfigStack
from numba.extending import intrinsic

from fastconv.backends.numba.numba_internals import cgutils
from fastconv.interop.descriptions import FUNCTIONS, REAL

_WORD = ir.IntType(64)
_WORDS = _WORD.as_pointer()
_ADDRESS = ir.IntType(8).as_pointer()


Function = TypeVar("Function", bound=Callable[..., Any])


def _emitted(emitter: Callable[..., Any]) -> Any:
    """Make an intrinsic of what writes its instructions; it is called without the context."""
    return intrinsic(emitter)


def compiled(function: Function) -> Function:
    """Compile a function that only compiled ones call."""
    made: Function = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    return made


@functools.cache
def why_not() -> str | None:
    """Tell LLVM of the engine's functions; return why that cannot be, or None.

    Examples
    --------
    >>> why_not() is None or "missing" in why_not()
    True
    """
    from fastconv.interop import c_api

    try:
        from fastconv.backends.cython import engine

        _ = c_api._C_API  # makes plans possible
    except ImportError as fault:
        return str(fault)
    for name, address in engine.plan_functions().items():
        binding.add_symbol(name, address)
    return None


def require_engine(owner: str) -> None:
    """Check, while a function is compiled, that calls of the engine can work in it.

    Raises
    ------
    TypingError
        If the engine is missing; or a parallel function keeps the GIL, which its threads would wait
        for when they meet a shape for the first time.
    """
    reason = why_not()
    if reason is not None:
        raise TypingError(f"{owner}: inside @njit it needs the kernels in C: {reason}")
    flags = ConfigStack.top_or_none()
    parallel = getattr(flags, "auto_parallel", None)
    if getattr(parallel, "enabled", False) and not getattr(flags, "release_gil", True):
        raise TypingError(
            f"{owner}: the function is compiled with parallel=True but without nogil=True; its "
            f"threads may need the GIL once for each shape: use @njit(parallel=True, nogil=True)"
        )


# Words of a description


def _cast(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.cast(builder, value, types.unliteral(kind), types.int64)


def _words(context: Any, builder: Any, kind: Any, value: Any, count: int) -> list[Any]:
    """Write the words of one field: ``count`` of them, or one that holds a float64."""
    if count == REAL:
        real = context.cast(builder, value, types.unliteral(kind), types.float64)
        return [builder.bitcast(real, _WORD)]
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        if count == 1:
            # The elements of a bias. One without any is not the same as none.
            empty = builder.icmp_signed("==", array.nitems, array.nitems.type(0))
            return [builder.select(empty, _WORD(-1), array.nitems)]
        return list(cgutils.unpack_tuple(builder, array.shape, count))
    if isinstance(kind, (types.NoneType, types.UnicodeType, types.StringLiteral)):
        return [_WORD(0)] * count  # what they mean, other fields say
    if isinstance(kind, types.BaseTuple):
        parts = [(each, builder.extract_value(value, i)) for i, each in enumerate(kind)]
        if len(parts) == count:
            return [_cast(context, builder, *part) for part in parts]
        each = count // len(parts)  # padding: one number for both sides, or a pair
        return [word for part in parts for word in _words(context, builder, *part, each)]
    return [_cast(context, builder, kind, value)] * count


def _fits(kind: Any, count: int) -> bool:
    """Whether a field of so many words can be made of a value of a type."""
    if isinstance(kind, types.BaseTuple):
        if len(kind) == count:
            return all(isinstance(each, types.Integer) for each in kind)
        return count == 4 and len(kind) == 2 and all(_fits(each, 2) for each in kind)
    if isinstance(kind, types.Array):
        return count in (1, kind.ndim)
    if count == REAL:
        return isinstance(kind, (types.Integer, types.Float))
    kinds = (types.Integer, types.NoneType, types.UnicodeType, types.StringLiteral)
    return isinstance(kind, (*kinds, types.Boolean) if count == 1 else kinds)


_EXPECTED = {
    1: "an integer", 2: "an integer or (height, width)",
    4: "an integer, (height, width), ((top, bottom), (left, right)), 'same' or 'valid'",
    REAL: "a number",
}  # fmt: skip


@functools.cache
def plan_finder(owner: str) -> Any:
    """Make the intrinsic that finds the plan of a function: of all fields in a tuple, its address.

    Fields are arrays, of which the shape is meant; numbers, which stand for all words of a field;
    tuples; and None and strings, which stand for zeros. Where there is no plan, what it returns is
    a negative status: see :func:`found`.
    """
    function = FUNCTIONS[owner]
    fields = list(function.fields.items())

    def find(typingctx: Any, values: Any) -> Any:
        for (name, count), kind in zip(fields, values, strict=True):
            if not _fits(types.unliteral(kind), count):
                raise TypingError(
                    f"{owner}: {name} is of Numba's type {kind}; expected {_EXPECTED[count]}"
                )

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            words: list[Any] = []
            for number, ((_, count), kind) in enumerate(zip(fields, values, strict=True)):
                value = builder.extract_value(arguments[0], number)
                words += _words(context, builder, kind, value, count)
            numbers = _WORD(function.number), _on_stack(builder, words), _WORD(len(words))
            return _call(builder, "fastconv_plan_of", *numbers)

        return types.int64(values), emit

    find.__name__ = f"find_{owner}"
    return _emitted(find)


def _on_stack(builder: Any, words: Sequence[Any]) -> Any:
    """Write words, or addresses, one behind the other into the stack; return where they begin."""
    kind = words[0].type
    place = cgutils.alloca_once(builder, kind, size=_WORD(len(words)))
    for number, word in enumerate(words):
        builder.store(word, builder.gep(place, [_WORD(number)]))
    return place


def _call(builder: Any, name: str, *arguments: Any) -> Any:
    """Call a function of the engine, which returns a word."""
    kind = ir.FunctionType(_WORD, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


# Running and checking


def _address_of(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.NoneType):
        return _ADDRESS(None)
    array = context.make_array(kind)(context, builder, value)
    return builder.bitcast(array.data, _ADDRESS)


@_emitted
def run_plan(typingctx: Any, plan: Any, arrays: Any) -> Any:
    """Run a plan on a tuple of arrays, each C-contiguous or None; return a status."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        addresses = [
            _address_of(context, builder, kind, builder.extract_value(arguments[1], number))
            for number, kind in enumerate(arrays)
        ]
        return _call(builder, "fastconv_run_plan", arguments[0], _on_stack(builder, addresses))

    return types.int64(types.int64, arrays), emit


@_emitted
def check_shape(typingctx: Any, plan: Any, number: Any, array: Any, wanted: Any) -> Any:
    """Compare the shape of an array of a plan, by its number, with another one; return a status."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        shape = context.make_array(array)(context, builder, arguments[2]).shape
        sizes = cgutils.unpack_tuple(builder, shape, array.ndim)
        others = cgutils.unpack_tuple(builder, arguments[3], len(wanted))
        return _call(
            builder, "fastconv_check_shape", arguments[0], arguments[1],
            _on_stack(builder, sizes or [_WORD(0)]), _WORD(len(sizes)),
            _on_stack(builder, others or [_WORD(0)]), _WORD(len(others)),
        )  # fmt: skip

    return types.int64(types.int64, types.int64, array, wanted), emit


@_emitted
def check_range(typingctx: Any, plan: Any, number: Any, array: Any, end: Any) -> Any:
    """Check that the integers of an array of a plan are in [0, end); return a status."""
    each = array.dtype.bitwidth // 8

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _address_of(context, builder, array, arguments[2])
        numbers = arguments[0], arguments[1], place, _WORD(each), arguments[3]
        return _call(builder, "fastconv_check_range", *numbers)

    return types.int64(types.int64, types.int64, array, types.int64), emit


plan_size = types.ExternalFunction(
    "fastconv_plan_size", types.int64(types.int64, types.int64, types.int64)
)
"""Size of an axis of an array of a plan: of (plan, number of the array, axis)."""


@compiled
def image_shape(plan: int, number: int) -> tuple[int, int, int, int]:
    """Return the shape of images of a plan, by the number of their array."""
    return (
        plan_size(plan, number, 0), plan_size(plan, number, 1),
        plan_size(plan, number, 2), plan_size(plan, number, 3),
    )  # fmt: skip


@compiled
def matrix_shape(plan: int, number: int) -> tuple[int, int]:
    """Return the shape of rows of a plan, by the number of their array."""
    return plan_size(plan, number, 0), plan_size(plan, number, 1)


@_emitted
def _last_error(typingctx: Any) -> Any:
    """Return what the engine said last, as a string.

    Its fields are filled in here: the loop over letters that Numba would compile takes ten times as
    long as all else in a function.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        length = _call(builder, "fastconv_error_length")
        text = cgutils.create_struct_proxy(types.unicode_type)(context, builder)
        text.meminfo = context.nrt.meminfo_alloc(builder, builder.add(length, _WORD(1)))
        text.data = context.nrt.meminfo_data(builder, text.meminfo)
        text.length, text.kind, text.is_ascii = length, text.kind.type(1), text.is_ascii.type(1)
        text.hash, text.parent = text.hash.type(-1), text.parent.type(None)
        _call(builder, "fastconv_copy_error", text.data)
        return text._getvalue()

    return types.unicode_type(), emit


@compiled
def check(status: int) -> None:
    """Raise what a status means, with what the engine said; nothing where it is 0."""
    if status == 0:
        return
    if status == 1:
        raise ValueError(_last_error())
    if status == 2:
        raise MemoryError(_last_error())
    raise RuntimeError(_last_error())


@compiled
def found(plan: int) -> int:
    """Return a plan that was found; raise what is wrong where there is none."""
    if plan <= 0:
        check(-plan)
    return plan
