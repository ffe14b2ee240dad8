"""Reading tables of a recipe into dataclasses: unknown keys and wrong types are errors."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

from fastconv._errors import UserError

T = TypeVar("T")


class RecipeError(UserError, ValueError):
    """A recipe that says something impossible: the key, the value and the fix in one line."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" with the nearest known name, or nothing."""
    lower = {item.lower(): item for item in known}
    # "lr" is meant for "optimizer.lr", however far apart they are as strings.
    ends = [item for key, item in lower.items() if key.endswith(f".{name.lower()}")]
    near = ends or difflib.get_close_matches(name.lower(), list(lower), n=1, cutoff=0.5)
    return f"; did you mean {lower.get(near[0].lower(), near[0])!r}?" if near else ""


def read_dataclass(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """Make a ``kind`` of a table, recursively.

    Parameters
    ----------
    kind
        A dataclass whose fields are annotated with int, float, bool, str, Literal, tuples of these,
        other such dataclasses, unions with None, or Any.
    table
        Keys and values.
    where
        Dotted path of the table, for error messages.

    Raises
    ------
    RecipeError
        If a key is unknown or missing, or a value has the wrong type or is out of range.
    """
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else {}
    values = {}
    for key, value in table.items():
        path = f"{where}.{key}" if where else key
        if key not in fields:
            has = f" ({', '.join(fields)})" if fields else ""
            raise RecipeError(f"{path}: no such key{nearest(key, fields) or has}")
        values[key] = _read_value(hints[key], value, path)
    for name, f in fields.items():
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise RecipeError(f"{where}.{name}: missing" if where else f"{name}: missing")
    try:
        return kind(**values)
    except RecipeError:
        raise
    except ValueError as fault:
        raise RecipeError(f"{where}: {fault}" if where else str(fault)) from None


def _read_value(hint: Any, value: Any, path: str) -> Any:
    """Check one value against its annotation."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return tuple(value) if isinstance(value, list) else value
    if origin in (types.UnionType, typing.Union):
        inner = [a for a in arguments if a is not type(None)]
        return _read_value(inner[0], value, path)
    if origin is Literal:
        if value not in arguments:
            known = [str(a) for a in arguments]
            raise RecipeError(
                f"{path} is {value!r}; expected one of {', '.join(known)}"
                f"{nearest(str(value), known)}"
            )
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise RecipeError(f"{path} is {value!r}; expected a list")
        return tuple(_read_value(arguments[0], v, f"{path}.{i}") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise RecipeError(f"{path} is {value!r}; expected a table")
        return value
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise RecipeError(f"{path} is {value!r}; expected a table [{path}]")
        return read_dataclass(typing.cast(type, hint), value, path)
    return _read_scalar(hint, value, path)


_NAMES = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}


def _read_scalar(hint: type, value: Any, path: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise RecipeError(f"{path} is too large; expected a finite number") from None
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        kind = type(value).__name__
        article = "an" if kind[0] in "aeiou" else "a"
        raise RecipeError(f"{path} is {value!r}, {article} {kind}; expected {_NAMES[hint]}")
    if isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(f"{path} is {value!r}; expected a finite number")
    return value
