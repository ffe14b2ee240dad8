"""Public functions that are called again: with arrays of the same shapes, and the same options.

What was checked and chosen for the first call holds for all that are like it. The engine in C finds
it by the shapes, and runs the kernel at once: what a call costs beside its kernel is a fifth then.
Arrays that kernels cannot take as they lie, or that the engine does not know, go the usual way.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from fastconv.backends.selection import backend_state, choose_backend, chosen_backend, load_module
from fastconv.functional.array_results import array_like
from fastconv.functional.array_types import as_array
from fastconv.functional.memory import keep_memory, take_memory
from fastconv.functional.packed_weights import PackedWeights
from fastconv.spec import Shape

Function = TypeVar("Function", bound=Callable[..., Any])


class KernelCall(NamedTuple):
    """The kernel of the contract that a call of a public function is, and its result's shape."""

    kernel: str
    spec: Any
    shape: Shape


def kept_calls(inputs: int, call_of: Callable[..., KernelCall]) -> Callable[[Function], Function]:
    """Let calls of a public function that are like an earlier one run their kernel at once.

    Parameters
    ----------
    inputs
        How many arrays the function and its kernel take first, in the same order. The kernel writes
        one more, which is the result.
    call_of
        Takes what the function takes, and says which kernel that is.
    """

    def decorate(function: Function) -> Function:
        kept = _Kept(inputs, call_of)
        names = tuple(inspect.signature(function).parameters)[:inputs]
        is_packed, call_packed = _is_packed, _call_packed

        def call(*arguments: Any, **options: Any) -> Any:
            result = kept.run(arguments, options)
            if result is None:
                if is_packed(arguments, options):
                    return call_packed(function, call_of, names, arguments, options)
                result = function(*arguments, **options)
                kept.note(arguments, options)
            return result

        # doctest tells by its globals which module a function is of. This one uses none.
        made = FunctionType(
            call.__code__, cast("Any", function).__globals__, closure=call.__closure__
        )  # fmt: skip
        return cast("Function", functools.update_wrapper(made, function))

    return decorate


def _is_packed(arguments: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Whether the weights, the second array of a function, are packed ones."""
    given = arguments[1] if len(arguments) > 1 else options.get("w")
    return type(given) is PackedWeights


def _call_packed(
    function: Callable[..., Any],
    call_of: Callable[..., KernelCall],
    names: tuple[str, ...],
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    """Make a call with packed weights; the first of its kind takes the weights as they are."""
    for name in names[len(arguments) :]:
        if name not in options:
            break
        arguments = (*arguments, options.pop(name))
    if len(arguments) < 2:
        return function(*arguments, **options)  # which says what is missing
    packed: PackedWeights = arguments[1]
    arguments = (arguments[0], packed.weights, *arguments[2:])
    kept = packed.calls_of(function, lambda: _KeptWithWeights(len(names), call_of, packed))
    result = kept.run(arguments, options)
    if result is None:
        result = function(*arguments, **options)
        kept.note(arguments, options)
    return result


_all: weakref.WeakSet[_Kept] = weakref.WeakSet()


def forget_calls() -> None:
    """Forget all calls that are kept, where what they were made by has changed."""
    for each in _all:
        each.forget()


class _Kept:
    """The calls of one function."""

    def __init__(self, inputs: int, call_of: Callable[..., KernelCall]) -> None:
        self._inputs, self._call_of = inputs, call_of
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        self._calls: Any = None
        # The engine is loaded by the first call that needs it, not by this module.
        self.run: Callable[[tuple[Any, ...], dict[str, Any]], Any] = lambda arguments, options: None

    def note(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Keep a call that has been made."""
        if self._calls is None:
            if not backend_state("cython").works:
                return
            engine = load_module("cython", "engine")
            self._calls = engine.KeptCalls(
                self._inputs, chosen_backend, np.empty, engine.default_threads, take_memory,
                keep_memory, array_like,
            )  # fmt: skip
            self.run = self._calls.run
        key = self._calls.key_of(arguments, options)
        if key is None or choose_backend(options.get("backend")).name != "cython":
            return
        # Some have no shape but by DLPack.
        arrays = (None if each is None else as_array("", "", each) for each in arguments)
        made = self._call_of(*arrays, **options)
        given = (*arguments, *[None] * (self._inputs - len(arguments)))
        letter = key.dtype
        types = tuple(None if each is None else letter for each in given)
        calls = self._calls
        stream, workspace_bytes = self._stream(made.kernel, made.spec, (*types, letter))
        calls.keep(key, stream, workspace_bytes, made.shape)

    def _stream(self, kernel: str, spec: Any, types: tuple[str | None, ...]) -> Any:
        """What runs a kernel on arrays of dtypes by their letters, and its workspace's bytes."""
        return load_module("cython", "engine").call_of(kernel, spec, types)


class _KeptWithWeights(_Kept):
    """The calls of one function with weights that are packed."""

    def __init__(
        self, inputs: int, call_of: Callable[..., KernelCall], packed: PackedWeights
    ) -> None:
        super().__init__(inputs, call_of)
        self._packed = weakref.ref(packed)  # which has this one

    def _stream(self, kernel: str, spec: Any, types: tuple[str | None, ...]) -> Any:
        packed = self._packed()
        assert packed is not None  # whose call it is
        return packed.packed_call(load_module("cython", "engine"), kernel, spec, types)
