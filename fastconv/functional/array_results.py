"""Results as arrays of the library that the arguments are of."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar, cast

import numpy as np

from fastconv.functional.array_types import maker_of

Function = TypeVar("Function", bound=Callable[..., Any])


def results_like_arguments(function: Function) -> Function:
    """Let a public function return arrays of the library that its first argument is of.

    What it returns are views, by DLPack, of the arrays of NumPy or CuPy that it made. Where the
    library cannot make any (an array has neither ``__array_namespace__`` nor a package with
    ``from_dlpack``), they stay what they are.

    Parameters
    ----------
    function
        Takes the arrays of any library, and makes arrays of NumPy or CuPy.
    """
    numpy_array, convert = np.ndarray, _call_and_convert

    def call(*arguments: Any, **options: Any) -> Any:
        if arguments and type(arguments[0]) is numpy_array:
            return function(*arguments, **options)
        return convert(function, arguments, options)

    # doctest tells by its globals which module a function is of. This one uses none.
    made = FunctionType(
        call.__code__, cast("Any", function).__globals__, closure=call.__closure__
    )  # fmt: skip
    return cast("Function", functools.update_wrapper(made, function))


def _call_and_convert(
    function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    first = arguments[0] if arguments else next(iter(options.values()), None)
    if isinstance(first, (list, tuple)) and first:
        first = first[0]
    importer = _importer_of(first)
    results = function(*arguments, **options)
    if importer is None:
        return results
    if options.get("out") is not None:
        return options["out"]
    if isinstance(results, tuple):
        return tuple(None if each is None else importer(each) for each in results)
    return importer(results)


def array_like(array: Any, other: Any) -> Any:
    """Return an array of NumPy or CuPy as one of the library that another one is of, if it can be.

    Parameters
    ----------
    array
        What a function made, of which the result is a view.
    other
        Its first argument.
    """
    importer = _importer_of(other)
    return array if importer is None else importer(array)


def _importer_of(array: Any) -> Callable[[Any], Any] | None:
    """Return what makes arrays of the library that one is of; None for NumPy, CuPy and none."""
    if isinstance(array, (np.ndarray, type)):
        return None
    make = maker_of(type(array))  # type: ignore[arg-type]  # mypy takes no type for hashable
    if make is None:
        return _from_dlpack_of(array)

    def by_structure(result: Any) -> Any:
        made = make(result)
        if made is not None:
            return made
        importer = _from_dlpack_of(array)
        return result if importer is None else importer(result)

    return by_structure


def _from_dlpack_of(array: Any) -> Callable[[Any], Any] | None:
    """Return ``from_dlpack`` of the library that an array is of."""
    library = type(array).__module__.partition(".")[0]
    if library == "cupy" or not hasattr(array, "__dlpack__"):
        return None
    namespace: Any = sys.modules.get(library)
    if hasattr(array, "__array_namespace__"):
        namespace = array.__array_namespace__()
    importer: Callable[[Any], Any] | None = getattr(namespace, "from_dlpack", None)
    return importer
